// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint.h"
#include "runtime/bind.h"
#include "runtime/world.h"
#include "runtime/dtype.h"
#include "runtime/file.h"
#include "runtime/hub_export.h"
#include "runtime/json.h"
#include "runtime/safetensors.h"
#include "runtime/storage.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const parts[] = {"model.safetensors", "optimizer.safetensors", "state.json"}; // state.json last
enum { MODEL, OPTIMIZER, STATE, NPARTS, STATE_VERSION = 1 };

typedef char Path[PATH_MAX];

static Status path_make(Path out, const char *folder, int part, const char *suffix) {
    if (snprintf(out, PATH_MAX, "%s/%s%s", folder, parts[part], suffix) >= PATH_MAX)
        return status_make(STATUS_INVALID, "folder name too long: %.100s...", folder);
    return status_ok();
}

// States keep their own name and axes; parameters go by their stored name.
static Status leaf_stored(const PlanLeaf *l, StoredAs *out) {
    PlanLeaf plain = *l;
    if (l->kind == PLAN_PARAM) return stored_as(l, out);
    plain.storage = NULL;
    STATUS_TRY(stored_as(&plain, out));
    out->name = l->name;
    return status_ok();
}

static const HubNames as_stored = {.prefix = ""};

// ---- saving ---------------------------------------------------------------------------------------------------------
// Of several processes rank 0's has the file; the others only give their parts. A file that fails is not written on,
// but everyone's parts are collected all the same: the processes stay together.
static const PlanLeafKind part_kinds[] = {PLAN_PARAM, PLAN_STATE}; // of MODEL and OPTIMIZER
static bool has_files(const Program *p) { return !program_world(p) || program_world(p)->rank == 0; }

// A failure of this process alone ends the others too.
static Status alone(Program *p, Status s) {
    return program_world(p) && status_failed(&s) ? world_fail(program_world(p), s) : s;
}

static Status collect(Program *p, int leaf, char **out_whole) {
    const PlanLeaf *l = &program_plan(p)->leaves[leaf];
    *out_whole = has_files(p) ? malloc((size_t)leaf_bytes(l) + 1) : NULL;
    if (has_files(p) && !*out_whole) return alone(p, status_make(STATUS_MEMORY, "no memory to save '%s'", l->name));
    Status s = program_collect_leaf(p, leaf, *out_whole);
    if (!status_failed(&s)) return s;
    free(*out_whole);
    *out_whole = NULL;
    return s;
}

static Status write_leaf(const PlanLeaf *l, const char *whole, SafetensorsWriter *w, int first) {
    int element = plan_dtype_bytes(l->dtype);
    StoredAs s;
    STATUS_TRY(leaf_stored(l, &s));
    char *tensor = malloc((size_t)(s.elements * element) + 1);
    if (!tensor) return status_make(STATUS_MEMORY, "no memory to save '%s'", l->name);
    for (int64_t i = 0; i < s.count; i++) {
        stored_take(l, &s, i, whole, element, tensor);
        safetensors_write(w, first + (int)i, 0, tensor, s.elements * element);
    }
    free(tensor);
    return status_ok();
}

static Status add_leaf(const PlanLeaf *l, SafetensorsWriter *w, int *out_first) {
    StoredAs s;
    STATUS_TRY(leaf_stored(l, &s));
    for (int64_t i = 0; i < s.count; i++) {
        char name[TENSOR_NAME];
        if (!hub_leaf_name(&as_stored, l, &s, i, name, sizeof name))
            return status_make(STATUS_INVALID, "the stored name of '%s' is too long", l->name);
        int at = safetensors_add(w, name, hub_dtype(l->dtype), s.rank, s.shape);
        if (!i) *out_first = at;
    }
    return status_ok();
}

static Status begin_file(const Plan *plan, const char *path, PlanLeafKind kind, const CheckpointInfo *info, int *first,
                         SafetensorsWriter **out_w) {
    SafetensorsWriter *w;
    STATUS_TRY(safetensors_create(path, &w));
    *out_w = w;
    safetensors_put_meta(w, "format", "pt"); // what the ecosystem's loaders ask for
    safetensors_put_meta(w, "model", plan->model);
    if (info) {
        char step[32];
        snprintf(step, sizeof step, "%lld", (long long)info->step);
        safetensors_put_meta(w, "step", step);
    }
    for (int i = 0; i < plan->nleaves; i++)
        if (plan->leaves[i].kind == kind) STATUS_TRY(add_leaf(&plan->leaves[i], w, &first[i]));
    safetensors_start(w);
    return status_ok();
}

