// SPDX-License-Identifier: Apache-2.0
// zbv: two chunks a stage, down the stages and up again, backward in two halves (Qi et al., "Zero Bubble Pipeline
// Parallelism", 2023, section 6; "Pipeline Parallelism with Controllable Memory", 2024). The loss is on stage 0, so its
// gradient is there as soon as the last chunk's forward. With F, I and W of equal length no stage ever waits from its
// first item to its last, and each has 2p chunks' microbatches in flight, which are p of a whole stage, as 1f1b's
// first.
//
// Stage i of p has a = chunk i and b = chunk 2p-1-i. Items of one kind and chunk go in the order of microbatches:
//
//   Fa             2(p-i)-1 times     until microbatch 0 comes up again
//   Fb Fa          i times            until its gradient comes down
//   Fb Ib Wb       p-i times
//   Fa Ia Wa Fb Ib Wb                 until all Fb are done; there are i Fa less than Fb left
//   Ia Ib          i times            W held back: they fill the end
//   Ia Wa          p-i times
//   Wb, Wa         those left
//
// Fewer than 2p-1 microbatches: the same order with the missing ones left out.
#include "passes/schedule_inside.h"

typedef struct Stage {
    Schedule *s;
    int stage;
    int64_t done[2][4]; // by chunk of the stage, by kind
} Stage;

static void next(Stage *t, WorkKind kind, int b) {
    schedule_put(t->s, t->stage, kind, b ? t->s->chunks - 1 - t->stage : t->stage, t->done[b][kind]++);
}

static void next_whole(Stage *t, int b) {
    next(t, WORK_INPUT_GRAD, b);
    next(t, WORK_WEIGHT_GRAD, b);
}

void schedule_zbv(Schedule *s) {
    const int64_t p = s->stages, all = s->microbatches < 2 * p - 1 ? 2 * p - 1 : s->microbatches;
    for (int i = 0; i < p; i++) {
        Stage t = {.s = s, .stage = i};
        for (int64_t k = 0; k < 2 * (p - i) - 1; k++) next(&t, WORK_FORWARD, 0);
        for (int64_t k = 0; k < i; k++) {
            next(&t, WORK_FORWARD, 1);
            next(&t, WORK_FORWARD, 0);
        }
        for (int64_t k = 0; k < p - i; k++) {
            next(&t, WORK_FORWARD, 1);
            next_whole(&t, 1);
        }
        while (t.done[1][WORK_FORWARD] < all) {
            if (t.done[0][WORK_FORWARD] < all) next(&t, WORK_FORWARD, 0);
            next_whole(&t, 0);
            next(&t, WORK_FORWARD, 1);
            next_whole(&t, 1);
        }
        for (int64_t k = 0; k < i; k++) {
            next(&t, WORK_INPUT_GRAD, 0);
            next(&t, WORK_INPUT_GRAD, 1);
        }
        for (int64_t k = 0; k < p - i; k++) next_whole(&t, 0);
        for (int b = 1; b >= 0; b--)
            while (t.done[b][WORK_WEIGHT_GRAD] < all) next(&t, WORK_WEIGHT_GRAD, b);
    }
}
