// SPDX-License-Identifier: Apache-2.0
// zbh1: 1f1b with the backward in two halves (Qi et al., "Zero Bubble Pipeline Parallelism", 2023, section 2.1). I goes
// on to the stage before at once; W waits. Stage i of p lets W fall i microbatches behind, and has p in flight as stage
// 0 of 1f1b has: so all I come to stage 0 a microbatch's I apart, and W fills the end. A third of 1f1b's bubble is
// left.
//
//   0: F0.0 F0.1      I0.0 W0.0 F0.2 I0.1 W0.1 I0.2 W0.2
//   1:      F1.0 I1.0 F1.1 I1.1 W1.0 F1.2 I1.2 W1.1 W1.2
#include "passes/schedule_inside.h"

void schedule_zbh1(Schedule *s) {
    for (int i = 0; i < s->stages; i++) {
        const int64_t ahead = s->stages - 1 - i;
        for (int64_t m = 0; m < ahead; m++) schedule_put(s, i, WORK_FORWARD, i, m);
        for (int64_t m = 0; m < s->microbatches; m++) {
            schedule_put(s, i, WORK_FORWARD, i, m + ahead);
            schedule_put(s, i, WORK_INPUT_GRAD, i, m);
            if (m >= i) schedule_put(s, i, WORK_WEIGHT_GRAD, i, m - i);
        }
        for (int64_t m = s->microbatches > i ? s->microbatches - i : 0; m < s->microbatches; m++)
            schedule_put(s, i, WORK_WEIGHT_GRAD, i, m);
    }
}
