// SPDX-License-Identifier: Apache-2.0
// cuda_nest_scatter: sums that pick by number, as a scatter (the gradient of an embedding) is lowered for a GPU:
//
//   parallel r in 50257                                    y[r, w] = base[r, w] + the sum over t, in order, of
//     parallel w in 768                                                the updates[t, w] with ids[t] == r
//       acc a (sum)
//       serial t in 8192:  a += select(ids[t] == r, updates[t, w], 0)
//       y[r*768 + w] = base[r*768 + w] + a
//
// The nest says what comes out, and is right however it is run; run as it stands it would look at every update for
// every row. Here a block owns some rows (every so many-th, since frequent ids are neighbours) and some columns w. Its
// threads look through the ids together, keep those of its rows, sorted by row and then by t, in shared memory, and add
// the updates of one row after the other. So the updates are read once and added in the order of t: no atomics, the
// same bits always.
#include "base/checked.h"
#include "codegen/cuda_nest.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 256, STEP = 1024, SHARED_BYTES = 128 + 4 * 4 * STEP, WORTH = 16 };

typedef struct Scatter {
    int row; // of the section's variables, the one that numbers are compared with
    int lanes[NEST_VARS], nlanes, outer[NEST_VARS], nouter; // those that the numbers do not depend on, and the others
    int64_t nrows, ncolumns, blocks_outer, nplaces;
    NestVar places[8];
    int depth;                          // of places
    const KExpr *number, *also, *value; // also: another condition, or NULL
    const KStmt *store;
    int acc;
    bool in_place;
} Scatter;

// Does x depend on the variable, or (acc) on an accumulator? What was seen does not.
static bool depends(const KExpr *x, int var, bool *seen) {
    if (seen[x->id]) return false;
    seen[x->id] = true;
    if (x->op == K_VAR && x->var == var) return true;
    for (int i = 0; i < x->nargs; i++)
        if (depends(x->args[i], var, seen)) return true;
    if (x->op != K_LOAD) return false;
    for (int i = 0; i < x->index.nvars; i++)
        if (x->index.vars[i].var == var) return true;
    for (int i = 0; i < x->index.ndyn; i++)
        if (depends(x->index.dyn[i].at, var, seen)) return true;
    return false;
}
static bool depends_on(const Kernel *k, const KExpr *x, int var) {
    bool *seen = calloc((size_t)k->nexprs + 1, sizeof *seen), found = depends(x, var, seen);
    free(seen);
    return found;
}

// number == row, where row is one of the section's variables.
static bool match_number(const Kernel *k, const NestSection *s, const KExpr *x, Scatter *out) {
    if (x->op != K_EQ) return false;
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < s->nvars; i++) {
            const KExpr *row = x->args[side], *number = x->args[1 - side];
            if (row->op != K_VAR || row->var != s->var[i].var || depends_on(k, number, row->var)) continue;
            out->row = i;
            out->number = number;
            return true;
        }
    return false;
}

static bool match_condition(const Kernel *k, const NestSection *s, const KExpr *x, Scatter *out) {
    out->also = NULL;
    if (match_number(k, s, x, out)) return true;
    if (x->op != K_AND) return false;
    for (int side = 0; side < 2; side++)
        if (match_number(k, s, x->args[side], out)) {
            out->also = x->args[1 - side];
            return true;
        }
    return false;
}

