// SPDX-License-Identifier: Apache-2.0
// dsl: a program's life, its messages, its scopes, and the whole of it as the parser would give it.
#include "frontend/dsl_core.h"
#include <ctype.h>
#include <stdlib.h>

static bool begin(TgfProgram *p) {
    if (ARENA_CAUGHT(&p->catch)) return false;
    Arena *a = arena_new();
    p->strs = strtable_new(a);
    p->diag = diag_new(a, p->said.file, false);
    p->parser = (Parser){.arena = a, .strs = p->strs, .diag = p->diag, .source = &p->source};
    p->top = p->scope = NEW(a, DslScope);
    p->source.path = str_intern(p->strs, "(program)");
    p->bad.program = p->bad_axis.program = p;
    arena_catch_end(&p->catch);
    p->arena = a;
    return true;
}

TgfProgram *tgf_program_new(void) {
    TgfProgram *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    if (memory_stream_open(&p->said) && begin(p)) return p;
    tgf_program_free(p);
    return NULL;
}

void tgf_program_free(TgfProgram *p) {
    if (!p) return;
    if (p->close) p->close(p->running);
    if (p->said.file) memory_stream_close(&p->said);
    free(p->said.text);
    arena_free(p->arena);
    free(p);
}

// ---- what happens around each call ----

bool dsl_alive(const TgfProgram *p) { return p && !p->no_memory; }
ArenaCatch *dsl_catch(TgfProgram *p) { return &p->catch; }
void dsl_no_memory(TgfProgram *p) { p->no_memory = true; }

void dsl_leave(TgfProgram *p) {
    arena_catch_end(&p->catch);
    if (fflush(p->said.file)) p->no_memory = true; // a message is lost
}

void dsl_here(TgfProgram *p, TgfSite at) {
    p->at = (Loc){str_intern(p->strs, at.file ? at.file : "(program)"), at.line > 0 ? at.line : 1, 0, 0};
    if (p->source.loc.file) return;
    p->source.loc = p->at;
    p->source.path = p->at.file;
}

Arena *dsl_arena(TgfProgram *p) { return p->arena; }
StrTable *dsl_strs(TgfProgram *p) { return p->strs; }
Diag *dsl_diag_begin(TgfProgram *p, Arena *a) { return diag_new(a, p->said.file, false); }

void dsl_diag_end(TgfProgram *p, Diag *d) {
    p->errors += diag_errors(d);
    p->internal |= diag_had_internal(d);
}

void *dsl_running(const TgfProgram *p) { return p->running; }

void dsl_set_running(TgfProgram *p, void *running, void (*close)(void *)) {
    if (p->close) p->close(p->running);
    p->running = running;
    p->close = close;
}

const char *tgf_program_messages(TgfProgram *p) {
    if (!p) return "";
    fflush(p->said.file); // what could be written, is
    return p->said.text;
}

int tgf_program_errors(const TgfProgram *p) { return p ? diag_errors(p->diag) + p->errors : 0; }

size_t dsl_said(TgfProgram *p) { return p && !fflush(p->said.file) ? p->said.size : 0; }

TgfStatus dsl_result(TgfProgram *p, bool ok, size_t said) {
    TgfStatus s = {TGF_OK, ""};
    if (!dsl_alive(p)) {
        s.code = TGF_MEMORY;
        snprintf(s.message, sizeof s.message, "out of memory");
    } else if (!ok) {
        s.code = p->internal ? TGF_INTERNAL : TGF_INVALID;
        const char *all = tgf_program_messages(p), *first = strlen(all) > said ? all + said : all;
        snprintf(s.message, sizeof s.message, "%.*s", (int)strcspn(first, "\n"), first);
    }
    return s;
}

TgfStatus dsl_status(const TgfProgram *p) { return dsl_result((TgfProgram *)p, !tgf_program_errors(p), 0); }

TgfStatus tgf_program_status(const TgfProgram *p) { return dsl_status(p); }

// ---- names ----

bool dsl_is_name(const char *text) {
    size_t n = 0;
    while (isalnum((unsigned char)text[n]) || text[n] == '_') n++;
    if (!n || text[n] || isdigit((unsigned char)*text) || n > NAME_MAX_BYTES) return false;
    return !name_is_keyword(text, n);
}

