// SPDX-License-Identifier: Apache-2.0
// memory_share: when is each buffer alive, and which buffers can be one: a carry through all iterations with its first
// and its next value, a stacked value with its slice, an update with the parameter it replaces, an output with where it
// is to be read, an elementwise result with an operand that dies. What cannot be one is copied by codegen: at a
// repeat's beginning (carries), at the end of an iteration (carries, then stacked values, in order), at an assign or
// output.
//
// Time counts nodes in program order, bodies included; a repeat has a beginning and an end. Memory used in a body but
// belonging to a block outside stays alive until the repeat ends, for the next iteration.
#include "passes/memory.h"

int memory_root(const Memory *m, int buf) {
    while (m->bufs.at[buf].into >= 0) buf = m->bufs.at[buf].into;
    return buf;
}

RepeatTime *memory_repeat(Memory *m, const Node *n) {
    for (int i = 0; i < m->repeats.n; i++)
        if (m->repeats.at[i].node == n) return &m->repeats.at[i];
    return NULL;
}

static Buf *buf_of(Memory *m, const Value *v) {
    int b = m->ref[v->id].buf;
    return b < 0 ? NULL : &m->bufs.at[b];
}

// ---- lifetimes

static void number_block(Memory *m, const Block *b) {
    for (const Node *n = b->first; n; n = n->next) {
        int at = m->clock++;
        if (n->op != OP_repeat) continue;
        memory_repeat(m, n)->begin = at;
        number_block(m, n->body);
        memory_repeat(m, n)->end = m->clock++;
    }
}

static void extend(Buf *b, int from, int to) {
    if (from < b->first) b->first = from;
    if (to > b->last) b->last = to;
}

static void touch(Memory *m, const Value *v, const Block *where, int at) {
    Buf *b = buf_of(m, v);
    if (!b) return;
    for (; where && where != b->home && where->owner; where = where->owner->parent)
        at = memory_repeat(m, where->owner)->end;
    extend(b, at, at);
}

static void live_block(Memory *m, const Block *b) {
    for (const Node *n = b->first; n; n = n->next) {
        int at = m->clock++;
        for (int i = 0; i < n->nargs; i++) touch(m, n->args[i], b, at);
        if (n->op != OP_repeat) {
            for (int i = 0; i < n->nresults; i++) touch(m, n->results[i], b, at);
            continue;
        }
        int end = memory_repeat(m, n)->end;
        for (int i = 0; i < n->nargs; i++) {
            if (i < repeat_carries(n)) extend(buf_of(m, n->body->params[i + 1]), at, at);
            else touch(m, n->args[i], b, end);
        }
        for (int k = 0; k < n->nresults; k++) extend(buf_of(m, n->results[k]), at, end);
        live_block(m, n->body);
        m->clock++;
    }
}

// ---- in place
//
// A fused kernel goes over the elements once a phase; a phase ends with the reductions the next one needs. Within a
// phase an element is loaded once, before anything that depends on it is stored. So a result may lie over an operand
// that is read element by element, in its own order, and not any more in a later phase than the result's.

static bool is_reduction(const Node *n) { return n->op == OP_sum || n->op == OP_max; }
static bool is_each(const Node *n) { return op_info(n->op)->traits & TRAIT_MAP || n->op == OP_mask; }

// What is known of the values of one fused body, by value id; filled in order, so each value is looked at once.
typedef struct Body {
    const Block *block;
    int *phase; // in which a value is known; 0 for the kernel's operands
    bool *each; // made from the operand's same element
    bool *load; // making it, in the phase at hand, loads the operand
} Body;

static bool inside(const Body *b, const Value *v) { return v->def && v->def->parent == b->block; }

static int find_phases(Body *b) {
    int most = 0;
    for (const Node *n = b->block->first; n; n = n->next) {
        int phase = 0;
        for (int i = 0; i < n->nargs; i++)
            if (inside(b, n->args[i]) && b->phase[n->args[i]->id] > phase) phase = b->phase[n->args[i]->id];
        phase += is_reduction(n);
        for (int i = 0; i < n->nresults; i++) b->phase[n->results[i]->id] = phase;
        if (phase > most) most = phase;
    }
    return most;
}

