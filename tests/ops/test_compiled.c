// SPDX-License-Identifier: Apache-2.0
// Compiled code against the reference, op by op: each case, with its gradients, goes through all passes to kernels that
// run in this process, on one rank and on meshes, and is compared with the interpreter's doubles. Cases with products
// also in bf16 and f16 on one rank, compared with the interpreter's doubles rounded where a value is of 16 bits.
//   test_ops_compiled [--cuda ARCH] [--part I/N] [CASE [what to print: ir kernels plan llvm asm]]
// --cuda: kernels for a GPU, on one rank and on a 2 x 2 mesh (tests/cudasim/run_ops simulates them). --part: every Nth
// case from the Ith.
#include "codegen/codegen.h"
#include "ir/strategy.h"
#include "ir/text.h"
#include "passes/pass.h"
#include "runtime/bind.h"
#include "tests/ops/cases.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int failures, done, refused, conditioned;
static const char *only, *show;
// Of the largest element; what rounding in f32 moves a badly conditioned result by, times the factor, is added to it.
// On a GPU f32 attention multiplies by three products in tf32 (codegen/cuda_prelude_attend.cuh), whose roundings add up
// and fall on other elements: four times that, of what rounding moves any element of the tensor by.
static const double CONDITION_FACTOR = 2, CONDITION_FACTOR_GPU = 8;
enum { PERTURBED_RUNS = 4 };
static DType compute = DT_F32;
static CodegenOptions machine;
static int part, parts = 1;

// 16 bits: the last place of the largest element.
static double tolerance(void) { return compute == DT_F32 ? 2e-6 : 2 * dtype_roundoff(compute); }

typedef struct Reference {
    const OpCase *k;
    Arena *arena;
    Vec(const char *) names;
    Vec(double *) values;
    Vec(double *) moved; // by how much rounding moves each element, at most; empty until it is asked for
    Vec(int64_t) counts;
    int naxes;
} Reference;

