// SPDX-License-Identifier: Apache-2.0
// resolve_pending: decides for every value over which mesh axes it stays a pending sum. Starts from "everything stays
// pending that is born so" and takes back what some user does not accept, until nothing changes; what is left is
// consistent: joint operands are pending alike, a carry is pending at its init, in the body and at its yield.
//
// A user accepts a pending operand when that costs nothing later: the reduction behind the user moves no more bytes
// than the one in front of it. A tree of adds accepts anything: it adds its equally pending leaves first and reduces
// their sum once.
#include "passes/precision.h"
#include "passes/resolve.h"

MeshSet pending_of(const Pending *p, const Value *v) { return p->born[v->id] & p->keep[v->id]; }

// What v can be pending over where zeros may be declared as needed.
static MeshSet pending_or_any(const Pending *p, const Value *v) {
    return p->zero[v->id] ? p->everything : pending_of(p, v);
}

static void index_block(Pending *p, Block *b) {
    for (Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nargs; i++) p->user[n->args[i]->id] = n;
        if (n->body) index_block(p, n->body);
    }
}

static bool zero_node(const Pending *p, const Node *n) {
    switch (n->op) {
    case OP_const: return n->attr.f == 0;
    case OP_mask: return n->attr.f == 0 && p->zero[n->args[0]->id];
    case OP_expand:
    case OP_rename:
    case OP_slice:
    case OP_place:
    case OP_part:
    case OP_neg:
    case OP_cast:
    case OP_stop:
    case OP_sum: return p->zero[n->args[0]->id];
    case OP_add: return p->zero[n->args[0]->id] && p->zero[n->args[1]->id];
    default: return false;
    }
}

// intro and zero; false after a diagnostic.
static bool intro_block(Pending *p, Block *b) {
    for (Node *n = b->first; n; n = n->next) {
        if (n->op == OP_repeat) {
            for (int i = repeat_carries(n); i < n->nargs; i++)
                p->zero[n->body->params[i + 1]->id] = p->zero[n->args[i]->id];
            if (!intro_block(p, n->body)) return false;
            continue;
        }
        Type out[3];
        int count;
        if (!n->nresults) continue;
        if (!op_infer(p->u, n->op, n->args, n->nargs, &n->attr, n->body, &n->results[0]->type, n->loc, out, &count))
            return false;
        for (int i = 0; i < count; i++) p->intro[n->results[i]->id] = out[i].sum;
        p->zero[n->results[0]->id] = zero_node(p, n);
    }
    return true;
}

bool pending_inner(const Pending *p, const Value *v) { return v->id < p->known && p->inner[v->id]; }

static void collect(const Pending *p, const Node *add, AddTree *t) {
    for (int i = 0; i < 2; i++) {
        Value *x = add->args[i];
        if (pending_inner(p, x)) {
            collect(p, x->def, t);
        } else {
            if (t->n < TREE_MAX) t->leaf[t->n] = x;
            t->n++;
        }
    }
}

bool pending_is_root(const Pending *p, const Node *n) { return n->op == OP_add && !pending_inner(p, n->results[0]); }

bool pending_tree(const Pending *p, const Node *root, AddTree *out_tree) {
    out_tree->n = 0;
    collect(p, root, out_tree);
    if (out_tree->n > TREE_MAX) return false;
    for (int i = 0; i < out_tree->n; i++)
        if (type_same_dims(&out_tree->leaf[i]->type, &root->results[0]->type)) return true;
    return false;
}

static void dissolve(Pending *p, Node *add) {
    for (int i = 0; i < 2; i++)
        if (p->inner[add->args[i]->id]) {
            p->inner[add->args[i]->id] = false;
            dissolve(p, add->args[i]->def);
        }
}

static void trees_block(Pending *p, Block *b) {
    for (Node *n = b->first; n; n = n->next) {
        if (n->body) trees_block(p, n->body);
        if (n->op != OP_add) continue;
        const Value *v = n->results[0];
        const Node *user = p->user[v->id];
        p->inner[v->id] = p->uses[v->id] == 1 && user->op == OP_add && user->parent == b &&
                          type_same_dims(&v->type, &user->results[0]->type);
    }
    AddTree t;
    for (Node *n = b->first; n; n = n->next)
        if (pending_is_root(p, n) && !pending_tree(p, n, &t)) dissolve(p, n);
}

static MeshSet common_of(const Pending *p, const AddTree *tree) {
    MeshSet common = p->everything;
    for (int i = 0; i < tree->n; i++) common &= pending_of(p, tree->leaf[i]);
    return common;
}

