// SPDX-License-Identifier: Apache-2.0
// tile_group: arithmetic on groups of axes: merging axes that are one in memory, and byte offsets of a linear index.
#pragma once
#include "codegen/tile_matmul.h"

typedef enum TileSide { TILE_A, TILE_B, TILE_C } TileSide;

static inline int64_t *tile_stride(TileAxis *x, TileSide s) {
    return s == TILE_A ? &x->a : s == TILE_B ? &x->b : &x->c;
}
static inline int64_t tile_stride_of(const TileAxis *x, TileSide s) {
    return s == TILE_A ? x->a : s == TILE_B ? x->b : x->c;
}

// Elements of the group; false when negative or beyond 62 bits.
bool tile_group_extent(const TileGroup *g, int64_t *out_extent);
// Drops axes of one element and merges neighbours that are one axis in each of `sides` (count of them). Linear indices
// stay.
TileGroup tile_group_merge(const TileGroup *g, int count, const TileSide *sides);
// Whether any `width` indices from a multiple of width on lie side by side in the operand (the last ones: as many as
// exist).
bool tile_group_side_by_side(const TileGroup *g, TileSide side, int64_t width);
// Byte offset of linear index i (i64) for elements of `bytes`.
Val tile_group_offset(Irb *b, const TileGroup *g, TileSide side, Val i, int64_t bytes);
// Fills table[j] = offset of index from + j, for j < count.
void tile_group_table(Irb *b, const TileGroup *g, TileSide side, Val table, Val from, Val count, int64_t bytes);
