// SPDX-License-Identifier: Apache-2.0
// tgf: the public API of include/tgf/tgf.h over the runtime. Its codes, types and kinds are the runtime's.
#include "include/tgf/tgf.h"
#include "runtime/bind.h"
#include "runtime/checkpoint.h"
#include "runtime/data.h"
#include "runtime/launch.h"
#include <stdlib.h>
#include <string.h>

_Static_assert((int)TGF_INTERNAL == (int)STATUS_INTERNAL && (int)TGF_RANGE == (int)STATUS_RANGE, "codes");
_Static_assert((int)TGF_F16 == (int)PLAN_F16 && (int)TGF_OUTPUT == (int)PLAN_OUTPUT, "types and kinds");
_Static_assert((int)TGF_RANK >= (int)PLAN_RANK, "room for every dimension");

struct TgfModel {
    Program *program;
    World *world; // NULL: no other processes
    int32_t seed;
    int64_t steps, tokens;
    char data[1024];
};

struct TgfData {
    TokenFile *file;
};

static TgfStatus give(Status s) {
    TgfStatus out = {.code = (TgfCode)s.code};
    _Static_assert(sizeof out.message == sizeof s.message, "room for every message");
    memcpy(out.message, s.message, sizeof out.message);
    return out;
}

#define GIVE_TRY(expr)                                                                                                 \
    do {                                                                                                               \
        Status give_try_ = (expr);                                                                                     \
        if (status_failed(&give_try_)) return give(give_try_);                                                         \
    } while (0)

const char *tgf_code_name(TgfCode code) { return status_name((StatusCode)code); }

// ---- a model --------------------------------------------------------------------------------------------------------
static Status join(World **out_world) {
    Launch l;
    STATUS_TRY(launch_read(&l));
    return launch_world(&l, out_world);
}

TgfStatus tgf_open(const TgfModule *module, const TgfOptions *options, TgfModel **out_model) {
    *out_model = NULL;
    TgfModel *m = calloc(1, sizeof *m);
    if (!m) return give(status_make(STATUS_MEMORY, "no memory for a model"));
    Status s = options && options->processes ? join(&m->world) : status_ok();
    ProgramOptions o = {.threads = options ? options->threads : 0, .world = m->world};
    if (!status_failed(&s)) s = program_make(module, &o, &m->program);
    if (status_failed(&s)) {
        if (m->world) world_abort(m->world, &s);
        world_free(m->world);
        free(m);
        return give(s);
    }
    m->seed = options ? options->seed : 0;
    *out_model = m;
    return give(s);
}

void tgf_close(TgfModel *model) {
    if (!model) return;
    program_free(model->program);
    world_free(model->world);
    free(model);
}

static Status run(TgfModel *m, const char *function) {
    STATUS_TRY(program_set_optional(m->program, "seed", m->seed));
    STATUS_TRY(program_set_optional(m->program, "step", (int32_t)m->steps));
    STATUS_TRY(program_run(m->program, function));
    if (!strcmp(function, "init")) m->steps = m->tokens = 0;
    if (!strcmp(function, "train")) {
        int tokens = plan_leaf(program_plan(m->program), PLAN_INPUT, "tokens");
        m->steps++;
        if (tokens >= 0) m->tokens += leaf_elements(&program_plan(m->program)->leaves[tokens]);
    }
    return status_ok();
}

TgfStatus tgf_init(TgfModel *model) { return give(run(model, "init")); }

TgfStatus tgf_load(TgfModel *model, const char *folder) {
    CheckpointInfo info;
    GIVE_TRY(checkpoint_load(model->program, folder, &info));
    if (info.seed != (int32_t)info.seed) return give(status_make(STATUS_CORRUPT, "%s: the seed is too large", folder));
    model->steps = info.step;
    model->seed = (int32_t)info.seed;
    model->tokens = info.tokens;
    memcpy(model->data, info.data, sizeof model->data);
    return give(status_ok());
}

TgfStatus tgf_load_weights(TgfModel *model, const char *path) {
    GIVE_TRY(checkpoint_load_weights(model->program, path, NULL, NULL));
    model->steps = model->tokens = 0;
    return give(status_ok());
}

TgfStatus tgf_save(TgfModel *model, const char *folder) {
    CheckpointInfo info = {.step = model->steps, .seed = model->seed, .tokens = model->tokens};
    memcpy(info.data, model->data, sizeof info.data);
    return give(checkpoint_save(model->program, folder, &info));
}

int tgf_has_checkpoint(const char *folder) { return checkpoint_exists(folder); }

static Status set_ids(TgfModel *m, const char *name, const int32_t *ids) {
    int leaf = plan_leaf(program_plan(m->program), PLAN_INPUT, name);
    if (leaf < 0) return status_make(STATUS_INVALID, "the model has no input '%s'", name);
    if (program_plan(m->program)->leaves[leaf].dtype != PLAN_I32)
        return status_make(STATUS_INVALID, "input '%s' does not hold ids", name);
    return program_write_leaf(m->program, leaf, ids);
}

