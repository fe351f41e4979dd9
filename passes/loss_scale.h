// SPDX-License-Identifier: Apache-2.0
// loss_scale: `precision f16` multiplies the loss gradient by a scale, so that small gradients do not underflow,
// divides the parameters' gradients by it, and skips the update where one is not finite. Micikevicius et al., "Mixed
// precision training", ICLR 2018. The scale is a state: it halves with each skipped step (not below 1) and doubles (not
// beyond 2^24) after 2000 steps in a row that are not skipped.
#pragma once
#include "ir/build.h"

bool loss_is_scaled(const Unit *u);

// For autodiff: the cotangent of the loss, and a parameter's gradient with the scale taken out. Without scaling, 1 and
// the gradient itself. Without a recipe the scale stays what the strategy says.
Value *loss_scale_seed(Builder *b);
Value *loss_scale_undo(Builder *b, Value *gradient);

// For the optimizer. `norm` is that of all gradients: finite if they are. Assigns the states and outputs "loss_scale",
// that of this step, and "skipped_steps", so far. Returns bool[]: is the step done? out_step: i32[], `now` without the
// steps skipped before.
Value *loss_scale_check(Builder *b, Value *norm, Value *now, Value **out_step);
