// SPDX-License-Identifier: Apache-2.0
// simplify_repeat: what a repeat computes the same in every iteration, or is given twice.
//
//   %y = repeat %x, %t over layer carry 1 { ^ %i, %c, %ti ; %s = sin %ti ; %n = mul %c, %s ; yield %n }
//   becomes
//   %s = sin %t
//   %y = repeat %x, %s over layer carry 1 { ^ %i, %c, %si ; %n = mul %c, %si ; yield %n }
#include "passes/simplify.h"

// What moves out of a repeat must cost at least this many operations an element, and be kept in at most this many
// elements, unless the op is not elementwise.
enum { HOIST_FLOPS = 8, HOIST_ELEMENTS = 1 << 20, HEAVY = 1000 };

static bool replace(Func *f, Value *from, Value *to) {
    if (from == to) return false;
    value_replace_uses(f, from, to);
    return true;
}

static bool used_in(const Block *b, const Value *v) {
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nargs; i++)
            if (n->args[i] == v) return true;
        if (n->body && used_in(n->body, v)) return true;
    }
    return false;
}

static Value *add_invariant(Node *n, Value *v) {
    Value **args = NEW_ARRAY(n->parent->func->unit->arena, Value *, n->nargs + 1);
    if (n->nargs) memcpy(args, n->args, sizeof *args * (size_t)n->nargs);
    args[n->nargs++] = v;
    n->args = args;
    return block_add_param(n->body, &v->type, v->name);
}

// ---- operands and results ----

static void remove_at(Value **values, int *count, int at, bool renumber) {
    for (int i = at + 1; i < *count; i++) {
        values[i - 1] = values[i];
        if (renumber) values[i - 1]->index = i - 1;
    }
    --*count;
}

static bool constant_carries(Func *f, Node *n) {
    bool changed = false;
    Node *yield = block_yield(n->body);
    for (int k = 0; k < repeat_carries(n); k++) {
        Value *param = n->body->params[1 + k], *arg = n->args[k];
        if (yield->args[k] != param) continue;
        value_replace_uses(f, n->results[k], arg);
        remove_at(n->results, &n->nresults, k, true);
        remove_at(yield->args, &yield->nargs, k, false);
        remove_at(n->args, &n->nargs, k, false);
        remove_at(n->body->params, &n->body->nparams, 1 + k, true);
        n->attr.i--;
        value_replace_uses(f, param, add_invariant(n, arg));
        changed = true;
        k--;
    }
    return changed;
}

// Constants and indices are made where they are used.
static bool sink_constants(Func *f, Node *n) {
    bool changed = false;
    for (int i = repeat_carries(n) + repeat_stacked(n); i < n->nargs; i++) {
        const Node *def = n->args[i]->def;
        Value *param = n->body->params[1 + i];
        if (!def || (def->op != OP_const && def->op != OP_index) || !used_in(n->body, param)) continue;
        Node *copy = node_new(f, def->op, NULL, 0, 1, &def->attr, def->loc);
        copy->results[0]->type = def->results[0]->type;
        copy->results[0]->name = def->results[0]->name;
        node_insert_before(n->body->first, copy);
        changed |= replace(f, param, copy->results[0]);
    }
    return changed;
}

// A stacked operand that is the same at every place of the axis is an invariant.
static bool unstack_constants(Func *f, Node *n) {
    bool changed = false;
    for (int i = repeat_carries(n); i < repeat_carries(n) + repeat_stacked(n); i++) {
        Value *param = n->body->params[1 + i], *narrow = n->args[i];
        while (narrow->def && narrow->def->op == OP_expand) narrow = narrow->def->args[0];
        if (narrow == n->args[i] || type_find(&narrow->type, n->attr.axes.at[0]) >= 0) continue;
        if (!used_in(n->body, param)) continue;
        Builder b = builder_before(n->body->first);
        Value *all = build_expand(&b, add_invariant(n, narrow), &param->type);
        if (all && type_equal(&all->type, &param->type)) changed |= replace(f, param, all);
    }
    return changed;
}

static bool merge_operands(Func *f, Node *n) {
    bool changed = false;
    int carries = repeat_carries(n), behind = carries + repeat_stacked(n);
    for (int i = carries; i < n->nargs; i++)
        for (int j = carries; j < i; j++) {
            if (n->args[i] != n->args[j] || (i < behind) != (j < behind)) continue;
            if (used_in(n->body, n->body->params[1 + i]))
                changed |= replace(f, n->body->params[1 + i], n->body->params[1 + j]);
            break;
        }
    return changed;
}

static bool merge_results(Func *f, Node *n) {
    const Node *yield = block_yield(n->body);
    int carries = repeat_carries(n), behind = carries + repeat_stacked(n);
    bool changed = false;
    for (int i = carries; i < n->nresults; i++) {
        Value *v = yield->args[i], *by = NULL;
        for (int j = carries; j < i && !by; j++)
            if (yield->args[j] == v) by = n->results[j];
        if (!by && v->block == n->body && v->index > carries) { // a slice or an invariant, stacked again
            int operand = v->index - 1;
            if (operand < behind) {
                by = n->args[operand];
            } else {
                Builder b = builder_before(n);
                by = build_expand(&b, n->args[operand], &n->results[i]->type);
            }
        }
        if (!by || !type_equal(&by->type, &n->results[i]->type) || !used_in(f->top, n->results[i])) continue;
        changed |= replace(f, n->results[i], by);
    }
    return changed;
}

