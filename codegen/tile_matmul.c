// SPDX-License-Identifier: Apache-2.0
// tile_matmul: see tile_matmul.h. The scheme is that of Goto and BLIS:
//
//   for each block of nc columns, for each block of kc terms:   pack B[kc, nc]  (its panels of nr columns)
//     for each block of mc rows:                                pack A[mc, kc]  (stays in the second-level cache)
//       for each panel of B, for each panel of A:               C tile (+)= product in registers (tile_micro)
//
// A task is one panel of rows or of columns of one batch element, along the longer side; a thread's contiguous tasks
// form one problem, so the shorter operand is all that threads pack twice. K is cut alike for every split: same bits.
//
// Where C's elements are narrower than the f32 sums, a block of it is summed in scratch, over all of K, and then
// rounded: the loops are columns, rows, terms, and B's panels are packed anew for each block of rows.
#include "codegen/tile_matmul.h"
#include "base/checked.h"
#include "codegen/tile_group.h"
#include "codegen/tile_micro.h"
#include <stddef.h>

enum { F32 = 4 };

typedef struct Emit {
    Irb *b;
    const TileTail *tail;
    TileMatmul d; // merged, operands exchanged if C's columns are m
    bool exchanged;
    TileShape shape;
    int64_t nr, mc, nc, kc, k_blocks;
    int64_t batches, m, n, k;
    bool split_rows; // tasks are panels of rows
    int64_t units;   // tasks of one batch element
    TilePack pack_a, pack_b;
    bool scattered; // C's columns do not lie side by side: tiles go through scratch
    bool narrow;    // C's elements are not f32
    int bytes;      // of an element of A, B and C
    // byte offsets in work
    int64_t at_a, at_b, at_ma, at_mc, at_nb, at_nc, at_ka, at_kb, at_tile, at_tile_rows, at_tile_columns, at_block,
        at_block_rows, at_block_columns, work_bytes;
    // values of the batch element being done
    IrbKernel kernel;
    Val batch, a, bp, c;
} Emit;

static const TileSide AB[] = {TILE_A, TILE_B}, AC[] = {TILE_A, TILE_C}, BC[] = {TILE_B, TILE_C},
                      ABC[] = {TILE_A, TILE_B, TILE_C};

// A B = (B^T A^T)^T: m and n, A and B change places.
static void exchange(TileMatmul *d) {
    TileGroup m = d->m;
    d->m = d->n;
    d->n = m;
    TileGroup *groups[] = {&d->batch, &d->m, &d->n, &d->k};
    for (int g = 0; g < 4; g++)
        for (int i = 0; i < groups[g]->count; i++) {
            TileAxis *x = &groups[g]->axis[i];
            int64_t a = x->a;
            x->a = x->b;
            x->b = a;
        }
    int a = d->a;
    d->a = d->b;
    d->b = a;
    int64_t first = d->a_first;
    d->a_first = d->b_first;
    d->b_first = first;
}

static TilePack pack_kind(const TileGroup *mn, const TileGroup *k, TileSide side, int panel, int lanes) {
    int unit = panel % lanes == 0 ? lanes : panel;
    if (tile_group_side_by_side(mn, side, unit)) return TILE_PACK_ACROSS;
    if (tile_group_side_by_side(k, side, lanes)) return TILE_PACK_ALONG;
    return TILE_PACK_ANY;
}

static int64_t round_to(int64_t x, int64_t to) { return ceil_div(x, to) * to; }

// The largest block <= limit (a multiple of unit) that cuts extent into equal blocks.
static int64_t even_block(int64_t extent, int64_t limit, int64_t unit) {
    if (extent <= 0) return unit;
    int64_t blocks = ceil_div(extent, limit < unit ? unit : limit);
    return round_to(ceil_div(extent, blocks), unit);
}

