// SPDX-License-Identifier: Apache-2.0
// precision: what other passes ask about the types a strategy computes in.
#pragma once
#include "ir/build.h"

// A parameter's gradient as it is summed over ranks and output: rounded to the strategy's `reduce` type, and f32.
Value *precision_gradient(Builder *b, Value *g);
// Over which mesh axes may the sum pending in a cast's operand wait until behind the cast? None where the cast widens:
// in front there are fewer bytes; except for a parameter's gradient, which is summed in f32 when `reduce` says so. Sums
// over microbatches are in the wider type.
MeshSet precision_passes_pending(const Func *f, const Node *cast);
