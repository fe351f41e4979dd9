// SPDX-License-Identifier: Apache-2.0
// Random graphs of elementwise ops, reductions, views, gathers and products over axes from 1 to some hundreds of
// places, through all passes to kernels that run, on one rank and on two or four, against the interpreter.
//   test_codegen_random [FIRST_SEED COUNT [what to print: ir kernels plan, or a pass: what it gets]]
#include "codegen/codegen.h"
#include "ir/build.h"
#include "ir/eval.h"
#include "ir/strategy.h"
#include "ir/text.h"
#include "passes/pass.h"
#include "runtime/bind.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BASE_AXES = 7, LEAVES_MAX = 64, ELEMENTS_MAX = 60000, RANK_WANTED = 4 };

typedef struct LeafData {
    Str name;
    DType dtype;
    int64_t count;
    double *values;
} LeafData;

typedef struct Gen {
    uint64_t state;
    Arena *arena, *scratch;
    char *said;
    size_t said_size;
    FILE *sink;
    Unit *unit;
    Builder b;
    const Axis *axis[BASE_AXES];
    Vec(Value *) pool; // f32
    LeafData leaves[LEAVES_MAX];
    int nleaves, noutputs;
} Gen;

// Of the largest element; what rounding in f32 moves a badly conditioned result by, times the factor, is added to it.
static const double TOLERANCE = 2e-6, CONDITION_FACTOR = 3;
enum { PERTURBED_RUNS = 4 };

static int failures, conditioned;

static uint64_t next(Gen *g) {
    uint64_t x = g->state += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}
static int pick(Gen *g, int n) { return (int)(next(g) % (uint64_t)n); }
static double unit_real(Gen *g) { return (double)(float)((double)(next(g) >> 40) / (1 << 23) - 1); }

static Value *any(Gen *g) { return g->pool.at[g->pool.n - 1 - pick(g, g->pool.n < 10 ? g->pool.n : 10)]; }

static const Axis *axis_named(Gen *g, const char *name, int64_t extent) {
    Str s = str_intern(g->unit->strs, name);
    const Axis *a = unit_axis(g->unit, s);
    return a ? a : unit_add_axis(g->unit, s, extent, (Loc){0});
}

static Value *leaf(Gen *g, DType t, const Axes *axes, double low, double high) {
    LeafData *l = &g->leaves[g->nleaves];
    Type type = type_of(t, axes);
    l->name = str_internf(g->unit->strs, "x%d", g->nleaves++);
    l->dtype = t;
    type_elements(&type, &l->count);
    l->values = NEW_ARRAY(g->arena, double, l->count);
    for (int64_t i = 0; i < l->count; i++) l->values[i] = t == DT_I32 ? low + pick(g, (int)(high - low)) : unit_real(g);
    if (t == DT_I32 || pick(g, 2)) return build_input(&g->b, &type, l->name, 0, 0);
    return build_param(&g->b, &type, l->name, str_intern(g->unit->strs, ""));
}

static bool fits(const Type *t) {
    int64_t n;
    return t->rank <= RANK_WANTED && type_elements(t, &n) && n <= ELEMENTS_MAX;
}

static bool fits_both(const Value *x, const Value *y) {
    Type t = x->type;
    for (int d = 0; d < y->type.rank; d++)
        if (type_find(&t, y->type.dim[d].axis) < 0 && !type_push(&t, y->type.dim[d].axis)) return false;
    return fits(&t);
}

static Value *map(Gen *g, OpKind op, Value *x, Value *y) {
    if (x && y && !fits_both(x, y)) return NULL;
    return build_map(&g->b, op, x, y, NULL);
}
static Value *scaled(Gen *g, Value *x, double by) { return map(g, OP_mul, x, build_const(&g->b, DT_F32, by)); }

static Value *position(Gen *g, const Axis *a) {
    return scaled(g, build_cast(&g->b, build_index(&g->b, a), DT_F32), 0.037);
}

static Axes some_axes(Gen *g, const Value *x) {
    Axes over = {0};
    for (int d = 0; d < x->type.rank; d++)
        if (pick(g, 2)) axes_push(&over, x->type.dim[d].axis);
    if (!over.n && x->type.rank) axes_push(&over, x->type.dim[pick(g, x->type.rank)].axis);
    return over;
}

