// SPDX-License-Identifier: Apache-2.0
// cuda_matmul_wgmma: products of 16-bit elements in the form for Hopper (GroupMatmul of cuda_prelude_sm90.cuh). Tiles
// of A and B are brought by the bulk copy engine, which knows an operand as a tensor of at most five dimensions, its
// innermost one contiguous, and copies boxes of it: 64 elements (128 bytes) along the contiguous direction by the
// tile's extent along the other. A group of several axes is that many dimensions; boxes must not break at their ends.
#include "codegen/cuda_matmul.h"
#include <string.h>

enum { TILE_M = 128, DEPTH = 64, THREADS = 384, OUT_BYTES = 8 * 16 * 144, MOST_STAGES = 8 };

// A coordinate: index / inner % extent; 0 as extent: without the remainder.
typedef struct Coordinate {
    const char *index;
    int64_t inner, extent;
} Coordinate;

typedef struct Boxes {
    PlanMap map;
    Coordinate at[PLAN_MAP_RANK];
} Boxes;

static bool add_dimension(Boxes *x, Coordinate at, int64_t extent, int64_t stride, int64_t box) {
    int d = x->map.rank;
    if (d == PLAN_MAP_RANK || box > 256 || extent > UINT32_MAX || stride <= 0 || stride >= (int64_t)1 << 40)
        return false;
    if (d && stride % 16) return false;
    x->map.extent[d] = extent;
    x->map.stride[d] = stride;
    x->map.box[d] = (int)box;
    x->at[d] = at;
    x->map.rank++;
    return true;
}

// Axes [from, to) of the group, the innermost first, as dimensions; `tile` indices are one box. `inner`, changed: how
// many indices the axes behind `to` have.
static bool add_axes(Boxes *x, const TileGroup *g, int from, int to, TileSide side, const char *index, int64_t tile,
                     int64_t *inner) {
    for (int a = to - 1; a >= from; a--) {
        const TileAxis *axis = &g->axis[a];
        int64_t box = a == 0 || axis->extent % tile == 0 ? tile : axis->extent;
        if (tile % box) return false;
        Coordinate at = {index, *inner, a ? axis->extent : 0};
        if (!add_dimension(x, at, axis->extent, tile_stride_of(axis, side) * 2, box)) return false;
        tile /= box;
        *inner *= axis->extent;
    }
    return true;
}

// How the copy engine gets at the tiles of `rows` rows.
static bool boxes_make(const CudaProduct *p, const CudaSide *s, int rows, Boxes *x) {
    memset(x, 0, sizeof *x);
    x->map.arg = s->operand;
    x->map.first = s->first;
    x->map.dtype = p->d.type == REAL_BF16 ? PLAN_BF16 : PLAN_F16;
    x->map.swizzle = 128;
    if (s->width != 16 || !s->row.count || !s->rest.count) return false;
    const TileGroup *along = s->along_rest ? &s->rest : &s->row, *other = s->along_rest ? &s->row : &s->rest;
    const char *along_index = s->along_rest ? "k" : "row", *other_index = s->along_rest ? "row" : "k";
    int last = along->count - 1;
    int64_t inner = 1, one = 1, batch = 1;
    if (!add_axes(x, along, last, along->count, s->side, along_index, DEPTH, &inner) || x->map.box[0] != DEPTH ||
        !add_axes(x, other, 0, other->count, s->side, other_index, s->along_rest ? rows : DEPTH, &one) ||
        !add_axes(x, along, 0, last, s->side, along_index, 1, &inner))
        return false;
    for (int a = s->batch.count - 1; a >= 0; a--) {
        const TileAxis *axis = &s->batch.axis[a];
        Coordinate at = {"batch", batch, a ? axis->extent : 0};
        int64_t stride = tile_stride_of(axis, s->side) * 2;
        if (stride && !add_dimension(x, at, axis->extent, stride, 1)) return false;
        batch *= axis->extent;
    }
    return true;
}

static void load_text(FILE *out, const char *name, const CudaSide *s, const Boxes *x, int rows) {
    int blocks = s->along_rest ? 1 : rows / 64;
    fprintf(out,
            "    struct %s {\n"
            "        static const bool along_k = %s;\n"
            "        TGF_DEVICE void load(char *to, const Map *map, u64 *barrier, u32 batch, u32 row, u32 k) {\n",
            name, s->along_rest ? "true" : "false");
    if (blocks > 1)
        fprintf(out, "            for (int i = 0; i < %d; i++, to += %d, row += 64)\n    ", blocks, DEPTH * 128);
    fputs("            map_load(to, map, barrier", out);
    for (int d = 0; d < x->map.rank; d++) {
        const Coordinate *c = &x->at[d];
        fprintf(out, ", %s", c->index);
        if (c->inner > 1) fprintf(out, " / %ldu", (long)c->inner);
        if (c->extent) fprintf(out, " %% %ldu", (long)c->extent);
    }
    fputs(");\n        }\n    };\n", out);
}

// Tiles' columns, and their speed beside that of the warp form's widest ones.
static const struct {
    int n;
    double speed;
} widths[] = {{256, 1.6}, {192, 1.5}, {128, 1.3}};

bool cuda_matmul_wgmma(FILE *out, const CudaProduct *p, double time, CudaLaunch *launch) {
    if (!p->target->specific || p->target->sm != 90 || p->size != 2 || !p->k) return false;
    int best = -1;
    Boxes a, b;
    for (int i = 0; i < (int)(sizeof widths / sizeof *widths); i++) {
        Boxes x, y;
        double t = cuda_tiles_time(p, TILE_M, widths[i].n, widths[i].speed);
        if (t >= time || !boxes_make(p, &p->a, TILE_M, &x) || !boxes_make(p, &p->b, widths[i].n, &y)) continue;
        best = i, time = t, a = x, b = y;
    }
    if (best < 0) return false;
    int n = widths[best].n;
    int64_t stage = (TILE_M + n) * DEPTH * 2,
            stages = (p->target->shared_bytes - OUT_BYTES - 2 * MOST_STAGES * 8) / stage;
    if (stages > MOST_STAGES) stages = MOST_STAGES;
    int64_t tiles = cuda_product_tiles(p, TILE_M, n);
    launch->blocks = tiles < p->target->processors ? tiles : p->target->processors;
    launch->threads = THREADS;
    launch->shared_bytes = stages * stage + OUT_BYTES + 2 * stages * 8;
    launch->nmaps = 2;
    launch->maps[0] = a.map;
    launch->maps[1] = b.map;
    static const CudaTiling portable = {128, 128, 64, 2, 4, 1, 4, 0};
    cuda_shape_text(out, p, &portable);
    fprintf(out,
            "#ifdef TGF_SM90\n"
            "struct %s_group : %s_shape {\n"
            "    static const int tile_m = %d, tile_n = %d, tile_k = %d, stages = %ld;\n",
            p->name, p->name, TILE_M, n, DEPTH, (long)stages);
    load_text(out, "A", &p->a, &a, TILE_M);
    load_text(out, "B", &p->b, &b, n);
    fputs("};\n#endif\n", out);
    cuda_head_text(out, p, THREADS, 2);
    fprintf(out, " {\n#ifdef TGF_SM90\n    GroupMatmul<%s_group>::run(&m0, &m1, b%d + %ld);\n", p->name, p->c.operand,
            (long)p->c.first);
    fprintf(out, "#else\n    WarpMatmul<%s_shape>::run<false>(", p->name);
    cuda_bases_text(out, p);
    fputs(");\n#endif\n}\n", out);
    return true;
}
