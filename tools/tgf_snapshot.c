// SPDX-License-Identifier: Apache-2.0
// Snapshots of what a step made, and how closely two must agree.
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

Status snapshot_states(Program *p, uint64_t seed) {
    const Plan *plan = program_plan(p);
    for (int i = 0; i < plan->nleaves; i++) {
        const PlanLeaf *l = &plan->leaves[i];
        if (l->kind != PLAN_STATE || !*l->storage || l->dtype != PLAN_F32) continue;
        int64_t n = leaf_elements(l);
        float *values = malloc((size_t)leaf_bytes(l));
        if (!values) return status_make(STATUS_MEMORY, "no memory for state '%s'", l->name);
        // Of a gradient of 0.01; first moments so far below the roots of second ones that no step is larger than the
        // one that Adam makes first.
        const float size = 0.01f;
        bool squares = !strncmp(l->name, "adam.v/", 7);
        for (int64_t k = 0; k < n; k++) {
            float x = (float)uniform(seed, stream_of(l->name), k);
            values[k] = squares ? size * size * (0.5f + 0.5f * x) : size * (2 * x - 1) / 3;
        }
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