// before: why there is no file to write, or success.
static Status save_leaves(Program *p, Status before, const char *path, PlanLeafKind kind, const CheckpointInfo *info) {
    const Plan *plan = program_plan(p);
    SafetensorsWriter *w = NULL;
    Status s = before;
    int *first = calloc((size_t)plan->nleaves + 1, sizeof *first);
    if (!first) return alone(p, status_make(STATUS_MEMORY, "no memory to save"));
    if (!status_failed(&s) && has_files(p)) s = begin_file(plan, path, kind, info, first, &w);
    for (int i = 0; i < plan->nleaves; i++) {
        char *whole;
        if (plan->leaves[i].kind != kind || (status_failed(&s) && !program_world(p))) continue;
        Status got = collect(p, i, &whole);
        if (!status_failed(&s)) s = got;
        if (status_failed(&got)) break;
        if (!status_failed(&s) && w) s = write_leaf(&plan->leaves[i], whole, w, first[i]);
        free(whole);
    }
    free(first);
    if (!status_failed(&s) && w) return safetensors_finish(w);
    if (w) safetensors_abandon(w);
    return s;
}

static Status agree(Program *p, Status s) { return program_world(p) ? world_agree(program_world(p), s) : s; }

Status checkpoint_save_weights(Program *p, const char *path) {
    return agree(p, save_leaves(p, status_ok(), path, PLAN_PARAM, NULL));
}

// Finishes the moves of a checkpoint that is complete but not yet in place.
static Status settle(const char *folder) {
    Path fresh, place;
    STATUS_TRY(path_make(fresh, folder, STATE, ".new"));
    if (!file_exists(fresh)) return status_ok();
    for (int i = 0; i < NPARTS; i++) {
        STATUS_TRY(path_make(fresh, folder, i, ".new"));
        STATUS_TRY(path_make(place, folder, i, ""));
        if (i == STATE) STATUS_TRY(file_sync_folder(folder)); // the others are in place before the mark goes
        if (i == STATE || file_exists(fresh)) STATUS_TRY(file_rename(fresh, place));
    }
    return file_sync_folder(folder);
}

static Status write_state(const char *path, const Plan *plan, const CheckpointInfo *info) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return status_make(STATUS_MEMORY, "no memory to save");
    fprintf(out, "{\n  \"format\": \"tgf-checkpoint\",\n  \"version\": %d,\n  \"model\": ", STATE_VERSION);
    json_put_string(out, plan->model);
    fprintf(out, ",\n  \"step\": %lld,\n  \"seed\": %lld,\n  \"tokens\": %lld,\n  \"data\": ", (long long)info->step,
            (long long)info->seed, (long long)info->tokens);
    json_put_string(out, info->data);
    fputs("\n}\n", out);
    Status s = fclose(out) ? status_make(STATUS_MEMORY, "no memory to save") : file_write_whole(path, text, size);
    free(text);
    return s;
}

static Status begin_save(const char *folder) {
    STATUS_TRY(file_make_folders(folder));
    return settle(folder);
}

static Status end_save(const char *folder, const Plan *plan, const CheckpointInfo *info) {
    Path path;
    STATUS_TRY(path_make(path, folder, STATE, ".new"));
    STATUS_TRY(write_state(path, plan, info));
    return settle(folder);
}

Status checkpoint_save(Program *p, const char *folder, const CheckpointInfo *info) {
    Path path = "";
    Status s = has_files(p) ? begin_save(folder) : status_ok();
    for (int part = MODEL; part <= OPTIMIZER; part++) {
        if (!status_failed(&s)) s = path_make(path, folder, part, ".new");
        s = save_leaves(p, s, path, part_kinds[part], info);
    }
    if (!status_failed(&s) && has_files(p)) s = end_save(folder, program_plan(p), info);
    return agree(p, s);
}

