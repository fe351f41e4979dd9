// SPDX-License-Identifier: Apache-2.0
// object_header: the C header of an object: the model's own names and types over include/tgf/tgf.h.
#pragma once
#include "ir/graph.h"
#include "runtime/plan.h"

// Letters, digits and '_' as they are, all else as '_'.
char *object_word(Arena *a, const char *name);
// Names (object_names.c). Within one list no name is given twice: the second gets _2, and so on, in the order asked.
typedef struct ObjectNames {
    Arena *arena;
    const char **list;
    int n, room;
} ObjectNames;
const char *object_unique(ObjectNames *names, const char *wanted);
const char *object_variable(Arena *a, const char *name); // one that C, C++ and their headers leave alone
// Prefix of a model's functions and types, and of its constants: different models have different ones.
const char *object_prefix(Arena *a, const char *model);
const char *object_constants(Arena *a, const char *model);
char *object_upper(Arena *a, const char *text); // as a word, in capitals

// name: the object's. Arguments come in the order in which the source declares the inputs. Equal units and plans give
// equal text.
void object_header_print(FILE *out, Arena *a, const Unit *u, const Plan *p, const char *name);
