// SPDX-License-Identifier: Apache-2.0
// tile_micro: see tile_micro.h.
#include "codegen/tile_micro.h"
#include <assert.h>
#include <stdio.h>

enum { F32 = 4, ROWS_MAX = 32, UNROLL = 4, ACROSS_CHUNK = 8, FAR_TERMS = 192, NAME = 64 };

TileShape tile_shape_wide(const CpuTarget *t) {
    return t->lanes == 16 ? (TileShape){8, 3} : t->lanes == 8 ? (TileShape){6, 2} : (TileShape){4, 2};
}
TileShape tile_shape_narrow(const CpuTarget *t) {
    return t->lanes == 16 ? (TileShape){8, 2} : t->lanes == 8 ? (TileShape){6, 2} : (TileShape){4, 2};
}

static Val table_entry(Irb *b, Val table, Val i) {
    return irb_load_aligned(b, b->i64, irb_index(b, table, b->i64, i), 8);
}
static Val table_entry_at(Irb *b, Val table, int64_t i) {
    return irb_load_aligned(b, b->i64, irb_at_const(b, table, i * 8), 8);
}

// Finds the shared function of this name, or leaves where the builder stood in *out_here and says it must be filled.
typedef struct Here {
    LLVMBasicBlockRef block, entry;
    Val function;
} Here;
static Here here_save(Irb *b) {
    return (Here){b->function ? LLVMGetInsertBlock(b->builder) : NULL, b->entry, b->function};
}
static void here_restore(Irb *b, Here h) {
    b->function = h.function;
    b->entry = h.entry;
    if (h.block) LLVMPositionBuilderAtEnd(b->builder, h.block);
}

// ---- the product

typedef struct Micro {
    TileShape shape;
    Val acc[ROWS_MAX][4];
    Val a, b; // variables: where the panels are read
} Micro;

// One term k of every element of the tile.
static void micro_term(Irb *b, Micro *m, Val a, Val bp, int term) {
    int mr = m->shape.mr, nv = m->shape.nv, vector = b->lanes * F32;
    Val column[4];
    for (int v = 0; v < nv; v++)
        column[v] = irb_load_aligned(b, b->vf, irb_at_const(b, bp, ((int64_t)term * nv + v) * vector), vector);
    for (int r = 0; r < mr; r++) {
        Val x = irb_splat(b, irb_load(b, b->f32, irb_at_const(b, a, ((int64_t)term * mr + r) * F32)), b->lanes);
        for (int v = 0; v < nv; v++) irb_set(b, m->acc[r][v], irb_fma(b, x, column[v], irb_get(b, m->acc[r][v])));
    }
}

static void micro_terms(Irb *b, Micro *m, Val from, Val to, int unroll) {
    IrbLoop loop = irb_loop(b, from, to, irb_int(b, unroll));
    Val a = irb_get(b, m->a), bp = irb_get(b, m->b);
    for (int u = 0; u < unroll; u++) micro_term(b, m, a, bp, u);
    irb_set(b, m->a, irb_at_const(b, a, (int64_t)unroll * m->shape.mr * F32));
    irb_set(b, m->b, irb_at_const(b, bp, (int64_t)unroll * m->shape.nv * b->lanes * F32));
    irb_loop_end(b, &loop);
}

