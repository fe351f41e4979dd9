// SPDX-License-Identifier: Apache-2.0
// lower: see lower.h. Here: which loops, in what order, and the phases.
#include "codegen/lower.h"
#include "codegen/lower_loops.h"
#include <assert.h>
#include <string.h>

// Pieces of a long loop.
enum { CHUNK_LEAST = 1024, CHUNK_MOST = 16384 };

bool lower_fail(Lower *l, const Value *v, const char *what) {
    if (!l->failed) {
        const Node *n = l->node;
        diag_internal(l->unit->diag, "lower", op_info(n->op)->name, "%s:%d: value '%s' (%s) %s",
                      n->loc.file ? n->loc.file : "?", n->loc.line, v && v->name ? v->name : "",
                      v && v->def ? op_info(v->def->op)->name : "operand", what);
    }
    l->failed = true;
    return false;
}

bool lower_is_inside(const Lower *l, const Value *v) {
    return v->def && (l->body ? v->def->parent == l->body : v->def == l->node);
}

typedef struct Nest {
    Axes outer, inner; // P and I, in loop order
    bool is_columns;   // lanes along P
    int nouter;        // groups of P
    const Node *first; // of the body
    int levels;        // phases
    int nyields;
    Value *const *yields; // inside values that are stored
    Value *const *results;
} Nest;

static const Node *next_node(const Lower *l, const Node *n) { return l->body ? n->next : NULL; }
static bool is_reduction(const Node *n) { return n->op == OP_sum || n->op == OP_max; }

// P and I: by the reductions, or all axes of what is stored.
static bool find_axes(Lower *l, Nest *nest) {
    const Value *wide = NULL; // a value over all axes
    const Value *stored = NULL;
    for (const Node *n = nest->first; n; n = next_node(l, n))
        if (is_reduction(n)) {
            if (wide && (type_axes(&wide->type).n != n->args[0]->type.rank || nest->inner.n != n->attr.axes.n))
                return lower_fail(l, n->results[0], "is reduced over other axes than its neighbours");
            wide = n->args[0];
            nest->inner = n->attr.axes;
        }
    for (int i = 0; i < nest->nyields; i++)
        if (!stored || nest->yields[i]->type.rank > stored->type.rank) stored = nest->yields[i];
    if (!stored) return lower_fail(l, NULL, "stores nothing");
    if (!wide || stored->type.rank == wide->type.rank) wide = stored;
    Type order = wide->type;
    // The stored value's layout gives the order of the loops.
    for (int i = 0; i < nest->nyields; i++)
        if (nest->yields[i] == wide) {
            const Place *p = lower_place(l, nest->results[i]);
            int64_t stride[RANK_MAX];
            memcpy(stride, p->dim_stride, sizeof stride);
            for (int a = 1; a < order.rank; a++)
                for (int b = a; b > 0 && stride[b - 1] < stride[b]; b--) {
                    Dim d = order.dim[b];
                    int64_t s = stride[b];
                    order.dim[b] = order.dim[b - 1], stride[b] = stride[b - 1];
                    order.dim[b - 1] = d, stride[b - 1] = s;
                }
            break;
        }
    Axes inner = {0};
    for (int pass = 0; pass < 2; pass++)
        for (int d = 0; d < order.rank; d++) {
            bool is_inner = axes_find(&nest->inner, order.dim[d].axis) >= 0;
            if (is_inner != (pass == 1)) continue;
            if (pass == 1 && !inner.n && l->nloops) nest->nouter = l->nloops;
            int before = l->nloops;
            lower_add_axis(l, &order.dim[d]);
            if (pass == 1 && !inner.n && l->nloops > before) l->loop[before].begins = true;
            axes_push(is_inner ? &inner : &nest->outer, order.dim[d].axis);
        }
    nest->inner = inner;
    bool last_inner = order.rank && axes_find(&inner, order.dim[order.rank - 1].axis) >= 0;
    nest->is_columns = !last_inner;
    return !l->failed;
}

static int level_of(const Lower *l, const Value *v) { return lower_is_inside(l, v) ? l->level[v->id] : 0; }

static bool is_wide(const Nest *nest, const Value *v) { return v->type.rank > nest->outer.n; }