static MeshSet joint(const Pending *p, const Node *n) {
    MeshSet all = p->everything;
    for (int i = 0; i < n->nargs; i++) all &= pending_of(p, n->args[i]);
    return all;
}

// What reaches the result of a node from its operands.
static MeshSet through(const Pending *p, const Node *n) {
    MeshSet sum = 0;
    switch (op_info(n->op)->pending) {
    case PENDING_UNARY:
    case PENDING_FIRST: sum = n->nargs ? pending_of(p, n->args[0]) : 0; break;
    case PENDING_JOINT: sum = joint(p, n); break;
    case PENDING_BILINEAR: sum = pending_of(p, n->args[0]) | pending_of(p, n->args[1]); break;
    case PENDING_FREE:
        if (n->op == OP_all_gather || n->op == OP_all_to_all) sum = pending_of(p, n->args[0]);
        if (n->op == OP_all_reduce || n->op == OP_reduce_scatter)
            sum = pending_of(p, n->args[0]) & ~(n->attr.flag ? 0 : n->attr.mesh);
        break;
    default: break;
    }
    return sum;
}

static bool narrow(MeshSet *set, MeshSet to) {
    MeshSet was = *set;
    *set &= to;
    return *set != was;
}

static bool forward_block(Pending *p, Block *b);

static bool forward_repeat(Pending *p, Node *n) {
    Block *body = n->body;
    const Node *yield = block_yield(body);
    bool changed = false;
    for (int k = 0; k < repeat_carries(n); k++) {
        Value *param = body->params[k + 1];
        changed |= narrow(&p->carry[param->id],
                          pending_or_any(p, n->args[k]) & p->keep[param->id] & ~type_split(&param->type));
        p->born[param->id] = p->carry[param->id];
    }
    changed |= forward_block(p, body);
    for (int k = 0; k < yield->nargs; k++) {
        MeshSet out = pending_of(p, yield->args[k]);
        if (k < repeat_carries(n)) {
            Value *param = body->params[k + 1];
            changed |= narrow(&p->carry[param->id], out);
            out = p->carry[param->id];
        }
        p->born[n->results[k]->id] = out;
    }
    return changed;
}

static bool forward_block(Pending *p, Block *b) {
    bool changed = false;
    AddTree t;
    for (Node *n = b->first; n; n = n->next) {
        if (n->op == OP_repeat) {
            changed |= forward_repeat(p, n);
            continue;
        }
        MeshSet sum = through(p, n);
        if (pending_is_root(p, n) && pending_tree(p, n, &t)) sum = common_of(p, &t);
        for (int i = 0; i < n->nresults; i++)
            p->born[n->results[i]->id] = (p->intro[n->results[i]->id] | sum) & ~type_split(&n->results[i]->type);
    }
    return changed;
}

static bool grows(const Pending *p, const Value *from, const Value *to) {
    int64_t a, b;
    if (!type_local_elements(&from->type, &p->u->mesh, &a) || !type_local_elements(&to->type, &p->u->mesh, &b))
        return true;
    return b > a;
}

// May x stay pending when multiplied or divided by v? A pending tensor times a number: the number is reduced first.
static bool is_scale(const Pending *p, const Value *x, const Value *v) {
    return v->type.rank == 0 && (x->type.rank > 0 || !pending_of(p, v));
}

static MeshSet others(const Pending *p, const Node *n, int arg) {
    MeshSet all = p->everything;
    for (int i = 0; i < n->nargs; i++)
        if (i != arg) all &= pending_of(p, n->args[i]);
    return all;
}

// Are the rows that a take finds only summed, to no more than the table was? So a mixture joins its experts' results.
static bool is_summed(const Pending *p, const Value *table, const Value *rows) {
    const Node *user = p->uses[rows->id] == 1 ? p->user[rows->id] : NULL;
    return user && user->op == OP_sum && user->parent == rows->def->parent && !grows(p, table, user->results[0]);
}

// A sum over microbatches behind the layers is finished before it is scattered, once a step. With sharded gradients it
// is scattered in every microbatch: nothing but parts is kept.
static MeshSet summed_first(const Pending *p, const Node *part) {
    bool scattered = part->parent->owner || (p->u->strategy && p->u->strategy->shard >= SHARD_GRADIENTS);
    return scattered ? 0 : p->u->mesh.time;
}

