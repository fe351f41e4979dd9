// SPDX-License-Identifier: Apache-2.0
// The protocol's methods: who answers what, and when.
#include "base/version.h"
#include "runtime/json.h"
#include "tools/tgf_lsp_server.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

// ---- answers

static void send_stream(Server *s, char *text, size_t size) {
    rpc_send(&s->rpc, text, size);
    free(text);
}

static void send_error(Server *s, Span id, int code, const char *message) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return;
    fprintf(out, "{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"error\":{\"code\":%d,\"message\":", id.text ? (int)id.size : 4,
            id.text ? id.text : "null", code);
    json_put_string(out, message);
    fputs("}}", out);
    fclose(out);
    send_stream(s, text, size);
}

void call_fail(Call *c, int error, const char *format, ...) {
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    char *text = arena_alloc(c->server->call, (size_t)(n > 0 ? n : 0) + 1);
    if (n > 0) vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(ap);
    c->error = error;
    c->message = text;
}

static void answer_initialize(Call *c) {
    Server *s = c->server;
    Span p = c->params;
    if (s->state != SERVER_NEW) {
        call_fail(c, RPC_INVALID_REQUEST, "initialize was sent before");
        return;
    }
    s->state = SERVER_RUNS;
    Span formats = span_at(p, "capabilities.textDocument.hover.contentFormat");
    for (int i = 0; span_item(formats, i).text; i++) {
        const char *format = span_text(span_item(formats, i), s->call, NULL);
        if (format && !strcmp(format, "markdown")) s->markdown = true;
    }
    s->document_changes = span_true(span_at(p, "capabilities.workspace.workspaceEdit.documentChanges"));
    char *strategy = span_text(span_at(p, "initializationOptions.strategy"), s->arena, NULL);
    if (strategy) s->strategy = *strategy ? strategy : NULL;
    Span folders = span_at(p, "workspaceFolders");
    for (int i = 0; span_item(folders, i).text; i++) {
        const char *uri = span_text(span_at(span_item(folders, i), "uri"), s->call, NULL);
        if (uri) vec_push(s->arena, &s->roots, path_of_uri(uri, s->arena));
    }
    const char *root = span_text(span_at(p, "rootUri"), s->call, NULL);
    if (!s->roots.n && root) vec_push(s->arena, &s->roots, path_of_uri(root, s->arena));
    fputs("{\"capabilities\":{\"positionEncoding\":\"utf-16\",\"textDocumentSync\":{\"openClose\":true,\"change\":2,"
          "\"save\":true},\"hoverProvider\":true,\"definitionProvider\":true,\"referencesProvider\":true,"
          "\"documentHighlightProvider\":true,\"documentSymbolProvider\":true,\"documentFormattingProvider\":true,"
          "\"completionProvider\":{},\"renameProvider\":{\"prepareProvider\":true}},"
          "\"serverInfo\":{\"name\":\"tgf\",\"version\":\"" TGF_VERSION "\"}}",
          c->out);
}

static void answer_shutdown(Call *c) {
    c->server->state = SERVER_SHUT;
    fputs("null", c->out);
}

// ---- notifications

static void note_open(Server *s, Span params) {
    Span d = span_at(params, "textDocument");
    const char *uri = span_text(span_at(d, "uri"), s->call, NULL);
    size_t size = 0;
    const char *text = span_text(span_at(d, "text"), s->call, &size);
    int64_t version = 0;
    span_int(span_at(d, "version"), &version);
    char *copy = uri && text ? malloc(size + 1) : NULL;
    if (!copy) return;
    memcpy(copy, text, size + 1);
    document_open(s, uri, copy, size, version);
}

static Document *named_document(Server *s, Span params) {
    const char *uri = span_text(span_at(params, "textDocument.uri"), s->call, NULL);
    return uri ? document_find(s, uri) : NULL;
}

static bool read_position(Span p, Position *out) {
    return span_int(span_at(p, "line"), &out->line) && span_int(span_at(p, "character"), &out->character) &&
           out->line >= 0 && out->character >= 0;
}

static void note_change(Server *s, Span params) {
    Document *d = named_document(s, params);
    Span changes = span_at(params, "contentChanges");
    if (!d) return;
    for (int i = 0; span_item(changes, i).text; i++) {
        Span change = span_item(changes, i), range = span_at(change, "range");
        size_t size = 0, from = 0, to = d->size;
        const char *text = span_text(span_at(change, "text"), s->call, &size);
        Position start, end;
        if (!text) continue;
        if (range.text) {
            if (!read_position(span_at(range, "start"), &start) || !read_position(span_at(range, "end"), &end))
                continue;
            from = text_offset(d->text, d->size, start);
            to = text_offset(d->text, d->size, end);
            if (to < from) continue;
        }
        document_edit(d, from, to, text, size);
    }
    span_int(span_at(params, "textDocument.version"), &d->version);
    s->generation++;
}

static void note_close(Server *s, Span params) {
    Document *d = named_document(s, params);
    if (d) document_close(s, d);
}

static void note_files(Server *s, Span params) { // on disk they are other ones now
    (void)params;
    for (int i = 0; i < s->documents.n; i++) s->documents.at[i]->searched = false;
    s->generation++;
}

