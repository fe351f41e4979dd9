// SPDX-License-Identifier: Apache-2.0
// The walk has the shape of check_names.c: the same scopes in the same order, without its complaints.
#include "frontend/index.h"
#include "frontend/builtins.h"
#include "frontend/front.h"
#include <stdlib.h>

typedef struct Sym {
    Str name;
    int def;
    bool gone; // made inside a repeat that has ended
} Sym;

typedef struct Walk {
    const Front *f;
    Arena *arena;
    Index *index;
    bool is_std; // inside std.tgf, which knows no program's axes
    Str owner;
    Vec(Sym) syms;
    int batch; // the axis that `train` declares, or -1
} Walk;

static int add_def(Walk *w, Def d) {
    d.owner = w->owner;
    d.is_std = w->is_std;
    vec_push(w->arena, &w->index->defs, d);
    return w->index->defs.n - 1;
}

static void add_at(Walk *w, Loc loc, int def, bool makes) {
    if (def >= 0 && loc.file && loc.end_col > loc.col)
        vec_push(w->arena, &w->index->at, ((Occurrence){loc, def, makes}));
}

static int find_def(const Walk *w, DefKind kind, Str name) {
    for (int i = 0; i < w->index->defs.n; i++)
        if (w->index->defs.at[i].kind == kind && w->index->defs.at[i].name == name) return i;
    return -1;
}

static void word_at(Walk *w, Name name) {
    if (!name.str) return;
    int def = find_def(w, DEF_WORD, name.str);
    add_at(w, name.loc, def >= 0 ? def : add_def(w, (Def){.kind = DEF_WORD, .name = name.str}), false);
}

static int axis_def(const Walk *w, Str name) { return w->is_std ? -1 : find_def(w, DEF_AXIS, name); }

static int block_def(const Walk *w, Str name) {
    const BlockDecl *b = front_block(w->f, name, w->is_std);
    for (int i = 0; b && i < w->index->defs.n; i++)
        if (w->index->defs.at[i].block == b && w->index->defs.at[i].kind == DEF_BLOCK) return i;
    return -1;
}

static int formal_def(const Walk *w, const BlockDecl *b, Str name) {
    for (int i = 0; i < b->formals.n; i++)
        for (int j = 0; b->formals.at[i].name.str == name && j < w->index->defs.n; j++)
            if (w->index->defs.at[j].formal == &b->formals.at[i]) return j;
    return -1;
}

static Sym *find_sym(Walk *w, Str name) {
    for (int i = w->syms.n - 1; i >= 0; i--)
        if (w->syms.at[i].name == name) return &w->syms.at[i];
    return NULL;
}

// A name where a value or an axis may stand.
static void name_at(Walk *w, Str name, Loc loc) {
    const Sym *sym = find_sym(w, name);
    int def = sym && !sym->gone ? sym->def : axis_def(w, name);
    DType dtype;
    if (def >= 0) add_at(w, loc, def, false);
    else if (dtype_parse(name, &dtype) || !strcmp(name, "training")) word_at(w, (Name){name, loc});
}

static void names_at(Walk *w, const Names *names) {
    for (int i = 0; i < names->n; i++) name_at(w, names->at[i].str, names->at[i].loc);
}

static void define(Walk *w, Name name, Def d) {
    Sym *sym = find_sym(w, name.str);
    if (sym && !sym->gone) {
        add_at(w, name.loc, sym->def, true);
        return;
    }
    if (!sym && axis_def(w, name.str) >= 0) { // a mistake: the name is the axis'
        add_at(w, name.loc, axis_def(w, name.str), false);
        return;
    }
    d.name = name.str;
    d.loc = name.loc;
    int def = add_def(w, d);
    if (sym) *sym = (Sym){name.str, def, false};
    else vec_push(w->arena, &w->syms, ((Sym){name.str, def, false}));
    add_at(w, name.loc, def, true);
}

// {axis} in a stored name: the axis of a repeat, by its own name even in a block that has a parameter of that name.
static void marks_at(Walk *w, Name as) {
    for (const char *p = as.str ? strchr(as.str, '{') : NULL; p; p = strchr(p + 1, '{')) {
        int size = (int)strcspn(p + 1, "}"), col = as.loc.col + 1 + (int)(p + 1 - as.str);
        if (p[1 + size] != '}') return;
        Str name = str_intern_n(w->f->strs, p + 1, (size_t)size);
        add_at(w, (Loc){as.loc.file, as.loc.line, col, col + size}, axis_def(w, name), false);
    }
}

