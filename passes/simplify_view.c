// SPDX-License-Identifier: Apache-2.0
// simplify_view: compositions of renames, slices, places, concats and expansions.
#include "passes/simplify.h"

static Node *made_by(const Value *v, OpKind op) { return v->def && v->def->op == op ? v->def : NULL; }

static Value *checked(const Node *n, Value *y) { return y && type_equal(&y->type, &n->results[0]->type) ? y : NULL; }

static Value *of_rename(Node *n) {
    const Attr *a = &n->attr;
    if (axes_equal(&a->axes, &a->to)) return n->args[0];
    Node *in = made_by(n->args[0], OP_rename);
    if (!in) return NULL;
    if (axes_equal(&in->attr.to, &a->axes) && axes_equal(&in->attr.axes, &a->to)) return checked(n, in->args[0]);
    if (!axes_equal(&in->attr.to, &a->axes) || (in->attr.axes.n > 1 && a->to.n > 1)) return NULL;
    Builder b = builder_before(n);
    return checked(n, build_rename(&b, in->args[0], &in->attr.axes, &a->to));
}

static const Axis *only(const Axes *a) { return a->n ? a->at[0] : NULL; }

static Value *of_slice(Node *n) {
    Builder b = builder_before(n);
    const Axis *from = n->attr.axes.at[0], *to = only(&n->attr.to);
    Value *x = n->args[0];
    int64_t at = n->attr.i, length = to ? to->extent : 1;
    Node *in;
    if (to == from) return checked(n, x);
    if (to && length == from->extent) {
        Axes one = axes_of(1, from), other = axes_of(1, to);
        return checked(n, build_rename(&b, x, &one, &other));
    }
    if ((in = made_by(x, OP_expand)) && type_find(&in->args[0]->type, from) < 0)
        return simplify_as_result(n, in->args[0]);
    if ((in = made_by(x, OP_slice)) && only(&in->attr.to) == from)
        return checked(n, build_slice(&b, in->args[0], in->attr.axes.at[0], to, in->attr.i + at));
    if ((in = made_by(x, OP_place)) && in->attr.to.at[0] == from && in->attr.i == at) {
        const Axis *piece = only(&in->attr.axes);
        if (!piece && !to) return checked(n, in->args[0]);
        if (!piece || !to || piece->extent != length) return NULL;
        Axes one = axes_of(1, piece), other = axes_of(1, to);
        return checked(n, piece == to ? in->args[0] : build_rename(&b, in->args[0], &one, &other));
    }
    if (!(in = made_by(x, OP_concat)) || in->attr.to.at[0] != from) return NULL;
    int64_t begin = 0;
    for (int i = 0; i < in->nargs; i++) {
        const Axis *piece = in->attr.axes.n ? in->attr.axes.at[i] : NULL;
        int64_t size = piece ? piece->extent : 1;
        if (at >= begin && at + length <= begin + size) {
            if (!piece) return to ? NULL : checked(n, in->args[i]);
            if (piece == to) return checked(n, in->args[i]);
            return checked(n, build_slice(&b, in->args[i], piece, to, at - begin));
        }
        begin += size;
    }
    return NULL;
}

static Value *of_place(Node *n) {
    const Axis *from = only(&n->attr.axes), *to = n->attr.to.at[0];
    if (!from || from->extent != to->extent) return NULL;
    Builder b = builder_before(n);
    Axes one = axes_of(1, from), other = axes_of(1, to);
    return checked(n, from == to ? n->args[0] : build_rename(&b, n->args[0], &one, &other));
}

static Value *of_expand(Node *n) {
    Value *x = n->args[0];
    if (type_equal(&x->type, &n->results[0]->type)) return x;
    if (!made_by(x, OP_expand)) return NULL;
    return simplify_as_result(n, x->def->args[0]);
}

// ---- sums of places that tile an axis ----

enum { TILES_MAX = 64 };

