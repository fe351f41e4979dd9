// SPDX-License-Identifier: Apache-2.0
// pass: the runner. Every pass is `bool pass_NAME(Unit *u)`: transforms u in place, false after reporting. Memory:
// u->arena for what stays, u->scratch for the rest (reset after each pass).
#pragma once
#include "ir/graph.h"
#include <stdio.h>

typedef struct PassOptions {
    const char *first, *last;             // labels, inclusive; NULL: from behind what the unit has passed, to the end
    const char *dump_before, *dump_after; // labels, or NULL
    FILE *dump;
    bool check_text; // after each pass: print(parse(print(u))) == print(u)
    bool keep_gradients;
} PassOptions;

bool passes_run(Unit *u, const PassOptions *options);
bool pass_known(const char *label);
void passes_list(FILE *out); // label and description, a line each

#define PASS(function, label, text) bool pass_##function(Unit *u);
#include "passes/pass.def"
#undef PASS
