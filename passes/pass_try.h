// SPDX-License-Identifier: Apache-2.0
// pass_try: what would become of a unit? The unit's text is read into a copy of its own, which can be changed and sent
// through the remaining passes; messages of that are not shown.
#pragma once
#include "passes/pass.h"

typedef struct UnitTry {
    Unit *unit; // in an arena of its own
    FILE *sink;
    char *said;
    size_t size;
} UnitTry;

// The unit's text, with the places in the source or without; NULL when memory fails.
char *unit_text(const Unit *u, bool locations, Arena *a, size_t *out_size);
// `text` is `like`'s, perhaps of an earlier time; it must outlive the try. False when memory fails.
bool unit_try_begin(UnitTry *t, const Unit *like, const char *text, size_t size);
bool unit_try_run(UnitTry *t); // false: some pass refuses it
void unit_try_end(UnitTry *t); // also behind a failed begin
