// SPDX-License-Identifier: Apache-2.0
// The examples against JAX (make_fixtures.py): the reference interpreter, in double precision, on one rank and, after
// shard and resolve, on the meshes of their strategies with poisoned padding. None of the fixtures' batch, vocabulary
// and heads is a multiple of every mesh, so padding is everywhere.
#include "fixture.h"
#include "ir/eval.h"
#include "passes/pass.h"
#include <stdio.h>

static bool set(void *self, const char *name, const Type *type, const double *values, int64_t count) {
    (void)type;
    return eval_set(self, name, values, count);
}

static bool run(void *self, const char *func) { return eval_run(self, func); }

static bool get(void *self, const char *name, double *out_values, int64_t count) {
    return eval_get(self, name, out_values, count);
}

static int check(const FixtureModel *model, const char *strategy) {
    Arena *a = arena_new();
    int failures = 1;
    const char *label = arena_printf(a, "%s%s%s", model->name, strategy ? ", " : "", strategy ? strategy : "");
    Fixture *f = fixture_open(a, model->name);
    Unit *u = f ? fixture_unit(f, model, strategy, a) : NULL;
    PassOptions passes = {.last = strategy ? "clean" : "tidy", .check_text = true};
    if (u && passes_run(u, &passes)) {
        Eval *e = eval_new(u, a);
        eval_poison(e, true);
        // The fixture is rounded to f32; rope's angles and the optimizer's constants are as the program has them.
        Machine m = {label, e, u, set, run, get, .tolerance = 1e-6, .rounding = 0x1p-50};
        failures = fixture_compare(f, model, &m);
    }
    if (failures) printf("%s: %d failures\n", label, failures);
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
    printf("fixtures: %s\n", failures ? "FAILED" : "ok");
    return failures != 0;
}