static void choose_blocks(Emit *e, TileBlocking wish) {
    const CpuTarget *t = e->b->target;
    // The wide tile is the faster one, unless it computes much beyond the last column.
    TileShape narrow = tile_shape_narrow(t);
    e->shape = tile_shape_wide(t);
    if (round_to(e->n, tile_columns(t, narrow)) * 33 / 32 < round_to(e->n, tile_columns(t, e->shape)))
        e->shape = narrow;
    if (wish.mr) e->shape = (TileShape){wish.mr, wish.nv};
    int mr = e->shape.mr;
    e->nr = tile_columns(t, e->shape);
    e->kc = even_block(e->k, wish.kc ? wish.kc : 384, t->lanes);
    e->k_blocks = e->k ? ceil_div(e->k, e->kc) : 1;
    // Half of the second-level cache holds the block of A.
    int64_t mc = wish.mc ? wish.mc : t->l2_bytes / 2 / F32 / e->kc;
    e->mc = even_block(e->m, mc / mr * mr, mr);
    // The block of B is used once for every panel of A: with few of those it had better still be near when it is read.
    int64_t nc = wish.nc ? wish.nc : e->m <= 4 * mr ? t->l2_bytes / 4 / F32 / e->kc : e->narrow ? 768 : 3072;
    e->nc = even_block(e->n, nc / e->nr * e->nr, e->nr);
}

static void lay_work(Emit *e) {
    int64_t at = 0;
#define PLACE(field, bytes) (e->field = at, at += round_to((bytes), 64))
    PLACE(at_a, e->mc * e->kc * F32 + 64);
    PLACE(at_b, e->nc * e->kc * F32 + 64);
    PLACE(at_ma, e->mc * 8);
    PLACE(at_mc, e->mc * 8 + 64 * 8);
    PLACE(at_nb, e->nc * 8);
    PLACE(at_nc, e->nc * 8 + 64 * 8);
    PLACE(at_ka, e->kc * 8);
    PLACE(at_kb, e->kc * 8);
    PLACE(at_tile, e->shape.mr * e->nr * F32);
    PLACE(at_tile_rows, e->shape.mr * 8);
    PLACE(at_tile_columns, e->nr * 8);
    int64_t block = e->narrow ? 1 : 0;
    PLACE(at_block, block * (e->mc * e->nc * F32 + 64));
    PLACE(at_block_rows, block * (e->mc * 8 + 64 * 8));
    PLACE(at_block_columns, block * (e->nc * 8 + 64 * 8));
#undef PLACE
    e->work_bytes = at;
}

static Val work_at(Emit *e, int64_t bytes) { return irb_at_const(e->b, e->kernel.work, bytes); }

// Rows x columns of finished sums at (row_offset, column_offset) from `c`, in place.
static void emit_epilogue(Emit *e, Val c, Val row_offset, Val column_offset, Val m, Val n, Val rows, Val columns) {
    Irb *b = e->b;
    IrbLoop r = irb_loop(b, irb_int(b, 0), rows, irb_int(b, 1));
    Val row = irb_at(b, c, irb_load(b, b->i64, irb_index(b, row_offset, b->i64, r.index)));
    IrbLoop v = irb_loop(b, irb_int(b, 0), columns, irb_int(b, b->lanes));
    Val at = irb_at(b, row, irb_load(b, b->i64, irb_index(b, column_offset, b->i64, v.index)));
    Val row_index = irb_add(b, m, r.index), column_index = irb_add(b, n, v.index);
    TilePoint point = {.kernel = &e->kernel, .batch = e->batch, .along_m = e->exchanged};
    point.m = e->exchanged ? column_index : row_index;
    point.n = e->exchanged ? row_index : column_index;
    point.mask = irb_mask_first(b, irb_sub(b, columns, v.index), b->lanes);
    Val sum = irb_load_masked(b, b->vf, at, point.mask, NULL);
    irb_store_masked(b, e->tail->emit(b, e->tail->user, &point, sum), at, point.mask);
    irb_loop_end(b, &v);
    irb_loop_end(b, &r);
}