Name dsl_name(TgfProgram *p, const char *text, const char *what) {
    if (text && dsl_is_name(text)) return (Name){str_intern(p->strs, text), p->at};
    if (!text) DSL_ERROR(p, "%s needs a name, not NULL", what);
    else if (strlen(text) > NAME_MAX_BYTES)
        DSL_ERROR(p, "the name of %s is too long (at most %d bytes)", what, NAME_MAX_BYTES);
    else
        DSL_ERROR(p, "'%s' cannot be the name of %s: letters, digits and _ make a name, and no word of the language",
                  text, what);
    return (Name){0};
}

Name dsl_string(TgfProgram *p, const char *text, const char *what) {
    const char *wrong = NULL;
    size_t n = text ? strlen(text) : 0;
    if (!text) wrong = "is NULL";
    else if (n > STRING_MAX_BYTES) wrong = "is too long (at most 500 bytes)";
    else if (strpbrk(text, "\"\n")) wrong = "holds a quote or the end of a line";
    for (size_t i = 0; !wrong && i < n;) {
        int size = str_utf8(text + i, n - i);
        if (!size) wrong = "is not UTF-8 text";
        i += (size_t)size;
    }
    if (!wrong) return (Name){str_intern(p->strs, text), p->at};
    DSL_ERROR(p, "%s %s", what, wrong);
    return (Name){0};
}

// ---- scopes ----

const char *dsl_scope_text(TgfProgram *p, const DslScope *s) {
    static const char *const kinds[] = {"the top", "block", "model", "the repeat over", "strategy", "train"};
    if (!s->name.str) return kinds[s->kind];
    return arena_printf(p->arena, "%s '%s'", kinds[s->kind], s->name.str);
}

bool dsl_is_inside(const DslScope *inner, const DslScope *outer) {
    for (; inner; inner = inner->outer)
        if (inner == outer) return true;
    return false;
}

bool dsl_at_top(TgfProgram *p, const char *what) {
    if (p->scope == p->top) return true;
    DSL_ERROR(p, "%s stands at the top, not inside of %s", what, dsl_scope_text(p, p->scope));
    diag_note(p->diag, p->scope->name.loc, "it was opened here; tgf_end closes it");
    return false;
}

bool dsl_in_body(TgfProgram *p, const char *what) {
    if (p->scope->body) return true;
    if (p->scope == p->top) DSL_ERROR(p, "%s stands in a model or in a block; none is open", what);
    else DSL_ERROR(p, "%s stands in a model or in a block, not in %s", what, dsl_scope_text(p, p->scope));
    return false;
}

DslScope *dsl_open(TgfProgram *p, DslScopeKind kind, Name name) {
    DslScope *s = NEW(p->arena, DslScope);
    *s = (DslScope){.kind = kind, .name = name, .outer = p->scope, .body = p->scope->body};
    s->name.loc = p->at;
    if (kind == DSL_BLOCK || kind == DSL_MODEL) s->body = s;
    s->dropped = p->scope->dropped;
    p->scope = s;
    return s;
}

Stmt *dsl_stmt(TgfProgram *p, StmtKind kind) { return stmt_new(&p->parser, kind, p->at); }

void dsl_place(TgfProgram *p, Stmt *s) {
    if (p->scope->body->returned.file) {
        if (s->kind != STMT_RETURN) DSL_ERROR(p, "nothing may stand behind return");
        else DSL_ERROR(p, "a second return");
        diag_note(p->diag, p->scope->body->returned, "return is here");
        return;
    }
    vec_push(p->arena, &p->scope->placed, ((DslPlaced){++p->order, s}));
}

static void add_decl(TgfProgram *p, const DslScope *s, Decl d) {
    if (!s->dropped) vec_push(p->arena, &p->source.decls, d);
}

static void open_decl(TgfProgram *p, DslScopeKind kind, const char *name, const char *what) {
    Name named = {NULL, p->at};
    bool ok = dsl_at_top(p, what);
    if (kind != DSL_TRAIN) {
        named = dsl_name(p, name, what);
        ok &= named.str != NULL;
    }
    DslScope *s = dsl_open(p, kind, named);
    s->dropped |= !ok;
    if (s->body == s) vec_push(p->arena, &p->bodies, s);
    switch (kind) {
    case DSL_BLOCK: (s->block = NEW(p->arena, BlockDecl))->name = s->name; break;
    case DSL_MODEL: (s->model = NEW(p->arena, ModelDecl))->name = s->name; break;
    case DSL_STRATEGY: (s->strategy = NEW(p->arena, StrategyDecl))->name = s->name; break;
    default: (s->train = NEW(p->arena, TrainDecl))->loc = p->at;
    }
}

