// SPDX-License-Identifier: Apache-2.0
// tile_attend_back: the backward kernel; see tile_attend.h, and tile_attend_parts.h for how blocks lie.
// For one (batch, key head):
//
//   for each query head of its group, each block of queries:   D = sum over columns of dy y
//     for each block of keys, each panel of queries:  S = k (scale q)^T, P = exp(S - lse)     [key][query]
//                                                     dS = P (v dy^T - D)
//                                                     dq^T += k^T dS
//       dv += P dy, dk += dS q                        over all the block's queries at once, P and dS turned
//     dq = scale dq^T^T
//   dk = scale dk, dv = dv
//
// dk and dv of all keys stay in scratch until the end, so they are summed in a fixed order by one thread.
#include "codegen/tile_attend_parts.h"
#include "base/checked.h"
#include <stddef.h>

typedef struct Back {
    Attend a;
    const TileAttendBack *d;
    bool head[TILE_AXES], group[TILE_AXES]; // which outer axes make a task, and which are summed over
    int64_t heads, groups;
    int64_t q_block, t_block; // queries and keys at a time
    int64_t key_rows;         // keys rounded up to whole panels
    // tables of offsets
    Val q_rows, q_columns, k_rows, k_columns, v_rows, v_columns, y_rows, y_columns, dy_rows, dy_columns;
    Val block_rows, block_queries;
    // packed operands: k by keys, k by columns, v by keys; q and dy by queries and by columns
    Val k_panels, k_turned, v_panels, q_panels, q_turned, dy_panels, dy_turned, y_panels;
    Val probability, slope, turned; // P and dS of a block, one of them turned
    Val dq, dk, dv, lse, dot;
} Back;

static Val vector_at(Irb *b, Val base, int v) { return irb_at_const(b, base, (int64_t)v * b->lanes * TILE_F32); }
static Val floats_at(Irb *b, Val base, Val count) { return irb_index(b, base, b->f32, count); }
static Val row_at(Attend *a, Val base, Val row) { return floats_at(a->b, base, irb_muli(a->b, row, a->nr)); }

// What is computed once a block of queries: packed q and dy, lse, and D.
static void emit_queries(Back *f, Val q_from, Val y_from, Val dy_from, Val lse_from, Val count) {
    Attend *a = &f->a;
    Irb *b = a->b;
    const TileAttend *d = a->d;
    int nr = (int)a->nr, nv = a->shape.nv;
    Val q_columns = irb_int(b, d->q_columns), v_columns = irb_int(b, d->v_columns);
    attend_pack(a, &d->q, false, nr, f->q_panels, q_from, f->q_rows, f->q_columns, count, q_columns);
    attend_pack(a, &d->q, true, nr, f->q_turned, q_from, f->q_rows, f->q_columns, q_columns, count);
    attend_pack(a, &f->d->dy, false, nr, f->dy_panels, dy_from, f->dy_rows, f->dy_columns, count, v_columns);
    attend_pack(a, &f->d->dy, true, nr, f->dy_turned, dy_from, f->dy_rows, f->dy_columns, v_columns, count);
    attend_pack(a, &d->y, false, nr, f->y_panels, y_from, f->y_rows, f->y_columns, count, v_columns);
    IrbLoop p = irb_loop(b, irb_int(b, 0), count, irb_int(b, nr));
    Val q_panel = floats_at(b, f->q_panels, irb_muli(b, p.index, d->q_columns));
    IrbLoop i = irb_loop_const(b, 0, d->q_columns * nr, b->lanes);
    Val at = floats_at(b, q_panel, i.index);
    irb_store(b, irb_mul(b, irb_load(b, b->vf, at), irb_const_real(b, b->vf, d->scale)), at);
    irb_loop_end(b, &i);
    Val panel = irb_muli(b, p.index, d->v_columns), dot[4];
    for (int v = 0; v < nv; v++) dot[v] = irb_var(b, b->vf, irb_zero(b, b->vf));
    IrbLoop c = irb_loop_const(b, 0, d->v_columns, 1);
    for (int v = 0; v < nv; v++) {
        Val here = irb_add(b, panel, irb_muli(b, c.index, nr));
        Val y = irb_load(b, b->vf, vector_at(b, floats_at(b, f->y_panels, here), v));
        Val dy = irb_load(b, b->vf, vector_at(b, floats_at(b, f->dy_panels, here), v));
        irb_set(b, dot[v], irb_fma(b, y, dy, irb_get(b, dot[v])));
    }
    irb_loop_end(b, &c);
    for (int v = 0; v < nv; v++) irb_store(b, irb_get(b, dot[v]), vector_at(b, floats_at(b, f->dot, p.index), v));
    irb_loop_end(b, &p);
    irb_fill_zero(b, f->lse, irb_int(b, f->q_block * TILE_F32));
    IrbLoop j = irb_loop(b, irb_int(b, 0), count, irb_int(b, 1));
    Val lse = irb_load(b, b->f32, floats_at(b, lse_from, irb_muli(b, j.index, d->lse.row)));
    // A query without keys: its scores are all -inf, and any finite value makes their exponentials 0.
    Val none = irb_cmp(b, IRB_EQ, lse, irb_real(b, -__builtin_inf()));
    irb_store(b, irb_select(b, none, irb_real(b, 0), lse), floats_at(b, f->lse, j.index));
    irb_loop_end(b, &j);
}