// The tile in scratch to its scattered places (or from them).
static void emit_scatter(Emit *e, Val tile, Val row_offset, Val column_offset, Val rows, Val columns, bool adding) {
    Irb *b = e->b;
    IrbLoop r = irb_loop(b, irb_int(b, 0), rows, irb_int(b, 1));
    Val row = irb_at(b, e->c, irb_load(b, b->i64, irb_index(b, row_offset, b->i64, r.index)));
    IrbLoop j = irb_loop(b, irb_int(b, 0), columns, irb_int(b, 1));
    Val to = irb_at(b, row, irb_load(b, b->i64, irb_index(b, column_offset, b->i64, j.index)));
    Val here = irb_index(b, tile, b->f32, irb_add(b, irb_muli(b, r.index, e->nr), j.index));
    if (adding) irb_store(b, irb_add(b, irb_load(b, b->f32, to), irb_load(b, b->f32, here)), here);
    else irb_store(b, irb_load(b, b->f32, here), to);
    irb_loop_end(b, &j);
    irb_loop_end(b, &r);
}

// One register tile: panel i of the block of A (rows from m) by panel j of B (columns from n).
static void emit_tile(Emit *e, Val k, Val k_index, Val m0, Val i, Val m_count, Val n0, Val j, Val n_count) {
    Irb *b = e->b;
    Val panel_a = irb_index(b, work_at(e, e->at_a), b->f32, irb_mul(b, i, k));
    Val panel_b = irb_index(b, work_at(e, e->at_b), b->f32, irb_mul(b, j, k));
    Val rows = irb_min(b, irb_sub(b, m_count, i), irb_int(b, e->shape.mr));
    Val columns = irb_min(b, irb_sub(b, n_count, j), irb_int(b, e->nr));
    Val row_offset = irb_index(b, work_at(e, e->at_mc), b->i64, i);
    Val column_offset = irb_index(b, work_at(e, e->at_nc), b->i64, j);
    Val load = e->d.accumulate
                   ? irb_int(b, 1)
                   : irb_select(b, irb_cmp(b, IRB_GT, k_index, irb_int(b, 0)), irb_int(b, 1), irb_int(b, 0));
    Val micro = tile_micro(b, e->shape);
    if (e->narrow) {
        Val block_rows = irb_index(b, work_at(e, e->at_block_rows), b->i64, i);
        Val block_columns = irb_index(b, work_at(e, e->at_block_columns), b->i64, j);
        Val arguments[] = {panel_a, panel_b, k,   work_at(e, e->at_block), block_rows, block_columns,
                           rows,    columns, load};
        irb_call(b, micro, 9, arguments);
        return;
    }
    if (!e->scattered) {
        Val arguments[] = {panel_a, panel_b, k, e->c, row_offset, column_offset, rows, columns, load};
        irb_call(b, micro, 9, arguments);
    } else {
        Val tile = work_at(e, e->at_tile);
        Val arguments[] = {panel_a,
                           panel_b,
                           k,
                           tile,
                           work_at(e, e->at_tile_rows),
                           work_at(e, e->at_tile_columns),
                           irb_int(b, e->shape.mr),
                           irb_int(b, e->nr),
                           irb_int(b, 0)};
        irb_call(b, micro, 9, arguments);
        IrbIf adding = irb_if(b, irb_cmp(b, IRB_NE, load, irb_int(b, 0)));
        emit_scatter(e, tile, row_offset, column_offset, rows, columns, true);
        irb_if_end(b, &adding);
    }
    if (e->tail) {
        IrbIf last = irb_if(b, irb_cmp(b, IRB_EQ, k_index, irb_int(b, e->k_blocks - 1)));
        Val m = irb_add(b, m0, i), n = irb_add(b, n0, j);
        if (e->scattered)
            emit_epilogue(e, work_at(e, e->at_tile), work_at(e, e->at_tile_rows), work_at(e, e->at_tile_columns), m, n,
                          rows, columns);
        else emit_epilogue(e, e->c, row_offset, column_offset, m, n, rows, columns);
        irb_if_end(b, &last);
    }
    if (e->scattered) emit_scatter(e, work_at(e, e->at_tile), row_offset, column_offset, rows, columns, false);
}

