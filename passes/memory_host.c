// SPDX-License-Identifier: Apache-2.0
// memory_host: what lies in the host's memory, with `offload`. Only copies reach it, so what a kernel needs of it is
// fetched to the slab, and what is to lie there is made in the slab and copied.
//
//   %m: state, on the host                                     fused reads %f, made by   %f = stop %m     a fetch
//   repeat %m over layer { ^ ..., %ml ... }                    %ml has memory of its own, and `ahead`
//   assign %m, %m1         m1 a repeat's stacked result        %m1 lies where %m does: each slice is copied there
//   %s stacked by a forward repeat for backward ones           lies in SECTION_STASH
//
// A slice is fetched while the iteration before it runs: to `ahead`, as long alive as the repeat, from which the
// iteration that needs it copies it to where its kernels look. What is copied to the host slice by slice is overwritten
// no sooner than it is made again, so that its copy has an iteration's time.
#include "ir/strategy.h"
#include "passes/layout.h"
#include "passes/memory.h"

bool memory_on_host(const Memory *m, const Value *v) {
    int buf = m->ref[v->id].buf;
    return buf >= 0 && section_is_host(m->bufs.at[memory_root(m, buf)].section);
}

static bool is_forward(const Node *n) { return n && n->op == OP_repeat && !n->parent->owner && !n->attr.flag; }

// Read by nothing but repeats that run the other way, slice by slice?
bool memory_is_stashed(const Unit *u, const Value *v) {
    if (!u->strategy || !(u->strategy->offload & OFFLOAD_ACTIVATIONS) || !is_forward(v->def)) return false;
    if (v->index < repeat_carries(v->def)) return false;
    int reads = 0;
    for (const Node *n = v->def->next; n; n = n->next)
        for (int i = 0; i < n->nargs; i++) {
            if (n->args[i] != v) continue;
            int first = n->op == OP_repeat ? repeat_carries(n) : 0;
            bool sliced = n->op == OP_repeat && i >= first && i < first + repeat_stacked(n);
            if (!sliced || !n->attr.flag || n->attr.axes.at[0] != v->def->attr.axes.at[0]) return false;
            reads++;
        }
    return reads > 0;
}

// ---- fetches and what is copied out ----

static bool is_state(const Unit *u, const Value *v) {
    bool offloads = u->strategy && u->strategy->offload & OFFLOAD_OPTIMIZER;
    while (v->def && op_info(v->def->op)->traits & TRAIT_VIEW) v = v->def->args[0];
    return offloads && v->def && v->def->op == OP_state && section_of(v->def) == SECTION_CHUNK;
}

static Value *copy_before(Func *f, Node *n, Value *v) {
    Node *c = layout_node(f, n->parent, n->prev, OP_stop, &v, 1, NULL, NULL, n->loc);
    if (!c) return NULL;
    c->results[0]->name = v->name;
    return c->results[0];
}

// Is v made by a kernel or a repeat, dense, in memory of its own?
static bool is_made(const Value *v) {
    return v->def && !(op_info(v->def->op)->traits & (TRAIT_VIEW | TRAIT_LEAF | TRAIT_COMM));
}

// `at`: where the fetch is begun, n or something in front of it.
static bool replace_operands(Func *f, Node *n, Value *old, Node *at) {
    Value *fetched = NULL;
    int sliced = n->op == OP_repeat ? repeat_carries(n) : n->nargs;
    for (int i = n->op == OP_assign; i < n->nargs; i++) {
        if (n->args[i] != old) continue;
        if (n->op == OP_repeat && i >= sliced && i < sliced + repeat_stacked(n)) continue;
        if (!fetched && !(fetched = copy_before(f, at, old))) return false;
        n->args[i] = fetched;
    }
    return true;
}

// What is assigned to a view of the update (its pieces joined) counts as what it views.
static const Value *below_views(const Value *v) {
    while (v->def && op_info(v->def->op)->traits & TRAIT_VIEW) v = v->def->args[0];
    return v;
}

static bool is_stacked(const Value *v) {
    return v->def && v->def->op == OP_repeat && v->index >= repeat_carries(v->def);
}

