// SPDX-License-Identifier: Apache-2.0
// heads: attention over a sequence split over C ranks, as DeepSpeed-Ulysses does it (Jacobs et al. 2023). In front of
// it all_to_alls bring queries, keys and values from a part of the places of all heads to all places of a part of the
// heads; one behind it brings the result back:
//
//   before    %q: [batch, seq/context, head, dim], %k: [batch, key/context, head, dim]
//   after     %q': [batch, seq, head/context, dim] = all_to_all %q over seq, head on context ...
//             %y': [batch, seq, head/context, dim] = attend %q', %k', %v'
//             %y: [batch, seq/context, head, dim]  = all_to_all %y' over head, seq on context
//
// This finds the axis of heads: the last one that queries and keys share, beside the feature axis, and that the mesh
// axes can split too (outside of them it may be split already, evenly). shard does the rest.
#include "passes/heads.h"

static bool can_split(const Unit *u, const Dim *d, MeshSet over) {
    if (d->split & over || d->split > (over & -over)) return false;
    return !d->split || d->axis->extent % mesh_extent(&u->mesh, d->split | over) == 0;
}

bool heads_find(const Unit *u, const Node *n, Heads *out_heads, bool *out_ok) {
    *out_ok = true;
    const Split *s = n->op == OP_attend || n->op == OP_attend_grad ? layout_split_line(u, n->attr.axes.at[1]) : NULL;
    if (!s || s->attention != ATTENTION_HEADS) return false;
    const Type *q = &n->args[0]->type, *k = &n->args[1]->type;
    Heads h = {.key = n->attr.axes.at[1]};
    int at = type_find(k, h.key);
    h.over = at < 0 ? 0 : k->dim[at].split;
    for (int d = 0; d < q->rank; d++)
        if (h.over && q->dim[d].split == h.over) h.query = q->dim[d].axis;
    if (!h.query || type_find(k, h.query) >= 0) return false;
    for (int d = 0; d < k->rank; d++)
        if (k->dim[d].axis != h.key && k->dim[d].axis != n->attr.axes.at[0] && can_split(u, &k->dim[d], h.over))
            h.head = k->dim[d].axis;
    *out_heads = h;
    if (h.head) return true;
    diag_error(u->diag, s->loc,
               "attention = heads: queries and keys share no axis that '%s' could split too (one that is split already "
               "must be so evenly, over mesh axes in front of it)",
               u->mesh.axis[__builtin_ctz(h.over)].name);
    diag_note(u->diag, n->loc, "the attention is here");
    return *out_ok = false;
}

Type heads_place(const Heads *h, const Type *t) {
    Type out = *t;
    for (int d = 0; d < out.rank; d++) {
        if (out.dim[d].axis == h->query || out.dim[d].axis == h->key) out.dim[d].split &= ~h->over;
        if (out.dim[d].axis == h->head) out.dim[d].split |= h->over;
    }
    return out;
}
