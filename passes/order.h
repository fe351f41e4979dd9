// SPDX-License-Identifier: Apache-2.0
// order: what the parts of the order pass share: a block's nodes with what must come before them and what they need.
#pragma once
#include "ir/op.h"

typedef struct Item { // a node of the block being scheduled
    Node *node;
    Vec(int) before, after; // items; `before` must be done first
    Vec(int) reads;         // base values (ids) of this block it reads, each once
    int64_t alloc;          // bytes of its results
    bool done, visited, lazy;
} Item;

typedef struct Order {
    Unit *u;
    Arena *a;
    Block *block;
    Item *item;
    int n;
    int *item_of;   // by value id: the item that makes it, or -1 (parameters of the block, outer values)
    int *base;      // by value id: the value whose memory it views
    int *users;     // by base id: items that read it and are not done
    int64_t *bytes; // by base id: 0 for what lives anyway
    int *emitted;   // items, in order
    int nemitted;
} Order;

// order_overlap.c: changes `emitted` so that more is computed while collectives are on their way. Never needs more
// bytes than before.
void order_overlap(Order *o);
