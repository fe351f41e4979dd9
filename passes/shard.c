// SPDX-License-Identifier: Apache-2.0
// shard: applies the strategy. The layout is global by axis name: `split head over tensor` splits `head` in every type
// it occurs in, parameters, activations, gradients and optimizer states alike. What remains are ops that need an axis
// whole (slice, place, concat and repeat along it, attend's feature and key axes) and names that change (rename from a
// split axis to a whole one): an all_gather goes in front, and where the result's name is split, `part` behind keeps
// the rank's own part. Pending marks are the next pass's: types have none here.
//
//   before    %x: f32[batch=8, seq=16, width=32]                = take %wte, %tokens over vocab
//             %k: f32[batch=8, key=16, width=32]                = rename %x over seq to key
//   after     %x: f32[batch/data=8, seq/tensor=16, width=32]    = take %wte, %tokens over vocab
//             %r: f32[batch/data=8, key/tensor=16, width=32]    = rename %x over seq to key
//             %k: f32[batch/data=8, key=16, width=32]           = all_gather %r over key on tensor
#include "base/checked.h"
#include "ir/text.h"
#include "passes/between.h"
#include "passes/exchange.h"
#include "passes/heads.h"
#include "passes/pass.h"
#include "passes/ring.h"
#include "passes/zero.h"

typedef struct Gathered { // axis of value `from` was gathered in block: reuse it
    const Value *from;
    const Axis *axis;
    Block *block;
    Value *whole;
} Gathered;

typedef struct Moved { // `from` was made one of type `type` in block: reuse it
    const Value *from;
    Type type;
    Block *block;
    Value *to;
} Moved;

typedef struct Shard {
    Unit *u;
    Func *func;
    Vec(Gathered) gathered, cut; // cut: `whole` is the part kept of `from`, which is whole
    Vec(Moved) moved;            // between the two ways of an exchange
    int nbetween, nexchanges;
    Between **between;
    Exchange **exchange;
    bool ok;
} Shard;

static Loc split_loc(const Shard *s, const Axis *axis, int mesh_axis) {
    for (int i = 0; i < s->u->strategy->nsplits; i++) {
        const Split *p = &s->u->strategy->splits[i];
        if (p->axis == axis && p->over >> mesh_axis & 1) return p->over_loc.file ? p->over_loc : p->loc;
    }
    return s->u->strategy->loc;
}

// A mesh axis can split one dimension of a tensor. The frontend has said so for what the author named; this finds what
// passes made.
static void check_type(Shard *s, const Value *v, Loc at) {
    const Type *t = &v->type;
    for (int i = 0; i < t->rank; i++)
        for (int j = 0; j < i; j++) {
            MeshSet both = t->dim[i].split & t->dim[j].split;
            if (!both) continue;
            int m = __builtin_ctz(both);
            diag_error(s->u->diag, split_loc(s, t->dim[i].axis, m), "'%s' and '%s' are both split over '%s' in %s: %s",
                       t->dim[j].axis->name, t->dim[i].axis->name, s->u->mesh.axis[m].name,
                       v->name ? v->name : "a value", type_text(t, &s->u->mesh, s->u->arena));
            diag_note(s->u->diag, at, "%s is made here", v->name ? v->name : "it");
            s->ok = false;
            return;
        }
}

static void apply(Shard *s, Value *v, Loc at) {
    v->type.sum = v->type.max = 0;
    for (int i = 0; i < v->type.rank; i++) v->type.dim[i].split = layout_split(s->u, v->type.dim[i].axis);
    for (int k = 0; k < s->nexchanges; k++) exchange_place(s->exchange[k], v);
    for (int k = 0; k < s->nbetween; k++)
        if (between_splits(s->between[k], v))
            v->type.dim[type_find(&v->type, s->between[k]->axis)].split = s->between[k]->over;
    if (s->ok) check_type(s, v, at);
}

static void apply_block(Shard *s, Block *b, Loc at) {
    for (int i = 0; i < b->nparams; i++) apply(s, b->params[i], at);
    for (Node *n = b->first; n; n = n->next) {
        if (n->body) apply_block(s, n->body, n->loc);
        for (int i = 0; i < n->nresults; i++) apply(s, n->results[i], n->loc);
    }
}

static bool encloses(const Block *outer, const Block *b) {
    for (; b; b = b->owner ? b->owner->parent : NULL)
        if (b == outer) return true;
    return false;
}