static bool survey(Lower *l, Nest *nest) {
    nest->levels = 1;
    for (const Node *n = nest->first; n; n = next_node(l, n)) {
        if (n->op == OP_yield) continue;
        int level = 0;
        for (int i = 0; i < n->nargs; i++)
            if (level_of(l, n->args[i]) > level) level = level_of(l, n->args[i]);
        if (is_reduction(n)) {
            level++;
            for (int i = 0; i < n->results[0]->type.rank; i++)
                if (axes_find(&nest->outer, n->results[0]->type.dim[i].axis) < 0)
                    return lower_fail(l, n->results[0], "keeps an axis that is reduced beside it");
        }
        l->level[n->results[0]->id] = level;
        if (level + 1 > nest->levels) nest->levels = level + 1;
    }
    for (int i = 0; i < nest->nyields; i++) {
        const Value *v = nest->yields[i];
        if (v->type.rank != nest->outer.n && v->type.rank != nest->outer.n + nest->inner.n)
            return lower_fail(l, v, "has other axes than its neighbours");
    }
    return true;
}

static void at_own_axes(Lower *l, const Value *v, KIndex *out) {
    for (int d = 0; d < v->type.rank; d++) out[d] = lower_coordinate(l, v->type.dim[d].axis);
}

static void store_yields(Lower *l, const Nest *nest, KBody *into, bool wide) {
    for (int i = 0; i < nest->nyields && !l->failed; i++) {
        const Value *v = nest->yields[i];
        if (is_wide(nest, v) != wide || level_of(l, v) != l->phase) continue;
        KIndex at[RANK_MAX];
        at_own_axes(l, v, at);
        KExpr *e = lower_value(l, v, at);
        if (!e) return;
        int buf = lower_buf(l, nest->results[i], true);
        lower_store(l->k, into, buf, lower_address(l, nest->results[i], at), e);
    }
}

static void fill_phase(Lower *l, const Nest *nest, KBody *into) {
    lower_forget(l);
    for (const Node *n = nest->first; n && !l->failed; n = next_node(l, n)) {
        if (!is_reduction(n) || level_of(l, n->args[0]) != l->phase) continue;
        KIndex at[RANK_MAX];
        at_own_axes(l, n->args[0], at);
        KExpr *e = lower_value(l, n->args[0], at);
        if (e) kbody_update(l->k, into, l->acc[n->results[0]->id] - 1, e);
    }
    if (nest->inner.n) store_yields(l, nest, into, true);
}

static void inner_loops(Lower *l, const Nest *nest, int group, KBody *into) {
    if (group == l->ngroups) {
        fill_phase(l, nest, into);
        return;
    }
    LoopGroup *g = &l->group[group];
    LoopAxis *a = &l->loop[g->first];
    bool lanes = !nest->is_columns && group == l->ngroups - 1;
    for (int piece = 0; piece < (g->count == 1 ? a->ncuts : 1); piece++) {
        int64_t extent = g->extent;
        if (a->ncuts > 1) {
            a->low = a->cut[piece];
            a->high = piece + 1 < a->ncuts ? a->cut[piece + 1] : a->extent;
            extent = a->high - a->low;
        }
        KBody *body = into;
        g->var = -1;
        if (extent > 1) {
            g->var = kernel_var(l->k);
            body = &kbody_loop(l->k, into, lanes ? KLOOP_VECTOR : KLOOP_SERIAL, g->var, extent)->body;
        }
        inner_loops(l, nest, group + 1, body);
    }
    g->var = -1;
    if (a->ncuts > 1) a->low = 0, a->high = a->extent;
}

static bool phase_loops_anything(const Lower *l, const Nest *nest) {
    for (const Node *n = nest->first; n; n = next_node(l, n))
        if (is_reduction(n) && level_of(l, n->args[0]) == l->phase) return true;
    for (int i = 0; i < nest->nyields; i++)
        if (nest->inner.n && is_wide(nest, nest->yields[i]) && level_of(l, nest->yields[i]) == l->phase) return true;
    return false;
}

