// SPDX-License-Identifier: Apache-2.0
// pass: runs the pipeline of pass.def over a unit. After each pass the unit is verified and, when asked, printed,
// parsed and printed again: whatever a pass makes must have a text that says all of it.
#include "passes/pass.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/pass_try.h"
#include <stdlib.h>

typedef struct PassInfo {
    const char *label, *text;
    bool (*run)(Unit *u);
} PassInfo;

static const PassInfo pass_table[] = {
#define PASS(function, label, text) {#label, text, pass_##function},
#include "passes/pass.def"
#undef PASS
};
enum { PASS_COUNT = sizeof pass_table / sizeof *pass_table };

static int pass_find(const char *label) {
    for (int i = 0; i < PASS_COUNT; i++)
        if (!strcmp(pass_table[i].label, label)) return i;
    return -1;
}

bool pass_known(const char *label) { return label && pass_find(label) >= 0; }

void passes_list(FILE *out) {
    for (int i = 0; i < PASS_COUNT; i++) fprintf(out, "%-10s %s\n", pass_table[i].label, pass_table[i].text);
}

// The first line in which two texts differ, for the message: copied out of `a` into `line`.
static int first_difference(const char *a, const char *b, char *line, size_t size) {
    int number = 1;
    const char *start = a;
    for (; *a && *a == *b; a++, b++)
        if (*a == '\n') number++, start = a + 1;
    size_t n = strcspn(start, "\n");
    if (n >= size) n = size - 1;
    memcpy(line, start, n);
    line[n] = 0;
    return number;
}

static bool text_survives(Unit *u, const char *label) {
    size_t size = 0, again_size = 0;
    Arena *arena = arena_new(), *scratch = arena_new();
    const char *text = unit_text(u, true, arena, &size), *again = NULL;
    if (!text) arena_exhausted();
    bool same = false;
    Unit *copy = unit_parse(arena, scratch, u->strs, u->diag, str_internf(u->strs, "<after %s>", label), text, size);
    if (copy && !(again = unit_text(copy, true, arena, &again_size))) arena_exhausted();
    if (again) same = size == again_size && !memcmp(text, again, size);
    if (!same) {
        char line[400] = "";
        int number = again ? first_difference(text, again, line, sizeof line) : 0;
        diag_internal(u->diag, label, line,
                      copy ? "line %d of the text changes when it is parsed and printed again"
                           : "the text does not parse (line %d)",
                      number);
    }
    arena_free(scratch);
    arena_free(arena);
    return same;
}

static bool label_is(const char *asked, const char *label) { return asked && !strcmp(asked, label); }

static bool label_resolve(const Unit *u, const char *label, int absent, int *out_index) {
    *out_index = label ? pass_find(label) : absent;
    if (*out_index >= 0) return true;
    diag_error(u->diag, (Loc){0}, "there is no pass '%s'", label);
    return false;
}

bool passes_run(Unit *u, const PassOptions *options) {
    int first, last, ignored;
    if (!label_resolve(u, options->first, 0, &first) || !label_resolve(u, options->last, PASS_COUNT - 1, &last) ||
        !label_resolve(u, options->dump_before, 0, &ignored) || !label_resolve(u, options->dump_after, 0, &ignored))
        return false;
    if (!options->first && u->passed) {
        if (!label_resolve(u, u->passed, 0, &first)) return false;
        first++;
        if (last < first - 1) {
            diag_error(u->diag, (Loc){0}, "the IR is behind '%s' already, '%s' comes before it", u->passed,
                       pass_table[last].label);
            return false;
        }
        // The text of a unit behind `memory` has no offsets: they are found again.
        if (first == PASS_COUNT && last == PASS_COUNT - 1 && !u->storage) first--;
    }
    if (options->keep_gradients) u->keep_gradients = true;
    int errors = diag_errors(u->diag);
    for (int i = first; i <= last; i++) {
        const PassInfo *p = &pass_table[i];
        if (options->dump && label_is(options->dump_before, p->label)) unit_print(u, options->dump);
        bool good = p->run(u);
        u->passed = str_intern(u->strs, p->label);
        if (good && diag_errors(u->diag) == errors) good = unit_verify(u, p->label);
        arena_reset(u->scratch);
        if (!good && diag_errors(u->diag) == errors)
            diag_internal(u->diag, p->label, "", "the pass failed without saying why");
        if (!good || diag_errors(u->diag) != errors) return false;
        if (options->check_text && !text_survives(u, p->label)) return false;
        if (options->dump && label_is(options->dump_after, p->label)) unit_print(u, options->dump);
    }
    return true;
}
