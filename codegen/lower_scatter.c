// SPDX-License-Identifier: Apache-2.0
// lower_scatter: rows of updates added to the rows that ids name. Tasks share the kept places, never the rows, and each
// goes through the ids in order: the same sums for any number of threads. On a GPU each place of the result is a sum,
// in the order of the ids, of the updates whose id is its row; cuda_nest knows how that is had without looking at all
// of them.
#include "base/checked.h"
#include "codegen/lower_loops.h"
#include <string.h>

// The scatter of a node: itself, or within a fused node.
const Node *lower_scatter_of(const Node *n) {
    if (n->op == OP_fused)
        for (const Node *x = n->body->first; x; x = x->next)
            if (x->op == OP_scatter) return x;
    return n->op == OP_scatter ? n : NULL;
}

static const Value *outside(const Node *n, const Value *v) { return n->op == OP_fused ? n->args[v->index] : v; }

static bool same_places(const Place *a, const Place *b) {
    return a->section == b->section && a->offset == b->offset && a->micro == b->micro &&
           !memcmp(a->loop_stride, b->loop_stride, sizeof a->loop_stride) &&
           !memcmp(a->dim_stride, b->dim_stride, sizeof a->dim_stride);
}

typedef struct Scattered {
    const Value *ids, *updates, *result, *base; // base: NULL, zeros
    const Dim *row;                             // that ids name, dimension row_dim of the result
    int row_dim;
    bool in_place; // base lies where the result does
} Scattered;

// y[r, kept] = base[r, kept] + the sum over the updates' other axes of (id == r ? update : 0)
static bool lower_picked_sums(Lower *l, const Scattered *s, const char *name) {
    const Type *t = &s->result->type;
    do {
        Kernel *k = l->k = kernel_new(l->arena, name);
        memset(l->out, 0, sizeof *l->out);
        l->out->kernel = k;
        l->again = false;
        lower_forget(l);
        lower_group_loops(l);
        int written = lower_buf(l, s->result, true);
        if (l->failed) return false;
        int64_t rows = lower_local(l, s->row);
        int v = kernel_var(k), acc = kernel_acc(k);
        KBody *into = &kbody_loop(k, &k->body, KLOOP_PARALLEL, v, rows)->body, *point = NULL;
        for (int g = 0; g < l->ngroups; g++) {
            LoopGroup *group = &l->group[g];
            bool kept = type_find(t, l->loop[group->first].axis) >= 0;
            if (!kept && !point) {
                point = into;
                kbody_acc(k, point, acc, KREDUCE_SUM);
            }
            group->var = kernel_var(k);
            into = &kbody_loop(k, into, kept ? KLOOP_PARALLEL : KLOOP_SERIAL, group->var, group->extent)->body;
        }
        if (!point) {
            point = into;
            kbody_acc(k, point, acc, KREDUCE_SUM);
        }
        KIndex c[RANK_MAX];
        for (int d = 0; d < s->ids->type.rank; d++) c[d] = lower_coordinate(l, s->ids->type.dim[d].axis);
        KExpr *id = lower_value(l, s->ids, c);
        for (int d = 0; d < s->updates->type.rank; d++) c[d] = lower_coordinate(l, s->updates->type.dim[d].axis);
        KExpr *x = lower_value(l, s->updates, c);
        if (!id || !x) return false;
        KExpr *ok = kb_eq(k, kb_sub(k, id, lower_shard_offset(l, s->row)), kb_var(k, v));
        if (dim_padded(s->row, &l->unit->mesh))
            ok = kb_and(k, ok, kb_lt(k, id, kb_const(k, DT_I32, (double)s->row->axis->extent)));
        DType type = lower_type(t->dtype);
        kbody_update(k, into, acc, kb_select(k, ok, x, kb_const(k, type, 0)));
        for (int d = 0; d < t->rank; d++) c[d] = d == s->row_dim ? (KIndex){0} : lower_coordinate(l, t->dim[d].axis);
        KExpr *sum = kb_acc(k, acc, type);
        KIndex to = lower_address(l, s->result, c);
        kindex_add_var(&to, v, lower_place(l, s->result)->dim_stride[s->row_dim]);
        if (s->base) {
            int read = s->in_place ? written : lower_buf(l, s->base, false);
            if (l->failed) return false;
            KIndex from = lower_address(l, s->base, c);
            kindex_add_var(&from, v, lower_place(l, s->base)->dim_stride[s->row_dim]);
            sum = kb_add(k, lower_load(k, read, from), sum);
        }
        lower_store(k, point, written, to, sum);
    } while (l->again);
    return !l->failed;
}

