// SPDX-License-Identifier: Apache-2.0
// comm_eval: collectives. A group is the ranks that differ only along the mesh axes `on`; it adds in rank
// order, so every member gets the same bits.
#include "ir/eval_core.h"
#include <math.h>

bool eval_all_reduce(Eval *e, const Node *n) {
    const Value *x = n->args[0], *y = n->results[0];
    int64_t members = mesh_extent(e->mesh, n->attr.mesh);
    if (eval_count(e, x) != eval_count(e, y)) {
        eval_error(e, n, "operand and result differ in size on a rank");
        return false;
    }
    for (int64_t r = 0; r < e->ranks; r++) {
        double *py = eval_at(e, y, r);
        for (int64_t i = 0, count = eval_count(e, y); i < count; i++) {
            double all = n->attr.flag ? -INFINITY : 0;
            for (int64_t m = 0; m < members; m++) {
                double one = eval_at(e, x, mesh_member(e->mesh, n->attr.mesh, r, m))[i];
                if (!n->attr.flag) all += one;
                else if (one > all || isnan(one)) all = one;
            }
            py[i] = all;
        }
    }
    return true;
}

// Fetches result places by their global indices from the members that hold them: from the one that has them, or the sum
// over all members where every member has its own part. All three collectives are this.
static bool exchange(Eval *e, const Node *n, bool sum) {
    const Value *x = n->args[0], *y = n->results[0];
    int64_t members = mesh_extent(e->mesh, n->attr.mesh);
    Walk w = walk_dims(e, n, &y->type);
    int ty = walk_tensor(&w, &y->type);
    if (!walk_ok(&w)) return false;
    if (!type_same_dims(&x->type, &y->type)) {
        eval_error(e, n, "operand and result have different dimensions");
        return false;
    }
    for (int64_t r = 0; r < e->ranks; r++) WALK(w) {
            double value = 0;
            bool valid = true, found = false;
            for (int64_t m = 0; m < members; m++) {
                int64_t peer = mesh_member(e->mesh, n->attr.mesh, r, m), at = 0;
                bool here = true;
                for (int d = 0; d < y->type.rank; d++) {
                    const Dim *to = &y->type.dim[d], *from = &x->type.dim[d];
                    int64_t place = eval_offset(e, to, r) + w.at[d], local = place - eval_offset(e, from, peer);
                    // Padding has no place of its own: along a dimension that keeps its split it is copied like the
                    // rest, elsewhere it stays zero.
                    if (place >= to->axis->extent && to->split != from->split) valid = false;
                    here &= local >= 0 && local < dim_local(from, e->mesh);
                    at = at * dim_local(from, e->mesh) + local;
                }
                if (!valid) break;
                if (!here) continue;
                found = true;
                value += eval_at(e, x, peer)[at];
                if (!sum) break;
            }
            if (valid && !found) {
                eval_error(e, n, "no member of rank %lld's group has a place that it needs", (long long)r);
                return false;
            }
            eval_at(e, y, r)[w.offset[ty]] = value;
        }
    return true;
}

bool eval_all_gather(Eval *e, const Node *n) { return exchange(e, n, false); }
bool eval_reduce_scatter(Eval *e, const Node *n) { return exchange(e, n, true); }
bool eval_all_to_all(Eval *e, const Node *n) {
    if (!exchange(e, n, false)) return false;
    if (n->nargs == 1) return true;
    const Value *y = n->results[0], *counts = n->args[2];
    Walk w = walk_dims(e, n, &y->type);
    int ty = walk_tensor(&w, &y->type), tc = walk_tensor(&w, &counts->type);
    int rows = type_find(&y->type, n->attr.axes.at[2]);
    if (!walk_ok(&w)) return false;
    for (int64_t r = 0; r < e->ranks; r++) WALK(w) {
            if (!((double)w.at[rows] < eval_at(e, counts, r)[w.offset[tc]])) eval_at(e, y, r)[w.offset[ty]] = 0;
        }
    return true;
}

// The whole local array comes from another member.
bool eval_permute(Eval *e, const Node *n) {
    const Value *x = n->args[0], *y = n->results[0];
    int64_t members = mesh_extent(e->mesh, n->attr.mesh);
    for (int64_t r = 0; r < e->ranks; r++) {
        int64_t own = mesh_coord(e->mesh, n->attr.mesh, r);
        int64_t from = n->attr.flag ? members - 1 - own : (own + members - 1) % members;
        memcpy(eval_at(e, y, r), eval_at(e, x, mesh_member(e->mesh, n->attr.mesh, r, from)),
               sizeof(double) * (size_t)eval_count(e, y));
    }
    return true;
}
