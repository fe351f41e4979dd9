// SPDX-License-Identifier: Apache-2.0
// Definitions, highlights and the outline of a document.
#include "runtime/json.h"
#include "tools/tgf_lsp_server.h"
#include <string.h>

const Occurrence *call_occurrence(Call *c, Project **out_program) {
    Server *s = c->server;
    Project *p = *out_program = project_of(s, c->document);
    const Source *source = p ? analysis_source(s, p->now, c->document->path) : NULL;
    int line, col;
    if (!source) return NULL;
    text_place(c->document->text, c->offset, &line, &col);
    return index_find(p->now->index, source->path, line, col);
}

const char *server_uri(Server *s, const char *path) {
    const Document *d = document_at(s, path);
    return d ? d->uri : uri_of_path(path, s->call);
}

static void put_location(Call *c, const char *path, const char *text, size_t size, Loc at) {
    fputs("{\"uri\":", c->out);
    json_put_string(c->out, server_uri(c->server, path));
    fputs(",\"range\":", c->out);
    put_range(c->out, text, size, at);
    fputc('}', c->out);
}

void answer_definition(Call *c) {
    Project *p;
    const Occurrence *o = call_occurrence(c, &p);
    const Def *def = o ? &p->now->index->defs.at[o->def] : NULL;
    const Source *source = def ? analysis_source_of(p->now, def->loc) : NULL;
    const char *path = source ? source_path(c->server, source) : NULL;
    if (path) put_location(c, path, source->text, source->size, def->loc);
    else fputs("null", c->out);
}

void answer_highlights(Call *c) {
    Project *p;
    const Occurrence *o = call_occurrence(c, &p);
    const Source *source = o ? analysis_source_of(p->now, o->loc) : NULL;
    bool first = true;
    fputc('[', c->out);
    for (int i = 0; o && i < p->now->index->at.n; i++) {
        const Occurrence *other = &p->now->index->at.at[i];
        if (other->def != o->def || strcmp(other->loc.file, o->loc.file)) continue;
        fputs(first ? "{\"range\":" : ",{\"range\":", c->out);
        put_range(c->out, source->text, source->size, other->loc);
        fprintf(c->out, ",\"kind\":%d}", other->makes ? 3 : 2);
        first = false;
    }
    fputc(']', c->out);
}

// ---- the outline

enum {
    SYMBOL_MODULE = 2,
    SYMBOL_PROPERTY = 7,
    SYMBOL_FIELD = 8,
    SYMBOL_FUNCTION = 12,
    SYMBOL_CONSTANT = 14,
    SYMBOL_OBJECT = 19,
    SYMBOL_STRUCT = 23
};

// One past the brace that closes the first one behind `from`; the end of the line when none opens on it.
static size_t end_of(const Source *s, size_t from) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = from; i < s->size; i++) {
        char ch = s->text[i];
        if (ch == '\n') quoted = false;
        if (ch == '"') quoted = !quoted;
        if (quoted) continue;
        if (ch == '#') {
            while (i < s->size && s->text[i] != '\n') i++;
            if (i == s->size) return i;
            ch = '\n';
        }
        if (ch == '\n' && !depth) return i;
        depth += (ch == '{') - (ch == '}');
        if (ch == '}' && depth <= 0) return i + 1;
    }
    return s->size;
}

static void open_symbol(Call *c, const Source *s, Name name, int kind, bool is_list, bool *first) {
    size_t start = text_offset_at(s->text, s->size, name.loc.line, is_list ? name.loc.col : 1);
    size_t from = text_offset_at(s->text, s->size, name.loc.line, name.loc.end_col);
    size_t end = is_list ? from : end_of(s, from);
    fprintf(c->out, "%s{\"name\":", *first ? "" : ",");
    *first = false;
    json_put_string(c->out, name.str);
    fprintf(c->out, ",\"kind\":%d,\"range\":", kind);
    put_positions(c->out, s->text, s->size, start, end);
    fputs(",\"selectionRange\":", c->out);
    put_range(c->out, s->text, s->size, name.loc);
    fputs(",\"children\":[", c->out);
}

static void close_symbol(Call *c) { fputs("]}", c->out); }

static void put_symbol(Call *c, const Source *s, Name name, int kind, bool *first) {
    open_symbol(c, s, name, kind, true, first);
    close_symbol(c);
}

static void put_stmts(Call *c, const Source *s, const Stmts *body, bool *first) {
    for (int i = 0; i < body->n; i++) {
        const Stmt *stmt = body->at[i];
        if (stmt->kind == STMT_PARAM) put_symbol(c, s, stmt->param.name, SYMBOL_FIELD, first);
        for (int j = 0; stmt->kind == STMT_INPUT && j < stmt->input.names.n; j++)
            put_symbol(c, s, stmt->input.names.at[j], SYMBOL_PROPERTY, first);
        if (stmt->kind == STMT_REPEAT) put_stmts(c, s, &stmt->repeat.body, first);
    }
}

void answer_symbols(Call *c) {
    Project *p = project_of(c->server, c->document);
    const Source *s = p ? analysis_source(c->server, p->now, c->document->path) : NULL;
    bool first = true, inner;
    fputc('[', c->out);
    for (int i = 0; s && i < s->decls.n; i++) {
        const Decl *d = &s->decls.at[i];
        inner = true;
        switch (d->kind) {
        case DECL_USE: break;
        case DECL_AXIS:
            for (int j = 0; j < d->axes.n; j++) put_symbol(c, s, d->axes.at[j].name, SYMBOL_CONSTANT, &first);
            break;
        case DECL_BLOCK:
            open_symbol(c, s, d->block->name, SYMBOL_FUNCTION, false, &first);
            put_stmts(c, s, &d->block->body, &inner);
            close_symbol(c);
            break;
        case DECL_MODEL:
            open_symbol(c, s, d->model->name, SYMBOL_STRUCT, false, &first);
            put_stmts(c, s, &d->model->body, &inner);
            close_symbol(c);
            break;
        case DECL_STRATEGY:
            open_symbol(c, s, d->strategy->name, SYMBOL_MODULE, false, &first);
            close_symbol(c);
            break;
        case DECL_TRAIN: {
            Name name = {"train", d->train->loc};
            name.loc.end_col = name.loc.col + 5;
            open_symbol(c, s, name, SYMBOL_OBJECT, false, &first);
            close_symbol(c);
            break;
        }
        }
    }
    fputc(']', c->out);
}
