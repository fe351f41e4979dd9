// SPDX-License-Identifier: Apache-2.0
// fuse: what the files of the pass share; see fuse.c.
#pragma once
#include "ir/op.h"
#include "base/vec.h"

// Values over P only, and values over P and I that are reduced over I: one kernel (codegen/lower.h).
typedef struct Cluster {
    Axes outer, inner;    // P, I; inner empty: nothing is reduced
    bool reduces, is_row; // is_row: the last axis is reduced
    bool has_wide;        // makes values over all axes
    Vec(Value *) roots;
    Vec(Value *) inputs; // materialised values it reads
    uint64_t *before;    // vertices it depends on, directly or not
    int vertex;
    Node *node; // once built
} Cluster;

typedef struct Fuse {
    Func *func;
    Block *block;
    Arena *arena;
    int ids;      // value ids below this one are known to the tables
    Node **nodes; // of the block, in order
    int n;
    int *at;       // by value id: 1 + the position of its node in the block, 0: from elsewhere
    bool *is_root; // by value id: gets memory or is a reduction
    bool *is_kept; // by value id: a view that stays a node of the block
    int *uses;
    Cluster **of; // by value id of roots
    Vec(Cluster *) clusters;
    int words; // of a vertex set
} Fuse;

bool fuse_is_fusable(const Fuse *f, const Value *v); // made by an op that can stand in a kernel, in this block
bool fuse_is_reduction(const Value *v);
bool fuse_is_inlined(const Fuse *f, const Value *v); // fusable and no root
// fuse_roots.c: which values get memory.
void fuse_split_reductions(Block *b);
void fuse_scatter_sums(Block *b);
void fuse_mark_roots(Fuse *f);
bool fuse_promote(Fuse *f); // values that several kernels would make again; true if there were any
// fuse_clusters.c
void fuse_make_clusters(Fuse *f);
void fuse_build(Fuse *f); // the new nodes, in order
