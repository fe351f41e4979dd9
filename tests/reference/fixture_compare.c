// SPDX-License-Identifier: Apache-2.0
// Comparison of a machine with a fixture.
#include "fixture.h"
#include "ir/recipe.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct Param {
    Str name, storage;
    Type type;
    int64_t count;
} Param;

typedef struct Compare {
    Fixture *f;
    const FixtureModel *model;
    const Machine *m;
    Arena *arena;
    Vec(Param) params;
    double gradient_scale; // the largest magnitude among all gradients
    double *before;        // of one parameter
    int failures;
} Compare;

static void gather_params(Compare *c) {
    for (const Node *n = unit_func(c->m->unit, "init")->top->first; n; n = n->next) {
        if (n->op != OP_param) continue;
        Param p = {n->attr.s, n->attr.s2, n->results[0]->type, 0};
        type_elements(&p.type, &p.count);
        vec_push(c->arena, &c->params, p);
    }
}

static void fail(Compare *c, const char *what, const char *name) {
    printf("%s: %s %s\n", c->m->label, what, name);
    c->failures++;
}

static bool set_params(Compare *c) {
    for (int i = 0; i < c->params.n; i++) {
        const Param *p = &c->params.at[i];
        const FixtureElement *e = fixture_elements(c->f, "", p->storage, &p->type);
        double *values = NEW_ARRAY(c->arena, double, p->count);
        for (int64_t k = 0; e && k < p->count; k++) values[k] = e[k].value;
        if (!e || !c->m->set(c->m->self, p->name, &p->type, values, p->count)) {
            fail(c, "cannot set parameter", p->name);
            return false;
        }
    }
    return true;
}

// What the fixture has; `step` is 0, a seed draws nothing in these models.
static bool set_inputs(Compare *c, const char *func) {
    for (const Node *n = unit_func(c->m->unit, func)->top->first; n; n = n->next) {
        if (n->op != OP_input) continue;
        const Type *t = &n->results[0]->type;
        int64_t count = 1;
        const double zero = 0, *values = &zero;
        if (strcmp(n->attr.s, "step") && strcmp(n->attr.s, "seed"))
            values = fixture_values(c->f, arena_printf(c->arena, "input.%s", n->attr.s), &count);
        if (!values || !c->m->set(c->m->self, n->attr.s, t, values, count)) {
            fail(c, "cannot set input", n->attr.s);
            return false;
        }
    }
    return true;
}

static bool run(Compare *c, const char *func) {
    if (set_inputs(c, func) && c->m->run(c->m->self, func)) return true;
    fail(c, "cannot run", func);
    return false;
}

static const double *get(Compare *c, const char *name, int64_t count) {
    double *values = NEW_ARRAY(c->arena, double, count);
    if (c->m->get(c->m->self, name, values, count)) return values;
    fail(c, "has no value of that size:", name);
    return NULL;
}

// A tensor stored as one, against its largest magnitude.
static void check_tensor(Compare *c, const char *output, const char *stored, double tolerance) {
    int64_t count;
    const double *want = fixture_values(c->f, stored, &count), *got = want ? get(c, output, count) : NULL;
    if (!got) return;
    double scale = 0, worst = 0;
    for (int64_t i = 0; i < count; i++) scale = fmax(scale, fabs(want[i]));
    for (int64_t i = 0; i < count; i++) {
        double error = fabs(got[i] - want[i]) / scale;
        if (!(error <= worst)) worst = error; // a NaN stays
    }
    printf("%-18s %-10s %.2g\n", c->m->label, output, worst);
    if (!(worst <= tolerance)) fail(c, "differs:", output);
}

static void find_gradient_scale(Compare *c) {
    for (int i = 0; i < c->params.n; i++) {
        const Param *p = &c->params.at[i];
        const FixtureElement *e = fixture_elements(c->f, "grad.", p->storage, &p->type);
        for (int64_t k = 0; e && k < p->count; k++) c->gradient_scale = fmax(c->gradient_scale, e[k].largest);
    }
}

// What an error of a gradient is measured by: the stored tensor's largest magnitude, or the model's where the whole
// tensor is zero but for rounding (BERT's key biases).
static double scale_of(const Compare *c, const FixtureElement *e) {
    return e->largest > 1e-9 * c->gradient_scale ? e->largest : c->gradient_scale;
}

