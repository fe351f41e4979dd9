// SPDX-License-Identifier: Apache-2.0
#include "tools/common_stats.h"
#include "base/bytes.h"
#include "ir/op.h"
#include "ir/storage.h"
#include "ir/strategy.h"
#include "passes/recompute.h"
#include "tools/common_offload.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const StepList *list_of(const Unit *u, const char *name) {
    const Pipeline *p = u->pipeline;
    for (int i = 0; p && i < p->nlists; i++)
        if (!strcmp(p->lists[i].name, name)) return &p->lists[i];
    return NULL;
}

// How often each function runs in a call of the program `name` on a stage; without a pipeline once.
static void count_runs(const Unit *u, const char *name, int stage, double *times) {
    const StepList *l = list_of(u, name);
    for (int f = 0; f < u->funcs.n; f++) times[f] = !l && !strcmp(u->funcs.at[f]->name, name);
    for (int64_t i = 0; l && i < l->count[stage]; i++)
        if (l->steps[stage][i].kind == STEP_RUN) times[l->steps[stage][i].func]++;
}

static double stage_flops(const Unit *u, const char *name, int stage, double *times) {
    double total = 0;
    count_runs(u, name, stage, times);
    for (int f = 0; f < u->funcs.n; f++)
        for (const Node *n = times[f] > 0 ? u->funcs.at[f]->top->first : NULL; n; n = n->next)
            total += times[f] * node_work(u, n).flops;
    return total;
}

// The stage that has most to do.
static int busiest_stage(const Unit *u, const char *name, double *times) {
    int best = 0;
    double most = 0;
    for (int i = 0; u->pipeline && i < u->pipeline->nstages; i++) {
        double flops = stage_flops(u, name, i, times);
        if (flops > most) most = flops, best = i;
    }
    return best;
}

double func_flops(const Unit *u, const char *func) {
    double *times = calloc((size_t)u->funcs.n + 1, sizeof *times), total = 0;
    int stages = u->pipeline ? u->pipeline->nstages : 1;
    for (int i = 0; times && i < stages; i++) total += stage_flops(u, func, i, times) / stages;
    free(times);
    return total;
}

double unit_parameters(const Unit *u) {
    double total = 0;
    for (int i = 0; u->storage && i < u->storage->nleaves; i++) {
        int64_t n;
        if (u->storage->leaves[i].kind == LEAF_PARAM && type_elements(&u->storage->leaves[i].type, &n))
            total += (double)n;
    }
    return total;
}

static void group_name(const Mesh *m, MeshSet set, char *text, size_t size) {
    text[0] = 0;
    for (int i = 0; i < m->n; i++)
        if (set >> i & 1) {
            size_t n = strlen(text);
            snprintf(text + n, size - n, "%s%s", n ? "," : "", m->axis[i].name);
        }
}

typedef struct Traffic {
    double calls, bytes;
} Traffic;

static void list_collectives(const Unit *u, const Block *b, double times, Traffic *total, FILE *out) {
    for (const Node *n = b->first; n; n = n->next) {
        if (n->body)
            list_collectives(u, n->body, n->op == OP_repeat ? times * (double)n->attr.axes.at[0]->extent : times, total,
                             out);
        if (!(op_info(n->op)->traits & TRAIT_COMM)) continue;
        // The larger side: what is gathered, or what is reduced.
        const Type *in = &n->args[0]->type, *made = &n->results[0]->type;
        int64_t before = 0, after = 0;
        type_local_elements(in, &u->mesh, &before);
        type_local_elements(made, &u->mesh, &after);
        double bytes = (double)(before > after ? before : after) * dtype_bytes(in->dtype);
        char group[80], size[40];
        group_name(&u->mesh, n->attr.mesh, group, sizeof group);
        fprintf(out, "  %-14s %10s  x %-5.0f over %s=%" PRId64 "  %s  %s:%d%s\n", op_info(n->op)->name,
                bytes_print(bytes, size, sizeof size), times, group, mesh_extent(&u->mesh, n->attr.mesh),
                n->args[0]->name ? n->args[0]->name : "", n->loc.file ? n->loc.file : "-", n->loc.line,
                n->op == OP_all_to_all && n->nargs == 3 ? "  at most: counted" : "");
        total->calls += times;
        total->bytes += times * bytes;
    }
}

