// SPDX-License-Identifier: Apache-2.0
// index: every place of a program where a name stands, and what it names: for editors. Read off the syntax tree with
// the scopes that check_names.c sees, so it needs no program without mistakes: what means nothing is left out. std.tgf
// is in it. A variable that a repeat carries is one variable; names made in a repeat are gone behind it.
#pragma once
#include "frontend/ast.h"
#include "frontend/frontend.h"

typedef enum DefKind {
    DEF_AXIS,
    DEF_BLOCK,
    DEF_MODEL,
    DEF_STRATEGY,
    DEF_MESH,     // an axis of a strategy's mesh
    DEF_FORMAL,   // a block's parameter
    DEF_VARIABLE, // a name that was assigned to
    DEF_PARAM,
    DEF_INPUT,
    DEF_FUNCTION, // of the language: dot, exp
    DEF_WORD,     // of the language: what strategies and recipes are made of, element types, laws
    DEF_FILE,     // use "file"
} DefKind;

typedef struct Def {
    DefKind kind;
    Str name;  // DEF_FILE: the path as the file was opened
    Loc loc;   // of the name where it is made; file NULL: nowhere, the language has it
    Str owner; // the block, model or strategy it is made in, or NULL
    bool is_std;
    // What declares it, NULL where another kind is meant.
    const AxisDecl *axis;
    const BlockDecl *block;
    const ModelDecl *model;
    const StrategyDecl *strategy;
    const Formal *formal;
    const Stmt *stmt; // of a param, an input; of a variable the first that assigns it
} Def;

typedef struct Occurrence {
    Loc loc; // the name alone, also inside a string: {layer}
    int def;
    bool makes; // declares it or gives it a value
} Occurrence;

typedef struct Index {
    Vec(Def) defs;
    Vec(Occurrence) at; // in the order of the text, file by file
} Index;

// Of a program that frontend_load read, with mistakes or without, parse_only or not.
Index *index_make(const FrontendResult *program, Arena *arena);
// The occurrence at a place or just behind which it is, or NULL. `col` in bytes, from 1.
const Occurrence *index_find(const Index *index, const char *file, int line, int col);
