// SPDX-License-Identifier: Apache-2.0
// fuse_roots: which values get memory.
#include "passes/fuse.h"
#include "ir/build.h"
#include <string.h>

enum { TASKS_WANTED = 64, BIG_REDUCTION = 16384 };

static int64_t elements(const Func *f, const Type *t) {
    int64_t n = 1;
    type_local_elements(t, &f->unit->mesh, &n);
    return n;
}

// A large reduction to little becomes two, the first with results enough to share among threads. The shape alone
// decides where, so that sums are the same for any number of threads.
void fuse_split_reductions(Block *b) {
    Func *f = b->func;
    FOR_NODES(n, b) {
        if (n->op != OP_sum && n->op != OP_max) continue;
        const Type *t = &n->args[0]->type;
        int64_t kept = elements(f, &n->results[0]->type);
        if (kept >= TASKS_WANTED || elements(f, t) < BIG_REDUCTION || n->attr.axes.n < 2) continue;
        if (n->op == OP_max && (n->results[0]->type.max || n->results[0]->type.sum)) continue; // only the last may pend
        Axes second = {0}, first = {0};
        for (int d = 0; d < t->rank; d++) {
            if (axes_find(&n->attr.axes, t->dim[d].axis) < 0) continue;
            bool last = second.n + first.n == n->attr.axes.n - 1;
            if (kept < TASKS_WANTED && !last) {
                axes_push(&second, t->dim[d].axis);
                kept *= dim_local(&t->dim[d], &f->unit->mesh);
            } else {
                axes_push(&first, t->dim[d].axis);
            }
        }
        if (!second.n) continue;
        Builder at = builder_before(n);
        Value *part = n->op == OP_sum ? build_sum(&at, n->args[0], &first) : build_max(&at, n->args[0], &first);
        if (!part) continue;
        n->args[0] = part;
        n->attr.axes = second;
    }
}

// base + scatter becomes one node, which adds the rows to base in place: a table's gradient is mostly untouched rows.
void fuse_scatter_sums(Block *b) {
    Func *f = b->func;
    int *uses = NEW_ARRAY(f->unit->scratch, int, f->next_id);
    func_count_uses(f, uses);
    FOR_NODES(n, b) {
        if (n->op != OP_add) continue;
        int at = n->args[1]->def && n->args[1]->def->op == OP_scatter;
        Node *scatter = n->args[at]->def;
        const Value *base = n->args[1 - at];
        if (!scatter || scatter->op != OP_scatter || scatter->parent != b || uses[n->args[at]->id] != 1) continue;
        if (base == n->args[at] || !type_same_dims(&base->type, &n->results[0]->type) ||
            !type_same_dims(&n->args[at]->type, &n->results[0]->type))
            continue;
        Value *outer[] = {n->args[1 - at], scatter->args[0], scatter->args[1]}, *map[3];
        Node *sum = node_new(f, OP_fused, outer, 3, 1, NULL, n->loc);
        sum->body = block_new(f, sum);
        for (int i = 0; i < 3; i++) map[i] = block_add_param(sum->body, &outer[i]->type, outer[i]->name);
        Node *s = node_new(f, OP_scatter, (Value *[]){map[1], map[2]}, 2, 1, &scatter->attr, scatter->loc);
        Node *add = node_new(f, OP_add, (Value *[]){map[0], s->results[0]}, 2, 1, &n->attr, n->loc);
        s->results[0]->type = n->args[at]->type;
        add->results[0]->type = sum->results[0]->type = n->results[0]->type;
        sum->results[0]->name = n->results[0]->name;
        node_append(sum->body, s);
        node_append(sum->body, add);
        node_append(sum->body, node_new(f, OP_yield, add->results, 1, 0, NULL, n->loc));
        node_insert_before(n, sum);
        value_replace_uses(f, n->results[0], sum->results[0]);
        node_remove(n);
        node_remove(scatter);
    }
}

// ---- views

