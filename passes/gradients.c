// SPDX-License-Identifier: Apache-2.0
// gradients: of views, reductions, contractions and attention. Cotangents may come in any order of dimensions; the
// caller sums over what the operand lacks and permutes.
#include "passes/gradients.h"

GradientFunction *const gradient_table[OP_COUNT] = {
#define MAP(name, ...) gradient_map_##name,
#define OP(name, nargs, nresults, attrs, pending, traits, ki, kj, kf, suffix, gradient, lower) gradient_##gradient,
#include "ir/ops.def"
};

bool gradient_none(Gradient *x) {
    diag_error(x->b->unit->diag, x->node->loc, "%s has no gradient, but the loss depends on a parameter through it",
               op_info(x->node->op)->name);
    return false;
}

bool gradient_rename(Gradient *x) {
    x->d[0] = build_rename(x->b, x->g[0], &x->node->attr.to, &x->node->attr.axes);
    return true;
}

bool gradient_slice(Gradient *x) {
    const Attr *a = &x->node->attr;
    const Axis *from = a->axes.at[0], *to = a->to.n ? a->to.at[0] : NULL;
    x->d[0] = build_place(x->b, x->g[0], to, from, a->i, type_find(&x->node->args[0]->type, from));
    return true;
}

bool gradient_place(Gradient *x) {
    const Attr *a = &x->node->attr;
    x->d[0] = build_slice(x->b, x->g[0], a->to.at[0], a->axes.n ? a->axes.at[0] : NULL, a->i);
    return true;
}

bool gradient_concat(Gradient *x) {
    const Attr *a = &x->node->attr;
    int64_t at = 0;
    for (int i = 0; i < x->node->nargs; i++) {
        const Axis *piece = a->axes.n ? a->axes.at[i] : NULL;
        if (x->wanted[i]) x->d[i] = build_slice(x->b, x->g[0], a->to.at[0], piece, at);
        at += piece ? piece->extent : 1;
    }
    return true;
}

bool gradient_expand(Gradient *x) {
    x->d[0] = x->g[0];
    return true;
}

bool gradient_sum(Gradient *x) {
    x->d[0] = build_expand(x->b, x->g[0], &x->node->args[0]->type);
    return true;
}

// Places that share the maximum share its cotangent equally.
bool gradient_max(Gradient *x) {
    Builder *b = x->b;
    Value *operand = x->node->args[0], *g = x->g[0];
    Value *hit = build_map(b, OP_eq, operand, x->node->results[0], NULL);
    Value *hits = build_sum(b, build_cast(b, hit, operand->type.dtype), &x->node->attr.axes);
    x->d[0] = build_map(b, OP_select, hit, build_map(b, OP_div, g, hits, NULL), build_const(b, operand->type.dtype, 0));
    return true;
}

static Axes axes_without(const Type *t, const Type *other) { // t's axes that `other` lacks, in t's order
    Axes list = {0};
    for (int i = 0; i < t->rank; i++)
        if (type_find(other, t->dim[i].axis) < 0) axes_push(&list, t->dim[i].axis);
    return list;
}

// The cotangent of `of` in y = dot(of, other): g and `other` contracted over what `of` lacks; the order of the two is
// the one that gives `of`'s order of dimensions, where there is one.
static Value *dot_cotangent(Builder *b, Value *g, Value *other, const Type *of) {
    Axes over = axes_without(&g->type, of);
    if (!over.n) return build_map(b, OP_mul, g, other, NULL);
    Axes own = {0};
    for (int i = 0; i < other->type.rank; i++)
        if (axes_find(&over, other->type.dim[i].axis) < 0) axes_push(&own, other->type.dim[i].axis);
    bool other_first = own.n > 0;
    for (int i = 0; i < own.n; i++) other_first &= i < of->rank && of->dim[i].axis == own.at[i];
    for (int i = own.n, g_at = 0; i < of->rank && other_first; i++) { // then g's remaining, in g's order
        int d = type_find(&g->type, of->dim[i].axis);
        other_first &= d >= g_at;
        g_at = d + 1;
    }
    return other_first ? build_dot(b, other, g, &over) : build_dot(b, g, other, &over);
}

bool gradient_dot(Gradient *x) {
    Value *a = x->node->args[0], *b = x->node->args[1];
    if (x->wanted[0]) x->d[0] = dot_cotangent(x->b, x->g[0], b, &a->type);
    if (x->wanted[1]) x->d[1] = dot_cotangent(x->b, x->g[0], a, &b->type);
    return true;
}

// Where all of the ids' axes occur in the table each place of the result has a row of its own, so a selection puts the
// cotangent back (cross-entropy picks the label's logit like this); else several places may share a row.
bool gradient_take(Gradient *x) {
    Value *table = x->node->args[0], *ids = x->node->args[1];
    const Axis *over = x->node->attr.axes.at[0];
    Axes shared = axes_without(&ids->type, &table->type);
    if (shared.n) {
        Axes to = type_axes(&table->type);
        x->d[0] = build_scatter(x->b, ids, x->g[0], over, &to);
        return true;
    }
    Value *here = build_map(x->b, OP_eq, ids, build_index(x->b, over), NULL);
    x->d[0] = build_map(x->b, OP_select, here, x->g[0], build_const(x->b, table->type.dtype, 0));
    return true;
}

bool gradient_scatter(Gradient *x) {
    x->d[1] = build_take(x->b, x->g[0], x->node->args[0], x->node->attr.axes.at[0]);
    return true;
}

bool gradient_cumsum(Gradient *x) {
    x->d[0] = build_cumsum(x->b, x->g[0], x->node->attr.axes.at[0], !x->node->attr.flag);
    return true;
}

bool gradient_attend(Gradient *x) {
    Node *n = x->node;
    if (x->g[1]) {
        diag_error(x->b->unit->diag, n->loc, "the second result of attend (log sum exp) has no gradient");
        return false;
    }
    Value *args[8];
    int nargs = 0;
    for (int i = 0; i < n->nargs; i++) args[nargs++] = n->args[i];
    args[nargs++] = n->results[0];
    args[nargs++] = n->results[1];
    args[nargs++] = x->g[0];
    Attr attr = n->attr;
    attr.i = attend_mask(n) != NULL;
    if (attr.j) { // the last key stays last
        Value *last = args[n->nargs - 1];
        for (int i = n->nargs - 1; i < nargs - 1; i++) args[i] = args[i + 1];
        args[nargs - 1] = last;
    }
    Node *grad = build_node(x->b, OP_attend_grad, args, nargs, &attr, NULL);
    for (int i = 0; i < 3 && grad; i++)
        if (x->wanted[i]) x->d[i] = grad->results[i];
    return true;
}
