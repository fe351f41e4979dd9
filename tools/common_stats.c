// SPDX-License-Identifier: Apache-2.0
#include "tools/common_stats.h"
#include "ir/op.h"
#include "ir/storage.h"
#include "ir/strategy.h"
#include "passes/recompute.h"
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

double func_flops(const Unit *u, const char *func) {
    const Func *f = unit_func(u, func);
    double total = 0;
    for (const Node *n = f ? f->top->first : NULL; n; n = n->next) total += node_work(u, n).flops;
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

static const char *human(double bytes, char *text, size_t size) {
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
    int i = 0;
    while (bytes >= 1000 && i < 5) bytes /= 1000, i++;
    snprintf(text, size, i ? "%.2f %s" : "%.0f %s", bytes, units[i]);
    return text;
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
        fprintf(out, "  %-14s %10s  x %-5.0f over %s=%" PRId64 "  %s  %s:%d\n", op_info(n->op)->name,
                human(bytes, size, sizeof size), times, group, mesh_extent(&u->mesh, n->attr.mesh),
                n->args[0]->name ? n->args[0]->name : "", n->loc.file ? n->loc.file : "-", n->loc.line);
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
                human(kept[i].bytes, text, sizeof text));
    if (n > 64) fprintf(out, "  ... and %d more\n", n - 64);
}

void stats_print(const Unit *u, double seconds, FILE *out) {
    char text[40], other[40];
    const Storage *s = u->storage;
    const char *func = unit_func(u, "train") ? "train" : "eval";
    fprintf(out, "model %s, strategy %s, %" PRId64 " rank%s", u->name, u->strategy ? u->strategy->name : "(none)",
            mesh_devices(&u->mesh), mesh_devices(&u->mesh) == 1 ? "" : "s");
    for (int i = 0; i < u->mesh.n; i++)
        fprintf(out, "%s%s=%" PRId64, i ? ", " : " (", u->mesh.axis[i].name, u->mesh.axis[i].extent);
    fprintf(out, "%s\nparameters: %.0f\n", u->mesh.n ? ")" : "", unit_parameters(u));
    if (s) {
        fprintf(out, "memory per rank, exact and the same on every rank: %" PRId64 " bytes (%s)\n", s->slab_bytes,
                human((double)s->slab_bytes, text, sizeof text));
        const struct {
            const char *what;
            int64_t bytes;
        } parts[] = {{"parameters", s->param_bytes},
                     {"optimizer states", s->state_bytes},
                     {"inputs and outputs", s->io_bytes},
                     {"gradients, activations, collective buffers", s->activation_bytes}};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            fprintf(out, "  %-44s %14" PRId64 "  %s\n", parts[i].what, parts[i].bytes,
                    human((double)parts[i].bytes, text, sizeof text));
    }
    fprintf(out, "work per rank and call of %s: %.4g GFLOP\n", func, func_flops(u, func) * 1e-9);
    RecomputeCost cost = recompute_cost(u);
    if (cost.again > 0)
        fprintf(out, "  of these to compute forward values again: %.4g GFLOP (%.1f%%)\n", cost.again * 1e-9,
                cost.again / cost.flops * 100);
    if (cost.kept > 0) {
        fprintf(out, "kept by repeats for their backward halves: %s, made of\n", human(cost.kept, text, sizeof text));
        list_kept(u, out);
    }
    fprintf(out, "collectives of one call of %s, each with its larger side:\n", func);
    Traffic total = {0};
    const Func *f = unit_func(u, func);
    if (f) list_collectives(u, f->top, 1, &total, out);
    fprintf(out, "  in all: %.0f calls, %s\n", total.calls, human(total.bytes, other, sizeof other));
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    fprintf(out, "compiled in %.3f s, at most %.1f MB resident\n", seconds, (double)usage.ru_maxrss / 1024);
}
