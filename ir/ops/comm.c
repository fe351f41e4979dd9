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

bool infer_all_to_all(Infer *in) {
    Type *out = &in->out[0];
    *out = *IN_TYPE(in, 0);
    int from, to;
    if (!find_axis(in, 0, &from) || !find_axis(in, 1, &to)) return false;
    if (!in->attr->mesh || out->dim[from].split != in->attr->mesh || out->dim[to].split)
        return infer_fail(in, "all_to_all joins a split axis and splits a whole one: %s", infer_type(in, 0));
    out->dim[from].split = 0;
    out->dim[to].split = in->attr->mesh;
    return true;
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
