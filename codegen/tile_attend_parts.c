// SPDX-License-Identifier: Apache-2.0
// tile_attend_parts: see tile_attend_parts.h.
#include "codegen/tile_attend_parts.h"
#include "base/checked.h"
#include <stddef.h>

int64_t attend_round(int64_t x, int64_t to) { return ceil_div(x, to) * to; }

Status attend_check(const char *name, const TileAttend *d) {
    int64_t n = 1;
    bool ok = d->queries >= 0 && d->keys >= 0 && d->q_columns > 0 && d->v_columns > 0 && d->outer_count <= TILE_AXES;
    for (int i = 0; ok && i < d->outer_count; i++) ok = d->outer[i] >= 0 && checked_mul(n, d->outer[i], &n);
    int64_t most = INT64_C(1) << 40; // of queries, keys and columns: what scratch sizes are computed from
    ok = ok && checked_mul(n, d->queries, &n) && d->queries < most && d->keys < most;
    ok = ok && d->q_columns < (1 << 16) && d->v_columns < (1 << 16);
    return ok ? status_ok() : status_make(STATUS_INVALID, "attention '%s': an extent is negative or too large", name);
}

Val attend_scratch(Attend *a, int64_t bytes) {
    Val here = irb_at_const(a->b, a->kernel.work, a->at);
    a->at += attend_round(bytes, 64);
    return here;
}

static void fill_table(Attend *a, Val table, int64_t count, int64_t stride_bytes) {
    Val arguments[] = {table, irb_int(a->b, 0), irb_int(a->b, count), irb_int(a->b, stride_bytes)};
    irb_call(a->b, tile_offsets(a->b), 4, arguments);
}
Val attend_table(Attend *a, int64_t count, int64_t stride) {
    Val table = attend_scratch(a, count * 8);
    fill_table(a, table, count, stride * attend_bytes(a));
    return table;
}
Val attend_floats(Attend *a, int64_t count, int64_t stride) {
    Val table = attend_scratch(a, count * 8);
    fill_table(a, table, count, stride * TILE_F32);
    return table;
}

static Val position(Attend *a, int scalar) {
    return scalar < 0 ? irb_int(a->b, 0) : irb_kernel_scalar(a->b, &a->kernel, scalar);
}

void attend_begin(Attend *a, const char *name) {
    a->shape = tile_shape_narrow(a->b->target);
    a->mr = a->shape.mr;
    a->nr = tile_columns(a->b->target, a->shape);
    a->kernel = irb_kernel_begin(a->b, name);
    a->at = 0;
    a->tile_rows = attend_floats(a, a->mr, a->nr);
    a->tile_columns = attend_floats(a, a->nr, 1);
    a->between = irb_sub(a->b, position(a, a->d->query_position), position(a, a->d->key_position));
    a->ahead = a->between;
}

Val attend_base(Attend *a, const TileRows *x) { return irb_kernel_buf(a->b, &a->kernel, x->buf); }

Val attend_offset(Attend *a, const TileRows *x, const bool *pick, Val index, int64_t bytes) {
    Irb *b = a->b;
    Val sum = irb_int(b, x->first * bytes);
    for (int i = a->d->outer_count - 1; i >= 0; i--) {
        if (!pick[i] || a->d->outer[i] <= 1) continue;
        Val extent = irb_int(b, a->d->outer[i]);
        sum = irb_add(b, sum, irb_muli(b, irb_rem(b, index, extent), x->outer[i] * bytes));
        index = irb_div(b, index, extent);
    }
    return sum;
}

void attend_pack(Attend *a, const TileRows *x, bool by_column, int panel, Val to, Val from, Val rows, Val columns,
                 Val count, Val k) {
    int64_t along = by_column ? x->column : x->row, across = by_column ? x->row : x->column;
    TilePack kind = along == 1 ? TILE_PACK_ACROSS : across == 1 ? TILE_PACK_ALONG : TILE_PACK_ANY;
    Val arguments[] = {to, from, by_column ? columns : rows, by_column ? rows : columns, count, k};
    irb_call(a->b, tile_pack(a->b, kind, panel, a->d->type), 6, arguments);
}