static bool is_marked(const Body *b, const bool *mark, const Value *v, const Value *operand) {
    return v == operand || (inside(b, v) && mark[v->id]);
}

static void find_each(Body *b, const Value *operand) {
    for (const Node *n = b->block->first; n; n = n->next) {
        bool each = false;
        for (int i = 0; i < n->nargs; i++) each |= is_each(n) && is_marked(b, b->each, n->args[i], operand);
        for (int i = 0; i < n->nresults; i++) b->each[n->results[i]->id] = each;
    }
}

// Does the kernel load the operand in this phase? What an earlier phase stored is loaded from there.
static bool phase_loads(Body *b, const Value *operand, int phase) {
    const Node *yield = block_yield(b->block);
    for (const Node *n = b->block->first; n != yield; n = n->next) {
        Value *v = n->results[0];
        b->load[v->id] = false;
        bool stored = false;
        for (int i = 0; i < yield->nargs; i++) stored |= yield->args[i] == v && b->phase[v->id] < phase;
        for (int i = 0; i < n->nargs; i++) {
            bool load = is_marked(b, b->load, n->args[i], operand);
            int at = inside(b, n->args[i]) ? b->phase[n->args[i]->id] : 0;
            if (is_reduction(n) && load && at == phase) return true;
            b->load[v->id] |= load && !is_reduction(n) && !stored;
        }
    }
    for (int i = 0; i < yield->nargs; i++)
        if ((inside(b, yield->args[i]) ? b->phase[yield->args[i]->id] : 0) == phase &&
            is_marked(b, b->load, yield->args[i], operand))
            return true;
    return false;
}

static bool fused_in_place(Memory *m, const Node *n, const Value *r, const Value *operand) {
    int ids = m->f->next_id;
    Body b = {n->body, NEW_ARRAY(m->a, int, ids), NEW_ARRAY(m->a, bool, ids), NEW_ARRAY(m->a, bool, ids)};
    const Value *made = block_yield(n->body)->args[r->index];
    int phases = find_phases(&b);
    find_each(&b, operand);
    if (!inside(&b, made) || !b.each[made->id]) return false;
    for (const Node *x = n->body->first; x; x = x->next) {
        if (x->op == OP_concat || x->op == OP_place) return false; // walked in pieces
        for (int i = 0; i < x->nargs; i++) {
            if (x->args[i]->type.rank > r->type.rank && x->op != OP_scatter) return false;
            bool moved = x->op != OP_yield && !is_each(x) && !is_reduction(x);
            if (moved && is_marked(&b, b.each, x->args[i], operand)) return false;
        }
    }
    for (int phase = b.phase[made->id] + 1; phase <= phases; phase++)
        if (phase_loads(&b, operand, phase)) return false;
    return true;
}

// May n write result r where `root` lies, although it reads it?
static bool in_place(Memory *m, const Node *n, const Value *r, int root) {
    if (!is_each(n) && n->op != OP_fused) return false;
    for (int i = 0; i < n->nargs; i++) {
        const Value *x = n->args[i];
        if (m->ref[x->id].buf < 0 || memory_root(m, m->ref[x->id].buf) != root) continue;
        if (!type_same_dims(&x->type, &r->type) || dtype_bytes(x->type.dtype) != dtype_bytes(r->type.dtype))
            return false;
        if (!memory_is_whole(m, x)) return false;
        if (n->op == OP_fused && !fused_in_place(m, n, r, n->body->params[i])) return false;
    }
    return true;
}

// ---- sharing

static void join(Memory *m, int buf, int into) {
    buf = memory_root(m, buf);
    into = memory_root(m, into);
    if (buf == into) return;
    m->bufs.at[buf].into = into;
    extend(&m->bufs.at[into], m->bufs.at[buf].first, m->bufs.at[buf].last);
}

// v's buffer when it is v's alone to be placed: a root that lives in block `home`.
static int own_root(const Memory *m, const Value *v, const Block *home) {
    int b = m->ref[v->id].buf;
    if (b < 0 || m->bufs.at[b].into >= 0 || !m->bufs.at[b].home || m->bufs.at[b].home != home) return -1;
    return memory_is_whole(m, v) ? b : -1;
}

