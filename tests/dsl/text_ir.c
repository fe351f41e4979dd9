// SPDX-License-Identifier: Apache-2.0
#include "tests/dsl/text_ir.h"
#include "frontend/fmt.h"
#include "frontend/frontend.h"
#include "ir/text.h"
#include "passes/pass.h"
#include <stdlib.h>
#include <string.h>

typedef struct Session {
    Arena *arena, *scratch;
    FrontendDefine defines[8];
    FrontendOptions options;
    FrontendResult result;
    char *out;
    size_t size;
    FILE *file;
} Session;

static bool session_open(Session *s, const TextRequest *r, bool parse_only) {
    *s = (Session){.arena = arena_new(), .scratch = arena_new()};
    for (int i = 0; i < r->nsets && i < 8; i++) s->defines[i] = (FrontendDefine){r->sets[i].name, r->sets[i].value};
    s->options = (FrontendOptions){.path = r->path,
                                   .text = r->text,
                                   .size = r->text ? strlen(r->text) : 0,
                                   .defines = s->defines,
                                   .ndefines = r->nsets,
                                   .strategy = r->strategy,
                                   .parse_only = parse_only,
                                   .arena = s->arena,
                                   .scratch = s->scratch,
                                   .strs = strtable_new(s->arena),
                                   .diag = diag_new(s->arena, stdout, false)};
    s->file = open_memstream(&s->out, &s->size);
    return r->nsets <= 8 && s->file && frontend_load(&s->options, &s->result);
}

static char *session_close(Session *s, bool ok) {
    if (s->file && fclose(s->file)) ok = false;
    arena_free(s->scratch);
    arena_free(s->arena);
    if (!ok) free(s->out);
    return ok ? s->out : NULL;
}

char *text_ir(const TextRequest *r) {
    Session s;
    bool ok = session_open(&s, r, false);
    if (ok && r->pass) ok = passes_run(s.result.unit, &(PassOptions){.last = r->pass});
    if (ok) unit_print_bare(s.result.unit, s.file);
    return session_close(&s, ok);
}

char *text_again(const char *text) {
    Session s;
    bool ok = session_open(&s, &(TextRequest){.path = "printed.tgf", .text = text}, true);
    if (ok) {
        frontend_print_ast(&s.result, s.file);
        fflush(s.file);
    }
    Arena *a = arena_new();
    size_t size;
    char *formatted = ok ? source_format("again.tgf", s.out, s.size, a, strtable_new(a), s.options.diag, &size) : NULL;
    char *out = formatted ? strdup(formatted) : NULL;
    arena_free(a);
    free(session_close(&s, ok));
    return out;
}

char *text_solid(const char *text) {
    char *out = strdup(text), *to = out;
    for (char *line = out; out && *line;) {
        size_t n = strcspn(line, "\n") + 1;
        bool keep = *line != '#' && *line != '\n';
        if (!line[n - 1]) n--;
        if (keep) memmove(to, line, n), to += n;
        line += n;
    }
    if (out) *to = 0;
    return out;
}

int text_strategies(const char *path, char names[20][40]) {
    Session s;
    bool ok = session_open(&s, &(TextRequest){.path = path}, false);
    int n = ok ? s.result.nstrategies : -1;
    if (n > 20) n = -1;
    for (int i = 0; i < n; i++) snprintf(names[i], 40, "%s", s.result.strategies[i]->name);
    free(session_close(&s, ok));
    return n;
}
