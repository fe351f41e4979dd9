// SPDX-License-Identifier: Apache-2.0
#include "tests/dsl/family.h"

static void mesh_write(TgfProgram *p, const Layout *l) {
    const struct {
        const char *name;
        int extent;
    } axes[] = {{"data", l->data}, {"pipe", l->pipe}, {"context", l->context}, {"tensor", l->tensor}};
    TgfArg mesh[4];
    int n = 0;
    for (int i = 0; i < 4; i++)
        if (axes[i].extent) mesh[n++] = tgf_key(axes[i].name, axes[i].extent);
    if (n) tgf_line_at(TGF_HERE, p, "mesh", n, mesh);
}

static void stages_write(TgfProgram *p, const Layout *l, Axis layer) {
    TgfArg args[5] = {tgf_arg_axis(layer), tgf_over("pipe"), tgf_key("schedule", l->schedule)};
    int n = 3;
    if (l->chunks) args[n++] = tgf_key("chunks", l->chunks);
    args[n++] = tgf_key("microbatches", l->microbatches);
    tgf_line_at(TGF_HERE, p, "split", n, args);
}

static void precision_write(TgfProgram *p, const Layout *l) {
    if (l->scale) tgf_line(p, "precision", l->precision, tgf_key("scale", l->scale));
    else if (l->reduce) tgf_line(p, "precision", l->precision, tgf_key("master", "f32"), tgf_key("reduce", l->reduce));
    else tgf_line(p, "precision", l->precision);
}

void layout_write(TgfProgram *p, const Layout *l, Split s) {
    tgf_strategy(p, l->name);
    mesh_write(p, l);
    if (l->data) tgf_line(p, "split", s.batch, tgf_over("data"));
    if (l->pipe) stages_write(p, l, s.layer);
    if (l->context) tgf_line(p, "split", s.seq, tgf_over("context"), tgf_key("attention", l->attention));
    if (l->tensor) tgf_line(p, "split", s.tensor[0], s.tensor[1], s.tensor[2], tgf_over("tensor"));
    if (l->between_blocks) tgf_line(p, "split", s.seq, tgf_over("tensor"), tgf_words("between", "blocks"));
    if (l->shard) tgf_line(p, "shard", l->shard, tgf_over("data"));
    if (l->recompute && l->memory) tgf_line(p, "recompute", l->recompute, tgf_key("memory", l->memory));
    else if (l->recompute) tgf_line(p, "recompute", l->recompute);
    if (l->precision) precision_write(p, l);
    tgf_end(p);
}

void recipe_write(TgfProgram *p, Recipe r) {
    TgfArg schedule[5] = {tgf_arg_program(p), tgf_arg_number(r.lr), tgf_key("warmup", r.warmup),
                          tgf_key("steps", r.steps)};
    int n = 4;
    if (r.floor > 0) schedule[n++] = tgf_key("floor", r.floor);
    Tensor lr = tgf_call_at(TGF_HERE, r.schedule, n, schedule);
    const double betas[] = {0.9, r.beta2};
    TgfArg options[5] = {tgf_arg_text("adamw"), tgf_key("lr", lr), tgf_key("betas", tgf_list_of(2, betas))};
    n = 3;
    if (r.eps > 0) options[n++] = tgf_key("eps", r.eps);
    options[n++] = tgf_key("decay", r.decay);
    tgf_train(p);
    tgf_line_at(TGF_HERE, p, "optimizer", n, options);
    tgf_setting(p, "batch", r.batch);
    tgf_setting(p, "clip", 1.0);
    tgf_line(p, "data", tgf_quoted(r.data));
    tgf_end(p);
}

Tensor depth_std(Axis layer) { return tgf_div(0.02, tgf_sqrt(tgf_mul(2, layer))); }

Tensor attend_causal(Tensor q, Tensor k, Tensor v, Axis seq, Axis key, Axis dim) {
    TgfArg renamed = tgf_rename(seq, key);
    return tgf_attend(q, tgf_view(k, renamed), tgf_view(v, renamed), dim, tgf_over(key),
                      tgf_key("scale", tgf_div(1, tgf_sqrt(dim))), tgf_causal(seq, key));
}
