// SPDX-License-Identifier: Apache-2.0
// tgf: the public API of include/tgf/tgf.h over the runtime. Its codes, types and kinds are the runtime's.
#include "base/version.h"
#include "runtime/tgf_model.h"
#include "runtime/checkpoint.h"
#include "runtime/data.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)TGF_INTERNAL == (int)STATUS_INTERNAL && (int)TGF_RANGE == (int)STATUS_RANGE, "codes");
_Static_assert((int)TGF_F16 == (int)PLAN_F16 && (int)TGF_OUTPUT == (int)PLAN_OUTPUT, "types and kinds");
_Static_assert((int)TGF_ABI == (int)PLAN_INTERFACE, "what the compiler makes headers for");

TgfStatus model_give(Status s) {
    TgfStatus out = {.code = (TgfCode)s.code};
    _Static_assert(sizeof out.message == sizeof s.message, "room for every message");
    memcpy(out.message, s.message, sizeof out.message);
    return out;
}

Status model_need(const void *it, const char *what) {
    return it ? status_ok() : status_make(STATUS_INVALID, "%s is NULL", what);
}

void model_say(const TgfModel *m, TgfLevel level, const char *format, ...) {
    char text[600];
    if (!m->log) return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    m->log(m->log_user, level, text);
}

const char *tgf_code_name(TgfCode code) { return status_name((StatusCode)code); }
int tgf_abi(void) { return TGF_ABI; }
const char *tgf_version(void) { return TGF_VERSION; }

// ---- a model --------------------------------------------------------------------------------------------------------
// Members that the caller's tgf.h has not yet are zero; those that this one has not must be.
static Status read_options(const TgfOptions *from, TgfOptions *out) {
    *out = tgf_options();
    if (!from) return status_ok();
    if (from->size < offsetof(TgfOptions, threads) + sizeof from->threads || from->size > 1 << 16)
        return status_make(STATUS_INVALID, "TgfOptions.size is %zu: begin with tgf_options()", from->size);
    size_t known = from->size < sizeof *out ? from->size : sizeof *out;
    for (size_t i = known; i < from->size; i++)
        if (((const char *)from)[i])
            return status_make(STATUS_UNSUPPORTED,
                               "TgfOptions has a member at byte %zu that this runtime, tgf " TGF_VERSION
                               ", does not know: the program is made for a newer one",
                               i);
    memcpy(out, from, known);
    out->size = sizeof *out;
    if (!out->allocate != !out->release)
        return status_make(STATUS_INVALID, "TgfOptions: allocate and release come together");
    return status_ok();
}

static Status check_module(const TgfModule *module, const TgfHeader *h) {
    STATUS_TRY(model_need(module, "the model's object"));
    const char *name = h ? h->model : "the model", *by = h ? h->compiler : "";
    if (h && h->abi != TGF_ABI)
        return status_make(
            STATUS_UNSUPPORTED,
            "the program was compiled with the tgf.h of interface %d; the linked runtime is tgf " TGF_VERSION
            " with interface %d: compile it again",
            h->abi, TGF_ABI);
    if (h && h->object != module->abi)
        return status_make(STATUS_INVALID,
                           "the header of '%s' was made by %s for an object of version %d, the linked object is of "
                           "version %d: make both again",
                           name, by, h->object, module->abi);
    if (module->abi != PLAN_ABI)
        return status_make(STATUS_UNSUPPORTED,
                           "the object of '%s'%s%s%s is of version %d, the linked runtime, tgf " TGF_VERSION
                           ", runs version %d: compile the model with its tgfc",
                           name, *by ? ", made by " : "", by, *by ? "," : "", module->abi, PLAN_ABI);
    return status_ok();
}

// Do header and object come from one run of the compiler?
static Status check_header(const TgfModel *m, const TgfHeader *h) {
    const Plan *p = program_plan(m->program);
    if (!h || h->hash == p->hash) return status_ok();
    return status_make(STATUS_INVALID,
                       "the header of '%s' (%016llx) was made with another object than the linked one, '%s' (%016llx): "
                       "make both again",
                       h->model, (unsigned long long)h->hash, p->model, (unsigned long long)p->hash);
}

