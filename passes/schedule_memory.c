// SPDX-License-Identifier: Apache-2.0
// How many microbatches a schedule has in flight, and in which slot of its chunk each lies.
#include "passes/schedule_inside.h"

// Free slots of one chunk below `top`: a heap, the lowest first.
typedef struct Slots {
    int64_t *heap, n, top;
} Slots;

static int64_t slots_take(Slots *f) {
    if (!f->n) return f->top++;
    const int64_t least = f->heap[0], last = f->heap[--f->n];
    int64_t at = 0;
    for (int64_t child; (child = 2 * at + 1) < f->n; at = child) {
        if (child + 1 < f->n && f->heap[child + 1] < f->heap[child]) child++;
        if (f->heap[child] >= last) break;
        f->heap[at] = f->heap[child];
    }
    f->heap[at] = last;
    return least;
}

static void slots_give(Slots *f, int64_t slot) {
    int64_t at = f->n++;
    for (; at && f->heap[(at - 1) / 2] > slot; at = (at - 1) / 2) f->heap[at] = f->heap[(at - 1) / 2];
    f->heap[at] = slot;
}

ScheduleMemory schedule_memory(const Schedule *s, Arena *a) {
    const WorkKind last = s->halves ? WORK_WEIGHT_GRAD : WORK_BACKWARD;
    ScheduleMemory m = {.slots = NEW_ARRAY(a, int64_t, s->chunks),
                        .slot = NEW_ARRAY(a, int64_t, s->chunks * s->microbatches),
                        .in_flight = NEW_ARRAY(a, int64_t, s->stages)};
    Slots *free = NEW_ARRAY(a, Slots, s->chunks);
    for (int c = 0; c < s->chunks; c++) free[c].heap = NEW_ARRAY(a, int64_t, s->microbatches);
    for (int i = 0; i < s->stages; i++) {
        int64_t now = 0;
        for (int64_t k = 0; k < s->count[i]; k++) {
            const WorkItem w = s->items[i][k];
            int64_t *slot = &m.slot[w.chunk * s->microbatches + w.microbatch];
            if (w.kind == WORK_FORWARD) {
                *slot = slots_take(&free[w.chunk]);
                if (++now > m.in_flight[i]) m.in_flight[i] = now;
            } else if (w.kind == last) {
                slots_give(&free[w.chunk], *slot);
                now--;
            }
        }
    }
    for (int c = 0; c < s->chunks; c++) m.slots[c] = free[c].top;
    return m;
}
