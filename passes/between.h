// SPDX-License-Identifier: Apache-2.0
// between: where a split marked `between blocks` applies (ir/strategy.h); see between.c.
#pragma once
#include "passes/layout.h"

typedef struct Between {
    Unit *u;
    const Axis *axis;
    MeshSet over;  // without mesh axes of one rank
    int known;     // value ids below are decided
    bool *split;   // by value id: users see the axis split
    bool *working; // by id of a node's first result: the node works on operands whose axis is split, else on whole ones
    bool *needs_whole, *stored, *pending, *inner; // what is known before, see between.c
    int *uses;
} Between;

// Puts the adds of pending sums in the order that needs the fewest reductions; for all such splits before any analysis.
void between_group(Unit *u, Func *f, const Split *split);
// Decides for one such split and all values of a function that carries no placement yet.
Between *between_analyse(Unit *u, Func *f, const Split *split);

static inline bool between_splits(const Between *b, const Value *v) { return v->id < b->known && b->split[v->id]; }

// Which mesh axes split the axis in a node's operand: b->over, or 0 for whole; -1: as it comes.
int64_t between_wants(const Between *b, const Node *n, int arg);
