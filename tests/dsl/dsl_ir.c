// SPDX-License-Identifier: Apache-2.0
#include "tests/dsl/dsl_ir.h"
#include "frontend/dsl.h"
#include "frontend/frontend.h"
#include "ir/eval.h"
#include "ir/text.h"
#include <math.h>
#include <stdlib.h>

static char *ir_of(FrontendOptions o) {
    char *shown = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&shown, &size);
    Arena *a = arena_new();
    o.arena = o.scratch = a;
    if (!o.strs) o.strs = strtable_new(a);
    o.diag = diag_new(a, out, false);
    FrontendResult r;
    if (frontend_load(&o, &r)) unit_print_bare(r.unit, out);
    fclose(out);
    arena_free(a);
    return shown;
}

char *ir_of_text(const char *path, const char *text, const char *strategy) {
    return ir_of((FrontendOptions){.path = path, .text = text, .size = strlen(text), .strategy = strategy});
}

char *ir_of_program(TgfProgram *p, const char *strategy) {
    const Source *s = dsl_source(p);
    if (!s) return strdup(tgf_program_messages(p));
    return ir_of((FrontendOptions){.path = s->path, .source = s, .strategy = strategy, .strs = dsl_strs(p)});
}

double loss_of_text(const char *text) {
    double loss = NAN;
    Arena *a = arena_new();
    FrontendOptions o = {.path = "program.tgf",
                         .text = text,
                         .size = strlen(text),
                         .arena = a,
                         .scratch = a,
                         .strs = strtable_new(a),
                         .diag = diag_new(a, stdout, false)};
    FrontendResult r;
    if (frontend_load(&o, &r)) {
        Eval *e = eval_new(r.unit, a);
        if (!eval_run(e, "eval") || !eval_get(e, "loss", &loss, 1)) loss = NAN;
    }
    arena_free(a);
    return loss;
}