static void check_gradients(Compare *c) {
    double worst = 0;
    for (int i = 0; i < c->params.n; i++) {
        const Param *p = &c->params.at[i];
        const FixtureElement *e = fixture_elements(c->f, "grad.", p->storage, &p->type);
        const double *got = get(c, arena_printf(c->arena, "grad.%s", p->name), p->count);
        double here = 0;
        for (int64_t k = 0; e && got && k < p->count; k++) {
            double error = fabs(got[k] - e[k].value) / scale_of(c, &e[k]);
            if (!(error <= here)) here = error;
        }
        if (!e || !(here <= c->m->tolerance)) {
            printf("%s: gradient of %s is off by %.2g of its largest element\n", c->m->label, p->name, here);
            c->failures++;
        }
        if (!(here <= worst)) worst = here;
    }
    printf("%-18s %-10s %.2g\n", c->m->label, "gradients", worst);
    if (!fixture_all_seen(c->f, "grad.")) c->failures++;
}

// How far the first step p - lr (d + decay p), d = g / (|g| + eps), may be off when g is off by `off`: where g is near
// eps the step follows every rounding of g.
static double allowed_step(const Machine *m, const FixtureElement *want, double g, double off) {
    const Recipe *r = m->unit->recipe;
    double least = fmax(fabs(g) - off, 0) + r->eps, d = fmin(2, off * r->eps / (least * least));
    double stored = 0x1p-24 * fabs(want->value);                                        // the fixture is in f32
    return stored + 3 * m->rounding * (fabs(want->value) + r->lr) + r->lr * (4e-6 + d); // 1 - beta^t is to 1e-6
}

// The moments after the first step, from the fixture's gradients: (1 - beta1) g and (1 - beta2) g^2.
static double check_moments(Compare *c, const Param *p, const FixtureElement *g, double factor) {
    const Recipe *r = c->m->unit->recipe;
    double worst = 0;
    for (int power = 1; power <= 2; power++) {
        const double *got = get(c, arena_printf(c->arena, "adam.%c/%s", power == 1 ? 'm' : 'v', p->name), p->count);
        for (int64_t k = 0; g && got && k < p->count; k++) {
            double x = g[k].value * factor, scale = scale_of(c, &g[k]) * factor;
            double want = power == 1 ? (1 - r->beta1) * x : (1 - r->beta2) * x * x;
            double allowed = (power == 1 ? (1 - r->beta1) : (1 - r->beta2) * 2 * scale) * scale * c->m->tolerance;
            double error = fabs(got[k] - want) / (2 * allowed); // twice: the norm has an error too
            if (!(error <= worst)) worst = error;
        }
    }
    return worst;
}

static void check_step(Compare *c) {
    Fixture *step = fixture_open(c->arena, arena_printf(c->arena, "%s_adamw", c->model->name));
    if (!step) {
        c->failures++;
        return;
    }
    int64_t one = 1;
    const double *norm = fixture_values(step, "adamw.norm", &one), *got_norm = get(c, "grad_norm", 1);
    if (!norm || !got_norm || !(fabs(*got_norm - *norm) <= c->m->tolerance * *norm)) fail(c, "differs:", "grad_norm");
    double worst = 0, factor = norm ? fmin(1, c->m->unit->recipe->clip / *norm) : 1;
    for (int i = 0; i < c->params.n; i++) {
        const Param *p = &c->params.at[i];
        const FixtureElement *want = fixture_elements(step, "adamw.", p->storage, &p->type);
        const FixtureElement *g = fixture_elements(c->f, "grad.", p->storage, &p->type);
        const double *got = get(c, p->name, p->count);
        double here = 0;
        for (int64_t k = 0; want && g && got && k < p->count; k++) {
            double off = c->m->tolerance * scale_of(c, &g[k]) * factor;
            double error = fabs(got[k] - want[k].value) / allowed_step(c->m, &want[k], g[k].value * factor, off);
            if (!(error <= here)) here = error;
        }
        double moments = check_moments(c, p, g, factor);
        if (!(moments <= here)) here = moments;
        if (!want || !g || !(here <= 1)) {
            printf("%s: after the step %s or its moments are off by %.3g times what is allowed\n", c->m->label, p->name,
                   here);
            c->failures++;
        }
        if (!(here <= worst)) worst = here;
    }
    printf("%-18s %-10s %.2g of what is allowed\n", c->m->label, "step", worst);
    if (!fixture_all_seen(step, "adamw.")) c->failures++;
    fixture_close(step);
}

int fixture_compare(Fixture *f, const FixtureModel *model, const Machine *m) {
    Compare c = {.f = f, .model = model, .m = m, .arena = arena_new()};
    gather_params(&c);
    if (set_params(&c)) {
        find_gradient_scale(&c);
        if (run(&c, "eval")) check_tensor(&c, "loss", "loss", m->tolerance);
        if (run(&c, "predict")) check_tensor(&c, "logits", "logits", m->tolerance);
        if (run(&c, "train")) {
            check_tensor(&c, "loss", "loss", m->tolerance);
            check_gradients(&c);
            if (model->adamw) check_step(&c);
        }
    }
    arena_free(c.arena);
    return c.failures;
}
