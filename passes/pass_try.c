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

Unit *unit_try_begin(const Unit *like, const char *text, size_t size) {
    Arena *arena = arena_new(), *scratch = arena_new();
    Diag *diag = diag_new_taken(arena, NULL, NULL);
    Unit *copy = unit_parse(arena, scratch, like->strs, diag, str_intern(like->strs, "<try>"), text, size);
    if (!copy) {
        diag_internal(like->diag, "try", "", "the text of a unit does not parse");
        arena_free(scratch);
        arena_free(arena);
        return NULL;
    }
    copy->keep_gradients = like->keep_gradients;
    copy->probe = like->probe;
    return copy;
}

bool unit_try_run(Unit *copy) { return passes_run(copy, &(PassOptions){0}); }

void unit_try_end(Unit *copy) {
    if (!copy) return;
    Arena *arena = copy->arena;
    arena_free(copy->scratch);
    arena_free(arena);
}
