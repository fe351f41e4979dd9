// SPDX-License-Identifier: Apache-2.0
// Views and shape: rename, slice, place, concat, mask.
#include "base/checked.h"
#include "ir/ops/infer.h"

// One more way to take a split axis apart is as it lies, into the ranks' blocks and the places of a block: its padding
// becomes places, and padding again when the two are merged back.
static bool is_blocks(const Infer *in, MeshSet split, const Axis *whole, const Axes *parts) {
    int64_t ways = mesh_extent(&in->u->mesh, split);
    return split && parts->n == 2 && parts->at[0]->extent == ways &&
           parts->at[1]->extent == ceil_div(whole->extent, ways);
}

// Merged axes: the parts of dimension d are parts of the part that a rank has of those before, [first, d), when it has
// one place of each of these.
static bool splits_further(const Unit *u, const Type *t, int first, int d) {
    MeshSet before = 0;
    for (int i = first; i < d; i++) {
        if (t->dim[i].axis->extent != mesh_extent(&u->mesh, t->dim[i].split)) return false;
        before |= t->dim[i].split;
    }
    MeshSet own = t->dim[d].split;
    return before < (own & -own) && t->dim[d].axis->extent % mesh_extent(&u->mesh, own) == 0;
}

// from -> to is one to one, one to several (first slowest) or several adjacent to one. A split axis keeps its split
// when only its name changes; a split into parts gives the split to the first part when the mesh divides that part;
// merging takes the first's.
bool infer_rename(Infer *in) {
    const Type *t = IN_TYPE(in, 0);
    const Axes *from = &in->attr->axes, *to = &in->attr->to;
    if (!from->n || !to->n || (from->n > 1 && to->n > 1))
        return infer_fail(in, "rename is one axis to several, or several to one");
    if (!infer_axes_once(in, from) || !infer_axes_once(in, to)) return false;
    int at;
    if (!infer_has_axis(in, 0, from->at[0], &at)) return false;
    int64_t before = 1, after = 1;
    for (int i = 0; i < from->n; i++) {
        int d;
        if (!infer_has_axis(in, 0, from->at[i], &d)) return false;
        if (d != at + i)
            return infer_fail(in, "'%s' and '%s' must be neighbours, in this order, to be merged; they are not in %s",
                              from->at[i - 1]->name, from->at[i]->name, infer_type(in, 0));
        if (i && t->dim[d].split && !splits_further(in->u, t, at, d)) return infer_whole(in, 0, from->at[i]);
        if (!checked_mul(before, from->at[i]->extent, &before)) return infer_fail(in, "extent overflow");
    }
    for (int i = 0; i < to->n; i++)
        if (!checked_mul(after, to->at[i]->extent, &after)) return infer_fail(in, "extent overflow");
    MeshSet split = t->dim[at].split;
    bool blocks = is_blocks(in, split, (to->n == 1 ? to : from)->at[0], to->n == 1 ? from : to);
    if (before != after && !blocks)
        return infer_fail(in, "extents differ: '%s' has %lld places, '%s' has %lld", from->at[0]->name,
                          (long long)before, to->at[0]->name, (long long)after);
    int64_t ways = mesh_extent(&in->u->mesh, split);
    MeshSet merged = split;
    for (int i = 1; i < from->n; i++) merged |= t->dim[at + i].split;
    if (split && to->n > 1 && to->at[0]->extent % ways) return infer_whole(in, 0, from->at[0]);
    if (split && from->n > 1 && from->at[0]->extent % ways) return infer_whole(in, 0, from->at[0]);
    Type *out = &in->out[0];
    out->dtype = t->dtype;
    for (int i = 0; i < t->rank; i++) {
        if (i == at)
            for (int j = 0; j < to->n; j++)
                if (!infer_push(in, out, (Dim){to->at[j], j ? 0 : merged})) return false;
        if (i < at || i >= at + from->n)
            if (!infer_push(in, out, t->dim[i])) return false;
    }
    return true;
}

bool infer_slice(Infer *in) {
    const Type *t = IN_TYPE(in, 0);
    if (in->attr->axes.n != 1 || in->attr->to.n > 1) return infer_fail(in, "slice takes a piece of one axis");
    const Axis *from = in->attr->axes.at[0], *to = in->attr->to.n ? in->attr->to.at[0] : NULL;
    int at;
    if (!infer_has_axis(in, 0, from, &at) || !infer_whole(in, 0, from)) return false;
    int64_t length = to ? to->extent : 1;
    if (in->attr->i < 0 || length > from->extent || in->attr->i > from->extent - length)
        return infer_fail(in, "places %lld to %lld are outside '%s', which has %lld", (long long)in->attr->i,
                          (long long)(in->attr->i + length), from->name, (long long)from->extent);
    Type *out = &in->out[0];
    out->dtype = t->dtype;
    for (int i = 0; i < t->rank; i++)
        if (i != at) {
            if (!infer_push(in, out, t->dim[i])) return false;
        } else if (to && !infer_push(in, out, (Dim){to, 0})) {
            return false;
        }
    return true;
}

