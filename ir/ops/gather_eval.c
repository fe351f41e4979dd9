// SPDX-License-Identifier: Apache-2.0
// gather_eval: take and scatter, table lookup and its adjoint. Ids are global; a rank serves those in its shard.
#include "ir/eval_core.h"

// The element offset of a global id along an axis of t on a rank; false when it is elsewhere or nowhere (NaN too).
static bool find_id(const Eval *e, const Type *t, const Axis *axis, int64_t rank, double id, int64_t *out_offset) {
    const Dim *d = &t->dim[type_find(t, axis)];
    if (!(id >= 0 && id < (double)axis->extent)) return false;
    int64_t local = (int64_t)id - eval_offset(e, d, rank);
    *out_offset = local * eval_stride(e, t, axis);
    return local >= 0 && local < dim_local(d, e->mesh);
}

bool eval_take(Eval *e, const Node *n) {
    const Value *table = n->args[0], *ids = n->args[1], *y = n->results[0];
    Walk w = walk_dims(e, n, &y->type);
    int ty = walk_tensor(&w, &y->type), tt = walk_tensor(&w, &table->type), ti = walk_tensor(&w, &ids->type);
    if (!walk_ok(&w)) return false;
    for (int64_t r = 0; r < e->ranks; r++) {
        const double *pt = eval_at(e, table, r), *pi = eval_at(e, ids, r);
        double *py = eval_at(e, y, r);
        int64_t row;
        WALK(w) {
            bool here = find_id(e, &table->type, n->attr.axes.at[0], r, pi[w.offset[ti]], &row);
            py[w.offset[ty]] = here ? pt[w.offset[tt] + row] : 0;
        }
    }
    return true;
}

bool eval_scatter(Eval *e, const Node *n) {
    const Value *ids = n->args[0], *updates = n->args[1], *y = n->results[0];
    Walk w = walk_dims(e, n, &ids->type); // every update, ids outermost
    walk_add(&w, &updates->type, NULL);
    int ti = walk_tensor(&w, &ids->type), tu = walk_tensor(&w, &updates->type), ty = walk_tensor(&w, &y->type);
    if (!walk_ok(&w)) return false;
    for (int64_t r = 0; r < e->ranks; r++) {
        const double *pi = eval_at(e, ids, r), *pu = eval_at(e, updates, r);
        double *py = eval_at(e, y, r);
        memset(py, 0, sizeof *py * (size_t)eval_count(e, y));
        int64_t row;
        WALK(w)
        if (find_id(e, &y->type, n->attr.axes.at[0], r, pi[w.offset[ti]], &row)) {
            double *to = &py[w.offset[ty] + row];
            *to = eval_running(e, *to + pu[w.offset[tu]]);
        }
    }
    return true;
}