static bool match(const Kernel *k, const NestSection *s, Scatter *out) {
    memset(out, 0, sizeof *out);
    const KBody *body = s->body;
    if (body->stmts.n != 3 || body->stmts.at[0]->kind != KSTMT_ACC || body->stmts.at[0]->reduce != KREDUCE_SUM ||
        body->stmts.at[1]->kind != KSTMT_LOOP || body->stmts.at[2]->kind != KSTMT_STORE)
        return false;
    out->acc = body->stmts.at[0]->var;
    out->store = body->stmts.at[2];
    out->nplaces = 1;
    const KStmt *at = body->stmts.at[1];
    for (; at->kind == KSTMT_LOOP; at = at->body.stmts.at[0]) {
        if (out->depth == 8 || at->body.stmts.n != 1 || at->chunk_var >= 0) return false;
        out->places[out->depth++] = (NestVar){at->var, at->extent, -1, 0};
        out->nplaces *= at->extent;
    }
    if (at->kind != KSTMT_UPDATE || at->var != out->acc || at->value->op != K_SELECT || at->value->type != DT_F32)
        return false;
    const KExpr *zero = at->value->args[2];
    if (zero->op != K_CONST || zero->f != 0 || !match_condition(k, s, at->value->args[0], out)) return false;
    out->value = at->value->args[1];
    int row = s->var[out->row].var;
    if (depends_on(k, out->value, row) || (out->also && depends_on(k, out->also, row))) return false;
    out->nrows = s->var[out->row].extent;
    out->ncolumns = out->blocks_outer = 1;
    for (int i = 0; i < s->nvars; i++) {
        if (s->var[i].chunk_var >= 0 || !kindex_stride(&out->store->index, s->var[i].var)) return false;
        if (i == out->row) continue;
        int var = s->var[i].var;
        bool outer = depends_on(k, out->number, var) || (out->also && depends_on(k, out->also, var));
        if (outer) out->outer[out->nouter++] = i, out->blocks_outer *= s->var[i].extent;
        else out->lanes[out->nlanes++] = i, out->ncolumns *= s->var[i].extent;
    }
    const KExpr *v = kexpr_bare(out->store->value), *base = NULL;
    if (out->store->index.ndyn) return false;
    if (v->op == K_ADD) {
        int side = v->args[0]->op == K_ACC;
        base = kexpr_bare(v->args[side]);
        v = v->args[1 - side];
        if (base->op != K_LOAD || base->index.ndyn) return false;
    }
    if (v->op != K_ACC || v->var != out->acc) return false;
    out->in_place = base && base->buf == out->store->buf && kindex_equal(&base->index, &out->store->index);
    return (out->in_place || !base || base->buf != out->store->buf) && out->nplaces > WORTH &&
           out->nplaces <= INT32_MAX && s->points <= UINT32_MAX / 2;
}

bool nest_map_scatter(const CudaTarget *target, const Kernel *k, const NestSection *s, NestMap *m) {
    Scatter x;
    if (!match(k, s, &x)) return false;
    memset(m, 0, sizeof *m);
    m->way = NEST_SCATTER;
    m->group = m->width = 1;
    m->threads = THREADS;
    m->across = 1;
    while (m->across < THREADS && m->across < x.ncolumns) m->across *= 2;
    int64_t others = x.blocks_outer * ceil_div(x.ncolumns, m->across);
    m->parts = ceil_div((int64_t)target->processors * 4, others);
    if (m->parts > x.nrows) m->parts = x.nrows;
    m->blocks = others * m->parts;
    m->shared_bytes = SHARED_BYTES;
    return m->blocks <= INT32_MAX / 2;
}

static void pick_vars(const NestSection *s, const int *which, int n, NestVar *out) {
    for (int i = 0; i < n; i++) out[i] = s->var[which[i]];
}

// Stores as if nothing were added.
static void emit_start(NestEmit *e, const Scatter *x) {
    KStmt *only = (KStmt *)x->store;
    KBody body = {{&only, 1, 1}};
    nest_line(e, "float a%d = 0.0f;", x->acc);
    e->acc[x->acc] = (NestAcc){.is_final = true, .type = DT_F32};
    nest_body(e, &body);
}

