// SPDX-License-Identifier: Apache-2.0
// passes_check: what must be true of a unit before and after a pass, by running both: the same values after simplify,
// gradients that agree with central differences after autodiff.
#pragma once
#include "ir/eval.h"
#include "ir/op.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/pass.h"
#include <math.h>
#include <stdlib.h>

typedef struct Case {
    const char *path, *pass;
    char *text;
    size_t size;
    Arena *arena, *scratch;
    StrTable *strs;
    Diag *diag;
    int failures;
    double tolerance; // of gradients, of their largest element
} Case;

static inline void fail(Case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline void fail(Case *c, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "%s: ", c->path);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    c->failures++;
}

static inline Unit *parse(Case *c) {
    return unit_parse(c->arena, c->scratch, c->strs, c->diag, str_intern(c->strs, c->path), c->text, c->size);
}

static inline bool run(Case *c, Unit *u, const char *first, const char *last) {
    PassOptions o = {.first = first, .last = last, .check_text = true};
    bool ok = passes_run(u, &o);
    u->passed = NULL; // texts are compared whichever label a pass ran under
    if (ok) return true;
    fail(c, "%s to %s failed", first, last);
    return false;
}

static inline char *unit_to_text(const Unit *u, size_t *out_size) {
    char *text = NULL;
    FILE *out = open_memstream(&text, out_size);
    unit_print(u, out);
    fclose(out);
    return text;
}

// ---- values ----

static uint64_t noise_state;
static inline double noise(void) { // uniform in [-1, 1)
    noise_state = noise_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(noise_state >> 11) * 0x1p-52 - 1;
}

static inline const Node *leaf_at(const Func *f, int i) { // the i-th parameter, state or input
    for (const Node *n = f->top->first; n; n = n->next)
        if ((n->op == OP_param || n->op == OP_state || n->op == OP_input) && !i--) return n;
    return NULL;
}

static inline double *leaf_values(Case *c, const Node *n, int64_t *out_count) {
    type_elements(&n->results[0]->type, out_count);
    double *v = NEW_ARRAY(c->arena, double, *out_count);
    noise_state = 7;
    for (const char *p = n->attr.s; *p; p++) noise_state = noise_state * 31 + (unsigned char)*p;
    for (int i = 0; i < 4; i++) noise();
    double least = (double)n->attr.j, limit = n->attr.i ? (double)n->attr.i : least + 3;
    for (int64_t i = 0; i < *out_count; i++) {
        double x = noise();
        if (n->results[0]->type.dtype == DT_I32 && n->op == OP_input) x = floor(least + (x + 1) / 2 * (limit - least));
        else if (n->results[0]->type.dtype == DT_BOOL) x = x > 0;
        else if (!strncmp(n->attr.s, "adam.v", 6)) x = fabs(x);
        v[i] = x;
    }
    return v;
}

// A run of f with every leaf at its values; `except` gets `values` instead.
static inline Eval *evaluate(Case *c, Unit *u, const char *func, const char *except, const double *values,
                             Arena *arena) {
    const Func *f = unit_func(u, func);
    Eval *e = eval_new(u, arena);
    const Node *n;
    for (int i = 0; e && (n = leaf_at(f, i)); i++) {
        int64_t count;
        double *own = leaf_values(c, n, &count);
        bool other = except && !strcmp(except, n->attr.s);
        if (!eval_set(e, n->attr.s, other ? values : own, count)) return NULL;
    }
    return e && eval_run(e, func) ? e : NULL;
}

static inline double *fetch(Case *c, const Eval *e, const char *name, int64_t *out_count) {
    const Type *t = eval_type(e, name);
    if (!t) {
        fail(c, "no '%s' after the run", name);
        return NULL;
    }
    type_elements(t, out_count);
    double *v = NEW_ARRAY(c->arena, double, *out_count);
    if (eval_get(e, name, v, *out_count)) return v;
    fail(c, "cannot read '%s'", name);
    return NULL;
}

