// SPDX-License-Identifier: Apache-2.0
// lower_value: the value of any fusable op at symbolic coordinates. Views transform coordinates; maps combine; what
// comes from outside is a load.
#include "codegen/lower_parts.h"
#include <assert.h>
#include <math.h>
#include <string.h>

// clang-format off
KExpr *lower_map(Kernel *k, const Node *n, KExpr *a, KExpr *b, KExpr *c) {
    DType dtype = lower_type(n->results[0]->type.dtype);
    (void)b, (void)c, (void)dtype;
    switch (n->op) {
#define MAP(name, nargs, domain, pending, traits, flops, equation, gradient, body) case OP_##name: return body;
#include "ir/ops.def"
    default: return NULL;
    }
}
// clang-format on

// ---- element types

DType lower_type(DType t) { return dtype_is_half(t) ? DT_F32 : t; }

KExpr *lower_round(Kernel *k, KExpr *e, DType t) { return dtype_is_half(t) ? kb_cast(k, kb_cast(k, e, t), DT_F32) : e; }

KExpr *lower_load(Kernel *k, int buf, KIndex at) {
    KExpr *e = kb_load(k, buf, at);
    return kb_cast(k, e, lower_type(e->type));
}

void lower_store(Kernel *k, KBody *into, int buf, KIndex at, KExpr *value) {
    kbody_store(k, into, buf, at, kb_cast(k, value, k->bufs.at[buf].type));
}

// ---- coordinates

static KExpr *word(Lower *l, int64_t i) { return kb_const(l->k, DT_I32, (double)i); }

// As an i32 expression.
static KExpr *coordinate_expr(Lower *l, const KIndex *over_loops) {
    KIndex x = lower_finish(l, over_loops);
    KExpr *sum = word(l, x.base);
    for (int i = 0; i < x.nvars; i++)
        sum = kb_add(l->k, kb_mul(l->k, kb_var(l->k, x.vars[i].var), word(l, x.vars[i].stride)), sum);
    for (int i = 0; i < x.ndyn; i++) sum = kb_add(l->k, kb_mul(l->k, x.dyn[i].at, word(l, x.dyn[i].stride)), sum);
    return sum;
}

static KIndex of_expr(Lower *l, KExpr *e) {
    KIndex x = {0};
    kindex_add_expr(l->k, &x, e, 1);
    return x;
}

// Smallest and largest value over the pieces being filled. False where an expression takes part.
static bool coordinate_range(const Lower *l, const KIndex *x, int64_t *out_low, int64_t *out_high) {
    *out_low = *out_high = x->base;
    for (int i = 0; i < x->nvars; i++) {
        const LoopAxis *a = &l->loop[x->vars[i].var];
        int64_t p = a->low * x->vars[i].stride, q = (a->high - 1) * x->vars[i].stride;
        *out_low += p < q ? p : q;
        *out_high += p < q ? q : p;
    }
    return x->ndyn == 0;
}

// x = quotient * by + rest, 0 <= rest < by, for coordinates that are not negative.
static void divide(Lower *l, const KIndex *x, int64_t by, KIndex *out_quotient, KIndex *out_rest) {
    KIndex q = {.base = x->base / by}, r = {.base = x->base % by};
    for (int i = 0; i < x->nvars; i++) {
        bool whole = x->vars[i].stride % by == 0;
        kindex_add_var(whole ? &q : &r, x->vars[i].var, whole ? x->vars[i].stride / by : x->vars[i].stride);
    }
    for (int i = 0; i < x->ndyn; i++) {
        bool whole = x->dyn[i].stride % by == 0;
        kindex_add_expr(l->k, whole ? &q : &r, x->dyn[i].at, whole ? x->dyn[i].stride / by : x->dyn[i].stride);
    }
    int64_t low, high;
    if (!coordinate_range(l, &r, &low, &high) || low < 0 || high >= by) {
        KExpr *e = coordinate_expr(l, &r), *d = kb_op(l->k, K_DIV, DT_I32, e, word(l, by), NULL);
        kindex_add_expr(l->k, &q, d, 1);
        r = of_expr(l, kb_sub(l->k, e, kb_mul(l->k, d, word(l, by))));
    }
    *out_quotient = q;
    *out_rest = r;
}

static KIndex clamped(Lower *l, const KIndex *x, int64_t extent) {
    KExpr *e = kb_max(l->k, kb_min(l->k, coordinate_expr(l, x), word(l, extent - 1)), word(l, 0));
    return of_expr(l, e);
}

static KExpr *is_below(Lower *l, const KIndex *x, int64_t limit) {
    return kb_lt(l->k, coordinate_expr(l, x), word(l, limit));
}

