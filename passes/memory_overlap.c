// SPDX-License-Identifier: Apache-2.0
// memory_overlap: what a collective sends stays untouched until its result is needed, so that it can go on while other
// things are computed: its buffer lives until the node in front of the result's first user, instead of until the
// collective. Sharing was decided before, so all that is lost by leaving it as it was is overlap: codegen waits where
// memory is used again.
//
// That may cost as many bytes as the largest such buffer: with one buffer on its way while the next is being made, the
// link never waits for memory, and more would not make it faster. Windows that need more are given up, largest buffer
// first. A strategy with a memory budget pays nothing.
#include "ir/strategy.h"
#include "passes/memory.h"
#include <stdlib.h>

static const Value *through_views(const Memory *m, const Value *v, int buf) {
    while (v->def && op_info(v->def->op)->traits & TRAIT_VIEW && m->ref[v->id].buf == buf) v = v->def->args[0];
    return v;
}

static bool block_reads(const Memory *m, const Block *b, const Value *v) {
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nargs; i++)
            if (through_views(m, n->args[i], m->ref[v->id].buf) == v) return true;
        if (n->body && block_reads(m, n->body, v)) return true;
    }
    return false;
}

static bool node_reads(const Memory *m, const Node *n, const Value *v) {
    int buf = m->ref[v->id].buf;
    bool view = op_info(n->op)->traits & TRAIT_VIEW && m->ref[n->results[0]->id].buf == buf;
    for (int i = 0; i < n->nargs && !view; i++)
        if (through_views(m, n->args[i], buf) == v) return true;
    return n->body && block_reads(m, n->body, v);
}

static int node_ticks(const Node *n) { // of the clock, as memory_share counts
    if (n->op != OP_repeat) return 1;
    int ticks = 2;
    for (const Node *x = n->body->first; x; x = x->next) ticks += node_ticks(x);
    return ticks;
}

// The last time at which nothing in the block needs the result of n, which is at time `at`.
static int wait_time(const Memory *m, const Node *n, int at) {
    for (const Node *x = n->next; x && !node_reads(m, x, n->results[0]); x = x->next) at += node_ticks(x);
    return at;
}

static void find_windows(Memory *m, const Block *b, int *clock, Windows *out) {
    for (const Node *n = b->first; n; n = n->next) {
        int at = (*clock)++;
        if (n->op == OP_repeat) {
            find_windows(m, n->body, clock, out);
            (*clock)++;
        }
        if (!(op_info(n->op)->traits & TRAIT_COMM) || m->ref[n->args[0]->id].buf < 0) continue;
        int buf = memory_root(m, m->ref[n->args[0]->id].buf), last = wait_time(m, n, at);
        if (m->bufs.at[buf].home == b && last > m->bufs.at[buf].last)
            vec_push(m->a, out, (Window){buf, last, m->bufs.at[buf].bytes});
    }
}

static int by_bytes(const void *a, const void *b) {
    const Window *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return x->buf != y->buf ? x->buf - y->buf : x->last - y->last;
}

Windows memory_windows(Memory *m, int64_t *out_allowed) {
    Windows w = {0};
    int clock = 0;
    *out_allowed = 0;
    find_windows(m, m->f->top, &clock, &w);
    if (w.n) qsort(w.at, (size_t)w.n, sizeof *w.at, by_bytes);
    bool budget = m->u->strategy && m->u->strategy->memory;
    if (w.n && !budget) *out_allowed = w.at[w.n - 1].bytes;
    return w;
}

void memory_open_windows(Memory *m, const Windows *w, int n, const int *last) {
    for (int i = 0; i < m->bufs.n; i++) m->bufs.at[i].last = last[i];
    for (int i = 0; i < n; i++) {
        Buf *b = &m->bufs.at[w->at[i].buf];
        if (w->at[i].last > b->last) b->last = w->at[i].last;
    }
}
