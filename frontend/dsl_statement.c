// SPDX-License-Identifier: Apache-2.0
// dsl_statement: what stands in a model or a block.
#include "frontend/dsl_core.h"

typedef TgfTensorHandle Handle;

// ---- a block's parameters ----

static bool add_formal(TgfProgram *p, Name name, Expr *fallback) {
    DslScope *s = p->scope;
    if (s->kind != DSL_BLOCK) {
        DSL_ERROR(p, "a parameter of a block stands in a block, first; here is %s", dsl_scope_text(p, s));
        return false;
    }
    if (s->placed.n) {
        DSL_ERROR(p, "the parameters of a block stand in front of its statements");
        diag_note(p->diag, s->placed.at[0].stmt->loc, "the first statement is here");
        return false;
    }
    vec_push(p->arena, &s->block->formals, ((Formal){name, fallback}));
    return true;
}

static Handle formal(TgfProgram *p, const char *text, TgfArg fallback) {
    Name name = dsl_name(p, text, "a parameter");
    Expr *e = NULL;
    if (!name.str) return &p->bad;
    if (fallback.kind != TGF_ARG_NONE && !(e = dsl_arg(p, &fallback, NULL, "the default"))) return &p->bad;
    return add_formal(p, name, e) ? dsl_name_value(p, name.str) : &p->bad;
}

Handle tgf_formal_at(TgfSite at, TgfProgram *p, const char *name, TgfArg fallback) {
    DSL_CALL(p, at, NULL);
    Handle x = formal(p, name, fallback);
    dsl_leave(p);
    return x;
}

static TgfAxisHandle formal_axis(TgfProgram *p, const char *text) {
    Name name = dsl_name(p, text, "a parameter");
    if (!name.str || !add_formal(p, name, NULL)) return &p->bad_axis;
    TgfAxisHandle x = NEW(p->arena, struct TgfAxis);
    *x = (struct TgfAxis){p, name.str, p->scope};
    return x;
}

TgfAxisHandle tgf_formal_axis_at(TgfSite at, TgfProgram *p, const char *name) {
    DSL_CALL(p, at, NULL);
    TgfAxisHandle x = formal_axis(p, name);
    dsl_leave(p);
    return x;
}

static void add_return(TgfProgram *p, int n, const TgfArg *values) {
    if (!dsl_in_body(p, "return")) return;
    Stmt *s = dsl_stmt(p, STMT_RETURN);
    bool ok = true;
    for (int i = 0; i < n; i++) {
        if (values[i].kind == TGF_ARG_NONE) continue;
        Expr *e = dsl_arg(p, &values[i], NULL, arena_printf(p->arena, "value %d of return", i + 1));
        ok &= e != NULL;
        if (e) vec_push(p->arena, &s->values, e);
    }
    if (ok && !s->values.n) DSL_ERROR(p, "return needs a value");
    dsl_place(p, s); // even without values: the block has its end
    if (p->scope->body == p->scope) p->scope->returned = p->at;
}

void tgf_return_at(TgfSite at, TgfProgram *p, int n, const TgfArg *values) {
    DSL_CALL(p, at, );
    add_return(p, n, values);
    dsl_leave(p);
}

// ---- inputs, parameters ----

static Handle input(TgfProgram *p, const char *text, const char *type, int n, const TgfArg *axes) {
    Names shape = {0};
    if (!dsl_in_body(p, "an input")) return &p->bad;
    Name name = dsl_name(p, text, "an input"), dtype = dsl_name(p, type, "an element type");
    if (!name.str || !dtype.str || !dsl_axes(p, n, axes, "an input", &shape)) return &p->bad;
    Stmt *s = dsl_stmt(p, STMT_INPUT);
    vec_push(p->arena, &s->input.names, name);
    s->input.dtype = dtype;
    s->input.shape = shape;
    dsl_place(p, s);
    return dsl_name_value(p, name.str);
}

Handle tgf_input_at(TgfSite at, TgfProgram *p, const char *name, const char *type, int n, const TgfArg *axes) {
    DSL_CALL(p, at, NULL);
    Handle x = input(p, name, type, n, axes);
    dsl_leave(p);
    return x;
}

static Expr *initial_value(TgfProgram *p, const TgfArg *a) {
    static const char *const what = "the initial value";
    if (a->kind == TGF_ARG_TENSOR) return dsl_use_once(p, a->tensor, what);
    if (a->kind != TGF_ARG_TEXT || !a->text || (strcmp(a->text, "zeros") && strcmp(a->text, "ones")))
        return dsl_arg(p, a, NULL, what);
    Expr *e = expr_new(&p->parser, EXPR_NAME, p->at);
    e->name = str_intern(p->strs, a->text);
    return e;
}

