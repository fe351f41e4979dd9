// SPDX-License-Identifier: Apache-2.0
// gradients_repeat: the gradient of a repeat is a repeat that runs the other way. It carries the cotangents of the
// carries and the sums of the invariants' cotangents so far; it stacks the cotangents of the stacked operands.
//
//   %y = repeat %x, %w over layer carry 1 stack 1 {                 forward
//       ^ %i, %c, %wl
//       %h = dot %c, %wl over in ; %t = sin %h ; yield %t
//   }
//   %y, %cs, %hs = repeat %x, %w ... { ... yield %t, %c, %h }       what the backward half needs is stacked too
//   %d_x, %d_w = repeat %d_y, %w, %cs, %hs over layer carry 1 stack 3 reverse {
//       ^ %i, %d_t, %wl, %c, %h
//       %1 = cos %h ; ...                                           elementwise values and views are computed again
//       ... yield %d_c, %d_wl
//   }
//
// Saved, when the backward body needs them: incoming carries, and results of dot, attend, reductions, take, scatter,
// collectives and inner repeats, or of a product the one elementwise result it is needed for. Computed again: other
// elementwise maps, views, constants, indices, random numbers.
//
// That is what a strategy without `recompute` keeps. One that has it lets some of those be computed again, too
// (passes/recompute.h); then what they are made from is kept or computed again in turn.
#include "passes/autodiff.h"
#include "passes/layout.h"
#include "passes/recompute.h"
#include "passes/simplify.h"

typedef Vec(Value *) Values;

typedef struct Reversal { // one repeat being differentiated
    Autodiff *a;
    Gradient *x;
    Node *forward, *yield; // the repeat and its body's yield
    Block *body;           // the backward body
    Builder in;            // at the end of the backward body
    Value *iteration;
    // Of the backward repeat, in order: parameters of its body, their operands outside, and what is yielded for them.
    Values carry_params, carry_args, carry_yields, slice_params, slice_args, stack_yields, invariant_params,
        invariant_args;
    Value **image; // by forward value id: what stands for it in the backward body
} Reversal;

static Value *add_carry(Reversal *r, Value *arg, const Type *t, Str name) {
    Value *p = block_add_param(r->body, t, name);
    vec_push(r->a->scratch, &r->carry_params, p);
    vec_push(r->a->scratch, &r->carry_args, arg);
    return p;
}

static Value *add_slice(Reversal *r, Value *arg, const Type *t, Str name) {
    Value *p = block_add_param(r->body, t, name);
    vec_push(r->a->scratch, &r->slice_params, p);
    vec_push(r->a->scratch, &r->slice_args, arg);
    return p;
}

static Value *add_invariant(Reversal *r, Value *arg, const Type *t, Str name) {
    Value *p = block_add_param(r->body, t, name);
    vec_push(r->a->scratch, &r->invariant_params, p);
    vec_push(r->a->scratch, &r->invariant_args, arg);
    return p;
}

// ---- which carries have a cotangent ----

// Marks what gets a cotangent when `reached` values do; an inner repeat is taken to pass it to all its operands.
static void reach(const Autodiff *a, const Block *b, bool *reached) {
    for (const Node *n = b->last; n; n = n->prev) {
        bool any = false;
        for (int i = 0; i < n->nresults; i++) any |= reached[n->results[i]->id];
        for (int i = 0; i < n->nargs && any; i++)
            if (autodiff_active(a, n->args[i])) reached[n->args[i]->id] = true;
    }
}

static bool *reached_carries(const Reversal *r) {
    const Node *n = r->forward;
    int carries = repeat_carries(n);
    bool *through = NEW_ARRAY(r->a->scratch, bool, carries + 1);
    bool *reached = NEW_ARRAY(r->a->scratch, bool, r->a->func->next_id);
    for (int k = 0; k < n->nresults; k++) {
        if (!r->x->g[k]) continue;
        if (k < carries) through[k] = autodiff_active(r->a, n->body->params[1 + k]);
        else if (autodiff_active(r->a, r->yield->args[k])) reached[r->yield->args[k]->id] = true;
    }
    for (bool again = true; again;) {
        again = false;
        for (int k = 0; k < carries; k++)
            if (through[k] && autodiff_active(r->a, r->yield->args[k])) reached[r->yield->args[k]->id] = true;
        reach(r->a, n->body, reached);
        for (int k = 0; k < carries; k++)
            if (!through[k] && reached[n->body->params[1 + k]->id]) through[k] = again = true;
    }
    return through;
}

