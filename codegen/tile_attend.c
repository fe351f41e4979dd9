// SPDX-License-Identifier: Apache-2.0
// tile_attend: the forward kernel; see tile_attend.h, and tile_attend_parts.h for how blocks lie.
// For a panel of nr queries:
//
//   for each block of keys:  S = k (scale q)^T        [key][query]
//                            m' = max(m, max S), P = exp(S - m'), l = l exp(m - m') + sum P, O = O exp(m - m') + v^T P
//   y = (O / l)^T, lse = m + log l
#include "codegen/tile_attend_parts.h"
#include "base/checked.h"
#include <stddef.h>

typedef struct Forward {
    Attend a;
    int64_t block; // keys at a time
    Val k_panels, v_panels, q_panel, scores, out, high, sum;
    Val q_rows, q_columns, k_rows, k_columns, v_rows, v_columns;
} Forward;

static Val vector_at(Irb *b, Val base, int v) { return irb_at_const(b, base, (int64_t)v * b->lanes * TILE_F32); }
static Val row_at(Attend *a, Val base, Val row) { return irb_index(a->b, base, a->b->f32, irb_muli(a->b, row, a->nr)); }

// q of the panel, scaled, as the product wants it.
static void emit_queries(Forward *f, Val q_from, Val count) {
    Irb *b = f->a.b;
    const TileAttend *d = f->a.d;
    Val k = irb_int(b, d->q_columns);
    attend_pack(&f->a, &d->q, false, (int)f->a.nr, f->q_panel, q_from, f->q_rows, f->q_columns, count, k);
    IrbLoop i = irb_loop_const(b, 0, d->q_columns * f->a.nr, b->lanes);
    Val at = irb_index(b, f->q_panel, b->f32, i.index);
    irb_store(b, irb_mul(b, irb_load(b, b->vf, at), irb_const_real(b, b->vf, d->scale)), at);
    irb_loop_end(b, &i);
}

// Softmax of one block of scores, in place, and what was gathered before (if this block is a later one) brought to the
// new maximum.
static void emit_softmax(Forward *f, Val count, Val later) {
    Attend *a = &f->a;
    Irb *b = a->b;
    int nv = a->shape.nv;
    Val low = irb_const_real(b, b->vf, -__builtin_inf()), zero = irb_zero(b, b->vf);
    Val high[4], sum[4], shift[4], shrink[4];
    for (int v = 0; v < nv; v++) high[v] = irb_var(b, b->vf, irb_load(b, b->vf, vector_at(b, f->high, v)));
    IrbLoop t = irb_loop(b, irb_int(b, 0), count, irb_int(b, 1));
    for (int v = 0; v < nv; v++)
        irb_set(b, high[v],
                irb_max(b, irb_get(b, high[v]), irb_load(b, b->vf, vector_at(b, row_at(a, f->scores, t.index), v))));
    irb_loop_end(b, &t);
    for (int v = 0; v < nv; v++) {
        Val before = irb_load(b, b->vf, vector_at(b, f->high, v)), now = irb_get(b, high[v]);
        irb_store(b, now, vector_at(b, f->high, v));
        // With no key seen so far everything is -inf: any finite shift gives exp(-inf) = 0 and no NaN.
        shift[v] = irb_select(b, irb_cmp(b, IRB_EQ, now, low), zero, now);
        shrink[v] = irb_exp(b, irb_sub(b, before, shift[v]));
        sum[v] = irb_var(b, b->vf, irb_mul(b, irb_load(b, b->vf, vector_at(b, f->sum, v)), shrink[v]));
    }
    IrbLoop e = irb_loop(b, irb_int(b, 0), count, irb_int(b, 1));
    for (int v = 0; v < nv; v++) {
        Val at = vector_at(b, row_at(a, f->scores, e.index), v);
        Val p = irb_exp(b, irb_sub(b, irb_load(b, b->vf, at), shift[v]));
        irb_store(b, p, at);
        irb_set(b, sum[v], irb_add(b, irb_get(b, sum[v]), p));
    }
    irb_loop_end(b, &e);
    for (int v = 0; v < nv; v++) irb_store(b, irb_get(b, sum[v]), vector_at(b, f->sum, v));
    IrbIf rescale = irb_if(b, later);
    IrbLoop r = irb_loop_const(b, 0, a->d->v_columns, 1);
    for (int v = 0; v < nv; v++) {
        Val at = vector_at(b, row_at(a, f->out, r.index), v);
        irb_store(b, irb_mul(b, irb_load(b, b->vf, at), shrink[v]), at);
    }
    irb_loop_end(b, &r);
    irb_if_end(b, &rescale);
}

