// SPDX-License-Identifier: Apache-2.0
// plan_tile: see plan_tile.h.
#include "codegen/plan_tile.h"
#include <string.h>

static int64_t stride_of(const FuncStorage *places, const Value *v, const Axis *axis) {
    int d = type_find(&v->type, axis);
    return d < 0 ? 0 : places->of[v->id].dim_stride[d];
}

// Appends an axis, as part of the one before it where all strides allow that.
static bool group_push(TileGroup *g, TileAxis x) {
    if (x.extent == 1) return true;
    if (g->count) {
        TileAxis *last = &g->axis[g->count - 1];
        if (last->a == x.a * x.extent && last->b == x.b * x.extent && last->c == x.c * x.extent) {
            int64_t extent = last->extent * x.extent;
            *last = x;
            last->extent = extent;
            return true;
        }
    }
    if (g->count == TILE_AXES) return false;
    g->axis[g->count++] = x;
    return true;
}

static bool too_many(const Unit *u, const Node *n) {
    diag_error(u->diag, n->loc, "%s over more than %d axes of one kind whose elements are not neighbours in memory",
               op_info(n->op)->name, TILE_AXES);
    return false;
}
// The element type of a node's kernels, that of its first result.
static bool real_of(const Unit *u, const Node *n, Real *out) {
    DType t = n->results[0]->type.dtype;
    *out = t == DT_BF16 ? REAL_BF16 : t == DT_F16 ? REAL_F16 : REAL_F32;
    if (t == DT_F32 || dtype_is_half(t)) return true;
    diag_error(u->diag, n->loc, "%s has no kernels for %s", op_info(n->op)->name, dtype_name(t));
    return false;
}

bool plan_dot(const Unit *u, const FuncStorage *places, const Node *n, TileMatmul *out) {
    memset(out, 0, sizeof *out);
    const Value *x = n->args[0], *y = n->args[1], *z = n->results[0];
    if (!real_of(u, n, &out->type)) return false;
    for (int side = 0; side < 2; side++) {
        const Value *v = side ? y : x;
        for (int d = 0; d < v->type.rank; d++) {
            const Axis *axis = v->type.dim[d].axis;
            if (side && type_find(&x->type, axis) >= 0) continue;
            TileAxis t;
            memset(&t, 0, sizeof t);
            t.extent = dim_local(&v->type.dim[d], &u->mesh);
            t.a = stride_of(places, x, axis);
            t.b = stride_of(places, y, axis);
            t.c = stride_of(places, z, axis);
            TileGroup *g = side                                  ? &out->n
                           : axes_find(&n->attr.axes, axis) >= 0 ? &out->k
                           : type_find(&y->type, axis) >= 0      ? &out->batch
                                                                 : &out->m;
            if (!group_push(g, t)) return too_many(u, n);
        }
    }
    out->a = 0;
    out->b = 1;
    out->c = 2;
    return true;
}

// ---- attention

enum { OPERANDS = 11 };

typedef struct Attention {
    const Value *value[OPERANDS]; // q k v mask y lse dy dq dk dv last
    TileRows *rows[OPERANDS];
} Attention;