// P and dS of one panel of queries by keys [t0, t0 + keys), and their part of dq.
static void emit_panel(Back *f, Val panel, Val q0, Val t0, Val keys, Val mask_from, Val queries_here) {
    Attend *a = &f->a;
    Irb *b = a->b;
    const TileAttend *d = a->d;
    int nv = a->shape.nv;
    Val place = irb_muli(b, panel, f->t_block), probability = floats_at(b, f->probability, place);
    Val slope = floats_at(b, f->slope, place);
    Val q_panel = floats_at(b, f->q_panels, irb_muli(b, panel, d->q_columns));
    Val dy_panel = floats_at(b, f->dy_panels, irb_muli(b, panel, d->v_columns));
    IrbLoop p = irb_loop(b, irb_int(b, 0), keys, irb_int(b, a->mr));
    Val t = irb_add(b, t0, p.index);
    attend_product(a, floats_at(b, f->k_panels, irb_muli(b, t, d->q_columns)), q_panel, irb_int(b, d->q_columns),
                   row_at(a, probability, p.index), irb_int(b, 0));
    attend_product(a, floats_at(b, f->v_panels, irb_muli(b, t, d->v_columns)), dy_panel, irb_int(b, d->v_columns),
                   row_at(a, slope, p.index), irb_int(b, 0));
    irb_loop_end(b, &p);
    attend_exclude(a, probability, irb_add(b, q0, panel), t0, keys, mask_from, queries_here);
    Val lse[4], dot[4];
    for (int v = 0; v < nv; v++) {
        lse[v] = irb_load(b, b->vf, vector_at(b, floats_at(b, f->lse, panel), v));
        dot[v] = irb_load(b, b->vf, vector_at(b, floats_at(b, f->dot, panel), v));
    }
    IrbLoop e = irb_loop(b, irb_int(b, 0), keys, irb_int(b, 1));
    for (int v = 0; v < nv; v++) {
        Val p_at = vector_at(b, row_at(a, probability, e.index), v), s_at = vector_at(b, row_at(a, slope, e.index), v);
        Val x = irb_exp(b, irb_sub(b, irb_load(b, b->vf, p_at), lse[v]));
        irb_store(b, x, p_at);
        irb_store(b, irb_mul(b, x, irb_sub(b, irb_load(b, b->vf, s_at), dot[v])), s_at);
    }
    irb_loop_end(b, &e);
    IrbLoop c = irb_loop_const(b, 0, d->q_columns, a->mr);
    Val k_turned = floats_at(b, f->k_turned, irb_add(b, irb_muli(b, c.index, d->keys), irb_muli(b, t0, a->mr)));
    int64_t dq_rows = attend_round(attend_round(d->q_columns, a->mr), b->lanes);
    Val dq = floats_at(b, f->dq, irb_muli(b, panel, dq_rows));
    attend_product(a, k_turned, slope, keys, row_at(a, dq, c.index), irb_int(b, 1));
    irb_loop_end(b, &c);
}

// First query of the block, at a panel's start, in a panel that sees key t.
static Val first_query(Back *f, Val q0, Val t) {
    Irb *b = f->a.b;
    Val sees = irb_max(b, irb_sub(b, irb_sub(b, t, f->a.ahead), q0), irb_int(b, 0));
    return irb_muli(b, irb_div(b, sees, irb_int(b, f->a.nr)), f->a.nr);
}