static void share_carry(Memory *m, const Node *n, int k) {
    const Value *param = n->body->params[k + 1], *next = block_yield(n->body)->args[k], *init = n->args[k];
    int c = m->ref[n->results[k]->id].buf, p = m->ref[param->id].buf, y = own_root(m, next, n->body);
    int used = m->bufs.at[memory_root(m, p)].last;
    if (next != param && y >= 0 && next->def) {
        int made = m->bufs.at[y].first;
        if (used < made || (used == made && in_place(m, next->def, next, memory_root(m, p)))) join(m, y, c);
    }
    join(m, p, c);
    int i = m->ref[init->id].buf;
    if (i < 0) return;
    i = memory_root(m, i);
    const Buf *b = &m->bufs.at[i];
    if (b->home == n->parent && b->last == memory_repeat(m, n)->begin && memory_is_whole(m, init)) join(m, i, c);
}

static void share_stacked(Memory *m, const Node *n, int k) {
    const Value *v = block_yield(n->body)->args[k];
    int y = own_root(m, v, n->body), s = m->ref[n->results[k]->id].buf;
    if (y < 0 || !v->def || memory_on_host(m, n->results[k]) || m->bufs.at[y].first <= memory_repeat(m, n)->begin)
        return;
    Buf *b = &m->bufs.at[y];
    b->into = s;
    b->loop = memory_repeat(m, n)->depth;
    b->loop_stride = b->bytes;
    b->open = true;
}

// The last time anything but `except` (a repeat: all of it) reads the buffer.
static int last_read(Memory *m, const Block *b, int buf, const Node *except, int *clock) {
    int last = -1;
    for (const Node *n = b->first; n; n = n->next) {
        int at = (*clock)++;
        if (n->op == OP_repeat) {
            int inside = last_read(m, n->body, buf, except, clock), end = (*clock)++;
            if (n == except) continue;
            if (inside >= 0) last = end;
            for (int i = 0; i < n->nargs; i++)
                if (m->ref[n->args[i]->id].buf == buf && end > last) last = end;
            continue;
        }
        bool copies = !(op_info(n->op)->traits & TRAIT_VIEW) || m->ref[n->results[0]->id].buf != buf;
        if (n == except || !copies) continue;
        for (int i = n->op == OP_assign; i < n->nargs; i++) // an assign does not read what it writes
            if (m->ref[n->args[i]->id].buf == buf) last = at;
    }
    return last;
}

// A leaf that a repeat goes through, reading a slice and yielding the one to be there instead: slice by slice in place.
// So gradients are added to their sums. The slice is read by nothing behind what makes the new one.
static bool share_through(Memory *m, const Node *n) {
    const Value *v = n->args[1], *leaf = n->args[0];
    const Node *r = v->def;
    if (!r || r->op != OP_repeat || v->index < repeat_carries(r) || own_root(m, v, m->f->top) < 0) return false;
    int buf = m->ref[leaf->id].buf, at = -1, clock = 0;
    for (int i = 0; i < r->nargs; i++) {
        if (m->ref[r->args[i]->id].buf != buf) continue;
        bool stacked = i >= repeat_carries(r) && i < repeat_carries(r) + repeat_stacked(r);
        if (at >= 0 || !stacked || !memory_is_whole(m, r->args[i])) return false;
        at = i;
    }
    if (at < 0 || last_read(m, m->f->top, buf, r, &clock) >= memory_repeat(m, r)->begin) return false;
    const Value *slice = r->body->params[at + 1], *next = block_yield(r->body)->args[v->index];
    const Node *maker = next->def;
    if (!maker || maker->parent != r->body || !type_same_dims(&slice->type, &next->type) ||
        slice->type.dtype != next->type.dtype)
        return false;
    int reads = 0;
    for (const Node *b = r->body->first; b; b = b->next)
        for (int i = 0; i < b->nargs; i++) reads += b->args[i] == slice && b != maker;
    if (reads || (!is_each(maker) && maker->op != OP_fused)) return false; // inner bodies take it as an operand
    for (int i = 0; i < maker->nargs && maker->op == OP_fused; i++)
        if (maker->args[i] == slice && !fused_in_place(m, maker, next, maker->body->params[i])) return false;
    join(m, m->ref[v->id].buf, buf);
    return true;
}