Val tile_micro(Irb *b, TileShape shape) {
    char name[NAME];
    snprintf(name, sizeof name, "tile.micro.%dx%d", shape.mr, tile_columns(b->target, shape));
    Val found = irb_function_find(b, name);
    if (found) return found;
    Here here = here_save(b);
    int mr = shape.mr, nv = shape.nv, nr = nv * b->lanes, vector = b->lanes * F32;
    assert(mr <= ROWS_MAX && nv <= 4);
    Ty parameters[] = {b->ptr, b->ptr, b->i64, b->ptr, b->ptr, b->ptr, b->i64, b->i64, b->i64};
    Val function = irb_function_begin(b, name, 9, parameters, b->nothing);
    Val k = irb_param(b, 2), c = irb_param(b, 3), row_offset = irb_param(b, 4), column_offset = irb_param(b, 5);
    Val rows = irb_param(b, 6), columns = irb_param(b, 7), load = irb_cmp(b, IRB_NE, irb_param(b, 8), irb_int(b, 0));
    Micro m = {.shape = shape, .a = irb_var(b, b->ptr, irb_param(b, 0)), .b = irb_var(b, b->ptr, irb_param(b, 1))};
    for (int r = 0; r < mr; r++)
        for (int v = 0; v < nv; v++) m.acc[r][v] = irb_var(b, b->vf, irb_zero(b, b->vf));

    Val full = irb_and(b, irb_cmp(b, IRB_GE, rows, irb_int(b, mr)), irb_cmp(b, IRB_GE, columns, irb_int(b, nr)));
    Val unrolled = irb_and(b, k, irb_int(b, -UNROLL));
    // The tile of C comes from far: it is asked for a row at a time while the product runs (all at once would stall it,
    // and a short product is not worth the trouble). Entries beyond the tile may be anything: a prefetch does not
    // fault.
    Val share = irb_addi(b, irb_muli(b, irb_div(b, unrolled, irb_int(b, (int64_t)mr * UNROLL)), UNROLL), UNROLL);
    share = irb_select(b, irb_cmp(b, IRB_GE, k, irb_int(b, FAR_TERMS)), share, irb_max(b, unrolled, irb_int(b, 1)));
    Val entry = irb_var(b, b->ptr, row_offset);
    IrbLoop part = irb_loop(b, irb_int(b, 0), unrolled, share);
    Val row_ahead = irb_at(b, c, irb_load(b, b->i64, irb_get(b, entry)));
    for (int v = 0; v < nv; v++)
        irb_prefetch(b, irb_at(b, row_ahead, table_entry_at(b, column_offset, v * b->lanes)), true, 3);
    irb_set(b, entry, irb_at_const(b, irb_get(b, entry), 8));
    micro_terms(b, &m, part.index, irb_min(b, irb_add(b, part.index, share), unrolled), UNROLL);
    irb_loop_end(b, &part);
    micro_terms(b, &m, unrolled, k, 1);

    IrbIf whole = irb_if(b, full);
    IrbIf adding = irb_if(b, load);
    for (int pass = 0; pass < 2; pass++) {
        for (int r = 0; r < mr; r++) {
            Val row = irb_at(b, c, table_entry_at(b, row_offset, r));
            for (int v = 0; v < nv; v++) {
                Val at = irb_at(b, row, table_entry_at(b, column_offset, v * b->lanes)), x = irb_get(b, m.acc[r][v]);
                if (pass == 0) x = irb_add(b, irb_load(b, b->vf, at), x);
                irb_store(b, x, at);
            }
        }
        if (pass == 0) irb_else(b, &adding);
    }
    irb_if_end(b, &adding);
    irb_else(b, &whole);
    Val tile = irb_local(b, (int64_t)mr * nr * F32, 64);
    for (int r = 0; r < mr; r++)
        for (int v = 0; v < nv; v++)
            irb_store_aligned(b, irb_get(b, m.acc[r][v]), irb_at_const(b, tile, (int64_t)(r * nv + v) * vector),
                              vector);
    IrbLoop row = irb_loop(b, irb_int(b, 0), irb_min(b, rows, irb_int(b, mr)), irb_int(b, 1));
    IrbLoop col = irb_loop(b, irb_int(b, 0), irb_min(b, columns, irb_int(b, nr)), irb_int(b, b->lanes));
    Val at = irb_at(b, irb_at(b, c, table_entry(b, row_offset, row.index)), table_entry(b, column_offset, col.index));
    Val mask = irb_mask_first(b, irb_sub(b, columns, col.index), b->lanes);
    Val x = irb_load(b, b->vf, irb_index(b, tile, b->f32, irb_add(b, irb_muli(b, row.index, nr), col.index)));
    Val previous = irb_load_masked(b, b->vf, at, irb_and(b, mask, irb_splat(b, load, b->lanes)), NULL);
    irb_store_masked(b, irb_add(b, previous, x), at, mask);
    irb_loop_end(b, &col);
    irb_loop_end(b, &row);
    irb_if_end(b, &whole);
    irb_function_end(b, NULL);
    here_restore(b, here);
    return function;
}

// ---- packing

void tile_transpose(Irb *b, Val *x) {
    int n = b->lanes;
    for (int d = n / 2; d >= 1; d /= 2) {
        int low[64], high[64];
        for (int l = 0; l < n; l++) {
            low[l] = l & d ? n + l - d : l;
            high[l] = l & d ? n + l : l + d;
        }
        for (int i = 0; i < n; i++) {
            if (i & d) continue;
            Val p = x[i], q = x[i + d];
            x[i] = irb_shuffle(b, p, q, n, low);
            x[i + d] = irb_shuffle(b, p, q, n, high);
        }
    }
}

