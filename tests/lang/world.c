// SPDX-License-Identifier: Apache-2.0
#include "world.h"
#include "passes/pass.h"
#include <stdlib.h>

World *world_make(const char *lines, FrontendDefine *defines, int ndefines, const char *last) {
    Arena *arena = arena_new();
    World *w = NEW(arena, World);
    w->arena = arena;
    w->scratch = arena_new();
    w->out = open_memstream(&w->said, &w->size);
    FrontendOptions o = {.path = "examples/gpt2.tgf", .strategy = "t", .arena = w->arena, .scratch = w->scratch};
    o.extra = arena_printf(w->arena, "strategy t {\n %s\n}\n", lines);
    o.strs = strtable_new(w->arena);
    o.diag = diag_new(w->arena, w->out, false);
    o.defines = defines;
    o.ndefines = ndefines;
    FrontendResult r;
    if (frontend_load(&o, &r) && passes_run(r.unit, &(PassOptions){.last = last})) w->u = r.unit;
    fflush(w->out);
    return w;
}

void world_end(World *w) {
    fclose(w->out);
    free(w->said);
    arena_free(w->scratch);
    arena_free(w->arena); // with w
}