static void expr_at(Walk *w, const Expr *e);

static void call_at(Walk *w, const Expr *e) {
    const Name callee = e->call.callee;
    int block = block_def(w, callee.str);
    if (block >= 0) {
        add_at(w, callee.loc, block, false);
    } else if (builtin_find(callee.str) || !strcmp(callee.str, "causal")) {
        int def = find_def(w, DEF_FUNCTION, callee.str);
        add_at(w, callee.loc, def >= 0 ? def : add_def(w, (Def){.kind = DEF_FUNCTION, .name = callee.str}), false);
    }
    for (int i = 0; i < e->call.args.n; i++) {
        const Arg *a = &e->call.args.at[i];
        if (a->key.str && block >= 0)
            add_at(w, a->key.loc, formal_def(w, w->index->defs.at[block].block, a->key.str), false);
        else if (a->key.str) word_at(w, a->key);
        expr_at(w, a->value);
    }
    marks_at(w, e->call.as);
}

static void expr_at(Walk *w, const Expr *e) {
    if (e->depth > EXPR_DEPTH_MAX) return; // was reported
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING: break;
    case EXPR_NAME: name_at(w, e->name, e->loc); break;
    case EXPR_CALL: call_at(w, e); break;
    case EXPR_OP:
        expr_at(w, e->op.a);
        if (e->op.b) expr_at(w, e->op.b);
        break;
    case EXPR_INDEX:
        expr_at(w, e->index.x);
        for (int i = 0; i < e->index.pieces.n; i++) {
            const Piece *p = &e->index.pieces.at[i];
            names_at(w, &p->from);
            names_at(w, &p->to);
            if (p->at) expr_at(w, p->at);
        }
        break;
    case EXPR_TUPLE:
        for (int i = 0; i < e->tuple.n; i++) expr_at(w, e->tuple.at[i]);
        break;
    }
}

// normal(0.02), zeros: a law's name is a word; settings of recipes are called alike.
static void law_at(Walk *w, const Expr *e) {
    if (e->kind == EXPR_NAME && (!strcmp(e->name, "zeros") || !strcmp(e->name, "ones"))) {
        word_at(w, (Name){e->name, e->loc});
    } else if (e->kind == EXPR_CALL) {
        word_at(w, e->call.callee);
        for (int i = 0; i < e->call.args.n; i++) {
            word_at(w, e->call.args.at[i].key);
            law_at(w, e->call.args.at[i].value);
        }
    } else {
        expr_at(w, e);
    }
}

static void stmts_at(Walk *w, const Stmts *body);

static void repeat_at(Walk *w, const Stmt *s) {
    name_at(w, s->repeat.axis.str, s->repeat.axis.loc);
    marks_at(w, s->repeat.as);
    int before = w->syms.n;
    bool *was_gone = NEW_ARRAY(w->arena, bool, before + 1);
    for (int i = 0; i < before; i++) was_gone[i] = w->syms.at[i].gone;
    stmts_at(w, &s->repeat.body);
    for (int i = 0; i < w->syms.n; i++)
        if (i >= before || was_gone[i]) w->syms.at[i].gone = true;
}

static void stmts_at(Walk *w, const Stmts *body) {
    for (int i = 0; i < body->n; i++) {
        const Stmt *s = body->at[i];
        switch (s->kind) {
        case STMT_PARAM:
            names_at(w, &s->param.shape);
            law_at(w, s->param.init);
            marks_at(w, s->param.as);
            for (int j = 0; j < s->param.groups.n; j++) names_at(w, &s->param.groups.at[j]);
            define(w, s->param.name, (Def){.kind = DEF_PARAM, .stmt = s});
            break;
        case STMT_INPUT:
            word_at(w, s->input.dtype);
            names_at(w, &s->input.shape);
            for (int j = 0; j < s->input.names.n; j++)
                define(w, s->input.names.at[j], (Def){.kind = DEF_INPUT, .stmt = s});
            break;
        case STMT_ASSIGN:
            expr_at(w, s->assign.value);
            for (int j = 0; j < s->assign.names.n; j++)
                define(w, s->assign.names.at[j], (Def){.kind = DEF_VARIABLE, .stmt = s});
            break;
        case STMT_REPEAT: repeat_at(w, s); break;
        case STMT_RETURN:
            for (int j = 0; j < s->values.n; j++) expr_at(w, s->values.at[j]);
            break;
        }
    }
}