bool lower_scatter(const Unit *u, const FuncStorage *places, const Node *n, LowerMachine machine, Arena *arena,
                   const char *name, Lowered *out) {
    const Node *scatter = lower_scatter_of(n);
    const Value *ids = outside(n, scatter->args[0]), *updates = outside(n, scatter->args[1]);
    const Value *result = n->results[0], *base = NULL;
    if (n != scatter) { // base + scatter
        const Node *sum = block_yield(n->body)->args[0]->def;
        base = outside(n, sum->args[sum->args[0] == scatter->results[0] ? 1 : 0]);
    }
    bool in_place = base && same_places(&places->of[base->id], &places->of[result->id]);
    const Axis *over = scatter->attr.axes.at[0];
    Lower l = lower_start(u, places, n, machine, arena, out);
    // Kept axes (tasks and lanes), first those along which updates are repeated; then the rest of the updates' axes.
    for (int d = 0; d < ids->type.rank; d++)
        if (type_find(&updates->type, ids->type.dim[d].axis) < 0) lower_add_axis(&l, &ids->type.dim[d]);
    for (int pass = 0; pass < 2; pass++)
        for (int d = 0, begins = pass; d < updates->type.rank; d++) {
            if ((type_find(&result->type, updates->type.dim[d].axis) >= 0) != (pass == 0)) continue;
            int before = l.nloops;
            lower_add_axis(&l, &updates->type.dim[d]);
            if (begins && l.nloops > before) l.loop[before].begins = true, begins = 0;
        }
    int row_dim = type_find(&result->type, over);
    const Dim *row = &result->type.dim[row_dim];
    if (machine == LOWER_GPU)
        return lower_picked_sums(&l, &(Scattered){ids, updates, result, base, row, row_dim, in_place}, name);
    do {
        Kernel *k = l.k = kernel_new(arena, name);
        memset(out, 0, sizeof *out);
        out->kernel = k;
        l.again = false;
        lower_forget(&l);
        lower_group_loops(&l);
        int kept = 0;
        for (int i = 0; i < l.ngroups; i++) kept += type_find(&result->type, l.loop[l.group[i].first].axis) >= 0;
        int written = lower_buf(&l, result, true);
        if (l.failed) return false;
        KBody *into = &k->body;
        for (int g = 0; g + 1 < kept; g++) {
            l.group[g].var = kernel_var(k);
            into = &kbody_loop(k, into, k->tasks < TASKS_MANY ? KLOOP_PARALLEL : KLOOP_SERIAL, l.group[g].var,
                               l.group[g].extent)
                        ->body;
        }
        LoopGroup *lanes = kept ? &l.group[kept - 1] : NULL;
        bool chunked = lanes && k->tasks < TASKS_FEW && lanes->extent >= 2 * COLUMNS;
        if (chunked) {
            lanes->chunk = COLUMNS;
            lanes->chunk_var = kernel_var(k);
            into = &kbody_loop(k, into, KLOOP_PARALLEL, lanes->chunk_var, ceil_div(lanes->extent, COLUMNS))->body;
        }
        // What the updates are added to first: zeros, or the other operand of a sum where it does not lie there
        // already.
        for (int pass = in_place; pass < 2; pass++) {
            KBody *body = into;
            int v = -1;
            if (pass == 0) {
                v = kernel_var(k);
                body = &kbody_loop(k, body, KLOOP_SERIAL, v, lower_local(&l, row))->body;
            }
            for (int g = kept; pass == 1 && g < l.ngroups; g++) {
                l.group[g].var = kernel_var(k);
                body = &kbody_loop(k, body, KLOOP_SERIAL, l.group[g].var, l.group[g].extent)->body;
            }
            if (lanes) {
                lanes->var = kernel_var(k);
                body = chunked
                           ? &kbody_chunk(k, body, KLOOP_VECTOR, lanes->var, COLUMNS, lanes->chunk_var, lanes->extent)
                                  ->body
                           : &kbody_loop(k, body, KLOOP_VECTOR, lanes->var, lanes->extent)->body;
            }
            KIndex c[RANK_MAX];
            for (int d = 0; d < result->type.rank; d++)
                c[d] = d == row_dim ? (KIndex){0} : lower_coordinate(&l, result->type.dim[d].axis);
            KIndex to = lower_address(&l, result, c);
            int64_t row_stride = lower_place(&l, result)->dim_stride[row_dim];
            DType t = lower_type(result->type.dtype);
            if (pass == 0) {
                KExpr *start = kb_const(k, t, 0);
                if (base) {
                    int read = lower_buf(&l, base, false);
                    if (l.failed) return false;
                    KIndex from = lower_address(&l, base, c);
                    kindex_add_var(&from, v, lower_place(&l, base)->dim_stride[row_dim]);
                    start = lower_load(k, read, from);
                }
                kindex_add_var(&to, v, row_stride);
                lower_store(k, body, written, to, start);
                continue;
            }
            for (int d = 0; d < ids->type.rank; d++) c[d] = lower_coordinate(&l, ids->type.dim[d].axis);
            KExpr *id = lower_value(&l, ids, c), *ok;
            for (int d = 0; d < updates->type.rank; d++) c[d] = lower_coordinate(&l, updates->type.dim[d].axis);
            KExpr *x = lower_value(&l, updates, c);
            if (!id || !x) return false;
            KExpr *r = lower_row(&l, row, id, &ok);
            kindex_add_expr(k, &to, r, row_stride);
            lower_store(k, body, written, to,
                        kb_add(k, lower_load(k, written, to), kb_select(k, ok, x, kb_const(k, t, 0))));
        }
    } while (l.again);
    return !l.failed;
}
