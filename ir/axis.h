// SPDX-License-Identifier: Apache-2.0
// axis: a named dimension. One Axis object per name in a Unit, so axes are compared by pointer.
#pragma once
#include "base/diag.h"
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>

enum { RANK_MAX = 12 };

typedef struct Axis {
    Str name;
    int64_t extent; // global: never divided by the mesh
    Loc loc;        // where it was declared
    // The axis of a chunk's layers (ir/pipeline.h): places [first, first + extent) of the whole one, where `first` is the
    // running chunk's. NULL: an axis of its own.
    const struct Axis *whole;
} Axis;

// A short list of axes, by value. Order matters where it says so (storage order, contraction order); a set otherwise.
typedef struct Axes {
    int n;
    const Axis *at[RANK_MAX];
} Axes;

int axes_find(const Axes *list, const Axis *axis); // position or -1
bool axes_push(Axes *list, const Axis *axis);      // false when full
Axes axes_of(int n, ...);                          // axes_of(2, batch, seq)
bool axes_equal(const Axes *a, const Axes *b);     // same axes, same order
