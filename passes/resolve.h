// SPDX-License-Identifier: Apache-2.0
// resolve: the parts of the resolve pass.
#pragma once
#include "passes/layout.h"

// What the analysis decides, by value id: over which mesh axes a value stays pending; what it is born pending over
// beyond that is reduced right behind its definition.
typedef struct Pending {
    Unit *u;
    Func *f;
    int known;      // ids below are analysed; nodes made later have none of the below
    MeshSet *intro; // sums the defining op leaves pending whatever its operands are
    MeshSet *born;  // pending at definition
    MeshSet *keep;  // what all users accept
    MeshSet *carry; // body parameters of carries: pending through all iterations
    bool *zero;     // zero everywhere: may be declared pending over anything
    bool *inner;    // results of adds that belong to the tree of the add using them
    int *uses;
    Node **user;        // of values used once
    MeshSet everything; // all mesh axes
} Pending;

// A tree of adds seen as one sum of its leaves.
enum { TREE_MAX = 256 };
typedef struct AddTree {
    int n;
    Value *leaf[TREE_MAX];
} AddTree;

Pending *pending_analyse(Unit *u, Func *f);
MeshSet pending_of(const Pending *p, const Value *v); // what users see
bool pending_is_root(const Pending *p, const Node *n);
bool pending_tree(const Pending *p, const Node *root, AddTree *out_tree); // false: too large or no leaf has all axes
bool pending_inner(const Pending *p, const Value *v);

// With microbatches and stages: what needs the whole batch or all layers at once is refused where it stands.
bool resolve_check(Unit *u, Func *f);

// Masks padding where an axis is reduced, contracted or stored. Types are final but for the masks it adds.
bool resolve_padding(Unit *u, Func *f);
