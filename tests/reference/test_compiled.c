// SPDX-License-Identifier: Apache-2.0
// The examples against JAX (make_fixtures.py): compiled f32 code, on one rank and on the meshes of their strategies.
// The fixtures load as checkpoints do.
#include "codegen/codegen.h"
#include "fixture.h"
#include "passes/pass.h"
#include "runtime/bind.h"
#include "runtime/checkpoint.h"
#include <stdio.h>
#include <stdlib.h>

static bool good(Status s) {
    if (status_failed(&s)) printf("%s: %s\n", status_name(s.code), s.message);
    return !status_failed(&s);
}

static int find_leaf(Program *p, PlanLeafKind kind, const char *name, int64_t count) {
    int leaf = plan_leaf(program_plan(p), kind, name);
    return leaf >= 0 && leaf_elements(&program_plan(p)->leaves[leaf]) == count ? leaf : -1;
}

static bool set(void *self, const char *name, const Type *type, const double *values, int64_t count) {
    int leaf = find_leaf(self, type->dtype == DT_I32 ? PLAN_INPUT : PLAN_PARAM, name, count);
    if (leaf < 0) return false;
    union {
        float f32;
        int32_t i32;
    } *words = calloc((size_t)count + 1, sizeof *words);
    for (int64_t i = 0; words && i < count; i++) {
        if (type->dtype == DT_I32) words[i].i32 = (int32_t)values[i];
        else words[i].f32 = (float)values[i];
    }
    bool ok = words && good(program_write_leaf(self, leaf, words));
    free(words);
    return ok;
}

static bool run(void *self, const char *func) { return good(program_run(self, func)); }

static bool get(void *self, const char *name, double *out_values, int64_t count) {
    int leaf = find_leaf(self, PLAN_PARAM, name, count);
    if (leaf < 0) leaf = find_leaf(self, PLAN_STATE, name, count);
    if (leaf < 0) leaf = find_leaf(self, PLAN_OUTPUT, name, count);
    float *values = leaf < 0 ? NULL : calloc((size_t)count + 1, sizeof *values);
    bool ok = values && good(program_read_leaf(self, leaf, true, values));
    for (int64_t i = 0; ok && i < count; i++) out_values[i] = values[i];
    free(values);
    return ok;
}

// The file as a checkpoint of foreign origin gives the parameters that fixture_elements gives.
static int check_weights(Fixture *f, const FixtureModel *model, const Machine *m) {
    Arena *a = arena_new();
    int failures = !good(checkpoint_load_weights(
        m->self, arena_printf(a, "tests/reference/%s.safetensors", model->name), NULL, &(CheckpointExtra){0}));
    for (const Node *n = unit_func(m->unit, "init")->top->first; n && !failures; n = n->next) {
        if (n->op != OP_param) continue;
        int64_t count;
        type_elements(&n->results[0]->type, &count);
        const FixtureElement *want = fixture_elements(f, "", n->attr.s2, &n->results[0]->type);
        double *got = NEW_ARRAY(a, double, count);
        bool same = want && get(m->self, n->attr.s, got, count);
        for (int64_t i = 0; same && i < count; i++) same = got[i] == want[i].value;
        if (!same) printf("%s: %s does not load as it is stored\n", m->label, n->attr.s), failures++;
    }
    arena_free(a);
    return failures;
}

static int check(const FixtureModel *model, const char *strategy) {
    Arena *a = arena_new();
    int failures = 1;
    const char *label = arena_printf(a, "%s%s%s", model->name, strategy ? ", " : "", strategy ? strategy : "");
    Fixture *f = fixture_open(a, model->name);
    Unit *u = f ? fixture_unit(f, model, strategy, a) : NULL;
    CodegenJit *jit = NULL;
    Program *p = NULL;
    const ProgramOptions options = {.threads = 4, .comm_timeout_ms = 60000};
    if (u && passes_run(u, &(PassOptions){0}) && good(codegen_jit(u, NULL, &jit)) &&
        good(program_make_from_plan(codegen_jit_plan(jit), codegen_jit_module(jit), &options, &p)) &&
        good(program_set_optional(p, "seed", 1)) && good(program_run(p, "init"))) {
        Machine m = {label, p, u, set, run, get, .tolerance = 1e-5, .rounding = 0x1p-24};
        failures = check_weights(f, model, &m);
        failures += fixture_compare(f, model, &m);
    }
    if (failures) printf("%s: %d failures\n", label, failures);
    program_free(p);
    codegen_jit_free(jit);
    if (u) arena_free(u->scratch);
    fixture_close(f);
    arena_free(a);
    return failures;
}

int main(void) {
    int failures = 0;
    for (int i = 0; i < FIXTURE_MODELS; i++) {
        const FixtureModel *model = &fixture_models[i];
        failures += check(model, NULL);
        for (int k = 0; k < 4 && model->strategies[k]; k++) failures += check(model, model->strategies[k]);
    }
    printf("compiled fixtures: %s\n", failures ? "FAILED" : "ok");
    return failures != 0;
}
