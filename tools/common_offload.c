// SPDX-License-Identifier: Apache-2.0
#include "tools/common_offload.h"
#include "ir/op.h"
#include "ir/storage.h"
#include <inttypes.h>

typedef struct Moved { // bytes of one call
    double fetched, stashed;
} Moved;

static double local_bytes(const Unit *u, const Type *t) {
    int64_t n = 0;
    type_local_elements(t, &u->mesh, &n);
    return (double)n * dtype_bytes(t->dtype);
}

static bool on_host(const FuncStorage *s, const Value *v) {
    return s->of[v->id].placed && section_is_host(s->of[v->id].section);
}

// Every slice of a repeat's operands and results, whole fetches (`stop`), and what is assigned without a repeat.
static Moved moved_by(const Unit *u, const FuncStorage *s, const Node *n) {
    Moved m = {0};
    for (int i = 0; n->op == OP_repeat && i < n->nargs; i++)
        if (on_host(s, n->args[i])) m.fetched += local_bytes(u, &n->args[i]->type);
    for (int k = 0; n->op == OP_repeat && k < n->nresults; k++)
        if (on_host(s, n->results[k])) m.stashed += local_bytes(u, &n->results[k]->type);
    if (n->op == OP_stop && on_host(s, n->args[0])) m.fetched += local_bytes(u, &n->args[0]->type);
    if (n->op == OP_assign && on_host(s, n->args[0]) && !on_host(s, n->args[1]))
        m.stashed += local_bytes(u, &n->args[1]->type);
    return m;
}

void offload_print_memory(const Storage *s, FILE *out) {
    if (!s->host_bytes) return;
    int64_t most = 0;
    for (int i = 0; i < s->pipeline->nstages; i++)
        if (s->stages[i].host_bytes > s->stages[most].host_bytes) most = i;
    fprintf(out, "memory of the host per rank, exact%s: %" PRId64 " bytes\n",
            s->pipeline->nstages > 1 ? " and of the stage that needs most" : "", s->host_bytes);
    fprintf(out, "  %-44s %14" PRId64 "\n", "optimizer states", s->stages[most].stash_base);
    fprintf(out, "  %-44s %14" PRId64 "\n", "activations", s->host_bytes - s->stages[most].stash_base);
}

void offload_print_moves(const Unit *u, const char *func, const double *times, FILE *out) {
    Moved all = {0};
    for (int f = 0; f < u->funcs.n; f++)
        for (const Node *n = times[f] > 0 ? u->funcs.at[f]->top->first : NULL; n; n = n->next) {
            Moved m = moved_by(u, &u->storage->funcs[f], n);
            all.fetched += times[f] * m.fetched;
            all.stashed += times[f] * m.stashed;
        }
    if (all.fetched + all.stashed > 0)
        fprintf(out, "copies of one call of %s: %.0f bytes from the host, %.0f bytes to it\n", func, all.fetched,
                all.stashed);
}
