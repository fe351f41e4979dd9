// SPDX-License-Identifier: Apache-2.0
// gradients: one function per row of the op table. Given the cotangents of a node's results it makes those of its
// operands, using the forward values themselves as operands: autodiff afterwards keeps what is used and replaces
// forward values a backward body cannot see by saved or recomputed ones.
#pragma once
#include "ir/build.h"

struct Autodiff;
typedef struct Gradient {
    struct Autodiff *autodiff;
    Builder *b; // where to build; its location is the forward node's
    Node *node;
    Value *const *g;    // cotangent of each result; NULL: zero
    const bool *wanted; // per operand: floating-point and dependent on a parameter
    Value **d;          // out, per operand: its cotangent. May have more dimensions than the operand (they are summed
                        // over) and in any order; left NULL only where not wanted, or zero in a repeat
} Gradient;

typedef bool GradientFunction(Gradient *x); // false after reporting
extern GradientFunction *const gradient_table[OP_COUNT];

// The map rows' column, one function each.
#define MAP(name, ...) GradientFunction gradient_map_##name;
#include "ir/ops.def"

GradientFunction gradient_none, gradient_rename, gradient_slice, gradient_place, gradient_concat, gradient_expand,
    gradient_sum, gradient_max, gradient_cumsum, gradient_dot, gradient_take, gradient_scatter, gradient_attend,
    gradient_repeat;
