// SPDX-License-Identifier: Apache-2.0
// check_names: every name in the model and in every block (called or not) means something; calls have the arguments
// they need; blocks do not call themselves; statements stand where they may. What a name of a block's parameter denotes
// (tensor, axis, number) is known only at a call: the builder checks it there.
#include "frontend/builtins.h"
#include "frontend/front.h"

typedef enum SymKind { SYM_FORMAL, SYM_LOCAL, SYM_PARAM, SYM_INPUT, SYM_GONE } SymKind;
typedef struct Sym {
    Str name;
    SymKind kind; // SYM_GONE: made inside a repeat that has ended
    Loc loc;
} Sym;

typedef struct Scope {
    Front *f;
    const BlockDecl *block; // NULL: the model
    Vec(Sym) syms;
    int repeats; // open
} Scope;

static void check_expr(Scope *s, const Expr *e);

static Sym *find(Scope *s, Str name) {
    for (int i = s->syms.n - 1; i >= 0; i--)
        if (s->syms.at[i].name == name) return &s->syms.at[i];
    return NULL;
}

static bool is_axis(const Scope *s, Str name) {
    if (s->block && s->block->is_std) return false; // std.tgf knows no program's axes
    if (!strcmp(name, "batch")) return true;        // its extent may come from -D
    for (int i = 0; i < s->f->axes.n; i++)
        if (s->f->axes.at[i].name.str == name) return true;
    return false;
}

static void check_axis(Scope *s, Str name, Loc loc) {
    Sym *sym = find(s, name);
    if (sym && sym->kind != SYM_FORMAL && sym->kind != SYM_GONE) {
        diag_error(s->f->diag, loc, "'%s' is not an axis", name);
        diag_note(s->f->diag, sym->loc, "it is a tensor made here");
        return;
    }
    if (sym || is_axis(s, name)) return;
    Near near = near_to(name);
    for (int i = 0; i < s->f->axes.n; i++) near_try(&near, s->f->axes.at[i].name.str);
    for (int i = 0; s->block && i < s->block->formals.n; i++) near_try(&near, s->block->formals.at[i].name.str);
    diag_error(s->f->diag, loc, "unknown axis '%s'%s", name, near_text(&near, s->f->arena));
}

static void check_value(Scope *s, Str name, Loc loc) {
    const Sym *sym = find(s, name);
    if (sym && sym->kind == SYM_GONE) {
        diag_error(s->f->diag, loc, "'%s' is made inside a repeat and cannot be seen after it", name);
        diag_note(s->f->diag, sym->loc, "it is made here; give it a value before the repeat to carry it out");
        return;
    }
    if (sym || is_axis(s, name) || !strcmp(name, "training")) return;
    DType dtype;
    if (dtype_parse(name, &dtype)) return;
    Near near = near_to(name);
    for (int i = 0; i < s->syms.n; i++)
        if (s->syms.at[i].kind != SYM_GONE) near_try(&near, s->syms.at[i].name);
    for (int i = 0; i < s->f->axes.n; i++) near_try(&near, s->f->axes.at[i].name.str);
    bool callable = builtin_find(name) || front_block(s->f, name, s->block && s->block->is_std);
    if (callable) diag_error(s->f->diag, loc, "'%s' is a function: write %s(...)", name, name);
    else diag_error(s->f->diag, loc, "unknown name '%s'%s", name, near_text(&near, s->f->arena));
}

static void check_shape(Scope *s, const Names *shape) {
    for (int i = 0; i < shape->n; i++) {
        check_axis(s, shape->at[i].str, shape->at[i].loc);
        for (int j = 0; j < i; j++)
            if (shape->at[j].str == shape->at[i].str) {
                diag_error(s->f->diag, shape->at[i].loc, "axis '%s' is listed twice", shape->at[i].str);
                break;
            }
    }
}

static void check_keys(Scope *s, const Args *args) {
    for (int i = 0; i < args->n; i++)
        for (int j = 0; j < i; j++)
            if (args->at[i].key.str && args->at[i].key.str == args->at[j].key.str)
                diag_error(s->f->diag, args->at[i].key.loc, "'%s' is given twice", args->at[i].key.str);
}