static void emit_block(Forward *f, Val q0, Val t0, Val count, Val mask_from, Val queries_here) {
    Attend *a = &f->a;
    Irb *b = a->b;
    const TileAttend *d = a->d;
    Val mr = irb_int(b, a->mr);
    IrbLoop p = irb_loop(b, irb_int(b, 0), count, mr);
    Val panel = irb_index(b, f->k_panels, b->f32, irb_muli(b, irb_add(b, t0, p.index), d->q_columns));
    attend_product(a, panel, f->q_panel, irb_int(b, d->q_columns), row_at(a, f->scores, p.index), irb_int(b, 0));
    irb_loop_end(b, &p);
    attend_exclude(a, f->scores, q0, t0, count, mask_from, queries_here);
    Val later = irb_cmp(b, IRB_GT, t0, irb_int(b, 0));
    emit_softmax(f, count, later);
    IrbLoop r = irb_loop_const(b, 0, d->v_columns, a->mr);
    Val turned = irb_index(b, f->v_panels, b->f32, irb_add(b, irb_muli(b, r.index, d->keys), irb_muli(b, t0, a->mr)));
    attend_product(a, turned, f->scores, count, row_at(a, f->out, r.index), irb_cast(b, later, b->i64));
    irb_loop_end(b, &r);
}

static void emit_finish(Forward *f, Val y_to, Val lse_to, Val count) {
    Attend *a = &f->a;
    Irb *b = a->b;
    const TileAttend *d = a->d;
    Val zero = irb_zero(b, b->vf);
    for (int v = 0; v < a->shape.nv; v++) {
        Val sum_at = vector_at(b, f->sum, v), high_at = vector_at(b, f->high, v);
        Val sum = irb_load(b, b->vf, sum_at), high = irb_load(b, b->vf, high_at);
        Val none = irb_cmp(b, IRB_EQ, sum, zero);
        irb_store(b, irb_select(b, none, zero, irb_div(b, irb_const_real(b, b->vf, 1.0), sum)), high_at);
        irb_store(b, irb_add(b, high, irb_log(b, sum)), sum_at);
    }
    attend_store(a, true, f->out, NULL, count, d->v_columns, &d->y, y_to, f->high);
    IrbLoop j = irb_loop(b, irb_int(b, 0), count, irb_int(b, 1));
    irb_store(b, irb_load(b, b->f32, irb_index(b, f->sum, b->f32, j.index)),
              irb_index(b, lse_to, b->f32, irb_muli(b, j.index, d->lse.row)));
    irb_loop_end(b, &j);
}

static void emit_panel(Forward *f, Val q0, Val q_from, Val y_to, Val lse_to, Val mask_from) {
    Attend *a = &f->a;
    Irb *b = a->b;
    const TileAttend *d = a->d;
    Val count = irb_min(b, irb_sub(b, irb_int(b, d->queries), q0), irb_int(b, a->nr));
    emit_queries(f, q_from, count);
    for (int v = 0; v < a->shape.nv; v++) {
        irb_store(b, irb_const_real(b, b->vf, -__builtin_inf()), vector_at(b, f->high, v));
        irb_store(b, irb_zero(b, b->vf), vector_at(b, f->sum, v));
    }
    Val end = attend_key_end(a, irb_add(b, q0, count));
    IrbIf blind = irb_if(b, irb_cmp(b, IRB_EQ, end, irb_int(b, 0)));
    irb_fill_zero(b, f->out, irb_int(b, attend_round(attend_round(d->v_columns, a->mr), b->lanes) * a->nr * TILE_F32));
    irb_if_end(b, &blind);
    IrbLoop block = irb_loop(b, irb_int(b, 0), end, irb_int(b, f->block));
    Val keys_here = irb_min(b, irb_sub(b, end, block.index), irb_int(b, f->block));
    Val mask_block = d->masked ? irb_at(b, mask_from, irb_muli(b, block.index, d->mask.column)) : NULL;
    emit_block(f, q0, block.index, keys_here, mask_block, count);
    irb_loop_end(b, &block);
    emit_finish(f, y_to, lse_to, count);
}

