// SPDX-License-Identifier: Apache-2.0
// overlap: gradients are reduced while the backward half still runs. A repeat stacks the gradients of its layers, and
// the sum over ranks stands behind it; done there, nothing is left to compute in the meantime. Where one layer's share
// is large enough to be worth a call of its own, the all_reduce goes into the body: each layer's begins when its
// gradient is there, and all of them end where the stacked value is first used.
//
//   before    %s: f32[layer=12, width=768, hidden=3072] +sum(data) = repeat ... reverse {
//                 %g: f32[width=768, hidden=3072] +sum(data) = dot %x, %d over batch
//                 yield %c, %g
//             }
//             %r = all_reduce %s on data
//   after     %r: f32[layer=12, width=768, hidden=3072] = repeat ... reverse {
//                 %g: f32[width=768, hidden=3072] +sum(data) = dot %x, %d over batch
//                 %h: f32[width=768, hidden=3072] = all_reduce %g on data
//                 yield %c, %h
//             }
//
// What stays behind the repeat are small gradients (biases, norms): stacked they lie side by side and are one call, a
// bucket of all layers.
#include "passes/layout.h"
#include "passes/pass.h"

// A call takes latency + bytes / bandwidth; with 20 us and 50 GB/s the two are equal at 1 MB, so that finer calls would
// cost more than twice what they hide. (DDP's first bucket is as large: Li et al., VLDB 2020.)
enum { LEAST_BYTES = 1000 * 1000 };

// The all_reduce of a stacked result, when nothing else reads that.
static Node *only_reduce(const int *uses, const Value *stacked) {
    Node *found = NULL;
    for (Node *n = stacked->def->next; n && !found; n = n->next)
        if (n->op == OP_all_reduce && n->args[0] == stacked) found = n;
    return found && uses[stacked->id] == 1 && !found->attr.flag ? found : NULL;
}

static bool move_into(Func *f, const int *uses, Node *repeat, int k, int64_t least) {
    Value *stacked = repeat->results[k];
    Node *yield = block_yield(repeat->body), *reduce = only_reduce(uses, stacked);
    Value *inner = yield->args[k];
    int64_t elements = 0;
    if (!reduce || !inner->def || inner->def->parent != repeat->body || (inner->type.sum & reduce->attr.mesh) == 0)
        return true;
    if (reduce->attr.mesh & ~inner->type.sum || !type_local_elements(&inner->type, &f->unit->mesh, &elements) ||
        elements * dtype_bytes(inner->type.dtype) < least)
        return true;
    Node *made = layout_all_reduce(f, repeat->body, inner->def, inner, reduce->attr.mesh, false, reduce->loc);
    if (!made) return false;
    made->results[0]->name = inner->name;
    yield->args[k] = made->results[0];
    if (!layout_infer(f->unit, repeat)) return false;
    layout_replace(f, reduce->results[0], stacked, NULL);
    node_remove(reduce);
    return true;
}

static bool overlap_func(Unit *u, Func *f) {
    // Models small enough to be verified have no large gradients; there every one goes through the finer form.
    int64_t least = u->keep_gradients ? 1 : LEAST_BYTES;
    int *uses = NEW_ARRAY(u->scratch, int, f->next_id);
    func_count_uses(f, uses);
    FOR_NODES(n, f->top) {
        if (n->op != OP_repeat) continue;
        for (int k = repeat_carries(n); k < n->nresults; k++)
            if (!move_into(f, uses, n, k, least)) return false;
    }
    return true;
}

bool pass_overlap(Unit *u) {
    if (u->pipeline) return true; // sums over microbatches are reduced once, behind the last
    for (int i = 0; i < u->funcs.n; i++)
        if (!overlap_func(u, u->funcs.at[i])) return false;
    return true;
}
