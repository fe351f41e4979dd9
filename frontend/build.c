// SPDX-License-Identifier: Apache-2.0
// build: the functions of a unit from the model.
#include "frontend/build.h"

static Val find_named(Build *s, Frame *frame, const char *name) {
    Var *v = frame_find(frame, str_intern(s->f->strs, name));
    return v ? v->val : (Val){0};
}

static Frame run_model(Build *s, Func *func, bool training) {
    Frame frame = {0};
    s->func = func;
    s->b = builder_at_end(func->top, s->f->model->name.loc);
    s->training = training;
    s->function++;
    s->seed = s->step = NULL;
    s->randoms = s->calls = s->depth = 0;
    s->storage = s->path = str_intern(s->f->strs, "");
    run_stmts(s, &frame, &s->f->model->body);
    return frame;
}

static Loc made_at(const Build *s, const Value *v) { return v && v->def ? v->def->loc : s->f->model->name.loc; }

static void output_loss(Build *s, Frame *frame) {
    Val loss = find_named(s, frame, "loss");
    if (loss.kind == VAL_POISON) return;
    if (loss.kind != VAL_TENSOR) {
        diag_error(s->f->diag, s->f->model->name.loc, "'loss' is not a tensor");
        return;
    }
    const Type *t = &loss.tensor->type;
    if (t->rank || t->dtype != DT_F32) {
        diag_error(s->f->diag, made_at(s, loss.tensor), "'loss' is one number, f32[], not %s", type_shown(s, t));
        return;
    }
    s->b.loc = made_at(s, loss.tensor);
    build_output(&s->b, loss.tensor, str_intern(s->f->strs, "loss"));
}

// Removes what no effect needs.
static void drop_unused(Build *s, Func *func) {
    int *uses = NEW_ARRAY(s->f->arena, int, func->next_id);
    func_count_uses(func, uses);
    for (Node *n = func->top->last, *before; n; n = before) {
        before = n->prev;
        bool used = op_info(n->op)->traits & TRAIT_EFFECT;
        for (int i = 0; i < n->nresults; i++) used |= uses[n->results[i]->id] > 0;
        if (used) continue;
        for (int i = 0; i < n->nargs; i++) uses[n->args[i]->id]--;
        node_remove(n);
    }
}

static void build_predict(Build *s) {
    Func *predict = unit_add_func(s->u, "predict");
    Frame frame = run_model(s, predict, false);
    Val logits = find_named(s, &frame, "logits");
    if (logits.kind != VAL_TENSOR) return;
    s->b.loc = made_at(s, logits.tensor);
    build_output(&s->b, logits.tensor, str_intern(s->f->strs, "logits"));
    drop_unused(s, predict);
}

void build_functions(Front *f) {
    Build s = {.f = f, .u = f->unit, .errors_seen = diag_errors(f->diag)};
    int before = s.errors_seen;
    Func *init = unit_add_func(f->unit, "init");
    if (f->recipe) {
        Frame frame = run_model(&s, unit_add_func(f->unit, "train"), true);
        output_loss(&s, &frame);
        if (diag_errors(f->diag) > before) return;
    }
    Func *eval = unit_add_func(f->unit, "eval");
    Frame frame = run_model(&s, eval, false);
    output_loss(&s, &frame);
    if (diag_errors(f->diag) > before) return;
    if (find_named(&s, &frame, "logits").kind == VAL_TENSOR) build_predict(&s);
    if (diag_errors(f->diag) == before) build_init(&s, init);
}
