// SPDX-License-Identifier: Apache-2.0
// kit_ops: the cases of tests/ops as GPU modules with what the reference interpreter says. tests/ops/test_compiled.c
// compares the same things on a CPU and says why the tolerances are what they are.
#include "codegen/codegen.h"
#include "ir/op.h"
#include "ir/strategy.h"
#include "passes/pass.h"
#include "tests/gpu/kit_make.h"
#include "tests/ops/cases.h"
#include <math.h>
#include <stdlib.h>

enum { PERTURBED_RUNS = 4 };

typedef struct Making {
    FILE *out;
    const OpCase *k;
    const CodegenOptions *machine;
    DType compute;
    Arena *arena;
    Vec(Str) names; // of outputs
    Vec(double *) values;
    Vec(float *) moved;
    Vec(int64_t) counts;
} Making;

static CaseCtx *open_case(const Making *m) {
    CaseCtx *c = case_open(m->k);
    if (m->compute == DT_F32) return c;
    Strategy *s = NEW(c->arena, Strategy);
    *s = (Strategy){.name = str_intern(c->unit->strs, "kit"),
                    .has_precision = true,
                    .scale = 1,
                    .compute = m->compute,
                    .master = DT_F32,
                    .reduce = DT_F32};
    c->unit->strategy = s;
    return c;
}

static bool passes_to(CaseCtx *c, const OpCase *k, const char *last) {
    PassOptions options = {
        .first = case_has_gradient(k) ? "precision" : "shard", .last = last, .keep_gradients = case_has_gradient(k)};
    return passes_run(c->unit, &options);
}

static bool complain(const Making *m, const char *doing, const char *what) {
    fprintf(stderr, "%s %s: %s: %s\n", m->k->name, dtype_name(m->compute), doing, what);
    return false;
}

// Seed 0: the outputs themselves; else how far rounding moves them.
static bool evaluate(Making *m, uint64_t seed) {
    CaseCtx *c = open_case(m);
    bool ok = !case_has_gradient(m->k) || passes_to(c, m->k, "autodiff");
    Eval *e = ok ? eval_new(c->unit, c->arena) : NULL;
    if (ok) eval_perturb(e, seed);
    ok = ok && case_set(c, e) && eval_run(e, "train");
    int at = 0;
    for (const Node *n = unit_func(c->unit, "train")->top->first; ok && n; n = n->next) {
        if (n->op != OP_output) continue;
        int64_t count;
        type_elements(&n->args[0]->type, &count);
        double *values = NEW_ARRAY(seed ? c->arena : m->arena, double, count);
        ok = eval_get(e, n->attr.s, values, count);
        if (!seed) {
            vec_push(m->arena, &m->names, arena_dup(m->arena, n->attr.s, strlen(n->attr.s) + 1));
            vec_push(m->arena, &m->values, values);
            vec_push(m->arena, &m->moved, NEW_ARRAY(m->arena, float, count));
            vec_push(m->arena, &m->counts, count);
        }
        for (int64_t i = 0; ok && seed && i < count; i++) {
            double by = fabs(values[i] - m->values.at[at][i]);
            if (isfinite(by)) m->moved.at[at][i] = fmaxf(m->moved.at[at][i], (float)by);
        }
        at++;
    }
    if (!ok) complain(m, "the reference", case_said(c));
    case_close(c);
    return ok;
}

static void put_leaf(const Making *m, const CaseCtx *c, const Plan *plan, const CaseLeaf *l) {
    int at = plan_leaf(plan, l->param ? PLAN_PARAM : PLAN_INPUT, l->name);
    if (at < 0) return; // nothing reads it
    PlanDType t = plan->leaves[at].dtype;
    size_t size = (size_t)plan_dtype_bytes(t);
    char *values = arena_alloc(c->arena, size * (size_t)l->count);
    for (int64_t i = 0; i < l->count; i++) {
        double x = l->values[i];
        if (t == PLAN_F32) ((float *)values)[i] = (float)x;
        else if (t == PLAN_I32) ((int32_t *)values)[i] = (int32_t)x;
        else values[i] = x != 0;
    }
    kit_put(m->out, values, size * (size_t)l->count, "%s %s", l->param ? "param" : "input", l->name);
}

static bool put_case(const Making *m) {
    CaseCtx *c = open_case(m);
    CodegenJit *jit = NULL;
    bool ok = passes_to(c, m->k, "memory");
    if (!ok) complain(m, "passes", case_said(c));
    Status s = ok ? codegen_jit(c->unit, m->machine, &jit) : status_ok();
    if (status_failed(&s)) ok = complain(m, s.message, case_said(c));
    if (ok) {
        const Plan *plan = codegen_jit_plan(jit);
        kit_put_text(m->out, "case", "%s %s", m->k->name, dtype_name(m->compute));
        kit_put_text(m->out, "op", "%s", op_info(m->k->op)->name);
        kit_put_text(m->out, "dtype", "%s", dtype_name(m->compute));
        kit_put_text(m->out, "tolerance", "%.17g", m->compute == DT_F32 ? 2e-6 : 2 * dtype_roundoff(m->compute));
        kit_put_module(m->out, codegen_jit_module(jit));
        for (int i = 0; i < c->leaves.n; i++) put_leaf(m, c, plan, &c->leaves.at[i]);
        for (int i = 0; i < m->names.n; i++) {
            kit_put(m->out, m->values.at[i], sizeof(double) * (size_t)m->counts.at[i], "want %s", m->names.at[i]);
            kit_put(m->out, m->moved.at[i], sizeof(float) * (size_t)m->counts.at[i], "moved %s", m->names.at[i]);
        }
    }
    codegen_jit_free(jit);
    case_close(c);
    return ok;
}

static bool make_case(FILE *out, const OpCase *k, const CodegenOptions *machine, DType compute) {
    Making m = {.out = out, .k = k, .machine = machine, .compute = compute, .arena = arena_new()};
    bool ok = true;
    for (uint64_t seed = 0; ok && seed <= PERTURBED_RUNS; seed++) ok = evaluate(&m, seed);
    ok = ok && put_case(&m);
    arena_free(m.arena);
    return ok;
}

int kit_ops(FILE *out, const char *arch, int part, int parts) {
    CodegenOptions machine = {.cuda = arch};
    int count, done = 0, failures = 0;
    const OpCase *cases = op_cases(&count);
    static const DType types[] = {DT_F32, DT_BF16, DT_F16};
    for (int t = 0; t < 3; t++)
        for (int i = part; i < count; i += parts) {
            if (t && !(case_has_gradient(&cases[i]) && case_has_products(&cases[i]))) continue;
            if (make_case(out, &cases[i], &machine, types[t])) done++;
            else failures++;
        }
    printf("%d cases made, %d refused\n", done, failures);
    return failures != 0;
}
