// SPDX-License-Identifier: Apache-2.0
// Snapshots of what a step made, and how closely two must agree.
#include "ir/op.h"
#include "ir/random.h"
#include "runtime/dtype.h"
#include "tools/tgf_verify.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double uniform(uint64_t seed, int stream, int64_t i) {
    uint32_t w[4];
    random_words(i, stream, (int32_t[4]){(int32_t)seed, (int32_t)(seed >> 32), 0, 0}, w);
    return (double)(w[0] >> 8) * 0x1p-24;
}

// A stream for each input by its name: the order of inputs may depend on the layout.
static int stream_of(const char *name) {
    uint32_t h = 2166136261u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 16777619u;
    return (int)(h >> 2);
}

static void draw_input(const PlanLeaf *l, uint64_t seed, int stream, int64_t n, void *out) {
    for (int64_t i = 0; i < n; i++) {
        double u = uniform(seed, stream, i);
        if (l->dtype == PLAN_BOOL) {
            ((unsigned char *)out)[i] = u < 0.9;
        } else if (l->dtype == PLAN_I32) {
            int64_t id = l->limit ? (int64_t)(u * (double)l->limit) : u < 0.9;  // no limit: a mask of 0 and 1
            if (l->least < 0 && uniform(seed, stream + 1000, i) < 0.1) id = -1; // an ignored label
            ((int32_t *)out)[i] = (int32_t)id;
        } else {
            double v = uniform(seed, stream + 1000, i);
            ((float *)out)[i] = (float)(sqrt(-2 * log(u + 0x1p-25)) * cos(2 * M_PI * v));
        }
    }
}

// Inputs that say how to compute, not what of.
static bool is_setting(const char *name) {
    return !strcmp(name, "step") || !strcmp(name, "seed") || !strcmp(name, "perturb");
}

Status snapshot_inputs(Program *p, uint64_t seed) {
    const Plan *plan = program_plan(p);
    for (int i = 0; i < plan->nleaves; i++) {
        const PlanLeaf *l = &plan->leaves[i];
        if (l->kind != PLAN_INPUT || is_setting(l->name)) continue;
        if (l->dtype != PLAN_BOOL && l->dtype != PLAN_I32 && l->dtype != PLAN_F32)
            return status_make(STATUS_UNSUPPORTED, "input '%s' has an element type that verify does not draw", l->name);
        int64_t n = leaf_elements(l);
        void *values = malloc((size_t)leaf_bytes(l));
        if (!values) return status_make(STATUS_MEMORY, "no memory for input '%s'", l->name);
        draw_input(l, seed, stream_of(l->name), n, values);
        Status s = program_write_leaf(p, i, values);
        free(values);
        STATUS_TRY(s);
    }
    return status_ok();
}

static Status widen(const PlanLeaf *l, const void *raw, int64_t n, double *at) {
    for (int64_t i = 0; i < n; i++) {
        switch (l->dtype) {
        case PLAN_F32: at[i] = ((const float *)raw)[i]; break;
        case PLAN_F64: at[i] = ((const double *)raw)[i]; break;
        case PLAN_I32: at[i] = ((const int32_t *)raw)[i]; break;
        case PLAN_BOOL: at[i] = ((const unsigned char *)raw)[i]; break;
        case PLAN_BF16: at[i] = f32_from_bf16(((const uint16_t *)raw)[i]); break;
        case PLAN_F16: at[i] = f32_from_f16(((const uint16_t *)raw)[i]); break;
        default:
            return status_make(STATUS_UNSUPPORTED, "'%s' has an element type that verify does not compare", l->name);
        }
    }
    return status_ok();
}

static Status take_leaf(Program *p, int leaf, Snapshot *out, Status *replicas) {
    const PlanLeaf *l = &program_plan(p)->leaves[leaf];
    int64_t n = leaf_elements(l);
    void *raw = malloc((size_t)leaf_bytes(l) + 1);
    double *at = malloc(sizeof *at * (size_t)(n + 1));
    Status s = status_make(STATUS_MEMORY, "no memory for '%s'", l->name);
    if (raw && at) s = program_read_leaf(p, leaf, true, raw);
    if (s.code == STATUS_COMM) {
        if (!status_failed(replicas)) *replicas = s;
        s = status_ok();
    }
    if (!status_failed(&s)) s = widen(l, raw, n, at);
    free(raw);
    if (status_failed(&s)) {
        free(at);
        return s;
    }
    Named *named = &out->at[out->n++];
    *named = (Named){
        .name = strdup(l->name), .at = at, .count = n, .kind = l->kind == PLAN_OUTPUT ? NAMED_OUTPUT : NAMED_UPDATED};
    if (l->kind == PLAN_OUTPUT && !strncmp(l->name, "grad.", 5)) named->kind = NAMED_GRADIENT;
    if (l->kind == PLAN_OUTPUT && !strcmp(l->name, "lr")) out->rate = at[0];
    return status_ok();
}

