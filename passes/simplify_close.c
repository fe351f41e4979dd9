// SPDX-License-Identifier: Apache-2.0
// simplify_close: the normal form of repeat that passes work on: a body uses nothing but its own values.
#include "passes/simplify.h"

typedef struct Closing {
    Func *func;
    Value **inside; // by id of an outer value: the body parameter that stands for it
    bool *own;      // by value id: defined in the body
    Vec(Value *) added;
} Closing;

static void own_block(Closing *c, const Block *b) {
    for (int i = 0; i < b->nparams; i++) c->own[b->params[i]->id] = true;
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nresults; i++) c->own[n->results[i]->id] = true;
        if (n->body) own_block(c, n->body);
    }
}

static void close_uses(Closing *c, Node *repeat, Block *b) {
    for (Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nargs; i++) {
            Value *v = n->args[i];
            if (c->own[v->id]) continue;
            if (!c->inside[v->id]) {
                c->inside[v->id] = block_add_param(repeat->body, &v->type, v->name);
                vec_push(c->func->unit->scratch, &c->added, v);
            }
            n->args[i] = c->inside[v->id];
        }
        if (n->body) close_uses(c, repeat, n->body);
    }
}

static bool close_repeat(Func *f, Node *n) {
    Arena *scratch = f->unit->scratch;
    Closing c = {.func = f};
    c.inside = NEW_ARRAY(scratch, Value *, f->next_id);
    c.own = NEW_ARRAY(scratch, bool, f->next_id);
    own_block(&c, n->body);
    // An operand that is already an invariant stands for itself.
    for (int i = repeat_carries(n) + repeat_stacked(n); i < n->nargs; i++)
        c.inside[n->args[i]->id] = n->body->params[1 + i];
    close_uses(&c, n, n->body);
    if (!c.added.n) return false;
    Value **args = NEW_ARRAY(f->unit->arena, Value *, n->nargs + c.added.n);
    if (n->nargs) memcpy(args, n->args, sizeof *args * (size_t)n->nargs);
    memcpy(args + n->nargs, c.added.at, sizeof *args * (size_t)c.added.n);
    n->args = args;
    n->nargs += c.added.n;
    return true;
}

static bool close_block(Func *f, Block *b) {
    bool changed = false;
    for (Node *n = b->first; n; n = n->next) {
        if (!n->body) continue;
        changed |= close_block(f, n->body); // what an inner body takes from further out, the outer body then takes
        if (n->op == OP_repeat) changed |= close_repeat(f, n);
    }
    return changed;
}

bool repeat_close_bodies(Func *f) { return close_block(f, f->top); }