static void check_block_call(Scope *s, const Expr *e, const BlockDecl *b) {
    const Args *args = &e->call.args;
    int positional = 0, n = b->formals.n;
    bool *given = NEW_ARRAY(s->f->arena, bool, n ? n : 1);
    bool bad = false;
    for (int i = 0; i < args->n; i++) {
        const Arg *a = &args->at[i];
        check_expr(s, a->value);
        int at = -1;
        if (a->over) {
            diag_error(s->f->diag, a->value->loc, "block '%s' takes no 'over'", b->name.str);
            bad = true;
        } else if (a->key.str) {
            Near near = near_to(a->key.str);
            for (int j = 0; j < n; j++) {
                near_try(&near, b->formals.at[j].name.str);
                if (b->formals.at[j].name.str == a->key.str) at = j;
            }
            if (at < 0) {
                diag_error(s->f->diag, a->key.loc, "block '%s' has no parameter '%s'%s", b->name.str, a->key.str,
                           near_text(&near, s->f->arena));
                bad = true;
            } else if (given[at]) {
                diag_error(s->f->diag, a->key.loc, "'%s' is given twice", a->key.str);
                bad = true;
            }
        } else {
            if (positional < i) {
                diag_error(s->f->diag, a->value->loc, "arguments without a name come first");
                bad = true;
            }
            at = positional++;
        }
        if (at >= 0 && at < n) given[at] = true;
    }
    if (positional > n) {
        diag_error(s->f->diag, e->loc, "block '%s' takes %d argument%s, not %d", b->name.str, n, n == 1 ? "" : "s",
                   positional);
        diag_note(s->f->diag, b->name.loc, "declared here");
    } else if (!bad) {
        for (int i = 0; i < n; i++)
            if (!given[i] && !b->formals.at[i].fallback) {
                diag_error(s->f->diag, e->loc, "block '%s' needs '%s'", b->name.str, b->formals.at[i].name.str);
                diag_note(s->f->diag, b->name.loc, "declared here");
                break;
            }
    }
}

static bool is_causal(const Expr *e) { return e->kind == EXPR_CALL && !strcmp(e->call.callee.str, "causal"); }

static void check_builtin_call(Scope *s, const Expr *e, const Builtin *b) {
    const Args *args = &e->call.args;
    Diag *diag = s->f->diag;
    int positional = 0, over = 0, most = builtin_most(b);
    size_t pattern = strcspn(b->pattern, "*");
    if (e->call.as.str) diag_error(diag, e->call.as.loc, "'%s' has no parameters to name with 'as'", b->name);
    check_keys(s, args);
    for (int i = 0; i < args->n; i++) {
        const Arg *a = &args->at[i];
        if (a->over) {
            if (b->kind != BUILTIN_ATTEND) diag_error(diag, a->value->loc, "%s takes no 'over'", b->name);
            else if (over++) diag_error(diag, a->value->loc, "attend has one key axis");
            check_axis(s, a->value->name, a->value->loc);
        } else if (a->key.str) {
            if (!builtin_has_key(b, a->key.str))
                diag_error(diag, a->key.loc, "%s has no option '%s': %s", b->name, a->key.str, b->usage);
            check_expr(s, a->value);
        } else if (b->kind == BUILTIN_ATTEND && is_causal(a->value)) {
            const Args *pair = &a->value->call.args;
            bool ok = pair->n == 2;
            for (int j = 0; ok && j < 2; j++)
                ok = !pair->at[j].key.str && !pair->at[j].over && pair->at[j].value->kind == EXPR_NAME;
            if (!ok) diag_error(diag, a->value->loc, "causal takes the query axis and the key axis: causal(seq, key)");
            for (int j = 0; ok && j < 2; j++) check_axis(s, pair->at[j].value->name, pair->at[j].value->loc);
        } else {
            char kind = b->pattern[(size_t)positional < pattern ? (size_t)positional : pattern - 1];
            positional++;
            if (kind == 'a' && a->value->kind == EXPR_NAME) check_axis(s, a->value->name, a->value->loc);
            else check_expr(s, a->value);
        }
    }
    if (b->kind == BUILTIN_ATTEND) {
        if (positional != 4 || over != 1) diag_error(diag, e->loc, "attend is written %s", b->usage);
    } else if (positional < b->least || (most >= 0 && positional > most)) {
        if (b->kind == BUILTIN_MAP)
            diag_error(diag, e->loc, "%s takes %d argument%s, not %d", b->name, b->least, b->least == 1 ? "" : "s",
                       positional);
        else diag_error(diag, e->loc, "%s is written %s", b->name, b->usage);
    }
}

