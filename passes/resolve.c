// SPDX-License-Identifier: Apache-2.0
// resolve: makes the sharded program legal. Where a value that is a sum over ranks meets an op that is not linear in
// it, or one behind which the reduction would cost more, an all_reduce goes behind the value's definition; gradients of
// a repeat's parameters stay pending through the repeat and are reduced once outside. Then padding is masked where it
// could reach a valid place.
//
//   before    %y: f32[batch/data=8, width=32]                 = dot %h, %w over hidden
//             %z: f32[batch/data=8, width=32]                 = add %x, %y
//   after     %p: f32[batch/data=8, width=32] +sum(tensor)    = dot %h, %w over hidden
//             %y: f32[batch/data=8, width=32]                 = all_reduce %p on tensor
//             %z: f32[batch/data=8, width=32]                 = add %x, %y
//
// A tree of adds whose leaves are pending over different mesh axes is added in another order, so that equally pending
// leaves share one all_reduce:   (dq + x) + dk   becomes   all_reduce(dq + dk) + x.
#include "passes/resolve.h"
#include "passes/pass.h"

typedef struct Resolve {
    Unit *u;
    Func *f;
    Pending *p;
} Resolve;

typedef struct Term { // leaves of a tree with the same type, to be added first
    Value *sum;
    MeshSet reduce;
} Term;

static Value *add_before(Resolve *r, Node *at, Value *a, Value *b) {
    Node *n = layout_node(r->f, at->parent, at->prev, OP_add, (Value *[]){a, b}, 2, NULL, NULL, at->loc);
    return n ? n->results[0] : NULL;
}

static void remove_inner(const Pending *p, Node *add) {
    for (int i = 0; i < 2; i++)
        if (pending_inner(p, add->args[i])) {
            remove_inner(p, add->args[i]->def);
            node_remove(add->args[i]->def);
        }
}

static bool infer_inner(Resolve *r, Node *add) {
    for (int i = 0; i < 2; i++)
        if (pending_inner(r->p, add->args[i]))
            if (!infer_inner(r, add->args[i]->def) || !layout_infer(r->u, add->args[i]->def)) return false;
    return true;
}

// Adds the leaves of a mixed tree by terms; the root adds the last two. Other trees stay as they are.
static bool resolve_tree(Resolve *r, Node *root) {
    AddTree t;
    if (!pending_tree(r->p, root, &t)) return true;
    MeshSet common = t.leaf[0]->type.sum, mixed = 0;
    for (int i = 0; i < t.n; i++) common &= t.leaf[i]->type.sum;
    for (int i = 0; i < t.n; i++) mixed |= t.leaf[i]->type.sum & ~common;
    if (!mixed) return infer_inner(r, root);
    Term term[TREE_MAX];
    int n = 0;
    for (int i = 0; i < t.n; i++) {
        MeshSet reduce = t.leaf[i]->type.sum & ~common;
        int same = n;
        for (int j = 0; j < n && reduce && same == n; j++)
            if (term[j].reduce == reduce && type_same_dims(&term[j].sum->type, &t.leaf[i]->type)) same = j;
        if (same == n) term[n++] = (Term){t.leaf[i], reduce};
        else if (!(term[same].sum = add_before(r, root, term[same].sum, t.leaf[i]))) return false;
    }
    int full = 0; // a term with all axes goes first: it fixes their order
    for (int i = 0; i < n; i++) {
        if (term[i].reduce) {
            Node *reduced =
                layout_all_reduce(r->f, root->parent, root->prev, term[i].sum, term[i].reduce, false, root->loc);
            if (!reduced) return false;
            term[i].sum = reduced->results[0];
        }
        if (!type_same_dims(&term[full].sum->type, &root->results[0]->type)) full = i;
    }
    Term first = term[full];
    for (int i = full; i > 0; i--) term[i] = term[i - 1];
    term[0] = first;
    Value *sum = term[0].sum;
    for (int i = 1; i < n - 1; i++)
        if (!(sum = add_before(r, root, sum, term[i].sum))) return false;
    remove_inner(r->p, root);
    root->args[0] = sum;
    root->args[1] = term[n - 1].sum;
    return true;
}

// A zero that may be declared pending: zero on every rank sums to zero.
static Value *pending_zero(Resolve *r, Node *at, const Type *like) {
    Type scalar = type_scalar(like->dtype);
    scalar.sum = like->sum;
    Node *zero = layout_node(r->f, at->parent, at->prev, OP_const, NULL, 0, &(Attr){.f = 0}, &scalar, at->loc);
    if (!zero || !like->rank) return zero ? zero->results[0] : NULL;
    Type wide = *like;
    wide.sum = 0;
    Node *expand = layout_node(r->f, at->parent, zero, OP_expand, zero->results, 1, NULL, &wide, at->loc);
    return expand ? expand->results[0] : NULL;
}

static bool resolve_block(Resolve *r, Block *b);

static bool enter_repeat(Resolve *r, Node *n) {
    for (int k = 0; k < repeat_carries(n); k++) {
        Value *param = n->body->params[k + 1];
        param->type.sum = r->p->carry[param->id];
        if (n->args[k]->type.sum == param->type.sum || n->args[k]->id >= r->p->known || !r->p->zero[n->args[k]->id])
            continue;
        if (!(n->args[k] = pending_zero(r, n, &param->type))) return false;
    }
    return resolve_block(r, n->body);
}

// A sum over the mesh axes a `part` then divides among is a reduce_scatter.
static bool scatter_part(Resolve *r, Value *v, MeshSet *reduce) {
    Node *user = r->p->uses[v->id] == 1 ? r->p->user[v->id] : NULL;
    if (!user || user->op != OP_part || user->attr.mesh & ~*reduce) return false;
    user->op = OP_reduce_scatter;
    *reduce &= ~user->attr.mesh;
    return true;
}

static bool reduce_result(Resolve *r, Node *n, Value *v, Node **last) {
    MeshSet sum = v->type.sum & ~r->p->keep[v->id], max = v->type.max;
    Value *x = v;
    if (sum) scatter_part(r, v, &sum);
    for (int is_max = 0; is_max < 2; is_max++) {
        MeshSet over = is_max ? max : sum;
        if (!over) continue;
        Node *reduced = layout_all_reduce(r->f, n->parent, *last, x, over, is_max, n->loc);
        if (!reduced) return false;
        layout_replace(r->f, x, reduced->results[0], reduced);
        x = reduced->results[0];
        *last = reduced;
    }
    return true;
}

static bool resolve_node(Resolve *r, Node *n) {
    if (n->op == OP_add && pending_inner(r->p, n->results[0])) return true; // with its tree's root
    if (n->op == OP_add && !resolve_tree(r, n)) return false;
    if (n->op == OP_repeat && !enter_repeat(r, n)) return false;
    if (!layout_infer(r->u, n)) return false;
    Node *last = n;
    for (int i = 0; i < n->nresults; i++)
        if (!reduce_result(r, n, n->results[i], &last)) return false;
    return true;
}

static bool resolve_block(Resolve *r, Block *b) {
    FOR_NODES(n, b) if (!resolve_node(r, n)) return false;
    return true;
}

bool pass_resolve(Unit *u) {
    if (!u->mesh.n) return true;
    for (int i = 0; i < u->funcs.n; i++) {
        Resolve r = {u, u->funcs.at[i], pending_analyse(u, u->funcs.at[i])};
        if (!r.p || !resolve_block(&r, r.f->top) || !resolve_check(u, r.f) || !resolve_padding(u, r.f))
            return false;
    }
    return true;
}