// void pack_any(panel, from, offset, k_offset, count, k0, k1): one panel, element by element; zero from count on.
static Val pack_any(Irb *b, int panel, Real real) {
    char name[NAME];
    snprintf(name, sizeof name, "tile.pack.any.%d.%d", panel, real);
    Val found = irb_function_find(b, name);
    if (found) return found;
    Here here = here_save(b);
    Ty parameters[] = {b->ptr, b->ptr, b->ptr, b->ptr, b->i64, b->i64, b->i64};
    Val function = irb_function_begin(b, name, 7, parameters, b->nothing);
    Val to = irb_param(b, 0), from = irb_param(b, 1), offset = irb_param(b, 2), k_offset = irb_param(b, 3);
    Val count = irb_param(b, 4), k0 = irb_param(b, 5), k1 = irb_param(b, 6);
    IrbLoop k = irb_loop(b, k0, k1, irb_int(b, 1));
    Val source = irb_at(b, from, table_entry(b, k_offset, k.index));
    Val row = irb_index(b, to, b->f32, irb_muli(b, k.index, panel));
    IrbLoop i = irb_loop(b, irb_int(b, 0), count, irb_int(b, 1));
    irb_store(b, irb_load_real(b, real, 1, irb_at(b, source, table_entry(b, offset, i.index)), NULL),
              irb_index(b, row, b->f32, i.index));
    irb_loop_end(b, &i);
    IrbLoop z = irb_loop(b, count, irb_int(b, panel), irb_int(b, 1));
    irb_store(b, irb_real(b, 0), irb_index(b, row, b->f32, z.index));
    irb_loop_end(b, &z);
    irb_loop_end(b, &k);
    irb_function_end(b, NULL);
    here_restore(b, here);
    return function;
}

// Rows [k0, k1) of one panel whose indices lie side by side; count < panel: what is beyond becomes zero.
static void pack_across_rows(Irb *b, int panel, Real real, Val to, Val from, Val offset, Val k_offset, Val count,
                             Val k0, Val k1) {
    int unit = panel % b->lanes == 0 ? b->lanes : panel, units = panel / unit;
    IrbIf whole = irb_if(b, irb_cmp(b, IRB_GE, count, irb_int(b, panel)));
    for (int pass = 0; pass < 2; pass++) {
        Val place[64], mask[64];
        for (int v = 0; v < units; v++) {
            // A vector with nothing in it reads nowhere: any entry will do as its place.
            Val index = pass ? irb_min(b, irb_int(b, v * unit), irb_addi(b, count, -1)) : irb_int(b, v * unit);
            place[v] = irb_at(b, from, table_entry(b, offset, index));
            mask[v] = pass ? irb_mask_first(b, irb_addi(b, count, -v * unit), unit) : NULL;
        }
        IrbLoop row = irb_loop(b, k0, k1, irb_int(b, 1));
        Val along = table_entry(b, k_offset, row.index);
        Val row_to = irb_index(b, to, b->f32, irb_muli(b, row.index, panel));
        for (int v = 0; v < units; v++) {
            Val at = irb_at(b, place[v], along);
            irb_store(b, irb_load_real(b, real, unit, at, mask[v]), irb_at_const(b, row_to, (int64_t)v * unit * F32));
        }
        irb_loop_end(b, &row);
        if (pass == 0) irb_else(b, &whole);
    }
    irb_if_end(b, &whole);
}

// A few rows of k at a time over all panels, so that reads run along memory and each panel gets a run of whole cache
// lines.
static void pack_across(Irb *b, int panel, Real real, Val to, Val from, Val offset, Val k_offset, Val count, Val k) {
    Val panel_bytes = irb_muli(b, k, (int64_t)panel * F32);
    IrbLoop chunk = irb_loop(b, irb_int(b, 0), k, irb_int(b, ACROSS_CHUNK));
    Val stop = irb_min(b, irb_addi(b, chunk.index, ACROSS_CHUNK), k);
    Val panel_to = irb_var(b, b->ptr, to);
    IrbLoop i = irb_loop(b, irb_int(b, 0), count, irb_int(b, panel));
    pack_across_rows(b, panel, real, irb_get(b, panel_to), from, irb_index(b, offset, b->i64, i.index), k_offset,
                     irb_sub(b, count, i.index), chunk.index, stop);
    irb_set(b, panel_to, irb_at(b, irb_get(b, panel_to), panel_bytes));
    irb_loop_end(b, &i);
    irb_loop_end(b, &chunk);
}