static void pack(Emit *e, TilePack kind, int panel, int64_t to, Val from, int64_t mn_table, int64_t k_table, Val count,
                 Val k) {
    Val arguments[] = {work_at(e, to), from, work_at(e, mn_table), work_at(e, k_table), count, k};
    irb_call(e->b, tile_pack(e->b, kind, panel, e->d.type), 6, arguments);
}

// The block of finished sums in scratch, rounded, to its places in C.
static void emit_narrow(Emit *e, Val rows, Val columns) {
    Irb *b = e->b;
    int lanes = e->scattered ? 1 : b->lanes;
    IrbLoop r = irb_loop(b, irb_int(b, 0), rows, irb_int(b, 1));
    Val row = irb_at(b, e->c, irb_load(b, b->i64, irb_index(b, work_at(e, e->at_mc), b->i64, r.index)));
    Val sums = irb_index(b, work_at(e, e->at_block), b->f32, irb_muli(b, r.index, e->nc));
    IrbLoop j = irb_loop(b, irb_int(b, 0), columns, irb_int(b, lanes));
    Val to = irb_at(b, row, irb_load(b, b->i64, irb_index(b, work_at(e, e->at_nc), b->i64, j.index)));
    Val x = irb_load(b, lanes == 1 ? b->f32 : b->vf, irb_index(b, sums, b->f32, j.index));
    Val mask = lanes == 1 ? NULL : irb_mask_first(b, irb_sub(b, columns, j.index), lanes);
    irb_store_real(b, e->d.type, x, to, mask);
    irb_loop_end(b, &j);
    irb_loop_end(b, &r);
}

static void pack_columns(Emit *e, Val k0, Val k, Val n_count) {
    tile_group_table(e->b, &e->d.k, TILE_A, work_at(e, e->at_ka), k0, k, e->bytes);
    tile_group_table(e->b, &e->d.k, TILE_B, work_at(e, e->at_kb), k0, k, e->bytes);
    pack(e, e->pack_b, (int)e->nr, e->at_b, e->bp, e->at_nb, e->at_kb, n_count, k);
}

static void row_tables(Emit *e, Val i, Val m_count) {
    tile_group_table(e->b, &e->d.m, TILE_A, work_at(e, e->at_ma), i, m_count, e->bytes);
    tile_group_table(e->b, &e->d.m, TILE_C, work_at(e, e->at_mc), i, m_count, e->bytes);
}

static void emit_tiles(Emit *e, Val k, Val k_index, Val i, Val m_count, Val j, Val n_count) {
    Irb *b = e->b;
    IrbLoop jr = irb_loop(b, irb_int(b, 0), n_count, irb_int(b, e->nr));
    IrbLoop ir = irb_loop(b, irb_int(b, 0), m_count, irb_int(b, e->shape.mr));
    emit_tile(e, k, k_index, i, ir.index, m_count, j, jr.index, n_count);
    irb_loop_end(b, &ir);
    irb_loop_end(b, &jr);
}

static Val terms_at(Emit *e, Val block) { return irb_muli(e->b, block, e->kc); }
static Val terms_from(Emit *e, Val k0) {
    return irb_min(e->b, irb_sub(e->b, irb_int(e->b, e->k), k0), irb_int(e->b, e->kc));
}

