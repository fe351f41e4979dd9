// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"
#include "frontend/frontend.h"
#include "runtime/safetensors.h"
#include "runtime/storage.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const FixtureModel fixture_models[FIXTURE_MODELS] = {
    {"gpt2", "examples/gpt2.tgf", {"tp", "dp", "dp_tp"}, true},
    {"llama", "examples/llama.tgf", {"tp", "dp", "dp_tp"}, false},
    {"bert", "examples/bert.tgf", {"tp", "dp_tp"}, false},
    {"moe", "examples/moe.tgf", {"tp", "dp", "ep", "dp_ep"}, false},
};

struct Fixture {
    Arena *arena;
    Safetensors *file;
    const char *path;
    int ntensors;
    bool *seen;
    const double **values; // made at the first use
    double *largest;
};

// Elements of a tensor, from its shape.
static int64_t tensor_count(const Tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->shape[i];
    return n;
}

static int tensor_number(const Fixture *f, const char *name) {
    for (int i = 0; i < f->ntensors; i++)
        if (!strcmp(safetensors_at(f->file, i)->name, name)) return i;
    printf("%s: no tensor '%s'\n", f->path, name);
    return -1;
}

static void read_tensor(Fixture *f, int number) {
    const Tensor *t = safetensors_at(f->file, number);
    double *values = NEW_ARRAY(f->arena, double, tensor_count(t));
    for (int64_t i = 0; i < tensor_count(t); i++) {
        union {
            float f32;
            int32_t i32;
        } word;
        memcpy(&word, t->data + 4 * i, 4);
        values[i] = t->dtype == TENSOR_F32 ? (double)word.f32 : word.i32;
        double magnitude = values[i] < 0 ? -values[i] : values[i];
        if (magnitude > f->largest[number]) f->largest[number] = magnitude;
    }
    f->values[number] = values;
}

Fixture *fixture_open(Arena *a, const char *name) {
    Fixture *f = NEW(a, Fixture);
    f->arena = a;
    f->path = arena_printf(a, "tests/reference/%s.safetensors", name);
    Status s = safetensors_open(f->path, &f->file);
    if (status_failed(&s)) {
        printf("%s\n", s.message);
        return NULL;
    }
    f->ntensors = safetensors_count(f->file);
    f->seen = NEW_ARRAY(a, bool, f->ntensors);
    f->values = NEW_ARRAY(a, const double *, f->ntensors);
    f->largest = NEW_ARRAY(a, double, f->ntensors);
    for (int i = 0; i < f->ntensors; i++) {
        const Tensor *t = safetensors_at(f->file, i);
        if (t->dtype != TENSOR_F32 && t->dtype != TENSOR_I32) {
            printf("%s: '%s' is neither f32 nor i32\n", f->path, t->name);
            fixture_close(f);
            return NULL;
        }
        read_tensor(f, i);
    }
    return f;
}

void fixture_close(Fixture *f) {
    if (f) safetensors_close(f->file);
}

const double *fixture_values(Fixture *f, const char *name, int64_t *out_count) {
    int number = tensor_number(f, name);
    if (number < 0) return NULL;
    f->seen[number] = true;
    *out_count = tensor_count(safetensors_at(f->file, number));
    return f->values[number];
}

bool fixture_all_seen(const Fixture *f, const char *prefix) {
    bool all = true;
    for (int i = 0; i < f->ntensors; i++) {
        const char *name = safetensors_at(f->file, i)->name;
        if (f->seen[i] || strncmp(name, prefix, strlen(prefix))) continue;
        printf("%s: no parameter is stored as '%s'\n", f->path, name);
        all = false;
    }
    return all;
}

// ---- parameters -----------------------------------------------------------------------------------------------------
// Number of the stored tensor, which must have the shape that the program gives it. -1 after saying why not.
static int find_stored(Fixture *f, const char *name, const StoredAs *stored) {
    int number = tensor_number(f, name);
    if (number < 0) return -1;
    const Tensor *t = safetensors_at(f->file, number);
    f->seen[number] = true;
    if (t->rank == stored->rank && !memcmp(t->shape, stored->shape, sizeof *t->shape * (size_t)t->rank)) return number;
    printf("%s: '%s' has another shape than the program stores\n", f->path, name);
    return -1;
}

const FixtureElement *fixture_elements(Fixture *f, const char *prefix, Str storage, const Type *type) {
    PlanLeaf leaf = {.name = storage, .storage = storage, .dtype = PLAN_F32, .rank = type->rank};
    for (int i = 0; i < type->rank; i++) {
        const Axis *axis = type->dim[i].axis;
        leaf.dim[i] = (PlanDim){.axis = axis->name, .extent = axis->extent, .local = axis->extent};
    }
    StoredAs stored;
    Status s = stored_as(&leaf, &stored);
    if (status_failed(&s)) {
        printf("%s: %s\n", f->path, s.message);
        return NULL;
    }
    FixtureElement *out = NEW_ARRAY(f->arena, FixtureElement, stored.count * stored.elements);
    FixtureElement *tensor = NEW_ARRAY(f->arena, FixtureElement, stored.elements);
    for (int64_t i = 0; i < stored.count; i++) {
        char name[TENSOR_NAME];
        size_t n = (size_t)snprintf(name, sizeof name, "%s", prefix);
        int number = stored_name(&leaf, &stored, i, name + n, sizeof name - n) ? find_stored(f, name, &stored) : -1;
        if (number < 0) return NULL;
        for (int64_t k = 0; k < stored.elements; k++)
            tensor[k] = (FixtureElement){f->values[number][k], f->largest[number]};
        stored_put(&leaf, &stored, i, out, sizeof *out, tensor);
    }
    return out;
}

// ---- the program ----------------------------------------------------------------------------------------------------
Unit *fixture_unit(Fixture *f, const FixtureModel *model, const char *strategy, Arena *a) {
    static const char *const sizes[][2] = {
        // axis, key of the metadata
        {"layer", "layer"},   {"head", "head"},   {"dim", "dim"},     {"kvhead", "kvhead"}, {"seq", "seq"},
        {"hidden", "hidden"}, {"vocab", "vocab"}, {"batch", "batch"}, {"segment", "types"}, {"expert", "expert"}};
    FrontendDefine defines[sizeof sizes / sizeof *sizes];
    int ndefines = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const char *value = safetensors_meta(f->file, sizes[i][1]);
        if (value) defines[ndefines++] = (FrontendDefine){sizes[i][0], strtoll(value, NULL, 10)};
    }
    StrTable *strs = strtable_new(a);
    FrontendOptions options = {.path = model->path,
                               .strategy = strategy,
                               .defines = defines,
                               .ndefines = ndefines,
                               .arena = a,
                               .scratch = arena_new(),
                               .strs = strs,
                               .diag = diag_new(a, stdout, false)};
    FrontendResult result;
    if (!frontend_load(&options, &result)) return NULL;
    Recipe *r = NEW(a, Recipe);
    *r = *result.unit->recipe;
    r->optimizer = OPTIMIZER_ADAMW;
    r->schedule = SCHEDULE_CONSTANT;
    r->lr = 1e-3;
    r->warmup = r->steps = 0;
    r->beta1 = 0.9;
    r->beta2 = 0.95;
    r->eps = 1e-8;
    r->decay = 0.1;
    r->clip = 1;
    result.unit->recipe = r;
    result.unit->keep_gradients = true;
    return result.unit;
}