// Coordinates of an operand whose axes all occur in the result.
static void by_name(const Type *operand, const Type *result, const KIndex *at, KIndex *out) {
    for (int i = 0; i < operand->rank; i++) {
        int d = type_find(result, operand->dim[i].axis);
        assert(d >= 0);
        out[i] = at[d];
    }
}

static KExpr *zero_of(Lower *l, DType t) { return kb_const(l->k, lower_type(t), 0); }

// ---- ops

static KExpr *rename_value(Lower *l, const Node *n, const KIndex *at) {
    const Type *from = &n->args[0]->type, *to = &n->results[0]->type;
    const Axes *a = &n->attr.axes, *b = &n->attr.to;
    int p = type_find(from, a->at[0]), q = type_find(to, b->at[0]);
    KIndex c[RANK_MAX];
    for (int i = 0; i < from->rank; i++)
        if (i < p) c[i] = at[i];
        else if (i >= p + a->n) c[i] = at[i - a->n + b->n];
    if (a->n == 1) {
        KIndex sum = {0};
        int64_t stride = 1;
        for (int i = b->n - 1; i >= 0; i--) {
            kindex_add(l->k, &sum, &at[q + i], stride);
            stride *= lower_local(l, &to->dim[q + i]);
        }
        c[p] = sum;
    } else {
        KIndex rest = at[q];
        for (int i = a->n - 1; i > 0; i--) divide(l, &rest, lower_local(l, &from->dim[p + i]), &rest, &c[p + i]);
        c[p] = rest;
    }
    return lower_value(l, n->args[0], c);
}

static KExpr *slice_value(Lower *l, const Node *n, const KIndex *at) {
    const Type *from = &n->args[0]->type;
    int p = type_find(from, n->attr.axes.at[0]), drop = n->attr.to.n == 0;
    KIndex c[RANK_MAX];
    for (int i = 0; i < from->rank; i++)
        if (i < p) c[i] = at[i];
        else if (i > p) c[i] = at[i - drop];
        else if (drop) c[i] = (KIndex){.base = n->attr.i};
        else c[i] = at[i], c[i].base += n->attr.i;
    return lower_value(l, n->args[0], c);
}

// One operand of place or concat standing at [begin, begin + extent) of dimension d of the result.
static KExpr *piece_value(Lower *l, const Value *x, const Axis *axis, int d, const KIndex *at, int rank, int64_t begin,
                          bool clamp) {
    KIndex c[RANK_MAX];
    int count = 0;
    for (int i = 0; i < rank; i++) {
        if (i == d && !axis) continue;
        c[count] = at[i];
        if (i == d) {
            c[count].base -= begin;
            if (clamp) c[count] = clamped(l, &c[count], axis->extent);
        }
        count++;
    }
    return lower_value(l, x, c);
}

static KExpr *concat_value(Lower *l, const Node *n, const KIndex *at) {
    const Type *t = &n->results[0]->type;
    int d = type_find(t, n->attr.to.at[0]);
    int64_t low, high, begin = n->op == OP_place ? n->attr.i : 0;
    bool known = coordinate_range(l, &at[d], &low, &high);
    KExpr *sum = n->op == OP_place ? zero_of(l, t->dtype) : NULL;
    if (known)
        for (int i = 0; i < n->nargs; i++) { // wholly within one piece?
            const Axis *axis = n->attr.axes.n ? n->attr.axes.at[i] : NULL;
            int64_t end = begin + (axis ? axis->extent : 1);
            if (low >= begin && high < end) return piece_value(l, n->args[i], axis, d, at, t->rank, begin, false);
            if (n->op == OP_place && (high < begin || low >= end)) return sum;
            begin = end;
        }
    begin = n->op == OP_place ? n->attr.i : 0;
    for (int i = 0; i < n->nargs; i++) {
        const Axis *axis = n->attr.axes.n ? n->attr.axes.at[i] : NULL;
        int64_t end = begin + (axis ? axis->extent : 1);
        KExpr *x = piece_value(l, n->args[i], axis, d, at, t->rank, begin, true);
        if (!x) return NULL;
        KExpr *in = kb_and(l->k, kb_not(l->k, is_below(l, &at[d], begin)), is_below(l, &at[d], end));
        sum = sum ? kb_select(l->k, in, x, sum) : x;
        begin = end;
    }
    return sum;
}

// The index on the whole axis of a place of this rank.
static KIndex global(Lower *l, const Dim *d, const KIndex *at) {
    KIndex x = *at;
    kindex_add_expr(l->k, &x, lower_shard_offset(l, d), 1);
    return x;
}