// ---- forward values in the backward body ----

static bool computed_again(const Node *n) {
    const OpInfo *info = op_info(n->op);
    if (info->traits & (TRAIT_MAP | TRAIT_VIEW)) return true;
    switch (n->op) {
    case OP_const:
    case OP_index:
    case OP_random:
    case OP_place:
    case OP_concat:
    case OP_mask: return true;
    default: return false;
    }
}

static bool is_forward(const Reversal *r, const Value *v) {
    return v->def ? v->def->parent == r->forward->body : v->block == r->forward->body;
}

static Type stacked_type(const Type *t, const Axis *axis) {
    Type out = *t;
    out.rank++;
    out.dim[0] = (Dim){axis, 0};
    for (int d = 0; d < t->rank; d++) out.dim[d + 1] = t->dim[d];
    return out;
}

// The forward repeat's stacked result that holds v of every iteration; made when there is none yet.
static Value *stack_forward(Reversal *r, Value *v) {
    Node *n = r->forward, *y = r->yield;
    Arena *arena = r->a->unit->arena;
    const Axis *axis = n->attr.axes.at[0];
    for (int k = repeat_carries(n); k < n->nresults; k++)
        if (y->args[k] == v) return n->results[k];
    if (v->type.rank == RANK_MAX) {
        diag_error(r->a->unit->diag, v->def ? v->def->loc : n->loc,
                   "this value must be kept for every '%s', but it has as many axes as a value can have", axis->name);
        return NULL;
    }
    Value *stacked = NEW(arena, Value);
    *stacked = (Value){.type = stacked_type(&v->type, axis),
                       .name = v->name,
                       .def = n,
                       .index = n->nresults,
                       .id = r->a->func->next_id++};
    Value **results = NEW_ARRAY(arena, Value *, n->nresults + 1), **args = NEW_ARRAY(arena, Value *, y->nargs + 1);
    if (n->nresults) memcpy(results, n->results, sizeof *results * (size_t)n->nresults);
    if (y->nargs) memcpy(args, y->args, sizeof *args * (size_t)y->nargs);
    results[n->nresults++] = stacked;
    args[y->nargs++] = v;
    n->results = results;
    y->args = args;
    return stacked;
}

// An axis of the same extent under another name, for a value of type t that has the repeat's axis itself.
static const Axis *other_axis(Unit *u, const Axis *axis, const Type *t) {
    Str name = str_internf(u->strs, "%s_kept", axis->name);
    Axis *other = unit_axis(u, name);
    while (other && (other->extent != axis->extent || type_find(t, other) >= 0)) {
        name = str_internf(u->strs, "%s_", name);
        other = unit_axis(u, name);
    }
    return other ? other : unit_add_axis(u, name, axis->extent, axis->loc);
}

// What stands for v in the backward body when the forward repeat stacks v.
static Value *keep(Reversal *r, Value *v) {
    const Axis *axis = r->forward->attr.axes.at[0];
    if (type_find(&v->type, axis) < 0) {
        Value *kept = stack_forward(r, v);
        return kept ? add_slice(r, kept, &v->type, v->name) : NULL;
    }
    Axes own = axes_of(1, axis), other = axes_of(1, other_axis(r->a->unit, axis, &v->type));
    Builder there = builder_before(r->yield), here = builder_before(r->body->first);
    Value *renamed = build_rename(&there, v, &own, &other), *kept = renamed ? stack_forward(r, renamed) : NULL;
    return kept ? build_rename(&here, add_slice(r, kept, &renamed->type, v->name), &other, &own) : NULL;
}

static Value *image_of_param(Reversal *r, Value *v) {
    const Node *n = r->forward;
    int operand = v->index - 1;
    if (operand < 0) return r->iteration;
    if (operand < repeat_carries(n)) return keep(r, v);
    bool sliced = operand < repeat_carries(n) + repeat_stacked(n);
    return sliced ? add_slice(r, n->args[operand], &v->type, v->name)
                  : add_invariant(r, n->args[operand], &v->type, v->name);
}

// What the backward body needs of the forward body, and how it gets it. All by value id.
typedef struct Plan {
    bool *direct;  // an operand in the backward body itself
    bool *needed;  // direct, or needed to compute again what is
    bool *kept;    // stacked although it could be computed again
    Node **stands; // for those: the product they are kept in place of
    bool *saved;   // stacked; set when the policy has decided
    bool decided;
    int *candidate;  // by a node's first result: one more than its number, 0: none
    int *consumers;  // nodes computed again that have it as operand
    Node **consumer; // the first of them
    int *uses;       // in the forward body, saved or not
} Plan;

