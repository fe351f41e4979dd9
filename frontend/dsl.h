// SPDX-License-Identifier: Apache-2.0
// dsl: a program built in C (include/tgf/dsl.h) as what the parser makes of a text: declarations, located in the
// caller's source. Everything behind the parser is the same for both.
//
//     tgf_block, tgf_param, tgf_let, ...      a stack of open scopes; each call adds a node of the AST dsl_statement.c
//     tgf_call, tgf_as, tgf_view, ...         values: nodes with their place                  dsl_expr.c, dsl_value.c
//     tgf_line, tgf_setting                   strategies and recipes                                       dsl_line.c
//     dsl_source                              the whole as a Source, for FrontendOptions.source                 dsl.c
//
// Values. An expression is a node with its place: the scope and the statement it was made before. It stands where it is
// used; if it is used more than once, in a scope inside of its own, or behind an assignment to a variable it reads, it
// becomes a variable `tN`, set at its place. Numbers and axes alone are written again at each use. Where a value was
// given a name by tgf_let and the variable still has it, further uses are of that variable.
#pragma once
#include "frontend/ast.h"

// In here Axis and Tensor are the compiler's own.
#define Axis TgfAxisHandle
#define Tensor TgfTensorHandle
#define TGF_DSL_PLAIN
#include "include/tgf/dsl.h"
#undef Axis
#undef Tensor

// The program so far. NULL after reporting: something is open, or there were mistakes. It and all in it live as long as
// the program; it may be asked for again, after more calls too.
const Source *dsl_source(TgfProgram *p);

// A call of the library between dsl_enter and dsl_leave: p is there, and had memory so far. When memory ends in
// between, control comes back to DSL_ENTER, which returns `otherwise`; arenas made since then are freed, and nothing
// else may be held (base/arena.h). From then on p answers TGF_MEMORY to everything.
//     size_t said = dsl_said(p);
//     DSL_ENTER(p, dsl_status(p))
//     bool ok = ...;
//     dsl_leave(p);
//     return dsl_result(p, ok, said);
#define DSL_ENTER(p, otherwise)                                                                                        \
    if (!dsl_alive(p)) return otherwise;                                                                               \
    if (ARENA_CAUGHT(dsl_catch(p))) {                                                                                  \
        dsl_no_memory(p);                                                                                              \
        return otherwise;                                                                                              \
    }
bool dsl_alive(const TgfProgram *p); // not NULL, and not out of memory
ArenaCatch *dsl_catch(TgfProgram *p);
void dsl_no_memory(TgfProgram *p);
void dsl_leave(TgfProgram *p);
TgfStatus dsl_status(const TgfProgram *p); // what is wrong with p by now, if anything; p may be NULL
size_t dsl_said(TgfProgram *p);            // bytes of messages so far; p may be NULL
// TGF_OK, or TGF_INVALID (TGF_INTERNAL: a bug) with the first message behind `said`, or the program's first.
TgfStatus dsl_result(TgfProgram *p, bool ok, size_t said);

Arena *dsl_arena(TgfProgram *p); // lives as long as p: text that is handed out is copied there
StrTable *dsl_strs(TgfProgram *p);
// A Diag for one use of the program's source, made in `a` (files it reads live there, too). Messages become the
// program's; dsl_diag_end adds the number of errors to the program's. They are not mistakes of the program itself:
// dsl_source still gives it.
Diag *dsl_diag_begin(TgfProgram *p, Arena *a);
void dsl_diag_end(TgfProgram *p, Diag *d);
// What runs (tools/dsl_compile.c): closed by tgf_program_free, and before another is set.
void *dsl_running(const TgfProgram *p);
void dsl_set_running(TgfProgram *p, void *running, void (*close)(void *running));