// Are the strides of v, a chain of views over a dense base, those of a place in memory? Gives the base.
static bool view_base(const Fuse *f, Value *v, Value **out_base, int64_t *out_stride, bool *out_slices) {
    const Mesh *mesh = &f->func->unit->mesh;
    const Node *n = v->def;
    if (!n || n->parent != f->block || (n->op != OP_rename && n->op != OP_slice)) {
        *out_base = v;
        int64_t stride = 1;
        for (int d = v->type.rank - 1; d >= 0; d--) {
            out_stride[d] = stride;
            stride *= dim_local(&v->type.dim[d], mesh);
        }
        return true;
    }
    int64_t from[RANK_MAX];
    if (!view_base(f, n->args[0], out_base, from, out_slices)) return false;
    const Type *t = &n->args[0]->type;
    const Axes *a = &n->attr.axes, *b = &n->attr.to;
    int p = type_find(t, a->at[0]), count = 0;
    if (n->op == OP_slice) *out_slices = true;
    for (int d = 0; d < t->rank; d++) {
        if (d != p) {
            out_stride[count++] = from[d];
        } else if (n->op == OP_slice) {
            if (b->n) out_stride[count++] = from[d];
        } else if (a->n == 1) {
            int64_t stride = from[d];
            for (int i = b->n - 1; i >= 0; i--) {
                out_stride[count + i] = stride;
                stride *= dim_local(&v->type.dim[type_find(&v->type, b->at[i])], mesh);
            }
            count += b->n;
        } else {
            for (int i = 1; i < a->n; i++)
                if (from[d + i - 1] != from[d + i] * dim_local(&t->dim[d + i], mesh)) return false;
            out_stride[count++] = from[d + a->n - 1];
            d += a->n - 1;
        }
    }
    return true;
}

// ---- roots

static void make_root(Fuse *f, Value *v);

static void need_inlined(Fuse *f, Value *v) {
    if (!fuse_is_fusable(f, v) || f->is_root[v->id]) return;
    if (fuse_is_reduction(v)) {
        make_root(f, v);
        return;
    }
    const Node *n = v->def;
    for (int i = 0; i < n->nargs; i++) {
        Value *x = n->args[i];
        if (n->op == OP_take && i == 0) { // rows are read in any order: what they are made of must be in memory
            while (fuse_is_inlined(f, x) && (x->def->op == OP_rename || x->def->op == OP_slice)) x = x->def->args[0];
            if (fuse_is_fusable(f, x)) make_root(f, x);
            continue;
        }
        need_inlined(f, x);
    }
}

static void make_root(Fuse *f, Value *v) {
    if (f->is_root[v->id]) return;
    f->is_root[v->id] = true;
    const Node *n = v->def;
    if (n->op == OP_take) {
        Value *x = n->args[0];
        while (fuse_is_inlined(f, x) && (x->def->op == OP_rename || x->def->op == OP_slice)) x = x->def->args[0];
        if (fuse_is_fusable(f, x)) make_root(f, x);
    }
    for (int i = n->op == OP_take; i < n->nargs; i++) need_inlined(f, n->args[i]);
}

static bool follows_strides(const Node *user) {
    return user->op == OP_dot || user->op == OP_attend || user->op == OP_attend_grad;
}

static bool is_view(const Fuse *f, const Value *v) {
    return fuse_is_fusable(f, v) && (v->def->op == OP_rename || v->def->op == OP_slice);
}

static void need_view(Fuse *f, const Node *user, Value *v) {
    if (f->is_root[v->id]) return;
    Value *base;
    int64_t stride[RANK_MAX];
    bool slices = false, fits = view_base(f, v, &base, stride, &slices);
    bool in_memory = !fuse_is_fusable(f, base) || f->is_root[base->id];
    if (!fits || (slices && !follows_strides(user)) || (!in_memory && (!slices || f->uses[base->id] < 2))) {
        make_root(f, v);
        return;
    }
    if (!in_memory) make_root(f, base);
    for (Value *x = v; x != base; x = x->def->args[0]) f->is_kept[x->id] = true;
}

