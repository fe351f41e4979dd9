// SPDX-License-Identifier: Apache-2.0
// tgf loop: steps of training on the caller's batches, with the caller told of each.
#include "base/clock.h"
#include "runtime/data.h"
#include "runtime/tgf_model.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Loop {
    TgfModel *m;
    TgfLoop o;
    int64_t batch, seq, tokens; // of o.data: the inputs' extents; tokens: of a step
    int32_t *ids;               // of o.data: tokens, then labels
} Loop;

static Status take(TgfStatus s) {
    return s.code == TGF_OK ? status_ok() : status_make((StatusCode)s.code, "%s", s.message);
}

// ---- batches --------------------------------------------------------------------------------------------------------
static Status open_data(Loop *l) {
    const Plan *p = program_plan(l->m->program);
    int tokens = plan_leaf(p, PLAN_INPUT, "tokens"), labels = plan_leaf(p, PLAN_INPUT, "labels");
    const PlanLeaf *t = tokens < 0 ? NULL : &p->leaves[tokens], *of = labels < 0 ? NULL : &p->leaves[labels];
    if (!t || !of || t->rank != 2 || of->rank != 2 || t->dtype != PLAN_I32 || of->dtype != PLAN_I32 ||
        t->dim[0].extent != of->dim[0].extent || t->dim[1].extent != of->dim[1].extent)
        return status_make(STATUS_INVALID,
                           "TgfLoop.data gives tokens and labels, both i32[batch, seq]; '%s' reads "
                           "other inputs: give TgfLoop.batch",
                           p->model);
    l->batch = t->dim[0].extent;
    l->seq = t->dim[1].extent;
    STATUS_TRY(batch_check(tokens_all(l->o.data->file), l->seq));
    l->ids = malloc(sizeof *l->ids * 2 * (size_t)(l->batch * l->seq));
    return l->ids ? status_ok() : status_make(STATUS_MEMORY, "no memory for a batch");
}

static Status next_batch(Loop *l, int *out_stop) {
    TgfModel *m = l->m;
    if (l->o.batch) return take(l->o.batch(l->o.user, m, m->steps, out_stop));
    if (!l->o.data) return status_ok();
    int64_t n = l->batch * l->seq;
    batch_draw(tokens_all(l->o.data->file), (uint32_t)m->seed, m->steps, l->batch, l->seq, l->ids, l->ids + n);
    STATUS_TRY(take(tgf_set_input(m, "tokens", TGF_I32, l->ids, n)));
    return take(tgf_set_input(m, "labels", TGF_I32, l->ids + n, n));
}

// ---- steps ----------------------------------------------------------------------------------------------------------
// A scalar output as double; NaN when the model has none of that name.
static Status read_scalar(const TgfModel *m, const char *name, double *out) {
    const Plan *p = program_plan(m->program);
    int leaf = plan_leaf(p, PLAN_OUTPUT, name);
    *out = NAN;
    if (leaf < 0 || p->leaves[leaf].rank) return status_ok();
    float f;
    int32_t i;
    bool counts = p->leaves[leaf].dtype == PLAN_I32;
    STATUS_TRY(counts ? program_get_output(m->program, name, PLAN_I32, &i, 1)
                      : program_get_output(m->program, name, PLAN_F32, &f, 1));
    *out = counts ? i : (double)f;
    return status_ok();
}

// As in `tgf train`: a step whose gradients were beyond f16 is skipped, and halves the loss scale.
static Status check_finite(const TgfModel *m, const TgfProgress *g) {
    double scale;
    STATUS_TRY(read_scalar(m, "loss_scale", &scale));
    bool skipped = !isnan(scale) && !isfinite(g->grad_norm);
    if (skipped && scale <= 1)
        return status_make(STATUS_RANGE, "gradients of step %lld are not finite at a loss scale of 1",
                           (long long)g->step);
    if (isnan(g->loss) && !skipped)
        return status_make(STATUS_RANGE, "the loss of step %lld is not a number", (long long)g->step);
    if (skipped)
        model_say(m, TGF_WARNING, "%s: step %lld skipped, its gradients are beyond f16; loss scale %g",
                  program_plan(m->program)->model, (long long)g->step, scale);
    return status_ok();
}

