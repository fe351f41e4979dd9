// SPDX-License-Identifier: Apache-2.0
// reduce_eval: sum, max and cumsum over axes, and dot. A rank reduces all its places, padding included: resolve has
// masked it.
#include "ir/eval_core.h"
#include <math.h>

static bool reduce(Eval *e, const Node *n, bool max) {
    const Value *x = n->args[0], *y = n->results[0];
    Walk w = walk_dims(e, n, &x->type); // reduced axes have stride 0 in y
    int ty = walk_tensor(&w, &y->type), tx = walk_tensor(&w, &x->type);
    if (!walk_ok(&w)) return false;
    for (int64_t r = 0; r < e->ranks; r++) {
        const double *px = eval_at(e, x, r);
        double *py = eval_at(e, y, r);
        for (int64_t i = 0, count = eval_count(e, y); i < count; i++) py[i] = max ? -INFINITY : 0;
        WALK(w) {
            double value = px[w.offset[tx]], *to = &py[w.offset[ty]];
            if (!max) *to = eval_running(e, *to + value);
            else if (value > *to || isnan(value)) *to = value;
        }
    }
    return true;
}

bool eval_sum(Eval *e, const Node *n) { return reduce(e, n, false); }
bool eval_max(Eval *e, const Node *n) { return reduce(e, n, true); }

bool eval_cumsum(Eval *e, const Node *n) {
    const Axis *axis = n->attr.axes.at[0];
    const Value *x = n->args[0], *y = n->results[0];
    if (!eval_whole(e, n, x, axis)) return false;
    Walk w = walk_dims(e, n, &y->type); // row-major: a place comes behind those before it along the axis
    int ty = walk_tensor(&w, &y->type), tx = walk_tensor(&w, &x->type), at = walk_position(&w, axis);
    if (!walk_ok(&w)) return false;
    int64_t step = eval_stride(e, &y->type, axis), from = eval_stride(e, &x->type, axis), last = axis->extent - 1;
    for (int64_t r = 0; r < e->ranks; r++) {
        const double *px = eval_at(e, x, r);
        double *py = eval_at(e, y, r);
        WALK(w) {
            int64_t i = w.at[at], j = n->attr.flag ? last - i : i, o = w.offset[ty] + (j - i) * step;
            double before = i ? py[o + (n->attr.flag ? step : -step)] : 0;
            py[o] = before + px[w.offset[tx] + (j - i) * from];
        }
    }
    return true;
}

bool eval_dot(Eval *e, const Node *n) {
    const Value *a = n->args[0], *b = n->args[1], *y = n->results[0];
    Walk outer = walk_dims(e, n, &y->type), inner = walk_new(e, n);
    int ty = walk_tensor(&outer, &y->type), ta = walk_tensor(&outer, &a->type), tb = walk_tensor(&outer, &b->type);
    walk_add(&inner, &a->type, &n->attr.axes);
    int ia = walk_tensor(&inner, &a->type), ib = walk_tensor(&inner, &b->type);
    if (!walk_ok(&outer) || !walk_ok(&inner)) return false;
    for (int64_t r = 0; r < e->ranks; r++) {
        const double *pa = eval_at(e, a, r), *pb = eval_at(e, b, r);
        double *py = eval_at(e, y, r);
        WALK(outer) {
            double sum = 0;
            WALK(inner)
            sum = eval_running(e,
                               sum + pa[outer.offset[ta] + inner.offset[ia]] * pb[outer.offset[tb] + inner.offset[ib]]);
            py[outer.offset[ty]] = sum;
        }
    }
    return true;
}