void attend_product(Attend *a, Val pa, Val pb, Val k, Val c, Val load) {
    Irb *b = a->b;
    Val arguments[] = {pa, pb, k, c, a->tile_rows, a->tile_columns, irb_int(b, a->mr), irb_int(b, a->nr), load};
    irb_call(b, tile_micro(b, a->shape), 9, arguments);
}

void attend_bound(Attend *a, Val from) {
    Irb *b = a->b;
    a->ahead = irb_add(b, a->between, irb_cast(b, irb_load(b, b->i32, from), b->i64));
}

Val attend_key_end(Attend *a, Val q_end) {
    Irb *b = a->b;
    Val keys = irb_int(b, a->d->keys);
    if (!a->d->causal && !a->d->bounded) return keys;
    if (!a->d->causal) q_end = irb_int(b, 1);
    return irb_max(b, irb_min(b, irb_add(b, q_end, a->ahead), keys), irb_int(b, 0));
}

// Lanes of the mask at queries 16v.. of this panel, as <lanes x i8>.
static Val mask_lanes(Attend *a, Val from, int v, Val queries_here) {
    Irb *b = a->b;
    const TileRows *x = &a->d->mask;
    Ty bytes = irb_vec(b, b->i8, b->lanes);
    if (x->row == 0) return irb_splat(b, irb_load(b, b->i8, from), b->lanes);
    Val last = irb_addi(b, queries_here, -1), out = irb_zero(b, bytes);
    for (int l = 0; l < b->lanes; l++) {
        Val query = irb_min(b, irb_int(b, v * b->lanes + l), last);
        out = irb_set_lane(b, out, l, irb_load(b, b->i8, irb_at(b, from, irb_muli(b, query, x->row))));
    }
    return out;
}

void attend_exclude(Attend *a, Val scores, Val q0, Val t0, Val count, Val mask_from, Val queries_here) {
    Irb *b = a->b;
    const TileAttend *d = a->d;
    Val minus_infinity = irb_const_real(b, b->vf, -__builtin_inf());
    if (d->causal) {
        // Key t is seen by query j of the panel when t - ahead - q0 <= j: keys up to the first query's are seen by all.
        Val seen = irb_max(b, irb_sub(b, irb_addi(b, irb_add(b, q0, a->ahead), 1), t0), irb_int(b, 0));
        IrbLoop t = irb_loop(b, seen, count, irb_int(b, 1));
        Val late = irb_sub(b, irb_sub(b, irb_add(b, t0, t.index), a->ahead), q0);
        Val row = irb_index(b, scores, b->f32, irb_muli(b, t.index, a->nr));
        for (int v = 0; v < a->shape.nv; v++) {
            Val at = irb_at_const(b, row, (int64_t)v * b->lanes * TILE_F32);
            Val hidden = irb_mask_first(b, irb_addi(b, late, -v * b->lanes), b->lanes);
            irb_store(b, irb_select(b, hidden, minus_infinity, irb_load(b, b->vf, at)), at);
        }
        irb_loop_end(b, &t);
    }
    if (d->bounded && !d->causal) {
        Val seen = irb_max(b, irb_sub(b, irb_addi(b, a->ahead, 1), t0), irb_int(b, 0));
        IrbLoop t = irb_loop(b, seen, count, irb_int(b, 1));
        Val row = irb_index(b, scores, b->f32, irb_muli(b, t.index, a->nr));
        for (int v = 0; v < a->shape.nv; v++)
            irb_store(b, minus_infinity, irb_at_const(b, row, (int64_t)v * b->lanes * TILE_F32));
        irb_loop_end(b, &t);
    }
    if (d->masked) {
        IrbLoop t = irb_loop(b, irb_int(b, 0), count, irb_int(b, 1));
        Val row = irb_index(b, scores, b->f32, irb_muli(b, t.index, a->nr));
        Val from = irb_at(b, mask_from, irb_muli(b, t.index, d->mask.column));
        for (int v = 0; v < a->shape.nv; v++) {
            Val at = irb_at_const(b, row, (int64_t)v * b->lanes * TILE_F32), m = mask_lanes(a, from, v, queries_here);
            Val hidden = irb_cmp(b, IRB_EQ, m, irb_zero(b, LLVMTypeOf(m)));
            irb_store(b, irb_select(b, hidden, minus_infinity, irb_load(b, b->vf, at)), at);
        }
        irb_loop_end(b, &t);
    }
}