// k lies side by side: lanes x lanes blocks turned in registers; what is left of k goes one by one. Beyond the last
// index a panel repeats it: those rows of the product are never stored.
static void pack_along(Irb *b, int panel, Real real, Val to, Val from, Val offset, Val k_offset, Val count, Val k,
                       Val any) {
    int n = b->lanes, group = panel < n ? panel : n; // rows turned at once
    Val whole = irb_and(b, k, irb_int(b, -n)), last = irb_addi(b, count, -1);
    IrbLoop i = irb_loop(b, irb_int(b, 0), count, irb_int(b, panel));
    Val panel_to = irb_index(b, to, b->f32, irb_mul(b, i.index, k));
    IrbLoop g = irb_loop_const(b, 0, panel / group * group, group);
    Val place[64], x[64];
    for (int r = 0; r < group; r++) {
        Val index = irb_min(b, irb_addi(b, irb_add(b, i.index, g.index), r), last);
        place[r] = irb_at(b, from, table_entry(b, offset, index));
    }
    Val group_to = irb_index(b, panel_to, b->f32, g.index);
    IrbLoop c = irb_loop(b, irb_int(b, 0), whole, irb_int(b, n));
    Val along = table_entry(b, k_offset, c.index);
    for (int r = 0; r < n; r++)
        x[r] = r < group ? irb_load_real(b, real, n, irb_at(b, place[r], along), NULL) : LLVMGetPoison(b->vf);
    tile_transpose(b, x);
    int lanes[64];
    for (int r = 0; r < group; r++) lanes[r] = r;
    Val row_to = irb_index(b, group_to, b->f32, irb_muli(b, c.index, panel));
    for (int r = 0; r < n; r++)
        irb_store(b, group == n ? x[r] : irb_shuffle(b, x[r], NULL, group, lanes),
                  irb_at_const(b, row_to, (int64_t)r * panel * F32));
    irb_loop_end(b, &c);
    irb_loop_end(b, &g);
    Val here = irb_min(b, irb_sub(b, count, i.index), irb_int(b, panel));
    Val rest[] = {panel_to, from, irb_index(b, offset, b->i64, i.index), k_offset, here, whole, k};
    irb_call(b, any, 7, rest);
    irb_loop_end(b, &i);
}

static void pack_each(Irb *b, int panel, Val to, Val from, Val offset, Val k_offset, Val count, Val k, Val any) {
    IrbLoop i = irb_loop(b, irb_int(b, 0), count, irb_int(b, panel));
    Val here = irb_min(b, irb_sub(b, count, i.index), irb_int(b, panel));
    Val rest[] = {irb_index(b, to, b->f32, irb_mul(b, i.index, k)),
                  from,
                  irb_index(b, offset, b->i64, i.index),
                  k_offset,
                  here,
                  irb_int(b, 0),
                  k};
    irb_call(b, any, 7, rest);
    irb_loop_end(b, &i);
}

Val tile_pack(Irb *b, TilePack kind, int panel, Real real) {
    static const char *names[] = {"across", "along", "each"};
    char name[NAME];
    snprintf(name, sizeof name, "tile.pack.%s.%d.%d", names[kind], panel, real);
    Val found = irb_function_find(b, name);
    if (found) return found;
    Val any = kind == TILE_PACK_ACROSS ? NULL : pack_any(b, panel, real);
    Here here = here_save(b);
    assert(panel < b->lanes || panel % b->lanes == 0);
    Ty parameters[] = {b->ptr, b->ptr, b->ptr, b->ptr, b->i64, b->i64};
    Val function = irb_function_begin(b, name, 6, parameters, b->nothing);
    Val to = irb_param(b, 0), from = irb_param(b, 1), offset = irb_param(b, 2), k_offset = irb_param(b, 3);
    Val count = irb_param(b, 4), k = irb_param(b, 5);
    if (kind == TILE_PACK_ACROSS) pack_across(b, panel, real, to, from, offset, k_offset, count, k);
    if (kind == TILE_PACK_ALONG) pack_along(b, panel, real, to, from, offset, k_offset, count, k, any);
    if (kind == TILE_PACK_ANY) pack_each(b, panel, to, from, offset, k_offset, count, k, any);
    irb_function_end(b, NULL);
    here_restore(b, here);
    return function;
}

Val tile_offsets(Irb *b) {
    Val found = irb_function_find(b, "tile.offsets");
    if (found) return found;
    Here here = here_save(b);
    Ty parameters[] = {b->ptr, b->i64, b->i64, b->i64};
    Val function = irb_function_begin(b, "tile.offsets", 4, parameters, b->nothing);
    Val to = irb_param(b, 0), at = irb_var(b, b->i64, irb_mul(b, irb_param(b, 1), irb_param(b, 3)));
    IrbLoop i = irb_loop(b, irb_int(b, 0), irb_param(b, 2), irb_int(b, 1));
    irb_store(b, irb_get(b, at), irb_index(b, to, b->i64, i.index));
    irb_set(b, at, irb_add(b, irb_get(b, at), irb_param(b, 3)));
    irb_loop_end(b, &i);
    irb_function_end(b, NULL);
    here_restore(b, here);
    return function;
}