// sum[t, :] += block[t, q] operand[q, :] over queries [first, count), for keys [t0, t0 + keys): dv or dk. When causal,
// a panel of keys takes the panels of queries that see any of it: the others' part of the block was never computed.
static void emit_sum(Back *f, Val block, Val operand, int64_t columns, Val sum, Val q0, Val t0, Val keys, Val first,
                     Val count) {
    Attend *a = &f->a;
    Irb *b = a->b;
    Val packed = irb_sub(b, count, first);
    Val pack[] = {f->turned, block, f->block_rows, irb_index(b, f->block_queries, b->i64, first), keys, packed};
    irb_call(b, tile_pack(b, TILE_PACK_ALONG, (int)a->mr, REAL_F32), 6, pack);
    IrbLoop c = irb_loop_const(b, 0, columns, a->nr);
    Val right = floats_at(b, operand, irb_mul(b, c.index, count));
    Val to = floats_at(b, sum, irb_add(b, irb_muli(b, c.index, f->key_rows), irb_muli(b, t0, a->nr)));
    IrbLoop p = irb_loop(b, irb_int(b, 0), keys, irb_int(b, a->mr));
    Val from = a->d->causal ? first_query(f, q0, irb_add(b, t0, p.index)) : first;
    Val left =
        floats_at(b, f->turned, irb_add(b, irb_mul(b, p.index, packed), irb_muli(b, irb_sub(b, from, first), a->mr)));
    attend_product(a, left, row_at(a, right, from), irb_sub(b, count, from), row_at(a, to, p.index), irb_int(b, 1));
    irb_loop_end(b, &p);
    irb_loop_end(b, &c);
}

static void emit_query_block(Back *f, Val q0, Val count, Val mask_from) {
    Attend *a = &f->a;
    Irb *b = a->b;
    const TileAttend *d = a->d;
    // Whole panels of keys: what a panel holds beyond `end` is excluded and adds zeros to keys that come later.
    Val end = irb_addi(b, attend_key_end(a, irb_add(b, q0, count)), a->mr - 1);
    end = irb_min(b, irb_muli(b, irb_div(b, end, irb_int(b, a->mr)), a->mr), irb_int(b, d->keys));
    IrbLoop block = irb_loop(b, irb_int(b, 0), end, irb_int(b, f->t_block));
    Val keys = irb_min(b, irb_sub(b, end, block.index), irb_int(b, f->t_block));
    Val first = d->causal ? first_query(f, q0, block.index) : irb_int(b, 0); // panels before it see no key of the block
    IrbLoop panel = irb_loop(b, first, count, irb_int(b, a->nr));
    Val here = irb_min(b, irb_sub(b, count, panel.index), irb_int(b, a->nr));
    Val mask = NULL;
    if (d->masked)
        mask = irb_at(b, mask_from,
                      irb_add(b, irb_muli(b, panel.index, d->mask.row), irb_muli(b, block.index, d->mask.column)));
    Val seen = keys;
    if (d->causal) { // whole panels of keys, as in emit_sum
        Val end_here = irb_sub(b, irb_add(b, irb_add(b, q0, irb_addi(b, panel.index, a->nr)), a->ahead), block.index);
        end_here = irb_muli(b, irb_div(b, irb_addi(b, end_here, a->mr - 1), irb_int(b, a->mr)), a->mr);
        seen = irb_min(b, keys, end_here);
    }
    emit_panel(f, panel.index, q0, block.index, seen, mask, here);
    irb_loop_end(b, &panel);
    emit_sum(f, f->probability, f->dy_turned, d->v_columns, f->dv, q0, block.index, keys, first, count);
    emit_sum(f, f->slope, f->q_turned, d->q_columns, f->dk, q0, block.index, keys, first, count);
    irb_loop_end(b, &block);
}

