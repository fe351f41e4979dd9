// SPDX-License-Identifier: Apache-2.0
// fuse_clusters: roots that share a kernel, and the nodes made of them.
#include "passes/fuse.h"
#include <string.h>

enum { ROOTS_MOST = 16, INPUTS_MOST = 40, TASKS_LEAST = 64, WIDE_LEAST = 16384 };

// What a root is made of: materialised values it reads, and those of them reached through a view that moves places.
typedef struct Reads {
    Vec(Value *) values;
    bool *moved; // by value id
    uint8_t *seen;
} Reads;

static bool moves_places(const Node *n, int arg) {
    switch (n->op) {
    case OP_rename:
    case OP_slice:
    case OP_place:
    case OP_concat:
    case OP_part: return true;
    case OP_take: return arg == 0;
    default: return false;
    }
}

static void read_value(const Fuse *f, Reads *r, Value *v, bool moved) {
    uint8_t bit = moved ? 2 : 1;
    if (r->seen[v->id] & bit) return;
    bool first = !r->seen[v->id];
    r->seen[v->id] |= bit;
    if (!fuse_is_inlined(f, v)) {
        if (first) vec_push(f->arena, &r->values, v);
        r->moved[v->id] |= moved;
        return;
    }
    for (int i = 0; i < v->def->nargs; i++) read_value(f, r, v->def->args[i], moved || moves_places(v->def, i));
}

static Reads root_reads(const Fuse *f, const Value *root) {
    Reads r = {.moved = NEW_ARRAY(f->arena, bool, f->ids), .seen = NEW_ARRAY(f->arena, uint8_t, f->ids)};
    for (int i = 0; i < root->def->nargs; i++) read_value(f, &r, root->def->args[i], moves_places(root->def, i));
    return r;
}

static bool same_set(const Axes *a, const Axes *b) {
    if (a->n != b->n) return false;
    for (int i = 0; i < a->n; i++)
        if (axes_find(b, a->at[i]) < 0) return false;
    return true;
}
static Axes both(const Axes *a, const Axes *b) {
    Axes c = *a;
    for (int i = 0; i < b->n; i++) axes_push(&c, b->at[i]);
    return c;
}
static int64_t places(const Fuse *f, const Type *t) {
    int64_t n = 1;
    type_local_elements(t, &f->func->unit->mesh, &n);
    return n;
}

// ---- vertices: a node that is no root's, or a cluster

static bool bit(const uint64_t *set, int i) { return set[i / 64] >> (i % 64) & 1; }
static void set_bit(uint64_t *set, int i) { set[i / 64] |= UINT64_C(1) << (i % 64); }
static void join(const Fuse *f, uint64_t *to, const uint64_t *from) {
    for (int i = 0; i < f->words; i++) to[i] |= from[i];
}

typedef struct Graph {
    uint64_t **before; // by vertex: a node's position, or n + the cluster's number
    int n;
} Graph;

static int vertex_of(const Fuse *f, const Value *v) {
    if (f->is_root[v->id]) return f->of[v->id] ? f->of[v->id]->vertex : -1;
    return f->at[v->id] - 1; // -1: from elsewhere
}

static void depend(const Fuse *f, const Graph *g, uint64_t *before, const Value *v) {
    int at = vertex_of(f, v);
    if (at < 0) return;
    set_bit(before, at);
    if (g->before[at]) join(f, before, g->before[at]);
}

static bool is_wide(const Cluster *c, const Value *v) { return v->type.rank > c->outer.n; }

// Would the root, reading `r`, find its place in the cluster's loops?
static bool fits_loops(const Fuse *f, const Cluster *c, const Value *root) {
    Axes own = type_axes(&root->type), all = both(&c->outer, &c->inner);
    if (fuse_is_reduction(root)) {
        const Type *t = &root->def->args[0]->type;
        Axes from = type_axes(t);
        bool is_row = axes_find(&root->def->attr.axes, t->dim[t->rank - 1].axis) >= 0;
        if (c->reduces) return same_set(&c->outer, &own) && same_set(&c->inner, &root->def->attr.axes);
        if (same_set(&c->outer, &own)) return true;
        return same_set(&c->outer, &from) && is_row && places(f, &root->type) >= TASKS_LEAST;
    }
    if (same_set(&own, &c->outer)) return true;
    if (!c->reduces || !same_set(&own, &all) || !c->is_row) return false;
    int64_t outer = 1;
    for (int i = 0; i < c->roots.n; i++)
        if (fuse_is_reduction(c->roots.at[i])) outer = places(f, &c->roots.at[i]->type);
    return outer >= TASKS_LEAST || places(f, &root->type) < WIDE_LEAST;
}

static const Type *domain(const Value *root) {
    return fuse_is_reduction(root) ? &root->def->args[0]->type : &root->type;
}

