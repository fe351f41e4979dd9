// SPDX-License-Identifier: Apache-2.0
// Every program in bad/ gives exactly the errors it announces:
//     x = y + z          # error: unknown name 'z' # note: some note
// expects, on that line, an error (and a note) whose message holds the text; `# error@FILE: text` expects an error
// anywhere in FILE (a base name; nothing: an error without a place). Notes that are not announced are free, errors are
// not. A first line `# with: -D n=3 --strategy s --after resolve` gives options; with the last the errors
// are those of the passes up to this one.
#include "frontend/frontend.h"
#include "passes/pass.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static int failures;

typedef struct Message {
    char file[200], kind[20], text[600];
    int line;
    bool met;
} Message;
typedef Vec(Message) Messages;

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool read_message(const char *line, Message *out) {
    *out = (Message){0};
    int col;
    if (sscanf(line, "tgf: %19[a-z]: %599[^\n]", out->kind, out->text) == 2) return true;
    return sscanf(line, "%199[^:]:%d:%d: %19[a-z]: %599[^\n]", out->file, &out->line, &col, out->kind, out->text) == 5;
}

// Meets one expectation; `file` NULL: at `line` of the program itself.
static void expect(const char *program, Messages *got, const char *kind, const char *file, int line, const char *text,
                   int at) {
    for (int i = 0; i < got->n; i++) {
        Message *m = &got->at[i];
        bool here = file ? !strcmp(base_name(m->file), file) : m->line == line && !strcmp(m->file, program);
        if (m->met || strcmp(m->kind, kind) || !here || !strstr(m->text, text)) continue;
        m->met = true;
        return;
    }
    printf("%s:%d: expected %s is absent: %s\n", program, at, kind, text);
    failures++;
}

static void expect_line(const char *program, Messages *got, char *line, int number) {
    if (!strncmp(line, "# with:", 7)) return;
    for (char *at = strstr(line, "# "), *next; at; at = next) {
        next = strstr(at + 2, " # ");
        if (next) *next++ = 0;
        char kind[20], file[200] = "", text[600];
        if (sscanf(at, "# %19[a-z]: %599[^\n]", kind, text) == 2)
            expect(program, got, kind, NULL, number, text, number);
        else if (sscanf(at, "# %19[a-z]@: %599[^\n]", kind, text) == 2) expect(program, got, kind, "", 0, text, number);
        else if (sscanf(at, "# %19[a-z]@%199[^:]: %599[^\n]", kind, file, text) == 3)
            expect(program, got, kind, file, 0, text, number);
    }
}

static char *read_whole(const char *path, size_t *out_size) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = malloc(1 << 20);
    *out_size = fread(text, 1, (1 << 20) - 1, f);
    text[*out_size] = 0;
    fclose(f);
    return text;
}

static void run(const char *path) {
    size_t size, said_size;
    char *text = read_whole(path, &size), *said;
    FILE *out = open_memstream(&said, &said_size);
    Arena *a = arena_new(), *scratch = arena_new();
    FrontendDefine defines[8];
    FrontendOptions o = {.path = path, .arena = a, .scratch = scratch, .strs = strtable_new(a), .defines = defines};
    o.diag = diag_new(a, out, false);
    char with[300] = "", *after = NULL;
    if (text && sscanf(text, "# with: %299[^\n]", with) == 1) {
        for (char *word = strtok(with, " "); word; word = strtok(NULL, " ")) {
            char *value = strtok(NULL, " ");
            if (value && !strcmp(word, "--strategy")) o.strategy = value;
            else if (value && !strcmp(word, "--after")) after = value;
            else if (!value || strcmp(word, "-D") || !frontend_parse_define(value, a, &defines[o.ndefines++])) {
                printf("%s: bad 'with' line\n", path);
                failures++;
                break;
            }
        }
    }
    FrontendResult result;
    bool ok = frontend_load(&o, &result);
    if (ok && after) {
        ok = passes_run(result.unit, &(PassOptions){.last = after});
        result.unit = ok ? result.unit : NULL;
    }
    fclose(out);
    Messages got = {0};
    if (ok || result.unit || !diag_errors(o.diag)) {
        printf("%s: loads, but should not\n", path);
        failures++;
    }
    char *rest = said;
    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        Message m;
        if (read_message(line, &m)) vec_push(a, &got, m);
    }
    rest = text;
    int number = 1;
    if (text)
        for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n"), number++)
            expect_line(path, &got, line, number);
    for (int i = 0; i < got.n; i++)
        if (!got.at[i].met && strcmp(got.at[i].kind, "note")) {
            printf("%s:%d: not expected: %s: %s\n", got.at[i].file, got.at[i].line, got.at[i].kind, got.at[i].text);
            failures++;
        }
    free(text);
    free(said);
    arena_free(a);
    arena_free(scratch);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

int main(void) {
    struct dirent **entries;
    int n = scandir("tests/lang/bad", &entries, NULL, by_name), programs = 0;
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name, *dot = strrchr(name, '.');
        char path[400];
        if (dot && !strcmp(dot, ".tgf")) {
            snprintf(path, sizeof path, "tests/lang/bad/%s", name);
            run(path);
            programs++;
        }
        free(entries[i]);
    }
    if (n >= 0) free(entries);
    printf("%d wrong programs, %d failures\n", programs, failures);
    return failures || programs < 60;
}
