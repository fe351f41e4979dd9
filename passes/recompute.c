// SPDX-License-Identifier: Apache-2.0
// recompute: the dial, and what a choice costs.
#include "passes/recompute.h"
#include <string.h>

// One of the blocks in "mlp/gelu" has the name.
static bool scope_has(const char *scope, const char *name) {
    size_t n = strlen(name);
    while (scope) {
        const char *slash = strchr(scope, '/');
        size_t length = slash ? (size_t)(slash - scope) : strlen(scope);
        if (length == n && !memcmp(scope, name, n)) return true;
        scope = slash ? slash + 1 : NULL;
    }
    return false;
}

bool recompute_keeps(const Unit *u, int number, const Node *n, const Node *product) {
    const Strategy *s = u->strategy;
    if (u->recompute && u->recompute->keep) return number >= u->recompute->nchosen || u->recompute->keep[number];
    switch (s ? s->recompute : RECOMPUTE_NOTHING) {
    case RECOMPUTE_NOTHING:
    case RECOMPUTE_AUTO: return true;
    case RECOMPUTE_BLOCK: return false;
    case RECOMPUTE_NAMES: break;
    }
    for (int i = 0; i < s->nrecompute; i++) {
        const char *name = s->recompute_names[i];
        if (!strcmp(op_info(n->op)->name, name) || !strcmp(op_info(product->op)->name, name) ||
            scope_has(n->scope, name))
            return false;
    }
    return true;
}

static bool uses(const Node *reader, const Value *v) {
    for (int i = 0; i < reader->nargs; i++)
        if (reader->args[i] == v) return true;
    return false;
}

// Stacked by a repeat that runs forward and read by one that runs backward.
static bool is_kept(const Node *n, const Value *v) {
    for (const Node *reader = n->next; reader; reader = reader->next)
        if (reader->op == OP_repeat && reader->attr.flag != n->attr.flag && uses(reader, v)) return true;
    return false;
}

typedef struct Walk {
    const Unit *u;
    RecomputeCost cost;
    RecomputeKept *out;
    int n, most;
} Walk;

static void walk_kept(Walk *w, const Node *n, double times) {
    for (int k = repeat_carries(n); k < n->nresults; k++) {
        const Value *v = n->results[k];
        int64_t elements = 0;
        if (!is_kept(n, v) || !type_local_elements(&v->type, &w->u->mesh, &elements)) continue;
        double bytes = times * (double)elements * dtype_bytes(v->type.dtype);
        w->cost.kept += bytes;
        if (w->n < w->most) w->out[w->n] = (RecomputeKept){block_yield(n->body)->args[k], bytes};
        w->n++;
    }
}

static void walk(Walk *w, const Block *b, double times) {
    for (const Node *n = b->first; n; n = n->next) {
        if (n->body) {
            walk(w, n->body, n->op == OP_repeat ? times * (double)n->attr.axes.at[0]->extent : times);
        } else {
            double flops = times * node_work(w->u, n).flops;
            w->cost.flops += flops;
            if (n->again) w->cost.again += flops;
        }
        if (n->op == OP_repeat) walk_kept(w, n, times);
    }
}

static Walk walk_train(const Unit *u, RecomputeKept *out, int most) {
    Walk w = {.u = u, .out = out, .most = most};
    const Func *f = unit_func(u, "train");
    if (f) walk(&w, f->top, 1);
    return w;
}

RecomputeCost recompute_cost(const Unit *u) { return walk_train(u, NULL, 0).cost; }
int recompute_kept(const Unit *u, RecomputeKept *out, int most) { return walk_train(u, out, most).n; }