// ---- loading --------------------------------------------------------------------------------------------------------
static void shape_text(int rank, const int64_t *shape, char *text, size_t size) {
    size_t n = 0;
    n += (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%lld", i ? ", " : "", (long long)shape[i]);
    if (n < size) snprintf(text + n, size - n, "]");
}

static Status check_tensor(const char *path, const PlanLeaf *l, const StoredAs *s, const char *name, const Tensor *t) {
    PlanDType type;
    if (!t) return status_make(STATUS_INVALID, "%s has no tensor '%s' (parameter '%s')", path, name, l->name);
    if (t->rank != s->rank || memcmp(t->shape, s->shape, sizeof *s->shape * (size_t)s->rank)) {
        char want[128], got[128];
        shape_text(s->rank, s->shape, want, sizeof want);
        shape_text(t->rank, t->shape, got, sizeof got);
        return status_make(STATUS_INVALID, "%s: tensor '%s' has shape %s, the model needs %s", path, name, got, want);
    }
    bool fits = hub_plan_dtype(t->dtype, &type) && (type == l->dtype || (type >= PLAN_F32 && l->dtype >= PLAN_F32));
    if (!fits)
        return status_make(STATUS_INVALID, "%s: tensor '%s' is %s, the model needs %s", path, name,
                           tensor_dtype_name(t->dtype), tensor_dtype_name(hub_dtype(l->dtype)));
    return status_ok();
}

static bool is_head(const PlanLeaf *l, const StoredAs *s) {
    char name[TENSOR_NAME];
    return s->count == 1 && stored_name(l, s, 0, name, sizeof name) && hub_is_head(name);
}

static const Tensor *find_tensor(const HubFiles *f, const HubNames *names, const char *name) {
    return names->tied && hub_is_head(name) ? hub_embedding(f) : hub_find(f, name);
}

// A tensor's elements as the leaf's type, by way of an aligned copy.
static void convert_tensor(const PlanLeaf *l, const Tensor *t, int64_t elements, void *out) {
    enum { BLOCK = 4096 };
    double aligned[BLOCK];
    PlanDType type = l->dtype;
    hub_plan_dtype(t->dtype, &type);
    int64_t from = plan_dtype_bytes(type), to = plan_dtype_bytes(l->dtype);
    for (int64_t at = 0; at < elements; at += BLOCK) {
        int64_t n = elements - at < BLOCK ? elements - at : BLOCK;
        memcpy(aligned, t->data + at * from, (size_t)(n * from));
        dtype_convert((char *)out + at * to, l->dtype, aligned, type, n);
    }
}

static Status leaf_from_file(const PlanLeaf *l, const HubNames *names, const HubFiles *f, char *whole) {
    int element = plan_dtype_bytes(l->dtype);
    StoredAs s;
    STATUS_TRY(leaf_stored(l, &s));
    char *tensor = malloc((size_t)(s.elements * element) + 1);
    Status status = tensor ? status_ok() : status_make(STATUS_MEMORY, "no memory to load '%s'", l->name);
    for (int64_t i = 0; i < s.count && !status_failed(&status); i++) {
        char name[TENSOR_NAME];
        if (!hub_leaf_name(names, l, &s, i, name, sizeof name)) {
            status = status_make(STATUS_INVALID, "the stored name of '%s' is too long", l->name);
            break;
        }
        const Tensor *t = find_tensor(f, names, name);
        status = check_tensor(hub_path(f), l, &s, name, t);
        if (status_failed(&status)) break;
        convert_tensor(l, t, s.elements, tensor);
        stored_put(l, &s, i, whole, element, tensor);
    }
    free(tensor);
    return status;
}

// f: NULL in the processes that have no file: rank 0's sends them the leaf.
static Status load_leaf(Program *p, int leaf, const HubNames *names, const HubFiles *f) {
    const PlanLeaf *l = &program_plan(p)->leaves[leaf];
    char *whole = malloc((size_t)leaf_bytes(l) + 1);
    Status s = whole ? status_ok() : status_make(STATUS_MEMORY, "no memory to load '%s'", l->name);
    if (!status_failed(&s) && f) s = leaf_from_file(l, names, f, whole);
    if (program_world(p)) {
        s = alone(p, s);
        if (!status_failed(&s)) s = world_broadcast(program_world(p), 0, whole, leaf_bytes(l));
    }
    if (!status_failed(&s)) s = program_write_leaf(p, leaf, whole);
    free(whole);
    return s;
}

// Everything is looked at before anything is written: a file that does not fit leaves the program as it was.
static Status check_leaves(Program *p, const HubNames *names, PlanLeafKind kind, const HubFiles *f, int64_t *out_used) {
    const Plan *plan = program_plan(p);
    *out_used = 0;
    for (int leaf = 0; leaf < plan->nleaves; leaf++) {
        const PlanLeaf *l = &plan->leaves[leaf];
        StoredAs s;
        if (l->kind != kind) continue;
        STATUS_TRY(leaf_stored(l, &s));
        for (int64_t i = 0; i < s.count; i++) {
            char name[TENSOR_NAME];
            if (!hub_leaf_name(names, l, &s, i, name, sizeof name))
                return status_make(STATUS_INVALID, "the stored name of '%s' is too long", l->name);
            STATUS_TRY(check_tensor(hub_path(f), l, &s, name, find_tensor(f, names, name)));
        }
        *out_used += s.count;
        if (names->tied && is_head(l, &s)) *out_used -= s.count;
    }
    return status_ok();
}

static Status load_leaves(Program *p, const HubNames *names, PlanLeafKind kind, const HubFiles *f) {
    for (int i = 0; i < program_plan(p)->nleaves; i++)
        if (program_plan(p)->leaves[i].kind == kind) STATUS_TRY(load_leaf(p, i, names, f));
    return status_ok();
}

// The first tensor that no parameter is stored as.
static void find_extra(const Plan *plan, const HubNames *names, const HubFiles *f, CheckpointExtra *out) {
    for (int t = 0; t < hub_count(f) && !out->first[0]; t++) {
        const char *wanted = hub_at(f, t)->name;
        bool used = false;
        for (int leaf = 0; leaf < plan->nleaves && !used; leaf++) {
            const PlanLeaf *l = &plan->leaves[leaf];
            StoredAs s;
            if (l->kind != PLAN_PARAM || (leaf_stored(l, &s), 0)) continue;
            for (int64_t i = 0; i < s.count && !used; i++) {
                char name[TENSOR_NAME];
                used = hub_leaf_name(names, l, &s, i, name, sizeof name) && !strcmp(name, wanted);
            }
        }
        if (!used) snprintf(out->first, sizeof out->first, "%.*s", (int)sizeof out->first - 1, wanted);
    }
}

// Where a part of the valid checkpoint lies.
static Status part_path(const char *folder, int part, Path out) {
    Path mark;
    STATUS_TRY(path_make(mark, folder, STATE, ".new"));
    STATUS_TRY(path_make(out, folder, part, ".new"));
    return file_exists(mark) && file_exists(out) ? status_ok() : path_make(out, folder, part, "");
}

// A checkpoint's parameters, or the hub's files.
static Status open_weights(const char *path, HubFiles **out_f) {
    Path file;
    if (!checkpoint_exists(path)) return hub_open(path, out_f);
    STATUS_TRY(part_path(path, MODEL, file));
    return hub_open(file, out_f);
}

static Status open_fitting(Program *p, const char *path, const char *prefix, HubFiles **out_f, HubNames *names,
                           int64_t *out_used) {
    STATUS_TRY(open_weights(path, out_f));
    STATUS_TRY(hub_names_find(program_plan(p), *out_f, prefix, names));
    return check_leaves(p, names, PLAN_PARAM, *out_f, out_used);
}

Status checkpoint_load_weights(Program *p, const char *path, const char *prefix, CheckpointExtra *out_extra) {
    HubFiles *f = NULL;
    HubNames names = as_stored;
    int64_t used = 0;
    Status s = has_files(p) ? open_fitting(p, path, prefix, &f, &names, &used) : status_ok();
    s = agree(p, s);
    if (!status_failed(&s)) s = load_leaves(p, &names, PLAN_PARAM, f);
    if (out_extra) *out_extra = (CheckpointExtra){0};
    if (out_extra && f && !status_failed(&s)) {
        out_extra->count = (int)(hub_count(f) - used);
        if (out_extra->count) find_extra(program_plan(p), &names, f, out_extra);
    }
    hub_close(f);
    return s;
}

static Status open_like(Program *p, const char *like, const char *prefix, HubFiles **out_f, HubNames *names) {
    int64_t used;
    if (program_world(p))
        return status_make(STATUS_UNSUPPORTED, "weights are exported by one process, not by one of several");
    if (like) return open_fitting(p, like, prefix, out_f, names, &used);
    *names = (HubNames){.prefix = prefix ? prefix : "", .literal = true};
    return hub_describe_plan(program_plan(p), names, out_f);
}

Status checkpoint_export_weights(Program *p, const char *like, const char *prefix, const char *path) {
    HubFiles *f = NULL;
    HubNames names;
    Status s = open_like(p, like, prefix, &f, &names);
    if (!status_failed(&s)) s = hub_export(p, f, &names, NULL, path);
    hub_close(f);
    return s;
}

Status checkpoint_export_folder(Program *p, const char *like, const char *prefix, int64_t shard, const char *folder) {
    HubFiles *f = NULL;
    HubNames names;
    Status s = open_like(p, like, prefix, &f, &names);
    if (!status_failed(&s)) {
        Arena *a = arena_new();
        HubShards shards = hub_shards_split(a, f, shard);
        s = hub_export(p, f, &names, &shards, folder);
        arena_free(a);
    }
    hub_close(f);
    return s;
}

static Status parse_state(const char *path, const FileMap *map, CheckpointInfo *out) {
    char key[64], format[64] = "";
    int64_t version = -1;
    int seen = 0;
    Json j = json_open((const char *)map->data, map->size);
    *out = (CheckpointInfo){0};
    json_enter(&j, '{');
    while (json_next(&j, '}')) {
        if (!json_key(&j, key, sizeof key)) break;
        if (!strcmp(key, "format")) json_string(&j, format, sizeof format);
        else if (!strcmp(key, "version")) json_int(&j, &version);
        else if (!strcmp(key, "model")) seen |= json_string(&j, out->model, sizeof out->model);
        else if (!strcmp(key, "step")) seen |= json_int(&j, &out->step) << 1;
        else if (!strcmp(key, "seed")) seen |= json_int(&j, &out->seed) << 2;
        else if (!strcmp(key, "tokens")) json_int(&j, &out->tokens);
        else if (!strcmp(key, "data")) json_string(&j, out->data, sizeof out->data);
        else json_skip(&j);
    }
    if (!json_end(&j)) return status_make(STATUS_CORRUPT, "%s: byte %zu: %s", path, j.error_at, j.error);
    if (strcmp(format, "tgf-checkpoint")) return status_make(STATUS_CORRUPT, "%s is not of a tgf checkpoint", path);
    if (version != STATE_VERSION)
        return status_make(STATUS_UNSUPPORTED, "%s: version %lld, this runtime reads %d", path, (long long)version,
                           STATE_VERSION);
    if (seen != 7 || out->step < 0) return status_make(STATUS_CORRUPT, "%s lacks model, step or seed", path);
    return status_ok();
}

Status checkpoint_info(const char *folder, CheckpointInfo *out_info) {
    Path path;
    FileMap map;
    STATUS_TRY(part_path(folder, STATE, path));
    if (!file_exists(path)) return status_make(STATUS_INVALID, "there is no checkpoint in %s", folder);
    STATUS_TRY(file_map(path, &map));
    Status s = parse_state(path, &map, out_info);
    file_unmap(&map);
    return s;
}

bool checkpoint_exists(const char *folder) {
    Path path;
    Status s = part_path(folder, STATE, path);
    return !status_failed(&s) && file_exists(path);
}

static Status check_step(const HubFiles *f, const char *path, int64_t step) {
    const char *text = hub_meta(f, "step");
    if (!text) return status_make(STATUS_CORRUPT, "%s does not say of which step it is", path);
    if (strtoll(text, NULL, 10) != step)
        return status_make(STATUS_CORRUPT, "%s is of step %.20s, state.json of step %lld", path, text, (long long)step);
    return status_ok();
}

static Status open_checkpoint(Program *p, const char *folder, HubFiles *f[2], CheckpointInfo *info) {
    STATUS_TRY(checkpoint_info(folder, info));
    if (strcmp(info->model, program_plan(p)->model))
        return status_make(STATUS_INVALID, "%s holds model '%s', not '%s'", folder, info->model,
                           program_plan(p)->model);
    for (int i = 0; i < 2; i++) {
        int64_t used;
        Path path;
        STATUS_TRY(part_path(folder, i, path));
        STATUS_TRY(hub_open(path, &f[i]));
        STATUS_TRY(check_step(f[i], path, info->step));
        STATUS_TRY(check_leaves(p, &as_stored, part_kinds[i], f[i], &used));
        if (used != hub_count(f[i]))
            return status_make(STATUS_INVALID, "%s holds %d tensors, the model has %lld", path, hub_count(f[i]),
                               (long long)used);
    }
    return status_ok();
}

Status checkpoint_load(Program *p, const char *folder, CheckpointInfo *out_info) {
    HubFiles *f[2] = {NULL, NULL};
    Status s = has_files(p) ? open_checkpoint(p, folder, f, out_info) : status_ok();
    s = agree(p, s);
    if (!status_failed(&s) && program_world(p)) s = world_broadcast(program_world(p), 0, out_info, sizeof *out_info);
    for (int i = 0; i < 2 && !status_failed(&s); i++) s = load_leaves(p, &as_stored, part_kinds[i], f[i]);
    for (int i = 0; i < 2; i++) hub_close(f[i]);
    return s;
}
