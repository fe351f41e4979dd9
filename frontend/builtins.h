// SPDX-License-Identifier: Apache-2.0
// builtins: the functions of the language that are not blocks: every map of ops.def, and these.
#pragma once
#include "frontend/ast.h"

typedef enum BuiltinKind {
    BUILTIN_MAP,
    BUILTIN_SUM,
    BUILTIN_MAX,
    BUILTIN_MIN,
    BUILTIN_MEAN,
    BUILTIN_DOT,
    BUILTIN_CUMSUM,
    BUILTIN_RANK,
    BUILTIN_TAKE,
    BUILTIN_SCATTER,
    BUILTIN_INDEX,
    BUILTIN_UNSTACK,
    BUILTIN_STACK,
    BUILTIN_CONCAT,
    BUILTIN_SLICE,
    BUILTIN_CAST,
    BUILTIN_RANDOM,
    BUILTIN_ATTEND,
} BuiltinKind;

typedef struct Builtin {
    const char *name;
    BuiltinKind kind;
    OpKind op;           // BUILTIN_MAP
    const char *pattern; // of positional arguments: e expression, a axis, t element type; the last is repeated before *
    int least;           // positional arguments at least
    const char *keys;    // keywords, a space after each
    const char *usage;   // for messages
} Builtin;

const Builtin *builtin_find(const char *name); // NULL: none
const Builtin *builtin_at(int i);              // all of them, for suggestions; NULL beyond the end
int builtin_most(const Builtin *b);            // positional arguments at most; -1: any number
bool builtin_has_key(const Builtin *b, const char *key);
