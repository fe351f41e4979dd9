// SPDX-License-Identifier: Apache-2.0
// reduce: the arithmetic of collectives.
#pragma once
#include "runtime/plan.h"

// out[i] = in[0][i] op in[1][i] op ..., from the left, for `count` elements. Each in[j] is out itself or apart from it.
void reduce_elements(PlanReduce op, PlanDType type, void *out, const void *const *in, int n, int64_t count);
