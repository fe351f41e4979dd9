// SPDX-License-Identifier: Apache-2.0
// compile: what the tools share of a compilation: from a .tgf or .tgi file through the passes, and from there to
// kernels.
#pragma once
#include "frontend/frontend.h"
#include "ir/graph.h"
#include "runtime/plan.h"
#include "tools/common_options.h"

typedef struct CompileRequest {
    const char *path;          // .tgf
    const char *text;          // its text, in memory; NULL: read it
    const char *from_ir;       // .tgi instead of a .tgf
    const OptionList *defines; // "NAME=N", may be NULL
    const char *strategy;      // NULL: one rank
    const char *extra;         // declarations behind the file's own, or NULL
    bool keep_gradients, probe, perturb;
    const char *last;                     // last pass to run; NULL: all
    const char *dump_before, *dump_after; // passes around which the IR goes to `dump`
    FILE *dump;
} CompileRequest;

typedef struct Compilation {
    Arena *arena, *scratch;
    StrTable *strs;
    Diag *diag;
    FrontendResult front; // empty with from_ir
    Unit *unit;
} Compilation;

// Both report to stderr and return false; compile_end is due in any case. compile_load stops behind the frontend.
bool compile_load(const CompileRequest *request, Compilation *out);
bool compile_load_to(const CompileRequest *request, FILE *messages,
                     Compilation *out); // diagnostics elsewhere than stderr
bool compile_passes(const CompileRequest *request, Compilation *c);
int compile_status(const Compilation *c); // exit status after a failure: 1 the user's mistake, 2 the compiler's
void compile_end(Compilation *c);

// Reads a whole file into the arena; NULL after saying why on stderr.
char *read_whole(Arena *a, const char *path, size_t *out_size);
// output_write; false after saying why on stderr.
bool write_whole(const char *path, const void *data, size_t size);