static KExpr *mask_value(Lower *l, const Node *n, const KIndex *at) {
    const Type *t = &n->results[0]->type;
    KExpr *x = lower_value(l, n->args[0], at), *ok = kb_const(l->k, DT_BOOL, 1);
    if (!x) return NULL;
    for (int d = 0; d < t->rank; d++)
        if (axes_find(&n->attr.axes, t->dim[d].axis) >= 0 && dim_padded(&t->dim[d], &l->unit->mesh)) {
            KIndex g = global(l, &t->dim[d], &at[d]);
            ok = kb_and(l->k, ok, is_below(l, &g, t->dim[d].axis->extent));
        }
    return kb_select(l->k, ok, x, lower_round(l->k, kb_const(l->k, lower_type(t->dtype), n->attr.f), t->dtype));
}

static KExpr *part_value(Lower *l, const Node *n, const KIndex *at) {
    const Type *t = &n->results[0]->type;
    int d = type_find(t, n->attr.axes.at[0]);
    KIndex c[RANK_MAX];
    memcpy(c, at, sizeof *c * (size_t)t->rank);
    c[d] = global(l, &t->dim[d], &at[d]);
    if (!dim_padded(&t->dim[d], &l->unit->mesh)) return lower_value(l, n->args[0], c);
    KExpr *ok = is_below(l, &c[d], t->dim[d].axis->extent);
    c[d] = clamped(l, &c[d], t->dim[d].axis->extent);
    KExpr *x = lower_value(l, n->args[0], c);
    return x ? kb_select(l->k, ok, x, zero_of(l, t->dtype)) : NULL;
}

static int64_t whole_extent(const Dim *d) { return d->axis->whole ? d->axis->whole->extent : d->axis->extent; }

// The number of the element in the whole value, as two words.
static void element_number(Lower *l, const Type *t, const KIndex *at, KExpr **out_lo, KExpr **out_hi) {
    Kernel *k = l->k;
    int64_t total = 1;
    for (int i = 0; i < t->rank; i++) total *= whole_extent(&t->dim[i]);
    *out_hi = word(l, 0);
    if (total <= INT32_MAX) { // padding may lie beyond, but not beyond 32 bits
        KIndex sum = {0};
        int64_t stride = 1;
        for (int i = t->rank - 1; i >= 0; i--) {
            KIndex g = global(l, &t->dim[i], &at[i]);
            kindex_add(k, &sum, &g, stride);
            stride *= whole_extent(&t->dim[i]);
        }
        *out_lo = coordinate_expr(l, &sum);
        return;
    }
    KExpr *lo = word(l, 0), *hi = word(l, 0), *top = word(l, INT32_MIN);
    for (int i = 0; i < t->rank; i++) { // (hi, lo) = (hi, lo) * extent + coordinate
        KIndex g = global(l, &t->dim[i], &at[i]);
        KExpr *c = coordinate_expr(l, &g), *extent = word(l, (int32_t)(uint32_t)whole_extent(&t->dim[i]));
        hi = kb_add(k, kb_mul(k, hi, extent), kb_op(k, K_MULHI, DT_I32, lo, extent, NULL));
        lo = kb_add(k, kb_mul(k, lo, extent), c);
        KExpr *carries = kb_lt(k, kb_op(k, K_XOR, DT_I32, lo, top, NULL), kb_op(k, K_XOR, DT_I32, c, top, NULL));
        hi = kb_add(k, hi, kb_cast(k, carries, DT_I32));
    }
    *out_lo = lo;
    *out_hi = hi;
}

static KExpr *random_value(Lower *l, const Node *n, const KIndex *at) {
    KExpr *keys[4], *lo, *hi;
    for (int i = 0; i < 4; i++) {
        keys[i] = i < n->nargs ? lower_value(l, n->args[i], NULL) : word(l, 0);
        if (!keys[i]) return NULL;
    }
    element_number(l, &n->results[0]->type, at, &lo, &hi);
    return kb_random(l->k, (int)n->attr.i, lo, hi, n->attr.j, keys);
}

KExpr *lower_row(Lower *l, const Dim *over, KExpr *ids, KExpr **out_valid) {
    Kernel *k = l->k;
    int64_t rows = lower_local(l, over), extent = over->axis->extent;
    KExpr *local = kb_sub(k, ids, lower_shard_offset(l, over)), *zero = word(l, 0);
    KExpr *ok = kb_and(k, kb_le(k, zero, local), kb_lt(k, local, word(l, rows)));
    if (dim_padded(over, &l->unit->mesh)) ok = kb_and(k, ok, kb_lt(k, ids, word(l, extent)));
    *out_valid = ok;
    return kb_max(k, kb_min(k, local, word(l, rows - 1)), zero);
}

