// SPDX-License-Identifier: Apache-2.0
#include "runtime/hub_files.h"
#include "base/arena.h"
#include "base/vec.h"
#include "runtime/file.h"
#include "runtime/json.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct Placed {
    const char *name, *file; // file: as the index writes it
} Placed;

struct HubFiles {
    Arena *arena;
    const char *path, *folder; // folder: ends in '/', or is empty
    Vec(Safetensors *) files;
    Vec(Tensor) tensors; // names and data belong to the files
    Vec(Placed) map;     // of an index, by name
};

#define CORRUPT(...) return status_make(STATUS_CORRUPT, __VA_ARGS__)

TensorDType hub_dtype(PlanDType t) {
    static const TensorDType of[] = {TENSOR_BOOL, TENSOR_I32, TENSOR_F32, TENSOR_F64, TENSOR_BF16, TENSOR_F16};
    return of[t];
}

bool hub_plan_dtype(TensorDType t, PlanDType *out_type) {
    for (int i = 0; i <= PLAN_F16; i++)
        if (hub_dtype((PlanDType)i) == t) {
            *out_type = (PlanDType)i;
            return true;
        }
    return false;
}

// ---- the index ------------------------------------------------------------------------------------------------------
// A plain name of this folder: no path, nothing hidden. The hub's own cache links such names to where the data lies.
static bool is_shard_name(const char *name) {
    size_t n = strlen(name), tail = strlen(".safetensors");
    return name[0] != '.' && !strpbrk(name, "/\\") && n > tail && !strcmp(name + n - tail, ".safetensors");
}

static Status json_status(const HubFiles *f, const Json *j) {
    CORRUPT("%s: byte %zu: %s", f->path, j->error_at, j->error);
}

static Status parse_map(HubFiles *f, Json *j) {
    char name[TENSOR_NAME], file[256];
    const char *last = NULL; // most entries name the file of the one before
    json_enter(j, '{');
    while (json_next(j, '}')) {
        if (!json_key(j, name, sizeof name) || !json_string(j, file, sizeof file)) break;
        if (!is_shard_name(file))
            CORRUPT("%s: tensor '%s' lies in '%s', which is not the name of a safetensors file in the index's folder",
                    f->path, name, file);
        if (!last || strcmp(last, file)) last = arena_dup(f->arena, file, strlen(file) + 1);
        Placed p = {arena_dup(f->arena, name, strlen(name) + 1), last};
        vec_push(f->arena, &f->map, p);
    }
    return j->error ? json_status(f, j) : status_ok();
}

static int by_placed_name(const void *a, const void *b) {
    return strcmp(((const Placed *)a)->name, ((const Placed *)b)->name);
}
static int by_tensor_name(const void *a, const void *b) {
    return strcmp(((const Tensor *)a)->name, ((const Tensor *)b)->name);
}

static Status parse_index(HubFiles *f, const FileMap *text) {
    char key[64];
    bool seen = false;
    Json j = json_open((const char *)text->data, text->size);
    json_enter(&j, '{');
    while (json_next(&j, '}')) {
        if (!json_key(&j, key, sizeof key)) break;
        if (strcmp(key, "weight_map")) {
            json_skip(&j);
            continue;
        }
        if (seen) CORRUPT("%s: 'weight_map' occurs twice", f->path);
        seen = true;
        STATUS_TRY(parse_map(f, &j));
    }
    if (!json_end(&j)) return json_status(f, &j);
    if (!f->map.n) CORRUPT("%s has no 'weight_map', or an empty one", f->path);
    qsort(f->map.at, (size_t)f->map.n, sizeof(Placed), by_placed_name);
    for (int i = 1; i < f->map.n; i++)
        if (!strcmp(f->map.at[i - 1].name, f->map.at[i].name))
            CORRUPT("%s: tensor '%s' occurs twice", f->path, f->map.at[i].name);
    return status_ok();
}

static const Placed *find_placed(const HubFiles *f, const char *name) {
    Placed key = {.name = name};
    return bsearch(&key, f->map.at, (size_t)f->map.n, sizeof(Placed), by_placed_name);
}

// ---- the files ------------------------------------------------------------------------------------------------------
// shard: as the index names it; NULL: there is no index.
static Status add_file(HubFiles *f, const char *path, const char *shard) {
    Safetensors *file;
    STATUS_TRY(safetensors_open(path, &file));
    vec_push(f->arena, &f->files, file);
    for (int i = 0; i < safetensors_count(file); i++) {
        const Tensor *t = safetensors_at(file, i);
        const Placed *p = shard ? find_placed(f, t->name) : NULL;
        if (shard && !p) CORRUPT("%s holds tensor '%s', which %s does not name", path, t->name, f->path);
        if (shard && strcmp(p->file, shard))
            CORRUPT("%s holds tensor '%s', which %s puts in '%s'", path, t->name, f->path, p->file);
        vec_push(f->arena, &f->tensors, *t);
    }
    return status_ok();
}

