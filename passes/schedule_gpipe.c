// SPDX-License-Identifier: Apache-2.0
// gpipe: all microbatches forward, then all backward (Huang et al., "GPipe", NeurIPS 2019). With several chunks a
// stage, chunk by chunk: breadth first (Lamy-Poirier, "Breadth-First Pipeline Parallelism", MLSys 2023). Everything is
// in flight.
//
//   0: F0.0 F0.1 F0.2                     B0.0 B0.1 B0.2
//   1:      F1.0 F1.1 F1.2 B1.0 B1.1 B1.2
#include "passes/schedule_inside.h"

void schedule_gpipe(Schedule *s) {
    for (int i = 0; i < s->stages; i++) {
        for (int c = i; c < s->chunks; c += s->stages)
            for (int64_t m = 0; m < s->microbatches; m++) schedule_put(s, i, WORK_FORWARD, c, m);
        for (int c = s->chunks - s->stages + i; c >= 0; c -= s->stages)
            for (int64_t m = 0; m < s->microbatches; m++) schedule_put(s, i, WORK_BACKWARD, c, m);
    }
}