static void lay_scratch(Forward *f) {
    Attend *a = &f->a;
    const TileAttend *d = a->d;
    int64_t mr = a->mr, nr = a->nr, out_rows = attend_round(attend_round(d->v_columns, mr), a->b->lanes);
    f->block = attend_round(256, mr);
    f->q_rows = attend_table(a, nr, d->q.row);
    f->q_columns = attend_table(a, d->q_columns, d->q.column);
    f->k_rows = attend_table(a, d->keys, d->k.row);
    f->k_columns = attend_table(a, d->q_columns, d->k.column);
    f->v_rows = attend_table(a, d->keys, d->v.row);
    f->v_columns = attend_table(a, d->v_columns, d->v.column);
    f->q_panel = attend_scratch(a, d->q_columns * nr * TILE_F32);
    f->scores = attend_scratch(a, f->block * nr * TILE_F32);
    f->out = attend_scratch(a, out_rows * nr * TILE_F32);
    f->high = attend_scratch(a, nr * TILE_F32);
    f->sum = attend_scratch(a, nr * TILE_F32);
    f->k_panels = attend_scratch(a, attend_round(d->keys, mr) * d->q_columns * TILE_F32);
    f->v_panels = attend_scratch(a, attend_round(d->v_columns, mr) * d->keys * TILE_F32);
}

Status tile_attend(Irb *b, const char *name, const TileAttend *d, TilePlan *out_plan) {
    STATUS_TRY(attend_check(name, d));
    static const bool all[TILE_AXES] = {true, true, true, true};
    Forward f = {.a = {.b = b, .d = d}};
    Attend *a = &f.a;
    attend_begin(a, name);
    lay_scratch(&f);
    int64_t panels = ceil_div(d->queries, a->nr), tasks = panels;
    for (int i = 0; i < d->outer_count; i++) tasks *= d->outer[i];
    Val per_outer = irb_int(b, panels ? panels : 1);
    // Consecutive tasks mostly share keys and values (all of a head; with groups, several heads): they are packed on
    // change.
    Val k_packed = irb_var(b, b->ptr, LLVMConstNull(b->ptr)), v_packed = irb_var(b, b->ptr, LLVMConstNull(b->ptr));
    IrbLoop task = irb_loop(b, a->kernel.begin, a->kernel.end, irb_int(b, 1));
    Val outer = irb_div(b, task.index, per_outer), q0 = irb_muli(b, irb_rem(b, task.index, per_outer), a->nr);
    Val k_from = irb_at(b, attend_base(a, &d->k), attend_offset(a, &d->k, all, outer, attend_bytes(a)));
    Val v_from = irb_at(b, attend_base(a, &d->v), attend_offset(a, &d->v, all, outer, attend_bytes(a)));
    Val keys = irb_int(b, d->keys);
    IrbIf k_new = irb_if(b, irb_cmp(b, IRB_NE, k_from, irb_get(b, k_packed)));
    attend_pack(a, &d->k, false, (int)a->mr, f.k_panels, k_from, f.k_rows, f.k_columns, keys, irb_int(b, d->q_columns));
    irb_set(b, k_packed, k_from);
    irb_if_end(b, &k_new);
    IrbIf v_new = irb_if(b, irb_cmp(b, IRB_NE, v_from, irb_get(b, v_packed)));
    attend_pack(a, &d->v, true, (int)a->mr, f.v_panels, v_from, f.v_rows, f.v_columns, irb_int(b, d->v_columns), keys);
    irb_set(b, v_packed, v_from);
    irb_if_end(b, &v_new);
    Val q_from = irb_at(b, irb_at(b, attend_base(a, &d->q), attend_offset(a, &d->q, all, outer, attend_bytes(a))),
                        irb_muli(b, q0, d->q.row * attend_bytes(a)));
    Val y_to = irb_at(b, irb_at(b, attend_base(a, &d->y), attend_offset(a, &d->y, all, outer, attend_bytes(a))),
                      irb_muli(b, q0, d->y.row * attend_bytes(a)));
    Val lse_to = irb_at(b, irb_at(b, attend_base(a, &d->lse), attend_offset(a, &d->lse, all, outer, TILE_F32)),
                        irb_muli(b, q0, d->lse.row * TILE_F32));
    if (d->bounded) attend_bound(a, irb_at(b, attend_base(a, &d->last), attend_offset(a, &d->last, all, outer, 4)));
    Val mask_from = NULL;
    if (d->masked)
        mask_from = irb_at(b, irb_at(b, attend_base(a, &d->mask), attend_offset(a, &d->mask, all, outer, 1)),
                           irb_muli(b, q0, d->mask.row));
    emit_panel(&f, q0, q_from, y_to, lse_to, mask_from);
    irb_loop_end(b, &task);
    irb_function_end(b, NULL);
    *out_plan = (TilePlan){tasks, a->at, false};
    return status_ok();
}
