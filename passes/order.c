// SPDX-License-Identifier: Apache-2.0
// order: schedules each block for a small peak of live bytes. Program order is kept but for three moves: what is made
// from parameters and constants alone waits for its first user; what frees at least as many bytes as it allocates goes
// as soon as it can (a parameter's update right behind its gradient); what overwrites a parameter or state goes behind
// the readers of the old value, so that memory can update in place. In a pipeline's tasks collectives stay in the order
// of the program. The order depends on nothing but the graph, so all
// ranks meet in the same collectives in the same order. What hides collectives comes after that: order_overlap.c.
//
//   before    %m  = expand %eps                 after   %g  = dot %x, %dy over batch
//             %g  = dot %x, %dy over batch              %r  = all_reduce %g on data
//             %h  = dot %dy, %w over out                %h  = dot %dy, %w over out
//             %r  = all_reduce %g on data               %w2 = fused %w, %r { ... }
//             %w2 = fused %w, %r { ... }                assign %w, %w2
//             assign %w, %w2                            ...
#include "passes/order.h"
#include "passes/pass.h"

static int64_t value_bytes(const Order *o, const Value *v) {
    int64_t elements = 0;
    if (!type_local_elements(&v->type, &o->u->mesh, &elements)) return 0;
    return elements * dtype_bytes(v->type.dtype);
}

static bool persists(const Node *n) {
    return n->op == OP_param || n->op == OP_state || n->op == OP_input || n->op == OP_buffer;
}

static void add_read(Order *o, Item *it, int base) {
    for (int i = 0; i < it->reads.n; i++)
        if (it->reads.at[i] == base) return;
    vec_push(o->a, &it->reads, base);
    o->users[base]++;
}

static void add_edge(Order *o, int from, int to) {
    Item *f = &o->item[from], *t = &o->item[to];
    for (int i = 0; i < t->before.n; i++)
        if (t->before.at[i] == from) return;
    vec_push(o->a, &t->before, from);
    vec_push(o->a, &f->after, to);
}

static void read_operands(Order *o, int i, const Node *n) {
    for (int k = 0; k < n->nargs; k++) {
        int from = o->item_of[n->args[k]->id];
        if (from >= 0 && from != i) add_edge(o, from, i);
        add_read(o, &o->item[i], o->base[n->args[k]->id]);
    }
    if (!n->body) return;
    for (const Node *b = n->body->first; b; b = b->next) read_operands(o, i, b);
}

// The only thing done with v is to store it in a parameter or state, so it needs no memory of its own.
static bool only_assigned(const Block *b, const Value *v) {
    int assigns = 0, uses = 0;
    for (const Node *n = b->first; n; n = n->next)
        for (int k = 0; k < n->nargs; k++)
            if (n->args[k] == v) {
                uses++;
                assigns += n->op == OP_assign;
            }
    return assigns == 1 && uses == 1;
}

static void enter_item(Order *o, int i, Node *n) {
    Item *it = &o->item[i];
    it->node = n;
    read_operands(o, i, n);
    bool view = op_info(n->op)->traits & TRAIT_VIEW;
    for (int r = 0; r < n->nresults; r++) {
        Value *v = n->results[r];
        o->item_of[v->id] = i;
        o->base[v->id] = view ? o->base[n->args[0]->id] : v->id;
        if (view || persists(n) || (n->op == OP_fused && only_assigned(o->block, v))) continue;
        o->bytes[v->id] = value_bytes(o, v);
        it->alloc += o->bytes[v->id];
    }
    int64_t kept = 0;
    for (int k = 0; k < it->reads.n; k++) kept += o->bytes[it->reads.at[k]];
    bool movable = !(op_info(n->op)->traits & (TRAIT_EFFECT | TRAIT_COMM)) && n->op != OP_repeat;
    it->lazy = movable && (view || persists(n) || (it->alloc > 0 && kept <= it->alloc / 4));
}

static bool reaches(Order *o, int from, int to) {
    if (from == to) return true;
    Item *f = &o->item[from];
    if (f->visited) return false;
    f->visited = true;
    for (int i = 0; i < f->after.n; i++)
        if (reaches(o, f->after.at[i], to)) return true;
    return false;
}

// to waits for from, unless from needs to.
static void add_wait(Order *o, int from, int to) {
    for (int i = 0; i < o->n; i++) o->item[i].visited = false;
    if (from != to && !reaches(o, to, from)) add_edge(o, from, to);
}

// Readers of a leaf's old value go before what overwrites it.
static void guard_leaf(Order *o, int assign) {
    const Node *n = o->item[assign].node;
    int leaf = n->args[0]->id, maker = o->item_of[n->args[1]->id];
    for (int i = 0; i < o->n; i++) {
        const Item *it = &o->item[i];
        bool reads = false;
        for (int k = 0; k < it->reads.n; k++) reads |= it->reads.at[k] == leaf;
        if (!reads || i == assign || op_info(it->node->op)->traits & TRAIT_VIEW || it->node->op == OP_assign) continue;
        add_wait(o, i, assign);
        if (maker >= 0) add_wait(o, i, maker);
    }
}

