// SPDX-License-Identifier: Apache-2.0
// optimizer: turns the gradients of `train` into updates, by the unit's recipe. One chain of elementwise ops for each
// parameter, so that one kernel reads parameter, gradient and states and writes parameter and states.
//
//   output %d_w "grad.w"
// becomes, for adamw with clipping,
//   %g = mul %d_w, %clip                              clip = min(1, limit / (norm + 1e-6)), norm over all gradients
//   %m1 = add (mul %m, beta1), (mul %g, 1 - beta1)    %m = state "adam.m/w" "w"
//   %v1 = add (mul %v, beta2), (mul %g^2, 1 - beta2)  %v = state "adam.v/w" "w"
//   %w1 = sub %w, lr * (%m1 / c1 / (sqrt(%v1 / c2) + eps) + decay * %w)     c1 = 1 - beta1^t, c2 = 1 - beta2^t
//   assign %m, %m1 ; assign %v, %v1 ; assign %w, %w1
// and outputs "grad_norm" (before clipping) and "lr". In `init` the states begin at zero. With a loss scale every
// assigned value becomes a select, the old one where the step is skipped (loss_scale.h), and t counts the steps that
// are not. Loshchilov, Hutter: "Decoupled weight decay regularization", ICLR 2019.
#include "passes/optimizer.h"
#include "passes/loss_scale.h"
#include "ir/strategy.h"
#include "passes/pass.h"

typedef struct Update {   // one parameter
    Node *param, *output; // output: its gradient's
    Value *gradient;
} Update;

typedef Vec(Update) Updates;

static Node *find_leaf(const Func *f, OpKind op, const char *name) {
    for (Node *n = f->top->first; n; n = n->next)
        if (n->op == op && !strcmp(n->attr.s, name)) return n;
    return NULL;
}

static Updates gather(const Func *f) {
    Updates all = {0};
    for (Node *n = f->top->first; n; n = n->next) {
        if (n->op != OP_output || strncmp(n->attr.s, "grad.", 5)) continue;
        Node *param = find_leaf(f, OP_param, n->attr.s + 5);
        if (param) vec_push(f->unit->scratch, &all, (Update){param, n, n->args[0]});
    }
    return all;
}

static Value *gradient_norm(Builder *b, const Updates *all) {
    Value *total = NULL;
    for (int i = 0; i < all->n; i++) {
        Value *g = all->at[i].gradient;
        Axes axes = type_axes(&g->type);
        b->loc = all->at[i].param->loc;
        Value *squares = build_sum(b, build_map(b, OP_mul, g, g, NULL), &axes);
        total = total ? build_map(b, OP_add, total, squares, NULL) : squares;
    }
    return build_map(b, OP_sqrt, total, NULL, NULL);
}

// ---- weight decay ----

static void add_once(Axes *list, const Axis *axis) {
    if (axes_find(list, axis) < 0) axes_push(list, axis);
}

// Axes along which repeats slice v, inner repeats included.
static void repeat_axes(const Block *b, const Value *v, Axes *into) {
    for (const Node *n = b->first; n; n = n->next) {
        if (n->op != OP_repeat) continue;
        int first = repeat_carries(n), behind = first + repeat_stacked(n);
        for (int i = first; i < n->nargs; i++) {
            if (n->args[i] != v) continue;
            if (i < behind) add_once(into, n->attr.axes.at[0]);
            repeat_axes(n->body, n->body->params[1 + i], into);
        }
    }
}

// Dimensions of the stored tensor: those the storage names, NAME [a, b*c], else the axes; without the repeat axes,
// which a storage name holds as {axis} when each iteration's part is a tensor of its own.
static int stored_rank(const Func *f, const Node *param) {
    const Type *t = &param->results[0]->type;
    const char *storage = param->attr.s2 ? param->attr.s2 : "", *bracket = strrchr(storage, '[');
    Axes repeated = {0};
    repeat_axes(f->top, param->results[0], &repeated);
    for (int i = 0; i < t->rank; i++)
        if (strstr(storage, arena_printf(f->unit->scratch, "{%s}", t->dim[i].axis->name)))
            add_once(&repeated, t->dim[i].axis);
    if (!bracket) {
        int rank = 0;
        for (int i = 0; i < t->rank; i++) rank += axes_find(&repeated, t->dim[i].axis) < 0;
        return rank;
    }
    int rank = 0;
    for (const char *p = bracket + 1; *p && *p != ']';) {
        size_t n = strcspn(p, ",]");
        while (n && *p == ' ') p++, n--;
        size_t used = n;
        while (used && p[used - 1] == ' ') used--;
        bool counts = used > 0;
        for (int i = 0; i < repeated.n; i++)
            counts &= !(strlen(repeated.at[i]->name) == used && !strncmp(repeated.at[i]->name, p, used));
        rank += counts;
        p += n;
        if (*p == ',') p++;
    }
    return rank;
}

