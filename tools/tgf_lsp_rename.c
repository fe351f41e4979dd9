// SPDX-License-Identifier: Apache-2.0
// References and renaming, in all programs near the one at hand that have the same definition. A new name is tried
// before it is answered: every program is read again with it, must have no more mistakes than before, and each name in
// it must mean what it meant.
#include "runtime/json.h"
#include "tools/tgf_lsp_server.h"
#include <stdlib.h>
#include <string.h>

typedef struct Place { // of the name, once
    const char *path;  // normal
    const char *text;  // of the file; in an analysis
    size_t size, from, to;
    Loc loc;
    bool makes;
} Place;

typedef struct Renaming {
    Server *server;
    const Def *def;
    const char *def_path; // of its file, normal
    Vec(Place) places;
    Vec(Analysis *) programs; // that have the definition
} Renaming;

static bool is_same(Server *s, const Analysis *a, const Def *d, const Renaming *r) {
    if (d->kind != r->def->kind || strcmp(d->name, r->def->name) || d->loc.line != r->def->loc.line ||
        d->loc.col != r->def->loc.col)
        return false;
    const Source *source = analysis_source_of(a, d->loc);
    return source && !strcmp(path_normal(s->call, source->path), r->def_path);
}

static void add_places(Renaming *r, const Analysis *a) {
    for (int i = 0; i < a->index->at.n; i++) {
        const Occurrence *o = &a->index->at.at[i];
        const Source *source = analysis_source_of(a, o->loc);
        if (!source || !is_same(r->server, a, &a->index->defs.at[o->def], r)) continue;
        Place p = {.path = path_normal(r->server->call, source->path),
                   .text = source->text,
                   .size = source->size,
                   .from = text_offset_at(source->text, source->size, o->loc.line, o->loc.col),
                   .to = text_offset_at(source->text, source->size, o->loc.line, o->loc.end_col),
                   .loc = o->loc,
                   .makes = o->makes};
        bool known = false;
        for (int j = 0; j < r->places.n; j++)
            known |= r->places.at[j].from == p.from && !strcmp(r->places.at[j].path, p.path);
        if (!known) vec_push(r->server->call, &r->places, p);
    }
}

// The program at hand, those of open documents, and those of files near the definition's.
static void find_places(Renaming *r, const Project *p, const Def *def) {
    Server *s = r->server;
    const Source *home = analysis_source_of(p->now, def->loc);
    Paths paths = {0};
    r->def = def;
    r->def_path = path_normal(s->call, home->path);
    vec_push(s->call, &paths, (const char *)p->path);
    for (int i = 0; i < s->documents.n; i++)
        if (!s->documents.at[i]->is_std) vec_push(s->call, &paths, (const char *)s->documents.at[i]->path);
    files_near(s, r->def_path, &paths);
    for (int i = 0; i < paths.n; i++) {
        bool known = false;
        for (int j = 0; j < i; j++) known |= !strcmp(paths.at[i], paths.at[j]);
        if (known) continue;
        int n;
        const FrontendText *texts = server_texts(s, s->call, &n);
        Analysis *a = analysis_make(paths.at[i], NULL, texts, n, true);
        if (analysis_source(s, a, r->def_path)) {
            vec_push(s->call, &r->programs, a);
            add_places(r, a);
        } else {
            analysis_free(a);
        }
    }
}

static void end_places(Renaming *r) {
    for (int i = 0; i < r->programs.n; i++) analysis_free(r->programs.at[i]);
}

void answer_references(Call *c) {
    Project *p;
    const Occurrence *o = call_occurrence(c, &p);
    const Def *def = o ? &p->now->index->defs.at[o->def] : NULL;
    const Span all = span_at(c->params, "context.includeDeclaration");
    bool first = true;
    Renaming r = {.server = c->server};
    if (def && def->loc.file && !def->is_std && def->kind != DEF_FILE) find_places(&r, p, def);
    fputc('[', c->out);
    for (int i = 0; i < r.places.n; i++) {
        const Place *place = &r.places.at[i];
        if (place->makes && all.text && !span_true(all)) continue;
        fputs(first ? "{\"uri\":" : ",{\"uri\":", c->out);
        json_put_string(c->out, server_uri(c->server, place->path));
        fputs(",\"range\":", c->out);
        put_range(c->out, place->text, place->size, place->loc);
        fputc('}', c->out);
        first = false;
    }
    fputc(']', c->out);
    end_places(&r);
}

// ---- what can be renamed

