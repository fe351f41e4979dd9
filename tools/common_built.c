// SPDX-License-Identifier: Apache-2.0
#include "tools/common_built.h"
#include "tools/common_processes.h"
#include <stdio.h>

int status_report(const Status *s, const char *doing) {
    fprintf(stderr, "tgf %s: %s: %s\n", doing, status_name(s->code), s->message);
    return s->code == STATUS_INTERNAL ? 2 : 1;
}

static int front(const CompileRequest *request, Built *out) {
    return compile_load(request, &out->c) && compile_passes(request, &out->c) ? 0 : compile_status(&out->c);
}

static Status make_program(const CodegenOptions *machine, const ProgramOptions *options, Built *out, int *out_rc) {
    Status s = codegen_jit(out->c.unit, machine, &out->jit);
    if (status_failed(&s) && diag_errors(out->c.diag)) *out_rc = compile_status(&out->c);
    if (options && options->world) s = processes_agree(options->world, s, codegen_jit_plan(out->jit));
    if (status_failed(&s)) return s;
    s = program_make_from_plan(codegen_jit_plan(out->jit), codegen_jit_module(out->jit), options, &out->program);
    return options && options->world ? world_agree(options->world, s) : s;
}

int built_make(const CompileRequest *request, const CodegenOptions *machine, const ProgramOptions *options,
               Built *out) {
    World *w = options ? options->world : NULL;
    int rc = 0;
    *out = (Built){0};
    if (!w || w->rank == 0) rc = front(request, out);
    if (w) { // the others compile once rank 0 has: it alone tells of mistakes
        Status s = world_agree(w, rc ? status_make(STATUS_INVALID, "the model does not compile") : status_ok());
        if (status_failed(&s)) return rc ? rc : 1;
    }
    if (w && w->rank) rc = front(request, out);
    if (w) {
        Status s = world_agree(w, rc ? status_make(STATUS_INVALID, "the model does not compile there") : status_ok());
        if (status_failed(&s)) return processes_report(w, &s, "compile");
    }
    if (rc) return rc;
    Status s = make_program(machine, options, out, &rc);
    if (!status_failed(&s)) return 0;
    return rc ? rc : processes_report(w, &s, out->jit ? "start" : "codegen");
}

void built_end(Built *b) {
    program_free(b->program);
    codegen_jit_free(b->jit);
    if (b->c.arena) compile_end(&b->c);
    *b = (Built){0};
}
