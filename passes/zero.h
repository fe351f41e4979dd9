// SPDX-License-Identifier: Apache-2.0
// zero: the parts of `shard optimizer | gradients | parameters`; see zero.c.
#pragma once
#include "passes/layout.h"

// How a parameter is cut beyond its layout by name: its dimension `axis` over the mesh axes `over`.
typedef struct Cut {
    const Axis *axis; // NULL: it stays as it is
    MeshSet over;
} Cut;

typedef struct Zero {
    Unit *u;
    Func *f;
    ShardLevel level;
    MeshSet over;
    Axes repeated;       // axes that repeats run along, in any function
    int known;           // values of f with ids below this are older than the cuts
    Value **part;        // by older value id: its part, once it is made
    Cut *leaf;           // by older value id: how this parameter or state is cut
    Cut *gradient;       // by older value id: the cut of the parameter whose gradient it is
    unsigned char *from; // by older value id: made by maps from a gradient? 0: not looked yet, 1: no, 2: yes
    bool ok;
} Zero;

// Applies the strategy's shard line to a unit that is laid out by name. False after a diagnostic.
bool zero_apply(Unit *u);
// zero_move.c: cuts move to where they cost least.
// The node `part` cuts a result of a repeat: the repeat's body cuts what it yields instead, if it can.
bool zero_move_part(Zero *z, Node *part);
// v, whose type is now cut, is gathered in front of the older nodes that use it; a repeat that slices it gathers the
// slices, a cast is made before the gather.
bool zero_gather_uses(Zero *z, Value *v, Cut cut);