static void share_assign(Memory *m, const Node *n) {
    const Value *v = n->args[1];
    if (memory_on_host(m, n->args[0]) || share_through(m, n)) return;
    int x = own_root(m, v, m->f->top), leaf = m->ref[n->args[0]->id].buf, clock = 0;
    if (x < 0 || !v->def) return;
    int made = m->bufs.at[x].first;
    if (last_read(m, m->f->top, leaf, v->def, &clock) >= made) return;
    bool reads = false;
    for (int i = 0; i < v->def->nargs; i++) reads |= m->ref[v->def->args[i]->id].buf == leaf;
    if (reads && !in_place(m, v->def, v, leaf)) return;
    join(m, x, leaf);
}

static void share_output(Memory *m, const Node *n) {
    int x = own_root(m, n->args[0], m->f->top),
        out = m->leaf_buf[storage_leaf(m->storage, LEAF_OUTPUT, n->attr.s) - m->storage->leaves];
    extend(&m->bufs.at[out], m->clock, INT32_MAX); // read after the function
    if (x < 0 || !n->args[0]->def || x == out || m->bufs.at[x].bytes != m->bufs.at[out].bytes) return;
    join(m, x, out);
    m->bufs.at[x].open = true;
}

static void share_structure(Memory *m, const Block *b) {
    for (const Node *n = b->first; n; n = n->next) {
        m->clock++;
        if (n->op == OP_repeat) {
            share_structure(m, n->body);
            for (int k = repeat_carries(n); k < n->nresults; k++) share_stacked(m, n, k);
            for (int k = 0; k < repeat_carries(n); k++) share_carry(m, n, k);
            m->clock++;
        }
        if (n->op == OP_assign) share_assign(m, n);
        if (n->op == OP_output) share_output(m, n);
    }
}

// all_reduce in place: the operand moves to where the result is, when nothing lies there before the result does.
static void share_reduce(Memory *m, const Node *n, int at) {
    int a = own_root(m, n->args[0], n->parent), r = m->ref[n->results[0]->id].buf;
    if (a < 0 || m->bufs.at[a].last != at || !memory_is_whole(m, n->results[0])) return;
    if (m->bufs.at[r].into >= 0 && !m->bufs.at[r].open) return;
    m->bufs.at[a].into = r; // with r's slice, where r has one
    extend(&m->bufs.at[memory_root(m, r)], m->bufs.at[a].first, m->bufs.at[a].last);
}

static bool is_taken(const Memory *m, const Node *n, int results, int root) { // by an earlier result of n
    for (int k = 0; k < results; k++)
        if (m->ref[n->results[k]->id].buf >= 0 && memory_root(m, m->ref[n->results[k]->id].buf) == root) return true;
    return false;
}

static void share_map(Memory *m, const Node *n, int at) {
    for (int k = 0; k < n->nresults; k++) {
        const Value *r = n->results[k];
        int x = own_root(m, r, n->parent);
        for (int i = 0; i < n->nargs && x >= 0 && m->bufs.at[x].into < 0; i++) {
            int a = m->ref[n->args[i]->id].buf;
            if (a < 0) continue;
            a = memory_root(m, a);
            const Buf *b = &m->bufs.at[a];
            if (a == x || b->home != n->parent || b->last != at || b->bytes != m->bufs.at[x].bytes) continue;
            if (!is_taken(m, n, k, a) && in_place(m, n, r, a)) join(m, x, a);
        }
    }
}

static void share_nodes(Memory *m, const Block *b) {
    for (const Node *n = b->first; n; n = n->next) {
        int at = m->clock++;
        if (n->op == OP_all_reduce) share_reduce(m, n, at);
        if (n->op == OP_fused || op_info(n->op)->traits & TRAIT_MAP) share_map(m, n, at);
        if (n->op != OP_repeat) continue;
        share_nodes(m, n->body);
        m->clock++;
    }
}

void memory_share(Memory *m) {
    m->clock = 0;
    number_block(m, m->f->top);
    m->clock = 0;
    live_block(m, m->f->top);
    memory_share_host(m);
    m->clock = -1; // of the node at hand
    share_structure(m, m->f->top);
    m->clock = 0;
    share_nodes(m, m->f->top);
}