// An axis can be whole in one value of a block and split in another: they are not made in one loop.
static bool same_parts(const Cluster *c, const Value *root) {
    const Type *t = domain(root);
    for (int i = 0; i < c->roots.n; i++) {
        const Type *other = domain(c->roots.at[i]);
        for (int d = 0; d < t->rank; d++) {
            int at = type_find(other, t->dim[d].axis);
            if (at >= 0 && other->dim[at].split != t->dim[d].split) return false;
        }
    }
    return true;
}

static bool is_related(const Fuse *f, const Cluster *c, const Reads *r) {
    for (int i = 0; i < r->values.n; i++) {
        const Value *v = r->values.at[i];
        if (f->is_root[v->id] && f->of[v->id] == c) return true;
        for (int j = 0; j < c->inputs.n && v->type.rank; j++)
            if (c->inputs.at[j] == v) return true;
    }
    return false;
}

static bool can_join(const Fuse *f, const Graph *g, const Cluster *c, const Value *root, const Reads *r) {
    if (c->roots.n >= ROOTS_MOST || c->inputs.n + r->values.n > INPUTS_MOST) return false;
    if (!fits_loops(f, c, root) || !same_parts(c, root) || !is_related(f, c, r)) return false;
    for (int i = 0; i < r->values.n; i++) {
        const Value *v = r->values.at[i];
        int at = vertex_of(f, v);
        if (at == c->vertex) {
            if (r->moved[v->id]) return false;
        } else if (at >= 0 && g->before[at] && bit(g->before[at], c->vertex)) {
            return false; // it reads what is made of the cluster's results
        }
    }
    return true;
}

static void add_root(Fuse *f, Graph *g, Cluster *c, Value *root, const Reads *r) {
    if (!c->roots.n) {
        c->outer = type_axes(&root->type);
        c->vertex = f->n + f->clusters.n;
        c->before = g->before[c->vertex] = NEW_ARRAY(f->arena, uint64_t, f->words);
        vec_push(f->arena, &f->clusters, c);
    }
    if (fuse_is_reduction(root) && !c->reduces) {
        const Type *t = &root->def->args[0]->type;
        c->reduces = true;
        c->has_wide = c->roots.n && c->outer.n != root->type.rank;
        c->outer = type_axes(&root->type);
        c->inner = root->def->attr.axes;
        c->is_row = axes_find(&c->inner, t->dim[t->rank - 1].axis) >= 0;
    }
    c->has_wide |= is_wide(c, root);
    for (int i = 0; i < r->values.n; i++) {
        Value *v = r->values.at[i];
        if (f->is_root[v->id] && f->of[v->id] == c) continue;
        depend(f, g, c->before, v);
        bool known = false;
        for (int j = 0; j < c->inputs.n && !known; j++) known = c->inputs.at[j] == v;
        if (!known) vec_push(f->arena, &c->inputs, v);
    }
    vec_push(f->arena, &c->roots, root);
    f->of[root->id] = c;
    for (int i = 0; i < f->n + f->clusters.n; i++)
        if (g->before[i] && bit(g->before[i], c->vertex)) join(f, g->before[i], c->before);
}

void fuse_make_clusters(Fuse *f) {
    int nroots = 0;
    for (int i = 0; i < f->ids; i++) {
        nroots += f->is_root[i];
        f->of[i] = NULL;
    }
    f->clusters.n = 0;
    f->words = (f->n + nroots + 63) / 64;
    Graph g = {.before = NEW_ARRAY(f->arena, uint64_t *, f->n + nroots + 1)};
    for (int i = 0; i < f->n; i++) {
        Node *n = f->nodes[i];
        Value *v = n->nresults == 1 ? n->results[0] : NULL;
        if (!v || !fuse_is_fusable(f, v) || f->is_kept[v->id]) {
            g.before[i] = NEW_ARRAY(f->arena, uint64_t, f->words);
            for (int a = 0; a < n->nargs; a++) depend(f, &g, g.before[i], n->args[a]);
        }
        if (!v || !fuse_is_fusable(f, v) || !f->is_root[v->id]) continue;
        Reads r = root_reads(f, v);
        Cluster *into = NULL;
        for (int c = f->clusters.n - 1; c >= 0 && !into; c--)
            if (can_join(f, &g, f->clusters.at[c], v, &r)) into = f->clusters.at[c];
        add_root(f, &g, into ? into : NEW(f->arena, Cluster), v, &r);
    }
}

// ---- the new nodes

static void mark_body(const Fuse *f, bool *in_body, const Value *v) {
    if (in_body[v->id]) return;
    in_body[v->id] = true;
    for (int i = 0; i < v->def->nargs; i++)
        if (fuse_is_inlined(f, v->def->args[i])) mark_body(f, in_body, v->def->args[i]);
}