// Operand `arg` of n becomes one whose `axis` is whole.
static void need_whole(Shard *s, Node *n, int arg, const Axis *axis) {
    Value *x = n->args[arg];
    int d = type_find(&x->type, axis);
    if (d < 0 || !x->type.dim[d].split || !s->ok) return;
    for (int i = 0; i < s->gathered.n; i++) {
        Gathered *g = &s->gathered.at[i];
        if (g->from == x && g->axis == axis && encloses(g->block, n->parent)) {
            n->args[arg] = g->whole;
            return;
        }
    }
    Node *gather = layout_all_gather(s->func, n->parent, n->prev, x, axis, n->loc);
    if (!gather) {
        s->ok = false;
        return;
    }
    vec_push(s->u->scratch, &s->gathered, (Gathered){x, axis, n->parent, gather->results[0]});
    n->args[arg] = gather->results[0];
}

// Operand `arg` of n becomes one of which each rank has its part of `axis` only.
static void need_part(Shard *s, Node *n, int arg, const Axis *axis, MeshSet over) {
    Value *x = n->args[arg];
    if (x->type.dim[type_find(&x->type, axis)].split || !s->ok) return;
    for (int i = 0; i < s->cut.n; i++) {
        Gathered *g = &s->cut.at[i];
        if (g->from == x && g->axis == axis && encloses(g->block, n->parent)) {
            n->args[arg] = g->whole;
            return;
        }
    }
    Node *part = layout_part(s->func, n->parent, n->prev, x, axis, over, n->loc);
    s->ok &= part != NULL;
    if (!part) return;
    vec_push(s->u->scratch, &s->cut, (Gathered){x, axis, n->parent, part->results[0]});
    n->args[arg] = part->results[0];
}

// Operand `arg` of n becomes placed as `want`.
static void need_placed(Shard *s, Node *n, int arg, const Type *want) {
    Value *x = n->args[arg], *made = NULL;
    Node *first;
    for (int k = 0; k < s->moved.n && !made; k++) {
        Moved *m = &s->moved.at[k];
        if (m->from == x && type_equal(&m->type, want) && encloses(m->block, n->parent)) made = m->to;
    }
    if (!made) {
        Node *last = exchange_convert(s->func, n->parent, n->prev, x, want,
                                      exchange_rows(s->exchange, s->nexchanges, x), n->loc, &first);
        s->ok &= last != NULL;
        if (!last) return;
        made = last->results[0];
        vec_push(s->u->scratch, &s->moved, (Moved){x, *want, n->parent, made});
    }
    n->args[arg] = made;
}

// Operands of n that have both axes of an exchange, or the one that loses, become placed as n works.
static void need_exchange(Shard *s, Node *n) {
    Type want;
    for (int i = 0; i < n->nargs && s->ok && s->nexchanges; i++)
        if (exchange_wants(s->exchange, s->nexchanges, n, i, &want)) need_placed(s, n, i, &want);
}

static void need_heads(Shard *s, Node *n) {
    Heads heads;
    bool found = heads_find(s->u, n, &heads, &s->ok);
    for (int i = 0; i < n->nargs && found && s->ok; i++) {
        Type want = heads_place(&heads, &n->args[i]->type);
        if (!type_equal(&want, &n->args[i]->type)) need_placed(s, n, i, &want);
    }
}

static void need_between(Shard *s, Node *n) {
    for (int k = 0; k < s->nbetween; k++)
        for (int i = 0; i < n->nargs; i++) {
            const Between *b = s->between[k];
            int64_t over = between_wants(b, n, i);
            if (over > 0) need_part(s, n, i, b->axis, b->over);
            else if (over == 0) need_whole(s, n, i, b->axis);
        }
}

static void need_rename(Shard *s, Node *n) {
    const Axes *from = &n->attr.axes, *to = &n->attr.to;
    const Type *t = &n->args[0]->type;
    int d = type_find(t, from->at[0]);
    int64_t ways = d < 0 ? 1 : mesh_extent(&s->u->mesh, t->dim[d].split);
    bool keeps = from->n == 1 && to->n == 1;
    if (to->n > 1) keeps = to->at[0]->extent % ways == 0;
    if (from->n > 1) keeps = from->at[0]->extent % ways == 0;
    for (int i = keeps; i < from->n; i++) need_whole(s, n, 0, from->at[i]);
}

// take: a table split over the mesh axes that split the ids gives partial sums of different things: gather it.
static void need_take(Shard *s, Node *n) {
    const Axis *over = n->attr.axes.at[0];
    int d = type_find(&n->args[0]->type, over);
    MeshSet rows = d < 0 ? 0 : n->args[0]->type.dim[d].split;
    if (rows & type_split(&n->args[1]->type)) need_whole(s, n, 0, over);
}