bool memory_fetch(Unit *u, Func *f) {
    if (!u->strategy || !u->strategy->offload) return true;
    Node *before = NULL; // the last one that needed a state: the next one's is fetched while it runs
    FOR_NODES(n, f->top) {
        bool view = op_info(n->op)->traits & TRAIT_VIEW, needs = false;
        for (int i = n->op == OP_assign; i < n->nargs && !view; i++) {
            Value *v = n->args[i];
            if (!is_state(u, v)) continue;
            needs = true;
            bool known = v->def->op == OP_state; // else a view, behind `before` perhaps
            if (!replace_operands(f, n, v, known && before ? before : n)) return false;
        }
        if (needs) before = n;
        if (n->op == OP_assign && is_state(u, n->args[0]) && !is_made(n->args[1]) &&
            !is_stacked(below_views(n->args[1])) && n->args[1]->def->op != OP_stop) {
            Value *c = copy_before(f, n, n->args[1]);
            if (!c) return false;
            n->args[1] = c;
        }
        if (n->op != OP_repeat) continue;
        Node *yield = block_yield(n->body);
        for (int k = repeat_carries(n); k < n->nresults; k++) {
            bool leaves = memory_is_stashed(u, n->results[k]);
            for (const Node *a = n->next; a && !leaves; a = a->next)
                leaves = a->op == OP_assign && is_state(u, a->args[0]) && below_views(a->args[1]) == n->results[k];
            if (!leaves || is_made(yield->args[k])) continue;
            if (!(yield->args[k] = copy_before(f, yield, yield->args[k]))) return false;
        }
    }
    return true;
}

// ---- lifetimes ----

void memory_fetch_slices(Memory *m, const Node *repeat, const Value *param, int ahead) {
    m->bufs.at[ahead].bytes = memory_bytes(m->u, &param->type);
    vec_push(m->a, &m->fetches, ((Fetch){repeat, param, ahead}));
}

static void extend(Buf *b, int from, int to) {
    if (from < b->first) b->first = from;
    if (to > b->last) b->last = to;
}

// How often nodes behind the repeat r read the buffer; a view of it is no reader, what looks at it is.
static int reads_behind(const Memory *m, const Node *r, int buf) {
    int reads = 0;
    for (const Node *n = r->next; n; n = n->next)
        for (int i = n->op == OP_assign; i < n->nargs; i++) {
            bool view = op_info(n->op)->traits & TRAIT_VIEW && m->ref[n->results[0]->id].buf == buf;
            reads += m->ref[n->args[i]->id].buf == buf && !view;
        }
    return reads;
}

static bool reads_whole(const Memory *m, const Node *r, int buf) {
    int first = repeat_carries(r), behind = first + repeat_stacked(r);
    for (int i = 0; i < r->nargs; i++)
        if (m->ref[r->args[i]->id].buf == buf && (i < first || i >= behind)) return true;
    return false;
}

void memory_share_host(Memory *m) {
    for (int i = 0; i < m->fetches.n; i++) {
        const Fetch *x = &m->fetches.at[i];
        const RepeatTime *t = memory_repeat(m, x->repeat);
        extend(&m->bufs.at[x->ahead], t->begin, t->end);
        extend(&m->bufs.at[m->ref[x->param->id].buf], t->begin, t->begin);
    }
    for (const Node *n = m->f->top->first; n; n = n->next) {
        if (n->op != OP_assign || !memory_on_host(m, n->args[0])) continue;
        const Value *v = below_views(n->args[1]);
        int leaf = m->ref[n->args[0]->id].buf, buf = m->ref[v->id].buf;
        if (!is_stacked(v) || m->bufs.at[buf].into >= 0 || v->def->parent != m->f->top) continue;
        if (reads_behind(m, v->def, leaf) || reads_behind(m, v->def, buf) != 1 || reads_whole(m, v->def, leaf))
            continue;
        m->bufs.at[buf].into = leaf;
    }
    for (const Node *n = m->f->top->first; n; n = n->next) {
        if (n->op != OP_repeat) continue;
        const RepeatTime *t = memory_repeat(m, n);
        for (int k = repeat_carries(n); k < n->nresults; k++) {
            const Value *inner = block_yield(n->body)->args[k];
            if (!memory_on_host(m, n->results[k]) || m->ref[inner->id].buf < 0) continue;
            Buf *b = &m->bufs.at[memory_root(m, m->ref[inner->id].buf)];
            if (b->home == n->body && !n->attr.flag && memory_is_stashed(m->u, n->results[k]))
                extend(b, t->begin, t->end);
        }
    }
}
