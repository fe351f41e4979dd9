// SPDX-License-Identifier: Apache-2.0
// cuda_matmul: products on a GPU. The description is normalised, the way each operand can be copied is found, and a
// form and its tiles are chosen by the extents and the machine; the kernel itself is a template
// (cuda_prelude_matmul.cuh: tensor cores by warps, or f32 arithmetic; cuda_prelude_sm90.cuh: by warpgroups).
#include "codegen/cuda_matmul.h"
#include "base/checked.h"
#include <math.h>
#include <string.h>

// ---- how operands lie

static void exchange(int64_t *x, int64_t *y) {
    int64_t t = *x;
    *x = *y;
    *y = t;
}

// The same product read the other way: C transposed = B transposed times A transposed.
static TileMatmul product_transposed(const TileMatmul *d) {
    TileMatmul t = *d;
    t.m = d->n;
    t.n = d->m;
    t.a = d->b;
    t.b = d->a;
    t.a_first = d->b_first;
    t.b_first = d->a_first;
    TileGroup *groups[] = {&t.batch, &t.m, &t.n, &t.k};
    for (int g = 0; g < 4; g++)
        for (int i = 0; i < groups[g]->count; i++) exchange(&groups[g]->axis[i].a, &groups[g]->axis[i].b);
    return t;
}

static bool strides_divide(const TileGroup *g, int count, TileSide side, int64_t elements) {
    for (int i = 0; i < count; i++)
        if (tile_stride_of(&g->axis[i], side) % elements) return false;
    return true;
}

// The widest copy of `side` along `along`, of 16, 4 or an element's bytes: copies begin at multiples of their width.
static int width_along(const TileGroup *along, const TileGroup *other, const CudaSide *s, int size, int64_t align) {
    static const int widths[] = {16, 4};
    for (int i = 0; i < 2; i++) {
        int64_t each = widths[i] / size;
        if (!along->count || align % widths[i] || s->first % widths[i]) continue;
        const TileAxis *last = &along->axis[along->count - 1];
        if (each > 1 && tile_stride_of(last, s->side) != 1) continue;
        if (along->count > 1 && last->extent % each) continue;
        if (strides_divide(along, along->count - 1, s->side, each) &&
            strides_divide(other, other->count, s->side, each) &&
            strides_divide(&s->batch, s->batch.count, s->side, each))
            return widths[i];
    }
    return size;
}

static int64_t last_stride(const TileGroup *g, TileSide side) {
    if (!g->count) return INT64_MAX;
    int64_t x = tile_stride_of(&g->axis[g->count - 1], side);
    return x < 0 ? -x : x;
}

static CudaSide side_make(const TileMatmul *d, TileSide side, int size, int64_t align) {
    CudaSide s;
    memset(&s, 0, sizeof s);
    s.side = side;
    s.operand = side == TILE_A ? d->a : side == TILE_B ? d->b : d->c;
    s.first = (side == TILE_A ? d->a_first : side == TILE_B ? d->b_first : d->c_first) * size;
    s.batch = tile_group_merge(&d->batch, 1, &side);
    s.row = tile_group_merge(side == TILE_B ? &d->n : &d->m, 1, &side);
    s.rest = tile_group_merge(side == TILE_C ? &d->n : &d->k, 1, &side);
    int along_rest = width_along(&s.rest, &s.row, &s, size, align);
    int along_row = width_along(&s.row, &s.rest, &s, size, align);
    s.along_rest =
        along_rest > along_row || (along_rest == along_row && last_stride(&s.rest, side) <= last_stride(&s.row, side));
    s.width = s.along_rest ? along_rest : along_row;
    return s;
}