// NULL: it can.
static const char *refusal(Call *c, const Def *def) {
    Arena *a = c->server->call;
    if (def->kind == DEF_FUNCTION || def->kind == DEF_WORD)
        return arena_printf(a, "'%s' is a word of the language", def->name);
    if (def->kind == DEF_FILE) return "files are not renamed here";
    if (def->is_std || c->document->is_std)
        return arena_printf(a, "'%s' is of std.tgf, which every program has", def->name);
    if (!strcmp(def->name, "batch") && def->kind == DEF_AXIS) return "'batch' is the axis whose extent 'train' sets";
    if (def->kind == DEF_VARIABLE && (!strcmp(def->name, "loss") || !strcmp(def->name, "logits")))
        return arena_printf(a, "the compiler looks for '%s' by this name", def->name);
    return def->loc.file ? NULL : arena_printf(a, "'%s' is declared nowhere", def->name);
}

void answer_prepare_rename(Call *c) {
    Project *p;
    const Occurrence *o = call_occurrence(c, &p);
    if (!o) {
        fputs("null", c->out);
        return;
    }
    const Def *def = &p->now->index->defs.at[o->def];
    const char *why = refusal(c, def);
    if (why) {
        call_fail(c, RPC_REQUEST_FAILED, "%s", why);
        return;
    }
    const Source *source = analysis_source_of(p->now, o->loc);
    fputs("{\"range\":", c->out);
    put_range(c->out, source->text, source->size, o->loc);
    fputs(",\"placeholder\":", c->out);
    json_put_string(c->out, def->name);
    fputc('}', c->out);
}

// A name is what the parser takes for one.
static bool is_name(const char *text) {
    Arena *a = arena_new();
    Diag *diag = diag_new_taken(a, NULL, NULL);
    StrTable *strs = strtable_new(a);
    char *line = arena_printf(a, "axis %s = 1\n", text);
    Source source = {.path = "name", .text = line, .size = strlen(line)};
    bool ok = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == strlen(text) &&
              source_parse(&source, a, strs, diag) && source.decls.n == 1;
    arena_free(a);
    return ok;
}

// ---- trying it

static int place_order(const void *a, const void *b) {
    const Place *x = a, *y = b;
    int paths = strcmp(x->path, y->path);
    return paths ? paths : x->from < y->from ? -1 : x->from > y->from;
}

// The texts of all open documents and of all files with places, with the new name. Places are sorted.
static FrontendText *renamed_texts(const Renaming *r, const char *name, int *out_count) {
    Server *s = r->server;
    FrontendText *open = server_texts(s, s->call, out_count);
    FrontendText *texts = NEW_ARRAY(s->call, FrontendText, *out_count + r->places.n);
    memcpy(texts, open, sizeof *texts * (size_t)*out_count);
    size_t length = strlen(name);
    for (int i = 0, next; i < r->places.n; i = next) {
        const Place *first = &r->places.at[i];
        for (next = i; next < r->places.n && !strcmp(r->places.at[next].path, first->path);) next++;
        char *out = arena_alloc(s->call, first->size + (size_t)(next - i) * length + 1), *to = out;
        size_t from = 0;
        for (int k = i; k < next; k++) {
            const Place *p = &r->places.at[k];
            memcpy(to, first->text + from, p->from - from);
            to += p->from - from;
            memcpy(to, name, length);
            to += length;
            from = p->to;
        }
        memcpy(to, first->text + from, first->size - from);
        to += first->size - from;
        FrontendText *text = NULL;
        for (int k = 0; k < *out_count; k++)
            if (!strcmp(texts[k].path, first->path)) text = &texts[k];
        if (!text) text = &texts[(*out_count)++];
        *text = (FrontendText){.path = first->path, .text = out, .size = (size_t)(to - out)};
    }
    return texts;
}

static bool said_before(const Analysis *a, const Remark *r) {
    for (int i = 0; i < a->remarks.n; i++)
        if (a->remarks.at[i].kind == DIAG_ERROR && !strcmp(a->remarks.at[i].text, r->text)) return true;
    return false;
}

static int errors_of(const Analysis *a) {
    int n = 0;
    for (int i = 0; i < a->remarks.n; i++) n += a->remarks.at[i].kind == DIAG_ERROR;
    return n;
}

// What speaks against the name in one program, or NULL.
static const char *objection(const Renaming *r, const Analysis *before, const Analysis *after, const char *name) {
    Arena *a = r->server->call;
    const Index *x = before->index, *y = after->index;
    for (int i = 0; errors_of(after) > errors_of(before) && i < after->remarks.n; i++) {
        const Remark *remark = &after->remarks.at[i];
        if (remark->kind != DIAG_ERROR || said_before(before, remark)) continue;
        return remark->at.file
                   ? arena_printf(a, "with '%s': %s:%d: %s", name, remark->at.file, remark->at.line, remark->text)
                   : arena_printf(a, "with '%s': %s", name, remark->text);
    }
    if (errors_of(after) > errors_of(before)) return arena_printf(a, "'%s' makes mistakes", name);
    for (int i = 0; i < x->at.n || i < y->at.n; i++) {
        if (i < x->at.n && i < y->at.n && x->at.at[i].def == y->at.at[i].def && x->at.at[i].makes == y->at.at[i].makes)
            continue;
        const Occurrence *o = i < y->at.n ? &y->at.at[i] : &x->at.at[i];
        return arena_printf(a, "'%s' already means something: %s:%d would mean another thing", name, o->loc.file,
                            o->loc.line);
    }
    return NULL;
}