static bool fill(const Unit *u, const FuncStorage *places, const Node *n, TileAttend *a, Attention *x,
                 const Dim **out_query) {
    const Value *q = n->args[0], *k = n->args[1];
    const Axis *feature = n->attr.axes.at[0], *key = n->attr.axes.at[1], *query = NULL;
    int64_t widest = 0;
    for (int d = 0; d < q->type.rank; d++) { // the rows: the longest axis the keys lack
        const Axis *axis = q->type.dim[d].axis;
        int64_t extent = dim_local(&q->type.dim[d], &u->mesh);
        if (axis == feature || type_find(&k->type, axis) >= 0 || extent <= widest) continue;
        query = axis;
        widest = extent;
    }
    if (n->attr.flag) query = n->attr.to.at[0];
    int at = query ? type_find(&q->type, query) : -1;
    a->queries = at >= 0 ? dim_local(&q->type.dim[at], &u->mesh) : 1;
    a->keys = key->extent;
    a->q_columns = a->v_columns = feature->extent;
    a->scale = (float)n->attr.f;
    a->causal = n->attr.flag;
    a->query_position = a->key_position = -1;
    *out_query = NULL;
    if (a->causal && mesh_extent(&u->mesh, q->type.dim[at].split) > 1) {
        *out_query = &q->type.dim[at];
        a->query_position = 0;
    }
    for (int i = 0; i < OPERANDS; i++) {
        const Value *v = x->value[i];
        if (!v) continue;
        bool keys = type_find(&v->type, key) >= 0 && i != 3;
        x->rows[i]->row = keys ? stride_of(places, v, key) : query ? stride_of(places, v, query) : 0;
        x->rows[i]->column = i == 3 ? stride_of(places, v, key) : stride_of(places, v, feature);
    }
    for (int d = 0; d < q->type.rank; d++) {
        const Axis *axis = q->type.dim[d].axis;
        int64_t extent = dim_local(&q->type.dim[d], &u->mesh);
        if (axis == feature || axis == query || extent == 1) continue;
        int last = a->outer_count - 1;
        bool joins = last >= 0;
        for (int i = 0; i < OPERANDS && joins; i++)
            joins = !x->value[i] || x->rows[i]->outer[last] == stride_of(places, x->value[i], axis) * extent;
        if (joins) a->outer[last] *= extent;
        else if (a->outer_count == TILE_AXES) return too_many(u, n);
        else a->outer[++last] = extent, a->outer_count++;
        for (int i = 0; i < OPERANDS; i++)
            if (x->value[i]) x->rows[i]->outer[last] = stride_of(places, x->value[i], axis);
    }
    return true;
}

// Numbers the buffers as the kernel gets them: operands, then results.
static void number(const Node *n, Attention *x) {
    for (int i = 0; i < OPERANDS; i++)
        for (int buf = 0; x->value[i] && buf < n->nargs + n->nresults; buf++)
            if (x->value[i] == (buf < n->nargs ? n->args[buf] : n->results[buf - n->nargs])) {
                x->rows[i]->buf = buf;
                break;
            }
}

bool plan_attend(const Unit *u, const FuncStorage *places, const Node *n, TileAttend *out, const Dim **out_query) {
    memset(out, 0, sizeof *out);
    if (!real_of(u, n, &out->type)) return false;
    out->masked = attend_mask(n) != NULL;
    out->bounded = attend_last(n) != NULL;
    Attention x = {{n->args[0], n->args[1], n->args[2], attend_mask(n), n->results[0], n->results[1]},
                   {&out->q, &out->k, &out->v, &out->mask, &out->y, &out->lse}};
    x.value[OPERANDS - 1] = attend_last(n);
    x.rows[OPERANDS - 1] = &out->last;
    number(n, &x);
    return fill(u, places, n, out, &x, out_query);
}

bool plan_attend_back(const Unit *u, const FuncStorage *places, const Node *n, TileAttendBack *out,
                      const Dim **out_query) {
    memset(out, 0, sizeof *out);
    if (!real_of(u, n, &out->forward.type)) return false;
    TileAttend *f = &out->forward;
    Value *const *a = n->args, *const *rest = n->args + 3 + n->attr.i, *const *r = n->results;
    f->masked = n->attr.i != 0;
    f->bounded = attend_last(n) != NULL;
    Attention x = {{a[0], a[1], a[2], attend_mask(n), rest[0], rest[1], rest[2], r[0], r[1], r[2], attend_last(n)},
                   {&f->q, &f->k, &f->v, &f->mask, &f->y, &f->lse, &out->dy, &out->dq, &out->dk, &out->dv, &f->last}};
    number(n, &x);
    return fill(u, places, n, f, &x, out_query);
}
