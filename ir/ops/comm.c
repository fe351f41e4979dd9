// SPDX-License-Identifier: Apache-2.0
// Collectives: how each changes the placement.
#include "ir/ops/infer.h"

bool infer_all_reduce(Infer *in) {
    Type *out = &in->out[0];
    *out = *IN_TYPE(in, 0);
    MeshSet *pending = in->attr->flag ? &out->max : &out->sum;
    if (!in->attr->mesh || in->attr->mesh & ~*pending)
        return infer_fail(in, "all_reduce over mesh axes the value is not pending over: %s", infer_type(in, 0));
    *pending &= ~in->attr->mesh;
    return true;
}

static bool find_axis(Infer *in, int which, int *out_dim) {
    if (in->attr->axes.n <= which) return infer_fail(in, "%s needs an axis", op_info(in->op)->name);
    return infer_has_axis(in, 0, in->attr->axes.at[which], out_dim);
}

bool infer_all_gather(Infer *in) {
    Type *out = &in->out[0];
    *out = *IN_TYPE(in, 0);
    int d;
    if (!find_axis(in, 0, &d)) return false;
    if (!in->attr->mesh || out->dim[d].split != in->attr->mesh)
        return infer_fail(in, "all_gather: '%s' is not split that way in %s", out->dim[d].axis->name,
                          infer_type(in, 0));
    out->dim[d].split = 0;
    return true;
}

bool infer_reduce_scatter(Infer *in) {
    Type *out = &in->out[0];
    *out = *IN_TYPE(in, 0);
    int d;
    if (!find_axis(in, 0, &d)) return false;
    if (!in->attr->mesh || in->attr->mesh & ~out->sum || out->dim[d].split)
        return infer_fail(in, "reduce_scatter needs a sum pending over its mesh axes and a whole axis: %s",
                          infer_type(in, 0));
    out->sum &= ~in->attr->mesh;
    out->dim[d].split = in->attr->mesh;
    return true;
}

// Counts of rows for values placed as t: both moved axes, not the rows, all split as in t.
static bool counts_fit(Infer *in, int arg, const Type *t) {
    const Type *c = IN_TYPE(in, arg);
    bool fit = c->dtype == DT_I32 && type_find(c, in->attr->axes.at[2]) < 0;
    for (int i = 0; i < 2; i++) fit &= type_find(c, in->attr->axes.at[i]) >= 0;
    for (int i = 0; i < c->rank; i++) {
        int d = type_find(t, c->dim[i].axis);
        fit &= d >= 0 && t->dim[d].split == c->dim[i].split;
    }
    return fit || infer_fail(in, "counts of rows do not fit: %s", infer_type(in, arg));
}

bool infer_all_to_all(Infer *in) {
    Type *out = &in->out[0];
    *out = *IN_TYPE(in, 0);
    int from, to, rows;
    if (!find_axis(in, 0, &from) || !find_axis(in, 1, &to)) return false;
    bool counted = in->attr->axes.n == 3;
    if (in->nargs != (counted ? 3 : 1) || in->attr->axes.n > 3)
        return infer_fail(in, "all_to_all has one operand and two axes, or counted three of each");
    if (counted &&
        (!find_axis(in, 2, &rows) || rows == from || rows == to || !infer_whole(in, 0, in->attr->axes.at[2])))
        return false;
    MeshSet mesh = in->attr->mesh, left = out->dim[from].split & ~mesh, had = out->dim[to].split;
    if (from == to || !mesh || mesh & ~out->dim[from].split || mesh & had)
        return infer_fail(in, "all_to_all joins a split axis and splits another: %s", infer_type(in, 0));
    // What is split over other mesh axes as well must keep the same places on each of them.
    const struct {
        MeshSet outer;
        const Axis *axis;
    } both[] = {{left, out->dim[from].axis}, {had, out->dim[to].axis}};
    for (int i = 0; i < 2; i++) {
        if (!both[i].outer) continue;
        if (both[i].outer > (mesh & -mesh))
            return infer_fail(in, "all_to_all is over the innermost of the mesh axes that split '%s': %s",
                              both[i].axis->name, infer_type(in, 0));
        if (both[i].axis->extent % mesh_extent(&in->u->mesh, both[i].outer | mesh))
            return infer_fail(in, "all_to_all over some of the mesh axes that split '%s' needs even parts: %s",
                              both[i].axis->name, infer_type(in, 0));
    }
    out->dim[from].split = left;
    out->dim[to].split = had | mesh;
    return !counted || (counts_fit(in, 1, IN_TYPE(in, 0)) && counts_fit(in, 2, out));
}

bool infer_permute(Infer *in) {
    Type *out = &in->out[0];
    *out = *IN_TYPE(in, 0);
    out->sum = out->max = 0; // the row's rule adds them
    int d;
    if (!find_axis(in, 0, &d)) return false;
    int64_t ways = mesh_extent(&in->u->mesh, in->attr->mesh);
    if (!in->attr->mesh || out->dim[d].split != in->attr->mesh || out->dim[d].axis->extent != ways)
        return infer_fail(in, "permute: '%s' has not one place on each rank in %s", out->dim[d].axis->name,
                          infer_type(in, 0));
    return true;
}

double flops_all_reduce(const Unit *u, const Node *n) { return local_elements(u, &n->results[0]->type); }
double flops_all_gather(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_reduce_scatter(const Unit *u, const Node *n) { return local_elements(u, &n->args[0]->type); }
double flops_all_to_all(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_permute(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
