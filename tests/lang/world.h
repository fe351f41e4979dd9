// SPDX-License-Identifier: Apache-2.0
// world: examples/gpt2.tgf compiled under a strategy of given lines, and what the compiler said.
#pragma once
#include "frontend/frontend.h"

typedef struct World {
    Arena *arena, *scratch;
    Unit *u; // NULL: refused
    FILE *out;
    char *said;
    size_t size;
} World;

// Through the passes up to `last` (NULL: all). Ends with world_end.
World *world_make(const char *lines, FrontendDefine *defines, int ndefines, const char *last);
void world_end(World *w);
