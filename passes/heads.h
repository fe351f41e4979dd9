// SPDX-License-Identifier: Apache-2.0
// heads: attention over a split sequence in which each rank has all places of some of the heads; see heads.c.
#pragma once
#include "passes/layout.h"

typedef struct Heads {
    const Axis *query, *key, *head; // the first two become whole, the third split
    MeshSet over;
} Heads;

// Does the strategy ask for it in this attend or attend_grad, and are its queries and keys split? False with *out_ok
// false after a diagnostic: there is no axis to split instead.
bool heads_find(const Unit *u, const Node *n, Heads *out_heads, bool *out_ok);
// How a value of the node's lies while it attends, from how it lies now.
Type heads_place(const Heads *h, const Type *t);
