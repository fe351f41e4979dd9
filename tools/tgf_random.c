// SPDX-License-Identifier: Apache-2.0
// What verify derives from a unit: how closely two steps must agree, and strategies drawn at random. Snapshots
// (tgf_snapshot.c) know of no compiler.
#include "ir/op.h"
#include "ir/random.h"
#include "tools/tgf_verify.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double reduction_lengths(const Block *b, double times) {
    double total = 0;
    for (const Node *n = b->first; n; n = n->next) {
        if (n->body)
            total +=
                reduction_lengths(n->body, n->op == OP_repeat ? times * (double)n->attr.axes.at[0]->extent : times);
        double length = 1;
        switch (n->op) {
        case OP_sum:
        case OP_cumsum:
        case OP_dot:
        case OP_attend:
        case OP_attend_grad:
            for (int i = 0; i < n->attr.axes.n; i++) length *= (double)n->attr.axes.at[i]->extent;
            break;
        case OP_scatter:
            for (int i = 0; i < n->args[0]->type.rank; i++) length *= (double)n->args[0]->type.dim[i].axis->extent;
            break;
        default: continue;
        }
        total += times * sqrt(length);
    }
    return total;
}

double verify_tolerance(const Unit *u, const char *func) {
    const Func *f = unit_func(u, func);
    return f ? 2 * 4 * 0x1p-24 * reduction_lengths(f->top, 1) : 0;
}

static double products(const Block *b, double times) {
    double total = 0;
    for (const Node *n = b->first; n; n = n->next) {
        if (n->op == OP_dot) total += times;
        if (n->body)
            total += products(n->body, n->op == OP_repeat ? times * (double)n->attr.axes.at[0]->extent : times);
    }
    return total;
}

// Two operands rounded to 11 bits: 2^-11 each of the sum of absolute values, however long it is.
double verify_tf32(const Unit *u, const char *func) {
    const Func *f = unit_func(u, func);
    return f ? 2 * 0x1p-11 * products(f->top, 1) : 0;
}

static uint32_t draw(RandomStrategies *r, uint32_t below) {
    uint32_t w[4];
    random_words((int64_t)r->drawn++, 77, (int32_t[4]){(int32_t)r->seed, (int32_t)(r->seed >> 32), 0, 0}, w);
    return (uint32_t)((uint64_t)w[0] * below >> 32);
}

static const Axis *axis_named(const Unit *u, const char *name) {
    for (int i = 0; i < u->axes.n; i++)
        if (!strcmp(u->axes.at[i]->name, name)) return u->axes.at[i];
    return NULL;
}

static const Axis *layers_of(const Unit *u) {
    const Func *f = unit_func(u, "eval");
    for (const Node *n = f ? f->top->first : NULL; n; n = n->next)
        if (n->op == OP_repeat && n->attr.axes.at[0]->extent > 1) return n->attr.axes.at[0];
    return NULL;
}

// The line of a pipeline over the mesh axis `stages` of P, or that of microbatches alone.
static char *draw_pipeline(RandomStrategies *r, const Axis *layers, int64_t p, char *text, char **label) {
    static const char *const names[] = {"1f1b", "gpipe", "zbh1", "interleaved", "zbv"};
    const Axis *batch = axis_named(r->unit, "batch");
    int64_t parts = batch ? 1 + draw(r, (uint32_t)(batch->extent < 6 ? batch->extent : 6)) : 1;
    if (!p && parts > 1) {
        *label = arena_printf(r->arena, "%s microbatches %d", *label, (int)parts);
        return arena_printf(r->arena, "%s\n    microbatches = %d", text, (int)parts);
    }
    if (!p) return text;
    const char *schedule = names[draw(r, 2 * p <= layers->extent ? 5 : 3)];
    *label = arena_printf(r->arena, "%s %s in %d stages %s microbatches %d", *label, layers->name, (int)p, schedule,
                          (int)parts);
    return arena_printf(r->arena, "%s\n    split %s over stages schedule = %s, microbatches = %d", text, layers->name,
                        schedule, (int)parts);
}

static bool has_rename(const Block *b, const Axis *from, const Axis *to) {
    bool has = false;
    for (const Node *n = b->first; n && !has; n = n->next)
        has = (n->op == OP_rename && n->attr.axes.at[0] == from && n->attr.to.at[0] == to) ||
              (n->body && has_rename(n->body, from, to));
    return has;
}

static bool attends_over(const Block *b, const Block *top, const Axis *axis) {
    bool does = false;
    for (const Node *n = b->first; n && !does; n = n->next)
        does = (n->op == OP_attend && has_rename(top, axis, n->attr.axes.at[1])) ||
               (n->body && attends_over(n->body, top, axis));
    return does;
}

// Do the keys of an attention come from this axis?
static bool is_attended(const Unit *u, const Axis *axis) {
    const Func *f = unit_func(u, "eval");
    return f && attends_over(f->top, f->top, axis);
}

