// SPDX-License-Identifier: Apache-2.0
// tile_group: see tile_group.h.
#include "codegen/tile_group.h"
#include "base/checked.h"
#include "codegen/tile_micro.h"
#include <stddef.h>

bool tile_group_extent(const TileGroup *g, int64_t *out_extent) {
    int64_t n = 1;
    for (int i = 0; i < g->count; i++)
        if (g->axis[i].extent < 0 || !checked_mul(n, g->axis[i].extent, &n)) return false;
    *out_extent = n;
    return n < ((int64_t)1 << 62);
}

TileGroup tile_group_merge(const TileGroup *g, int count, const TileSide *sides) {
    TileGroup out = {0};
    for (int i = 0; i < g->count; i++) {
        TileAxis x = g->axis[i];
        if (x.extent == 1) continue;
        TileAxis *outer = out.count ? &out.axis[out.count - 1] : NULL;
        bool one = outer != NULL;
        for (int s = 0; one && s < count; s++)
            one = tile_stride_of(outer, sides[s]) == tile_stride_of(&x, sides[s]) * x.extent;
        if (one) {
            x.extent *= outer->extent;
            *outer = x;
        } else {
            out.axis[out.count++] = x;
        }
    }
    return out;
}

bool tile_group_side_by_side(const TileGroup *g, TileSide side, int64_t width) {
    int64_t run = 1;
    int i = g->count - 1;
    for (; i >= 0 && (g->axis[i].extent == 1 || tile_stride_of(&g->axis[i], side) == run); i--)
        run *= g->axis[i].extent;
    return i < 0 || run % width == 0;
}

Val tile_group_offset(Irb *b, const TileGroup *g, TileSide side, Val i, int64_t bytes) {
    TileGroup merged = tile_group_merge(g, 1, &side);
    Val sum = irb_int(b, 0);
    for (int a = merged.count - 1; a >= 0; a--) {
        Val extent = irb_int(b, merged.axis[a].extent);
        Val here = a ? irb_rem(b, i, extent) : i;
        if (a) i = irb_div(b, i, extent);
        sum = irb_add(b, sum, irb_muli(b, here, tile_stride_of(&merged.axis[a], side) * bytes));
    }
    return sum;
}

void tile_group_table(Irb *b, const TileGroup *g, TileSide side, Val table, Val from, Val count, int64_t bytes) {
    TileGroup merged = tile_group_merge(g, 1, &side);
    if (merged.count <= 1) {
        int64_t stride = merged.count ? tile_stride_of(&merged.axis[0], side) * bytes : 0;
        Val arguments[] = {table, from, count, irb_int(b, stride)};
        irb_call(b, tile_offsets(b), 4, arguments);
        return;
    }
    IrbLoop j = irb_loop(b, irb_int(b, 0), count, irb_int(b, 1));
    irb_store(b, tile_group_offset(b, &merged, side, irb_add(b, from, j.index), bytes),
              irb_index(b, table, b->i64, j.index));
    irb_loop_end(b, &j);
}