static Axes one(const Axis *a) { return axes_of(1, a); }

static Value *view(Gen *g, Value *x) {
    if (!x->type.rank) return NULL;
    int d = pick(g, x->type.rank), rank = x->type.rank;
    const Axis *a = x->type.dim[d].axis;
    char name[200];
    Type t = x->type;
    switch (pick(g, 8)) {
    case 0: {
        snprintf(name, sizeof name, "%.60s_r", a->name);
        Axes from = one(a), to = one(axis_named(g, name, a->extent));
        return build_rename(&g->b, x, &from, &to);
    }
    case 1: { // split
        int64_t by = a->extent % 4 == 0 ? 4 : a->extent % 2 == 0 ? 2 : a->extent % 3 == 0 ? 3 : 0;
        if (!by || rank >= RANK_WANTED) return NULL;
        char inner[200];
        snprintf(name, sizeof name, "%.60s_o", a->name);
        snprintf(inner, sizeof inner, "%.60s_i", a->name);
        Axes from = one(a), to = axes_of(2, axis_named(g, name, a->extent / by), axis_named(g, inner, by));
        return build_rename(&g->b, x, &from, &to);
    }
    case 2: { // merge
        if (d + 1 >= rank) return NULL;
        const Axis *b = x->type.dim[d + 1].axis;
        snprintf(name, sizeof name, "%.60s_%.60s", a->name, b->name);
        Axes from = axes_of(2, a, b), to = one(axis_named(g, name, a->extent * b->extent));
        return build_rename(&g->b, x, &from, &to);
    }
    case 3: { // a window
        int64_t size = (a->extent + 1) / 2;
        snprintf(name, sizeof name, "%.60s_w", a->name);
        return build_slice(&g->b, x, a, axis_named(g, name, size), pick(g, (int)(a->extent - size + 1)));
    }
    case 4: return build_slice(&g->b, x, a, NULL, pick(g, (int)a->extent));
    case 5: {
        snprintf(name, sizeof name, "%.60s_p", a->name);
        const Axis *to = axis_named(g, name, a->extent + 5);
        t.dim[d].axis = to;
        return fits(&t) ? build_place(&g->b, x, a, to, pick(g, 6), 0) : NULL;
    }
    case 6: { // one after the other
        Value *y = map(g, OP_sin, x, NULL), *xs[] = {x, y, map(g, OP_neg, y, NULL)};
        snprintf(name, sizeof name, "%.60s_c", a->name);
        const Axis *to = axis_named(g, name, 3 * a->extent);
        t.dim[d].axis = to;
        Axes pieces = axes_of(3, a, a, a);
        return fits(&t) ? build_concat(&g->b, xs, 3, &pieces, to, 0) : NULL;
    }
    default: { // stacked
        Value *xs[] = {x, map(g, OP_tanh, x, NULL)};
        const Axis *to = axis_named(g, "two", 2);
        if (type_find(&t, to) >= 0 || !type_push(&t, to) || !fits(&t)) return NULL;
        return build_concat(&g->b, xs, 2, NULL, to, pick(g, rank + 1));
    }
    }
}

static Value *contract(Gen *g, Value *x) {
    if (!x->type.rank) return NULL;
    Axes over = some_axes(g, x);
    double n = 1;
    for (int i = 0; i < over.n; i++) n *= (double)over.at[i]->extent;
    if (pick(g, 3) == 0) return build_max(&g->b, x, &over);
    Value *s = build_sum(&g->b, x, &over);
    return pick(g, 2) ? scaled(g, s, 1 / n) : map(g, OP_sin, scaled(g, s, 3 / n), NULL);
}

static Value *lookup(Gen *g, Value *x) {
    if (!x->type.rank || x->type.rank >= RANK_WANTED || g->nleaves + 4 > LEAVES_MAX) return NULL;
    const Axis *over = x->type.dim[pick(g, x->type.rank)].axis, *row = g->axis[pick(g, BASE_AXES)];
    if (type_find(&x->type, row) >= 0 || over == row) return NULL;
    Type t = x->type;
    t.dim[type_find(&t, over)].axis = row;
    if (!fits(&t)) return NULL;
    Axes axes = one(row);
    Value *ids = leaf(g, DT_I32, &axes, -1, (double)over->extent + 1);
    Value *rows = build_take(&g->b, x, ids, over);
    if (pick(g, 2)) return rows;
    Axes to = type_axes(&x->type);
    Value *sum = build_scatter(&g->b, ids, map(g, OP_sin, rows, NULL), over, &to);
    return pick(g, 2) ? map(g, OP_add, x, sum) : sum;
}

