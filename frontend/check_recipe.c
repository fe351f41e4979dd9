// SPDX-License-Identifier: Apache-2.0
// check_recipe: `train { ... }` to a Recipe.
#include "frontend/front.h"
#include <inttypes.h>

typedef struct Reader {
    Front *f;
    Recipe *r;
    Loc steps_loc; // line 0: not given
    bool has_lr;
} Reader;

static void fail(Reader *r, Loc loc, const char *text) { diag_error(r->f->diag, loc, "%s", text); }

static double number_in(Reader *r, const Expr *e, double least, double most, const char *what) {
    double x;
    if (!number_double(r->f, e, &x)) return least;
    if (x >= least && x <= most) return x;
    diag_error(r->f->diag, e->loc, "%s is %g; it must be from %g to %g", what, x, least, most);
    return least;
}

static int64_t count_of(Reader *r, const Expr *e, int64_t least, const char *what) {
    int64_t n;
    if (!number_integer(r->f, e, &n)) return least;
    if (n >= least && n <= INT32_MAX) return n;
    diag_error(r->f->diag, e->loc, "%s is %" PRId64 "; it must be from %" PRId64 " to %d", what, n, least, INT32_MAX);
    return least;
}

static void set_steps(Reader *r, const Expr *e) {
    int64_t n = count_of(r, e, 1, "steps");
    if (r->steps_loc.line && n != r->r->steps) {
        fail(r, e->loc, "steps is given twice, and differs");
        diag_note(r->f->diag, r->steps_loc, "the first is here");
    }
    r->r->steps = n;
    r->steps_loc = e->loc;
}

// A number, constant(lr), linear(lr, ...) or cosine(lr, warmup = n, steps = n, floor = fraction).
static void read_lr(Reader *r, const Expr *e) {
    static const char *const laws[] = {"constant", "linear", "cosine"};
    r->has_lr = true;
    int law = -1;
    for (int i = 0; e->kind == EXPR_CALL && i < 3; i++)
        if (!strcmp(e->call.callee.str, laws[i])) law = i;
    if (law < 0) {
        if (e->kind == EXPR_CALL) {
            Near near = near_to(e->call.callee.str);
            for (int i = 0; i < 3; i++) near_try(&near, laws[i]);
            if (near.best) {
                diag_error(r->f->diag, e->loc, "unknown schedule '%s'%s", e->call.callee.str,
                           near_text(&near, r->f->arena));
                return;
            }
        }
        r->r->lr = number_in(r, e, 0, 1e6, "the learning rate");
        return;
    }
    r->r->schedule = (ScheduleKind)law;
    bool has_peak = false;
    for (int i = 0; i < e->call.args.n; i++) {
        const Arg *a = &e->call.args.at[i];
        const char *key = a->key.str ? a->key.str : "";
        if (a->over) fail(r, a->value->loc, "a schedule takes no 'over'");
        else if (!*key && has_peak) fail(r, a->value->loc, "a schedule has one learning rate");
        else if (!*key) r->r->lr = number_in(r, a->value, 0, 1e6, "the learning rate"), has_peak = true;
        else if (!strcmp(key, "warmup")) r->r->warmup = count_of(r, a->value, 0, "warmup");
        else if (!strcmp(key, "steps") && law != SCHEDULE_CONSTANT) set_steps(r, a->value);
        else if (!strcmp(key, "floor") && law != SCHEDULE_CONSTANT) r->r->floor = number_in(r, a->value, 0, 1, "floor");
        else diag_error(r->f->diag, a->key.loc, "schedule %s has no option '%s'", laws[law], key);
    }
    if (!has_peak) diag_error(r->f->diag, e->loc, "schedule %s needs its learning rate", laws[law]);
}

static void read_betas(Reader *r, const Expr *e) {
    if (e->kind != EXPR_TUPLE || e->tuple.n != 2) {
        fail(r, e->loc, "betas are two numbers: betas = (0.9, 0.95)");
        return;
    }
    double most = 1 - 1e-12;
    r->r->beta1 = number_in(r, e->tuple.at[0], 0, most, "the first beta");
    r->r->beta2 = number_in(r, e->tuple.at[1], 0, most, "the second beta");
}

static void read_no_decay(Reader *r, const Exprs *values) {
    r->r->no_decay = NEW_ARRAY(r->f->arena, Str, values->n);
    for (int i = 0; i < values->n; i++) {
        const Expr *e = values->at[i];
        if (e->kind == EXPR_STRING) r->r->no_decay[r->r->nno_decay++] = e->string;
        else if (e->kind == EXPR_NAME) r->r->no_decay[r->r->nno_decay++] = e->name;
        else fail(r, e->loc, "no_decay lists parameters by name, in quotes where the name has a '.'");
    }
}