static Status open_inside(const TgfModule *module, const TgfHeader *header, const TgfOptions *options, TgfModel *m) {
    ProgramOptions o = {.threads = options->threads, .world = m->world};
    o.nccl = options->nccl;
    o.memory.allocate = options->allocate;
    o.memory.release = options->release;
    o.memory.user = options->memory_user;
    STATUS_TRY(program_make(module, &o, &m->program));
    STATUS_TRY(check_header(m, header));
    const Plan *p = program_plan(m->program);
    m->bound = calloc((size_t)p->nleaves + 1, sizeof *m->bound);
    if (!m->bound) return status_make(STATUS_MEMORY, "no memory for a model");
    model_say(m, TGF_NOTE, "%s: opened, %s%s%lld ranks%s of %d threads, %lld bytes a rank, for %s", p->model,
              p->strategy ? p->strategy : "", p->strategy ? ", " : "", (long long)plan_ranks(p),
              m->world ? " in processes" : "", program_threads(m->program), (long long)p->slab_bytes,
              p->target ? p->target : "cpu");
    return status_ok();
}

TgfStatus tgf_open_header(const TgfModule *module, const TgfHeader *header, const TgfOptions *options,
                          TgfModel **out_model) {
    GIVE_TRY(model_need(out_model, "out_model"));
    *out_model = NULL;
    TgfOptions own;
    GIVE_TRY(read_options(options, &own));
    GIVE_TRY(check_module(module, header));
    TgfModel *m = calloc(1, sizeof *m);
    if (!m) return model_give(status_make(STATUS_MEMORY, "no memory for a model"));
    m->log = own.log;
    m->log_user = own.log_user;
    m->seed = own.seed;
    Status s =
        own.nccl && !module->cuda
            ? status_make(STATUS_INVALID, "the model is compiled for a CPU, where a communicator of NCCL is of no use")
            : model_join(&own, &m->world);
    if (!status_failed(&s) && m->world) s = model_agree(m->world, module);
    if (!status_failed(&s)) s = open_inside(module, header, &own, m);
    if (status_failed(&s)) {
        if (m->world && !world_all_know(m->world)) world_abort(m->world, &s);
        tgf_close(m);
    } else {
        *out_model = m;
    }
    return model_give(s);
}

TgfStatus tgf_open(const TgfModule *module, const TgfOptions *options, TgfModel **out_model) {
    return tgf_open_header(module, NULL, options, out_model);
}

void tgf_close(TgfModel *model) {
    if (!model) return;
    if (model->program) {
        const char *name = program_plan(model->program)->model;
        model_say(model, TGF_NOTE, "%s: closed after step %lld", name, (long long)model->steps);
    }
    program_free(model->program);
    world_free(model->world);
    free(model->bound);
    free(model);
}

// What is bound and the function reads.
static Status read_bound(TgfModel *m, const char *function) {
    const PlanProgram *f = plan_program(program_plan(m->program), function);
    for (int i = 0; f && i < f->ninputs; i++)
        if (m->bound[f->inputs[i]]) STATUS_TRY(program_write_leaf(m->program, f->inputs[i], m->bound[f->inputs[i]]));
    return status_ok();
}

Status model_run(TgfModel *m, const char *function) {
    const Plan *p = program_plan(m->program);
    STATUS_TRY(model_need(function, "function"));
    STATUS_TRY(read_bound(m, function));
    STATUS_TRY(program_set_optional(m->program, "seed", m->seed));
    STATUS_TRY(program_set_optional(m->program, "step", (int32_t)m->steps));
    STATUS_TRY(program_run(m->program, function));
    if (!strcmp(function, "init")) {
        m->steps = m->tokens = 0;
        model_say(m, TGF_NOTE, "%s: initialised from seed %d", p->model, (int)m->seed);
    }
    if (!strcmp(function, "train")) {
        int tokens = plan_leaf(p, PLAN_INPUT, "tokens");
        m->steps++;
        if (tokens >= 0) m->tokens += leaf_elements(&p->leaves[tokens]);
    }
    return status_ok();
}

TgfStatus tgf_init(TgfModel *model) { return tgf_run(model, "init"); }