static int64_t freed(const Order *o, const Item *it) {
    int64_t bytes = 0;
    for (int i = 0; i < it->reads.n; i++)
        if (o->users[it->reads.at[i]] == 1) bytes += o->bytes[it->reads.at[i]];
    return bytes;
}

static bool ready(const Order *o, const Item *it) {
    for (int i = 0; i < it->before.n; i++)
        if (!o->item[it->before.at[i]].done) return false;
    return true;
}

static void emit(Order *o, Item *it) {
    it->done = true;
    for (int i = 0; i < it->reads.n; i++) o->users[it->reads.at[i]]--;
    o->emitted[o->nemitted++] = (int)(it - o->item);
}

static void demand(Order *o, int i) {
    Item *it = &o->item[i];
    if (it->done) return;
    for (int lazy = 0; lazy < 2; lazy++) // what waits for its first user goes last
        for (int k = 0; k < it->before.n; k++)
            if (o->item[it->before.at[k]].lazy == lazy) demand(o, it->before.at[k]);
    emit(o, it);
}

// What has become ready and does not add to the live bytes.
static void emit_cheap(Order *o) {
    for (bool again = true; again;) {
        again = false;
        for (int i = 0; i < o->n; i++) {
            Item *it = &o->item[i];
            if (it->done || it->node->op == OP_yield || !ready(o, it)) continue;
            int64_t gone = freed(o, it);
            bool effect = op_info(it->node->op)->traits & TRAIT_EFFECT;
            if (it->alloc > gone || (gone == 0 && !effect)) continue;
            emit(o, it);
            again = true;
        }
    }
}

static bool has_comm(const Node *n) {
    if (op_info(n->op)->traits & TRAIT_COMM) return true;
    for (const Node *b = n->op == OP_repeat ? n->body->first : NULL; b; b = b->next)
        if (has_comm(b)) return true;
    return false;
}

// Tasks of other variants, with other nodes between, meet these collectives on other ranks: they keep their order.
static void keep_collectives(Order *o) {
    int last = -1;
    for (int i = 0; i < o->n; i++) {
        if (!has_comm(o->item[i].node)) continue;
        if (last >= 0) add_edge(o, last, i);
        last = i;
    }
}

static void order_nodes(Order *o) {
    if (o->u->pipeline) keep_collectives(o);
    for (int i = 0; i < o->n; i++)
        if (o->item[i].node->op == OP_assign) guard_leaf(o, i);
    for (int i = 0; i < o->n; i++) // leaves cost nothing and keep the order they were declared in
        if (persists(o->item[i].node)) demand(o, i);
    for (int i = 0; i < o->n; i++) {
        if (o->item[i].done || o->item[i].lazy || o->item[i].node->op == OP_yield) continue;
        demand(o, i);
        emit_cheap(o);
    }
    for (int i = 0; i < o->n; i++)
        if (o->item[i].node->op != OP_yield) demand(o, i);
    for (int i = 0; i < o->n; i++) demand(o, i);
}

static void order_block(Unit *u, Func *f, Block *b, Order *o) {
    for (Node *n = b->first; n; n = n->next)
        if (n->op == OP_repeat) order_block(u, f, n->body, o);
    o->block = b;
    o->n = o->nemitted = 0;
    for (Node *n = b->first; n; n = n->next) o->n++;
    o->item = NEW_ARRAY(o->a, Item, o->n);
    o->emitted = NEW_ARRAY(o->a, int, o->n);
    for (int i = 0; i < f->next_id; i++) {
        o->item_of[i] = -1;
        o->base[i] = i;
        o->users[i] = 0;
        o->bytes[i] = 0;
    }
    int i = 0;
    for (Node *n = b->first; n; n = n->next) enter_item(o, i++, n);
    order_nodes(o);
    order_overlap(o);
    b->first = b->last = NULL;
    for (i = 0; i < o->nemitted; i++) node_append(b, o->item[o->emitted[i]].node);
}

bool pass_order(Unit *u) {
    for (int i = 0; i < u->funcs.n; i++) {
        Func *f = u->funcs.at[i];
        Order o = {.u = u, .a = u->scratch};
        o.item_of = NEW_ARRAY(o.a, int, f->next_id);
        o.base = NEW_ARRAY(o.a, int, f->next_id);
        o.users = NEW_ARRAY(o.a, int, f->next_id);
        o.bytes = NEW_ARRAY(o.a, int64_t, f->next_id);
        order_block(u, f, f->top, &o);
    }
    return true;
}
