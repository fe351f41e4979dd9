// SPDX-License-Identifier: Apache-2.0
// pass_try: what would become of a unit? The unit's text is read into a copy of its own, which can be changed and sent
// through the remaining passes; messages of that are not shown.
#pragma once
#include "passes/pass.h"

// The unit's text, with the places in the source or without; NULL when memory fails.
char *unit_text(const Unit *u, bool locations, Arena *a, size_t *out_size);
// A copy in arenas of its own; `text` is `like`'s, perhaps of an earlier time, and must outlive it. NULL after
// reporting.
Unit *unit_try_begin(const Unit *like, const char *text, size_t size);
bool unit_try_run(Unit *copy); // false: some pass refuses it
void unit_try_end(Unit *copy); // NULL is fine