static void find_direct(const Reversal *r, const Block *b, bool *direct) {
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nargs; i++)
            if (is_forward(r, n->args[i])) direct[n->args[i]->id] = true;
        if (n->body) find_direct(r, n->body, direct);
    }
}

static void count_uses(const Block *b, int *uses) {
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nargs; i++) uses[n->args[i]->id]++;
        if (n->body) count_uses(n->body, uses);
    }
}

static bool any_saved(const Plan *p, const Node *n) {
    bool any = false;
    for (int i = 0; i < n->nresults; i++) any |= p->saved[n->results[i]->id];
    return any;
}

static bool again(const Plan *p, const Node *n) {
    return p->decided ? !any_saved(p, n) : computed_again(n) && !p->kept[n->results[0]->id];
}

static bool any_needed(const Plan *p, const Node *n) {
    bool any = false;
    for (int i = 0; i < n->nresults; i++) any |= p->needed[n->results[i]->id];
    return any;
}

static void find_needed(const Reversal *r, Plan *p) {
    size_t size = (size_t)r->a->func->next_id;
    memcpy(p->needed, p->direct, size * sizeof *p->needed);
    memset(p->consumers, 0, size * sizeof *p->consumers);
    memset(p->consumer, 0, size * sizeof *p->consumer);
    for (Node *n = r->forward->body->last; n; n = n->prev) {
        if (!any_needed(p, n) || !again(p, n)) continue;
        for (int i = 0; i < n->nargs; i++) {
            int id = n->args[i]->id;
            if (!is_forward(r, n->args[i]) || p->consumer[id] == n) continue;
            p->needed[id] = true;
            p->consumers[id]++;
            p->consumer[id] = n;
        }
    }
}

// A value that would be stacked only for one elementwise result of the same size is not: that result is stacked
// instead. So what is kept is the product with its bias, and the sum behind the residual connection, which exist
// anyway.
static bool keep_later(Plan *p, const Value *v) {
    if (!p->needed[v->id] || p->direct[v->id] || p->consumers[v->id] != 1) return false;
    const Node *n = p->consumer[v->id];
    const Value *y = n->results[0];
    if (!(op_info(n->op)->traits & TRAIT_MAP) || p->kept[y->id] || !type_same_dims(&v->type, &y->type) ||
        dtype_bytes(y->type.dtype) > dtype_bytes(v->type.dtype))
        return false;
    p->stands[y->id] = p->stands[v->id] ? p->stands[v->id] : v->def;
    return p->kept[y->id] = true;
}

static bool keep_all_later(const Reversal *r, Plan *p) {
    bool changed = false;
    for (const Node *n = r->forward->body->first; n; n = n->next) {
        bool product = n->op == OP_dot || n->op == OP_attend || n->op == OP_take;
        if (product || (computed_again(n) && p->kept[n->results[0]->id])) changed |= keep_later(p, n->results[0]);
    }
    return changed;
}

// Ranks that share the work over a value with the axes of t.
static MeshSet split_of(const Unit *u, const Type *t) {
    MeshSet set = 0;
    for (int d = 0; u->strategy && d < t->rank; d++) set |= layout_split(u, t->dim[d].axis);
    return set;
}

// What choosing by cost needs to know of the body, in terms of one rank.
static void record(const Reversal *r, const Plan *p) {
    Unit *u = r->a->unit;
    RecomputeBody body = {0};
    double times = 1;
    for (const Node *o = r->forward; o; o = o->parent->owner) times *= (double)o->attr.axes.at[0]->extent;
    for (const Node *n = r->forward->body->first; n; n = n->next) body.n++;
    body.nodes = NEW_ARRAY(u->arena, RecomputeNode, body.n);
    int *number = NEW_ARRAY(r->a->scratch, int, r->a->func->next_id), at = 0; // of the node that makes it, plus one
    for (const Node *n = r->forward->body->first; n; n = n->next) {
        RecomputeNode *node = &body.nodes[at++];
        MeshSet split = 0;
        node->args = NEW_ARRAY(u->arena, int, n->nargs + 1);
        for (int i = 0; i < n->nargs; i++) {
            split |= split_of(u, &n->args[i]->type);
            if (number[n->args[i]->id]) node->args[node->nargs++] = number[n->args[i]->id] - 1;
        }
        node->candidate = n->nresults ? p->candidate[n->results[0]->id] - 1 : -1;
        for (int i = 0; i < n->nresults; i++) {
            const Value *v = n->results[i];
            int64_t elements = 0;
            MeshSet own = split_of(u, &v->type);
            split |= own;
            number[v->id] = at;
            node->direct |= p->direct[v->id];
            if (node->candidate < 0 || !p->needed[v->id] || !type_elements(&v->type, &elements)) continue;
            double ways = u->strategy ? (double)mesh_extent(&u->strategy->mesh, own) : 1;
            node->bytes += times * (double)elements * dtype_bytes(v->type.dtype) / ways;
        }
        node->flops = times * node_work(u, n).flops;
        if (u->strategy) node->flops /= (double)mesh_extent(&u->strategy->mesh, split);
    }
    vec_push(u->arena, &u->recompute->bodies, body);
}

