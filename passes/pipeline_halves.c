// SPDX-License-Identifier: Apache-2.0
// pipeline_halves: the layers' backward repeat in two, for schedules that do gradients of parameters apart (zero
// bubble; Qi et al. 2023, section 2). What the gradient of the input needs stays; the rest goes to a repeat of its own
// behind it, which reads what both need: kept, stacked over layers, or made again where it is elementwise and made
// again already.
//
//   %d_x2, %d_w = repeat %d_x, %h, %w over layer carry 1 reverse {     %d_x2, %k = repeat %d_x, %h, %w carry 1 reverse
//   {
//       ^ %i, %d, %hl, %wl                                                 ^ %i, %d, %hl, %wl
//       %e = dot %d, %wl over out                  becomes                 %e = dot %d, %wl over out
//       %g = dot %hl, %d over batch                                        yield %e, %d
//       yield %e, %g                                                   }
//   }                                                                  %d_w = repeat %h, %k over layer reverse {
//                                                                          ^ %i, %hl, %d
//                                                                          yield dot %hl, %d over batch
//                                                                      }
#include "passes/pipeline.h"
#include "passes/simplify.h"

typedef struct Halves {
    Cut *c;
    Node *repeat;                // the one being cut
    Node *weight;                // the new one
    bool *input;                 // by value id: the gradient of the input needs it
    bool *moves;                 // by result: goes to `weight`
    Value **map;                 // from repeat's body to weight's
    Vec(Value *) shared, slices; // values of repeat's body that weight reads, and its parameters for them
} Halves;

static void need(Halves *h, const Value *v) {
    if (h->input[v->id]) return;
    h->input[v->id] = true;
    for (int i = 0; v->def && i < v->def->nargs; i++) need(h, v->def->args[i]);
}

static bool choose(Halves *h) {
    const Node *yield = block_yield(h->repeat->body);
    bool any = false;
    for (int k = 0; k < repeat_carries(h->repeat); k++) need(h, yield->args[k]);
    for (int k = repeat_carries(h->repeat); k < yield->nargs; k++) {
        const Type *t = &h->repeat->results[k]->type;
        any |= h->moves[k] = t->sum & h->c->time && !h->input[yield->args[k]->id];
    }
    return any;
}

// Elementwise, and made again from what the forward half kept: cheaper than to keep it. Or nothing of a microbatch,
// such as a parameter's parts gathered.
static bool made_again(const Cut *c, const Node *n) {
    OpKind op = n->op;
    const Type *t = &n->results[0]->type;
    if (!((type_split(t) | t->sum | t->max) & c->time)) return true;
    return op == OP_const || op == OP_index || op == OP_random ||
           (n->again && op_info(op)->traits & (TRAIT_MAP | TRAIT_VIEW));
}

// What v of the repeat's body is in the weight's. Values both halves need are listed once.
static Value *in_weight(Halves *h, Value *v) {
    if (h->map[v->id]) return h->map[v->id];
    Func *f = h->c->from;
    const Node *d = v->def;
    bool carried = !d && v->index >= 1 && v->index <= repeat_carries(h->repeat);
    if (carried || (d && h->input[v->id] && !made_again(h->c, d))) {
        Value *slice = block_add_param(h->weight->body, &v->type, v->name);
        vec_push(h->c->a, &h->shared, v);
        vec_push(h->c->a, &h->slices, slice);
        return h->map[v->id] = slice;
    }
    for (int i = 0; i < d->nargs; i++) in_weight(h, d->args[i]);
    node_clone(f, h->weight->body, d, h->map);
    return h->map[v->id];
}

static void begin_body(Halves *h) {
    const Block *from = h->repeat->body;
    Block *body = h->weight->body = block_new(h->c->from, h->weight);
    for (int i = 0; i < from->nparams; i++)
        if (i == 0 || i > repeat_carries(h->repeat))
            h->map[from->params[i]->id] = block_add_param(body, &from->params[i]->type, from->params[i]->name);
}

// Parameters stand in the order of operands: slices of what was stacked before, slices of shared values, invariants.
static void end_body(Halves *h, Value **yields, int count) {
    Node *w = h->weight, *r = h->repeat;
    Func *f = h->c->from;
    int carries = repeat_carries(r), stacked = repeat_stacked(r), shared = h->shared.n;
    int invariants = r->nargs - carries - stacked;
    Node *yield = node_new(f, OP_yield, yields, count, 0, NULL, r->loc);
    node_append(w->body, yield);
    w->nargs = stacked + shared + invariants;
    w->args = NEW_ARRAY(h->c->u->arena, Value *, w->nargs + 1);
    Value **params = NEW_ARRAY(h->c->u->arena, Value *, w->nargs + 1);
    params[0] = w->body->params[0];
    for (int i = 0; i < w->nargs; i++) {
        bool is_shared = i >= stacked && i < stacked + shared;
        int old = i < stacked ? i : i - shared; // among the repeat's, behind its carries
        if (is_shared) {
            Value *out = repeat_stack(r, h->shared.at[i - stacked]);
            out->type.dim[0].split = h->c->stages;
            w->args[i] = out;
            params[1 + i] = h->slices.at[i - stacked];
        } else {
            w->args[i] = r->args[carries + old];
            params[1 + i] = h->map[r->body->params[1 + carries + old]->id];
        }
    }
    w->body->params = params;
    w->body->nparams = 1 + w->nargs;
    for (int i = 0; i < w->body->nparams; i++) params[i]->index = i;
    w->attr.i = 0;
    w->attr.j = stacked + shared;
}

bool cut_halves(Cut *c) {
    Halves h = {.c = c};
    for (Node *n = c->from->top->first; n; n = n->next)
        if (n->op == OP_repeat && n->attr.axes.at[0] == c->axis && n->attr.flag) h.repeat = n;
    if (!h.repeat) return true;
    h.input = NEW_ARRAY(c->a, bool, c->from->next_id);
    h.moves = NEW_ARRAY(c->a, bool, h.repeat->nresults);
    h.map = NEW_ARRAY(c->a, Value *, c->from->next_id);
    if (!choose(&h)) return true;
    int count = 0, results = h.repeat->nresults;
    for (int k = 0; k < results; k++) count += h.moves[k];
    h.weight = node_new(c->from, OP_repeat, NULL, 0, count, &h.repeat->attr, h.repeat->loc);
    h.weight->scope = h.repeat->scope;
    node_insert_after(h.repeat, h.weight);
    begin_body(&h);
    Value **yields = NEW_ARRAY(c->a, Value *, count);
    const Node *yield = block_yield(h.repeat->body);
    for (int k = 0, i = 0; k < results; k++)
        if (h.moves[k]) yields[i++] = in_weight(&h, yield->args[k]);
    end_body(&h, yields, count);
    for (int k = 0, i = 0; k < results; k++) {
        if (!h.moves[k]) continue;
        Value *to = h.weight->results[i++];
        to->type = h.repeat->results[k]->type;
        to->name = h.repeat->results[k]->name;
        layout_replace(c->from, h.repeat->results[k], to, NULL);
    }
    c->weight = h.weight;
    simplify_dead(c->from);
    return true;
}