static void lay_scratch(Back *f) {
    Attend *a = &f->a;
    const TileAttend *d = a->d;
    int64_t mr = a->mr, nr = a->nr, lanes = a->b->lanes;
    f->q_block = attend_round(d->queries < 128 ? (d->queries ? d->queries : 1) : 128, nr);
    f->t_block = attend_round(128, mr);
    f->key_rows = attend_round(d->keys, mr);
    int64_t q_wide = attend_round(d->q_columns, nr), v_wide = attend_round(d->v_columns, nr);
    int64_t q_tall = attend_round(attend_round(d->q_columns, mr), lanes);
    f->q_rows = attend_table(a, f->q_block, d->q.row);
    f->q_columns = attend_table(a, d->q_columns, d->q.column);
    f->k_rows = attend_table(a, d->keys, d->k.row);
    f->k_columns = attend_table(a, d->q_columns, d->k.column);
    f->v_rows = attend_table(a, d->keys, d->v.row);
    f->v_columns = attend_table(a, d->v_columns, d->v.column);
    f->y_rows = attend_table(a, f->q_block, d->y.row);
    f->y_columns = attend_table(a, d->v_columns, d->y.column);
    f->dy_rows = attend_table(a, f->q_block, f->d->dy.row);
    f->dy_columns = attend_table(a, d->v_columns, f->d->dy.column);
    f->block_rows = attend_floats(a, f->t_block, nr);
    f->block_queries = attend_scratch(a, f->q_block * 8);
    for (int64_t p = 0; p < f->q_block / nr; p++) { // query j of panel p: p blocks of keys further, at j
        Irb *b = a->b;
        IrbLoop j = irb_loop_const(b, 0, nr, 1);
        irb_store(b, irb_addi(b, irb_muli(b, j.index, TILE_F32), p * f->t_block * nr * TILE_F32),
                  irb_index(b, f->block_queries, b->i64, irb_addi(b, j.index, p * nr)));
        irb_loop_end(b, &j);
    }
    f->lse = attend_scratch(a, f->q_block * TILE_F32);
    f->dot = attend_scratch(a, f->q_block * TILE_F32);
    f->q_panels = attend_scratch(a, f->q_block * d->q_columns * TILE_F32);
    f->dy_panels = attend_scratch(a, f->q_block * d->v_columns * TILE_F32);
    f->y_panels = attend_scratch(a, f->q_block * d->v_columns * TILE_F32);
    f->q_turned = attend_scratch(a, f->q_block * q_wide * TILE_F32);
    f->dy_turned = attend_scratch(a, f->q_block * v_wide * TILE_F32);
    f->probability = attend_scratch(a, f->q_block * f->t_block * TILE_F32);
    f->slope = attend_scratch(a, f->q_block * f->t_block * TILE_F32);
    f->turned = attend_scratch(a, f->q_block * f->t_block * TILE_F32);
    f->dq = attend_scratch(a, f->q_block * q_tall * TILE_F32);
    f->k_panels = attend_scratch(a, f->key_rows * d->q_columns * TILE_F32);
    f->k_turned = attend_scratch(a, d->keys * attend_round(d->q_columns, mr) * TILE_F32);
    f->v_panels = attend_scratch(a, f->key_rows * d->v_columns * TILE_F32);
    f->dk = attend_scratch(a, f->key_rows * q_wide * TILE_F32);
    f->dv = attend_scratch(a, f->key_rows * v_wide * TILE_F32);
}

static Val operand(Back *f, const TileRows *x, Val head, Val group, int64_t bytes) {
    Irb *b = f->a.b;
    TileRows rest = *x;
    rest.first = 0;
    Val offset = attend_offset(&f->a, x, f->head, head, bytes);
    if (group) offset = irb_add(b, offset, attend_offset(&f->a, &rest, f->group, group, bytes));
    return irb_at(b, attend_base(&f->a, x), offset);
}

// All queries of one head of the group.
static void emit_group(Back *f, Val head, Val group) {
    Attend *a = &f->a;
    Irb *b = a->b;
    const TileAttend *d = a->d;
    const TileAttendBack *back = f->d;
    int64_t dq_rows = attend_round(attend_round(d->q_columns, a->mr), b->lanes);
    const TileRows *rows[] = {&d->q, &d->y, &back->dy, &d->lse, &back->dq};
    int64_t each = attend_bytes(a), bytes[] = {each, each, each, TILE_F32, each};
    Val base[5], from[5];
    for (int i = 0; i < 5; i++) base[i] = operand(f, rows[i], head, group, bytes[i]);
    Val mask = d->masked ? operand(f, &d->mask, head, group, 1) : NULL;
    if (d->bounded) attend_bound(a, operand(f, &d->last, head, group, 4));
    IrbLoop block = irb_loop_const(b, 0, d->queries, f->q_block);
    for (int i = 0; i < 5; i++) from[i] = irb_at(b, base[i], irb_muli(b, block.index, rows[i]->row * bytes[i]));
    Val count = irb_min(b, irb_sub(b, irb_int(b, d->queries), block.index), irb_int(b, f->q_block));
    emit_queries(f, from[0], from[1], from[2], from[3], count);
    irb_fill_zero(b, f->dq, irb_int(b, f->q_block * dq_rows * TILE_F32));
    Val mask_block = d->masked ? irb_at(b, mask, irb_muli(b, block.index, d->mask.row)) : NULL;
    emit_query_block(f, block.index, count, mask_block);
    IrbLoop p = irb_loop(b, irb_int(b, 0), count, irb_int(b, a->nr));
    Val here = irb_min(b, irb_sub(b, count, p.index), irb_int(b, a->nr));
    attend_store(a, true, floats_at(b, f->dq, irb_muli(b, p.index, dq_rows)), NULL, here, d->q_columns, &back->dq,
                 irb_at(b, from[4], irb_muli(b, p.index, back->dq.row * each)), irb_real(b, d->scale));
    irb_loop_end(b, &p);
    irb_loop_end(b, &block);
}

