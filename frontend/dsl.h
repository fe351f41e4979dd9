// SPDX-License-Identifier: Apache-2.0
// dsl: a program built in C (include/tgf/dsl.h) as what the parser makes of a text: declarations, located in the
// caller's source. Everything behind the parser is the same for both.
//
//     tgf_block, tgf_param, tgf_let, ...      a stack of open scopes; each call adds a node of the AST
//     dsl_source                              the whole as a Source, for FrontendOptions.source
//
// Values. An expression is a node with its place: the scope and the statement it was made before. When its scope ends,
// the node becomes a variable `tN`, set at that place, if it is used more than once, in another scope, or behind an
// assignment to a variable it reads; else it stands where it is used.
#pragma once
#include "frontend/ast.h"
#include "include/tgf/dsl.h"

// The program so far. NULL after reporting: something is open, or there were mistakes. It and all in it live as long as
// the program.
const Source *dsl_source(TgfProgram *p);
Diag *dsl_diag(TgfProgram *p);