static bool decays(const Func *f, const Recipe *r, const Node *param) {
    for (int i = 0; i < r->nno_decay; i++)
        if (!strcmp(r->no_decay[i], param->attr.s)) return false;
    return r->decay != 0 && stored_rank(f, param) >= 2;
}

// ---- updates ----

// A state of the parameter, zero at the start. Its type is the parameter's.
static Value *add_state(Unit *u, Builder *b, const char *kind, const Node *param) {
    Str name = str_internf(u->strs, "%s/%s", kind, param->attr.s);
    const Type *t = &param->results[0]->type;
    Func *init = unit_func(u, "init");
    if (init) {
        Builder at = builder_at_end(init->top, param->loc);
        Value *state = build_state(&at, t, name, param->attr.s);
        build_assign(&at, state, build_expand(&at, build_const(&at, t->dtype, 0), t));
    }
    return build_state(b, t, name, param->attr.s);
}

#define ADD(p, q) build_map(b, OP_add, p, q, NULL)
#define SUB(p, q) build_map(b, OP_sub, p, q, NULL)
#define MUL(p, q) build_map(b, OP_mul, p, q, NULL)
#define DIV(p, q) build_map(b, OP_div, p, q, NULL)
#define SQRT(p) build_map(b, OP_sqrt, p, NULL, NULL)
#define LIT(value) build_const(b, DT_F32, value)

// beta * state + (1 - beta) * x
static Value *moving_average(Builder *b, Value *state, Value *x, double beta) {
    return ADD(MUL(state, LIT(beta)), MUL(x, LIT(1 - beta)));
}

typedef struct Scalars { // of the step, shared by all parameters
    Value *lr, *clip;    // clip NULL: none
    Value *done;         // false: the step is skipped; NULL: none is
    Value *unbias_m, *unbias_v;
} Scalars;

static void assign(Builder *b, const Scalars *s, Value *leaf, Value *x) {
    build_assign(b, leaf, s->done ? build_map(b, OP_select, s->done, x, leaf) : x);
}

static void update(Unit *u, Func *f, Builder *b, const Update *w, const Scalars *s) {
    const Recipe *r = u->recipe;
    Value *p = w->param->results[0], *g = w->gradient, *direction;
    b->loc = w->param->loc;
    if (s->clip) g = MUL(g, s->clip);
    if (r->optimizer == OPTIMIZER_ADAMW) {
        Value *m = add_state(u, b, "adam.m", w->param), *v = add_state(u, b, "adam.v", w->param);
        Value *m1 = moving_average(b, m, g, r->beta1), *v1 = moving_average(b, v, MUL(g, g), r->beta2);
        direction = DIV(MUL(m1, s->unbias_m), ADD(SQRT(MUL(v1, s->unbias_v)), LIT(r->eps)));
        assign(b, s, m, m1);
        assign(b, s, v, v1);
    } else if (r->momentum != 0) {
        Value *m = add_state(u, b, "sgd.momentum", w->param), *m1 = ADD(MUL(m, LIT(r->momentum)), g);
        assign(b, s, m, m1);
        direction = m1;
    } else {
        direction = g;
    }
    if (decays(f, r, w->param)) direction = ADD(direction, MUL(p, LIT(r->decay)));
    assign(b, s, p, SUB(p, MUL(direction, s->lr)));
}

bool pass_optimizer(Unit *u) {
    Func *f = unit_func(u, "train");
    if (!f || !u->recipe) return true;
    const Recipe *r = u->recipe;
    Updates all = gather(f);
    if (!all.n) {
        diag_error(u->diag, r->loc, "there is nothing to train: the model has no parameter that influences its loss");
        return false;
    }
    Builder end = builder_at_end(f->top, r->loc), *b = &end;
    Node *step = find_leaf(f, OP_input, "step");
    Type scalar = type_scalar(DT_I32);
    Value *now = step ? step->results[0] : build_input(b, &scalar, str_intern(u->strs, "step"), 0, 0);
    Value *norm = gradient_norm(b, &all);
    b->loc = r->loc;
    Scalars s = {.lr = schedule_rate(b, r, now)};
    if (r->clip > 0) s.clip = build_map(b, OP_minimum, LIT(1), DIV(LIT(r->clip), ADD(norm, LIT(1e-6))), NULL);
    Value *updates = now; // made before this one
    if (loss_is_scaled(u)) s.done = loss_scale_check(b, norm, now, &updates);
    if (r->optimizer == OPTIMIZER_ADAMW) {
        s.unbias_m = schedule_unbias(b, updates, r->beta1);
        s.unbias_v = schedule_unbias(b, updates, r->beta2);
    }
    bool sharded = u->strategy && u->strategy->shard != SHARD_NOTHING;
    for (int i = 0; i < all.n; i++) {
        update(u, f, b, &all.at[i], &s);
        if (!u->keep_gradients && !sharded) node_remove(all.at[i].output); // sharded: shard looks for the gradients
    }
    b->loc = r->loc;
    build_output(b, norm, str_intern(u->strs, "grad_norm"));
    build_output(b, s.lr, str_intern(u->strs, "lr"));
    return true;
}
