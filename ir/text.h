// SPDX-License-Identifier: Apache-2.0
// text: the IR as text, and back. print(parse(print(x))) is print(x), byte for byte. Grammar: docs/ir.md.
#pragma once
#include "ir/graph.h"
#include <stdio.h>

void unit_print(const Unit *u, FILE *out);
void unit_print_bare(const Unit *u, FILE *out); // without the places in the source
void func_print(const Func *f, FILE *out);
void pipeline_print(const Unit *u, FILE *out); // the section behind the functions
void string_print(const char *s, FILE *out);   // in quotes
char *node_line(const Node *n, Arena *a);      // one line, for messages
char *type_text(const Type *t, const Mesh *m, Arena *a);
// Parses a whole unit (mesh, axes, strategy, recipe, functions); NULL after reporting. `text` must outlive the unit.
Unit *unit_parse(Arena *arena, Arena *scratch, StrTable *strs, Diag *diag, Str file, const char *text, size_t size);