TgfStatus tgf_load(TgfModel *model, const char *folder) {
    CheckpointInfo info;
    GIVE_TRY(model_need(model, "model"));
    GIVE_TRY(model_need(folder, "folder"));
    GIVE_TRY(checkpoint_load(model->program, folder, &info));
    if (info.seed != (int32_t)info.seed)
        return model_give(status_make(STATUS_CORRUPT, "%s: the seed is too large", folder));
    model->steps = info.step;
    model->seed = (int32_t)info.seed;
    model->tokens = info.tokens;
    memcpy(model->data, info.data, sizeof model->data);
    model_say(model, TGF_NOTE, "%s: loaded step %lld from %s", program_plan(model->program)->model,
              (long long)model->steps, folder);
    return model_give(status_ok());
}

TgfStatus tgf_load_weights(TgfModel *model, const char *path) {
    GIVE_TRY(model_need(model, "model"));
    GIVE_TRY(model_need(path, "path"));
    GIVE_TRY(checkpoint_load_weights(model->program, path, NULL, NULL));
    model->steps = model->tokens = 0;
    model_say(model, TGF_NOTE, "%s: loaded parameters from %s", program_plan(model->program)->model, path);
    return model_give(status_ok());
}

Status model_save(TgfModel *m, const char *folder) {
    CheckpointInfo info = {.step = m->steps, .seed = m->seed, .tokens = m->tokens};
    memcpy(info.data, m->data, sizeof info.data);
    STATUS_TRY(checkpoint_save(m->program, folder, &info));
    model_say(m, TGF_NOTE, "%s: saved step %lld to %s", program_plan(m->program)->model, (long long)m->steps, folder);
    return status_ok();
}

TgfStatus tgf_save(TgfModel *model, const char *folder) {
    GIVE_TRY(model_need(model, "model"));
    GIVE_TRY(model_need(folder, "folder"));
    return model_give(model_save(model, folder));
}

int tgf_has_checkpoint(const char *folder) { return checkpoint_exists(folder); }

int64_t tgf_steps(const TgfModel *model) { return model->steps; }
int32_t tgf_seed(const TgfModel *model) { return model->seed; }

// ---- inputs ---------------------------------------------------------------------------------------------------------
static Status set_kind(TgfModel *m, TgfKind kind, const char *name, TgfType type, const void *values, int64_t count) {
    STATUS_TRY(model_need(m, "model"));
    STATUS_TRY(model_need(name, "name"));
    if ((unsigned)kind > TGF_OUTPUT) return status_make(STATUS_INVALID, "unknown kind %d", (int)kind);
    if (!values) return status_make(STATUS_INVALID, "the values of '%s' are NULL", name);
    STATUS_TRY(program_set(m->program, (PlanLeafKind)kind, name, (PlanDType)type, values, count));
    if (kind == TGF_INPUT) m->bound[plan_leaf(program_plan(m->program), PLAN_INPUT, name)] = NULL;
    return status_ok();
}

static Status set_inputs(TgfModel *m, const TgfInput *inputs, int n) {
    for (int i = 0; i < n; i++) {
        const TgfInput *in = &inputs[i];
        STATUS_TRY(set_kind(m, TGF_INPUT, in->name, in->type, in->values, in->count));
    }
    return status_ok();
}

TgfStatus tgf_set_inputs(TgfModel *model, const TgfInput *inputs, int n) {
    return model_give(set_inputs(model, inputs, n));
}

TgfStatus tgf_set_input(TgfModel *model, const char *name, TgfType type, const void *values, int64_t count) {
    return model_give(set_kind(model, TGF_INPUT, name, type, values, count));
}

// All of them or none.
TgfStatus tgf_bind(TgfModel *model, const TgfInput *inputs, int n) {
    GIVE_TRY(model_need(model, "model"));
    const Plan *p = program_plan(model->program);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < n; i++) {
            const TgfInput *in = &inputs[i];
            int leaf;
            GIVE_TRY(model_need(in->name, "an input's name"));
            GIVE_TRY(program_find_leaf(model->program, PLAN_INPUT, in->name, (PlanDType)in->type, in->count, &leaf));
            if (!strcmp(p->leaves[leaf].name, "step") || !strcmp(p->leaves[leaf].name, "seed"))
                return model_give(status_make(STATUS_INVALID, "input '%s' is set by the runtime", in->name));
            if (pass) model->bound[leaf] = in->values;
        }
    return model_give(status_ok());
}