static void emit_rows(NestEmit *e, const NestSection *s, const Scatter *x) {
    int row = s->var[x->row].var;
    nest_open(e, "for (int i = ty; i < total; i += %d)", THREADS / e->map->across);
    nest_line(e, "int i%d = match_rows()[i];", row);
    e->var[row] = arena_printf(e->arena, "i%d", row);
    nest_line(e, "if (i > 0 && match_rows()[i - 1] == i%d) continue;", row);
    nest_line(e, "int end = i + 1;");
    nest_line(e, "while (end < total && match_rows()[end] == i%d) end++;", row);
    nest_line(e, "float sum = 0.0f;");
    nest_line(e, "TGF_UNROLL_4");
    nest_open(e, "for (int k = i; k < end; k++)");
    nest_line(e, "int place = match_places()[k];");
    int mark = e->log.n;
    nest_decode(e, x->places, x->depth, "place");
    const char *value = nest_value(e, x->value);
    nest_line(e, "sum += %s;", value);
    nest_undo(e, mark);
    nest_close(e);
    DType t = e->k->bufs.at[x->store->buf].type;
    const char *kind = t == DT_BF16 ? "bf16" : "f16", *at = nest_address(e, x->store->buf, &x->store->index);
    if (e->live) nest_line(e, "if (!%s) continue;", e->live);
    if (dtype_is_half(t)) nest_line(e, "gstore(%s, to_%s(from_%s(gload(%s)) + sum));", at, kind, kind, at);
    else nest_line(e, "gstore(%s, gload(%s) + sum);", at, at);
    e->var[row] = NULL;
    nest_close(e);
}

void nest_scatter_points(NestEmit *e, const NestSection *s, const char *block) {
    Scatter x;
    match(e->k, s, &x);
    const NestMap *m = e->map;
    NestVar lanes[NEST_VARS], outer[NEST_VARS];
    pick_vars(s, x.lanes, x.nlanes, lanes);
    pick_vars(s, x.outer, x.nouter, outer);
    int64_t tiles = ceil_div(x.ncolumns, m->across);
    int row = s->var[x.row].var;
    nest_line(e, "u32 at = %s;", block);
    nest_line(e, "int part = at %% %" PRId64 ";", m->parts);
    nest_line(e, "int ty = threadIdx.x / %d;", m->across);
    if (x.nlanes) {
        nest_line(e, "int column = at / %" PRId64 " %% %" PRId64 " * %d + threadIdx.x %% %d;", m->parts, tiles,
                  m->across, m->across);
        if (x.ncolumns % m->across) {
            nest_line(e, "bool live = column < %" PRId64 ";", x.ncolumns);
            nest_line(e, "if (!live) column = %" PRId64 ";", x.ncolumns - 1);
            e->live = "live";
        }
        nest_decode(e, lanes, x.nlanes, "column");
    }
    nest_decode(e, outer, x.nouter, arena_printf(e->arena, "at / %" PRId64, m->parts * tiles));
    int mark = e->log.n;
    if (!x.in_place) {
        nest_open(e, "for (int i%d = part + ty * %" PRId64 "; i%d < %" PRId64 "; i%d += %" PRId64 ")", row, m->parts,
                  row, x.nrows, row, THREADS / m->across * m->parts);
        e->var[row] = arena_printf(e->arena, "i%d", row);
        emit_start(e, &x);
        e->var[row] = NULL;
        nest_undo(e, mark);
        nest_close(e);
    }
    nest_open(e, "for (int first = 0; first < %" PRId64 "; first += %d)", x.nplaces, STEP);
    nest_line(e, "int own[4];");
    nest_line(e, "TGF_UNROLL");
    nest_open(e, "for (int j = 0; j < 4; j++)");
    nest_line(e, "int place = first + j * %d + threadIdx.x;", THREADS);
    nest_line(e, "own[j] = -1;");
    nest_line(e, "if (place >= %" PRId64 ") continue;", x.nplaces);
    nest_decode(e, x.places, x.depth, "place");
    const char *number = nest_value(e, x.number), *also = x.also ? nest_value(e, x.also) : NULL;
    nest_line(e, "int row = %s;", number);
    const char *more = also ? arena_printf(e->arena, " && %s", also) : "";
    nest_line(e, "if (row >= 0 && row < %" PRId64 " && row %% %" PRId64 " == part%s) own[j] = row;", x.nrows, m->parts,
              more);
    nest_undo(e, mark);
    nest_close(e);
    nest_line(e, "int total = sort_matches(own, first);");
    emit_rows(e, s, &x);
    nest_undo(e, mark);
    nest_close(e);
    for (int i = 0; i < x.depth; i++) e->var[x.places[i].var] = NULL;
}