static void block_at(Walk *w, const BlockDecl *b) {
    w->owner = b->name.str;
    w->is_std = b->is_std;
    w->syms.n = 0;
    add_at(w, b->name.loc, block_def(w, b->name.str), true);
    for (int i = 0; i < b->formals.n; i++)
        if (b->formals.at[i].fallback) expr_at(w, b->formals.at[i].fallback);
    for (int i = 0; i < b->formals.n; i++) {
        int def = formal_def(w, b, b->formals.at[i].name.str);
        vec_push(w->arena, &w->syms, ((Sym){b->formals.at[i].name.str, def, false}));
        add_at(w, b->formals.at[i].name.loc, def, true);
    }
    stmts_at(w, &b->body);
    w->owner = NULL;
    w->is_std = false;
    w->syms.n = 0;
}

static int mesh_def(const Walk *w, const StrategyDecl *s, Str name) {
    for (int i = 0; i < w->index->defs.n; i++) {
        const Def *d = &w->index->defs.at[i];
        if (d->kind == DEF_MESH && d->strategy == s && d->name == name) return i;
    }
    return -1;
}

static void options_at(Walk *w, const Line *l) {
    for (int i = 0; i < l->options.n; i++) {
        const Option *o = &l->options.at[i];
        bool is_head = o->key.loc.line == l->head.loc.line && o->key.loc.col == l->head.loc.col;
        if (!is_head) word_at(w, o->key);
        bool is_word = !o->quoted && (*o->value.str < '0' || *o->value.str > '9' || !strcmp(o->value.str, "1f1b"));
        if (is_word) word_at(w, o->value);
    }
}

static void strategy_at(Walk *w, const StrategyDecl *s, int def) {
    add_at(w, s->name.loc, def, true);
    w->owner = s->name.str;
    for (int i = 0; i < s->lines.n; i++) { // the mesh may stand anywhere
        const Line *l = &s->lines.at[i];
        for (int j = 0; !strcmp(l->head.str, "mesh") && j < l->options.n; j++) {
            const Name key = l->options.at[j].key;
            if (mesh_def(w, s, key.str) < 0)
                add_def(w, (Def){.kind = DEF_MESH, .name = key.str, .loc = key.loc, .strategy = s});
        }
    }
    for (int i = 0; i < s->lines.n; i++) {
        const Line *l = &s->lines.at[i];
        bool is_mesh = !strcmp(l->head.str, "mesh"), is_split = !strcmp(l->head.str, "split");
        bool recomputes = !strcmp(l->head.str, "recompute");
        word_at(w, l->head);
        for (int j = 0; j < l->names.n; j++) {
            const Name name = l->names.at[j];
            int def_of = is_split ? axis_def(w, name.str) : recomputes ? block_def(w, name.str) : -1;
            if (def_of >= 0) add_at(w, name.loc, def_of, false);
            else if (!is_split) word_at(w, name);
        }
        for (int j = 0; j < l->over.n; j++) add_at(w, l->over.at[j].loc, mesh_def(w, s, l->over.at[j].str), false);
        if (!is_mesh) options_at(w, l);
        for (int j = 0; is_mesh && j < l->options.n; j++)
            add_at(w, l->options.at[j].key.loc, mesh_def(w, s, l->options.at[j].key.str), true);
    }
    w->owner = NULL;
}

static void train_at(Walk *w, const TrainDecl *t) {
    for (int i = 0; i < t->entries.n; i++) {
        const Entry *e = &t->entries.at[i];
        bool is_batch = w->batch >= 0 && !strcmp(e->head.str, "batch");
        if (is_batch) add_at(w, e->head.loc, w->batch, true);
        else word_at(w, e->head);
        word_at(w, e->word);
        // no_decay lists parameters as they are stored: none of the program's names.
        for (int j = 0; j < e->values.n && strcmp(e->head.str, "no_decay"); j++) law_at(w, e->values.at[j]);
        for (int j = 0; j < e->options.n; j++) {
            word_at(w, e->options.at[j].key);
            if (!e->options.at[j].key.str || strcmp(e->options.at[j].key.str, "no_decay"))
                law_at(w, e->options.at[j].value);
        }
    }
}