// What made it and where: "attend in attention, gpt2.tgf:17".
static const char *kept_name(const RecomputeKept *k, char *text, size_t size) {
    const Value *v = k->inner;
    const Node *n = v->def;
    while (n && n->op == OP_fused) {
        v = block_yield(n->body)->args[v->index];
        n = v->def;
    }
    const char *slash = n && n->loc.file ? strrchr(n->loc.file, '/') : NULL;
    if (!n) snprintf(text, size, "carry %s", v->name ? v->name : "");
    else
        snprintf(text, size, "%s%s%s, %s:%d", op_info(n->op)->name, n->scope ? " in " : "", n->scope ? n->scope : "",
                 n->loc.file ? slash ? slash + 1 : n->loc.file : "-", n->loc.line);
    return text;
}

static void list_kept(const Unit *u, FILE *out) {
    RecomputeKept kept[64];
    char text[40], name[80];
    int n = recompute_kept(u, kept, 64);
    for (int i = 0; i < n && i < 64; i++)
        fprintf(out, "  %-44s %14.0f  %s\n", kept_name(&kept[i], name, sizeof name), kept[i].bytes,
                bytes_print(kept[i].bytes, text, sizeof text));
    if (n > 64) fprintf(out, "  ... and %d more\n", n - 64);
}

// Stages [first, end) need the same.
typedef struct StageRun {
    int first, end;
    int64_t bytes;
} StageRun;

static void print_run(const StageRun *r, FILE *out) {
    char name[40], text[40];
    if (r->end == r->first + 1) snprintf(name, sizeof name, "stage %d", r->first);
    else snprintf(name, sizeof name, "stages %d-%d", r->first, r->end - 1);
    fprintf(out, "  %-44s %14" PRId64 "  %s\n", name, r->bytes, bytes_print((double)r->bytes, text, sizeof text));
}

// What each stage needs: neighbours that need the same on one line; of more than a dozen lines the first and last ones,
// and in which bounds the others are.
static void list_stages(const Storage *s, FILE *out) {
    enum { LINES = 12, HEAD = 6, TAIL = 4 };
    StageRun *runs = calloc((size_t)s->pipeline->nstages, sizeof *runs);
    int n = 0;
    for (int i = 0; runs && i < s->pipeline->nstages; i++) {
        if (!n || runs[n - 1].bytes != s->stages[i].slab_bytes)
            runs[n++] = (StageRun){.first = i, .bytes = s->stages[i].slab_bytes};
        runs[n - 1].end = i + 1;
    }
    const StageRun *least = runs, *most = runs;
    for (int i = 0; i < n; i++) {
        if (runs[i].bytes < least->bytes) least = &runs[i];
        if (runs[i].bytes > most->bytes) most = &runs[i];
        if (n <= LINES || i < HEAD || i >= n - TAIL) print_run(&runs[i], out);
        else if (i == HEAD) fprintf(out, "  ... stages %d-%d\n", runs[i].first, runs[n - TAIL - 1].end - 1);
    }
    char low[40], high[40];
    if (n > LINES)
        fprintf(out, "  least: stage %d, %s; most: stage %d, %s\n", least->first,
                bytes_print((double)least->bytes, low, sizeof low), most->first,
                bytes_print((double)most->bytes, high, sizeof high));
    free(runs);
}