const char *random_strategy(RandomStrategies *r, const CompileRequest *request, const char *name,
                            const char **out_label, int *illegal) {
    static const char *const names[] = {"mesh_a", "mesh_b", "mesh_c"};
    for (int tries = 0; tries < 10000; tries++) {
        int64_t left = r->ranks;
        int meshes = 1 + (int)draw(r, 3);
        const Axis *layers = layers_of(r->unit);
        int64_t most = layers && layers->extent < left ? layers->extent : left;
        int64_t stages = layers && most > 1 && !draw(r, 4) ? 2 + draw(r, (uint32_t)(most > 4 ? 3 : most - 1)) : 0;
        char *text = arena_printf(r->arena, "strategy %s {", name), *label = "";
        if (stages) {
            left /= stages;
            text = arena_printf(r->arena, "%s\n    mesh stages = %d", text, (int)stages);
        }
        for (int m = 0; m < meshes; m++) {
            int64_t room = m + 1 < meshes && left >= 4 ? left / 2 : left; // something for the next mesh axis
            int64_t extent = room >= 2 ? 2 + draw(r, (uint32_t)(room - 1)) : 1;
            if (extent == 1) {
                meshes = m;
                break;
            }
            left /= extent;
            text =
                arena_printf(r->arena, "%s%s%s = %d", text, m || stages ? ", " : "\n    mesh ", names[m], (int)extent);
            label = arena_printf(r->arena, "%s%s%d", label, m ? "x" : "", (int)extent);
        }
        int splits = 0;
        for (int m = 0; m < meshes; m++) {
            int axes = 1 + (int)draw(r, 3);
            for (int i = 0; i < axes; i++) {
                const Axis *axis = r->unit->axes.at[draw(r, (uint32_t)r->unit->axes.n)];
                const char *how = draw(r, 3) == 0 ? " between blocks" : "";
                if (is_attended(r->unit, axis) && draw(r, 3))
                    how =
                        (const char *[]){" attention = ring", " attention = zigzag", " attention = heads"}[draw(r, 3)];
                text = arena_printf(r->arena, "%s\n    split %s over %s%s", text, axis->name, names[m], how);
                label = arena_printf(r->arena, "%s %s/%c%s", label, axis->name, names[m][5], how);
                splits++;
            }
        }
        const Axis *batch = axis_named(r->unit, "batch"), *expert = axis_named(r->unit, "expert");
        if (meshes && batch && expert && draw(r, 4) == 0) { // tokens travel to experts
            const char *over = meshes > 1 && draw(r, 2) ? "mesh_a, mesh_b" : names[draw(r, (uint32_t)meshes)];
            const char *counted = draw(r, 2) ? " exchange = counted" : "";
            text = arena_printf(r->arena, "%s\n    split batch, expert over %s%s", text, over, counted);
            label = arena_printf(r->arena, "%s batch,expert/%s%s", label, over + 5, *counted ? " counted" : "");
            splits++;
        }
        static const char *const shards[] = {"optimizer", "gradients", "parameters"};
        for (int m = 0, any = 0, level = (int)draw(r, 6); m < meshes && level < 3; m++) {
            if (draw(r, 2)) continue;
            text = any++ ? arena_printf(r->arena, "%s, %s", text, names[m])
                         : arena_printf(r->arena, "%s\n    shard %s over %s", text, shards[level], names[m]);
            label = arena_printf(r->arena, "%s %s/%c", label, shards[level], names[m][5]);
            splits++;
        }
        if (stages || !draw(r, 5)) {
            const char *before = text;
            text = draw_pipeline(r, layers, stages, text, &label);
            splits += text != before;
        }
        if (!splits) continue;
        static const char *const again[] = {"block", "attend", "dot", "dot, attend", "sum, max", "auto memory = 1TB"};
        uint32_t which = draw(r, 10); // half of them recompute
        if (which < sizeof again / sizeof *again) {
            text = arena_printf(r->arena, "%s\n    recompute %s", text, again[which]);
            label = arena_printf(r->arena, "%s recompute %s", label, again[which]);
        }
        static const char *const offloads[] = {"optimizer", "activations", "optimizer, activations"};
        uint32_t offload = draw(r, 8);
        if (offload < sizeof offloads / sizeof *offloads) {
            text = arena_printf(r->arena, "%s\n    offload %s to host", text, offloads[offload]);
            label = arena_printf(r->arena, "%s offload %s", label, offloads[offload]);
        }
        static const char *const halves[][2] = {{"bf16", "f32"}, {"bf16", "bf16"}, {"f16", "f32"}, {"f16", "f16"}};
        uint32_t half = draw(r, 10); // four of ten
        if (half < sizeof halves / sizeof *halves) {
            const char *const *h = halves[half];
            text = arena_printf(r->arena, "%s\n    precision %s  reduce = %s", text, h[0], h[1]);
            label = arena_printf(r->arena, "%s %s/%s", label, h[0], h[1]);
        }
        text = arena_printf(r->arena, "%s\n}\n", text);
        // Legal: the passes accept it. A refusal is the user's kind of error; anything else would show as internal and
        // is not hidden.
        Compilation c;
        CompileRequest q = *request;
        q.strategy = name;
        q.extra = text;
        q.last = "memory";
        char *messages = NULL;
        size_t size = 0;
        FILE *sink = open_memstream(&messages, &size);
        bool ok = sink && compile_load_to(&q, sink, &c) && compile_passes(&q, &c);
        bool internal = c.diag && diag_had_internal(c.diag);
        compile_end(&c);
        if (sink) fclose(sink);
        if (internal) fprintf(stderr, "%s%s", text, messages ? messages : "");
        free(messages);
        if (internal) return NULL;
        if (ok) {
            *out_label = label;
            return text;
        }
        ++*illegal;
    }
    return NULL;
}