#define OPEN(function, kind, what)                                                                                     \
    void function(TgfSite at, TgfProgram *p, const char *name) {                                                       \
        DSL_CALL(p, at, );                                                                                             \
        open_decl(p, kind, name, what);                                                                                \
        dsl_leave(p);                                                                                                  \
    }
OPEN(tgf_block_at, DSL_BLOCK, "a block")
OPEN(tgf_model_at, DSL_MODEL, "a model")
OPEN(tgf_strategy_at, DSL_STRATEGY, "a strategy")

void tgf_train_at(TgfSite at, TgfProgram *p) {
    DSL_CALL(p, at, );
    open_decl(p, DSL_TRAIN, NULL, "train");
    dsl_leave(p);
}

static void end(TgfProgram *p) {
    DslScope *s = p->scope;
    if (s == p->top) {
        DSL_ERROR(p, "tgf_end, and nothing is open");
        return;
    }
    switch (s->kind) {
    case DSL_BLOCK:
        dsl_close_body(p, s, &s->block->body);
        add_decl(p, s, (Decl){.kind = DECL_BLOCK, .block = s->block});
        break;
    case DSL_MODEL:
        dsl_close_body(p, s, &s->model->body);
        add_decl(p, s, (Decl){.kind = DECL_MODEL, .model = s->model});
        break;
    case DSL_REPEAT: dsl_close_body(p, s, &s->repeat->repeat.body); break;
    case DSL_STRATEGY: add_decl(p, s, (Decl){.kind = DECL_STRATEGY, .strategy = s->strategy}); break;
    default: add_decl(p, s, (Decl){.kind = DECL_TRAIN, .train = s->train});
    }
    s->ended = p->at;
    p->scope = s->outer;
}

void tgf_end_at(TgfSite at, TgfProgram *p) {
    DSL_CALL(p, at, );
    end(p);
    dsl_leave(p);
}

static void use_file(TgfProgram *p, const char *path) {
    if (!dsl_at_top(p, "use")) return;
    Name name = dsl_string(p, path, "the path");
    if (name.str) vec_push(p->arena, &p->source.decls, ((Decl){.kind = DECL_USE, .use.path = name}));
}

void tgf_use_at(TgfSite at, TgfProgram *p, const char *path) {
    DSL_CALL(p, at, );
    use_file(p, path);
    dsl_leave(p);
}

// ---- axes ----

static TgfAxisHandle axis_new(TgfProgram *p, Name name) {
    if (!name.str) return &p->bad_axis;
    TgfAxisHandle x = NEW(p->arena, struct TgfAxis);
    *x = (struct TgfAxis){p, name.str, NULL};
    return x;
}

static TgfAxisHandle declare_axis(TgfProgram *p, const char *text, TgfArg extent) {
    bool ok = dsl_at_top(p, "an axis");
    Name name = dsl_name(p, text, "an axis");
    Expr *e = name.str && ok ? dsl_arg(p, &extent, NULL, "the extent") : NULL;
    AxisDecls axes = {0};
    if (e) {
        vec_push(p->arena, &axes, ((AxisDecl){name, e}));
        vec_push(p->arena, &p->source.decls, ((Decl){.kind = DECL_AXIS, .axes = axes}));
    }
    return axis_new(p, name);
}

TgfAxisHandle tgf_axis_at(TgfSite at, TgfProgram *p, const char *name, TgfArg extent) {
    DSL_CALL(p, at, NULL);
    TgfAxisHandle x = declare_axis(p, name, extent);
    dsl_leave(p);
    return x;
}

TgfAxisHandle tgf_axis_named_at(TgfSite at, TgfProgram *p, const char *name) {
    DSL_CALL(p, at, NULL);
    TgfAxisHandle x = axis_new(p, dsl_name(p, name, "an axis"));
    dsl_leave(p);
    return x;
}

// ---- the whole ----

const Source *dsl_source(TgfProgram *p) {
    if (diag_errors(p->diag)) return NULL;
    if (p->scope != p->top) { // no mistake yet: it may still be closed
        Diag *d = dsl_diag_begin(p, p->arena);
        for (const DslScope *s = p->scope; s != p->top; s = s->outer)
            diag_error(d, s->name.loc, "%s is still open: tgf_end closes it", dsl_scope_text(p, s));
        dsl_diag_end(p, d);
        return NULL;
    }
    for (int i = 0; i < p->bodies.n; i++) dsl_name_variables(p, p->bodies.at[i]);
    return &p->source;
}
