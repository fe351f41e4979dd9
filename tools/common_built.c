// SPDX-License-Identifier: Apache-2.0
#include "tools/common_built.h"
#include <stdio.h>

int status_report(const Status *s, const char *doing) {
    fprintf(stderr, "tgf %s: %s: %s\n", doing, status_name(s->code), s->message);
    return s->code == STATUS_INTERNAL ? 2 : 1;
}

int built_make(const CompileRequest *request, const CodegenOptions *machine, const ProgramOptions *options,
               Built *out) {
    *out = (Built){0};
    if (!compile_load(request, &out->c) || !compile_passes(request, &out->c)) return compile_status(&out->c);
    Status s = codegen_jit(out->c.unit, machine, &out->jit);
    if (status_failed(&s) && diag_errors(out->c.diag)) return compile_status(&out->c);
    if (status_failed(&s)) return status_report(&s, "codegen");
    s = program_make_from_plan(codegen_jit_plan(out->jit), codegen_jit_module(out->jit), options, &out->program);
    return status_failed(&s) ? status_report(&s, "start") : 0;
}

void built_end(Built *b) {
    program_free(b->program);
    codegen_jit_free(b->jit);
    if (b->c.arena) compile_end(&b->c);
    *b = (Built){0};
}