static void build_cluster(Fuse *f, Cluster *c, const bool *is_stored, Value **made) {
    bool *in_body = NEW_ARRAY(f->arena, bool, f->ids);
    Value **map = NEW_ARRAY(f->arena, Value *, f->ids);
    Vec(Value *) args = {0}, stored = {0};
    for (int i = 0; i < c->roots.n; i++) {
        mark_body(f, in_body, c->roots.at[i]);
        if (is_stored[c->roots.at[i]->id]) vec_push(f->arena, &stored, c->roots.at[i]);
    }
    for (int i = 0; i < c->inputs.n; i++) { // a later root may have joined that makes what an earlier one reads
        Value *v = c->inputs.at[i];
        if (!(f->is_root[v->id] && f->of[v->id] == c)) vec_push(f->arena, &args, v);
    }
    const Node *last = c->roots.at[c->roots.n - 1]->def;
    Node *n = node_new(f->func, OP_fused, args.at, args.n, stored.n, NULL, last->loc);
    n->body = block_new(f->func, n);
    for (int i = 0; i < args.n; i++) {
        map[args.at[i]->id] = block_add_param(n->body, &args.at[i]->type, args.at[i]->name);
        if (made[args.at[i]->id]) n->args[i] = made[args.at[i]->id];
    }
    for (int i = 0; i < f->n; i++)
        if (f->nodes[i]->nresults == 1 && in_body[f->nodes[i]->results[0]->id])
            node_clone(f->func, n->body, f->nodes[i], map);
    Value **yields = NEW_ARRAY(f->arena, Value *, stored.n + 1);
    for (int i = 0; i < stored.n; i++) {
        yields[i] = map[stored.at[i]->id];
        n->results[i]->type = stored.at[i]->type;
        n->results[i]->name = stored.at[i]->name;
        made[stored.at[i]->id] = n->results[i];
    }
    node_append(n->body, node_new(f->func, OP_yield, yields, stored.n, 0, NULL, last->loc));
    c->node = n;
}

typedef struct Emitter {
    Fuse *f;
    const bool *is_stored;
    Value **made;  // by value id: what stands for it
    bool *is_done; // by node position
} Emitter;

static void emit_value(Emitter *e, const Value *v);
static void emit_node(Emitter *e, int at) {
    if (e->is_done[at]) return;
    e->is_done[at] = true;
    Node *n = e->f->nodes[at];
    for (int i = 0; i < n->nargs; i++) { emit_value(e, n->args[i]); }
    node_append(e->f->block, n);
}
static void emit_value(Emitter *e, const Value *v) {
    if (v->id >= e->f->ids) return;
    if (!e->f->is_root[v->id]) {
        if (e->f->at[v->id]) emit_node(e, e->f->at[v->id] - 1);
        return;
    }
    Cluster *c = e->f->of[v->id];
    if (c->node) return;
    for (int i = 0; i < c->inputs.n; i++)
        if (!(e->f->is_root[c->inputs.at[i]->id] && e->f->of[c->inputs.at[i]->id] == c)) emit_value(e, c->inputs.at[i]);
    build_cluster(e->f, c, e->is_stored, e->made);
    node_append(e->f->block, c->node);
}

void fuse_build(Fuse *f) {
    bool *is_stored = NEW_ARRAY(f->arena, bool, f->ids);
    for (int i = 0; i < f->n; i++) { // read by nodes that stay
        const Node *n = f->nodes[i];
        if (n->nresults == 1 && fuse_is_fusable(f, n->results[0]) && !f->is_kept[n->results[0]->id]) continue;
        for (int a = 0; a < n->nargs; a++) is_stored[n->args[a]->id] = true;
    }
    for (int i = 0; i < f->clusters.n; i++) // read by other clusters
        for (int j = 0; j < f->clusters.at[i]->inputs.n; j++) {
            const Value *v = f->clusters.at[i]->inputs.at[j];
            if (f->is_root[v->id] && f->of[v->id] != f->clusters.at[i]) is_stored[v->id] = true;
        }
    Emitter e = {.f = f, .is_stored = is_stored};
    e.made = NEW_ARRAY(f->arena, Value *, f->ids);
    e.is_done = NEW_ARRAY(f->arena, bool, f->n + 1);
    f->block->first = f->block->last = NULL;
    for (int i = 0; i < f->n; i++) f->nodes[i]->prev = f->nodes[i]->next = NULL;
    for (int i = 0; i < f->n; i++) {
        const Node *n = f->nodes[i];
        bool stays = n->nresults != 1 || !fuse_is_fusable(f, n->results[0]);
        if (stays) emit_node(&e, i);
    }
    for (int i = 0; i < f->n; i++) // last: kernels are made of views as they were
        for (int a = 0; e.is_done[i] && a < f->nodes[i]->nargs; a++) {
            Value *made = e.made[f->nodes[i]->args[a]->id];
            if (made) f->nodes[i]->args[a] = made;
        }
}