static Status apply(TgfModel *m, const char *function, const TgfInput *inputs, int n, const char *output, TgfType type,
                    void *out_values, int64_t count) {
    STATUS_TRY(model_need(m, "model"));
    STATUS_TRY(set_inputs(m, inputs, n));
    STATUS_TRY(model_run(m, function));
    return out_values ? program_get_output(m->program, output, (PlanDType)type, out_values, count) : status_ok();
}

TgfStatus tgf_apply(TgfModel *model, const char *function, const TgfInput *inputs, int n, const char *output,
                    TgfType type, void *out_values, int64_t count) {
    return model_give(apply(model, function, inputs, n, output, type, out_values, count));
}

static Status on_ids(TgfModel *m, const char *function, const int32_t *tokens, const int32_t *labels, float *out_loss) {
    const char *const names[] = {"tokens", "labels"};
    const int32_t *ids[] = {tokens, labels};
    TgfInput inputs[2];
    STATUS_TRY(model_need(m, "model"));
    const Plan *p = program_plan(m->program);
    for (int i = 0; i < 2; i++) {
        int leaf = plan_leaf(p, PLAN_INPUT, names[i]);
        if (leaf < 0) return status_make(STATUS_INVALID, "the model has no input '%s'", names[i]);
        if (p->leaves[leaf].dtype != PLAN_I32)
            return status_make(STATUS_INVALID, "input '%s' does not hold ids", names[i]);
        inputs[i] = (TgfInput){names[i], TGF_I32, leaf_elements(&p->leaves[leaf]), ids[i]};
    }
    return apply(m, function, inputs, 2, "loss", TGF_F32, out_loss, 1);
}

TgfStatus tgf_step(TgfModel *model, const int32_t *tokens, const int32_t *labels, float *out_loss) {
    return model_give(on_ids(model, "train", tokens, labels, out_loss));
}

TgfStatus tgf_eval(TgfModel *model, const int32_t *tokens, const int32_t *labels, float *out_loss) {
    return model_give(on_ids(model, "eval", tokens, labels, out_loss));
}

// ---- by name --------------------------------------------------------------------------------------------------------
TgfStatus tgf_run(TgfModel *model, const char *function) {
    GIVE_TRY(model_need(model, "model"));
    return model_give(model_run(model, function));
}

TgfStatus tgf_get_output(TgfModel *model, const char *name, TgfType type, void *out_values, int64_t count) {
    return tgf_get(model, TGF_OUTPUT, name, type, out_values, count);
}

TgfStatus tgf_get(TgfModel *model, TgfKind kind, const char *name, TgfType type, void *out_values, int64_t count) {
    GIVE_TRY(model_need(model, "model"));
    GIVE_TRY(model_need(name, "name"));
    GIVE_TRY(model_need(out_values, "out_values"));
    if ((unsigned)kind > TGF_OUTPUT) return model_give(status_make(STATUS_INVALID, "unknown kind %d", (int)kind));
    return model_give(program_get(model->program, (PlanLeafKind)kind, name, (PlanDType)type, out_values, count));
}

TgfStatus tgf_set(TgfModel *model, TgfKind kind, const char *name, TgfType type, const void *values, int64_t count) {
    return model_give(set_kind(model, kind, name, type, values, count));
}

// ---- training data --------------------------------------------------------------------------------------------------
TgfStatus tgf_data_open(const char *path, TgfData **out_data) {
    GIVE_TRY(model_need(out_data, "out_data"));
    *out_data = NULL;
    GIVE_TRY(model_need(path, "path"));
    TokenFile *file;
    GIVE_TRY(tokens_open(path, TOKENS_AUTO, &file));
    if (!(*out_data = calloc(1, sizeof **out_data))) {
        tokens_close(file);
        return model_give(status_make(STATUS_MEMORY, "no memory for %s", path));
    }
    (*out_data)->file = file;
    return model_give(status_ok());
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
    return model_give(status_ok());
}