// What may be used in front of where it is made: axes, blocks and their parameters.
static void declare(Walk *w) {
    const Front *f = w->f;
    for (int i = 0; i < f->axes.n; i++) {
        const AxisDecl *a = &f->axes.at[i];
        if (find_def(w, DEF_AXIS, a->name.str) < 0)
            add_def(w, (Def){.kind = DEF_AXIS, .name = a->name.str, .loc = a->name.loc, .axis = a});
    }
    Str batch = str_intern(f->strs, "batch");
    if (find_def(w, DEF_AXIS, batch) < 0) {
        Loc loc = {0};
        for (int i = 0; f->train && i < f->train->entries.n; i++)
            if (f->train->entries.at[i].head.str == batch) loc = f->train->entries.at[i].head.loc;
        w->batch = add_def(w, (Def){.kind = DEF_AXIS, .name = batch, .loc = loc});
    }
    for (int i = 0; i < f->blocks.n; i++) {
        const BlockDecl *b = f->blocks.at[i];
        w->is_std = b->is_std;
        add_def(w, (Def){.kind = DEF_BLOCK, .name = b->name.str, .loc = b->name.loc, .block = b});
        w->owner = b->name.str;
        for (int j = 0; j < b->formals.n; j++) {
            const Formal *formal = &b->formals.at[j];
            add_def(w, (Def){.kind = DEF_FORMAL, .name = formal->name.str, .loc = formal->name.loc, .formal = formal});
        }
        w->owner = NULL;
    }
    w->is_std = false;
}

static void source_at(Walk *w, const Source *source) {
    for (int i = 0; i < source->decls.n; i++) {
        const Decl *d = &source->decls.at[i];
        switch (d->kind) {
        case DECL_USE: {
            Str path = str_intern(w->f->strs, path_joined(w->arena, source->path, d->use.path.str));
            add_at(w, d->use.path.loc, add_def(w, (Def){.kind = DEF_FILE, .name = path, .loc = {path, 1, 1, 0}}),
                   false);
            break;
        }
        case DECL_AXIS:
            for (int j = 0; j < d->axes.n; j++) {
                expr_at(w, d->axes.at[j].extent);
                add_at(w, d->axes.at[j].name.loc, axis_def(w, d->axes.at[j].name.str), true);
            }
            break;
        case DECL_BLOCK: block_at(w, d->block); break;
        case DECL_MODEL: {
            const ModelDecl *m = d->model;
            Def def = {.kind = DEF_MODEL, .name = m->name.str, .loc = m->name.loc, .model = m};
            add_at(w, m->name.loc, add_def(w, def), true);
            w->owner = m->name.str;
            w->syms.n = 0;
            stmts_at(w, &m->body);
            w->syms.n = 0;
            w->owner = NULL;
            break;
        }
        case DECL_STRATEGY: {
            const StrategyDecl *s = d->strategy;
            Def def = {.kind = DEF_STRATEGY, .name = s->name.str, .loc = s->name.loc, .strategy = s};
            strategy_at(w, s, add_def(w, def));
            break;
        }
        case DECL_TRAIN: train_at(w, d->train); break;
        }
    }
}

static int place_order(const void *a, const void *b) {
    const Occurrence *x = a, *y = b;
    int files = x->loc.file == y->loc.file ? 0 : strcmp(x->loc.file, y->loc.file);
    return files ? files : x->loc.line != y->loc.line ? x->loc.line - y->loc.line : x->loc.col - y->loc.col;
}

Index *index_make(const FrontendResult *program, Arena *arena) {
    Walk w = {.f = program->front, .arena = arena, .index = NEW(arena, Index), .batch = -1};
    declare(&w);
    for (int i = 0; i < w.f->sources.n; i++) source_at(&w, w.f->sources.at[i]);
    for (int i = 0; i < w.f->blocks.n; i++)
        if (w.f->blocks.at[i]->is_std) block_at(&w, w.f->blocks.at[i]);
    if (w.index->at.n) qsort(w.index->at.at, (size_t)w.index->at.n, sizeof *w.index->at.at, place_order);
    return w.index;
}

const Occurrence *index_find(const Index *index, const char *file, int line, int col) {
    const Occurrence *behind = NULL;
    for (int i = 0; i < index->at.n; i++) {
        const Occurrence *o = &index->at.at[i];
        if (o->loc.line != line || strcmp(o->loc.file, file)) continue;
        if (col >= o->loc.col && col < o->loc.end_col) return o;
        if (col == o->loc.end_col) behind = o;
    }
    return behind;
}