static void check_call(Scope *s, const Expr *e) {
    Str name = e->call.callee.str;
    const BlockDecl *block = front_block(s->f, name, s->block && s->block->is_std);
    const Builtin *builtin = builtin_find(name);
    if (block) {
        check_block_call(s, e, block);
    } else if (builtin) {
        check_builtin_call(s, e, builtin);
    } else {
        Near near = near_to(name);
        for (int i = 0; i < s->f->blocks.n; i++) near_try(&near, s->f->blocks.at[i]->name.str);
        for (int i = 0; builtin_at(i); i++) near_try(&near, builtin_at(i)->name);
        if (is_causal(e)) diag_error(s->f->diag, e->call.callee.loc, "causal(...) stands only inside attend(...)");
        else
            diag_error(s->f->diag, e->call.callee.loc, "unknown block or function '%s'%s", name,
                       near_text(&near, s->f->arena));
        for (int i = 0; i < e->call.args.n; i++) check_expr(s, e->call.args.at[i].value);
    }
}

static void check_expr(Scope *s, const Expr *e) {
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_TUPLE: break;
    case EXPR_NAME: check_value(s, e->name, e->loc); break;
    case EXPR_CALL: check_call(s, e); break;
    case EXPR_OP:
        check_expr(s, e->op.a);
        if (e->op.b) check_expr(s, e->op.b);
        break;
    case EXPR_INDEX:
        check_expr(s, e->index.x);
        for (int i = 0; i < e->index.pieces.n; i++) {
            const Piece *p = &e->index.pieces.at[i];
            for (int j = 0; j < p->from.n; j++) check_axis(s, p->from.at[j].str, p->from.at[j].loc);
            for (int j = 0; j < p->to.n; j++) check_axis(s, p->to.at[j].str, p->to.at[j].loc);
            if (p->from.n > 1 && p->to.n != 1 && !p->at)
                diag_error(s->f->diag, p->loc, "brackets rename one axis to several or several to one");
            if (p->at && (p->from.n != 1 || p->to.n > 1))
                diag_error(s->f->diag, p->loc, "a piece is cut from one axis: [axis -> part at n] or [axis at n]");
            if (p->at) check_expr(s, p->at);
        }
        break;
    }
}

// A name that gets a meaning here: must not have another of its own.
static void define(Scope *s, Name name, SymKind kind) {
    Diag *diag = s->f->diag;
    Sym *old = find(s, name.str);
    static const char *const what[] = {"a parameter of this block", "a variable", "a param", "an input"};
    if (old && old->kind != SYM_GONE && kind != SYM_LOCAL) {
        diag_error(diag, name.loc, "'%s' is already %s", name.str, what[old->kind]);
        diag_note(diag, old->loc, "declared here");
        return;
    }
    if (old && kind == SYM_LOCAL && (old->kind == SYM_PARAM || old->kind == SYM_INPUT)) {
        diag_error(diag, name.loc, "'%s' is %s and cannot be assigned", name.str, what[old->kind]);
        diag_note(diag, old->loc, "declared here");
        return;
    }
    if (!old && is_axis(s, name.str)) {
        diag_error(diag, name.loc, "'%s' is an axis and cannot be the name of a tensor too", name.str);
        return;
    }
    DType dtype;
    if (!old && (dtype_parse(name.str, &dtype) || !strcmp(name.str, "training")))
        diag_error(diag, name.loc, "'%s' has a fixed meaning and cannot be a name", name.str);
    if (old && old->kind != SYM_GONE) return; // assigned anew
    if (old) *old = (Sym){name.str, kind, name.loc};
    else vec_push(s->f->arena, &s->syms, ((Sym){name.str, kind, name.loc}));
}