// Lets the strategy drop what would be kept. All results of a node share its fate.
static void decide(const Reversal *r, Plan *p) {
    Unit *u = r->a->unit;
    for (Node *n = r->forward->body->first; n; n = n->next) {
        if (n->op == OP_yield || !any_needed(p, n) || again(p, n)) continue;
        Node *product = p->stands[n->results[0]->id];
        int number = u->recompute->candidates++;
        p->candidate[n->results[0]->id] = number + 1;
        bool keeps = recompute_keeps(u, number, n, product ? product : n);
        for (int i = 0; i < n->nresults; i++) p->saved[n->results[i]->id] = keeps;
    }
    if (u->recompute->trial) record(r, p);
    p->decided = true;
    find_needed(r, p);
}

static Plan plan_values(const Reversal *r) {
    Arena *scratch = r->a->scratch;
    int size = r->a->func->next_id;
    Plan p = {.direct = NEW_ARRAY(scratch, bool, size),
              .needed = NEW_ARRAY(scratch, bool, size),
              .kept = NEW_ARRAY(scratch, bool, size),
              .stands = NEW_ARRAY(scratch, Node *, size),
              .saved = NEW_ARRAY(scratch, bool, size),
              .candidate = NEW_ARRAY(scratch, int, size),
              .consumers = NEW_ARRAY(scratch, int, size),
              .consumer = NEW_ARRAY(scratch, Node *, size),
              .uses = NEW_ARRAY(scratch, int, size)};
    count_uses(r->forward->body, p.uses);
    find_direct(r, r->body, p.direct);
    find_needed(r, &p);
    for (int round = 0; round < 8 && keep_all_later(r, &p); round++) find_needed(r, &p);
    decide(r, &p);
    return p;
}

static void substitute(const Reversal *r, Block *b) {
    for (Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nargs; i++)
            if (is_forward(r, n->args[i])) n->args[i] = r->image[n->args[i]->id];
        if (n->body) substitute(r, n->body);
    }
}

static void mark_again(Node *n) {
    n->again = true;
    for (Node *b = n->body ? n->body->first : NULL; b; b = b->next) mark_again(b);
}

// The node once more in front of `at`, its body included (bodies are closed).
static void copy_before(Reversal *r, Node *at, const Node *n) {
    Node *c = node_clone(r->a->func, at->parent, n, r->image);
    node_remove(c);
    node_insert_before(at, c);
    mark_again(c);
}

// Replaces forward values in the backward body: by slices of what the forward repeat stacks, by what both repeats are
// given, or by computing them again at the body's beginning.
static bool bring_forward_values(Reversal *r) {
    Block *from = r->forward->body;
    Plan p = plan_values(r);
    r->image = NEW_ARRAY(r->a->scratch, Value *, r->a->func->next_id);
    Node *at = r->body->first, *last = r->yield->prev; // keep() puts nodes behind the author's last
    for (int i = 0; i < from->nparams; i++) {
        if (!p.needed[from->params[i]->id]) continue;
        if (!(r->image[from->params[i]->id] = image_of_param(r, from->params[i]))) return false;
    }
    for (Node *n = last ? from->first : NULL; n; n = n == last ? NULL : n->next) {
        if (!any_needed(&p, n)) continue;
        if (again(&p, n)) {
            copy_before(r, at, n);
            continue;
        }
        for (int i = 0; i < n->nresults; i++) {
            Value *v = n->results[i];
            if (!p.needed[v->id]) continue;
            if (!(r->image[v->id] = keep(r, v))) return false;
        }
    }
    substitute(r, r->body);
    return true;
}

// ---- the backward repeat ----

static void push_all(Arena *scratch, Values *into, const Values *more) {
    for (int i = 0; i < more->n; i++) vec_push(scratch, into, more->at[i]);
}

