// SPDX-License-Identifier: Apache-2.0
#include "passes/pass_try.h"
#include "ir/text.h"
#include <stdlib.h>

// The stream is the caller's, also when memory runs out here: then false.
static bool print_to(const Unit *u, bool locations, FILE *f) {
    ArenaCatch caught;
    if (ARENA_CAUGHT(&caught)) return false;
    (locations ? unit_print : unit_print_bare)(u, f);
    arena_catch_end(&caught);
    return true;
}

char *unit_text(const Unit *u, bool locations, Arena *a, size_t *out_size) {
    char *text = NULL;
    FILE *f = open_memstream(&text, out_size);
    bool ok = f && print_to(u, locations, f);
    if (f && fclose(f)) ok = false;
    if (ok) return arena_take(a, text, *out_size + 1);
    free(text);
    return NULL;
}

bool unit_try_begin(UnitTry *t, const Unit *like, const char *text, size_t size) {
    *t = (UnitTry){0};
    t->sink = open_memstream(&t->said, &t->size);
    if (!t->sink) return false;
    Arena *arena = arena_new(), *scratch = arena_new();
    Diag *diag = diag_new(arena, t->sink, false);
    t->unit = unit_parse(arena, scratch, like->strs, diag, str_intern(like->strs, "<try>"), text, size);
    if (!t->unit) {
        diag_internal(like->diag, "try", "", "the text of a unit does not parse");
        arena_free(scratch);
        arena_free(arena);
        return false;
    }
    t->unit->keep_gradients = like->keep_gradients;
    t->unit->probe = like->probe;
    return true;
}

bool unit_try_run(UnitTry *t) { return passes_run(t->unit, &(PassOptions){0}); }

void unit_try_end(UnitTry *t) {
    if (t->unit) {
        arena_free(t->unit->scratch);
        arena_free(t->unit->arena);
    }
    if (t->sink) fclose(t->sink);
    free(t->said);
    *t = (UnitTry){0};
}
