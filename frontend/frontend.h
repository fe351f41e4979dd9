// SPDX-License-Identifier: Apache-2.0
// frontend: from .tgf text to a checked Unit. The public face; everything else in this folder is its inside.
//
//   frontend_load reads the file and what it uses, checks it, and builds the functions
//     init     every parameter assigned its initial value; input seed
//     train    outputs loss, with dropout on; inputs the model's, and seed and step where it draws random numbers
//              (absent when there is no `train { ... }`)
//     eval     outputs loss, dropout off
//     predict  outputs logits, dropout off, only the inputs it needs (absent when the model names no `logits`)
//   with unit->strategy (when one was asked for) and unit->recipe attached. unit->mesh stays empty: `shard` applies it.
#pragma once
#include "ir/graph.h"
#include "ir/recipe.h"
#include "ir/strategy.h"
#include <stdio.h>

typedef struct FrontendDefine { // -D name=value
    const char *name;
    int64_t value;
} FrontendDefine;

typedef struct FrontendText { // a file held in memory
    const char *path;
    const char *text;
    size_t size;
} FrontendText;

typedef struct FrontendOptions {
    const char *path; // of the main file, as shown in messages
    const char *text; // the main file's text when it is in memory (then `size` bytes); NULL: read `path`
    size_t size;
    const struct Source *source; // or the main file as a program made it (dsl.h), already in order; then path is its own
    const FrontendText *files; // `use` looks here first, by the path as written behind the using file's folder; spelled
                               // otherwise (./a, b/../a) it is the same file
    int nfiles;
    bool no_disk; // `use` finds only what is in `files`
    const char
        *extra; // more declarations, as if they stood behind the main file (a strategy made by a program), or NULL
    const FrontendDefine *defines;
    int ndefines;
    const char *strategy;  // its name; NULL: one rank
    int64_t batch;         // overrides the recipe's batch; 0: as written. The same as defining batch
    struct Sights *sights; // gets what each name came to stand for (sight.h), or NULL
    bool parse_only;       // read and parse, no more: the result has no unit, frontend_print_ast works
    Arena *arena;          // of what is returned
    Arena *scratch;        // the unit's scratch arena
    StrTable *strs;
    Diag *diag;
} FrontendOptions;

typedef struct Front Front;

typedef struct FrontendResult {
    Unit *unit; // NULL after errors (they were reported through diag) and with parse_only
    int nfiles;
    const char **files; // every file read from disk, for depfiles; complete only without errors
    int nstrategies;
    const Strategy **strategies; // all the program declares, in order
    const Front *front;
} FrontendResult;

// True without errors. The result is filled as far as it went.
bool frontend_load(const FrontendOptions *options, FrontendResult *out_result);
// All files' declarations as text (`tgfc --emit=ast`), after frontend_load parsed them.
void frontend_print_ast(const FrontendResult *result, FILE *out);
// A path without `.`, `..` behind a folder, and doubled or last '/': by its letters, links are not looked at.
char *path_normal(Arena *arena, const char *path);
// "name=123" as given to -D. False when it is not that.
bool frontend_parse_define(const char *text, Arena *arena, FrontendDefine *out_define);
