// SPDX-License-Identifier: Apache-2.0
// order_overlap: a collective whose result is needed at once hides nothing. Two moves give it company, each done only
// when the block's peak of live bytes stays what it is:
//
//   compute that does not depend on it goes in front      %r = all_reduce %dx on tensor      %r = all_reduce %dx on
//   tensor of the first user of its result (a weight's           %d = fused %r ...                  %g = dot %x, %dy
//   over batch gradient, while the sum of the input's is made)       %g = dot %x, %dy over batch        %d = fused %r
//   ...
//
//   it begins earlier, in front of what it does not       %y = dot %x, %v over width         %w = all_gather %p over
//   width depend on (the gathering of the next parameter)       %w = all_gather %p over width      %y = dot %x, %v over
//   width
//
// until what lies between takes as long as the collective does, on a machine of stated rates (those of `tgfc --stats`).
#include "passes/order.h"

enum { CLOSURE_MAX = 8, MOVES_MAX = 16, LOOK_MAX = 32 };
static const double flop_rate = 500e12, memory_rate = 2.7e12, link_rate = 50e9;

typedef struct Overlap {
    Order *o;
    int *at;    // by item: its place in the order
    int *trial; // an order that is being tried
    int *users;
    int64_t peak;
    int64_t *alloc, *bytes; // by item and by base id: as Item.alloc and Order.bytes, but 0 for what is stacked: that
                            // lies in memory of the block outside
    bool *depends; // by item: on the collective at hand
} Overlap;

static bool has_trait(const Item *it, unsigned trait) { return op_info(it->node->op)->traits & trait; }

static double seconds(const Overlap *v, const Item *it) {
    Work w = node_work(v->o->u, it->node);
    if (has_trait(it, TRAIT_COMM | TRAIT_VIEW)) return 0;
    return w.flops / flop_rate > w.bytes / memory_rate ? w.flops / flop_rate : w.bytes / memory_rate;
}

static double comm_seconds(const Overlap *v, const Node *n) {
    int64_t before = 0, after = 0;
    double ways = (double)mesh_extent(&v->o->u->mesh, n->attr.mesh);
    type_local_elements(&n->args[0]->type, &v->o->u->mesh, &before);
    type_local_elements(&n->results[0]->type, &v->o->u->mesh, &after);
    double bytes = (double)(before > after ? before : after) * dtype_bytes(n->args[0]->type.dtype);
    return (n->op == OP_all_reduce ? 2 : 1) * (ways - 1) / ways * bytes / link_rate;
}

static int64_t peak_of(Overlap *v, const int *order) {
    const Order *o = v->o;
    int64_t live = 0, peak = 0;
    for (int i = 0; i < o->n; i++)
        for (int k = 0; k < o->item[i].reads.n; k++) v->users[o->item[i].reads.at[k]] = 0;
    for (int i = 0; i < o->n; i++)
        for (int k = 0; k < o->item[i].reads.n; k++) v->users[o->item[i].reads.at[k]]++;
    for (int i = 0; i < o->n; i++) {
        const Item *it = &o->item[order[i]];
        live += v->alloc[order[i]];
        if (live > peak) peak = live;
        for (int k = 0; k < it->reads.n; k++)
            if (--v->users[it->reads.at[k]] == 0) live -= v->bytes[it->reads.at[k]];
    }
    return peak;
}

// What depends on the collective, in the present order.
static void mark_dependent(Overlap *v, int comm) {
    const Order *o = v->o;
    for (int i = 0; i < o->n; i++) v->depends[i] = i == comm;
    for (int i = v->at[comm] + 1; i < o->n; i++) {
        const Item *it = &o->item[o->emitted[i]];
        for (int k = 0; k < it->before.n; k++) v->depends[o->emitted[i]] |= v->depends[it->before.at[k]];
    }
}

// The place of the first thing that needs the collective to have ended.
static int first_user(const Overlap *v, int comm) {
    const Order *o = v->o;
    int at = v->at[comm] + 1;
    while (at < o->n && (!v->depends[o->emitted[at]] || has_trait(&o->item[o->emitted[at]], TRAIT_VIEW))) at++;
    return at;
}

// The items at `to` and behind it that must move with `item` when it goes to `to`, itself last; -1: it cannot.
static int closure_of(const Overlap *v, int item, int to, int *out, int n) {
    const Item *it = &v->o->item[item];
    for (int i = 0; i < n; i++)
        if (out[i] == item) return n;
    for (int k = 0; k < it->before.n; k++)
        if (v->at[it->before.at[k]] >= to && (n = closure_of(v, it->before.at[k], to, out, n)) < 0) return -1;
    if (n == CLOSURE_MAX) return -1;
    out[n] = item;
    return n + 1;
}

