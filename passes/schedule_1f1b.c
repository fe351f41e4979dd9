// SPDX-License-Identifier: Apache-2.0
// 1f1b: stage i of p goes p-1-i microbatches forward, then one forward, one backward in turn, so that it has at most
// p-i in flight (PipeDream-flush: Narayanan et al., "Memory-Efficient Pipeline-Parallel DNN Training", ICML 2021).
//
//   0: F0.0 F0.1             B0.0 F0.2      B0.1 B0.2
//   1:      F1.0 B1.0 F1.1 B1.1   F1.2 B1.2
#include "passes/schedule_inside.h"

void schedule_1f1b(Schedule *s) {
    for (int i = 0; i < s->stages; i++) {
        const int64_t ahead = s->stages - 1 - i;
        for (int64_t m = 0; m < ahead; m++) schedule_put(s, i, WORK_FORWARD, i, m);
        for (int64_t m = 0; m < s->microbatches; m++) {
            schedule_put(s, i, WORK_FORWARD, i, m + ahead);
            schedule_put(s, i, WORK_BACKWARD, i, m);
        }
    }
}
