// SPDX-License-Identifier: Apache-2.0
// Each example and its two twins in C: the same IR byte for byte, without locations, with no strategy and with each, of
// other extents, and behind all passes; the twin printed as .tgf is that program again; its IR names the C lines. For
// the script beside this:
//     test_dsl_twins names
//     test_dsl_twins text|ir EXAMPLE program|family [STRATEGY]      prints the text, the IR behind all passes
#include "tests/dsl/text_ir.h"
#include "tests/dsl/twins.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int failures, compared;

#define FAIL(...) (printf("%s: ", what), printf(__VA_ARGS__), putchar('\n'), failures++)

typedef struct Variant {
    const char *strategy, *pass;
    const TextSet *sets;
    int nsets;
} Variant;

static const char *variant_text(const char *name, const char *form, const Variant *v) {
    static char text[200];
    snprintf(text, sizeof text, "%s, %s, strategy %s, behind %s, %d extents", name, form,
             v->strategy ? v->strategy : "none", v->pass ? v->pass : "no pass", v->nsets);
    return text;
}

static void compare(const char *what, const char *wanted, const char *got) {
    compared++;
    if (!strcmp(wanted, got)) return;
    int line = 1;
    const char *a = wanted, *b = got, *start_a = a, *start_b = b;
    for (; *a == *b; a++, b++)
        if (*a == '\n') line++, start_a = a + 1, start_b = b + 1;
    FAIL("line %d differs\n  %.*s\n  %.*s", line, (int)strcspn(start_a, "\n"), start_a, (int)strcspn(start_b, "\n"),
         start_b);
}

// The program's IR. NULL after reporting.
static const char *program_ir(const char *what, TgfProgram *p, const Variant *v, int locations) {
    TgfDefine defines[8];
    for (int i = 0; i < v->nsets; i++) defines[i] = (TgfDefine){v->sets[i].name, v->sets[i].value};
    TgfCompileOptions o = {.strategy = v->strategy, .defines = defines, .ndefines = v->nsets};
    const char *ir = NULL;
    TgfStatus s = tgf_program_ir(p, &o, v->pass, locations, &ir);
    if (!s.code && ir) return ir;
    FAIL("no IR: %s\n%s", s.message, tgf_program_messages(p));
    return NULL;
}

static char *wanted_ir(const char *what, const char *path, const char *text, const Variant *v) {
    TextRequest r = {path, text, v->strategy, v->sets, v->nsets, v->pass};
    char *ir = text_ir(&r);
    if (!ir) FAIL("the text does not compile");
    return ir;
}

static void check_variant(const Twin *t, const char *path, TgfProgram *programs[2], const char *printed,
                          const Variant *v) {
    static const char *const forms[] = {"as the text", "as a family"};
    const char *what = variant_text(t->name, "text", v);
    char *wanted = wanted_ir(what, path, NULL, v);
    for (int form = 0; wanted && form < 2; form++) {
        what = variant_text(t->name, forms[form], v);
        const char *got = program_ir(what, programs[form], v, 0);
        if (got) compare(what, wanted, got);
    }
    if (v->pass) printed = NULL;
    what = variant_text(t->name, "printed", v);
    char *again = printed ? wanted_ir(what, "printed.tgf", printed, v) : NULL;
    if (wanted && again) compare(what, wanted, again);
    free(wanted);
    free(again);
}

