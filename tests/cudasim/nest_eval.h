// SPDX-License-Identifier: Apache-2.0
// nest_eval: loop nests (ir/kernel.h) run one place after another, the plainest reading of what they mean.
#pragma once
#include "ir/kernel.h"

void nest_eval(const Kernel *k, char *const *bufs, const int64_t *scalars);