static void check_param(Scope *s, const Stmt *stmt) {
    Diag *diag = s->f->diag;
    check_shape(s, &stmt->param.shape);
    const Expr *init = stmt->param.init;
    if (init->kind == EXPR_CALL) {
        Str law = init->call.callee.str;
        const Args *args = &init->call.args;
        int need = !strcmp(law, "normal") ? 1 : !strcmp(law, "uniform") ? 2 : 0;
        for (int i = 0; i < args->n; i++) {
            if (args->at[i].key.str || args->at[i].over) need = 3;
            check_expr(s, args->at[i].value);
        }
        if (!need)
            diag_error(diag, init->loc,
                       "a parameter begins as a number, normal(std), uniform(least, most), zeros or ones");
        else if (args->n != need)
            diag_error(diag, init->loc,
                       need == 1 ? "normal takes the standard deviation" : "uniform takes its two ends");
    } else if (init->kind != EXPR_NAME || (strcmp(init->name, "zeros") && strcmp(init->name, "ones"))) {
        check_expr(s, init);
    }
    const Groups *groups = &stmt->param.groups;
    int listed = 0;
    for (int i = 0; i < groups->n; i++)
        for (int j = 0; j < groups->at[i].n; j++, listed++) {
            const Name axis = groups->at[i].at[j];
            bool known = false;
            for (int k = 0; k < stmt->param.shape.n; k++) known |= stmt->param.shape.at[k].str == axis.str;
            if (!known) diag_error(diag, axis.loc, "'%s' is not an axis of '%s'", axis.str, stmt->param.name.str);
            for (int k = 0; k <= i; k++)
                for (int m = 0; m < (k == i ? j : groups->at[k].n); m++)
                    if (groups->at[k].at[m].str == axis.str)
                        diag_error(diag, axis.loc, "axis '%s' is listed twice", axis.str);
        }
    if (stmt->param.has_groups && listed < stmt->param.shape.n)
        diag_error(diag, stmt->param.as.loc, "the stored shape of '%s' must hold each of its %d axes",
                   stmt->param.name.str, stmt->param.shape.n);
    define(s, stmt->param.name, SYM_PARAM);
}

static void check_stmts(Scope *s, const Stmts *body);

static void check_repeat(Scope *s, const Stmt *stmt) {
    check_axis(s, stmt->repeat.axis.str, stmt->repeat.axis.loc);
    if (s->repeats == REPEAT_DEPTH_MAX)
        diag_error(s->f->diag, stmt->loc, "repeat is nested more than %d deep", REPEAT_DEPTH_MAX);
    int before = s->syms.n;
    bool *was_gone = NEW_ARRAY(s->f->arena, bool, before ? before : 1);
    for (int i = 0; i < before; i++) was_gone[i] = s->syms.at[i].kind == SYM_GONE;
    s->repeats++;
    check_stmts(s, &stmt->repeat.body);
    s->repeats--;
    for (int i = 0; i < s->syms.n; i++)
        if (i >= before || was_gone[i]) s->syms.at[i].kind = SYM_GONE;
}

static void check_stmts(Scope *s, const Stmts *body) {
    Diag *diag = s->f->diag;
    for (int i = 0; i < body->n; i++) {
        const Stmt *stmt = body->at[i];
        switch (stmt->kind) {
        case STMT_PARAM: check_param(s, stmt); break;
        case STMT_INPUT: {
            DType dtype;
            if (s->block || s->repeats) diag_error(diag, stmt->loc, "inputs stand in the model, outside repeat");
            if (!dtype_parse(stmt->input.dtype.str, &dtype))
                diag_error(diag, stmt->input.dtype.loc, "unknown element type '%s': i32, f32 or bool",
                           stmt->input.dtype.str);
            else if (dtype != DT_I32 && dtype != DT_F32)
                diag_error(diag, stmt->input.dtype.loc, "not yet supported: inputs of %s", stmt->input.dtype.str);
            check_shape(s, &stmt->input.shape);
            for (int j = 0; j < stmt->input.names.n; j++) {
                const Name name = stmt->input.names.at[j];
                if (!strcmp(name.str, "seed") || !strcmp(name.str, "step"))
                    diag_error(diag, name.loc, "'%s' is an input every program has", name.str);
                define(s, name, SYM_INPUT);
            }
            break;
        }
        case STMT_ASSIGN:
            check_expr(s, stmt->assign.value);
            for (int j = 0; j < stmt->assign.names.n; j++) {
                for (int k = 0; k < j; k++)
                    if (stmt->assign.names.at[j].str == stmt->assign.names.at[k].str)
                        diag_error(diag, stmt->assign.names.at[j].loc, "'%s' is assigned twice at once",
                                   stmt->assign.names.at[j].str);
                define(s, stmt->assign.names.at[j], SYM_LOCAL);
            }
            break;
        case STMT_REPEAT: check_repeat(s, stmt); break;
        case STMT_RETURN:
            for (int j = 0; j < stmt->values.n; j++) check_expr(s, stmt->values.at[j]);
            if (!s->block) diag_error(diag, stmt->loc, "a model returns nothing: name the value 'loss'");
            else if (s->repeats) diag_error(diag, stmt->loc, "return stands outside repeat");
            else if (i + 1 < body->n) diag_error(diag, body->at[i + 1]->loc, "nothing may stand behind return");
            break;
        }
    }
}