static const char *try_name(const Renaming *r, const char *name) {
    Server *s = r->server;
    int n, n_after;
    const FrontendText *texts = server_texts(s, s->call, &n);
    const FrontendText *after_texts = renamed_texts(r, name, &n_after);
    const char *why = NULL;
    for (int i = 0; i < r->programs.n && !why; i++) {
        const Analysis *parsed = r->programs.at[i];
        if (!parsed->good) {
            const Remark *first = &parsed->remarks.at[0];
            why = arena_printf(s->call, "%s:%d has a mistake; it comes first: %s",
                               first->at.file ? first->at.file : parsed->options.path, first->at.line, first->text);
            break;
        }
        Analysis *before = analysis_make(parsed->options.path, NULL, texts, n, false);
        Analysis *after = analysis_make(parsed->options.path, NULL, after_texts, n_after, false);
        why = objection(r, before, after, name);
        analysis_free(before);
        analysis_free(after);
    }
    return why;
}

// ---- the answer

static void put_edits(Call *c, const Renaming *r, const char *name) {
    bool with_versions = c->server->document_changes;
    fputs(with_versions ? "{\"documentChanges\":[" : "{\"changes\":{", c->out);
    for (int i = 0; i < r->places.n; i++) {
        const Place *p = &r->places.at[i];
        bool opens = i == 0 || strcmp(p->path, r->places.at[i - 1].path);
        if (opens && i) fputs(with_versions ? "]}," : "],", c->out);
        if (opens && with_versions) {
            const Document *d = document_at(c->server, p->path);
            fputs("{\"textDocument\":{\"uri\":", c->out);
            json_put_string(c->out, server_uri(c->server, p->path));
            if (d) fprintf(c->out, ",\"version\":%lld},\"edits\":[", (long long)d->version);
            else fputs(",\"version\":null},\"edits\":[", c->out);
        } else if (opens) {
            json_put_string(c->out, server_uri(c->server, p->path));
            fputs(":[", c->out);
        }
        fputs(opens ? "{\"range\":" : ",{\"range\":", c->out);
        put_range(c->out, p->text, p->size, p->loc);
        fputs(",\"newText\":", c->out);
        json_put_string(c->out, name);
        fputc('}', c->out);
    }
    fputs(with_versions ? "]}]}" : "]}}", c->out);
}

// A parameter that no `as` names is stored by the name that goes.
static void warn_stored(Server *s, const Def *def, const char *name) {
    if (def->kind != DEF_PARAM || def->stmt->param.as.str) return;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return;
    fputs("{\"jsonrpc\":\"2.0\",\"method\":\"window/showMessage\",\"params\":{\"type\":2,\"message\":", out);
    json_put_string(out, arena_printf(s->call,
                                      "'%s' has no `as`: it was stored as '%s' and will be as '%s', so older "
                                      "checkpoints have it under another name",
                                      def->name, def->name, name));
    fputs("}}", out);
    fclose(out);
    rpc_send(&s->rpc, text, size);
    free(text);
}

void answer_rename(Call *c) {
    Project *p;
    const Occurrence *o = call_occurrence(c, &p);
    const char *name = span_text(span_at(c->params, "newName"), c->server->call, NULL);
    const Def *def = o ? &p->now->index->defs.at[o->def] : NULL;
    const char *why = def ? refusal(c, def) : "no name stands here";
    if (!name) {
        call_fail(c, RPC_INVALID_PARAMS, "params.newName is missing");
        return;
    }
    if (!why && !is_name(name))
        why = arena_printf(c->server->call, "'%s' is no name: letters, digits and '_', no keyword, at most %d bytes",
                           name, NAME_MAX_BYTES);
    if (!why && def->kind == DEF_VARIABLE && (!strcmp(name, "loss") || !strcmp(name, "logits")))
        why = arena_printf(c->server->call, "'%s' means something to the compiler", name);
    Renaming r = {.server = c->server};
    if (!why) find_places(&r, p, def);
    if (r.places.n) qsort(r.places.at, (size_t)r.places.n, sizeof *r.places.at, place_order);
    if (!why && strcmp(name, def->name)) why = try_name(&r, name);
    if (why) {
        call_fail(c, RPC_REQUEST_FAILED, "%s", why);
    } else {
        put_edits(c, &r, name);
        warn_stored(c->server, def, name);
    }
    end_places(&r);
}
