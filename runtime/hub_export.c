// SPDX-License-Identifier: Apache-2.0
#include "runtime/hub_export.h"
#include "base/vec.h"
#include "runtime/bind.h"
#include "runtime/dtype.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct Export {
    Program *program;
    const HubFiles *like;
    const HubNames *names;
    const HubShards *shards;
    SafetensorsWriter **w; // of each shard
    int *slot;             // of each of like's tensors: its place in its shard's writer
    bool *written;
    void **kept; // what was written, of tensors that others repeat; else NULL
} Export;

static int place_of(const Export *e, const Tensor *t) { return (int)(t - hub_at(e->like, 0)); }

static int shard_of(const Export *e, int tensor) { return e->shards ? e->shards->of[tensor] : 0; }
static int shard_count(const Export *e) { return e->shards ? e->shards->count : 1; }

// bytes: in the tensor's own type.
static void put(Export *e, const Tensor *t, const void *bytes) {
    int i = place_of(e, t);
    safetensors_write(e->w[shard_of(e, i)], e->slot[i], 0, bytes, t->bytes);
    e->written[i] = true;
}

static bool is_repeated(const Export *e, const Tensor *t) {
    bool found = t == hub_embedding(e->like);
    for (int i = 0; i < hub_count(e->like) && !found; i++) found = hub_repeated(e->like, hub_at(e->like, i)->name) == t;
    return found;
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
    const void *written = e->kept[place_of(e, words)];
    if (written && !memcmp(bytes, written, (size_t)words->bytes)) return status_ok();
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
        if (!tied && is_repeated(e, t)) e->kept[place_of(e, t)] = bytes;
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
        const Tensor *t = hub_at(e->like, i), *of = hub_repeated(e->like, t->name);
        // A tied output layer that the files hold all the same goes with what it is tied to.
        if (!e->written[i]) put(e, t, of && e->kept[place_of(e, of)] ? e->kept[place_of(e, of)] : t->data);
    }
    return status_ok();
}

static Status start_shard(Export *e, const char *path, int shard) {
    SafetensorsWriter *w;
    STATUS_TRY(safetensors_create(path, &w));
    e->w[shard] = w;
    safetensors_put_meta(w, "format", "pt"); // what the ecosystem's loaders ask for
    for (int i = 0; i < hub_count(e->like); i++) {
        const Tensor *t = hub_at(e->like, i);
        if (shard_of(e, i) == shard) e->slot[i] = safetensors_add(w, t->name, t->dtype, t->rank, t->shape);
    }
    safetensors_start(w);
    return status_ok();
}

static Status start(Export *e, const char *path) {
    char name[PATH_MAX];
    size_t n = (size_t)hub_count(e->like) + 1, shards = (size_t)shard_count(e);
    e->w = calloc(shards, sizeof *e->w);
    e->slot = calloc(n, sizeof *e->slot);
    e->written = calloc(n, sizeof *e->written);
    e->kept = calloc(n, sizeof *e->kept);
    if (!e->w || !e->slot || !e->written || !e->kept) return status_make(STATUS_MEMORY, "no memory to save");
    for (int i = 0; i < (int)shards; i++) {
        if (snprintf(name, sizeof name, "%s%s%s", path, e->shards ? "/" : "", e->shards ? e->shards->file[i] : "") >=
            (int)sizeof name)
            return status_make(STATUS_INVALID, "folder name too long: %.100s...", path);
        STATUS_TRY(start_shard(e, name, i));
    }
    return status_ok();
}

static Status finish(Export *e, const char *path) {
    for (int i = 0; i < shard_count(e); i++) {
        SafetensorsWriter *w = e->w[i];
        e->w[i] = NULL;
        STATUS_TRY(safetensors_finish(w));
    }
    return shard_count(e) > 1 ? hub_shards_write_index(e->shards, e->like, path) : status_ok();
}

Status hub_export(Program *p, const HubFiles *like, const HubNames *names, const HubShards *shards, const char *path) {
    Export e = {.program = p, .like = like, .names = names, .shards = shards};
    Status s = start(&e, path);
    if (!status_failed(&s)) s = export_leaves(&e);
    if (!status_failed(&s)) s = finish(&e, path);
    for (int i = 0; e.w && i < shard_count(&e); i++) safetensors_abandon(e.w[i]);
    for (int i = 0; e.kept && i < hub_count(like); i++) free(e.kept[i]);
    free(e.w);
    free(e.slot);
    free(e.written);
    free(e.kept);
    return s;
}

// ---- without files to be like ---------------------------------------------------------------------------------------
typedef Vec(Tensor) Tensors;

static Status describe_leaf(Arena *a, const PlanLeaf *l, const HubNames *names, Tensors *out) {
    StoredAs s;
    STATUS_TRY(stored_as(l, &s));
    for (int64_t i = 0; i < s.count; i++) {
        char name[TENSOR_NAME];
        Tensor t = {.dtype = hub_dtype(l->dtype), .rank = s.rank};
        if (!hub_leaf_name(names, l, &s, i, name, sizeof name))
            return status_make(STATUS_INVALID, "the stored name of '%s' is too long", l->name);
        t.name = arena_dup(a, name, strlen(name) + 1);
        for (int k = 0; k < s.rank; k++) t.shape[k] = s.shape[k];
        t.bytes = s.elements * tensor_dtype_bytes(t.dtype);
        vec_push(a, out, t);
    }
    return status_ok();
}

Status hub_describe_plan(const Plan *plan, const HubNames *names, HubFiles **out_files) {
    Arena *a = arena_new();
    Tensors all = {0};
    Status s = status_ok();
    *out_files = NULL;
    for (int i = 0; i < plan->nleaves && !status_failed(&s); i++)
        if (plan->leaves[i].kind == PLAN_PARAM) s = describe_leaf(a, &plan->leaves[i], names, &all);
    if (!status_failed(&s)) s = hub_describe(plan->model, all.at, all.n, out_files);
    arena_free(a);
    return s;
}