// The order with the moved items at `to`; true if it needs no more bytes, and then it is the order.
static bool try_move(Overlap *v, const int *moved, int n, int to) {
    Order *o = v->o;
    int count = 0;
    for (int i = 0; i <= o->n; i++) {
        for (int k = 0; k < n && i == to; k++) v->trial[count++] = moved[k];
        if (i == o->n) break;
        bool is_moved = false;
        for (int k = 0; k < n; k++) is_moved |= moved[k] == o->emitted[i];
        if (!is_moved) v->trial[count++] = o->emitted[i];
    }
    if (peak_of(v, v->trial) > v->peak) return false;
    for (int i = 0; i < o->n; i++) {
        o->emitted[i] = v->trial[i];
        v->at[o->emitted[i]] = i;
    }
    return true;
}

static double hidden(const Overlap *v, int comm) {
    const Order *o = v->o;
    double total = 0;
    for (int at = v->at[comm] + 1, end = first_user(v, comm); at < end; at++)
        total += seconds(v, &o->item[o->emitted[at]]);
    return total;
}

// Something independent from behind the first user goes in front of it.
static bool bring_company(Overlap *v, int comm) {
    const Order *o = v->o;
    int to = first_user(v, comm);
    for (int at = to + 1; at < o->n && at < to + LOOK_MAX; at++) {
        int item = o->emitted[at], moved[CLOSURE_MAX];
        const Item *it = &o->item[item];
        if (v->depends[item] || has_trait(it, TRAIT_COMM | TRAIT_EFFECT) || it->node->op == OP_yield ||
            it->node->op == OP_repeat || seconds(v, it) <= 0)
            continue;
        int n = closure_of(v, item, to, moved, 0);
        bool pure = n > 0;
        for (int k = 0; k < n; k++) pure = pure && !has_trait(&o->item[moved[k]], TRAIT_COMM | TRAIT_EFFECT);
        if (pure && try_move(v, moved, n, to)) return true;
    }
    return false;
}

// The collective goes in front of the last thing computed before it that it does not need.
static bool begin_earlier(Overlap *v, int comm) {
    const Order *o = v->o;
    int from = v->at[comm];
    for (int to = from - 1; to >= 0 && to > from - LOOK_MAX; to--) {
        const Item *passed = &o->item[o->emitted[to]];
        int moved[CLOSURE_MAX], n = closure_of(v, comm, to, moved, 0);
        bool views = n > 0;
        for (int k = 0; k < n - 1; k++) views = views && has_trait(&o->item[moved[k]], TRAIT_VIEW);
        if (!views || has_trait(passed, TRAIT_EFFECT) || passed->node->op == OP_repeat) return false;
        if (seconds(v, passed) > 0) return try_move(v, moved, n, to);
    }
    return false;
}

static void leave_out_stacked(Overlap *v) {
    const Order *o = v->o;
    const Node *owner = o->block->owner, *yield = owner ? block_yield(o->block) : NULL;
    for (int i = 0; i < o->n; i++) v->alloc[i] = o->item[i].alloc;
    for (int i = 0; i < o->block->func->next_id; i++) v->bytes[i] = o->bytes[i];
    for (int k = owner ? repeat_carries(owner) : 0; yield && k < yield->nargs; k++) {
        int id = yield->args[k]->id, item = o->item_of[id];
        if (item < 0 || o->base[id] != id) continue;
        v->alloc[item] -= v->bytes[id];
        v->bytes[id] = 0;
    }
}

void order_overlap(Order *o) {
    int ids = o->block->func->next_id;
    Overlap v = {.o = o,
                 .at = NEW_ARRAY(o->a, int, o->n),
                 .trial = NEW_ARRAY(o->a, int, o->n),
                 .users = NEW_ARRAY(o->a, int, ids),
                 .depends = NEW_ARRAY(o->a, bool, o->n),
                 .alloc = NEW_ARRAY(o->a, int64_t, o->n),
                 .bytes = NEW_ARRAY(o->a, int64_t, ids)};
    leave_out_stacked(&v);
    for (int i = 0; i < o->n; i++) v.at[o->emitted[i]] = i;
    v.peak = peak_of(&v, o->emitted);
    for (int i = 0; i < o->n; i++) { // in the order of the graph
        const Node *n = o->item[i].node;
        if (!has_trait(&o->item[i], TRAIT_COMM) || mesh_extent(&o->u->mesh, n->attr.mesh) == 1) continue;
        double wanted = comm_seconds(&v, n);
        for (int moves = 0; moves < MOVES_MAX; moves++) {
            mark_dependent(&v, i);
            if (first_user(&v, i) == o->n || hidden(&v, i) >= wanted) break;
            if (!bring_company(&v, i) && !begin_earlier(&v, i)) break;
        }
    }
}