// Lines of the IR in C with their locations: those of an axis or a parameter of the program name its line in the C
// file.
static void check_places(const Twin *t, TgfProgram *p) {
    const char *what = variant_text(t->name, "places", &(Variant){0});
    char file[100];
    snprintf(file, sizeof file, "tests/dsl/%s.c", t->name);
    FILE *f = fopen(file, "rb");
    char *source = calloc(1, 1 << 16);
    size_t size = f ? fread(source, 1, (1 << 16) - 1, f) : 0;
    if (f) fclose(f);
    const char *ir = program_ir(what, p, &(Variant){0}, 1);
    int axes = 0, params = 0;
    for (const char *line = ir; line && *line && size; line += strcspn(line, "\n"), line += *line == '\n') {
        char name[100], place[300];
        bool axis = sscanf(line, "axis %99[a-z_]=%*d @%299[^\n]", name, place) == 2;
        const char *node = strstr(line, " = param \"");
        if (node && node > line + strcspn(line, "\n")) node = NULL;
        bool param = node && sscanf(node, " = param \"%99[^\"]\" \"%*[^\"]\" @%299[^\n]", name, place) == 2;
        if (!axis && !param) continue;
        int at = 0;
        char *end = strstr(place, file);
        if (param && !strncmp(place, "std.tgf:", 8)) continue;
        if (!end || sscanf(end + strlen(file), ":%d", &at) != 1) {
            FAIL("%s is not in %s but at %s", name, file, place);
            continue;
        }
        const char *row = source;
        for (int i = 1; i < at; i++) row = strchr(row, '\n') ? strchr(row, '\n') + 1 : "";
        const char *last = strrchr(name, '.') ? strrchr(name, '.') + 1 : name;
        char call[120];
        snprintf(call, sizeof call, axis ? "TGF_AXIS(p, %s," : "TGF_PARAM(p, %s,", last);
        if (axis && !strcmp(name, "batch")) snprintf(call, sizeof call, "tgf_setting(p, \"batch\",");
        if (!strstr(source, call)) continue; // an axis the compiler made
        const char *found = strstr(row, call);
        if (!found || found > row + strcspn(row, "\n")) FAIL("%s is not on line %d of %s", name, at, file);
        axes += axis;
        params += param;
    }
    if (axes < 8 || params < 4) FAIL("places of %d axes and %d parameters seen", axes, params);
    free(source);
}

static void check_twin(const Twin *t) {
    static const TextSet small[] = {{"layer", 2}, {"head", 4}, {"dim", 16}, {"batch", 8}, {"seq", 32}};
    static const TextSet deep[] = {{"layer", 129}, {"head", 8}, {"dim", 16}, {"batch", 3100}, {"seq", 32}};
    const char *what = t->name;
    char path[100], strategies[20][40];
    snprintf(path, sizeof path, "examples/%s.tgf", t->name);
    int n = text_strategies(path, strategies);
    if (n < 1) FAIL("its text has no strategies");
    TgfProgram *programs[2] = {t->program(), t->family()};
    const char *printed = NULL;
    TgfStatus s = tgf_program_text(programs[0], &printed);
    if (s.code || !printed) {
        FAIL("does not print: %s\n%s", s.message, tgf_program_messages(programs[0]));
    } else {
        char *again = text_again(printed), *solid = text_solid(printed),
             *solid_again = again ? text_solid(again) : NULL;
        if (solid_again) compare("printed, parsed, printed", solid, solid_again);
        else FAIL("its text does not parse");
        free(again);
        free(solid);
        free(solid_again);
        const TextSet *sets = strcmp(t->name, "gpt1t") ? small : deep; // 128 chunks of layers
        for (int i = -1; i < n; i++) {
            const char *strategy = i < 0 ? NULL : strategies[i];
            check_variant(t, path, programs, printed, &(Variant){strategy, NULL, NULL, 0});
            check_variant(t, path, programs, printed, &(Variant){strategy, NULL, sets, 5});
            check_variant(t, path, programs, printed, &(Variant){strategy, "memory", sets, 5});
        }
    }
    check_places(t, programs[0]);
    for (int i = 0; i < 2; i++) {
        if (*tgf_program_messages(programs[i])) FAIL("says %s", tgf_program_messages(programs[i]));
        tgf_program_free(programs[i]);
    }
}

static int print(int argc, char **argv) {
    for (int i = 0; i < TWINS; i++) {
        if (argc == 2) puts(twins[i].name);
        if (argc < 4 || strcmp(twins[i].name, argv[2])) continue;
        TgfProgram *p = strcmp(argv[3], "family") ? twins[i].program() : twins[i].family();
        const char *out = NULL;
        TgfCompileOptions o = {.strategy = argc > 4 ? argv[4] : NULL};
        TgfStatus s = strcmp(argv[1], "ir") ? tgf_program_text(p, &out) : tgf_program_ir(p, &o, "memory", 0, &out);
        fputs(s.code ? tgf_program_messages(p) : out, s.code ? stderr : stdout);
        tgf_program_free(p);
        return s.code != TGF_OK;
    }
    return argc != 2;
}

int main(int argc, char **argv) {
    if (argc > 1) return print(argc, argv);
    for (int i = 0; i < TWINS; i++) check_twin(&twins[i]);
    printf("%d comparisons, %d failures\n", compared, failures);
    return failures || compared < 250;
}
