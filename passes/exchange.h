// SPDX-License-Identifier: Apache-2.0
// exchange: two axes that are split over the same mesh axes and meet in one value; see exchange.c.
#pragma once
#include "passes/layout.h"

// Of a value's places along `axis` only those that ids (i32) name hold something, or are looked at: the first ones, as
// slots are given.
typedef struct Rows {
    Value *ids; // NULL: not known
    const Axis *axis;
} Rows;

typedef struct Exchange {
    Unit *u;
    const Axis *axis[2];
    MeshSet both;             // the mesh axes that split them both
    MeshSet full[2], rest[2]; // how each is split by name, and what of it stays where the other one keeps its split
    int known;                // ids of values below are analysed
    int *value, *node;        // by value id, by the id of a node's first result: its choice, or -1
    Vec(bool) second;         // by choice: the second axis keeps its split
    bool counted;             // `exchange = counted`
    Rows *rows;               // counted, by value id: of a value that is exchanged
} Exchange;

// All pairs of axes of f's values that share a mesh axis, with the cheapest choice for each of their values. False
// after a diagnostic: what is stored (parameters, states, inputs) has one layout, so it cannot have both axes.
bool exchange_find(Unit *u, Func *f, Exchange ***out_list, int *out_n);
// Takes from v, which is split by name, the splits that lose.
void exchange_place(const Exchange *x, Value *v);
// How operand `arg` of n must be split, into *type's dimensions; false: as it is.
bool exchange_wants(Exchange *const *list, int n, const Node *at, int arg, Type *out_type);
// The rows of v that need to travel, if only some do.
Rows exchange_rows(Exchange *const *list, int n, const Value *v);
// Behind `after` in block b: nodes that make v split as `want` is (same dimensions) by all_to_all, or else by gathering
// and cutting; by an all_to_all go only the counted rows. Returns the last, or NULL after a diagnostic; *out_first is
// the one that uses v.
Node *exchange_convert(Func *f, Block *b, Node *after, Value *v, const Type *want, Rows rows, Loc loc,
                       Node **out_first);
