// SPDX-License-Identifier: Apache-2.0
// view_eval: ops that only move elements: rename, slice, place, concat, expand, part, mask.
#include "ir/eval_core.h"

// Same elements in the same order under other names. A split or merged group of axes must lie in one piece on a rank:
// its first axis may be split over the mesh, evenly enough that the shards are the same places; another only where a
// rank has one place of each axis before it.
bool eval_rename(Eval *e, const Node *n) {
    const Value *x = n->args[0], *y = n->results[0];
    const Attr *a = &n->attr;
    const Axes *many = a->axes.n > a->to.n ? &a->axes : &a->to;
    const Type *t = a->axes.n > a->to.n ? &x->type : &y->type;
    bool one = true; // place of all axes before
    for (int i = 0; i < many->n && a->axes.n != a->to.n; i++) {
        const Dim *d = &t->dim[type_find(t, many->at[i])];
        if (d->split && !one) {
            eval_error(e, n, "axis '%s' is not the first of its group and must be whole", many->at[i]->name);
            return false;
        }
        one &= dim_local(d, e->mesh) == 1;
    }
    return eval_copy(e, n, y, x);
}

// Copies between a narrow tensor and a window of a wide one along one axis: `wide` index = at + narrow index, both
// global. The narrow one may lack its axis (one place). Places of y outside of x's part are left as they are.
static bool copy_window(Eval *e, const Node *n, const Value *x, const Axis *from, const Value *y, const Axis *to,
                        int64_t shift) {
    if (from && !eval_whole(e, n, x, from)) return false;
    Walk w = walk_dims(e, n, &y->type);
    int ty = walk_tensor(&w, &y->type), tx = walk_tensor(&w, &x->type);
    if (!walk_ok(&w)) return false;
    int64_t stride = from ? eval_stride(e, &x->type, from) : 0, extent = from ? from->extent : 1;
    int d = to ? type_find(&y->type, to) : -1;
    for (int64_t r = 0; r < e->ranks; r++) {
        const double *px = eval_at(e, x, r);
        double *py = eval_at(e, y, r);
        int64_t first = d >= 0 ? eval_offset(e, &y->type.dim[d], r) : 0;
        WALK(w) {
            int64_t i = (d >= 0 ? first + w.at[d] : 0) + shift; // in x
            if (i < 0 || i >= extent) continue;
            py[w.offset[ty]] = px[w.offset[tx] + (from == to ? 0 : i * stride)];
        }
    }
    return true;
}

static void fill_zero(Eval *e, const Value *v) {
    for (int64_t r = 0; r < e->ranks; r++) memset(eval_at(e, v, r), 0, sizeof(double) * (size_t)eval_count(e, v));
}

static const Axis *axis_or_null(const Axes *list, int i) { return i < list->n ? list->at[i] : NULL; }

bool eval_slice(Eval *e, const Node *n) {
    fill_zero(e, n->results[0]);
    return copy_window(e, n, n->args[0], n->attr.axes.at[0], n->results[0], axis_or_null(&n->attr.to, 0), n->attr.i);
}

bool eval_place(Eval *e, const Node *n) {
    fill_zero(e, n->results[0]);
    return copy_window(e, n, n->args[0], axis_or_null(&n->attr.axes, 0), n->results[0], n->attr.to.at[0], -n->attr.i);
}

bool eval_concat(Eval *e, const Node *n) {
    fill_zero(e, n->results[0]);
    int64_t at = 0;
    for (int i = 0; i < n->nargs; i++) {
        const Axis *piece = axis_or_null(&n->attr.axes, i);
        if (!copy_window(e, n, n->args[i], piece, n->results[0], n->attr.to.at[0], -at)) return false;
        at += piece ? piece->extent : 1;
    }
    return true;
}

bool eval_expand(Eval *e, const Node *n) {
    const Value *x = n->args[0], *y = n->results[0];
    Walk w = walk_dims(e, n, &y->type);
    int ty = walk_tensor(&w, &y->type), tx = walk_tensor(&w, &x->type);
    if (!walk_ok(&w)) return false;
    for (int64_t r = 0; r < e->ranks; r++) WALK(w) eval_at(e, y, r)[w.offset[ty]] = eval_at(e, x, r)[w.offset[tx]];
    return true;
}

// A window as in slice, but where it begins is the rank's own; beyond the axis there are zeros.
bool eval_part(Eval *e, const Node *n) {
    const Axis *axis = n->attr.axes.at[0];
    const Value *x = n->args[0], *y = n->results[0];
    fill_zero(e, y);
    if (!eval_whole(e, n, x, axis)) return false;
    Walk w = walk_dims(e, n, &y->type);
    int ty = walk_tensor(&w, &y->type), position = walk_position(&w, axis);
    int64_t inner = eval_stride(e, &x->type, axis);
    int d = type_find(&y->type, axis);
    for (int64_t r = 0; r < e->ranks; r++) {
        const double *px = eval_at(e, x, r);
        double *py = eval_at(e, y, r);
        int64_t first = eval_offset(e, &y->type.dim[d], r), local = dim_local(&y->type.dim[d], e->mesh);
        WALK(w) {
            int64_t i = first + w.at[position];
            if (i >= axis->extent) continue;
            int64_t o = w.offset[ty]; // [outer, local, inner] to [outer, extent, inner]
            py[o] = px[(o / (local * inner) * axis->extent + i) * inner + o % inner];
        }
    }
    return true;
}

bool eval_mask(Eval *e, const Node *n) {
    const Value *x = n->args[0], *y = n->results[0];
    const Type *t = &y->type;
    Walk w = walk_dims(e, n, t);
    int ty = walk_tensor(&w, t), tx = walk_tensor(&w, &x->type);
    if (!walk_ok(&w)) return false;
    for (int64_t r = 0; r < e->ranks; r++) {
        const double *px = eval_at(e, x, r);
        double *py = eval_at(e, y, r);
        WALK(w) {
            bool valid = true;
            for (int d = 0; d < t->rank; d++)
                if (axes_find(&n->attr.axes, t->dim[d].axis) >= 0)
                    valid &= eval_offset(e, &t->dim[d], r) + w.at[d] < t->dim[d].axis->extent;
            py[w.offset[ty]] = valid ? px[w.offset[tx]] : n->attr.f;
        }
    }
    return true;
}
