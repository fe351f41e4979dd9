// SPDX-License-Identifier: Apache-2.0
// dsl_value: what a handle stands for where it is used, and which values become variables of their own.
#include "frontend/dsl_core.h"
#include <stdlib.h>

// A value this deep becomes a variable where it can: chains that a program makes may be longer than EXPR_DEPTH_MAX.
enum { DEPTH_ALONE = 100 };

typedef TgfTensorHandle Handle;

static Handle value_new(TgfProgram *p, DslValueKind kind) {
    Handle x = NEW(p->arena, struct TgfValue);
    x->program = p;
    x->kind = kind;
    x->loc = p->at;
    x->scope = p->scope;
    x->order = ++p->order;
    return x;
}

Handle dsl_expr_value(TgfProgram *p, Expr *made) {
    Handle x = value_new(p, DSL_EXPR);
    x->expr = x->made = made;
    return x;
}

static bool is_gone(const DslScope *s) {
    for (; s; s = s->outer)
        if (s->ended.file) return true;
    return false;
}

static DslVar *find_var(const DslScope *body, Str name) {
    for (int i = body->vars.n - 1; i >= 0; i--)
        if (body->vars.at[i]->name == name) return is_gone(body->vars.at[i]->scope) ? NULL : body->vars.at[i];
    return NULL;
}

Handle dsl_name_value(TgfProgram *p, Str name) {
    DslVar *v = find_var(p->scope->body, name);
    if (!v) {
        v = NEW(p->arena, DslVar);
        v->name = name;
        v->scope = p->scope;
        vec_push(p->arena, &p->scope->body->vars, v);
    }
    v->set = p->at;
    Handle x = value_new(p, DSL_NAME);
    x->var = v;
    x->version = ++v->version;
    return x;
}

static Expr *name_expr(TgfProgram *p, Str name) {
    Expr *e = expr_new(&p->parser, EXPR_NAME, p->at);
    e->name = name;
    return e;
}

// Whether the variable still has the value, and can be seen here.
static bool is_current(const TgfProgram *p, Handle x) {
    return x->var->version == x->version && dsl_is_inside(p->scope, x->var->scope);
}

// Whether what the expression reads has been set anew since.
static bool is_stale(const TgfProgram *p, Handle x) {
    for (int i = 0; i < x->reads.n; i++) {
        Handle part = x->reads.at[i];
        if (part->kind == DSL_NAME ? !is_current(p, part) : !part->stmt && is_stale(p, part)) return true;
    }
    return false;
}

// Makes it a variable, set at its place. Those who have its node have the variable's name from then on.
static void become_variable(TgfProgram *p, Handle x) {
    Expr *value = expr_new(&p->parser, EXPR_NAME, x->loc);
    *value = *x->made;
    if (x->used) {
        x->expr->kind = EXPR_NAME;
        x->expr->depth = 1;
        x->expr->loc = x->used_at;
        vec_push(p->arena, &x->names, x->expr);
    }
    x->made = value;
    Stmt *s = stmt_new(&p->parser, STMT_ASSIGN, x->loc);
    s->assign.value = value;
    vec_push(p->arena, &s->assign.names, ((Name){NULL, x->loc})); // dsl_name_variables
    vec_push(p->arena, &x->scope->placed, ((DslPlaced){x->order, s}));
    vec_push(p->arena, &x->scope->body->variables, x);
    x->stmt = s;
}

static Expr *use_variable(TgfProgram *p, Handle x) {
    Expr *e = name_expr(p, "");
    vec_push(p->arena, &x->names, e);
    return e;
}

static void refuse_gone(TgfProgram *p, const DslScope *s, Loc made, const char *what) {
    while (!s->ended.file) s = s->outer;
    DSL_ERROR(p, "%s was made in %s, which has ended", what, dsl_scope_text(p, s));
    diag_note(p->diag, made, "it was made here");
    diag_note(p->diag, s->ended, "%s ended here", dsl_scope_text(p, s));
}

static void reads(TgfProgram *p, Handle user, Handle part) {
    if (user) vec_push(p->arena, &user->reads, part);
}

bool dsl_is_orphan(TgfProgram *p, Handle x) {
    if (!x || x->kind != DSL_BAD || x->program || x->used) return false;
    Loc at = {str_intern(p->strs, x->orphan.file ? x->orphan.file : "(program)"), x->orphan.line, 0, 0};
    diag_error(p->diag, at, "no argument of '%s' says which program this belongs to: give it the program, too",
               x->callee ? x->callee : "(null)");
    x->used = true; // said once
    return true;
}

