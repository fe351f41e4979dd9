// SPDX-License-Identifier: Apache-2.0
// simplify_dead: dead code, through repeats. A value is live when an effect (output, assign) needs it; a carry of a
// repeat is live when its final value is, or when the body uses it for something live.
//
//   %c, %d, %s = repeat %x, %y, %w over layer carry 2 stack 1 { ... }     only %c used, and the body's second carry
//   only %c         = repeat %x, %w     over layer carry 1 stack 1 { ... }     feeds itself: it goes, and so does %s
#include "passes/simplify.h"

bool node_is_pure(const Node *n) { return !(op_info(n->op)->traits & TRAIT_EFFECT); }

typedef struct Liveness {
    bool *live; // by value id
    Arena *arena;
} Liveness;

static bool any_live(const Liveness *l, const Node *n) {
    for (int i = 0; i < n->nresults; i++)
        if (l->live[n->results[i]->id]) return true;
    return false;
}

static void live_block(Liveness *l, const Block *b);

static bool carry_live(const Liveness *l, const Node *n, int k) {
    return l->live[n->results[k]->id] || l->live[n->body->params[1 + k]->id];
}

static void live_repeat(Liveness *l, const Node *n) {
    const Node *yield = block_yield(n->body);
    int carries = repeat_carries(n);
    for (bool changed = true; changed;) {
        changed = false;
        bool *before = arena_alloc(l->arena, (size_t)carries + 1);
        for (int k = 0; k < carries; k++) before[k] = carry_live(l, n, k);
        for (int k = 0; k < n->nresults; k++) {
            bool needed = k < carries ? carry_live(l, n, k) : l->live[n->results[k]->id];
            if (needed) l->live[yield->args[k]->id] = true;
        }
        live_block(l, n->body);
        for (int k = 0; k < carries; k++) changed |= carry_live(l, n, k) && !before[k];
    }
    for (int i = 0; i < n->nargs; i++) {
        bool needed = i < carries ? carry_live(l, n, i) : l->live[n->body->params[1 + i]->id];
        if (needed) l->live[n->args[i]->id] = true;
    }
}

static void live_block(Liveness *l, const Block *b) {
    for (const Node *n = b->last; n; n = n->prev) {
        if (n->op == OP_yield) continue; // its owner decides
        if (node_is_pure(n) && !any_live(l, n)) continue;
        if (n->op == OP_repeat) {
            live_repeat(l, n);
            continue;
        }
        for (int i = 0; i < n->nargs; i++) l->live[n->args[i]->id] = true;
        if (n->body) {
            const Node *yield = block_yield(n->body);
            for (int i = 0; i < yield->nargs; i++) l->live[yield->args[i]->id] = true;
            live_block(l, n->body);
        }
    }
}

static int keep_values(Value **values, int count, const bool *keep, bool renumber) {
    int kept = 0;
    for (int i = 0; i < count; i++) {
        if (!keep[i]) continue;
        if (renumber) values[i]->index = kept;
        values[kept++] = values[i];
    }
    return kept;
}

static bool sweep_repeat(const Liveness *l, Node *n) {
    Node *yield = block_yield(n->body);
    int carries = repeat_carries(n), stacked = repeat_stacked(n), nparams = n->body->nparams;
    bool *param = arena_alloc(l->arena, (size_t)nparams), *result = arena_alloc(l->arena, (size_t)n->nresults + 1);
    param[0] = true;
    int kept_carries = 0, kept_stacked = 0;
    for (int i = 0; i < n->nargs; i++) {
        param[1 + i] = i < carries ? carry_live(l, n, i) : l->live[n->body->params[1 + i]->id];
        if (!param[1 + i]) continue;
        kept_carries += i < carries;
        kept_stacked += i >= carries && i < carries + stacked;
    }
    for (int k = 0; k < n->nresults; k++) result[k] = k < carries ? param[1 + k] : l->live[n->results[k]->id];
    int nargs = n->nargs, nresults = n->nresults;
    n->nargs = keep_values(n->args, n->nargs, param + 1, false);
    n->body->nparams = keep_values(n->body->params, nparams, param, true);
    n->nresults = keep_values(n->results, n->nresults, result, true);
    yield->nargs = keep_values(yield->args, yield->nargs, result, false);
    n->attr.i = kept_carries;
    n->attr.j = kept_stacked;
    return n->nargs != nargs || n->nresults != nresults;
}

static bool sweep_block(const Liveness *l, Block *b) {
    bool changed = false;
    for (Node *n = b->last, *prev; n; n = prev) { // users before what they use
        prev = n->prev;
        if (node_is_pure(n) && !any_live(l, n)) {
            node_remove(n);
            changed = true;
            continue;
        }
        if (n->op == OP_repeat) changed |= sweep_repeat(l, n);
        if (n->body) changed |= sweep_block(l, n->body);
    }
    return changed;
}

bool simplify_dead(Func *f) {
    Liveness l = {arena_alloc(f->unit->scratch, (size_t)f->next_id), f->unit->scratch};
    live_block(&l, f->top);
    return sweep_block(&l, f->top);
}

static void mark_args(bool *live, const Block *b) {
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nargs; i++) live[n->args[i]->id] = true;
        if (n->body) mark_args(live, n->body);
    }
}

void simplify_dead_body(Block *body) {
    Liveness l = {arena_alloc(body->func->unit->scratch, (size_t)body->func->next_id), body->func->unit->scratch};
    for (Node *n = body->last, *prev; n; n = prev) {
        prev = n->prev;
        if (node_is_pure(n) && !any_live(&l, n)) {
            node_remove(n);
            continue;
        }
        for (int i = 0; i < n->nargs; i++) l.live[n->args[i]->id] = true;
        if (n->body) mark_args(l.live, n->body);
    }
}
