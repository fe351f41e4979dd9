// SPDX-License-Identifier: Apache-2.0
// Contractions: sum, max, cumsum, dot, take, scatter. An axis that disappears while split leaves the result pending.
#include "ir/ops/infer.h"

static bool infer_reduce(Infer *in, MeshSet *out_gone) {
    const Type *t = IN_TYPE(in, 0);
    Type *out = &in->out[0];
    if (!in->attr->axes.n) return infer_fail(in, "%s needs an axis", op_info(in->op)->name);
    if (!infer_axes_once(in, &in->attr->axes)) return false;
    *out_gone = 0;
    for (int i = 0, d; i < in->attr->axes.n; i++) {
        if (!infer_has_axis(in, 0, in->attr->axes.at[i], &d)) return false;
        *out_gone |= t->dim[d].split;
    }
    if (t->dtype == DT_BOOL) return infer_fail(in, "%s needs numbers, not bool", op_info(in->op)->name);
    out->dtype = t->dtype;
    for (int i = 0; i < t->rank; i++)
        if (axes_find(&in->attr->axes, t->dim[i].axis) < 0) out->dim[out->rank++] = t->dim[i];
    return true;
}

bool infer_sum(Infer *in) { return infer_reduce(in, &in->out[0].sum); }
bool infer_max(Infer *in) { return infer_reduce(in, &in->out[0].max); }

bool infer_cumsum(Infer *in) {
    const Axes *axes = &in->attr->axes;
    if (axes->n != 1) return infer_fail(in, "cumsum runs along one axis");
    int d;
    if (!infer_has_axis(in, 0, axes->at[0], &d) || !infer_whole(in, 0, axes->at[0])) return false;
    if (IN_TYPE(in, 0)->dtype == DT_BOOL) return infer_fail(in, "cumsum needs numbers, not bool");
    in->out[0] = *IN_TYPE(in, 0);
    in->out[0].sum = in->out[0].max = 0;
    return true;
}

bool infer_dot(Infer *in) {
    const Type *a = IN_TYPE(in, 0), *b = IN_TYPE(in, 1);
    const Axes *over = &in->attr->axes;
    Type *out = &in->out[0];
    if (!dtype_is_float(a->dtype) || a->dtype != b->dtype)
        return infer_fail(in, "dot needs operands of one floating-point type, not %s and %s", dtype_name(a->dtype),
                          dtype_name(b->dtype));
    if (!infer_axes_once(in, over)) return false;
    for (int i = 0, d, e; i < over->n; i++)
        if (!infer_has_axis(in, 0, over->at[i], &d) || !infer_has_axis(in, 1, over->at[i], &e)) return false;
    out->dtype = a->dtype;
    for (int i = 0; i < a->rank; i++) {
        int other = type_find(b, a->dim[i].axis);
        if (other >= 0 && b->dim[other].split != a->dim[i].split)
            return infer_fail(in, "'%s' is split differently in %s and %s", a->dim[i].axis->name, infer_type(in, 0),
                              infer_type(in, 1));
        if (axes_find(over, a->dim[i].axis) >= 0) out->sum |= a->dim[i].split;
        else if (!infer_push(in, out, a->dim[i])) return false;
    }
    for (int i = 0; i < b->rank; i++)
        if (type_find(a, b->dim[i].axis) < 0 && !infer_push(in, out, b->dim[i])) return false;
    return true;
}

bool infer_take(Infer *in) {
    const Type *table = IN_TYPE(in, 0), *ids = IN_TYPE(in, 1);
    Type *out = &in->out[0];
    int at;
    if (in->attr->axes.n != 1) return infer_fail(in, "take looks up along one axis");
    const Axis *over = in->attr->axes.at[0];
    if (!infer_has_axis(in, 0, over, &at)) return false;
    if (ids->dtype != DT_I32) return infer_fail(in, "take needs i32 ids, not %s", dtype_name(ids->dtype));
    if (type_find(ids, over) >= 0)
        return infer_fail(in, "'%s' is looked up and occurs in the ids: %s", over->name, infer_type(in, 1));
    out->dtype = table->dtype;
    out->sum = table->dim[at].split;
    for (int i = 0; i < ids->rank; i++) {
        int d = type_find(table, ids->dim[i].axis);
        if (d >= 0 && table->dim[d].split != ids->dim[i].split)
            return infer_fail(in, "'%s' is split differently in %s and %s", ids->dim[i].axis->name, infer_type(in, 0),
                              infer_type(in, 1));
        if (!infer_push(in, out, ids->dim[i])) return false;
    }
    for (int i = 0; i < table->rank; i++)
        if (i != at && type_find(ids, table->dim[i].axis) < 0 && !infer_push(in, out, table->dim[i])) return false;
    return true;
}