void fuse_mark_roots(Fuse *f) {
    for (int views = 0; views < 2; views++)
        for (int i = 0; i < f->n; i++) {
            const Node *n = f->nodes[i];
            if (n->nresults && fuse_is_fusable(f, n->results[0])) continue;
            for (int a = 0; a < n->nargs; a++) {
                if (!fuse_is_fusable(f, n->args[a]) || is_view(f, n->args[a]) != (views == 1)) continue;
                if (views) need_view(f, n, n->args[a]);
                else make_root(f, n->args[a]);
            }
        }
}

// ---- values worth keeping

// What making a value takes, in cycles for a vector of it: an op about its FLOPs in the table, an input of full size
// what reading it takes (from memory when large, from cache when not).
typedef struct Price {
    double flops;
    int wide;
} Price;

static void price(const Fuse *f, const Value *v, int64_t size, bool *seen, Price *out) {
    if (seen[v->id]) return;
    seen[v->id] = true;
    if (!fuse_is_inlined(f, v)) {
        out->wide += v->type.rank > 0 && elements(f->func, &v->type) >= size;
        return;
    }
    int64_t own = elements(f->func, &v->type);
    double flops = v->def->op == OP_random ? 100 : op_info(v->def->op)->flops;
    out->flops += own >= size ? flops : flops * (double)own / (double)size; // what is broadcast is made less often
    for (int i = 0; i < v->def->nargs; i++) price(f, v->def->args[i], size, seen, out);
}

static Price price_of(const Fuse *f, const Value *v) {
    Price p = {0};
    price(f, v, elements(f->func, &v->type), NEW_ARRAY(f->arena, bool, f->ids), &p);
    return p;
}

// For a value that two kernels need: writing it once and reading it twice against making it twice.
static bool is_worth_keeping(const Fuse *f, const Value *v) {
    switch (v->def->op) {
    case OP_const:
    case OP_index:
    case OP_rename:
    case OP_slice:
    case OP_expand: return false;
    default: break;
    }
    Price p = price_of(f, v);
    if (v->type.rank == 0) return p.flops >= 16;
    double read = elements(f->func, &v->type) > 65536 ? 15 : 4, write = 2 * read;
    double make = p.flops + read * p.wide;
    return 2 * make > make + write + 2 * read;
}

static bool makes_again(const Fuse *f, const Node *user, const Value *v) {
    const Value *y = user->nresults ? user->results[0] : NULL;
    if (!y || !v->type.rank || user->op == OP_slice || fuse_is_reduction(y)) return false;
    const Axis *last = v->type.dim[v->type.rank - 1].axis;
    int d = type_find(&y->type, last);
    return d == y->type.rank - 1 && elements(f->func, &y->type) >= 4 * elements(f->func, &v->type);
}

bool fuse_promote(Fuse *f) {
    enum { NONE = 0, MANY = -1 };
    int *owner = NEW_ARRAY(f->arena, int, f->ids); // 1 + vertex of the kernel that makes it, or MANY
    bool any = false;
    int fresh = f->n + f->clusters.n + 2;
    for (int i = f->n - 1; i >= 0; i--) {
        Node *n = f->nodes[i];
        if (n->nresults != 1 || !fuse_is_fusable(f, n->results[0])) continue;
        Value *v = n->results[0];
        int who = f->is_root[v->id] ? (f->of[v->id] ? f->of[v->id]->vertex + 1 : NONE) : owner[v->id];
        if (who == MANY && is_worth_keeping(f, v)) {
            f->is_root[v->id] = true;
            any = true;
            who = fresh++;
        }
        if (who == NONE) continue;
        for (int a = 0; a < n->nargs; a++) {
            Value *x = n->args[a];
            if (!fuse_is_inlined(f, x)) continue;
            int *o = &owner[x->id];
            *o = *o == NONE || *o == who ? who : MANY;
            if (makes_again(f, n, x)) {
                if (price_of(f, x).flops >= 16) *o = MANY;
            }
        }
    }
    return any;
}
