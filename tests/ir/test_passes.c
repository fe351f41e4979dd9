// SPDX-License-Identifier: Apache-2.0
// Passes as filters: every tests/ir/PASS/NAME.tgi goes through PASS and must come out as NAME.out.tgi
// (TGF_BLESS=1 writes those files), and the numbers must be right: what simplify leaves computes the same values; the
// gradients autodiff makes agree with central differences, also after tidying; the optimizer's updates agree with a
// plain loop. Arguments: only the files whose path contains one of them.
#include "ir/recipe.h"
#include "tests/ir/passes_check.h"
#include <glob.h>

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
} checks[] = {{"simplify", check_simplify},
              {"autodiff", check_autodiff},
              {"optimizer", check_optimizer},
              {"precision", NULL},
              {"shard", NULL},
              {"resolve", NULL},
              {"pipeline", NULL},
              {"overlap", NULL},
              {"offload", NULL},
              {"sums", NULL},
              {"fuse", check_fuse},
              {"order", NULL}};

static int run_case(const char *path, size_t which) {
    Case c = {.path = path, .pass = checks[which].pass, .tolerance = 2e-7};
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
        if (checks[which].check) checks[which].check(&c, u);
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
     "    %w: f32[m=2] = param \"w\" \"\"\n    %s: f32[m=2] = mask %w over m value 0\n"
     "    %loss: f32[] = sum %s over m\n    output %loss \"loss\"\n",
     "mask has no gradient"},
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