// ---- loop-invariant work ----

typedef struct Hoist {
    Func *func;
    Node *repeat;
    bool *invariant; // by value id: the same in every iteration
    double *cost;    // by value id: operations an element, with what it is computed from
    bool *inside;    // by value id: used by what stays in the body
    bool *outside;   // by value id: used by what moves
    Value **moved;   // by value id: its copy in front of the repeat
} Hoist;

static bool elementwise(const Node *n) {
    if (op_info(n->op)->traits & (TRAIT_MAP | TRAIT_VIEW)) return true;
    return n->op == OP_const || n->op == OP_index || n->op == OP_place || n->op == OP_concat || n->op == OP_mask;
}

static void find_invariant(Hoist *h) {
    const Node *n = h->repeat;
    for (int i = repeat_carries(n) + repeat_stacked(n); i < n->nargs; i++)
        h->invariant[n->body->params[1 + i]->id] = true;
    for (const Node *m = n->body->first; m; m = m->next) {
        bool all = node_is_pure(m) && !m->body && m->op != OP_random;
        double cost = elementwise(m) ? op_info(m->op)->flops : HEAVY;
        for (int i = 0; i < m->nargs; i++) {
            all &= h->invariant[m->args[i]->id];
            cost += h->cost[m->args[i]->id];
        }
        for (int i = 0; i < m->nresults; i++) {
            h->invariant[m->results[i]->id] = all;
            h->cost[m->results[i]->id] = cost;
        }
    }
}

static bool worth_moving(const Hoist *h, const Node *m) {
    int64_t elements;
    if (m->nresults < 1 || h->cost[m->results[0]->id] < HOIST_FLOPS) return false;
    if (!elementwise(m)) return true;
    if (!(op_info(m->op)->traits & TRAIT_MAP)) return false; // views stay; what they show may move
    return type_elements(&m->results[0]->type, &elements) && elements <= HOIST_ELEMENTS;
}

static void mark(const Hoist *h, const Node *m, bool *used) {
    for (int i = 0; i < m->nargs; i++)
        if (h->invariant[m->args[i]->id]) used[m->args[i]->id] = true;
}

static bool any(const Node *m, const bool *flags) {
    bool yes = false;
    for (int i = 0; i < m->nresults; i++) yes |= flags[m->results[i]->id];
    return yes;
}

static Node *copy_outside(Hoist *h, const Node *m) {
    Node *n = h->repeat, *copy = node_new(h->func, m->op, m->args, m->nargs, m->nresults, &m->attr, m->loc);
    for (int i = 0; i < m->nargs; i++) {
        const Value *v = m->args[i];
        copy->args[i] = v->block == n->body ? n->args[v->index - 1] : h->moved[v->id];
    }
    for (int i = 0; i < m->nresults; i++) {
        copy->results[i]->type = m->results[i]->type;
        copy->results[i]->name = m->results[i]->name;
        h->moved[m->results[i]->id] = copy->results[i];
    }
    node_insert_before(n, copy);
    return copy;
}

static bool hoist(Func *f, Node *n) {
    Arena *scratch = f->unit->scratch;
    size_t size = (size_t)f->next_id;
    Hoist h = {.func = f, .repeat = n};
    h.invariant = NEW_ARRAY(scratch, bool, size);
    h.cost = NEW_ARRAY(scratch, double, size);
    h.inside = NEW_ARRAY(scratch, bool, size);
    h.outside = NEW_ARRAY(scratch, bool, size);
    h.moved = NEW_ARRAY(scratch, Value *, size);
    find_invariant(&h);
    bool *leaves = NEW_ARRAY(scratch, bool, size); // moves and is still used in the body
    bool changed = false;
    for (const Node *m = n->body->last; m; m = m->prev) {
        bool invariant = m->nresults && h.invariant[m->results[0]->id], in = any(m, h.inside);
        bool moves = invariant && in && worth_moving(&h, m);
        for (int i = 0; moves && i < m->nresults; i++) leaves[m->results[i]->id] = h.inside[m->results[i]->id];
        if (moves || (invariant && any(m, h.outside))) {
            mark(&h, m, h.outside);
            for (int i = 0; i < m->nresults; i++) h.outside[m->results[i]->id] = true;
        }
        if (!invariant || (in && !moves)) mark(&h, m, h.inside);
        changed |= moves;
    }
    if (!changed) return false;
    FOR_NODES(m, n->body) {
        if (!m->nresults || !any(m, h.outside)) continue;
        const Node *copy = copy_outside(&h, m);
        for (int i = 0; i < m->nresults; i++)
            if (leaves[m->results[i]->id]) replace(f, m->results[i], add_invariant(n, copy->results[i]));
    }
    return true;
}

static bool repeats_in(Func *f, Block *b) {
    bool changed = false;
    FOR_NODES(n, b) {
        if (!n->body) continue;
        changed |= repeats_in(f, n->body);
        if (n->op != OP_repeat) continue;
        changed |= constant_carries(f, n);
        changed |= unstack_constants(f, n);
        changed |= merge_operands(f, n);
        changed |= merge_results(f, n);
        changed |= sink_constants(f, n);
        changed |= hoist(f, n);
    }
    return changed;
}

bool simplify_repeats(Func *f) { return repeats_in(f, f->top); }
