// SPDX-License-Identifier: Apache-2.0
// Passes as filters: every tests/ir/PASS/NAME.tgi goes through PASS and must come out as NAME.out.tgi
// (TGF_BLESS=1 writes those files), and the numbers must be right: what simplify leaves computes the same values; the
// gradients autodiff makes agree with central differences, also after tidying; the optimizer's updates agree with a
// plain loop. Arguments: only the files whose path contains one of them.
#include "ir/eval.h"
#include "ir/op.h"
#include "ir/recipe.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/pass.h"
#include <glob.h>
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
} Case;

static void fail(Case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(Case *c, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "%s: ", c->path);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    c->failures++;
}

static char *read_file(const char *path, size_t *out_size) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = NULL;
    FILE *copy = open_memstream(&text, out_size);
    for (int ch; (ch = fgetc(f)) != EOF;) fputc(ch, copy);
    fclose(copy);
    fclose(f);
    return text;
}

static Unit *parse(Case *c) {
    return unit_parse(c->arena, c->scratch, c->strs, c->diag, str_intern(c->strs, c->path), c->text, c->size);
}

static bool run(Case *c, Unit *u, const char *first, const char *last) {
    PassOptions o = {.first = first, .last = last, .check_text = true};
    if (passes_run(u, &o)) return true;
    fail(c, "%s to %s failed", first, last);
    return false;
}

static char *unit_to_text(const Unit *u, size_t *out_size) {
    char *text = NULL;
    FILE *out = open_memstream(&text, out_size);
    unit_print(u, out);
    fclose(out);
    return text;
}

static void compare_text(Case *c, const Unit *u) {
    char path[400];
    size_t size, gold_size = 0;
    char *text = unit_to_text(u, &size);
    snprintf(path, sizeof path, "%.*s.out.tgi", (int)(strlen(c->path) - 4), c->path);
    char *gold = read_file(path, &gold_size);
    if (getenv("TGF_BLESS")) {
        if (!gold || size != gold_size || memcmp(text, gold, size)) {
            FILE *f = fopen(path, "wb");
            if (!f || fwrite(text, 1, size, f) != size || fclose(f)) fail(c, "cannot write %s", path);
            printf("wrote %s\n", path);
        }
    } else if (!gold || size != gold_size || memcmp(text, gold, size)) {
        fail(c, "differs from %s; now it is\n%s", path, text);
    }
    free(gold);
    free(text);
}

// ---- values ----

static uint64_t noise_state;
static double noise(void) { // uniform in [-1, 1)
    noise_state = noise_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(noise_state >> 11) * 0x1p-52 - 1;
}

static const Node *leaf_at(const Func *f, int i) { // the i-th parameter, state or input
    for (const Node *n = f->top->first; n; n = n->next)
        if ((n->op == OP_param || n->op == OP_state || n->op == OP_input) && !i--) return n;
    return NULL;
}

