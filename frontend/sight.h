// SPDX-License-Identifier: Apache-2.0
// sight: what names and calls came to stand for while the functions were built, for tools that show a program to its
// author. A block's names are seen once for each call of the block, and everything once for each function. A tensor's
// Value lives in the unit: after passes, sight_value finds what it has become.
#pragma once
#include "frontend/frontend.h"

typedef enum SightKind { SIGHT_TENSOR, SIGHT_NUMBER, SIGHT_AXIS } SightKind;

typedef struct Sight {
    SightKind kind;
    Loc loc; // of the name; of a call, its callee's
    const Func *func;
    const Value *value; // SIGHT_TENSOR
    Type type;          // as the author wrote it: of no strategy
    double number;      // SIGHT_NUMBER
    const Axis *axis;   // SIGHT_AXIS
    bool is_param;      // of a `param`: `value` has the axes of repeats too
} Sight;

enum { SIGHTS_MAX = 100000 }; // what comes later is not seen

typedef struct Sights {
    Vec(Sight) at; // in the frontend's arena
} Sights;

// The values that are left in a function after passes.
typedef struct Living {
    int n;
    const Value **at; // by id
} Living;
Living living_values(const Func *f, Arena *a);
// What stands for a value of that function now: itself, or what replaced it. NULL: nothing needs it.
const Value *sight_value(const Living *living, const Value *v);