// One vector of an output row, columns [column, columns) of it at most.
static void store_row(Attend *a, Val x, Val to, Val column, int64_t columns, int64_t stride) {
    Irb *b = a->b;
    Val left = irb_sub(b, irb_int(b, columns), column);
    Ty element = irb_real_type(b, a->d->type);
    if (stride == 1) {
        irb_store_real(b, a->d->type, x, irb_index(b, to, element, column), irb_mask_first(b, left, b->lanes));
        return;
    }
    Val tile = irb_local(b, (int64_t)b->lanes * TILE_F32, 64);
    irb_store(b, x, tile);
    IrbLoop l = irb_loop(b, irb_int(b, 0), irb_min(b, left, irb_int(b, b->lanes)), irb_int(b, 1));
    Val at = irb_index(b, to, element, irb_muli(b, irb_add(b, column, l.index), stride));
    irb_store_real(b, a->d->type, irb_load(b, b->f32, irb_index(b, tile, b->f32, l.index)), at, NULL);
    irb_loop_end(b, &l);
}

void attend_store(Attend *a, bool turned, Val from, Val panel_bytes, Val rows, int64_t columns, const TileRows *x,
                  Val to, Val factor) {
    Irb *b = a->b;
    int n = b->lanes;
    int64_t row_bytes = x->row * attend_bytes(a);
    if (!turned) {
        IrbLoop r = irb_loop(b, irb_int(b, 0), rows, irb_int(b, 1));
        Val row_to = irb_at(b, to, irb_muli(b, r.index, row_bytes));
        IrbLoop c = irb_loop_const(b, 0, columns, n);
        Val panel = irb_at(b, from, irb_mul(b, irb_div(b, c.index, irb_int(b, a->nr)), panel_bytes));
        Val place = irb_add(b, irb_muli(b, r.index, a->nr), irb_rem(b, c.index, irb_int(b, a->nr)));
        Val value = irb_mul(b, irb_load(b, b->vf, irb_index(b, panel, b->f32, place)), factor);
        store_row(a, value, row_to, c.index, columns, x->column);
        irb_loop_end(b, &c);
        irb_loop_end(b, &r);
        return;
    }
    bool each = LLVMTypeOf(factor) == b->ptr;
    Val tile = irb_local(b, (int64_t)n * n * TILE_F32, 64);
    IrbLoop c = irb_loop_const(b, 0, columns, n);
    IrbLoop v = irb_loop(b, irb_int(b, 0), rows, irb_int(b, n));
    Val source = irb_index(b, from, b->f32, irb_add(b, irb_muli(b, c.index, a->nr), v.index)), line[64];
    Val scale = each ? irb_load(b, b->vf, irb_index(b, factor, b->f32, v.index)) : factor;
    for (int i = 0; i < n; i++) {
        line[i] = irb_load(b, b->vf, irb_at_const(b, source, (int64_t)i * a->nr * TILE_F32));
        line[i] = irb_mul(b, line[i], scale);
    }
    tile_transpose(b, line);
    for (int i = 0; i < n; i++) irb_store(b, line[i], irb_at_const(b, tile, (int64_t)i * n * TILE_F32));
    Val here = irb_min(b, irb_sub(b, rows, v.index), irb_int(b, n));
    IrbLoop r = irb_loop(b, irb_int(b, 0), here, irb_int(b, 1));
    Val row_to = irb_at(b, to, irb_muli(b, irb_add(b, v.index, r.index), row_bytes));
    store_row(a, irb_load(b, b->vf, irb_index(b, tile, b->f32, irb_muli(b, r.index, n))), row_to, c.index, columns,
              x->column);
    irb_loop_end(b, &r);
    irb_loop_end(b, &v);
    irb_loop_end(b, &c);
}
