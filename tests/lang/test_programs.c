// SPDX-License-Identifier: Apache-2.0
// Every program in good/ and examples/ loads, its graphs are well formed, and its text, printed, reads back the same.
// A line `# loss: X` says what func eval computes (by the reference interpreter, each input counting 0, 1, 2 ... within
// its limit); a line `# param NAME: TYPE "STORAGE"` is a parameter it must have; `# with: -D n=3 --strategy s` options.
#include "frontend/frontend.h"
#include "ir/eval.h"
#include "ir/text.h"
#include "ir/verify.h"
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int failures, programs;

#define FAIL(...) (printf("%s: ", path), printf(__VA_ARGS__), putchar('\n'), failures++)

typedef struct Session {
    Arena *arena, *scratch;
    Diag *diag;
    FrontendDefine defines[8];
    FrontendOptions options;
    FrontendResult result;
} Session;

static void session_open(Session *s, const char *path, const char *text) {
    *s = (Session){.arena = arena_new(), .scratch = arena_new()};
    s->diag = diag_new(s->arena, stdout, false);
    s->options = (FrontendOptions){.path = path,
                                   .text = text,
                                   .size = text ? strlen(text) : 0,
                                   .arena = s->arena,
                                   .scratch = s->scratch,
                                   .strs = strtable_new(s->arena),
                                   .diag = s->diag};
    s->options.defines = s->defines;
}

static void session_close(Session *s) {
    arena_free(s->arena);
    arena_free(s->scratch);
}

static char *read_whole(const char *path) {
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    if (f && !fread(text, 1, (1 << 20) - 1, f)) FAIL("is empty");
    if (f) fclose(f);
    return text;
}

static void read_options(Session *s, const char *text) {
    static char with[300];
    if (sscanf(text, "# with: %299[^\n]", with) != 1) return;
    for (char *word = strtok(with, " "); word; word = strtok(NULL, " ")) {
        char *value = strtok(NULL, " ");
        if (!strcmp(word, "--strategy")) s->options.strategy = value;
        else frontend_parse_define(value, s->arena, &s->defines[s->options.ndefines++]);
    }
}

static void printed(Session *s, char **out_text) {
    size_t size;
    FILE *out = open_memstream(out_text, &size);
    frontend_print_ast(&s->result, out);
    fclose(out);
}

// print(parse(print(x))) is print(x), of the first file.
static void check_print(const char *path, const char *text) {
    Session one, two;
    session_open(&one, path, text);
    one.options.parse_only = true;
    frontend_load(&one.options, &one.result);
    char *first = NULL, *second = NULL;
    printed(&one, &first);
    char *end = strstr(first, "\n\n# "); // further files
    if (end) end[1] = 0;
    for (char *use = first; (use = strstr(use, "\nuse ")); use++) use[1] = '#';
    session_open(&two, path, first);
    two.options.parse_only = true;
    if (!frontend_load(&two.options, &two.result)) FAIL("its printed text does not parse");
    printed(&two, &second);
    for (char *use = first; (use = strstr(use, "\n#se ")); use++) memset(use, '\n', strcspn(use + 1, "\n") + 1);
    char *a = first, *b = second;
    while (*a && *a == *b) { // but for empty lines
        for (a++; *a == '\n';) a++;
        for (b++; *b == '\n';) b++;
    }
    if (*a != *b) FAIL("its printed text reads back differently: %.60s | %.60s", a, b);
    free(first);
    free(second);
    session_close(&one);
    session_close(&two);
}

static void set_inputs(Eval *e, const Func *f) {
    for (const Node *n = f->top->first; n; n = n->next) {
        int64_t count;
        if (n->op != OP_input || !type_elements(&n->results[0]->type, &count)) continue;
        double *x = malloc(sizeof *x * (size_t)count);
        for (int64_t i = 0; i < count; i++) x[i] = (double)(n->attr.i ? i % n->attr.i : i);
        eval_set(e, n->attr.s, x, count);
        free(x);
    }
}

static void check_loss(const char *path, Session *s, double wanted) {
    double got = NAN;
    Eval *e = eval_new(s->result.unit, s->arena);
    set_inputs(e, unit_func(s->result.unit, "init"));
    if (!eval_run(e, "init")) FAIL("init does not run");
    set_inputs(e, unit_func(s->result.unit, "eval"));
    if (!eval_run(e, "eval") || !eval_get(e, "loss", &got, 1)) FAIL("eval does not run");
    if (!(fabs(got - wanted) <= 1e-6 * fmax(1, fabs(wanted)))) FAIL("loss is %.17g, not %.17g", got, wanted);
}

static void check_param(const char *path, Session *s, const char *wanted) {
    const Unit *u = s->result.unit;
    for (const Node *n = unit_func(u, "init")->top->first; n; n = n->next) {
        if (n->op != OP_param) continue;
        const char *type = type_text(&n->results[0]->type, &u->mesh, s->arena);
        if (!strcmp(wanted, arena_printf(s->arena, "%s: %s \"%s\"", n->attr.s, type, n->attr.s2))) return;
    }
    FAIL("has no param %s", wanted);
}

static void run(const char *path) {
    Session s;
    char *text = read_whole(path);
    programs++;
    session_open(&s, path, NULL);
    read_options(&s, text);
    if (!frontend_load(&s.options, &s.result)) {
        FAIL("does not load");
    } else {
        if (!unit_verify(s.result.unit, "frontend")) FAIL("is not well formed");
        char *rest = text, *line;
        while (rest && (line = strsep(&rest, "\n")) && *line == '#') {
            line[strcspn(line, "\r")] = 0;
            if (!strncmp(line, "# loss: ", 8)) check_loss(path, &s, atof(line + 8));
            if (!strncmp(line, "# param ", 8)) check_param(path, &s, line + 8);
        }
    }
    int strategies = s.result.nstrategies;
    const char *names[20];
    for (int i = 0; i < strategies && i < 20; i++) names[i] = strdup(s.result.strategies[i]->name);
    session_close(&s);
    for (int i = 0; i < strategies && i < 20; i++) {
        session_open(&s, path, NULL);
        read_options(&s, text);
        s.options.strategy = names[i];
        if (!frontend_load(&s.options, &s.result) || !s.result.unit->strategy) FAIL("strategy %s fails", names[i]);
        session_close(&s);
        free((void *)names[i]);
    }
    free(text);
    text = read_whole(path);
    check_print(path, text);
    free(text);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void run_folder(const char *folder) {
    struct dirent **entries;
    int n = scandir(folder, &entries, NULL, by_name);
    for (int i = 0; i < n; i++) {
        const char *dot = strrchr(entries[i]->d_name, '.');
        char path[400];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (dot && !strcmp(dot, ".tgf")) run(path);
        free(entries[i]);
    }
    if (n >= 0) free(entries);
}

int main(void) {
    run_folder("tests/lang/good");
    run_folder("examples");
    printf("%d programs, %d failures\n", programs, failures);
    return failures || programs < 10;
}