static KExpr *take_value(Lower *l, const Node *n, const KIndex *at) {
    const Type *t = &n->results[0]->type, *table = &n->args[0]->type, *ids = &n->args[1]->type;
    KIndex c[RANK_MAX];
    by_name(ids, t, at, c);
    KExpr *id = lower_value(l, n->args[1], c), *ok;
    if (!id) return NULL;
    int over = type_find(table, n->attr.axes.at[0]);
    KExpr *row = lower_row(l, &table->dim[over], id, &ok);
    for (int i = 0; i < table->rank; i++) c[i] = i == over ? of_expr(l, row) : at[type_find(t, table->dim[i].axis)];
    KExpr *x = lower_value(l, n->args[0], c);
    return x ? kb_select(l->k, ok, x, zero_of(l, t->dtype)) : NULL;
}

static KExpr *outside_value(Lower *l, const Value *v, const KIndex *at) {
    const Value *outer = v;
    if (l->body && !v->def && v->block == l->body) outer = l->node->args[v->index];
    if (!outer->def && outer->block->owner && outer->block->owner->op == OP_repeat && outer->index == 0)
        return lower_scalar(l, (LowerScalar){.iteration = outer});
    int buf = lower_buf(l, outer, false);
    if (l->failed) return NULL;
    return lower_load(l->k, buf, lower_address(l, outer, at));
}

static KExpr *make_value(Lower *l, const Value *v, const KIndex *at) {
    if (!lower_is_inside(l, v)) return outside_value(l, v, at);
    const Node *n = v->def;
    if (l->stored[v->id] && l->level[v->id] < l->phase) // kept by an earlier phase
        return lower_load(l->k, l->stored[v->id] - 1, lower_address(l, l->out->bufs.at[l->stored[v->id] - 1], at));
    switch (n->op) {
    case OP_const: return lower_round(l->k, kb_const(l->k, lower_type(v->type.dtype), n->attr.f), v->type.dtype);
    case OP_index: {
        KIndex g = global(l, &v->type.dim[0], &at[0]);
        return coordinate_expr(l, &g);
    }
    case OP_random: return random_value(l, n, at);
    case OP_rename: return rename_value(l, n, at);
    case OP_slice: return slice_value(l, n, at);
    case OP_place:
    case OP_concat: return concat_value(l, n, at);
    case OP_mask: return mask_value(l, n, at);
    case OP_part: return part_value(l, n, at);
    case OP_take: return take_value(l, n, at);
    case OP_sum:
    case OP_max:
        if (!l->acc[v->id]) return lower_fail(l, v, "is needed before it is reduced"), NULL;
        return lower_round(l->k, kb_acc(l->k, l->acc[v->id] - 1, lower_type(v->type.dtype)), v->type.dtype);
    default: break;
    }
    KExpr *a[3] = {0};
    KIndex c[RANK_MAX];
    for (int i = 0; i < n->nargs; i++) {
        by_name(&n->args[i]->type, &v->type, at, c);
        a[i] = lower_value(l, n->args[i], c);
        if (!a[i]) return NULL;
    }
    if (n->op == OP_expand) return a[0];
    KExpr *e = lower_map(l->k, n, a[0], a[1], a[2]);
    if (!e) return lower_fail(l, v, "cannot stand in a fused node"), NULL;
    return lower_round(l->k, e, v->type.dtype);
}

static bool same_place(const KIndex *x, const KIndex *y) {
    if (x->base != y->base || x->nvars != y->nvars || x->ndyn != y->ndyn) return false;
    for (int i = 0; i < x->nvars; i++)
        if (x->vars[i].var != y->vars[i].var || x->vars[i].stride != y->vars[i].stride) return false;
    for (int i = 0; i < x->ndyn; i++)
        if (x->dyn[i].at != y->dyn[i].at || x->dyn[i].stride != y->dyn[i].stride) return false;
    return true;
}

KExpr *lower_value(Lower *l, const Value *v, const KIndex *at) {
    if (l->failed) return NULL;
    int rank = v->type.rank;
    for (LowerMemo *m = l->memo[v->id]; m; m = m->next) {
        bool same = true;
        for (int i = 0; i < rank && same; i++) same = same_place(&m->at[i], &at[i]);
        if (same) return m->value;
    }
    KExpr *e = make_value(l, v, at);
    if (!e) return NULL;
    LowerMemo *m = NEW(l->arena, LowerMemo);
    if (rank) memcpy(m->at, at, sizeof *at * (size_t)rank);
    m->value = e;
    if (!l->memo[v->id]) l->memo_ids[l->nmemo_ids++] = v->id;
    m->next = l->memo[v->id];
    l->memo[v->id] = m;
    return e;
}

void lower_forget(Lower *l) {
    while (l->nmemo_ids) l->memo[l->memo_ids[--l->nmemo_ids]] = NULL;
}