static Value *product(Gen *g, Value *x) {
    Value *y = any(g);
    Axes over = {0};
    double n = 1;
    Type t = x->type;
    for (int d = 0; d < x->type.rank; d++)
        if (type_find(&y->type, x->type.dim[d].axis) >= 0 && pick(g, 3)) {
            axes_push(&over, x->type.dim[d].axis);
            n *= (double)x->type.dim[d].axis->extent;
        }
    for (int d = 0; d < y->type.rank; d++)
        if (type_find(&t, y->type.dim[d].axis) < 0 && !type_push(&t, y->type.dim[d].axis)) return NULL;
    if (!over.n || t.rank > 6 || !fits_both(x, y)) return NULL;
    return scaled(g, build_dot(&g->b, x, y, &over), 1 / sqrt(n));
}

static Value *noise(Gen *g, Value *x) {
    Value *keys[2] = {build_const(&g->b, DT_I32, pick(g, 1000)), build_const(&g->b, DT_I32, pick(g, 1000))};
    Type t = x->type;
    t.dtype = DT_F32;
    return map(g, OP_mul, x, build_random(&g->b, &t, pick(g, 2), pick(g, 5), keys, 2));
}

static Value *chosen(Gen *g, Value *x) { // by position
    if (!x->type.rank) return NULL;
    const Axis *a = x->type.dim[pick(g, x->type.rank)].axis;
    Value *c =
        build_map(&g->b, OP_lt, build_index(&g->b, a), build_const(&g->b, DT_I32, pick(g, (int)a->extent)), NULL);
    Value *y = any(g);
    if (!fits_both(x, y)) y = build_const(&g->b, DT_F32, 0.5);
    return build_map(&g->b, OP_select, c, x, y);
}

static void step(Gen *g) {
    static const OpKind unary[] = {OP_sin, OP_tanh, OP_sigmoid, OP_neg, OP_abs, OP_cos, OP_erf};
    static const OpKind binary[] = {OP_add, OP_sub, OP_mul, OP_maximum, OP_minimum, OP_mul};
    Value *x = any(g), *y = NULL;
    switch (pick(g, 14)) {
    case 0:
    case 1: y = map(g, unary[pick(g, 7)], x, NULL); break;
    case 2:
    case 3:
    case 4: y = map(g, binary[pick(g, 6)], x, any(g)); break;
    case 5:
    case 6: y = contract(g, x); break;
    case 7:
    case 8: y = view(g, x); break;
    case 9: y = lookup(g, x); break;
    case 10: y = product(g, x); break;
    case 11:
        y = pick(g, 2) ? noise(g, x) : x->type.rank ? map(g, OP_add, x, position(g, x->type.dim[0].axis)) : NULL;
        break;
    case 12: y = chosen(g, x); break;
    default: {
        Type t = x->type;
        const Axis *a = g->axis[pick(g, BASE_AXES)];
        if (type_find(&t, a) < 0 && type_push(&t, a) && fits(&t)) y = build_expand(&g->b, x, &t);
    }
    }
    if (y && fits(&y->type)) vec_push(g->arena, &g->pool, y);
}