static Status choose_groups(Back *f, const char *name) {
    const TileAttend *d = f->a.d;
    f->heads = f->groups = 1;
    for (int i = 0; i < d->outer_count; i++) {
        bool k_summed = f->d->dk.outer[i] == 0, v_summed = f->d->dv.outer[i] == 0;
        if (d->outer[i] != 1 && k_summed != v_summed)
            return status_make(STATUS_INVALID, "attention '%s': outer axis %d is summed in one of dk, dv only", name,
                               i);
        f->group[i] = k_summed && v_summed;
        f->head[i] = !f->group[i];
        *(f->group[i] ? &f->groups : &f->heads) *= d->outer[i];
    }
    return status_ok();
}

Status tile_attend_back(Irb *b, const char *name, const TileAttendBack *back, TilePlan *out_plan) {
    const TileAttend *d = &back->forward;
    STATUS_TRY(attend_check(name, d));
    Back f = {.a = {.b = b, .d = d}, .d = back};
    STATUS_TRY(choose_groups(&f, name));
    Attend *a = &f.a;
    attend_begin(a, name);
    lay_scratch(&f);
    Val keys = irb_int(b, d->keys), q_columns = irb_int(b, d->q_columns), v_columns = irb_int(b, d->v_columns);
    int64_t q_wide = attend_round(d->q_columns, a->nr), v_wide = attend_round(d->v_columns, a->nr);
    IrbLoop head = irb_loop(b, a->kernel.begin, a->kernel.end, irb_int(b, 1));
    irb_fill_zero(b, f.dk, irb_int(b, f.key_rows * q_wide * TILE_F32));
    irb_fill_zero(b, f.dv, irb_int(b, f.key_rows * v_wide * TILE_F32));
    IrbLoop group = irb_loop_const(b, 0, f.groups, 1);
    // k and v need packing again only where they differ along the group.
    bool same = true;
    for (int i = 0; i < d->outer_count; i++)
        if (f.group[i] && d->outer[i] != 1 && (d->k.outer[i] || d->v.outer[i])) same = false;
    IrbIf pack = irb_if(b, same ? irb_cmp(b, IRB_EQ, group.index, irb_int(b, 0)) : irb_bool(b, true));
    Val k_from = operand(&f, &d->k, head.index, group.index, attend_bytes(a));
    Val v_from = operand(&f, &d->v, head.index, group.index, attend_bytes(a));
    attend_pack(a, &d->k, false, (int)a->mr, f.k_panels, k_from, f.k_rows, f.k_columns, keys, q_columns);
    attend_pack(a, &d->k, true, (int)a->mr, f.k_turned, k_from, f.k_rows, f.k_columns, q_columns, keys);
    attend_pack(a, &d->v, false, (int)a->mr, f.v_panels, v_from, f.v_rows, f.v_columns, keys, v_columns);
    irb_if_end(b, &pack);
    emit_group(&f, head.index, group.index);
    irb_loop_end(b, &group);
    Val panel_bytes = irb_int(b, f.key_rows * a->nr * TILE_F32);
    attend_store(a, false, f.dk, panel_bytes, keys, d->q_columns, &back->dk,
                 operand(&f, &back->dk, head.index, NULL, attend_bytes(a)), irb_real(b, d->scale));
    attend_store(a, false, f.dv, panel_bytes, keys, d->v_columns, &back->dv,
                 operand(&f, &back->dv, head.index, NULL, attend_bytes(a)), irb_real(b, 1.0));
    irb_loop_end(b, &head);
    irb_function_end(b, NULL);
    *out_plan = (TilePlan){d->keys || d->queries ? f.heads : 0, a->at, false};
    return status_ok();
}