// One place of P: all phases.
static void fill_outer(Lower *l, const Nest *nest, KBody *into) {
    for (const Node *n = nest->first; n; n = next_node(l, n))
        if (is_reduction(n)) l->acc[n->results[0]->id] = 0;
    for (l->phase = 0; l->phase < nest->levels && !l->failed; l->phase++) {
        lower_forget(l);
        store_yields(l, nest, into, false);
        if (!phase_loops_anything(l, nest)) continue;
        for (const Node *n = nest->first; n; n = next_node(l, n))
            if (is_reduction(n) && level_of(l, n->args[0]) == l->phase) {
                int acc = kernel_acc(l->k);
                l->acc[n->results[0]->id] = acc + 1;
                kbody_acc(l->k, into, acc, n->op == OP_sum ? KREDUCE_SUM : KREDUCE_MAX);
            }
        inner_loops(l, nest, nest->nouter, into);
    }
    l->phase = 0;
}

static bool is_cut(const Lower *l, const LoopGroup *g) { return l->loop[g->first].ncuts > 1; }

// Groups of P from `group` on: first those walked whole, then those in pieces, last the lanes'.
static void outer_loops(Lower *l, const Nest *nest, int group, bool pieces, KBody *into) {
    int lanes = nest->is_columns ? nest->nouter - 1 : -1;
    if (group == nest->nouter) {
        if (!pieces) {
            outer_loops(l, nest, 0, true, into);
            return;
        }
        if (lanes < 0) {
            fill_outer(l, nest, into);
            return;
        }
        group = lanes;
    } else if (is_cut(l, &l->group[group]) != pieces || group == lanes) {
        outer_loops(l, nest, group + 1, pieces, into);
        return;
    }
    LoopGroup *g = &l->group[group];
    LoopAxis *a = &l->loop[g->first];
    bool is_lanes = group == lanes;
    int64_t outside = l->k->tasks, tasks = 0; // tasks of a GPU are those of all pieces
    for (int piece = 0; piece < a->ncuts; piece++) {
        if (l->machine == LOWER_GPU) l->k->tasks = outside;
        int64_t extent = g->extent;
        if (a->ncuts > 1) {
            a->low = a->cut[piece];
            a->high = piece + 1 < a->ncuts ? a->cut[piece + 1] : a->extent;
            extent = a->high - a->low;
        }
        KBody *body = into;
        g->var = -1;
        if (g->chunk_var >= 0) {
            g->var = kernel_var(l->k);
            body = &kbody_chunk(l->k, into, KLOOP_VECTOR, g->var, g->chunk, g->chunk_var, extent)->body;
        } else if (extent > 1) {
            g->var = kernel_var(l->k);
            KLoopKind kind = l->machine == LOWER_GPU               ? KLOOP_PARALLEL
                             : is_lanes                            ? KLOOP_VECTOR
                             : !pieces && l->k->tasks < TASKS_MANY ? KLOOP_PARALLEL
                                                                   : KLOOP_SERIAL;
            body = &kbody_loop(l->k, into, kind, g->var, extent)->body;
        }
        if (is_lanes) fill_outer(l, nest, body);
        else outer_loops(l, nest, group + 1, pieces, body);
        tasks += l->k->tasks;
    }
    if (l->machine == LOWER_GPU) l->k->tasks = tasks;
    g->var = -1;
    if (a->ncuts > 1) a->low = 0, a->high = a->extent;
}

// The lanes' loop is shared by tasks where the loops outside of it are too few.
static KBody *chunk_lanes(Lower *l, const Nest *nest, KBody *into) {
    if (l->machine == LOWER_GPU || !nest->is_columns || !nest->nouter) return into;
    LoopGroup *g = &l->group[nest->nouter - 1];
    int64_t tasks = 1, chunk = COLUMNS;
    for (int i = 0; i < nest->nouter - 1; i++)
        if (!is_cut(l, &l->group[i])) tasks *= l->group[i].extent;
    if (!nest->inner.n) {
        chunk = (g->extent * tasks / 64 + 255) / 256 * 256;
        chunk = chunk < CHUNK_LEAST ? CHUNK_LEAST : chunk > CHUNK_MOST ? CHUNK_MOST : chunk;
    }
    if (tasks >= TASKS_FEW || is_cut(l, g) || g->extent < 2 * chunk) return into;
    g->chunk = chunk;
    g->chunk_var = kernel_var(l->k);
    return &kbody_loop(l->k, into, KLOOP_PARALLEL, g->chunk_var, (g->extent + chunk - 1) / chunk)->body;
}