static Gen *generate(uint64_t seed) {
    static const int64_t extents[] = {1, 2, 3, 4, 7, 12, 16, 17, 33, 64, 96, 130, 300};
    Arena *arena = arena_new();
    Gen *g = NEW(arena, Gen);
    g->arena = arena;
    g->scratch = arena_new();
    g->state = seed * 7919;
    g->sink = open_memstream(&g->said, &g->said_size);
    StrTable *strs = strtable_new(arena);
    g->unit = unit_new(arena, g->scratch, strs, diag_new(arena, g->sink, false), str_intern(strs, "random"));
    Func *f = unit_add_func(g->unit, "eval");
    g->b = builder_at_end(f->top, (Loc){.file = str_internf(strs, "seed %d", (int)seed), .line = 1, .col = 1});
    for (int i = 0; i < BASE_AXES; i++) {
        char name[2] = {(char)('a' + i), 0};
        g->axis[i] = axis_named(g, name, extents[pick(g, 13)]);
    }
    for (int i = 0; i < 5; i++) {
        Type t = type_scalar(DT_F32);
        for (int d = 0, rank = 1 + pick(g, 3); d < rank; d++) {
            const Axis *a = g->axis[pick(g, BASE_AXES)];
            Type more = t;
            if (type_find(&t, a) < 0 && type_push(&more, a) && fits(&more)) t = more;
        }
        Axes axes = type_axes(&t);
        vec_push(arena, &g->pool, leaf(g, DT_F32, &axes, 0, 0));
    }
    for (int i = 0, n = 6 + pick(g, 26); i < n; i++) step(g);
    int from = g->pool.n > 14 ? g->pool.n - 14 : 5;
    for (int i = from; i < g->pool.n; i++)
        if (i == g->pool.n - 1 || pick(g, 3) == 0)
            build_output(&g->b, g->pool.at[i], str_internf(strs, "y%d", g->noutputs++));
    if (!g->noutputs) build_output(&g->b, g->pool.at[0], str_internf(strs, "y%d", g->noutputs++));
    return g;
}

static void end(Gen *g) {
    fclose(g->sink);
    free(g->said);
    arena_free(g->scratch);
    arena_free(g->arena);
}

static void lay_out(Gen *g, int ways) {
    Strategy *s = NEW(g->arena, Strategy);
    s->name = str_intern(g->unit->strs, "test");
    s->mesh.n = ways == 4 ? 2 : 1;
    s->splits = NEW_ARRAY(g->arena, Split, 2);
    for (int i = 0; i < s->mesh.n; i++) {
        s->mesh.axis[i].name = str_internf(g->unit->strs, "m%d", i);
        s->mesh.axis[i].extent = ways == 3 ? 3 : 2;
        const Axis *a = g->axis[pick(g, BASE_AXES)];
        if (i && a == s->splits[0].axis) break;
        s->splits[s->nsplits++] = (Split){.axis = a, .over = (MeshSet)1 << i, .loc = g->b.loc, .over_loc = g->b.loc};
    }
    g->unit->strategy = s;
}

static Status set_leaves(Gen *g, Program *p) {
    for (int i = 0; i < g->nleaves; i++) {
        const LeafData *l = &g->leaves[i];
        int at = plan_leaf(program_plan(p), PLAN_PARAM, l->name);
        if (at < 0) at = plan_leaf(program_plan(p), PLAN_INPUT, l->name);
        if (at < 0) continue;
        float *values = NEW_ARRAY(g->arena, float, l->count);
        for (int64_t j = 0; j < l->count; j++)
            if (l->dtype == DT_I32) ((int32_t *)values)[j] = (int32_t)l->values[j];
            else values[j] = (float)l->values[j];
        STATUS_TRY(program_write_leaf(p, at, values));
    }
    return status_ok();
}

static void complain(uint64_t seed, int ways, const char *text) {
    printf("FAIL: seed %" PRIu64 ", %d rank%s: %s\n", seed, ways, ways > 1 ? "s" : "", text);
    failures++;
}

// How far each element of an output moves, at most, when the reference is run as an f32 machine may run it.
static double *spread(Gen *g, Eval *e, Str name, const double *want, int64_t count) {
    double *moved = NEW_ARRAY(g->arena, double, count), *other = NEW_ARRAY(g->arena, double, count);
    for (uint64_t k = 1; k <= PERTURBED_RUNS; k++) {
        eval_perturb(e, k);
        if (!eval_run(e, "eval") || !eval_get(e, name, other, count)) return NULL;
        for (int64_t j = 0; j < count; j++) moved[j] = fmax(moved[j], fabs(other[j] - want[j]));
    }
    eval_perturb(e, 0);
    return eval_run(e, "eval") ? moved : NULL;
}

