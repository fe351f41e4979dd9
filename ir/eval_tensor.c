// SPDX-License-Identifier: Apache-2.0
// eval_tensor: the arrays of the reference interpreter: walks over named axes, shards and their global tensors,
// padding.
#include "ir/eval_core.h"
#include <math.h>

Walk walk_new(const Eval *e, const Node *n) { return (Walk){.e = e, .n = n}; }

Walk walk_dims(const Eval *e, const Node *n, const Type *t) {
    Walk w = walk_new(e, n);
    walk_add(&w, t, NULL);
    return w;
}

int walk_position(const Walk *w, const Axis *a) {
    for (int i = 0; i < w->naxes; i++)
        if (w->axis[i] == a) return i;
    return -1;
}

void walk_add(Walk *w, const Type *t, const Axes *only) {
    for (int d = 0; d < t->rank; d++) {
        const Axis *a = t->dim[d].axis;
        if (only && axes_find(only, a) < 0) continue;
        if (walk_position(w, a) >= 0) continue;
        if (w->naxes == WALK_AXES) {
            eval_error(w->e, w->n, "more than %d axes in one op", WALK_AXES);
            w->bad = true;
            return;
        }
        w->axis[w->naxes] = a;
        w->extent[w->naxes++] = dim_local(&t->dim[d], w->e->mesh);
    }
}

int walk_tensor(Walk *w, const Type *t) {
    if (w->ntensors == WALK_TENSORS) {
        eval_error(w->e, w->n, "more than %d tensors in one walk", WALK_TENSORS);
        w->bad = true;
        return 0;
    }
    int number = w->ntensors++;
    int64_t stride = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        int64_t local = dim_local(&t->dim[d], w->e->mesh);
        int i = walk_position(w, t->dim[d].axis);
        if (i >= 0) {
            if (w->extent[i] != local) {
                eval_error(w->e, w->n, "axis '%s' has %lld places on a rank in one operand, %lld in another",
                           w->axis[i]->name, (long long)w->extent[i], (long long)local);
                w->bad = true;
            }
            w->stride[number][i] = stride;
        }
        stride *= local;
    }
    return number;
}

bool walk_ok(const Walk *w) { return !w->bad; }

bool walk_start(Walk *w) {
    memset(w->at, 0, sizeof w->at);
    memset(w->offset, 0, sizeof w->offset);
    for (int i = 0; i < w->naxes; i++)
        if (w->extent[i] == 0) return false;
    return true;
}

bool walk_next(Walk *w) {
    for (int i = w->naxes - 1; i >= 0; i--) {
        if (++w->at[i] < w->extent[i]) {
            for (int t = 0; t < w->ntensors; t++) w->offset[t] += w->stride[t][i];
            return true;
        }
        w->at[i] = 0;
        for (int t = 0; t < w->ntensors; t++) w->offset[t] -= w->stride[t][i] * (w->extent[i] - 1);
    }
    return false;
}

int64_t eval_stride(const Eval *e, const Type *t, const Axis *a) {
    int64_t stride = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        if (t->dim[d].axis == a) return stride;
        stride *= dim_local(&t->dim[d], e->mesh);
    }
    return 0;
}

bool eval_whole(const Eval *e, const Node *n, const Value *v, const Axis *a) {
    int d = type_find(&v->type, a);
    if (d < 0 || !v->type.dim[d].split) return true;
    eval_error(e, n, "axis '%s' must be whole on every rank", a->name);
    return false;
}

// The first global index of each dimension on a rank.
typedef struct Corner {
    int64_t at[RANK_MAX];
} Corner;

static Corner corner_of(const Eval *e, const Type *t, int64_t rank) {
    Corner c;
    for (int d = 0; d < t->rank; d++) c.at[d] = eval_offset(e, &t->dim[d], rank);
    return c;
}

static Walk walk_one(const Eval *e, const Type *t) {
    Walk w = walk_dims(e, NULL, t);
    walk_tensor(&w, t);
    return w;
}

// Row-major in the global extents; false in padding.
static bool global_offset(const Walk *w, const Type *t, const Corner *first, int64_t *out_offset) {
    int64_t at = 0;
    for (int d = 0; d < t->rank; d++) {
        int64_t i = first->at[d] + w->at[d];
        if (i >= t->dim[d].axis->extent) return false;
        at = at * t->dim[d].axis->extent + i;
    }
    *out_offset = at;
    return true;
}

void eval_to_local(Eval *e, const Value *v, const Tensor *global) {
    Walk w = walk_one(e, &v->type);
    for (int64_t r = 0; r < e->ranks; r++) {
        Corner first = corner_of(e, &v->type, r);
        double *at = eval_at(e, v, r);
        int64_t place;
        WALK(w) at[w.offset[0]] = global_offset(&w, &v->type, &first, &place) ? global->at[place] : 0;
    }
}

bool eval_to_global(Eval *e, const Node *n, const Value *v, double *out_global) {
    if (v->type.sum | v->type.max) {
        eval_error(e, n, "the value is still pending: each rank holds a part of it");
        return false;
    }
    Walk w = walk_one(e, &v->type);
    for (int64_t r = 0; r < e->ranks; r++) {
        Corner first = corner_of(e, &v->type, r);
        const double *at = eval_at(e, v, r);
        int64_t place;
        WALK(w) if (global_offset(&w, &v->type, &first, &place)) out_global[place] = at[w.offset[0]];
    }
    return true;
}

static bool same(double a, double b) { return !memcmp(&a, &b, sizeof a) || (isnan(a) && isnan(b)); }

bool eval_agree(Eval *e, const Node *n, const Value *v) {
    const Type *t = &v->type;
    MeshSet all = ((MeshSet)1 << e->mesh->n) - 1, replicated = all & ~(type_split(t) | t->sum | t->max);
    for (int64_t r = 0; replicated && r < e->ranks; r++) {
        int64_t base = mesh_group_base(e->mesh, replicated, r), place;
        const double *a = eval_at(e, v, base), *b = eval_at(e, v, r);
        if (!memcmp(a, b, sizeof *a * (size_t)eval_count(e, v))) continue;
        Walk w = walk_one(e, t);
        Corner first = corner_of(e, t, r);
        WALK(w) {
            int64_t i = w.offset[0];
            if (!global_offset(&w, t, &first, &place) || same(a[i], b[i])) continue;
            eval_error(e, n, "ranks %lld and %lld should hold the same, but element %lld is %.17g and %.17g",
                       (long long)base, (long long)r, (long long)place, a[i], b[i]);
            return false;
        }
    }
    return true;
}

void eval_poison_padding(Eval *e, const Value *v, double garbage) {
    const Type *t = &v->type;
    bool padded = false;
    for (int d = 0; d < t->rank; d++) padded |= dim_padded(&t->dim[d], e->mesh);
    if (!padded) return;
    Walk w = walk_one(e, t);
    for (int64_t r = 0; r < e->ranks; r++) {
        Corner first = corner_of(e, t, r);
        double *at = eval_at(e, v, r);
        int64_t place;
        WALK(w) {
            double *x = &at[w.offset[0]];
            if (*x == 0 || global_offset(&w, t, &first, &place)) continue;
            *x = !dtype_is_float(t->dtype) ? 1 : isfinite(*x) ? garbage : NAN;
        }
    }
}
