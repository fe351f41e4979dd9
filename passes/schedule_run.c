// SPDX-License-Identifier: Apache-2.0
// All stages of a schedule at once: what an item waits for, and whether all come to their end.
#include "passes/schedule_inside.h"

int work_needs(const Schedule *s, WorkItem w, WorkItem out[2]) {
    const WorkKind back = s->halves ? WORK_INPUT_GRAD : WORK_BACKWARD;
    int n = 0;
    switch (w.kind) {
    case WORK_FORWARD:
        if (w.chunk > 0) out[n++] = (WorkItem){WORK_FORWARD, w.chunk - 1, w.microbatch};
        break;
    case WORK_BACKWARD:
    case WORK_INPUT_GRAD:
        out[n++] = (WorkItem){WORK_FORWARD, w.chunk, w.microbatch};
        if (w.chunk + 1 < s->chunks) out[n++] = (WorkItem){back, w.chunk + 1, w.microbatch};
        break;
    case WORK_WEIGHT_GRAD: out[n++] = (WorkItem){WORK_INPUT_GRAD, w.chunk, w.microbatch}; break;
    }
    return n;
}

// The stage that what this item makes is sent to, or -1.
static int receiver(const Schedule *s, WorkItem w) {
    const int chunk = w.kind == WORK_FORWARD ? w.chunk + 1 : w.kind == WORK_WEIGHT_GRAD ? -1 : w.chunk - 1;
    return chunk < 0 || chunk >= s->chunks ? -1 : s->place[chunk];
}

bool schedule_run(const Schedule *s, Arena *scratch, ScheduleVisit *visit, void *context, int64_t *out_at) {
    bool *done = NEW_ARRAY(scratch, bool, work_indices(s)), *awake = NEW_ARRAY(scratch, bool, s->stages);
    int *stack = NEW_ARRAY(scratch, int, s->stages), n = 0;
    for (int i = s->stages - 1; i >= 0; i--) {
        stack[n++] = i;
        awake[i] = true;
        out_at[i] = 0;
    }
    while (n) {
        const int i = stack[--n];
        awake[i] = false;
        for (; out_at[i] < s->count[i]; out_at[i]++) {
            const WorkItem w = s->items[i][out_at[i]];
            WorkItem needs[2];
            bool ready = true;
            for (int k = work_needs(s, w, needs); k-- > 0;) ready &= done[work_index(s, needs[k])];
            if (!ready) break;
            done[work_index(s, w)] = true;
            if (visit) visit(context, i, out_at[i]);
            const int other = receiver(s, w);
            if (other >= 0 && other != i && !awake[other]) {
                stack[n++] = other;
                awake[other] = true;
            }
        }
    }
    for (int i = 0; i < s->stages; i++)
        if (out_at[i] < s->count[i]) return false;
    return true;
}
