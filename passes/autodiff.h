// SPDX-License-Identifier: Apache-2.0
// autodiff: what the walk over a block and the gradient of `repeat` share.
#pragma once
#include "passes/gradients.h"

typedef struct Autodiff {
    Unit *unit;
    Func *func;
    Arena *scratch;
    int known;         // the forward half's values have ids below this
    bool *active;      // by forward value id: floating-point and dependent on a parameter
    Value **cotangent; // by forward value id, in the block that differentiates the value's block; NULL: zero so far
} Autodiff;

static inline bool autodiff_active(const Autodiff *a, const Value *v) { return v->id < a->known && a->active[v->id]; }

// Builds the cotangents of everything in a block from those of its last values: walks from `last` to the block's first
// node. False after reporting.
bool autodiff_walk(Autodiff *a, Node *last, Builder *b);
// Adds d, of any dimension order and perhaps with more dimensions than v, to v's cotangent.
void autodiff_accumulate(Autodiff *a, Builder *b, Value *v, Value *d);
Value *autodiff_zero(Builder *b, const Type *t);
