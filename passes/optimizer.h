// SPDX-License-Identifier: Apache-2.0
// optimizer: what of the recipe depends on the step alone, as scalar nodes.
#pragma once
#include "ir/build.h"
#include "ir/recipe.h"

// The learning rate of step `now` (i32[], from 0), f32[].
Value *schedule_rate(Builder *b, const Recipe *r, Value *now);
// 1 / (1 - beta^(now + 1)), f32[], to 1e-6 of itself for every beta in [0, 1) and every step.
Value *schedule_unbias(Builder *b, Value *now, double beta);