static Status product_make(const CudaTarget *target, const char *name, const TileMatmul *matmul, bool tf32,
                           CudaProduct *p) {
    memset(p, 0, sizeof *p);
    p->target = target;
    p->name = name;
    p->d = *matmul;
    p->tf32 = tf32 && matmul->type == REAL_F32;
    p->size = real_bytes(matmul->type);
    int64_t known[3];
    for (int i = 0; i < 3; i++) known[i] = matmul->align[i] ? matmul->align[i] : p->size;
    CudaSide c = side_make(&p->d, TILE_C, p->size, known[2]);
    if (!c.along_rest) {
        p->d = product_transposed(matmul);
        exchange(&known[0], &known[1]);
        c = side_make(&p->d, TILE_C, p->size, known[2]);
    }
    if (c.width == 4 && p->size == 2) c.width = 2; // stores: 16 bytes or an element
    c.along_rest = true;
    p->a = side_make(&p->d, TILE_A, p->size, known[0]);
    p->b = side_make(&p->d, TILE_B, p->size, known[1]);
    p->c = c;
    if (!tile_group_extent(&p->d.batch, &p->batches) || !tile_group_extent(&p->d.m, &p->m) ||
        !tile_group_extent(&p->d.n, &p->n) || !tile_group_extent(&p->d.k, &p->k))
        return status_make(STATUS_INVALID, "%s: a product's extents are negative or too large", name);
    const int64_t most = (int64_t)1 << 30; // indices are 32 bits wide, tiles' ends too
    if (p->m > most || p->n > most || p->k > most || p->batches > most)
        return status_make(STATUS_UNSUPPORTED,
                           "%s: a GPU's product of %ld x %ld x %ld, %ld times: more than 2^30 of one", name, (long)p->m,
                           (long)p->n, (long)p->k, (long)p->batches);
    if (p->d.accumulate && p->d.type != REAL_F32)
        return status_make(STATUS_INVALID, "%s: a product accumulates in f32 only", name);
    return status_ok();
}

// ---- tiles
//
// Shapes that matter (to be timed on a GPU, in bf16): 8192^3; GPT-2 124M at 8 to 32 thousand rows: [rows, 768] times
// [768, 2304], [768, 768], [768, 3072], [3072, 768], [768, 50257], their two gradients each (the depth is `rows` in
// one); Llama's [rows, 4096] times [4096, 11008]; 8 experts of [rows / 4, 1024] times [1024, 4096]; one row (decoding).

// Warp form. Wide tiles read least from memory; small ones keep all multiprocessors busy; narrow ones are for products
// with few rows or columns, where warps share the depth.
static const CudaTiling warp_tilings[] = {
    {128, 256, 128, 2, 4, 1, 3, 1.00}, {128, 256, 64, 2, 4, 1, 4, 0.96}, {128, 128, 64, 2, 2, 1, 4, 0.92},
    {128, 128, 64, 2, 4, 1, 4, 0.86},  {64, 128, 64, 2, 2, 1, 4, 0.80},  {128, 64, 64, 2, 2, 1, 4, 0.80},
    {64, 64, 128, 2, 2, 1, 4, 0.66},   {64, 64, 64, 2, 2, 1, 4, 0.60},   {32, 64, 128, 2, 2, 1, 4, 0.44},
    {64, 32, 128, 2, 2, 1, 4, 0.44},   {16, 64, 256, 1, 1, 4, 4, 0.30},  {64, 16, 256, 1, 1, 4, 4, 0.30},
    {16, 32, 256, 1, 1, 4, 4, 0.18},   {32, 16, 256, 1, 1, 4, 4, 0.18},
};
static const CudaTiling scalar_tilings[] = {{128, 128, 64, 1, 1, 1, 3, 1.0}, {64, 64, 64, 1, 1, 1, 3, 0.6}};
enum { SCALAR_THREADS = 256, HELD_MOST = 16 };

int cuda_tiling_threads(const CudaTiling *t) { return 32 * t->warps_m * t->warps_n * t->warps_k; }

int64_t cuda_product_tiles(const CudaProduct *p, int tile_m, int tile_n) {
    int64_t tiles = ceil_div(p->m, tile_m) * ceil_div(p->n, tile_n);
    return checked_mul(tiles, p->batches, &tiles) ? tiles : INT64_MAX;
}

int64_t cuda_tiling_shared(const CudaProduct *p, const CudaTiling *t) {
    int64_t stages = (int64_t)t->stages * (t->m + t->n) * t->k_bytes;
    int out = t->warps_k > 1 ? 4 : p->size;
    int64_t c = (int64_t)t->m * (t->n * out + (out == 4 ? 32 : 16));
    return stages > c ? stages : c;
}

// Whether the block's threads can copy the operand's tiles: lines at once, and few elements held in registers.
static bool loads(const CudaSide *s, int size, int rows, int depth, int threads) {
    int per_line = (s->along_rest ? depth : rows) * size / s->width;
    return threads % per_line == 0 && (s->width > 2 || rows * depth / threads <= HELD_MOST);
}

double cuda_tiles_time(const CudaProduct *p, int tile_m, int tile_n, double speed) {
    int64_t turns = ceil_div(cuda_product_tiles(p, tile_m, tile_n), p->target->processors);
    return (double)turns * tile_m * tile_n / speed;
}

