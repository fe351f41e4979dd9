// SPDX-License-Identifier: Apache-2.0
#include "runtime/hub_export.h"
#include "runtime/bind.h"
#include "runtime/dtype.h"
#include <stdlib.h>
#include <string.h>

typedef struct Export {
    Program *program;
    const HubFiles *like;
    const HubNames *names;
    SafetensorsWriter *w;
    bool *written; // of like's tensors
    void *words;   // what was written as the embedding; NULL: not yet
} Export;

static int place_of(const Export *e, const Tensor *t) { return (int)(t - hub_at(e->like, 0)); }

// bytes: in the tensor's own type.
static void put(Export *e, const Tensor *t, const void *bytes) {
    safetensors_write(e->w, place_of(e, t), 0, bytes, t->bytes);
    e->written[place_of(e, t)] = true;
}

// The tensor's elements in the file's type.
static Status take(const PlanLeaf *l, const StoredAs *s, int64_t i, const Tensor *t, const void *whole,
                   void **out_bytes) {
    int element = plan_dtype_bytes(l->dtype);
    PlanDType type = l->dtype;
    hub_plan_dtype(t->dtype, &type);
    void *own = malloc((size_t)(s->elements * element) + 1), *bytes = malloc((size_t)t->bytes + 1);
    *out_bytes = bytes;
    if (own && bytes) {
        stored_take(l, s, i, whole, element, own);
        dtype_convert(bytes, type, own, l->dtype, s->elements);
    }
    free(own);
    if (own && bytes) return status_ok();
    free(bytes);
    return status_make(STATUS_MEMORY, "no memory to save '%s'", l->name);
}

// A tied output layer is not in the file: it must still be the embedding.
static Status check_tied(Export *e, const PlanLeaf *l, const Tensor *words, const void *bytes) {
    if (e->words && !memcmp(bytes, e->words, (size_t)words->bytes)) return status_ok();
    return status_make(STATUS_INVALID,
                       "'%s' is no longer the embedding '%s' that %s has in its place: the two were trained apart",
                       l->name, words->name, hub_path(e->like));
}

static Status export_tensors(Export *e, const PlanLeaf *l, const StoredAs *s, const void *whole, bool tied) {
    const Tensor *words = hub_embedding(e->like);
    for (int64_t i = 0; i < s->count; i++) {
        char name[TENSOR_NAME];
        void *bytes;
        if (!hub_leaf_name(e->names, l, s, i, name, sizeof name))
            return status_make(STATUS_INVALID, "the stored name of '%s' is too long", l->name);
        const Tensor *t = tied ? words : hub_find(e->like, name);
        STATUS_TRY(take(l, s, i, t, whole, &bytes));
        Status status = tied ? check_tied(e, l, t, bytes) : status_ok();
        if (!tied) put(e, t, bytes);
        if (t == words && !tied) e->words = bytes;
        else free(bytes);
        STATUS_TRY(status);
    }
    return status_ok();
}

static Status export_leaf(Export *e, int leaf, bool heads) {
    const PlanLeaf *l = &program_plan(e->program)->leaves[leaf];
    StoredAs s;
    char name[TENSOR_NAME];
    STATUS_TRY(stored_as(l, &s));
    bool tied = e->names->tied && s.count == 1 && stored_name(l, &s, 0, name, sizeof name) && hub_is_head(name);
    if (tied != heads) return status_ok();
    void *whole = malloc((size_t)leaf_bytes(l) + 1);
    Status status = whole ? program_collect_leaf(e->program, leaf, whole)
                          : status_make(STATUS_MEMORY, "no memory to save '%s'", l->name);
    if (!status_failed(&status)) status = export_tensors(e, l, &s, whole, tied);
    free(whole);
    return status;
}

// Tied output layers are looked at last, when the embedding is known.
static Status export_leaves(Export *e) {
    const Plan *plan = program_plan(e->program);
    for (int heads = 0; heads <= 1; heads++)
        for (int i = 0; i < plan->nleaves; i++)
            if (plan->leaves[i].kind == PLAN_PARAM) STATUS_TRY(export_leaf(e, i, heads));
    for (int i = 0; i < hub_count(e->like); i++) {
        const Tensor *t = hub_at(e->like, i);
        // A tied output layer that the files hold all the same goes with the embedding.
        if (!e->written[i]) put(e, t, hub_is_head(t->name) && e->words ? e->words : t->data);
    }
    return status_ok();
}

static Status start(Export *e, const char *path) {
    STATUS_TRY(safetensors_create(path, &e->w));
    safetensors_put_meta(e->w, "format", "pt"); // what the ecosystem's loaders ask for
    for (int i = 0; i < hub_count(e->like); i++) {
        const Tensor *t = hub_at(e->like, i);
        safetensors_add(e->w, t->name, t->dtype, t->rank, t->shape);
    }
    safetensors_start(e->w);
    e->written = calloc((size_t)hub_count(e->like) + 1, sizeof *e->written);
    return e->written ? status_ok() : status_make(STATUS_MEMORY, "no memory to save");
}

Status hub_export(Program *p, const HubFiles *like, const HubNames *names, const char *path) {
    Export e = {.program = p, .like = like, .names = names};
    Status s = start(&e, path);
    if (!status_failed(&s)) s = export_leaves(&e);
    free(e.written);
    free(e.words);
    if (!status_failed(&s)) return safetensors_finish(e.w);
    safetensors_abandon(e.w);
    return s;
}
