// SPDX-License-Identifier: Apache-2.0
// fixture: what JAX says a model computes (make_fixtures.py), and the comparison of a machine with it. A machine is
// anything that runs a unit's functions: the reference interpreter, compiled code.
#pragma once
#include "ir/graph.h"

typedef struct FixtureModel {
    const char *name, *path; // of the fixture, of the program
    const char *strategies[4];
    bool adamw; // NAME_adamw.safetensors holds one step
} FixtureModel;
enum { FIXTURE_MODELS = 4 };
extern const FixtureModel fixture_models[FIXTURE_MODELS];

typedef struct Fixture Fixture;
// NULL after saying why. The file stays mapped until fixture_close.
Fixture *fixture_open(Arena *a, const char *name);
void fixture_close(Fixture *f);

// A tensor as doubles, NULL after saying that it is absent.
const double *fixture_values(Fixture *f, const char *name, int64_t *out_count);

// One element of a parameter as the file has it.
typedef struct FixtureElement {
    double value, largest; // largest: magnitude in its stored tensor
} FixtureElement;
// The elements of a parameter in the order of its type, from the stored tensors PREFIX.NAME that `storage` names
// ("NAME [a, b*c]", one tensor for each index of the axes in {}). NULL after saying what does not fit.
const FixtureElement *fixture_elements(Fixture *f, const char *prefix, Str storage, const Type *type);
// Whether every tensor whose name begins with `prefix` has been asked for; says which was not.
bool fixture_all_seen(const Fixture *f, const char *prefix);

// The model at the fixture's sizes, with the recipe of the fixture's step and gradients kept, passes not yet run. The
// same recipe goes for models without a stored step. NULL after messages.
Unit *fixture_unit(Fixture *f, const FixtureModel *model, const char *strategy, Arena *a);

// ---- comparison -----------------------------------------------------------------------------------------------------
typedef struct Machine {
    const char *label; // of messages: "gpt2, tp"
    void *self;
    const Unit *unit;
    bool (*set)(void *self, const char *name, const Type *type, const double *values, int64_t count);
    bool (*run)(void *self, const char *func);
    bool (*get)(void *self, const char *name, double *out_values, int64_t count);
    double tolerance; // of loss, logits and gradients, relative to the largest magnitude of the tensor
    double rounding;  // of a number of the machine, relative to itself
} Machine;

// Runs eval, predict and train and compares all there is; says what differs and the worst of each kind. The number of
// failures.
int fixture_compare(Fixture *f, const FixtureModel *model, const Machine *m);