static Status read_progress(Loop *l, double began, TgfProgress *out) {
    const TgfModel *m = l->m;
    double skipped;
    *out = (TgfProgress){.step = m->steps, .steps = l->o.steps};
    out->slab_bytes = program_plan(m->program)->slab_bytes;
    STATUS_TRY(read_scalar(m, "loss", &out->loss));
    STATUS_TRY(read_scalar(m, "lr", &out->lr));
    STATUS_TRY(read_scalar(m, "grad_norm", &out->grad_norm));
    STATUS_TRY(read_scalar(m, "skipped_steps", &skipped));
    out->skipped = isnan(skipped) ? 0 : (int64_t)skipped;
    out->seconds = now_seconds() - began;
    out->tokens_per_second = out->seconds > 0 ? (double)l->tokens / out->seconds : 0;
    return status_ok();
}

// A callback's failure is this process's alone: the others hear of it here.
static Status agree(const Loop *l, Status own, int *stop) {
    if (!l->m->world) return own;
    STATUS_TRY(world_agree(l->m->world, own));
    bool any = *stop;
    Status s = world_any(l->m->world, any, &any);
    *stop = any;
    return s;
}

static Status one_step(Loop *l, int *out_stop) {
    TgfModel *m = l->m;
    TgfProgress g;
    double began = now_seconds();
    Status s = next_batch(l, out_stop);
    STATUS_TRY(l->o.batch ? agree(l, s, out_stop) : s);
    if (*out_stop) return status_ok();
    STATUS_TRY(model_run(m, "train"));
    STATUS_TRY(read_progress(l, began, &g));
    STATUS_TRY(check_finite(m, &g));
    model_say(m, TGF_STEP, "%s: step %lld/%lld  loss %.4f  %.0f tokens/s", program_plan(m->program)->model,
              (long long)g.step, (long long)g.steps, g.loss, g.tokens_per_second);
    if (l->o.on_step) STATUS_TRY(agree(l, take(l->o.on_step(l->o.user, m, &g, out_stop)), out_stop));
    bool due = l->o.save_every && m->steps % l->o.save_every == 0 && m->steps < l->o.steps && !*out_stop;
    return due && l->o.save ? model_save(m, l->o.save) : status_ok();
}

static Status read_loop(TgfModel *m, const TgfLoop *from, TgfLoop *out) {
    STATUS_TRY(model_need(m, "model"));
    STATUS_TRY(model_need(from, "loop"));
    *out = tgf_training();
    if (from->size != sizeof *out) // there is one version so far
        return status_make(STATUS_INVALID, "TgfLoop.size is %zu: begin with tgf_training()", from->size);
    *out = *from;
    if (out->batch && out->data)
        return status_make(STATUS_INVALID, "TgfLoop: batches come from batch or from data, not from both");
    if (out->steps < 0 || out->save_every < 0)
        return status_make(STATUS_INVALID, "TgfLoop: steps and save_every are not negative");
    if (!plan_program(program_plan(m->program), "train"))
        return status_make(STATUS_INVALID, "the model '%s' has no function 'train'", program_plan(m->program)->model);
    return status_ok();
}

static Status loop(Loop *l) {
    const Plan *p = program_plan(l->m->program);
    int tokens = plan_leaf(p, PLAN_INPUT, "tokens"), stop = 0;
    if (tokens >= 0) l->tokens = leaf_elements(&p->leaves[tokens]);
    if (l->o.data) STATUS_TRY(open_data(l));
    while (l->m->steps < l->o.steps && !stop) STATUS_TRY(one_step(l, &stop));
    return l->o.save ? model_save(l->m, l->o.save) : status_ok();
}

TgfStatus tgf_loop(TgfModel *model, const TgfLoop *from) {
    Loop l = {.m = model};
    GIVE_TRY(read_loop(model, from, &l.o));
    Status s = loop(&l);
    free(l.ids);
    return model_give(s);
}
