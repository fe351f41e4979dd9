// SPDX-License-Identifier: Apache-2.0
// Diagnostics: of all programs that the open documents are in, each sent to the file it is about. What is said of a
// place in std.tgf, where no user looks, moves to the first place of the user's that its notes name.
#include "runtime/json.h"
#include "tools/tgf_lsp_server.h"
#include <stdlib.h>
#include <string.h>

typedef struct Shown { // a diagnostic, as JSON
    const char *uri, *json;
} Shown;

typedef struct Showing {
    Server *server;
    const Analysis *analysis;
    Vec(Shown) all;
} Showing;

static const char *uri_of(Server *s, const Source *source) {
    const char *path = source_path(s, source);
    return path ? server_uri(s, path) : NULL;
}

static bool is_users(const Showing *w, Loc at) {
    const Source *source = analysis_source_of(w->analysis, at);
    return source && source != w->analysis->front.front->std;
}

static void put_related(const Showing *w, const Remark *r, bool *first, FILE *out) {
    const Source *source = analysis_source_of(w->analysis, r->at);
    const char *uri = source ? uri_of(w->server, source) : NULL;
    if (!uri) return;
    fputs(*first ? "{\"location\":{\"uri\":" : ",{\"location\":{\"uri\":", out);
    *first = false;
    json_put_string(out, uri);
    fputs(",\"range\":", out);
    put_range(out, source->text, source->size, r->at);
    fputs("},\"message\":", out);
    json_put_string(out, r->text);
    fputc('}', out);
}

static void show(Showing *w, const Remark *r, const char *strategy) {
    static const int severity[] = {[DIAG_ERROR] = 1, [DIAG_WARNING] = 2, [DIAG_NOTE] = 3};
    const Analysis *a = w->analysis;
    Server *s = w->server;
    const Remark *place = is_users(w, r->at) ? r : NULL;
    for (int i = 0; !place && i < r->notes.n; i++)
        if (is_users(w, r->notes.at[i].at)) place = &r->notes.at[i];
    const Source *source = place ? analysis_source_of(a, place->at) : NULL;
    if (!source && a->front.front->sources.n) source = a->front.front->sources.at[0];
    const char *uri = source ? uri_of(s, source) : server_uri(s, a->options.path);
    if (!uri) return;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return;
    fputs("{\"range\":", out);
    if (source) put_range(out, source->text, source->size, place ? place->at : (Loc){NULL, 1, 1, 2});
    else fputs("{\"start\":{\"line\":0,\"character\":0},\"end\":{\"line\":0,\"character\":0}}", out);
    fprintf(out, ",\"severity\":%d,\"source\":\"tgf\",\"message\":", severity[r->kind]);
    // Notes without a place are said with the message.
    const char *message = strategy ? arena_printf(s->call, "%s (strategy %s)", r->text, strategy) : r->text;
    bool first = true;
    for (int i = 0; i < r->notes.n; i++)
        if (!r->notes.at[i].at.file) message = arena_printf(s->call, "%s\n%s", message, r->notes.at[i].text);
    json_put_string(out, message);
    fputs(",\"relatedInformation\":[", out);
    if (place != r) put_related(w, r, &first, out);
    for (int i = 0; i < r->notes.n; i++) put_related(w, &r->notes.at[i], &first, out);
    fputs("]}", out);
    fclose(out);
    const char *json = arena_printf(s->call, "%s", text);
    free(text);
    for (int i = 0; i < w->all.n; i++)
        if (!strcmp(w->all.at[i].uri, uri) && !strcmp(w->all.at[i].json, json)) return; // of two programs
    vec_push(s->call, &w->all, ((Shown){uri, json}));
}

static bool same_place(Loc a, Loc b) {
    bool same_file = a.file == b.file || (a.file && b.file && !strcmp(a.file, b.file));
    return same_file && a.line == b.line && a.col == b.col;
}

// Without what the program says under no strategy too.
static void show_strategy(Showing *w, const Analysis *a, const Analysis *plain) {
    w->analysis = a;
    for (int i = 0; i < a->remarks.n; i++) {
        const Remark *r = &a->remarks.at[i];
        bool said = false;
        for (int j = 0; j < plain->remarks.n && !said; j++)
            said = same_place(plain->remarks.at[j].at, r->at) && !strcmp(plain->remarks.at[j].text, r->text);
        if (!said) show(w, r, a->strategy);
    }
}

static void show_program(Showing *w, const Project *p) {
    w->analysis = p->now;
    for (int i = 0; i < p->now->remarks.n; i++) show(w, &p->now->remarks.at[i], NULL);
    for (int i = 0; p->good == p->now && p->strategies && i < p->good->front.nstrategies; i++)
        if (p->strategies[i]) show_strategy(w, p->strategies[i], p->now);
}

static bool holds(const char *const *list, int n, const char *text) {
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i], text)) return true;
    return false;
}

static void publish(Server *s, const Showing *w, const char *uri) {
    const Document *d = document_find(s, uri);
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    bool first = true;
    if (!out) return;
    fputs("{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/publishDiagnostics\",\"params\":{\"uri\":", out);
    json_put_string(out, uri);
    if (d) fprintf(out, ",\"version\":%lld", (long long)d->version);
    fputs(",\"diagnostics\":[", out);
    for (int i = 0; i < w->all.n; i++) {
        if (strcmp(w->all.at[i].uri, uri)) continue;
        fprintf(out, "%s%s", first ? "" : ",", w->all.at[i].json);
        first = false;
    }
    fputs("]}}", out);
    fclose(out);
    rpc_send(&s->rpc, text, size);
    free(text);
}

void diagnostics_send(Server *s) {
    Showing w = {.server = s};
    Vec(const char *) uris = {0};
    for (int i = 0; i < s->projects.n; i++) {
        const Project *p = s->projects.at[i];
        if (p->wanted && p->now) show_program(&w, p);
    }
    for (int i = 0; i < s->documents.n; i++) vec_push(s->call, &uris, (const char *)s->documents.at[i]->uri);
    for (int i = 0; i < w.all.n; i++)
        if (!holds(uris.at, uris.n, w.all.at[i].uri)) vec_push(s->call, &uris, w.all.at[i].uri);
    int shown = uris.n;
    for (int i = 0; i < s->said.n; i++) // those that have none any more
        if (!holds(uris.at, uris.n, s->said.at[i]))
            vec_push(s->call, &uris, (const char *)arena_printf(s->call, "%s", s->said.at[i]));
    for (int i = 0; i < uris.n; i++) publish(s, &w, uris.at[i]);
    for (int i = 0; i < s->said.n; i++) free(s->said.at[i]);
    s->said.n = 0;
    for (int i = 0; i < shown; i++) {
        char *uri = strdup(uris.at[i]);
        if (uri) vec_push(s->arena, &s->said, uri);
    }
}