static void need_operands(Shard *s, Node *n) {
    const Axes *axes = &n->attr.axes;
    switch (n->op) {
    case OP_rename: need_rename(s, n); break;
    case OP_take: need_take(s, n); break;
    case OP_slice:
    case OP_cumsum: need_whole(s, n, 0, axes->at[0]); break;
    case OP_place:
        if (axes->n) need_whole(s, n, 0, axes->at[0]);
        break;
    case OP_concat:
        for (int i = 0; i < axes->n; i++) need_whole(s, n, i, axes->at[i]);
        break;
    case OP_attend:
    case OP_attend_grad:
        for (int i = 0; i < n->nargs; i++)
            for (int a = 0; a < 2 - ring_fits(s->u, n); a++) need_whole(s, n, i, axes->at[a]);
        break;
    case OP_repeat:
        for (int i = repeat_carries(n); i < repeat_carries(n) + repeat_stacked(n) && !repeat_split(s->u, axes->at[0]);
             i++)
            need_whole(s, n, i, axes->at[0]);
        break;
    default: break;
    }
}

// scatter: the result cannot be split over a mesh axis that also splits what is summed: sum whole, then part.
static void scatter_declare(Node *n) {
    Type *t = &n->results[0]->type;
    const Type *updates = &n->args[1]->type;
    MeshSet gone = 0;
    for (int i = 0; i < updates->rank; i++)
        if (axes_find(&n->attr.to, updates->dim[i].axis) < 0) gone |= updates->dim[i].split;
    int d = type_find(t, n->attr.axes.at[0]);
    if (d >= 0 && t->dim[d].split & (gone | type_split(updates))) t->dim[d].split = 0;
}

// What op_infer derives against the layout by name: gathers and parts behind the node make them agree.
static void settle_result(Shard *s, Node *n, Value *v, const Type *by_name) {
    bool differs = false;
    for (int i = 0; i < by_name->rank; i++) differs |= v->type.dim[i].split != by_name->dim[i].split;
    if (!differs || !s->ok) return;
    Node *first, *last = exchange_convert(s->func, n->parent, n, v, by_name, (Rows){0}, n->loc, &first);
    s->ok &= last != NULL;
    if (last) layout_replace(s->func, v, last->results[0], first);
}

static void settle_block(Shard *s, Block *b);

static void settle_ring(Shard *s, Node *n) {
    Value *results[3];
    if (!(s->ok = ring_build(s->func, n, results))) return;
    for (int i = 0; i < n->nresults; i++) {
        value_replace_uses(s->func, n->results[i], results[i]);
        settle_result(s, results[i]->def, results[i], &n->results[i]->type);
    }
    node_remove(n);
}

static void settle_node(Shard *s, Node *n) {
    need_exchange(s, n);
    need_between(s, n);
    if (s->ok) need_heads(s, n);
    need_operands(s, n);
    if (s->ok && ring_fits(s->u, n)) {
        settle_ring(s, n);
        return;
    }
    if (n->body) settle_block(s, n->body);
    if (!s->ok) return;
    Type *by_name = NEW_ARRAY(s->u->scratch, Type, n->nresults ? n->nresults : 1);
    for (int i = 0; i < n->nresults; i++) by_name[i] = n->results[i]->type;
    if (n->op == OP_scatter) scatter_declare(n);
    if (!layout_infer(s->u, n)) {
        s->ok = false;
        return;
    }
    for (int i = 0; i < n->nresults; i++) {
        n->results[i]->type.sum = n->results[i]->type.max = 0;
        settle_result(s, n, n->results[i], &by_name[i]);
    }
}

static void settle_block(Shard *s, Block *b) { FOR_NODES(n, b) if (s->ok) settle_node(s, n); }

static void find_between(Shard *s) {
    const Strategy *st = s->u->strategy;
    s->between = NEW_ARRAY(s->u->scratch, Between *, st->nsplits + 1);
    for (int i = 0; i < st->nsplits; i++)
        if (st->splits[i].between) between_group(s->u, s->func, &st->splits[i]);
    for (int i = 0; i < st->nsplits; i++)
        if (st->splits[i].between) s->between[s->nbetween++] = between_analyse(s->u, s->func, &st->splits[i]);
}

bool pass_shard(Unit *u) {
    if (!u->strategy) return true;
    if (!layout_mesh(u)) return false;
    for (int i = 0; i < u->funcs.n; i++) {
        Shard s = {.u = u, .func = u->funcs.at[i], .ok = true};
        find_between(&s);
        if (!exchange_find(u, s.func, &s.exchange, &s.nexchanges)) return false;
        apply_block(&s, s.func->top, u->strategy->loc);
        if (s.ok) settle_block(&s, s.func->top);
        if (!s.ok) return false;
    }
    return zero_apply(u);
}