// The most elements of C a warp's registers can sum, given what the copies of an operand need: most are left where
// copies are wide and their addresses simple, fewest where elements wait in registers and each has an address.
static int room(const CudaSide *s, bool tf32) {
    bool linear = (s->along_rest ? s->row.count : s->rest.count) <= 1;
    if (s->width == 2 && !linear) return 32 * 32;
    return s->width == 16 && linear && (!tf32 || s->along_rest) ? 64 * 64 : 64 * 32;
}

// The least time: tiles of the busiest multiprocessor, each as long as its work at the tiling's speed.
static const CudaTiling *choose(const CudaProduct *p, const CudaTiling *tilings, int count, bool warps,
                                double *out_time) {
    const CudaTiling *best = NULL;
    double least = INFINITY;
    int most = room(&p->a, p->tf32), other = room(&p->b, p->tf32);
    if (other < most) most = other;
    if (p->tf32 && p->c.width < 16 && most > 64 * 32) most = 64 * 32;
    for (int i = 0; i < count; i++) {
        const CudaTiling *t = &tilings[i];
        int threads = cuda_tiling_threads(t), depth = t->k_bytes / p->size;
        if (warps &&
            (cuda_tiling_shared(p, t) > p->target->shared_bytes || t->m / t->warps_m * (t->n / t->warps_n) > most ||
             !loads(&p->a, p->size, t->m, depth, threads) || !loads(&p->b, p->size, t->n, depth, threads)))
            continue;
        double time = cuda_tiles_time(p, t->m, t->n, t->speed);
        if (time < least) best = t, least = time;
    }
    *out_time = least;
    return best;
}

// ---- forms

static Status check_grid(const char *name, int64_t blocks) {
    if (blocks <= INT32_MAX) return status_ok();
    return status_make(STATUS_UNSUPPORTED, "%s: a product of %ld tiles has no kernel on a GPU", name, (long)blocks);
}

static Status warp_form(FILE *out, const CudaProduct *p, CudaLaunch *launch) {
    double time;
    const CudaTiling *t = choose(p, warp_tilings, sizeof warp_tilings / sizeof *warp_tilings, true, &time);
    if (!t) return status_make(STATUS_INTERNAL, "%s: no tiles for this product", p->name);
    if (cuda_matmul_wgmma(out, p, time, launch)) return status_ok();
    launch->blocks = cuda_product_tiles(p, t->m, t->n);
    launch->threads = cuda_tiling_threads(t);
    launch->shared_bytes = cuda_tiling_shared(p, t);
    STATUS_TRY(check_grid(p->name, launch->blocks));
    cuda_shape_text(out, p, t);
    cuda_head_text(out, p, launch->threads, 0);
    fprintf(out, " { WarpMatmul<%s_shape>::run<true>(", p->name);
    cuda_bases_text(out, p);
    fputs("); }\n", out);
    return status_ok();
}

static Status scalar_form(FILE *out, CudaProduct *p, CudaLaunch *launch) {
    double time;
    const CudaTiling *t = choose(p, scalar_tilings, sizeof scalar_tilings / sizeof *scalar_tilings, false, &time);
    CudaSide *sides[] = {&p->a, &p->b};
    for (int i = 0; i < 2; i++) // tiles lie along the rows: what runs along the depth is turned by copies of an element
        if (sides[i]->along_rest) sides[i]->width = p->size;
    launch->blocks = cuda_product_tiles(p, t->m, t->n);
    launch->threads = SCALAR_THREADS;
    launch->shared_bytes = (int64_t)t->stages * (t->m + t->n + 8) * t->k_bytes;
    STATUS_TRY(check_grid(p->name, launch->blocks));
    cuda_shape_text(out, p, t);
    cuda_head_text(out, p, launch->threads, 0);
    fprintf(out, " { ScalarMatmul<%s_shape>::run(", p->name);
    cuda_bases_text(out, p);
    fputs("); }\n", out);
    return status_ok();
}

Status cuda_matmul(FILE *out, const CudaTarget *target, const char *name, const TileMatmul *matmul, bool tf32,
                   CudaLaunch *launch) {
    memset(launch, 0, sizeof *launch);
    CudaProduct p;
    STATUS_TRY(product_make(target, name, matmul, tf32, &p));
    if (!p.m || !p.n || !p.batches) {
        launch->threads = 32;
        cuda_head_text(out, &p, launch->threads, 0);
        fputs(" {}\n", out);
        return status_ok();
    }
    if (p.d.type == REAL_F32 && !p.tf32) return scalar_form(out, &p, launch);
    return warp_form(out, &p, launch);
}