// Makes the node from what was gathered and sets x->d of the operands numbered by carry_of and stack_of.
static Node *build_reverse(Reversal *r) {
    Arena *scratch = r->a->scratch;
    Values params = {0}, args = {0};
    vec_push(scratch, &params, r->iteration);
    push_all(scratch, &params, &r->carry_params);
    push_all(scratch, &params, &r->slice_params);
    push_all(scratch, &params, &r->invariant_params);
    push_all(scratch, &args, &r->carry_args);
    push_all(scratch, &args, &r->slice_args);
    push_all(scratch, &args, &r->invariant_args);
    for (int i = 0; i < params.n; i++) {
        r->body->params[i] = params.at[i];
        params.at[i]->index = i;
    }
    const Node *n = r->forward, *y = block_yield(r->body);
    Attr attr = {.axes = n->attr.axes, .i = r->carry_args.n, .j = r->slice_args.n, .flag = !n->attr.flag};
    Node *reverse = node_new(r->a->func, OP_repeat, args.at, args.n, y->nargs, &attr, n->loc);
    reverse->body = r->body;
    r->body->owner = reverse;
    for (int k = 0; k < y->nargs; k++) {
        const Type *t = &y->args[k]->type;
        reverse->results[k]->type = k < attr.i ? *t : stacked_type(t, attr.axes.at[0]);
        reverse->results[k]->name = y->args[k]->name;
    }
    if (r->x->b->before) node_insert_before(r->x->b->before, reverse);
    else node_append(r->x->b->block, reverse);
    return reverse;
}

bool gradient_repeat(Gradient *x) {
    Node *n = x->node;
    Autodiff *a = x->autodiff;
    Reversal r = {.a = a, .x = x, .forward = n, .yield = block_yield(n->body)};
    int carries = repeat_carries(n), stacked = repeat_stacked(n);
    r.body = block_new(a->func, NULL);
    r.in = builder_at_end(r.body, n->loc);
    r.iteration = block_add_param(r.body, &n->body->params[0]->type, n->body->params[0]->name);

    bool *through = reached_carries(&r);
    for (int k = 0; k < n->nresults; k++) {
        Value *last = r.yield->args[k], *g = x->g[k], *d;
        if (k < carries ? !through[k] : !g || !autodiff_active(a, last)) continue;
        Str name = last->name ? str_internf(a->unit->strs, "d_%s", last->name) : NULL;
        if (k < carries) d = add_carry(&r, g ? g : autodiff_zero(x->b, &last->type), &last->type, name);
        else d = add_slice(&r, g, &last->type, name);
        if (autodiff_active(a, last)) autodiff_accumulate(a, &r.in, last, d);
    }
    if (!autodiff_walk(a, r.yield->prev, &r.in)) return false;

    int *result_of = NEW_ARRAY(a->scratch, int, n->nargs + 1); // operand -> 1 + number among carries or stacked
    for (int i = 0; i < n->nargs; i++) {
        Value *p = n->body->params[1 + i], *d = a->cotangent[p->id];
        if (i < carries) {
            if (!through[i]) continue;
            vec_push(a->scratch, &r.carry_yields, d ? d : autodiff_zero(&r.in, &p->type));
            result_of[i] = r.carry_yields.n;
        } else if (d && i < carries + stacked) {
            vec_push(a->scratch, &r.stack_yields, d);
            result_of[i] = r.stack_yields.n;
        } else if (d) {
            Value *so_far = add_carry(&r, autodiff_zero(x->b, &p->type), &p->type, d->name);
            vec_push(a->scratch, &r.carry_yields, build_map(&r.in, OP_add, so_far, d, NULL));
            result_of[i] = r.carry_yields.n;
        }
    }
    Values yields = {0};
    push_all(a->scratch, &yields, &r.carry_yields);
    push_all(a->scratch, &yields, &r.stack_yields);
    if (!yields.n) return true;
    node_append(r.body, node_new(a->func, OP_yield, yields.at, yields.n, 0, NULL, n->loc));
    simplify_dead_body(r.body);
    if (!bring_forward_values(&r)) return false;
    Node *reverse = build_reverse(&r);
    for (int i = 0; i < n->nargs; i++) {
        if (!result_of[i] || !x->wanted[i]) continue;
        bool slice = i >= carries && i < carries + stacked;
        x->d[i] = reverse->results[result_of[i] - 1 + (slice ? r.carry_yields.n : 0)];
    }
    return true;
}