static void note_settings(Server *s, Span params) {
    Span own = span_at(params, "settings.tgf.strategy");
    if (!own.text) own = span_at(params, "settings.strategy");
    if (!own.text) return;
    const char *name = span_text(own, s->arena, NULL);
    s->strategy = name && *name ? name : NULL;
}

// ---- the table

typedef struct Method {
    const char *name;
    void (*answer)(Call *c);              // a request; or
    void (*note)(Server *s, Span params); // a notification; both NULL: one that needs nothing
    bool of_document, of_position;
} Method;

static const Method methods[] = {
    {"initialize", answer_initialize, NULL, false, false},
    {"shutdown", answer_shutdown, NULL, false, false},
    {"initialized", NULL, NULL, false, false},
    {"textDocument/didOpen", NULL, note_open, false, false},
    {"textDocument/didChange", NULL, note_change, false, false},
    {"textDocument/didClose", NULL, note_close, false, false},
    {"textDocument/didSave", NULL, note_files, false, false},
    {"workspace/didChangeWatchedFiles", NULL, note_files, false, false},
    {"workspace/didChangeConfiguration", NULL, note_settings, false, false},
    {"textDocument/hover", answer_hover, NULL, true, true},
    {"textDocument/definition", answer_definition, NULL, true, true},
    {"textDocument/references", answer_references, NULL, true, true},
    {"textDocument/documentHighlight", answer_highlights, NULL, true, true},
    {"textDocument/documentSymbol", answer_symbols, NULL, true, false},
    {"textDocument/prepareRename", answer_prepare_rename, NULL, true, true},
    {"textDocument/rename", answer_rename, NULL, true, true},
    {"textDocument/formatting", answer_formatting, NULL, true, false},
    {"textDocument/completion", answer_completion, NULL, true, true},
};

static const Method *find_method(const char *name) {
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (!strcmp(methods[i].name, name)) return &methods[i];
    return NULL;
}

// Whether a message that waits takes the request back.
static bool cancelled(const Server *s, Span id) {
    for (int i = 0; i < s->rpc.queue.n; i++) {
        const Span m = {s->rpc.queue.at[i].text, s->rpc.queue.at[i].size};
        if (!span_valid(m)) continue;
        const char *method = span_text(span_at(m, "method"), s->call, NULL);
        if (method && !strcmp(method, "$/cancelRequest") && span_equal(span_at(m, "params.id"), id)) return true;
    }
    return false;
}

static void prepare(Call *c, const Method *m) {
    Server *s = c->server;
    Position p;
    if (!m->of_document) return;
    c->document = named_document(s, c->params);
    if (!c->document) {
        call_fail(c, RPC_INVALID_PARAMS, "params.textDocument.uri names no open document");
        return;
    }
    if (!m->of_position) return;
    if (read_position(span_at(c->params, "position"), &p))
        c->offset = text_offset(c->document->text, c->document->size, p);
    else call_fail(c, RPC_INVALID_PARAMS, "params.position is no position");
}

static void answer(Server *s, Span id, const Method *m, Span params) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return;
    fprintf(out, "{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"result\":", (int)id.size, id.text);
    Call c = {.server = s, .params = params, .out = out};
    prepare(&c, m);
    if (!c.error) m->answer(&c);
    fputc('}', out);
    fclose(out);
    if (!c.error) {
        send_stream(s, text, size);
    } else {
        free(text);
        send_error(s, id, c.error, c.message);
    }
}

static void handle(Server *s, Span message) {
    if (!span_valid(message)) {
        send_error(s, (Span){0}, RPC_PARSE, "this is not JSON");
        return;
    }
    Span id = span_at(message, "id"), params = span_at(message, "params");
    const char *name = span_text(span_at(message, "method"), s->call, NULL);
    char kind = span_kind(id);
    bool has_id = kind == '"' || kind == '-' || (kind >= '0' && kind <= '9');
    if (!name) {
        bool response = has_id && (span_at(message, "result").text || span_at(message, "error").text);
        if (!response) send_error(s, has_id ? id : (Span){0}, RPC_INVALID_REQUEST, "a message without a method");
        return;
    }
    const Method *m = find_method(name);
    if (!has_id) {
        if (m && m->note && s->state == SERVER_RUNS) m->note(s, params);
        return;
    }
    if (s->state == SERVER_NEW && strcmp(name, "initialize"))
        send_error(s, id, RPC_NOT_INITIALIZED, "initialize comes first");
    else if (s->state == SERVER_SHUT) send_error(s, id, RPC_INVALID_REQUEST, "the server is shut down");
    else if (!m || !m->answer) send_error(s, id, RPC_NO_METHOD, arena_printf(s->call, "no method '%s'", name));
    else if (cancelled(s, id)) send_error(s, id, RPC_CANCELLED, "cancelled");
    else answer(s, id, m, params);
}

bool server_handle(Server *s, Message m) {
    const Span message = {m.text, m.size};
    const char *name = span_valid(message) ? span_text(span_at(message, "method"), s->call, NULL) : NULL;
    if (name && !strcmp(name, "exit") && !span_at(message, "id").text) return false;
    handle(s, message);
    return true;
}