static double *leaf_values(Case *c, const Node *n, int64_t *out_count) {
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
static Eval *evaluate(Case *c, Unit *u, const char *func, const char *except, const double *values, Arena *arena) {
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

static double *fetch(Case *c, const Eval *e, const char *name, int64_t *out_count) {
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

static void compare_values(Case *c, const char *what, const char *name, const double *got, const double *want,
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
static void compare_runs(Case *c, Unit *before, Unit *after, const char *func, double tolerance) {
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
static void check_settled(Case *c, Unit *u) {
    size_t size, again_size;
    char *text = unit_to_text(u, &size);
    if (!run(c, u, "tidy", "tidy")) return;
    char *again = unit_to_text(u, &again_size);
    if (strcmp(text, again)) fail(c, "simplified once more it changes: from\n%sto\n%s", text, again);
    free(text);
    free(again);
}

static void check_simplify(Case *c, Unit *u) {
    Unit *before = parse(c);
    check_settled(c, u);
    for (int i = 0; i < u->funcs.n; i++) compare_runs(c, before, u, u->funcs.at[i]->name, 1e-13);
}

static double loss_with(Case *c, Unit *u, const char *param, const double *values) {
    Arena *arena = arena_new();
    double loss = NAN;
    Eval *e = evaluate(c, u, "train", param, values, arena);
    if (!e || !eval_get(e, "loss", &loss, 1)) fail(c, "train does not run");
    arena_free(arena);
    return loss;
}

static const Node *find_param(const Func *f, const char *name) {
    for (const Node *n = f->top->first; n; n = n->next)
        if (n->op == OP_param && !strcmp(n->attr.s, name)) return n;
    return NULL;
}

static void check_gradients(Case *c, Unit *u, const char *what) {
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
        double *values = leaf_values(c, leaf, &count), *want = NEW_ARRAY(c->arena, double, count), h = 1e-5;
        for (int64_t i = 0; i < count; i++) {
            double at = values[i];
            values[i] = at + h;
            double up = loss_with(c, before, param, values);
            values[i] = at - h;
            double down = loss_with(c, before, param, values);
            values[i] = at;
            want[i] = (up - down) / (2 * h);
        }
        compare_values(c, what, n->attr.s, got, want, count, 2e-7);
    }
    arena_free(arena);
}

static void check_autodiff(Case *c, Unit *u) {
    check_gradients(c, u, "autodiff");
    if (!run(c, u, "tidy", "tidy")) return;
    check_gradients(c, u, "tidy");
    check_settled(c, u);
}

static double expected_rate(const Recipe *r, double step) {
    if (step < (double)r->warmup) return r->lr * (step + 1) / (double)r->warmup;
    double length = r->steps > r->warmup ? (double)(r->steps - r->warmup) : 1;
    double done = fmin(1, fmax(0, (step - (double)r->warmup) / length));
    if (r->schedule == SCHEDULE_LINEAR) return r->lr * (r->floor + (1 - r->floor) * (1 - done));
    if (r->schedule == SCHEDULE_COSINE) return r->lr * (r->floor + (1 - r->floor) * (1 + cos(M_PI * done)) / 2);
    return r->lr;
}

// The file's first comment-free convention: parameters whose name begins with "w" decay, others do not.
static void check_update(Case *c, Unit *u, Unit *before, double step) {
    const Recipe *r = u->recipe;
    Arena *arena = arena_new();
    Eval *old = evaluate(c, before, "train", "step", &step, arena), *e = evaluate(c, u, "train", "step", &step, arena);
    if (!old || !e) {
        fail(c, "train does not run");
        arena_free(arena);
        return;
    }
    const Node *n;
    double norm = 0, lr, got;
    int64_t count;
    for (int i = 0; (n = leaf_at(unit_func(before, "train"), i)); i++) {
        if (n->op != OP_param) continue;
        double *g = fetch(c, old, arena_printf(arena, "grad.%s", n->attr.s), &count);
        for (int64_t k = 0; g && k < count; k++) norm += g[k] * g[k];
    }
    norm = sqrt(norm);
    lr = expected_rate(r, step);
    if (!eval_get(e, "lr", &got, 1) || !(fabs(got - lr) <= 1e-12 * r->lr)) fail(c, "lr is %g, expected %g", got, lr);
    if (!eval_get(e, "grad_norm", &got, 1) || !(fabs(got - norm) <= 1e-12 * norm))
        fail(c, "grad_norm is %g, expected %g", got, norm);
    double scale = r->clip > 0 ? fmin(1, r->clip / (norm + 1e-6)) : 1;
    for (int i = 0; (n = leaf_at(unit_func(before, "train"), i)); i++) {
        if (n->op != OP_param) continue;
        double *g = fetch(c, old, arena_printf(arena, "grad.%s", n->attr.s), &count), *p = leaf_values(c, n, &count);
        double *now = fetch(c, e, n->attr.s, &count), decay = n->attr.s[0] == 'w' ? r->decay : 0;
        bool adam = r->optimizer == OPTIMIZER_ADAMW;
        Node state[2] = {*n, *n};
        state[0].op = state[1].op = OP_state;
        state[0].attr.s = arena_printf(arena, adam ? "adam.m/%s" : "sgd.momentum/%s", n->attr.s);
        state[1].attr.s = arena_printf(arena, "adam.v/%s", n->attr.s);
        double *m = leaf_values(c, &state[0], &count), *v = leaf_values(c, &state[1], &count);
        for (int64_t k = 0; g && now && k < count; k++) {
            double gk = g[k] * scale, direction;
            m[k] = adam ? r->beta1 * m[k] + (1 - r->beta1) * gk : r->momentum * m[k] + gk;
            v[k] = r->beta2 * v[k] + (1 - r->beta2) * gk * gk;
            if (adam)
                direction =
                    m[k] / (1 - pow(r->beta1, step + 1)) / (sqrt(v[k] / (1 - pow(r->beta2, step + 1))) + r->eps);
            else direction = r->momentum != 0 ? m[k] : gk;
            p[k] -= lr * (direction + decay * p[k]);
        }
        if (!g || !now) continue;
        compare_values(c, "update", n->attr.s, now, p, count, 1e-8);
        bool has_m = adam || r->momentum != 0;
        double *got_m = has_m ? fetch(c, e, state[0].attr.s, &count) : NULL;
        double *got_v = adam ? fetch(c, e, state[1].attr.s, &count) : NULL;
        if (got_m) compare_values(c, "update", state[0].attr.s, got_m, m, count, 1e-12);
        if (got_v) compare_values(c, "update", state[1].attr.s, got_v, v, count, 1e-12);
    }
    arena_free(arena);
}

static void check_optimizer(Case *c, Unit *u) {
    static const double steps[] = {0, 1, 3, 4, 5, 17, 99, 100, 5000};
    Unit *before = parse(c);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) check_update(c, u, before, steps[i]);
    if (!run(c, u, "tidy", "tidy")) return;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) check_update(c, u, before, steps[i]);
    check_settled(c, u);
}

static const struct {
    const char *pass;
    void (*check)(Case *c, Unit *u);
} checks[] = {{"simplify", check_simplify}, {"autodiff", check_autodiff}, {"optimizer", check_optimizer}};

static int run_case(const char *path, size_t which) {
    Case c = {.path = path, .pass = checks[which].pass};
    c.text = read_file(path, &c.size);
    c.arena = arena_new();
    c.scratch = arena_new();
    c.strs = strtable_new(c.arena);
    c.diag = diag_new(c.arena, stderr, false);
    diag_source(c.diag, str_intern(c.strs, path), c.text, c.size);
    Unit *u = parse(&c);
    if (!u || !unit_verify(u, "parse")) fail(&c, "does not parse");
    else if (run(&c, u, c.pass, c.pass)) {
        compare_text(&c, u);
        checks[which].check(&c, u);
    }
    free(c.text);
    arena_free(c.scratch);
    arena_free(c.arena);
    return c.failures;
}

// ---- refusals ----

static const struct {
    const char *pass, *text, *message;
} refusals[] = {
    {"autodiff", "    %w: f32[n=2] = param \"w\" \"\"\n    output %w \"out\"\n", "no output \"loss\""},
    {"autodiff", "    %w: f32[n=2] = param \"w\" \"\"\n    output %w \"loss\"\n", "a single f32, not f32[n=2]"},
    {"autodiff", "    %x: f32[] = input \"x\"\n    output %x \"loss\"\n", "depends on no parameter"},
    {"autodiff",
     "    %w: f32[m=2, n=2] = param \"w\" \"\"\n    %k: f32[k=2, n=2] = rename %w over m to k\n"
     "    %y: f32[m=2, n=2], %l: f32[m=2] = attend %w, %k, %k over n, k\n"
     "    %loss: f32[] = sum %l over m\n    output %loss \"loss\"\n",
     "has no gradient"},
    {"autodiff",
     "    %i: i32[m=2] = input limit 2 \"i\"\n    %w: f32[m=2] = param \"w\" \"\"\n"
     "    %s: f32[n=2] = scatter %i, %w over n to n\n"
     "    %loss: f32[] = sum %s over n\n    output %loss \"loss\"\n",
     "scatter has no gradient"},
    {"nowhere", "    %x: f32[] = input \"x\"\n    output %x \"loss\"\n", "no pass 'nowhere'"},
};

static int run_refusal(size_t which) {
    Arena *arena = arena_new(), *scratch = arena_new();
    StrTable *strs = strtable_new(arena);
    char *said = NULL;
    size_t said_size;
    FILE *sink = open_memstream(&said, &said_size);
    Diag *diag = diag_new(arena, sink, false);
    char *text =
        arena_printf(arena, "unit \"r\"\naxis k=2\naxis m=2\naxis n=2\n\nfunc train\n%s", refusals[which].text);
    Unit *u = unit_parse(arena, scratch, strs, diag, str_intern(strs, "refusal"), text, strlen(text));
    PassOptions o = {.first = refusals[which].pass, .last = refusals[which].pass};
    bool refused = u && unit_verify(u, "parse") && !passes_run(u, &o);
    fclose(sink);
    bool good = refused && strstr(said, refusals[which].message) && !diag_had_internal(diag);
    if (!good) fprintf(stderr, "expected '%s', got: %s\n", refusals[which].message, said);
    free(said);
    arena_free(scratch);
    arena_free(arena);
    return !good;
}

static bool asked(const char *path, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strstr(path, argv[i])) return true;
    return argc < 2;
}

int main(int argc, char **argv) {
    int failures = 0, cases = 0;
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        char pattern[100];
        snprintf(pattern, sizeof pattern, "tests/ir/%s/*.tgi", checks[i].pass);
        glob_t found;
        if (glob(pattern, 0, NULL, &found)) continue;
        for (size_t k = 0; k < found.gl_pathc; k++) {
            if (strstr(found.gl_pathv[k], ".out.tgi") || !asked(found.gl_pathv[k], argc, argv)) continue;
            int failed = run_case(found.gl_pathv[k], i);
            printf("%s %s\n", failed ? "FAIL" : "ok  ", found.gl_pathv[k]);
            failures += failed;
            cases++;
        }
        globfree(&found);
    }
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals && argc < 2; i++) failures += run_refusal(i);
    if (!cases) fprintf(stderr, "no cases: run from the source folder\n");
    return failures || !cases;
}