// Rows [i0, i1) by columns [j0, j1) of one batch element.
static void emit_problem(Emit *e, Val i0, Val i1, Val j0, Val j1) {
    Irb *b = e->b;
    IrbLoop jc = irb_loop(b, j0, j1, irb_int(b, e->nc)), outer, inner;
    Val n_count = irb_min(b, irb_sub(b, j1, jc.index), irb_int(b, e->nc));
    tile_group_table(b, &e->d.n, TILE_B, work_at(e, e->at_nb), jc.index, n_count, e->bytes);
    tile_group_table(b, &e->d.n, TILE_C, work_at(e, e->at_nc), jc.index, n_count, e->bytes);
    if (e->narrow) {
        outer = irb_loop(b, i0, i1, irb_int(b, e->mc));
        Val m_count = irb_min(b, irb_sub(b, i1, outer.index), irb_int(b, e->mc));
        row_tables(e, outer.index, m_count);
        inner = irb_loop_const(b, 0, e->k_blocks, 1);
        Val k0 = terms_at(e, inner.index), k = terms_from(e, k0);
        pack_columns(e, k0, k, n_count);
        pack(e, e->pack_a, e->shape.mr, e->at_a, e->a, e->at_ma, e->at_ka, m_count, k);
        emit_tiles(e, k, inner.index, outer.index, m_count, jc.index, n_count);
        irb_loop_end(b, &inner);
        emit_narrow(e, m_count, n_count);
    } else {
        outer = irb_loop_const(b, 0, e->k_blocks, 1);
        Val k0 = terms_at(e, outer.index), k = terms_from(e, k0);
        pack_columns(e, k0, k, n_count);
        inner = irb_loop(b, i0, i1, irb_int(b, e->mc));
        Val m_count = irb_min(b, irb_sub(b, i1, inner.index), irb_int(b, e->mc));
        row_tables(e, inner.index, m_count);
        pack(e, e->pack_a, e->shape.mr, e->at_a, e->a, e->at_ma, e->at_ka, m_count, k);
        emit_tiles(e, k, outer.index, inner.index, m_count, jc.index, n_count);
        irb_loop_end(b, &inner);
    }
    irb_loop_end(b, &outer);
    irb_loop_end(b, &jc);
}

static Val operand(Emit *e, int buf, const TileGroup *batch, TileSide side, int64_t first) {
    Val base = irb_at_const(e->b, irb_kernel_buf(e->b, &e->kernel, buf), first * e->bytes);
    return irb_at(e->b, base, tile_group_offset(e->b, batch, side, e->batch, e->bytes));
}

static void emit_kernel(Emit *e, const char *name) {
    Irb *b = e->b;
    const TileMatmul *d = &e->d;
    e->kernel = irb_kernel_begin(b, name);
    if (e->narrow) {
        Val rows[] = {work_at(e, e->at_block_rows), irb_int(b, 0), irb_int(b, e->mc), irb_int(b, e->nc * F32)};
        irb_call(b, tile_offsets(b), 4, rows);
        Val columns[] = {work_at(e, e->at_block_columns), irb_int(b, 0), irb_int(b, e->nc), irb_int(b, F32)};
        irb_call(b, tile_offsets(b), 4, columns);
    } else if (e->scattered) {
        Val rows[] = {work_at(e, e->at_tile_rows), irb_int(b, 0), irb_int(b, e->shape.mr), irb_int(b, e->nr * F32)};
        irb_call(b, tile_offsets(b), 4, rows);
        Val columns[] = {work_at(e, e->at_tile_columns), irb_int(b, 0), irb_int(b, e->nr), irb_int(b, F32)};
        irb_call(b, tile_offsets(b), 4, columns);
    }
    Val units = irb_int(b, e->units), begin = e->kernel.begin, end = e->kernel.end;
    IrbIf any = irb_if(b, irb_cmp(b, IRB_LT, begin, end));
    Val first = irb_div(b, begin, units), stop = irb_div(b, irb_addi(b, irb_add(b, end, units), -1), units);
    IrbLoop batch = irb_loop(b, first, stop, irb_int(b, 1));
    e->batch = batch.index;
    Val zero = irb_muli(b, e->batch, e->units);
    Val u0 = irb_max(b, irb_sub(b, begin, zero), irb_int(b, 0)), u1 = irb_min(b, irb_sub(b, end, zero), units);
    e->a = operand(e, d->a, &d->batch, TILE_A, d->a_first);
    e->bp = operand(e, d->b, &d->batch, TILE_B, d->b_first);
    e->c = operand(e, d->c, &d->batch, TILE_C, d->c_first);
    int64_t unit = e->split_rows ? e->shape.mr : e->nr;
    Val from = irb_muli(b, u0, unit);
    Val to = irb_min(b, irb_muli(b, u1, unit), irb_int(b, e->split_rows ? e->m : e->n));
    if (e->split_rows) emit_problem(e, from, to, irb_int(b, 0), irb_int(b, e->n));
    else emit_problem(e, irb_int(b, 0), irb_int(b, e->m), from, to);
    irb_loop_end(b, &batch);
    irb_if_end(b, &any);
    irb_function_end(b, NULL);
}