// Do loops stand between the phases? Without one their stores would be one group, whose values are made first.
static bool has_inner_loop(const Lower *l, const Nest *nest) {
    for (int i = nest->nouter; i < l->ngroups; i++) {
        const LoopAxis *a = &l->loop[l->group[i].first];
        if (a->ncuts == 1) return true;
        for (int c = 0; c < a->ncuts; c++)
            if ((c + 1 < a->ncuts ? a->cut[c + 1] : a->extent) - a->cut[c] > 1) return true;
    }
    return false;
}

static bool make_kernel(Lower *l, Nest *nest, const char *name) {
    l->k = kernel_new(l->arena, name);
    memset(l->out, 0, sizeof *l->out);
    l->out->kernel = l->k;
    l->again = false;
    lower_forget(l);
    lower_group_loops(l);
    nest->nouter = 0;
    for (int i = 0; i < l->ngroups; i++)
        if (axes_find(&nest->outer, l->loop[l->group[i].first].axis) >= 0) nest->nouter++;
    memset(l->stored, 0, sizeof *l->stored * (size_t)l->node->parent->func->next_id);
    for (int i = 0; i < nest->nyields; i++) { // buffers of results come first, in their order
        int buf = lower_buf(l, nest->results[i], true);
        if (is_wide(nest, nest->yields[i]) && has_inner_loop(l, nest)) l->stored[nest->yields[i]->id] = buf + 1;
    }
    if (l->failed) return false;
    outer_loops(l, nest, 0, false, chunk_lanes(l, nest, &l->k->body));
    return !l->failed;
}

Lower lower_start(const Unit *u, const FuncStorage *places, const Node *n, LowerMachine machine, Arena *arena,
                  Lowered *out) {
    int ids = n->parent->func->next_id;
    Lower l = {.unit = u, .places = places, .node = n, .machine = machine, .arena = arena, .out = out};
    l.body = n->op == OP_fused ? n->body : NULL;
    l.level = NEW_ARRAY(arena, int, ids);
    l.acc = NEW_ARRAY(arena, int, ids);
    l.stored = NEW_ARRAY(arena, int, ids);
    l.memo = NEW_ARRAY(arena, LowerMemo *, ids);
    l.memo_ids = NEW_ARRAY(arena, int, ids);
    return l;
}

bool lower_fused(const Unit *u, const FuncStorage *places, const Node *n, LowerMachine machine, Arena *arena,
                 const char *name, Lowered *out) {
    Lower l = lower_start(u, places, n, machine, arena, out);
    Nest nest = {.first = n, .nyields = n->nresults, .results = n->results, .yields = n->results};
    if (l.body) {
        nest.first = l.body->first;
        nest.yields = block_yield(l.body)->args;
    }
    if (!find_axes(&l, &nest) || !survey(&l, &nest)) return false;
    do {
        if (!make_kernel(&l, &nest, name)) return false;
    } while (l.again);
    return true;
}

static KIndex strided(Lower *l, const Type *t, const int64_t *stride) {
    KIndex sum = {0};
    for (int d = 0; d < t->rank; d++) {
        KIndex c = lower_coordinate(l, t->dim[d].axis);
        kindex_add(l->k, &sum, &c, stride[d]);
    }
    return lower_finish(l, &sum);
}

Kernel *lower_copy(const Unit *u, const Type *t, const int64_t *to, const int64_t *from, LowerMachine machine,
                   Arena *arena) {
    Lowered out;
    Lower l = {.unit = u, .machine = machine, .arena = arena, .out = &out};
    for (int d = 0; d < t->rank; d++) lower_add_axis(&l, &t->dim[d]);
    do {
        l.k = kernel_new(arena, "");
        l.again = false;
        lower_group_loops(&l);
        int written = kernel_buf(l.k, t->dtype, true), read = kernel_buf(l.k, t->dtype, false);
        KBody *into = &l.k->body;
        for (int g = 0; g < l.ngroups; g++) {
            l.group[g].var = kernel_var(l.k);
            KLoopKind kind = machine == LOWER_GPU      ? KLOOP_PARALLEL
                             : g == l.ngroups - 1      ? KLOOP_VECTOR
                             : l.k->tasks < TASKS_MANY ? KLOOP_PARALLEL
                                                       : KLOOP_SERIAL;
            into = &kbody_loop(l.k, into, kind, l.group[g].var, l.group[g].extent)->body;
        }
        KIndex a = strided(&l, t, to), b = strided(&l, t, from);
        kbody_store(l.k, into, written, a, kb_load(l.k, read, b));
    } while (l.again);
    return l.k;
}