bool infer_place(Infer *in) {
    const Type *t = IN_TYPE(in, 0);
    if (in->attr->to.n != 1 || in->attr->axes.n > 1) return infer_fail(in, "place lays a value into one axis");
    const Axis *to = in->attr->to.at[0], *from = in->attr->axes.n ? in->attr->axes.at[0] : NULL;
    int64_t at = in->attr->j, length = 1;
    if (from) {
        int d;
        if (!infer_has_axis(in, 0, from, &d) || !infer_whole(in, 0, from)) return false;
        at = d;
        length = from->extent;
    }
    if (at < 0 || at > t->rank) return infer_fail(in, "place: no dimension %lld", (long long)at);
    if (in->attr->i < 0 || length > to->extent || in->attr->i > to->extent - length)
        return infer_fail(in, "places %lld to %lld are outside '%s', which has %lld", (long long)in->attr->i,
                          (long long)(in->attr->i + length), to->name, (long long)to->extent);
    Type *out = &in->out[0];
    out->dtype = t->dtype;
    for (int i = 0; i <= t->rank; i++) {
        if (i == at && !infer_push(in, out, (Dim){to, 0})) return false;
        if (i < t->rank && !(from && i == at) && !infer_push(in, out, t->dim[i])) return false;
    }
    return true;
}

bool infer_concat(Infer *in) {
    const Axes *pieces = &in->attr->axes;
    if (in->attr->to.n != 1 || in->nargs < 1) return infer_fail(in, "concat makes one axis of at least one operand");
    if (pieces->n && pieces->n != in->nargs)
        return infer_fail(in, "concat has %d operands and %d pieces", in->nargs, pieces->n);
    const Axis *to = in->attr->to.at[0];
    const Type *first = IN_TYPE(in, 0);
    int64_t total = pieces->n ? 0 : in->nargs;
    int at = (int)in->attr->j;
    if (pieces->n) {
        if (!infer_has_axis(in, 0, pieces->at[0], &at)) return false;
        for (int a = 0; a < in->nargs; a++)
            if (!checked_add(total, pieces->at[a]->extent, &total)) return infer_fail(in, "extent overflow");
    }
    if (at < 0 || at > first->rank) return infer_fail(in, "concat: no dimension %d", at);
    for (int a = 0; a < in->nargs; a++) {
        const Type *t = IN_TYPE(in, a);
        if (t->rank != first->rank || t->dtype != first->dtype)
            return infer_fail(in, "operands of concat differ: %s and %s", infer_type(in, 0), infer_type(in, a));
        for (int i = 0; i < t->rank; i++) {
            if (pieces->n && i == at) {
                if (t->dim[i].axis != pieces->at[a])
                    return infer_fail(in, "'%s' is expected where %s has '%s'", pieces->at[a]->name, infer_type(in, a),
                                      t->dim[i].axis->name);
                if (!infer_whole(in, a, pieces->at[a])) return false;
            } else if (t->dim[i].axis != first->dim[i].axis || t->dim[i].split != first->dim[i].split) {
                return infer_fail(in, "operands of concat differ beside the joined axis: %s and %s", infer_type(in, 0),
                                  infer_type(in, a));
            }
        }
    }
    if (total != to->extent)
        return infer_fail(in, "the pieces have %lld places together, '%s' has %lld", (long long)total, to->name,
                          (long long)to->extent);
    Type *out = &in->out[0];
    out->dtype = first->dtype;
    for (int i = 0; i <= first->rank; i++) {
        if (i == at && !infer_push(in, out, (Dim){to, 0})) return false;
        if (i < first->rank && !(pieces->n && i == at) && !infer_push(in, out, first->dim[i])) return false;
    }
    return true;
}

bool infer_mask(Infer *in) {
    int d;
    if (in->attr->axes.n != 1) return infer_fail(in, "mask is along one axis");
    if (!infer_has_axis(in, 0, in->attr->axes.at[0], &d)) return false;
    in->out[0] = *IN_TYPE(in, 0);
    in->out[0].sum = in->out[0].max = 0;
    return true;
}

bool infer_part(Infer *in) {
    int d;
    if (in->attr->axes.n != 1) return infer_fail(in, "part is along one axis");
    if (!infer_has_axis(in, 0, in->attr->axes.at[0], &d) || !infer_whole(in, 0, in->attr->axes.at[0])) return false;
    in->out[0] = *IN_TYPE(in, 0);
    in->out[0].sum = in->out[0].max = 0;
    in->out[0].dim[d].split = in->attr->mesh;
    return true;
}

double flops_rename(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_slice(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_place(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_concat(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_mask(const Unit *u, const Node *n) { return local_elements(u, &n->results[0]->type); }
double flops_part(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