Status snapshot_take(Program *p, const char *func, Snapshot *out) {
    const Plan *plan = program_plan(p);
    const PlanProgram *f = plan_program(plan, func);
    *out = (Snapshot){.at = calloc((size_t)plan->nleaves + 1, sizeof *out->at)};
    if (!out->at || !f)
        return status_make(STATUS_INTERNAL, f ? "no memory for a snapshot" : "the plan has no function '%s'", func);
    Status replicas = status_ok(); // copies that differ are reported when everything is taken
    for (int i = 0; i < f->noutputs; i++) STATUS_TRY(take_leaf(p, f->outputs[i], out, &replicas));
    for (int i = 0; i < plan->nleaves; i++)
        if (plan->leaves[i].kind == PLAN_PARAM || plan->leaves[i].kind == PLAN_STATE)
            STATUS_TRY(take_leaf(p, i, out, &replicas));
    double squares = 0, count = 0;
    for (int i = 0; i < out->n; i++)
        if (out->at[i].kind == NAMED_GRADIENT) {
            for (int64_t k = 0; k < out->at[i].count; k++) squares += out->at[i].at[k] * out->at[i].at[k];
            count += (double)out->at[i].count;
        }
    out->gradient_rms = count > 0 ? sqrt(squares / count) : 0;
    return replicas;
}

void snapshot_free(Snapshot *s) {
    for (int i = 0; i < s->n; i++) {
        free(s->at[i].name);
        free(s->at[i].at);
    }
    free(s->at);
    memset(s, 0, sizeof *s);
}

int snapshot_other_bits(const Snapshot *a, const Snapshot *b) {
    for (int i = 0; i < a->n; i++)
        if (i >= b->n || a->at[i].count != b->at[i].count ||
            memcmp(a->at[i].at, b->at[i].at, (size_t)a->at[i].count * sizeof *a->at[i].at))
            return i;
    return -1;
}

const Named *snapshot_find(const Snapshot *s, const char *name) {
    for (int i = 0; i < s->n; i++)
        if (!strcmp(s->at[i].name, name)) return &s->at[i];
    return NULL;
}

static double largest(const Named *t) {
    double m = 0;
    for (int64_t i = 0; i < t->count; i++) {
        double x = fabs(t->at[i]);
        if (!(x <= m)) m = x; // a NaN stays
    }
    return m;
}

// Root mean square over all tensors whose name begins like this one's ("adam.m/").
static double kind_rms(const Snapshot *s, const char *name, size_t prefix) {
    double squares = 0, count = 0;
    for (int i = 0; i < s->n; i++)
        if (!strncmp(s->at[i].name, name, prefix)) {
            for (int64_t k = 0; k < s->at[i].count; k++) squares += s->at[i].at[k] * s->at[i].at[k];
            count += (double)s->at[i].count;
        }
    return count > 0 ? sqrt(squares / count) : 0;
}

double difference_ratio(const Difference *d) {
    if (d->error == 0) return 0;
    return d->error > 0 && d->allowed > 0 ? d->error / d->allowed : INFINITY;
}

bool snapshot_differs(const Snapshot *a, int i, const Snapshot *b, double tolerance, Difference *out) {
    if (a->spreads) return spread_differs(a, i, b, tolerance, out);
    const Named *x = &a->at[i], *y = snapshot_find(b, x->name);
    *out = (Difference){x->name, INFINITY, 0};
    if (!y || y->count != x->count) return true;
    double scale = largest(x);
    const Named *gradient = NULL;
    double gradient_scale = 0;
    if (x->kind == NAMED_GRADIENT && a->gradient_rms > scale) scale = a->gradient_rms;
    const char *slash = x->kind == NAMED_UPDATED ? strchr(x->name, '/') : NULL;
    if (slash) {
        scale = fmax(scale, kind_rms(a, x->name, (size_t)(slash - x->name) + 1));
    } else if (x->kind == NAMED_UPDATED) {
        char name[512];
        snprintf(name, sizeof name, "grad.%s", x->name);
        gradient = snapshot_find(a, name);
        gradient_scale = gradient ? fmax(largest(gradient), a->gradient_rms) : 0;
    }
    bool differs = false;
    double worst = -1;
    for (int64_t k = 0; k < x->count; k++) {
        double error = fabs(x->at[k] - y->at[k]), allowed = tolerance * scale;
        if (gradient && gradient->count == x->count) {
            double g = fabs(gradient->at[k]), step = tolerance * gradient_scale / (g > 0 ? g : 1e-300);
            allowed = 0x1p-22 * fabs(x->at[k]) + a->rate * (step < 2 ? step : 2);
        }
        if (!(error <= allowed)) differs = true;
        double ratio = difference_ratio(&(Difference){x->name, error, allowed});
        if (!(ratio <= worst)) {
            worst = ratio;
            out->error = error;
            out->allowed = allowed;
        }
    }
    if (!x->count) out->error = 0;
    return differs;
}

int snapshot_compare(const Snapshot *a, const Snapshot *b, double tolerance, Difference *out_worst) {
    int wrong = 0;
    double worst = -1;
    for (int i = 0; i < a->n; i++) {
        Difference d;
        wrong += snapshot_differs(a, i, b, tolerance, &d);
        double ratio = difference_ratio(&d);
        if (!(ratio <= worst)) {
            worst = ratio;
            *out_worst = d;
        }
    }
    return wrong;
}

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
