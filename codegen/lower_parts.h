// SPDX-License-Identifier: Apache-2.0
// lower_parts: what the files of lower share: loop axes, and values at symbolic coordinates.
#pragma once
#include "codegen/lower.h"

enum { LOWER_AXES = 24, LOWER_CUTS = 16 };

// A loop of the nest before neighbours are merged: an axis or one factor of it (an axis that a rename splits or merges
// is walked by its parts). Coordinates are written as addresses (KIndex) over these, numbered as they stand in the
// nest; lower_finish turns them into addresses over the kernel's variables.
typedef struct LoopAxis {
    const Axis *axis;
    int64_t extent, scale; // scale: places of `axis` that one step is
    bool begins;           // not merged with the one before it
    int ncuts;             // where pieces begin: cut[0] = 0
    int64_t cut[LOWER_CUTS];
    int64_t low, high; // the piece being filled
} LoopAxis;

// Neighbouring loop axes walked as one.
typedef struct LoopGroup {
    int first, count;
    int64_t extent;
    int var, chunk_var; // of the kernel; -1: not bound (one place only), not chunked
    int64_t chunk;
} LoopGroup;

typedef struct LowerMemo {
    KIndex at[RANK_MAX];
    KExpr *value;
    struct LowerMemo *next;
} LowerMemo;

typedef struct Lower {
    const Unit *unit;
    const FuncStorage *places;
    const Node *node;
    const Block *body; // NULL: the node itself is the whole body
    LowerMachine machine;
    Arena *arena;
    Kernel *k;
    Lowered *out;
    bool failed, again; // again: two axes could not be merged; begins was set and the kernel is to be made anew
    LoopAxis loop[LOWER_AXES];
    int nloops;
    LoopGroup group[LOWER_AXES];
    int ngroups;
    int phase;
    int *level;       // by value id: the phase in which it is first known
    int *acc;         // by value id: its accumulator + 1, 0: none
    int *stored;      // by value id: the buffer this kernel stores it to + 1, 0: none
    LowerMemo **memo; // by value id
    int *memo_ids, nmemo_ids;
} Lower;

bool lower_fail(Lower *l, const Value *v, const char *what);
int64_t lower_local(const Lower *l, const Dim *d);
bool lower_is_inside(const Lower *l, const Value *v); // made by a node of the body
int lower_buf(Lower *l, const Value *outer, bool written);
const Place *lower_place(const Lower *l, const Value *outer);
// The coordinate of an axis over the loop axes.
KIndex lower_coordinate(const Lower *l, const Axis *axis);
// Over the kernel's variables.
KIndex lower_finish(Lower *l, const KIndex *over_loops);
KIndex lower_address(Lower *l, const Value *outer, const KIndex *at);
// The value at coordinates `at`, one per dimension of its type, over the loop axes. NULL after a failure.
KExpr *lower_value(Lower *l, const Value *v, const KIndex *at);
void lower_forget(Lower *l); // what is remembered no longer holds: another phase or piece begins
// 16-bit values are f32 expressions that a 16-bit element can hold; loads widen, stores narrow.
DType lower_type(DType t);
KExpr *lower_round(Kernel *k, KExpr *e, DType t);
KExpr *lower_load(Kernel *k, int buf, KIndex at);
void lower_store(Kernel *k, KBody *into, int buf, KIndex at, KExpr *value);
KExpr *lower_map(Kernel *k, const Node *n, KExpr *a, KExpr *b, KExpr *c);
// ids to a safe row number and whether it was one: ids are global, rows those of this rank.
KExpr *lower_row(Lower *l, const Dim *over, KExpr *ids, KExpr **out_valid);
KExpr *lower_scalar(Lower *l, LowerScalar s);
KExpr *lower_shard_offset(Lower *l, const Dim *d); // of this rank's places along the axis; constant 0 when whole