static void fail(const OpCase *k, const char *layout, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void fail(const OpCase *k, const char *layout, const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("FAIL: %s, %s, %s: ", k->name, dtype_name(compute), layout);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    failures++;
}

static bool passes_to(CaseCtx *c, const OpCase *k, const char *last) {
    PassOptions options = {.first = case_has_gradient(k) ? "precision" : "shard", .last = last, .check_text = true};
    options.keep_gradients = true;
    return passes_run(c->unit, &options);
}

static void set_precision(CaseCtx *c) {
    if (compute == DT_F32) return;
    const Strategy *old = c->unit->strategy;
    Strategy *s = NEW(c->arena, Strategy);
    if (old) *s = *old;
    s->name = str_intern(c->unit->strs, "test");
    s->has_precision = true;
    s->scale = 1;
    s->compute = compute;
    s->master = s->reduce = DT_F32;
    c->unit->strategy = s;
}

static bool reference_make(Reference *r) {
    CaseCtx *c = case_open(r->k);
    set_precision(c);
    bool ok = !case_has_gradient(r->k) || passes_to(c, r->k, "autodiff");
    Eval *e = ok ? eval_new(c->unit, c->arena) : NULL;
    ok = ok && case_set(c, e) && eval_run(e, "train");
    if (!ok) fail(r->k, "reference", "%s", case_said(c));
    r->naxes = c->unit->axes.n;
    for (const Node *n = unit_func(c->unit, "train")->top->first; ok && n; n = n->next) {
        if (n->op != OP_output) continue;
        int64_t count;
        type_elements(&n->args[0]->type, &count);
        double *values = NEW_ARRAY(r->arena, double, count);
        eval_get(e, n->attr.s, values, count);
        vec_push(r->arena, &r->names, arena_dup(r->arena, n->attr.s, strlen(n->attr.s) + 1));
        vec_push(r->arena, &r->values, values);
        vec_push(r->arena, &r->counts, count);
    }
    case_close(c);
    return ok;
}

static bool reference_perturb(Reference *r, uint64_t seed) {
    CaseCtx *c = case_open(r->k);
    set_precision(c);
    bool ok = !case_has_gradient(r->k) || passes_to(c, r->k, "autodiff");
    Eval *e = ok ? eval_new(c->unit, c->arena) : NULL;
    if (ok) eval_perturb(e, seed);
    ok = ok && case_set(c, e) && eval_run(e, "train");
    for (int i = 0; ok && i < r->names.n; i++) {
        double *values = NEW_ARRAY(c->arena, double, r->counts.at[i]);
        ok = eval_get(e, r->names.at[i], values, r->counts.at[i]);
        for (int64_t j = 0; ok && j < r->counts.at[i]; j++) {
            double by = fabs(values[j] - r->values.at[i][j]);
            if (isfinite(by)) r->moved.at[i][j] = fmax(r->moved.at[i][j], by);
        }
    }
    if (!ok) fail(r->k, "perturbed reference", "%s", case_said(c));
    case_close(c);
    return ok;
}

static const double *reference_moved(Reference *r, int output) {
    if (!r->moved.n) {
        for (int i = 0; i < r->names.n; i++)
            vec_push(r->arena, &r->moved, NEW_ARRAY(r->arena, double, r->counts.at[i]));
        for (uint64_t seed = 1; seed <= PERTURBED_RUNS && reference_perturb(r, seed); seed++) {}
    }
    return r->moved.at[output];
}

static void put(void *at, PlanDType t, int64_t i, double x) {
    if (t == PLAN_F32) ((float *)at)[i] = (float)x;
    else if (t == PLAN_I32) ((int32_t *)at)[i] = (int32_t)x;
    else ((uint8_t *)at)[i] = x != 0;
}
static double get(const void *at, PlanDType t, int64_t i) {
    return t == PLAN_F32   ? (double)((const float *)at)[i]
           : t == PLAN_I32 ? (double)((const int32_t *)at)[i]
                           : (double)((const uint8_t *)at)[i];
}

static Status set_leaves(CaseCtx *c, Program *p) {
    const Plan *plan = program_plan(p);
    for (int i = 0; i < c->leaves.n; i++) {
        const CaseLeaf *l = &c->leaves.at[i];
        int at = plan_leaf(plan, l->param ? PLAN_PARAM : PLAN_INPUT, l->name);
        if (at < 0) continue; // nothing reads it
        PlanDType t = plan->leaves[at].dtype;
        void *values = arena_alloc(c->arena, (size_t)(l->count * 8 + 8));
        for (int64_t j = 0; j < l->count; j++) put(values, t, j, l->values[j]);
        STATUS_TRY(program_write_leaf(p, at, values));
    }
    return status_ok();
}

// An error above tolerance() must be the case's condition.
static void compare(Reference *r, CaseCtx *c, const char *layout, Program *p) {
    for (int i = 0; i < r->names.n; i++) {
        int64_t count = r->counts.at[i];
        const double *want = r->values.at[i];
        int at = plan_leaf(program_plan(p), PLAN_OUTPUT, r->names.at[i]);
        PlanDType t = program_plan(p)->leaves[at].dtype;
        void *got = arena_alloc(c->arena, (size_t)(count * 8 + 8));
        Status s = program_read_leaf(p, at, true, got);
        if (status_failed(&s)) {
            fail(r->k, layout, "%s: %s", r->names.at[i], s.message);
            continue;
        }
        const double *moved = NULL;
        double largest = 1e-3;
        for (int64_t j = 0; j < count; j++)
            if (isfinite(want[j])) largest = fmax(largest, fabs(want[j]));
        for (int64_t j = 0; j < count; j++) {
            double x = get(got, t, j);
            double error = fabs(x - want[j]);
            if (x == want[j] || (isnan(x) && isnan(want[j])) || error <= tolerance() * largest) continue;
            if (!moved) {
                conditioned++;
                moved = reference_moved(r, i);
            }
            double slack = CONDITION_FACTOR * moved[j];
            for (int64_t m = 0; machine.cuda && m < count; m++) slack = fmax(slack, CONDITION_FACTOR_GPU * moved[m]);
            if (error <= tolerance() * largest + slack) continue;
            fail(r->k, layout, "%s[%lld] is %.9g, not %.9g (rounding moves it by %.3g)", r->names.at[i], (long long)j,
                 x, want[j], moved[j]);
            break;
        }
    }
}

static void print_case(CaseCtx *c, const char *layout) {
    printf("---- %s\n", layout);
    if (!strcmp(show, "ir")) {
        unit_print(c->unit, stdout);
        return;
    }
    static const char *const names[] = {"kernels", "plan", "llvm", "asm"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(show, names[i])) codegen_print(c->unit, &machine, (CodegenText)i, stdout);
}

static void run_layout(Reference *r, CaseCtx *c, const char *layout) {
    set_precision(c);
    if (!passes_to(c, r->k, "memory")) {
        bool twice = strstr(case_said(c), "both split over") && !diag_had_internal(c->unit->diag);
        if (twice) refused++;
        else fail(r->k, layout, "%s", case_said(c));
        return;
    }
    if (show) print_case(c, layout);
    CodegenJit *jit = NULL;
    Program *p = NULL;
    Status s = codegen_jit(c->unit, &machine, &jit);
    if (!status_failed(&s))
        s = program_make_from_plan(codegen_jit_plan(jit), codegen_jit_module(jit), &(ProgramOptions){.threads = 2}, &p);
    if (!status_failed(&s)) s = set_leaves(c, p);
    if (!status_failed(&s)) s = program_run(p, "train");
    if (status_failed(&s)) fail(r->k, layout, "%s %s", s.message, case_said(c));
    else compare(r, c, layout, p);
    done++;
    program_free(p);
    codegen_jit_free(jit);
}

// Axis `axis` of the unit split over a mesh of `ranks`, or a 2 x 2 mesh splitting two axes.
static void apply(CaseCtx *c, int axis, int other, int64_t ranks) {
    Strategy *s = NEW(c->arena, Strategy);
    s->name = str_intern(c->unit->strs, "test");
    s->loc = c->b.loc;
    s->mesh.n = other >= 0 ? 2 : 1;
    s->nsplits = s->mesh.n;
    s->splits = NEW_ARRAY(c->arena, Split, 2);
    for (int i = 0; i < s->mesh.n; i++) {
        s->mesh.axis[i].name = str_internf(c->unit->strs, "m%d", i);
        s->mesh.axis[i].extent = ranks;
        s->splits[i] = (Split){
            .axis = c->unit->axes.at[i ? other : axis], .over = (MeshSet)1 << i, .loc = c->b.loc, .over_loc = c->b.loc};
    }
    c->unit->strategy = s;
}

static void run_case(const OpCase *k) {
    Reference r = {.k = k, .arena = arena_new()};
    if (reference_make(&r)) {
        CaseCtx *c = case_open(k);
        run_layout(&r, c, "one rank");
        case_close(c);
        // Ranks that round their partial sums to 16 bits differ by more: tgf verify looks at those.
        for (int axis = 0; axis < r.naxes && compute == DT_F32 && !machine.cuda; axis++) {
            c = case_open(k);
            const char *name = c->unit->axes.at[axis]->name;
            const char *layout = arena_printf(r.arena, "%s/2", name);
            apply(c, axis, -1, 2);
            run_layout(&r, c, layout);
            case_close(c);
        }
        if (r.naxes > 1 && compute == DT_F32) {
            c = case_open(k);
            apply(c, 0, 1, 2);
            run_layout(&r, c, "first two axes/2x2");
            case_close(c);
        }
    }
    arena_free(r.arena);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (argc > 2 && !strncmp(argv[1], "--", 2)) {
        if (!strcmp(argv[1], "--cuda")) machine.cuda = argv[2];
        else if (strcmp(argv[1], "--part") || sscanf(argv[2], "%d/%d", &part, &parts) != 2 || parts < 1) return 2;
        argc -= 2;
        argv += 2;
    }
    only = argc > 1 ? argv[1] : NULL;
    show = argc > 2 ? argv[2] : NULL;
    int count;
    const OpCase *cases = op_cases(&count);
    for (int i = 0; i < count; i++)
        if (i % parts == part && (!only || !strcmp(cases[i].name, only))) run_case(&cases[i]);
    for (int half = 0; half < 2; half++) {
        compute = half ? DT_F16 : DT_BF16;
        for (int i = 0; i < count; i++)
            if (i % parts == part && (!only || !strcmp(cases[i].name, only)) && case_has_gradient(&cases[i]) &&
                case_has_products(&cases[i]))
                run_case(&cases[i]);
    }
    printf("%d compiled layouts of %d cases, %d refused, %d outputs compared by their condition, %d failures\n", done,
           count, refused, conditioned, failures);
    return failures != 0;
}
