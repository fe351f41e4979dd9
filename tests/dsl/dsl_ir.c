// SPDX-License-Identifier: Apache-2.0
#include "tests/dsl/dsl_ir.h"
#include "frontend/dsl.h"
#include "frontend/frontend.h"
#include "ir/eval.h"
#include "ir/text.h"
#include <math.h>
#include <stdlib.h>

static bool reads_back(const Unit *u, Arena *a, StrTable *strs, Diag *diag) {
    size_t size, again_size;
    unit_print(u, arena_stream(a));
    const char *text = arena_stream_text(a, &size);
    const Unit *again = unit_parse(a, a, strs, diag, "unit.tgi", text, size);
    if (!again) return false;
    unit_print(again, arena_stream(a));
    return !strcmp(text, arena_stream_text(a, &again_size));
}

static char *ir_of(FrontendOptions o) {
    char *shown = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&shown, &size);
    Arena *a = arena_new();
    o.arena = o.scratch = a;
    if (!o.strs) o.strs = strtable_new(a);
    o.diag = diag_new(a, out, false);
    FrontendResult r;
    if (frontend_load(&o, &r)) {
        if (!reads_back(r.unit, a, o.strs, o.diag)) fputs("with locations, it does not read back\n", out);
        unit_print_bare(r.unit, out);
    }
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