typedef struct Tiles {
    const Node *first; // all lie along the same axis of the same type
    int n;
    const Node *at[TILES_MAX]; // by position
} Tiles;

static bool add_tile(Tiles *t, const Node *place) {
    if (t->n == TILES_MAX) return false;
    if (!t->first) t->first = place;
    if (place->attr.to.at[0] != t->first->attr.to.at[0] || place->attr.axes.n != t->first->attr.axes.n ||
        place->attr.j != t->first->attr.j || !type_equal(&place->results[0]->type, &t->first->results[0]->type))
        return false;
    int i = t->n++;
    for (; i > 0 && t->at[i - 1]->attr.i > place->attr.i; i--) t->at[i] = t->at[i - 1];
    t->at[i] = place;
    return true;
}

static bool collect_tiles(Tiles *t, const Value *v) { // a tree of adds over places
    for (; v->def && v->def->op == OP_add; v = v->def->args[0]) {
        const Value *right = v->def->args[1];
        if (!right->def || right->def->op != OP_place || !add_tile(t, right->def)) return false;
    }
    return v->def && v->def->op == OP_place && add_tile(t, v->def);
}

// add (add (place %a at 2), (place %b at 1)), (place %c at 0) = concat %c, %b, %a: the gradient of taking apart an
// axis.
static Value *tiles(Node *n) {
    Tiles t = {0};
    if (!collect_tiles(&t, n->results[0])) return NULL;
    const Axis *to = t.first->attr.to.at[0];
    bool pieces = t.first->attr.axes.n > 0;
    Axes axes = {0};
    Value *args[TILES_MAX];
    int64_t covered = 0;
    for (int i = 0; i < t.n; i++) {
        if (t.at[i]->attr.i != covered) return NULL;
        covered += pieces ? t.at[i]->attr.axes.at[0]->extent : 1;
        if (pieces && !axes_push(&axes, t.at[i]->attr.axes.at[0])) return NULL;
        args[i] = t.at[i]->args[0];
        if (pieces) continue;
        if (!type_same_dims(&args[i]->type, &args[0]->type)) return NULL;
    }
    if (covered != to->extent) return NULL;
    Builder b = builder_before(n);
    return checked(n, build_concat(&b, args, t.n, pieces ? &axes : NULL, to, t.first->attr.j));
}

// ---- maps of expanded operands ----

// map (expand %x), (expand %y) = expand (map %x, %y), where that is fewer elements.
static Value *narrow_map(Node *n) {
    const Type *t = &n->results[0]->type;
    Value *args[3] = {NULL, NULL, NULL};
    Axes all = {0};
    bool any = false;
    for (int i = 0; i < n->nargs; i++) {
        args[i] = n->args[i];
        while (made_by(args[i], OP_expand)) args[i] = args[i]->def->args[0], any = true;
        for (int d = 0; d < args[i]->type.rank; d++)
            if (axes_find(&all, args[i]->type.dim[d].axis) < 0) axes_push(&all, args[i]->type.dim[d].axis);
    }
    if (!any || all.n >= t->rank) return NULL;
    Builder b = builder_before(n);
    Node *narrow = build_node(&b, n->op, args, n->nargs, &n->attr, NULL);
    return narrow ? simplify_as_result(n, narrow->results[0]) : NULL;
}

Value *simplify_view(Node *n) {
    Value *by = NULL;
    switch (n->op) {
    case OP_rename: return of_rename(n);
    case OP_slice: return of_slice(n);
    case OP_place: return of_place(n);
    case OP_expand: return of_expand(n);
    case OP_add: by = tiles(n); break;
    case OP_mask:
        if (made_by(n->args[0], OP_mask) && n->args[0]->def->attr.f == n->attr.f &&
            axes_equal(&n->args[0]->def->attr.axes, &n->attr.axes))
            return n->args[0];
        return NULL;
    default: break;
    }
    if (!by && op_info(n->op)->traits & TRAIT_MAP) by = narrow_map(n);
    return by;
}