static Handle param(TgfProgram *p, const char *text, const TgfArg *initial, int n, const TgfArg *axes) {
    Names shape = {0};
    if (!dsl_in_body(p, "a param")) return &p->bad;
    Name name = dsl_name(p, text, "a param");
    if (!name.str || !dsl_axes(p, n, axes, "a param", &shape)) return &p->bad;
    Expr *e = initial_value(p, initial);
    if (!e) return &p->bad;
    Stmt *s = dsl_stmt(p, STMT_PARAM);
    s->param.name = name;
    s->param.shape = shape;
    s->param.init = e;
    dsl_place(p, s);
    Handle x = dsl_name_value(p, name.str);
    x->stmt = s;
    return x;
}

Handle tgf_param_at(TgfSite at, TgfProgram *p, const char *name, TgfArg initial, int n, const TgfArg *axes) {
    DSL_CALL(p, at, NULL);
    Handle x = param(p, name, &initial, n, axes);
    dsl_leave(p);
    return x;
}

// ---- variables ----

static Handle let(TgfProgram *p, const char *text, const TgfArg *value) {
    if (!dsl_in_body(p, "an assignment")) return &p->bad;
    Name name = dsl_name(p, text, "a variable");
    Expr *e = name.str ? dsl_arg(p, value, NULL, "the value") : NULL;
    if (!e) return &p->bad;
    Stmt *s = dsl_stmt(p, STMT_ASSIGN);
    vec_push(p->arena, &s->assign.names, name);
    s->assign.value = e;
    dsl_place(p, s);
    Handle x = dsl_name_value(p, name.str);
    if (value->kind == TGF_ARG_TENSOR && value->tensor->kind == DSL_EXPR && e == value->tensor->expr &&
        value->tensor->used)
        value->tensor->named = x;
    return x;
}

Handle tgf_let_at(TgfSite at, TgfProgram *p, const char *name, TgfArg value) {
    DSL_CALL(p, at, NULL);
    Handle x = let(p, name, &value);
    dsl_leave(p);
    return x;
}

static bool unpack(TgfProgram *p, const TgfArg *value, int n, const char *const *names, Handle *const *out) {
    if (!dsl_in_body(p, "an assignment")) return false;
    if (n < 1 || !names) {
        DSL_ERROR(p, "a value is taken apart into at least one name");
        return false;
    }
    Stmt *s = dsl_stmt(p, STMT_ASSIGN);
    for (int i = 0; i < n; i++) {
        Name name = dsl_name(p, names[i], "a variable");
        if (!name.str) return false;
        vec_push(p->arena, &s->assign.names, name);
    }
    if (!(s->assign.value = dsl_arg(p, value, NULL, "the value"))) return false;
    dsl_place(p, s);
    for (int i = 0; i < n; i++) {
        Handle x = dsl_name_value(p, s->assign.names.at[i].str);
        if (out && out[i]) *out[i] = x;
    }
    if (value->kind == TGF_ARG_TENSOR && value->tensor->kind == DSL_EXPR && n > 1) {
        value->tensor->unpacked = true;
        value->tensor->used_at = p->at;
    }
    return true;
}

void tgf_unpack_at(TgfSite at, TgfProgram *p, TgfArg value, int n, const char *const *names, Handle *const *out) {
    for (int i = 0; out && i < n; i++)
        if (out[i]) *out[i] = p ? &p->bad : NULL;
    DSL_CALL(p, at, );
    unpack(p, &value, n, names, out);
    dsl_leave(p);
}

// ---- repeat ----

static void repeat(TgfProgram *p, TgfAxisHandle axis, const char *as) {
    bool ok = dsl_in_body(p, "repeat");
    Name name = dsl_axis_name(p, axis, "the axis of repeat"), prefix = {0};
    if (as) prefix = dsl_string(p, as, "the name behind 'as'");
    Stmt *s = dsl_stmt(p, STMT_REPEAT);
    s->repeat.axis = name;
    s->repeat.as = prefix;
    if (ok && name.str) dsl_place(p, s);
    DslScope *scope = dsl_open(p, DSL_REPEAT, name);
    scope->repeat = s;
    if (!ok) scope->dropped = true;
}

void tgf_repeat_at(TgfSite at, TgfProgram *p, TgfAxisHandle axis, const char *as) {
    DSL_CALL(p, at, );
    repeat(p, axis, as);
    dsl_leave(p);
}
