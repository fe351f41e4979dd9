// SPDX-License-Identifier: Apache-2.0
// tile_micro: the pieces every blocked kernel of a module shares: the register-tile matrix product and the routines
// that copy a block of a strided operand into the panels it reads. Each is an internal function, emitted once a module
// and shape.
//
// Panels. A block of X rows (P at a time) by K is kept as ceil(X/P) panels of K * P floats, [k][p]; beyond the last row
// lies something harmless. The product reads a panel of A (P = mr) and one of B (P = nr = nv vectors) and adds the K
// terms in order, so an element's bits depend on K's blocking only. Places in a strided operand are given as tables of
// byte offsets (i64), one entry an index: any nesting of axes is a table.
#pragma once
#include "codegen/irb.h"

typedef struct TileShape {
    int mr; // rows of the register tile
    int nv; // its columns, in vectors
} TileShape;

TileShape tile_shape_wide(const CpuTarget *t);   // 8x48 (avx512), 6x16 (avx2), 4x8: products in general
TileShape tile_shape_narrow(const CpuTarget *t); // 8x32, 6x16, 4x8: fits the sizes of attention's heads
static inline int tile_columns(const CpuTarget *t, TileShape s) { return s.nv * t->lanes; }

// void micro(a, b, k, c, row_offset, column_offset, rows, columns, load): the tile at c, element (r, j) of it at
// c + row_offset[r] + column_offset[j], vectors of columns contiguous from every lanes-th offset;
// only rows x columns of it are touched. c = a b, or c + a b where load is not 0.
Val tile_micro(Irb *b, TileShape shape);

typedef enum TilePack {
    TILE_PACK_ACROSS, // the P indices of a vector lie side by side
    TILE_PACK_ALONG,  // K does: transposed in registers
    TILE_PACK_ANY,    // neither
} TilePack;
// void pack(to, from, offset, k_offset, count, k): `count` indices by k into panels of `panel` at `to`.
// ACROSS: `from + offset[i] + k_offset[k]` holds `unit` side by side for every i divisible by unit, unit = lanes where
// lanes divides panel, else panel; ALONG: lanes side by side for every k divisible by lanes.
// Elements at `from` are of type `real`; panels are f32.
Val tile_pack(Irb *b, TilePack kind, int panel, Real real);

// void offsets(to, from, count, stride): to[i] = (from + i) * stride.
Val tile_offsets(Irb *b);

// Transposes in registers: x[i] lane j -> x[j] lane i, for `lanes` vectors of b->lanes each. Entries may be poison.
void tile_transpose(Irb *b, Val *x);