// An error above TOLERANCE must be the graph's condition.
static void compare(uint64_t seed, int ways, Gen *g, Program *p, Eval *e) {
    for (int i = 0; i < g->noutputs; i++) {
        Str name = str_internf(g->unit->strs, "y%d", i);
        int at = plan_leaf(program_plan(p), PLAN_OUTPUT, name);
        int64_t count = leaf_elements(&program_plan(p)->leaves[at]);
        float *got = NEW_ARRAY(g->arena, float, count);
        double *want = NEW_ARRAY(g->arena, double, count), *moved = NULL, largest = 1;
        Status s = program_read_leaf(p, at, false, got);
        if (status_failed(&s) || !eval_get(e, name, want, count)) {
            complain(seed, ways, s.message);
            return;
        }
        for (int64_t j = 0; j < count; j++) largest = fmax(largest, fabs(want[j]));
        for (int64_t j = 0; j < count; j++) {
            double error = fabs((double)got[j] - want[j]);
            if (error <= TOLERANCE * largest) continue;
            if (!moved) {
                conditioned++;
                moved = spread(g, e, name, want, count);
            }
            if (moved && error <= TOLERANCE * largest + CONDITION_FACTOR * moved[j]) continue;
            complain(seed, ways,
                     arena_printf(g->arena,
                                  "%s[%" PRId64 "] of %" PRId64 " is %.9g, not %.9g (rounding moves it by %g)", name, j,
                                  count, (double)got[j], want[j], moved ? moved[j] : 0));
            break;
        }
    }
}

static void run(uint64_t seed, int ways, const char *show) {
    Gen *g = generate(seed), *r = generate(seed);
    Eval *e = eval_new(r->unit, r->arena);
    bool ok = true;
    for (int i = 0; i < r->nleaves; i++) eval_set(e, r->leaves[i].name, r->leaves[i].values, r->leaves[i].count);
    if (!eval_run(e, "eval")) {
        fflush(r->sink);
        complain(seed, ways, r->said);
        ok = false;
    }
    if (ways > 1) lay_out(g, ways);
    const char *before = show && strcmp(show, "ir") && strcmp(show, "plan") && strcmp(show, "kernels") ? show : NULL;
    if (ok && !passes_run(g->unit, &(PassOptions){.check_text = true, .dump_before = before, .dump = stdout})) {
        fflush(g->sink);
        if (diag_had_internal(g->unit->diag) || !strstr(g->said, "both split over")) complain(seed, ways, g->said);
        ok = false;
    }
    if (ok && show && !before) {
        if (!strcmp(show, "ir")) unit_print(g->unit, stdout);
        else codegen_print(g->unit, NULL, !strcmp(show, "plan") ? CODEGEN_PLAN : CODEGEN_KERNELS, stdout);
    }
    CodegenJit *jit = NULL;
    Program *p = NULL;
    if (ok) {
        Status s = codegen_jit(g->unit, &(CodegenOptions){.threads = 1}, &jit);
        if (!status_failed(&s))
            s = program_make_from_plan(codegen_jit_plan(jit), codegen_jit_module(jit), &(ProgramOptions){.threads = 2},
                                       &p);
        if (!status_failed(&s)) s = set_leaves(g, p);
        if (!status_failed(&s)) s = program_run(p, "eval");
        fflush(g->sink);
        if (status_failed(&s)) complain(seed, ways, arena_printf(g->arena, "%s %s", s.message, g->said));
        else compare(seed, ways, g, p, e);
    }
    program_free(p);
    codegen_jit_free(jit);
    end(g);
    end(r);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    int count = argc > 2 ? atoi(argv[2]) : 150;
    for (uint64_t seed = first; seed < first + (uint64_t)count; seed++) {
        run(seed, 1, argc > 3 ? argv[3] : NULL);
        run(seed, 2 + (int)(seed % 3), argc > 3 ? argv[3] : NULL);
    }
    // The cosine of a square of some thousands; normal random numbers near zero.
    static const uint64_t cases[] = {3208, 271, 537};
    for (int i = 0; argc == 1 && i < 3; i++) {
        run(cases[i], 1, NULL);
        run(cases[i], 2 + (int)(cases[i] % 3), NULL);
    }
    printf("%d random graphs, %d outputs compared by their condition, %d failures\n", count, conditioned, failures);
    return failures != 0;
}