// Splits of the result: of shared axes, the updates'; of the looked-up axis, the declared one (each rank keeps its own
// rows).
bool infer_scatter(Infer *in) {
    const Type *ids = IN_TYPE(in, 0), *updates = IN_TYPE(in, 1);
    Type *out = &in->out[0];
    if (in->attr->axes.n != 1) return infer_fail(in, "scatter adds along one axis");
    const Axis *over = in->attr->axes.at[0];
    if (ids->dtype != DT_I32) return infer_fail(in, "scatter needs i32 ids, not %s", dtype_name(ids->dtype));
    if (axes_find(&in->attr->to, over) < 0)
        return infer_fail(in, "'%s' does not occur in scatter's result", over->name);
    if (type_find(updates, over) >= 0) return infer_fail(in, "'%s' occurs in scatter's updates", over->name);
    out->dtype = updates->dtype;
    for (int i = 0; i < in->attr->to.n; i++) {
        const Axis *axis = in->attr->to.at[i];
        int d = type_find(updates, axis), id = type_find(ids, axis);
        MeshSet split = d >= 0 ? updates->dim[d].split : id >= 0 ? ids->dim[id].split : 0;
        if (axis == over) {
            int own = in->declared ? type_find(in->declared, over) : -1;
            split = own >= 0 ? in->declared->dim[own].split : 0;
        } else if (d < 0 && id < 0) {
            return infer_fail(in, "'%s' of scatter's result occurs neither in the updates nor in the ids: %s",
                              axis->name, infer_type(in, 1));
        }
        if (!infer_push(in, out, (Dim){axis, split})) return false;
    }
    for (int i = 0; i < ids->rank; i++)
        if (type_find(updates, ids->dim[i].axis) < 0 && axes_find(&in->attr->to, ids->dim[i].axis) < 0)
            return infer_fail(in, "'%s' of the ids does not occur in the updates: %s", ids->dim[i].axis->name,
                              infer_type(in, 1));
    for (int i = 0; i < updates->rank; i++)
        if (axes_find(&in->attr->to, updates->dim[i].axis) < 0) {
            if (type_find(ids, updates->dim[i].axis) < 0)
                return infer_fail(in, "'%s' of the updates occurs neither in the ids nor in the result",
                                  updates->dim[i].axis->name);
            out->sum |= updates->dim[i].split;
        }
    return true;
}

double flops_sum(const Unit *u, const Node *n) { return local_elements(u, &n->args[0]->type); }
double flops_max(const Unit *u, const Node *n) { return local_elements(u, &n->args[0]->type); }
double flops_cumsum(const Unit *u, const Node *n) { return local_elements(u, &n->args[0]->type); }
double flops_take(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_scatter(const Unit *u, const Node *n) { // one addition an update, for each place it is repeated at
    const Type *ids = &n->args[0]->type, *updates = &n->args[1]->type;
    double f = local_elements(u, updates);
    for (int i = 0; i < ids->rank; i++)
        if (type_find(updates, ids->dim[i].axis) < 0) f *= (double)dim_local(&ids->dim[i], &u->mesh);
    return f;
}
double flops_dot(const Unit *u, const Node *n) {
    double f = 2 * local_elements(u, &n->results[0]->type);
    for (int i = 0; i < n->attr.axes.n; i++)
        f *= (double)dim_local(&n->args[0]->type.dim[type_find(&n->args[0]->type, n->attr.axes.at[i])], &u->mesh);
    return f;
}
