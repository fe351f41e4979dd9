// SPDX-License-Identifier: Apache-2.0
// What the files schedule_*.c share.
#pragma once
#include "passes/schedule.h"

// Generators append through schedule_put and may do as if there were more microbatches than there are: what is left
// out of an order that ends leaves one that ends.
static inline void schedule_put(Schedule *s, int stage, WorkKind kind, int chunk, int64_t microbatch) {
    if (microbatch < s->microbatches) s->items[stage][s->count[stage]++] = (WorkItem){kind, chunk, microbatch};
}

void schedule_gpipe(Schedule *s);
void schedule_1f1b(Schedule *s);
void schedule_interleaved(Schedule *s, Arena *scratch);
void schedule_zbh1(Schedule *s);
void schedule_zbv(Schedule *s);

// F, then B or I, then W: a number for each of a schedule's items.
enum { PHASES = 3 };
static inline int work_phase(WorkKind kind) { return kind == WORK_FORWARD ? 0 : kind == WORK_WEIGHT_GRAD ? 2 : 1; }
static inline int64_t work_index(const Schedule *s, WorkItem w) {
    return ((int64_t)work_phase(w.kind) * s->chunks + w.chunk) * s->microbatches + w.microbatch;
}
static inline int64_t work_indices(const Schedule *s) { return (int64_t)PHASES * s->chunks * s->microbatches; }
// The items that must end before `w` begins; at most two.
int work_needs(const Schedule *s, WorkItem w, WorkItem out[2]);

// All stages at once, each in its order: calls `visit` for each item when all it needs has been visited. out_at: by
// stage, how far it came. True when all came to their end.
typedef void ScheduleVisit(void *context, int stage, int64_t i);
bool schedule_run(const Schedule *s, Arena *scratch, ScheduleVisit *visit, void *context, int64_t *out_at);