static Status run_on(TgfModel *m, const char *function, const int32_t *tokens, const int32_t *labels, float *out_loss) {
    STATUS_TRY(set_ids(m, "tokens", tokens));
    STATUS_TRY(set_ids(m, "labels", labels));
    STATUS_TRY(run(m, function));
    return out_loss ? program_get_output(m->program, "loss", PLAN_F32, out_loss, 1) : status_ok();
}

TgfStatus tgf_step(TgfModel *model, const int32_t *tokens, const int32_t *labels, float *out_loss) {
    return give(run_on(model, "train", tokens, labels, out_loss));
}

TgfStatus tgf_eval(TgfModel *model, const int32_t *tokens, const int32_t *labels, float *out_loss) {
    return give(run_on(model, "eval", tokens, labels, out_loss));
}

int64_t tgf_steps(const TgfModel *model) { return model->steps; }
int32_t tgf_seed(const TgfModel *model) { return model->seed; }

// ---- by name --------------------------------------------------------------------------------------------------------
TgfStatus tgf_set_input(TgfModel *model, const char *name, TgfType type, const void *values, int64_t count) {
    return give(program_set_input(model->program, name, (PlanDType)type, values, count));
}

TgfStatus tgf_run(TgfModel *model, const char *function) { return give(run(model, function)); }

TgfStatus tgf_get_output(TgfModel *model, const char *name, TgfType type, void *out_values, int64_t count) {
    return give(program_get_output(model->program, name, (PlanDType)type, out_values, count));
}

static Status check_kind(TgfKind kind) {
    return (unsigned)kind <= TGF_OUTPUT ? status_ok() : status_make(STATUS_INVALID, "unknown kind %d", (int)kind);
}

TgfStatus tgf_get(TgfModel *model, TgfKind kind, const char *name, TgfType type, void *out_values, int64_t count) {
    GIVE_TRY(check_kind(kind));
    return give(program_get(model->program, (PlanLeafKind)kind, name, (PlanDType)type, out_values, count));
}

TgfStatus tgf_set(TgfModel *model, TgfKind kind, const char *name, TgfType type, const void *values, int64_t count) {
    GIVE_TRY(check_kind(kind));
    return give(program_set(model->program, (PlanLeafKind)kind, name, (PlanDType)type, values, count));
}

int tgf_count(const TgfModel *model, TgfKind kind) {
    const Plan *p = program_plan(model->program);
    int n = 0;
    for (int i = 0; i < p->nleaves; i++) n += (int)p->leaves[i].kind == (int)kind;
    return n;
}

static void describe(const PlanLeaf *l, TgfTensor *out) {
    *out = (TgfTensor){.name = l->name, .type = (TgfType)l->dtype, .rank = l->rank, .count = leaf_elements(l)};
    for (int i = 0; i < l->rank; i++) {
        out->axis[i] = l->dim[i].axis;
        out->extent[i] = l->dim[i].extent;
    }
}

TgfStatus tgf_describe(const TgfModel *model, TgfKind kind, const char *name, TgfTensor *out_tensor) {
    const Plan *p = program_plan(model->program);
    int leaf = plan_leaf(p, (PlanLeafKind)kind, name);
    if (leaf < 0) return give(status_make(STATUS_INVALID, "the model has no such thing as '%s'", name));
    describe(&p->leaves[leaf], out_tensor);
    return give(status_ok());
}

TgfStatus tgf_describe_at(const TgfModel *model, TgfKind kind, int index, TgfTensor *out_tensor) {
    const Plan *p = program_plan(model->program);
    for (int i = 0; i < p->nleaves; i++)
        if ((int)p->leaves[i].kind == (int)kind && index-- == 0) {
            describe(&p->leaves[i], out_tensor);
            return give(status_ok());
        }
    return give(status_make(STATUS_INVALID, "there are fewer than that"));
}

// ---- training data --------------------------------------------------------------------------------------------------
TgfStatus tgf_data_open(const char *path, TgfData **out_data) {
    *out_data = NULL;
    TokenFile *file;
    GIVE_TRY(tokens_open(path, TOKENS_AUTO, &file));
    if (!(*out_data = calloc(1, sizeof **out_data))) {
        tokens_close(file);
        return give(status_make(STATUS_MEMORY, "no memory for %s", path));
    }
    (*out_data)->file = file;
    return give(status_ok());
}

void tgf_data_close(TgfData *data) {
    if (!data) return;
    tokens_close(data->file);
    free(data);
}

int64_t tgf_data_count(const TgfData *data) { return tokens_count(data->file); }

TgfStatus tgf_data_batch(const TgfData *data, int32_t seed, int64_t step, int64_t batch, int64_t seq,
                         int32_t *out_tokens, int32_t *out_labels) {
    TokenRange all = tokens_all(data->file);
    GIVE_TRY(batch_check(all, seq));
    batch_draw(all, (uint32_t)seed, step, batch, seq, out_tokens, out_labels);
    return give(status_ok());
}