static inline void compare_values(Case *c, const char *what, const char *name, const double *got, const double *want,
                                  int64_t count, double tolerance) {
    double scale = 0;
    for (int64_t i = 0; i < count; i++) scale = fmax(scale, fabs(want[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(got[i] - want[i]) <= tolerance * (scale + 1e-3))) {
            fail(c, "%s: %s[%lld] is %.12g, expected %.12g", what, name, (long long)i, got[i], want[i]);
            return;
        }
}

// Every output and every assigned leaf of a function.
static inline void compare_runs(Case *c, Unit *before, Unit *after, const char *func, double tolerance) {
    Arena *arena = arena_new();
    Eval *a = evaluate(c, before, func, NULL, NULL, arena), *b = evaluate(c, after, func, NULL, NULL, arena);
    if (!a || !b) fail(c, "%s does not run", func);
    const Func *f = unit_func(after, func);
    for (const Node *n = f->top->first; n && a && b; n = n->next) {
        if (n->op != OP_output && n->op != OP_assign) continue;
        const char *name = n->op == OP_output ? n->attr.s : n->args[0]->def->attr.s;
        int64_t count;
        double *x = fetch(c, a, name, &count), *y = x ? fetch(c, b, name, &count) : NULL;
        if (y) compare_values(c, func, name, y, x, count, tolerance);
    }
    arena_free(arena);
}

// ---- what each pass must keep true ----

// What has been simplified stays as it is.
static inline void check_settled(Case *c, Unit *u) {
    size_t size, again_size;
    char *text = unit_to_text(u, &size);
    if (!run(c, u, "tidy", "tidy")) return;
    char *again = unit_to_text(u, &again_size);
    if (strcmp(text, again)) fail(c, "simplified once more it changes: from\n%sto\n%s", text, again);
    free(text);
    free(again);
}

static inline void check_simplify(Case *c, Unit *u) {
    Unit *before = parse(c);
    check_settled(c, u);
    for (int i = 0; i < u->funcs.n; i++) compare_runs(c, before, u, u->funcs.at[i]->name, 1e-13);
}

// What fuse makes computes the same values.
static inline void check_fuse(Case *c, Unit *u) {
    Unit *before = parse(c);
    for (int i = 0; i < u->funcs.n; i++) compare_runs(c, before, u, u->funcs.at[i]->name, 1e-13);
}

static inline double loss_with(Case *c, Unit *u, const char *param, const double *values) {
    Arena *arena = arena_new();
    double loss = NAN;
    Eval *e = evaluate(c, u, "train", param, values, arena);
    if (!e || !eval_get(e, "loss", &loss, 1)) fail(c, "train does not run");
    arena_free(arena);
    return loss;
}

static inline const Node *find_param(const Func *f, const char *name) {
    for (const Node *n = f->top->first; n; n = n->next)
        if (n->op == OP_param && !strcmp(n->attr.s, name)) return n;
    return NULL;
}

static inline void check_gradients(Case *c, Unit *u, const char *what) {
    Unit *before = parse(c);
    Arena *arena = arena_new();
    Eval *e = evaluate(c, u, "train", NULL, NULL, arena);
    if (!e) fail(c, "train does not run after %s", what);
    const Func *f = unit_func(u, "train");
    for (const Node *n = f->top->first; n && e; n = n->next) {
        if (n->op != OP_output || strncmp(n->attr.s, "grad.", 5)) continue;
        const char *param = n->attr.s + 5;
        const Node *leaf = find_param(f, param);
        int64_t count;
        double *got = leaf ? fetch(c, e, n->attr.s, &count) : NULL;
        if (!got) continue;
        if (!type_same_dims(&n->args[0]->type, &leaf->results[0]->type))
            fail(c, "%s has other dimensions than the parameter", n->attr.s);
        double *values = leaf_values(c, leaf, &count), *want = NEW_ARRAY(c->arena, double, count), h = 3e-5;
        for (int64_t i = 0; i < count; i++) {
            double at = values[i], f[4]; // fourth order: the error is h^4 times the fifth derivative
            for (int k = 0; k < 4; k++) {
                values[i] = at + h * (double[]){-2, -1, 1, 2}[k];
                f[k] = loss_with(c, before, param, values);
            }
            values[i] = at;
            want[i] = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
        }
        compare_values(c, what, n->attr.s, got, want, count, c->tolerance);
    }
    arena_free(arena);
}

static inline void check_autodiff(Case *c, Unit *u) {
    check_gradients(c, u, "autodiff");
    if (!run(c, u, "tidy", "tidy")) return;
    check_gradients(c, u, "tidy");
    check_settled(c, u);
}