Status tile_matmul_blocked(Irb *b, const char *name, const TileMatmul *matmul, const TileTail *tail, TileBlocking wish,
                           TilePlan *out_plan) {
    Emit e = {
        .b = b, .tail = tail, .d = *matmul, .narrow = matmul->type != REAL_F32, .bytes = real_bytes(matmul->type)};
    TileMatmul *d = &e.d;
    if (e.narrow && (d->accumulate || tail))
        return status_make(STATUS_INVALID, "matmul '%s': only f32 sums can be added to or have an epilogue", name);
    if (!tile_group_extent(&d->batch, &e.batches) || !tile_group_extent(&d->m, &e.m) ||
        !tile_group_extent(&d->n, &e.n) || !tile_group_extent(&d->k, &e.k))
        return status_make(STATUS_INVALID, "matmul '%s': an extent is negative or too large", name);
    int lanes = b->lanes;
    // Columns should lie side by side in C; a single column should not waste a vector.
    bool across = tile_group_side_by_side(&d->n, TILE_C, lanes), down = tile_group_side_by_side(&d->m, TILE_C, lanes);
    e.exchanged = down && e.m > 1 && (!across || e.n == 1);
    if (e.exchanged) {
        exchange(d);
        int64_t m = e.m;
        e.m = e.n;
        e.n = m;
        across = true;
    }
    e.scattered = !across;
    d->batch = tile_group_merge(&d->batch, 3, ABC);
    d->m = tile_group_merge(&d->m, 2, AC);
    d->n = tile_group_merge(&d->n, 2, BC);
    d->k = tile_group_merge(&d->k, 2, AB);
    choose_blocks(&e, wish);
    e.pack_a = pack_kind(&d->m, &d->k, TILE_A, e.shape.mr, lanes);
    e.pack_b = pack_kind(&d->n, &d->k, TILE_B, (int)e.nr, lanes);
    lay_work(&e);
    e.split_rows = e.m >= e.n;
    e.units = e.split_rows ? ceil_div(e.m, e.shape.mr) : ceil_div(e.n, e.nr);
    int64_t tasks;
    if (!checked_mul(e.units, e.batches, &tasks))
        return status_make(STATUS_INVALID, "matmul '%s': too many batch elements", name);
    if (!e.m || !e.n) tasks = 0;
    if (!e.units) e.units = 1;
    emit_kernel(&e, name);
    *out_plan = (TilePlan){tasks, e.work_bytes, e.exchanged};
    return status_ok();
}

Status tile_matmul(Irb *b, const char *name, const TileMatmul *matmul, TilePlan *out_plan) {
    return tile_matmul_blocked(b, name, matmul, NULL, (TileBlocking){0}, out_plan);
}