static void read_optimizer(Reader *r, const Entry *e) {
    bool sgd = e->word.str && !strcmp(e->word.str, "sgd");
    if (!e->word.str) {
        fail(r, e->head.loc, "which optimizer? optimizer adamw lr = ..., or optimizer sgd lr = ...");
        return;
    }
    if (!sgd && strcmp(e->word.str, "adamw")) {
        Near near = near_to(e->word.str);
        near_try(&near, "adamw");
        near_try(&near, "sgd");
        diag_error(r->f->diag, e->word.loc, "unknown optimizer '%s'%s", e->word.str, near_text(&near, r->f->arena));
        return;
    }
    r->r->optimizer = sgd ? OPTIMIZER_SGD : OPTIMIZER_ADAMW;
    for (int i = 0; i < e->options.n; i++) {
        const Arg *a = &e->options.at[i];
        const char *key = a->key.str;
        for (int j = 0; j < i; j++)
            if (e->options.at[j].key.str == key) diag_error(r->f->diag, a->key.loc, "'%s' is given twice", key);
        if (!strcmp(key, "lr")) read_lr(r, a->value);
        else if (!strcmp(key, "decay")) r->r->decay = number_in(r, a->value, 0, 1e3, "decay");
        else if (!strcmp(key, "no_decay")) read_no_decay(r, &(Exprs){.at = (Expr **)&a->value, .n = 1});
        else if (!strcmp(key, "betas") && !sgd) read_betas(r, a->value);
        else if (!strcmp(key, "eps") && !sgd) r->r->eps = number_in(r, a->value, 0, 1, "eps");
        else if (!strcmp(key, "momentum") && sgd) r->r->momentum = number_in(r, a->value, 0, 1 - 1e-12, "momentum");
        else {
            static const char *const known[] = {"lr", "decay", "no_decay", "betas", "eps", "momentum"};
            Near near = near_to(key);
            for (int j = 0; j < 6; j++) near_try(&near, known[j]);
            diag_error(r->f->diag, a->key.loc, "optimizer %s has no option '%s'%s", e->word.str, key,
                       near_text(&near, r->f->arena));
        }
    }
}

static void read_entry(Reader *r, const Entry *e) {
    static const char *const known[] = {"optimizer",  "batch", "clip",  "data",
                                        "validation", "seed",  "steps", "no_decay"};
    const char *head = e->head.str;
    const Expr *value = e->values.n ? e->values.at[0] : NULL;
    if (!strcmp(head, "optimizer")) {
        if (value) fail(r, e->head.loc, "write: optimizer adamw lr = ...");
        else read_optimizer(r, e);
        return;
    }
    int i = 1;
    while (i < 8 && strcmp(head, known[i])) i++;
    if (i == 8) {
        Near near = near_to(head);
        for (int j = 0; j < 8; j++) near_try(&near, known[j]);
        diag_error(r->f->diag, e->head.loc, "a recipe has no line '%s'%s", head, near_text(&near, r->f->arena));
        return;
    }
    if (!value || (e->values.n > 1 && i != 7)) {
        diag_error(r->f->diag, e->head.loc, "'%s' needs one value", head);
        return;
    }
    switch (i) {
    case 1: break; // batch: check_axes
    case 2: r->r->clip = number_in(r, value, 0, 1e9, "clip"); break;
    case 3:
    case 4:
        if (value->kind != EXPR_STRING) fail(r, value->loc, "a file name in quotes is needed");
        else if (i == 3) r->r->data = value->string;
        else r->r->validation = value->string;
        break;
    case 5: r->r->seed = count_of(r, value, 0, "seed"); break;
    case 6: set_steps(r, value); break;
    default: read_no_decay(r, &e->values);
    }
}

void check_recipe(Front *f) {
    if (!f->train) return;
    Recipe *r = f->recipe = NEW(f->arena, Recipe);
    *r = (Recipe){.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .steps = 1000, .loc = f->train->loc};
    Reader reader = {.f = f, .r = r};
    for (int i = 0; i < f->train->entries.n; i++) {
        const Entry *e = &f->train->entries.at[i];
        for (int j = 0; j < i; j++)
            if (f->train->entries.at[j].head.str == e->head.str) {
                diag_error(f->diag, e->head.loc, "'%s' is given twice", e->head.str);
                diag_note(f->diag, f->train->entries.at[j].head.loc, "the first is here");
                break;
            }
        read_entry(&reader, e);
    }
    const Axis *batch = unit_axis(f->unit, str_intern(f->strs, "batch"));
    if (batch) r->batch = batch->extent;
    else diag_error(f->diag, f->train->loc, "the batch is not known: write 'batch = N' here, or give -D batch=N");
    if (r->warmup > r->steps && r->schedule != SCHEDULE_CONSTANT)
        diag_error(f->diag, f->train->loc, "warmup (%" PRId64 ") is longer than the training (%" PRId64 " steps)",
                   r->warmup, r->steps);
}

// The names in no_decay become full names of parameters: given as read (h.attention.w) or as stored.
void check_no_decay(Front *f) {
    const Func *init = unit_func(f->unit, "init");
    for (int i = 0; f->recipe && i < f->recipe->nno_decay; i++) {
        Str *name = &f->recipe->no_decay[i];
        Near near = near_to(*name);
        bool found = false;
        for (const Node *n = init->top->first; n && !found; n = n->next) {
            if (n->op != OP_param) continue;
            size_t stored = strcspn(n->attr.s2, " ");
            found = n->attr.s == *name || (strlen(*name) == stored && !strncmp(n->attr.s2, *name, stored));
            if (found) *name = n->attr.s;
            near_try(&near, n->attr.s);
        }
        if (!found)
            diag_error(f->diag, f->recipe->loc, "no_decay names no parameter: '%s'%s", *name,
                       near_text(&near, f->arena));
    }
}