static Status add_shards(HubFiles *f) {
    for (int i = 0; i < f->map.n; i++) {
        const Placed *p = &f->map.at[i];
        bool open = false;
        for (int k = 0; k < i && !open; k++) open = f->map.at[k].file == p->file || !strcmp(f->map.at[k].file, p->file);
        if (!open) STATUS_TRY(add_file(f, arena_printf(f->arena, "%s%s", f->folder, p->file), p->file));
    }
    if (f->tensors.n) qsort(f->tensors.at, (size_t)f->tensors.n, sizeof(Tensor), by_tensor_name);
    for (int i = 0; i < f->map.n; i++)
        if (!hub_find(f, f->map.at[i].name))
            CORRUPT("%s%s lacks tensor '%s', which %s puts there", f->folder, f->map.at[i].file, f->map.at[i].name,
                    f->path);
    return status_ok();
}

static bool has_tail(const char *s, const char *tail) {
    size_t n = strlen(s), t = strlen(tail);
    return n >= t && !strcmp(s + n - t, tail);
}

// The file or index that `path` means.
static Status choose_file(HubFiles *f, const char *path) {
    struct stat st;
    f->path = arena_dup(f->arena, path, strlen(path) + 1);
    if (stat(path, &st) || !S_ISDIR(st.st_mode)) return status_ok();
    const char *one = arena_printf(f->arena, "%s/model.safetensors", path);
    const char *index = arena_printf(f->arena, "%s.index.json", one);
    if (file_exists(one) && file_exists(index))
        return status_make(STATUS_INVALID, "%s holds model.safetensors and model.safetensors.index.json: name one",
                           path);
    if (!file_exists(one) && !file_exists(index))
        return status_make(STATUS_INVALID, "%s holds neither model.safetensors nor model.safetensors.index.json", path);
    f->path = file_exists(one) ? one : index;
    return status_ok();
}

Status hub_tied(const HubFiles *f, bool *out_tied) {
    FileMap text;
    *out_tied = false;
    char key[256];
    const char *path = arena_printf(f->arena, "%sconfig.json", f->folder);
    if (!file_exists(path)) return status_ok();
    STATUS_TRY(file_map(path, &text));
    Json j = json_open((const char *)text.data, text.size);
    json_enter(&j, '{');
    while (json_next(&j, '}')) {
        if (!json_key(&j, key, sizeof key)) break;
        if (!strcmp(key, "tie_word_embeddings")) *out_tied = json_peek(&j) == 't';
        json_skip(&j);
    }
    Status s = json_end(&j) ? status_ok() : status_make(STATUS_CORRUPT, "%s: byte %zu: %s", path, j.error_at, j.error);
    file_unmap(&text);
    return s;
}

static Status open_all(HubFiles *f, const char *path) {
    STATUS_TRY(choose_file(f, path));
    const char *slash = strrchr(f->path, '/');
    f->folder = arena_printf(f->arena, "%.*s", slash ? (int)(slash + 1 - f->path) : 0, f->path);
    if (has_tail(f->path, ".index.json")) {
        FileMap text;
        STATUS_TRY(file_map(f->path, &text));
        Status s = parse_index(f, &text);
        file_unmap(&text);
        STATUS_TRY(s);
        return add_shards(f);
    }
    return add_file(f, f->path, NULL);
}

Status hub_open(const char *path, HubFiles **out_files) {
    Arena *arena = arena_new();
    HubFiles *f = NEW(arena, HubFiles);
    f->arena = arena;
    *out_files = NULL;
    Status s = open_all(f, path);
    if (status_failed(&s)) hub_close(f);
    else *out_files = f;
    return s;
}

Status hub_describe(const char *what, const Tensor *tensors, int count, HubFiles **out_files) {
    Arena *arena = arena_new();
    HubFiles *f = NEW(arena, HubFiles);
    *out_files = NULL;
    f->arena = arena;
    f->path = arena_dup(arena, what, strlen(what) + 1);
    f->folder = "";
    for (int i = 0; i < count; i++) {
        Tensor t = tensors[i];
        t.name = arena_dup(arena, t.name, strlen(t.name) + 1);
        t.data = NULL;
        vec_push(arena, &f->tensors, t);
    }
    if (count) qsort(f->tensors.at, (size_t)count, sizeof(Tensor), by_tensor_name);
    for (int i = 1; i < count; i++)
        if (!strcmp(f->tensors.at[i - 1].name, f->tensors.at[i].name)) {
            Status s = status_make(STATUS_INVALID, "%s stores two parameters as '%s'", what, f->tensors.at[i].name);
            hub_close(f);
            return s;
        }
    *out_files = f;
    return status_ok();
}

void hub_close(HubFiles *f) {
    if (!f) return;
    for (int i = 0; i < f->files.n; i++) safetensors_close(f->files.at[i]);
    arena_free(f->arena);
}

int hub_count(const HubFiles *f) { return f->tensors.n; }
const Tensor *hub_at(const HubFiles *f, int i) { return &f->tensors.at[i]; }
const char *hub_path(const HubFiles *f) { return f->path; }

const char *hub_shard_of(const HubFiles *f, int i) {
    return f->map.n ? find_placed(f, f->tensors.at[i].name)->file : NULL;
}

const Tensor *hub_find(const HubFiles *f, const char *name) {
    Tensor key = {.name = name};
    if (!f->tensors.n) return NULL;
    return bsearch(&key, f->tensors.at, (size_t)f->tensors.n, sizeof(Tensor), by_tensor_name);
}

const char *hub_meta(const HubFiles *f, const char *key) {
    return f->files.n == 1 ? safetensors_meta(f->files.at[0], key) : NULL;
}
