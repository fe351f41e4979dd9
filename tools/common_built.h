// SPDX-License-Identifier: Apache-2.0
// built: a model compiled and ready to run in this process.
#pragma once
#include "codegen/codegen.h"
#include "runtime/bind.h"
#include "tools/common_compile.h"

typedef struct Built {
    Compilation c;
    CodegenJit *jit; // owns the kernels
    Program *program;
} Built;

// Frontend, passes, code generation, ranks. Reports to stderr; 0, or the exit status. built_end is due in any case.
int built_make(const CompileRequest *request, const CodegenOptions *machine, const ProgramOptions *options, Built *out);
void built_end(Built *b);
// Says what went wrong on stderr; the exit status.
int status_report(const Status *s, const char *doing);