static void check_block(Front *f, const BlockDecl *b) {
    Scope s = {.f = f, .block = b};
    if (builtin_find(b->name.str) && !b->is_std)
        diag_error(f->diag, b->name.loc, "'%s' is a function of the language: choose another name", b->name.str);
    for (int i = 0; i < b->formals.n; i++) {
        const Formal *formal = &b->formals.at[i];
        for (int j = 0; j < i; j++)
            if (b->formals.at[j].name.str == formal->name.str)
                diag_error(f->diag, formal->name.loc, "block '%s' has two parameters '%s'", b->name.str,
                           formal->name.str);
        if (formal->fallback) check_expr(&s, formal->fallback);
    }
    for (int i = 0; i < b->formals.n; i++)
        vec_push(f->arena, &s.syms, ((Sym){b->formals.at[i].name.str, SYM_FORMAL, b->formals.at[i].name.loc}));
    check_stmts(&s, &b->body);
    if (!b->body.n || b->body.at[b->body.n - 1]->kind != STMT_RETURN)
        diag_error(f->diag, b->name.loc, "block '%s' does not end in return", b->name.str);
}

// Depth-first over calls; b->mark: 0 not seen, 1 open, 2 done.
typedef struct Walk {
    Front *f;
    Vec(BlockDecl *) open;
} Walk;

static void walk_block(Walk *w, BlockDecl *b, Loc call);

static void walk_expr(Walk *w, const Expr *e, bool from_std) {
    switch (e->kind) {
    case EXPR_CALL: {
        BlockDecl *b = front_block(w->f, e->call.callee.str, from_std);
        if (b) walk_block(w, b, e->loc);
        for (int i = 0; i < e->call.args.n; i++) walk_expr(w, e->call.args.at[i].value, from_std);
        break;
    }
    case EXPR_OP:
        walk_expr(w, e->op.a, from_std);
        if (e->op.b) walk_expr(w, e->op.b, from_std);
        break;
    case EXPR_INDEX: walk_expr(w, e->index.x, from_std); break;
    default: break;
    }
}

static void walk_stmts(Walk *w, const Stmts *body, bool from_std) {
    for (int i = 0; i < body->n; i++) {
        const Stmt *s = body->at[i];
        if (s->kind == STMT_ASSIGN) walk_expr(w, s->assign.value, from_std);
        if (s->kind == STMT_REPEAT) walk_stmts(w, &s->repeat.body, from_std);
        for (int j = 0; s->kind == STMT_RETURN && j < s->values.n; j++) walk_expr(w, s->values.at[j], from_std);
    }
}

static void walk_block(Walk *w, BlockDecl *b, Loc call) {
    enum { DEPTH_MAX = 100 };
    if (b->mark == 2) return;
    if (b->mark == 1) {
        const char *chain = "";
        int from = 0;
        while (w->open.at[from] != b) from++;
        for (int i = from; i < w->open.n; i++)
            chain = arena_printf(w->f->arena, "%s%s -> ", chain, w->open.at[i]->name.str);
        diag_error(w->f->diag, call, "block '%s' calls itself (%s%s)", b->name.str, chain, b->name.str);
        return;
    }
    if (w->open.n == DEPTH_MAX) {
        diag_error(w->f->diag, call, "blocks call blocks more than %d deep", DEPTH_MAX);
        b->mark = 2;
        return;
    }
    b->mark = 1;
    vec_push(w->f->arena, &w->open, b);
    walk_stmts(w, &b->body, b->is_std);
    w->open.n--;
    b->mark = 2;
}

void check_names(Front *f) {
    for (int i = 0; i < f->blocks.n; i++) check_block(f, f->blocks.at[i]);
    Walk w = {.f = f};
    for (int i = 0; i < f->blocks.n; i++) walk_block(&w, f->blocks.at[i], f->blocks.at[i]->name.loc);
    if (!f->model) {
        diag_error(f->diag, f->sources.n ? f->sources.at[0]->loc : (Loc){0}, "this program has no model");
        return;
    }
    Scope s = {.f = f};
    check_stmts(&s, &f->model->body);
    const Sym *loss = find(&s, str_intern(f->strs, "loss"));
    if (!loss || loss->kind == SYM_GONE)
        diag_error(f->diag, f->model->name.loc, "model '%s' has no value named 'loss'", f->model->name.str);
}