// Over which mesh axes may operand `arg` of n stay pending?
static MeshSet accepted(const Pending *p, const Node *n, int arg) {
    const Value *x = n->args[arg], *y = n->nresults ? n->results[0] : NULL;
    switch (n->op) {
    case OP_sub:
    case OP_add: return grows(p, x, y) ? 0 : others(p, n, arg);
    case OP_concat: return others(p, n, arg);
    case OP_mul: return is_scale(p, x, n->args[1 - arg]) && !grows(p, x, y) ? p->everything : 0;
    case OP_div: return arg == 0 && is_scale(p, x, n->args[1]) ? p->everything : 0;
    case OP_cast:
        if (!dtype_is_float(x->type.dtype) || !dtype_is_float(y->type.dtype)) return 0;
        return precision_passes_pending(p->f, n) & p->everything;
    case OP_mask: return n->attr.f == 0 ? p->everything : 0;
    case OP_expand: return grows(p, x, y) ? 0 : p->everything;
    case OP_place:
        return p->uses[y->id] == 1 && p->user[y->id]->op == OP_add ? p->everything : grows(p, x, y) ? 0 : p->everything;
    case OP_neg:
    case OP_stop:
    case OP_rename:
    case OP_slice:
    case OP_sum:
    case OP_permute:
    case OP_cumsum: return p->everything;
    case OP_part: return p->everything & ~n->attr.mesh & ~summed_first(p, n);
    case OP_all_to_all: return arg == 0 ? p->everything & ~n->attr.mesh : 0;
    case OP_take: return arg == 0 && is_summed(p, x, y) ? p->everything & ~type_split(&y->type) : 0;
    default: return 0;
    }
}

static Block *home(const Value *v) { return v->def ? v->def->parent : v->block; }

static void accept(MeshSet *sets, const Node *n, const Value *v, MeshSet what) {
    sets[v->id] &= home(v) == n->parent ? what : 0; // across a body's border: once, outside
}

static void accept_tree(const Pending *p, MeshSet *sets, const Node *root, const AddTree *t) {
    for (int i = 0; i < t->n; i++) {
        MeshSet what = p->everything; // a leaf with other users is reduced once, for all of them
        for (int j = 0; j < t->n && p->uses[t->leaf[i]->id] > 1; j++)
            if (j != i) what &= pending_of(p, t->leaf[j]);
        accept(sets, root, t->leaf[i], what);
    }
}

static void accept_block(const Pending *p, MeshSet *sets, const Block *b) {
    AddTree t;
    for (const Node *n = b->first; n; n = n->next) {
        if (n->op == OP_add && p->inner[n->results[0]->id]) continue;
        if (pending_is_root(p, n) && pending_tree(p, n, &t)) {
            accept_tree(p, sets, n, &t);
        } else if (n->op == OP_repeat) {
            for (int i = 0; i < n->nargs; i++)
                accept(sets, n, n->args[i], i < repeat_carries(n) ? p->carry[n->body->params[i + 1]->id] : 0);
            accept_block(p, sets, n->body);
        } else if (n->op == OP_yield) {
            const Node *owner = b->owner;
            for (int k = 0; k < n->nargs; k++)
                accept(sets, n, n->args[k], k < repeat_carries(owner) ? p->carry[b->params[k + 1]->id] : p->everything);
        } else {
            for (int i = 0; i < n->nargs; i++) accept(sets, n, n->args[i], accepted(p, n, i));
        }
    }
}

Pending *pending_analyse(Unit *u, Func *f) {
    Arena *a = u->scratch;
    int n = f->next_id;
    Pending *p = NEW(a, Pending);
    *p = (Pending){.u = u, .f = f, .known = n, .everything = ((MeshSet)1 << u->mesh.n) - 1};
    p->intro = NEW_ARRAY(a, MeshSet, n);
    p->born = NEW_ARRAY(a, MeshSet, n);
    p->keep = NEW_ARRAY(a, MeshSet, n);
    p->carry = NEW_ARRAY(a, MeshSet, n);
    p->zero = NEW_ARRAY(a, bool, n);
    p->inner = NEW_ARRAY(a, bool, n);
    p->uses = NEW_ARRAY(a, int, n);
    p->user = NEW_ARRAY(a, Node *, n);
    func_count_uses(f, p->uses);
    index_block(p, f->top);
    if (!intro_block(p, f->top)) return NULL;
    trees_block(p, f->top);
    for (int i = 0; i < n; i++) p->keep[i] = p->carry[i] = p->everything;
    MeshSet *sets = NEW_ARRAY(a, MeshSet, n);
    for (bool changed = true; changed;) {
        changed = forward_block(p, f->top);
        for (int i = 0; i < n; i++) sets[i] = p->everything;
        accept_block(p, sets, f->top);
        for (int i = 0; i < n; i++) changed |= narrow(&p->keep[i], sets[i]);
    }
    return p;
}
