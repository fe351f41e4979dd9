// SPDX-License-Identifier: Apache-2.0
// simplify: makes a unit smaller without changing its numbers: folds constants, applies exact identities, merges equal
// nodes of a block, moves loop-invariant work out of repeats, removes dead code; until nothing changes.
//
//   %1 = const value 1 ; %2: f32[b, v] = expand %1 ; %3 = mul %2, %e ; %4 = neg %3 ; %5 = neg %4
//   becomes: uses of %5 use %e
#include "passes/simplify.h"
#include "passes/pass.h"

enum { ROUNDS_MAX = 50 };

typedef struct Rewriting {
    Func *func;
    Arena *scratch;
    Vec(Value *) instead; // by value id: what it was replaced by
    bool drop_stops;      // autodiff has been here, or never comes
    bool changed;
} Rewriting;

static Value *current(const Rewriting *r, Value *v) {
    while (v->id < r->instead.n && r->instead.at[v->id]) v = r->instead.at[v->id];
    return v;
}

static void replace(Rewriting *r, Value *v, Value *by) {
    if (v == by) return;
    if (v->id >= r->instead.n) {
        vec_reserve(r->scratch, &r->instead, r->func->next_id + 1);
        r->instead.n = r->func->next_id + 1; // fresh arena memory is zero
    }
    r->instead.at[v->id] = by;
    v->became = by;
    if (!by->name && by->def) by->name = v->name;
    r->changed = true;
}

// ---- equal nodes ----

static bool attr_equal(const Attr *a, const Attr *b) {
    return axes_equal(&a->axes, &b->axes) && axes_equal(&a->to, &b->to) && a->i == b->i && a->j == b->j &&
           !memcmp(&a->f, &b->f, sizeof a->f) && a->dtype == b->dtype && a->mesh == b->mesh && a->flag == b->flag &&
           a->s == b->s && a->s2 == b->s2;
}

static bool node_equal(const Node *a, const Node *b) {
    if (a->op != b->op || a->nargs != b->nargs || a->nresults != b->nresults || !attr_equal(&a->attr, &b->attr))
        return false;
    bool same = true;
    for (int i = 0; i < a->nargs; i++) same &= a->args[i] == b->args[i];
    if (!same && op_info(a->op)->traits & TRAIT_COMMUTES) same = a->args[0] == b->args[1] && a->args[1] == b->args[0];
    for (int i = 0; i < a->nresults; i++) same = same && type_equal(&a->results[i]->type, &b->results[i]->type);
    return same;
}

static uint64_t mix(uint64_t h, uint64_t x) {
    h = (h ^ x) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

static uint64_t node_hash(const Node *n) { // by ids, not addresses: the order of work must not depend on memory
    uint64_t h = mix(0, n->op), f, args = 0;
    memcpy(&f, &n->attr.f, sizeof f);
    for (int i = 0; i < n->nargs; i++) args += mix(1, (uint64_t)n->args[i]->id); // a sum: operands may be swapped
    return mix(mix(mix(mix(h, args), f), (uint64_t)n->attr.i), (uint64_t)n->attr.j);
}

typedef struct Seen { // the nodes of a block so far, by hash
    Node **at;
    uint64_t mask;
} Seen;

static Seen seen_new(Arena *scratch, const Block *b) {
    uint64_t count = 0, size = 16;
    for (const Node *n = b->first; n; n = n->next) count++;
    while (size < 2 * count) size *= 2;
    return (Seen){NEW_ARRAY(scratch, Node *, size), size - 1};
}

static Node *seen_or_add(Seen *s, Node *n) { // an equal earlier node, or NULL
    for (uint64_t i = node_hash(n) & s->mask;; i = (i + 1) & s->mask) {
        if (!s->at[i]) {
            s->at[i] = n;
            return NULL;
        }
        if (node_equal(s->at[i], n)) return s->at[i];
    }
}

// ---- a round ----

static void rewrite_block(Rewriting *r, Block *b) {
    Seen seen = seen_new(r->scratch, b);
    FOR_NODES(n, b) {
        for (int i = 0; i < n->nargs; i++) n->args[i] = current(r, n->args[i]);
        if (n->body) rewrite_block(r, n->body);
        if (n->body || !node_is_pure(n)) continue;
        r->changed |= simplify_operands(n);
        Value *by = NULL;
        if (n->nresults == 1) {
            if (n->op == OP_stop && r->drop_stops) by = n->args[0];
            if (!by) by = simplify_fold(n);
            if (!by) by = simplify_identity(n);
            if (!by) by = simplify_view(n);
        }
        if (by) {
            replace(r, n->results[0], by);
            continue;
        }
        Node *same = seen_or_add(&seen, n);
        for (int i = 0; same && i < n->nresults; i++) replace(r, n->results[i], same->results[i]);
    }
}

static bool simplify_rewrite(Func *f, bool drop_stops) {
    Rewriting r = {.func = f, .scratch = f->unit->scratch, .drop_stops = drop_stops};
    rewrite_block(&r, f->top);
    return r.changed;
}

static bool awaits_autodiff(const Func *f) {
    if (strcmp(f->name, "train")) return false;
    for (const Node *n = f->top->first; n; n = n->next)
        if (n->op == OP_assign || (n->op == OP_output && !strncmp(n->attr.s, "grad.", 5))) return false;
    return true;
}

bool pass_simplify(Unit *u) {
    for (int i = 0; i < u->funcs.n; i++) {
        Func *f = u->funcs.at[i];
        repeat_close_bodies(f);
        bool changed = true, drop = !awaits_autodiff(f);
        for (int round = 0; changed && round < ROUNDS_MAX; round++) {
            changed = simplify_rewrite(f, drop);
            changed |= simplify_repeats(f);
            simplify_dead(f);
        }
    }
    return true;
}