static bool may_use(TgfProgram *p, Handle x, const char *what) {
    if (!x) {
        DSL_ERROR(p, "%s is NULL: no value", what);
        return false;
    }
    if (x->kind == DSL_BAD) return dsl_is_orphan(p, x), false;
    if (x->program != p) {
        DSL_ERROR(p, "%s is a value of another program", what);
        return false;
    }
    const DslScope *of = x->kind == DSL_NAME ? x->var->scope : x->scope;
    if (is_gone(of) && !x->constant) {
        refuse_gone(p, of, x->kind == DSL_NAME ? x->var->set : x->loc, what);
        return false;
    }
    if (x->kind == DSL_NAME && x->var->version != x->version) {
        DSL_ERROR(p, "%s is an earlier value of '%s', which has another by now", what, x->var->name);
        diag_note(p->diag, x->loc, "it was set here");
        diag_note(p->diag, x->var->set, "and set anew here; give a value that is needed longer a name of its own");
        return false;
    }
    if (x->unpacked) {
        DSL_ERROR(p, "%s was taken apart already: use its parts", what);
        diag_note(p->diag, x->used_at, "it was taken apart here");
        return false;
    }
    return true;
}

Expr *dsl_use(TgfProgram *p, Handle x, Handle user, const char *what) {
    if (!may_use(p, x, what)) return NULL;
    if (x->kind == DSL_NAME) {
        reads(p, user, x);
        return name_expr(p, x->var->name);
    }
    if (x->constant || !x->scope->body) return x->expr; // nothing in it changes
    // In a repeat inside, the variable may be carried: from the second turn on it has another value.
    if (!x->stmt && x->named && x->named->scope == p->scope && is_current(p, x->named)) {
        reads(p, user, x->named);
        return name_expr(p, x->named->var->name);
    }
    bool alone = x->used || x->scope != p->scope || x->expr->depth >= DEPTH_ALONE || is_stale(p, x);
    if (!x->stmt && alone) become_variable(p, x);
    if (x->stmt) return use_variable(p, x);
    x->used = true;
    x->used_at = p->at;
    reads(p, user, x);
    return x->expr;
}

Expr *dsl_use_once(TgfProgram *p, Handle x, const char *what) {
    if (!may_use(p, x, what)) return NULL;
    if (x->kind == DSL_NAME || x->made->kind != EXPR_CALL) return dsl_use(p, x, NULL, what);
    for (int i = 0; i < x->reads.n; i++)
        if (x->reads.at[i]->kind == DSL_NAME && !may_use(p, x->reads.at[i], what)) return NULL;
    return x->expr;
}

Name dsl_axis_name(TgfProgram *p, TgfAxisHandle x, const char *what) {
    if (!x) DSL_ERROR(p, "%s is NULL: no axis", what);
    else if (!x->name) return (Name){0};
    else if (x->program != p) DSL_ERROR(p, "%s is an axis of another program", what);
    else if (x->block && x->block->ended.file) refuse_gone(p, x->block, x->block->name.loc, what);
    else return (Name){x->name, p->at};
    return (Name){0};
}

Expr *dsl_use_axis(TgfProgram *p, TgfAxisHandle x, const char *what) {
    Name name = dsl_axis_name(p, x, what);
    return name.str ? name_expr(p, name.str) : NULL;
}

static int by_order(const void *a, const void *b) {
    const DslPlaced *x = a, *y = b;
    return x->order < y->order ? -1 : x->order > y->order;
}

void dsl_close_body(TgfProgram *p, DslScope *s, Stmts *out) {
    if (s->placed.n) qsort(s->placed.at, (size_t)s->placed.n, sizeof *s->placed.at, by_order);
    for (int i = 0; i < s->placed.n; i++) vec_push(p->arena, out, s->placed.at[i].stmt);
}

static int by_place(const void *a, const void *b) {
    const Handle x = *(const Handle *)a, y = *(const Handle *)b;
    return x->order < y->order ? -1 : x->order > y->order;
}

static bool is_taken(const TgfProgram *p, const DslScope *body, Str name) {
    for (int i = 0; i < body->vars.n; i++)
        if (body->vars.at[i]->name == name) return true;
    for (int i = 0; body->kind == DSL_BLOCK && i < body->block->formals.n; i++)
        if (body->block->formals.at[i].name.str == name) return true;
    for (int i = 0; i < p->source.decls.n; i++)
        for (int j = 0; p->source.decls.at[i].kind == DECL_AXIS && j < p->source.decls.at[i].axes.n; j++)
            if (p->source.decls.at[i].axes.at[j].name.str == name) return true;
    return false;
}

void dsl_name_variables(TgfProgram *p, const DslScope *body) {
    int count = 0;
    if (body->variables.n) qsort(body->variables.at, (size_t)body->variables.n, sizeof(Handle), by_place);
    for (int i = 0; i < body->variables.n; i++) {
        Handle x = body->variables.at[i];
        Str name;
        do name = str_internf(p->strs, "t%d", ++count);
        while (is_taken(p, body, name));
        x->stmt->assign.names.at[0].str = name;
        for (int j = 0; j < x->names.n; j++) x->names.at[j]->name = name;
    }
}
