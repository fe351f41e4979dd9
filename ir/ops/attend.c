// SPDX-License-Identifier: Apache-2.0
// attend and its gradient. Axes: those of q beside the feature axis are queries or batches; k and v have batches (a
// subset of q's: grouped-query attention leaves the group axis out), the key axis and the feature axis.
#include "ir/ops/infer.h"

static bool check_last(Infer *in, int arg) {
    const Type *q = IN_TYPE(in, 0), *last = IN_TYPE(in, arg);
    if (last->dtype != DT_I32) return infer_fail(in, "attend's last key is i32, not %s", dtype_name(last->dtype));
    for (int i = 0; i < last->rank; i++) {
        const Axis *axis = last->dim[i].axis;
        int at = type_find(q, axis);
        if (at < 0 || axis == in->attr->axes.at[0] || (in->attr->flag && axis == in->attr->to.at[0]))
            return infer_fail(in, "'%s' of attend's last key is no outer axis of the queries", axis->name);
        if (q->dim[at].split != last->dim[i].split)
            return infer_fail(in, "'%s' is split differently in attend's last key", axis->name);
    }
    return true;
}

static bool check(Infer *in, int mask_arg) {
    const Type *q = IN_TYPE(in, 0), *k = IN_TYPE(in, 1), *v = IN_TYPE(in, 2);
    if (in->attr->axes.n != 2) return infer_fail(in, "attend needs a feature axis and a key axis");
    const Axis *feature = in->attr->axes.at[0], *key = in->attr->axes.at[1];
    int d;
    for (int a = 0; a < 3; a++)
        if (!infer_has_axis(in, a, feature, &d) || !infer_whole(in, a, feature)) return false;
    for (int a = 1; a < 3; a++)
        if (!infer_has_axis(in, a, key, &d) || !infer_whole(in, a, key)) return false;
    if (type_find(q, key) >= 0)
        return infer_fail(in, "'%s', the key axis, occurs in the queries: %s", key->name, infer_type(in, 0));
    for (int a = 1; a < 3; a++)
        for (int i = 0; i < IN_TYPE(in, a)->rank; i++) {
            Dim dim = IN_TYPE(in, a)->dim[i];
            int at = type_find(q, dim.axis);
            if (dim.axis == key) continue;
            if (at < 0)
                return infer_fail(in, "'%s' of %s does not occur in the queries: %s", dim.axis->name, infer_type(in, a),
                                  infer_type(in, 0));
            if (q->dim[at].split != dim.split)
                return infer_fail(in, "'%s' is split differently in %s and %s", dim.axis->name, infer_type(in, 0),
                                  infer_type(in, a));
        }
    if (k->rank != v->rank)
        return infer_fail(in, "keys and values have different axes: %s and %s", infer_type(in, 1), infer_type(in, 2));
    for (int i = 0; i < k->rank; i++)
        if (type_find(v, k->dim[i].axis) < 0)
            return infer_fail(in, "keys and values have different axes: %s and %s", infer_type(in, 1),
                              infer_type(in, 2));
    for (int a = 0; a < 3; a++)
        if (!dtype_is_float(IN_TYPE(in, a)->dtype) || IN_TYPE(in, a)->dtype != q->dtype)
            return infer_fail(in, "attend needs operands of one floating-point type");
    if (in->attr->flag) {
        if (in->attr->to.n != 2 || in->attr->to.at[1] != key || type_find(q, in->attr->to.at[0]) < 0 ||
            in->attr->to.at[0] == feature)
            return infer_fail(in, "causal needs an axis of the queries and the key axis");
        if (type_find(k, in->attr->to.at[0]) >= 0)
            return infer_fail(in, "'%s', the causal query axis, occurs in the keys: %s", in->attr->to.at[0]->name,
                              infer_type(in, 1));
    }
    if (mask_arg >= 0) {
        const Type *m = IN_TYPE(in, mask_arg);
        if (m->dtype != DT_BOOL) return infer_fail(in, "attend's mask is bool, not %s", dtype_name(m->dtype));
        for (int i = 0; i < m->rank; i++) {
            int at = type_find(q, m->dim[i].axis);
            if (m->dim[i].axis == feature || (at < 0 && m->dim[i].axis != key))
                return infer_fail(in, "'%s' of the mask is neither an axis of the queries nor the key axis",
                                  m->dim[i].axis->name);
            if (m->dim[i].axis == key ? m->dim[i].split != 0 : m->dim[i].split != q->dim[at].split)
                return infer_fail(in, "'%s' is split differently in the mask", m->dim[i].axis->name);
        }
    }
    return true;
}

bool infer_attend(Infer *in) {
    int last = in->attr->j ? 1 : 0, mask = in->nargs - last == 4;
    if (in->nargs != 3 + mask + last) return infer_fail(in, "attend takes q, k, v and optionally a mask");
    if (!check(in, mask ? 3 : -1)) return false;
    if (last && !check_last(in, in->nargs - 1)) return false;
    const Type *q = IN_TYPE(in, 0);
    in->out[0] = *q;
    in->out[0].sum = in->out[0].max = 0;
    in->out[1].dtype = DT_F32;
    for (int i = 0; i < q->rank; i++)
        if (q->dim[i].axis != in->attr->axes.at[0]) in->out[1].dim[in->out[1].rank++] = q->dim[i];
    return true;
}

bool infer_attend_grad(Infer *in) {
    int mask = in->attr->i ? 1 : 0, last = in->attr->j ? 1 : 0;
    if (in->nargs != 6 + mask + last) return infer_fail(in, "attend_grad takes q, k, v, [mask], y, lse, dy, [last]");
    if (!check(in, mask ? 3 : -1)) return false;
    if (last && !check_last(in, in->nargs - 1)) return false;
    for (int r = 0; r < 3; r++) {
        in->out[r] = *IN_TYPE(in, r);
        in->out[r].sum = in->out[r].max = 0;
    }
    // Keys and values get sums over the queries' axes they lack.
    for (int i = 0; i < IN_TYPE(in, 0)->rank; i++)
        if (type_find(IN_TYPE(in, 1), IN_TYPE(in, 0)->dim[i].axis) < 0) {
            in->out[1].sum |= IN_TYPE(in, 0)->dim[i].split;
            in->out[2].sum |= IN_TYPE(in, 0)->dim[i].split;
        }
    return true;
}

static double scores(const Unit *u, const Node *n) {
    double half = n->attr.flag ? 0.5 : 1; // causal: half of the scores
    return half * local_elements(u, &n->args[0]->type) * (double)n->attr.axes.at[1]->extent;
}
double flops_attend(const Unit *u, const Node *n) { return 4 * scores(u, n); }       // q.k and p.v
double flops_attend_grad(const Unit *u, const Node *n) { return 10 * scores(u, n); } // q.k again, dp, dv, dq, dk