static void list_pipeline(const Unit *u, const char *func, FILE *out) {
    const Pipeline *p = u->pipeline;
    const StepList *l = list_of(u, func);
    int64_t steps = 0, sends = 0;
    for (int i = 0; l && i < p->nstages; i++) {
        steps += l->count[i];
        for (int64_t k = 0; k < l->count[i]; k++) sends += l->steps[i][k].kind == STEP_SEND;
    }
    fprintf(out, ", %" PRId64 " microbatches\n", p->microbatches);
    if (p->nstages > 1)
        fprintf(out, "%d stages, %d chunks: %s is %" PRId64 " steps, %" PRId64 " of them messages to other stages",
                p->nstages, p->nchunks, func, steps, sends);
    else fprintf(out, "one stage: %s is %" PRId64 " steps", func, steps);
}

void stats_print(const Unit *u, double seconds, FILE *out) {
    char text[40], other[40];
    const Storage *s = u->storage;
    const char *func = unit_func(u, "train") || list_of(u, "train") ? "train" : "eval";
    fprintf(out, "model %s, strategy %s, %" PRId64 " rank%s", u->name, u->strategy ? u->strategy->name : "(none)",
            mesh_devices(&u->mesh), mesh_devices(&u->mesh) == 1 ? "" : "s");
    int axes = 0;
    for (int i = 0; i < u->mesh.n; i++)
        if (!(u->mesh.time >> i & 1))
            fprintf(out, "%s%s=%" PRId64, axes++ ? ", " : " (", u->mesh.axis[i].name, u->mesh.axis[i].extent);
    fprintf(out, "%s", axes ? ")" : "");
    if (u->pipeline) list_pipeline(u, func, out);
    fprintf(out, "\nparameters: %.0f\n", unit_parameters(u));
    if (s) {
        bool alike = true;
        for (int i = 1; i < s->pipeline->nstages; i++)
            alike = alike && s->stages[i].slab_bytes == s->stages[0].slab_bytes;
        fprintf(out, "memory per rank, exact and %s: %" PRId64 " bytes (%s)\n",
                alike ? "the same on every rank" : "of the stage that needs most", s->slab_bytes,
                bytes_print((double)s->slab_bytes, text, sizeof text));
        if (!alike) list_stages(s, out);
        const struct {
            const char *what;
            int64_t bytes;
        } parts[] = {{"parameters", s->param_bytes},
                     {"optimizer states", s->state_bytes},
                     {"inputs and outputs", s->io_bytes},
                     {"kept between tasks: microbatches, sums", s->buffer_bytes},
                     {"gradients, activations, collective buffers", s->activation_bytes}};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            if (parts[i].bytes || i != 3)
                fprintf(out, "  %-44s %14" PRId64 "  %s\n", parts[i].what, parts[i].bytes,
                        bytes_print((double)parts[i].bytes, text, sizeof text));
        offload_print_memory(s, out);
    }
    double *times = calloc((size_t)u->funcs.n + 1, sizeof *times);
    if (!times) return;
    int stage = busiest_stage(u, func, times);
    double flops = stage_flops(u, func, stage, times);
    fprintf(out, "work per rank and call of %s%s: %.4g GFLOP\n", func,
            u->pipeline && u->pipeline->nstages > 1 ? ", on the stage with most of it" : "", flops * 1e-9);
    RecomputeCost cost = recompute_cost(u);
    if (cost.again > 0)
        fprintf(out, "  of these to compute forward values again: %.4g GFLOP (%.1f%%)\n", cost.again * 1e-9,
                cost.again / cost.flops * 100);
    if (cost.kept > 0) {
        fprintf(out, "kept by repeats for their backward halves: %s, made of\n",
                bytes_print(cost.kept, text, sizeof text));
        list_kept(u, out);
    }
    fprintf(out, "collectives of one call of %s, each with its larger side:\n", func);
    Traffic total = {0};
    for (int i = 0; i < u->funcs.n; i++)
        if (times[i] > 0) list_collectives(u, u->funcs.at[i]->top, times[i], &total, out);
    fprintf(out, "  in all: %.0f calls, %s\n", total.calls, bytes_print(total.bytes, other, sizeof other));
    if (s) offload_print_moves(u, func, times, out);
    free(times);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    fprintf(out, "compiled in %.3f s, at most %.1f MB resident\n", seconds, (double)usage.ru_maxrss / 1024);
}
