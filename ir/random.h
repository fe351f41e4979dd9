// SPDX-License-Identifier: Apache-2.0
// random: counter-based random numbers, the same on every layout. A `random` node draws for global element e (row-major
// in its type, 64 bits) from Philox4x32-10; see random_words for what goes where. With words w0, w1: uniform law: (w0
// >> 8) * 2^-24; normal law, Box-Muller: u1 = ((w0 >> 8) + 0.5) * 2^-24, u2 = (w1 >> 8) * 2^-24, sqrt(-2 log u1) *
// cos(2 pi u2).
#pragma once
#include "base/random.h"
#include <stdint.h>

// Keys: the operands of the node (i32 scalars). The first is the seed r, the second k0 (the step), the third goes to
// counter word 2 (a repeat's iteration), the fourth to counter word 3; absent ones are 0.
static inline void random_words(int64_t element, int64_t stream, const int32_t keys[4], uint32_t out[4]) {
    out[0] = (uint32_t)element;
    out[1] = (uint32_t)((uint64_t)element >> 32);
    out[2] = (uint32_t)keys[2];
    out[3] = (uint32_t)keys[3];
    philox4x32(out, (uint32_t)keys[0] ^ (uint32_t)stream * 0x9E3779B9u, (uint32_t)keys[1]);
}
