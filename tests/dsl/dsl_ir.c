// SPDX-License-Identifier: Apache-2.0
#include "tests/dsl/dsl_ir.h"
#include "frontend/frontend.h"
#include "ir/text.h"
#include <stdlib.h>

static char *load(const char *path, const char *text, const char *strategy, bool parse_only) {
    char *shown = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&shown, &size);
    Arena *a = arena_new();
    FrontendOptions o = {.path = path,
                         .text = text,
                         .size = strlen(text),
                         .strategy = strategy,
                         .parse_only = parse_only,
                         .arena = a,
                         .scratch = a,
                         .strs = strtable_new(a),
                         .diag = diag_new(a, out, false)};
    FrontendResult r;
    if (frontend_load(&o, &r) && parse_only) frontend_print_ast(&r, out);
    else if (r.unit) unit_print_bare(r.unit, out);
    fclose(out);
    arena_free(a);
    return shown;
}

char *ir_of_text(const char *path, const char *text, const char *strategy) { return load(path, text, strategy, false); }
char *ast_of_text(const char *text) { return load("a.tgf", text, NULL, true); }
