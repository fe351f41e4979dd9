// SPDX-License-Identifier: Apache-2.0
// tile_attend_parts: what attention's forward and backward kernels share. Private to codegen/tile_attend*.c.
//
// Scores are computed turned: a block is [key][query], queries along the vectors, nr of them a panel. So maxima and
// sums over keys are plain vector operations, and the block is at once the packed operand of the product with v (or k)
// that follows. All that products write lies in scratch as tiles of row stride nr.
#pragma once
#include "codegen/tile_attend.h"
#include "codegen/tile_micro.h"

enum { TILE_F32 = 4 };

typedef struct Attend {
    Irb *b;
    const TileAttend *d;
    TileShape shape;
    int64_t mr, nr;
    IrbKernel kernel;
    int64_t at;                  // scratch laid out so far, in bytes
    Val tile_rows, tile_columns; // offset tables of a tile
    Val between;                 // position of query 0 minus that of key 0
    Val ahead;                   // the same, and when bounded the last key of the task at hand
} Attend;

Val attend_scratch(Attend *a, int64_t bytes);               // the next piece of scratch
Val attend_table(Attend *a, int64_t count, int64_t stride); // scratch filled with i * stride operand elements, in bytes
void attend_begin(Attend *a, const char *name);             // the kernel, and the tables and values every one needs
Val attend_floats(Attend *a, int64_t count, int64_t stride);                           // the same of f32 in scratch
static inline int64_t attend_bytes(const Attend *a) { return real_bytes(a->d->type); } // of an operand's element
Val attend_base(Attend *a, const TileRows *x); // address of the operand's first element

// Linear index over some of the outer axes (those with pick[i]) to byte offset.
Val attend_offset(Attend *a, const TileRows *x, const bool *pick, Val index, int64_t bytes);

// When bounded: reads the last key of an outer index, `from` being its address.
void attend_bound(Attend *a, Val from);

// Packs `count` rows (or columns, by_column) of x at `from` as panels of `panel`; the other direction, `k` long, is the
// K of a product. Tables are those of x's rows and columns.
void attend_pack(Attend *a, const TileRows *x, bool by_column, int panel, Val to, Val from, Val rows, Val columns,
                 Val count, Val k);
// One full tile in scratch over k terms: c = a b, or c += a b where load (i64) is not 0.
void attend_product(Attend *a, Val pa, Val pb, Val k, Val c, Val load);

// Scores of panel (queries from q0, nr of them) by keys t0 + [0, count) at `scores` that take no part become -inf.
// mask_from: address of the mask at query q0 and key t0. Nothing where the descriptor has neither mask nor causality.
void attend_exclude(Attend *a, Val scores, Val q0, Val t0, Val count, Val mask_from, Val queries_here);
// Keys of [0, keys) that any of queries [0, q_end) may see.
Val attend_key_end(Attend *a, Val q_end);

// Writes `rows` x `columns` times factor (f32, or turned: the address of one f32 a row of the panel) to `to`. turned:
// from holds [column][row], one panel of rows; else [row][column] in panels of nr columns, panel_bytes apart.
void attend_store(Attend *a, bool turned, Val from, Val panel_bytes, Val rows, int64_t columns, const TileRows *x,
                  Val to, Val factor);

Status attend_check(const char *name, const TileAttend *d);
int64_t attend_round(int64_t x, int64_t to);
