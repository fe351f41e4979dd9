// SPDX-License-Identifier: Apache-2.0
// interleaved: v chunks a stage, chunk c on stage c mod p (Narayanan et al., "Efficient Large-Scale Language Model
// Training on GPU Clusters Using Megatron-LM", SC 2021, section 2.2). Microbatches go in groups of p: a group through a
// stage's first chunk, then through its second, ...; backward from its last chunk. Stage i goes 2(p-1-i) + (v-1)p items
// forward, then one forward, one backward in turn.
//
//   0: F0.0 F0.1 F2.0 F2.1 F0.2 B2.0 F0.3 B2.1 F2.2 B0.0 ...          p = 2, v = 2, m = 4
//   1:      F1.0 F1.1 F3.0 B3.0 F3.1 B3.1 F1.2 B1.0 ...
//
// The paper has m a multiple of p. Otherwise the groups are of p or more, as even as can be, the larger first: a group
// of p or more is back before the next chunk wants it, so the bubble is that of the paper for every m >= p.
#include "passes/schedule_inside.h"

typedef struct Turn {
    int chunk; // of the stage: 0 .. v-1
    int64_t microbatch;
} Turn;

void schedule_interleaved(Schedule *s, Arena *scratch) {
    const int p = s->stages, v = s->chunks / p;
    const int64_t m = s->microbatches, total = m * v, groups = m < p ? 1 : m / p, first = m / groups + (m % groups > 0);
    Turn *forward = NEW_ARRAY(scratch, Turn, total), *backward = NEW_ARRAY(scratch, Turn, total);
    int64_t n = 0;
    for (int64_t g = 0, from = 0; g < groups; g++) {
        const int64_t size = m / groups + (g < m % groups);
        for (int c = 0; c < v; c++)
            for (int64_t k = from; k < from + size; k++) {
                forward[n] = (Turn){c, k};
                backward[n++] = (Turn){v - 1 - c, k};
            }
        from += size;
    }
    for (int i = 0; i < p; i++) {
        const int64_t ahead = 2 * (int64_t)(p - 1 - i) + (v - 1) * first;
        for (int64_t k = 0; k < total + ahead; k++) {
            if (k < total) schedule_put(s, i, WORK_FORWARD, forward[k].chunk * p + i, forward[k].microbatch);
            const int64_t b = k - ahead;
            if (b >= 0) schedule_put(s, i, WORK_BACKWARD, backward[b].chunk * p + i, backward[b].microbatch);
        }
    }
}
