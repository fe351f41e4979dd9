// SPDX-License-Identifier: Apache-2.0
// The index of a program's names: each name of a text below is followed in the comment of its line by what it names;
// scopes, carried variables, names inside strings, mistakes. Sights: what names came to stand for. Paths, spelled in
// several ways. Diagnostics that are taken, and such without a column.
#include "frontend/index.h"
#include "frontend/sight.h"
#include "passes/pass.h"
#include <stdlib.h>
#include <string.h>

static int failures;

#define CHECK(good, ...)                                                                                               \
    do {                                                                                                               \
        if (!(good)) printf("line %d: ", __LINE__), printf(__VA_ARGS__), putchar('\n'), failures++;                    \
    } while (0)

typedef struct Session {
    Arena *arena, *scratch;
    FrontendOptions options;
    FrontendResult result;
    Index *index;
    Sights sights;
    Vec(const char *) said;
} Session;

static void take(void *data, DiagKind kind, Loc at, const char *message) {
    Session *s = data;
    vec_push(
        s->arena, &s->said,
        (const char *)arena_printf(s->arena, "%d %s:%d:%d %s", kind, at.file ? at.file : "", at.line, at.col, message));
}

static void session_open(Session *s, const char *text, const FrontendText *files, int nfiles, const char *strategy) {
    *s = (Session){.arena = arena_new(), .scratch = arena_new()};
    s->options = (FrontendOptions){.path = "dir/main.tgf",
                                   .text = text,
                                   .size = strlen(text),
                                   .files = files,
                                   .nfiles = nfiles,
                                   .no_disk = true,
                                   .strategy = strategy,
                                   .sights = &s->sights,
                                   .arena = s->arena,
                                   .scratch = s->scratch,
                                   .strs = strtable_new(s->arena),
                                   .diag = diag_new_taken(s->arena, take, s)};
    frontend_load(&s->options, &s->result);
    s->index = index_make(&s->result, s->arena);
}

static void session_close(Session *s) {
    arena_free(s->scratch);
    arena_free(s->arena);
}

// On each line, behind `#`: name=line of its definition, or name=! for what the language has, in the order of the text.
static const char program[] =
    "axis batch = 4, width = 8                    # batch=1 width=1\n"
    "axis layer = 3, half = width / 2             # layer=2 width=1 half=2\n"
    "block scale(x, width, by = 2) {              # scale=3 x=3 width=3 by=3\n"
    "    param g [width] = normal(0.1) as \"g\"     # width=3 normal=! g=4\n"
    "    y = x * g * by                           # x=3 g=4 by=3 y=5\n"
    "    y = y + half                             # y=5 half=2 y=5\n"
    "    return y                                 # y=5\n"
    "}                                            #\n"
    "model m {                                    # m=9\n"
    "    input a : f32[batch, width]              # a=10 f32=! batch=1 width=1\n"
    "    x = scale(a, width, by = 3) as \"s\"       # x=11 scale=3 a=10 width=1 by=3\n"
    "    repeat layer as \"h.{layer}\" {            # layer=2 layer=2\n"
    "        t = x * 2                            # x=11 t=13\n"
    "        x = scale(t, width) as \"s.{layer}\"   # scale=3 t=13 width=1 layer=2 x=11\n"
    "    }                                        #\n"
    "    t = x[width -> half at 1]                # x=11 width=1 half=2 t=16\n"
    "    loss = mean(t)                           # t=16 mean=! loss=17\n"
    "}                                            #\n"
    "strategy two {                               # two=19\n"
    "    mesh d = 2, e = 2                        # mesh=! d=20 e=20\n"
    "    split width, half over d, e              # split=! width=1 half=2 d=20 e=20\n"
    "    recompute scale, dot                     # recompute=! scale=3 dot=!\n"
    "}                                            #\n"
    "strategy three { mesh d = 3                  # three=24 mesh=! d=24\n"
    "    split batch over d                       # split=! batch=1 d=24\n"
    "}                                            #\n"
    "train {                                      #\n"
    "    optimizer sgd lr = cosine(width, warmup = 1), no_decay = \"s.g\" # optimizer=! sgd=! lr=! cosine=! width=1 "
    "warmup=! no_decay=!\n"
    "}\n";

static const char *line_at(const char *text, int line) {
    while (--line) text = strchr(text, '\n') + 1;
    return text;
}

static int place_order(const void *a, const void *b) {
    const Occurrence *x = a, *y = b;
    return x->loc.line != y->loc.line ? x->loc.line - y->loc.line : x->loc.col - y->loc.col;
}

// What the index says of a line, in the order of its text.
static const char *told(Session *s, int line) {
    const char *text = "";
    Vec(Occurrence) at = {0};
    for (int i = 0; i < s->index->at.n; i++)
        if (s->index->at.at[i].loc.line == line && !strcmp(s->index->at.at[i].loc.file, "dir/main.tgf"))
            vec_push(s->arena, &at, s->index->at.at[i]);
    if (at.n) qsort(at.at, (size_t)at.n, sizeof *at.at, place_order);
    for (int i = 0; i < at.n; i++) {
        const Def *d = &s->index->defs.at[at.at[i].def];
        const char *name = arena_printf(s->arena, "%.*s", at.at[i].loc.end_col - at.at[i].loc.col,
                                        line_at(program, line) + at.at[i].loc.col - 1);
        CHECK(!strcmp(name, d->name), "'%s' stands where '%s' is said to", name, d->name);
        text = d->loc.file ? arena_printf(s->arena, "%s %s=%d", text, name, d->loc.line)
                           : arena_printf(s->arena, "%s %s=!", text, name);
    }
    return text;
}

static const char *expected(Session *s, int line) {
    const char *start = line_at(program, line), *end = strchr(start, '\n');
    const char *comment = memchr(start, '#', (size_t)(end - start));
    return comment ? arena_printf(s->arena, "%.*s", (int)(end - comment - 1), comment + 1) : "";
}

static int order_of_words(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// Order within a line is that of the text; the comments say it so that it reads well: compared as sets of pairs.
static const char *sorted(Session *s, const char *text) {
    Vec(char *) words = {0};
    char *copy = arena_printf(s->arena, "%s", text);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) vec_push(s->arena, &words, word);
    if (words.n) qsort(words.at, (size_t)words.n, sizeof *words.at, order_of_words);
    const char *out = "";
    for (int i = 0; i < words.n; i++) out = arena_printf(s->arena, "%s %s", out, words.at[i]);
    return out;
}

static void test_names(void) {
    Session s;
    session_open(&s, program, NULL, 0, NULL);
    CHECK(!s.said.n, "the program compiles, not: %s", s.said.n ? s.said.at[0] : "");
    int lines = 0;
    for (const char *p = program; *p; p++) lines += *p == '\n';
    for (int line = 1; line <= lines; line++) {
        const char *got = sorted(&s, told(&s, line)), *want = sorted(&s, expected(&s, line));
        CHECK(!strcmp(got, want), "program line %d:%s; expected:%s", line, got, want);
    }
    const Occurrence *o = index_find(s.index, "dir/main.tgf", 14, 9);
    CHECK(o && o->makes && s.index->defs.at[o->def].kind == DEF_VARIABLE, "x is assigned in the repeat");
    CHECK(o && !strcmp(s.index->defs.at[o->def].owner, "m"), "x is of the model");
    CHECK(index_find(s.index, "dir/main.tgf", 14, 10) == o, "just behind a name is at it");
    CHECK(!index_find(s.index, "dir/main.tgf", 14, 12), "beside every name is none");
    CHECK(index_find(s.index, "std.tgf", 6, 7), "std.tgf is in the index");
    session_close(&s);
}

static void test_mistakes(void) {
    static const char text[] = "axis n = 2\nmodel m {\n  x = nothing(n) + y[n -> k]\n  z = = 1\n  loss = x\n}\n"
                               "strategy s {\n  split q over r\n}\n";
    Session s;
    session_open(&s, text, NULL, 0, NULL);
    CHECK(s.said.n && !strncmp(s.said.at[0], "0 dir/main.tgf:4:7 unexpected '='", 33), "said: %s", s.said.at[0]);
    CHECK(index_find(s.index, "dir/main.tgf", 3, 15) && !index_find(s.index, "dir/main.tgf", 3, 7), "names that mean");
    CHECK(index_find(s.index, "dir/main.tgf", 5, 10), "names behind a mistake");
    session_close(&s);
}

static void test_files(void) {
    const FrontendText files[] = {{"dir/lib/axes.tgf", "axis n = 2\n", 11},
                                  {"./dir//parts.tgf", "use \"lib/axes.tgf\"\nblock f(x) {\n return x + n\n}\n", 47}};
    static const char text[] = "use \"./parts.tgf\"\nuse \"lib/../lib/axes.tgf\"\nuse \"../dir/parts.tgf\"\n"
                               "model m {\n input a : f32[n]\n loss = sum(f(a))\n}\n";
    Session s;
    session_open(&s, text, files, 2, NULL);
    CHECK(!s.said.n, "files spelled in several ways are one: %s", s.said.n ? s.said.at[0] : "");
    const Occurrence *o = index_find(s.index, "dir/main.tgf", 6, 13);
    const Def *d = o ? &s.index->defs.at[o->def] : NULL;
    CHECK(d && d->kind == DEF_BLOCK && !strcmp(path_normal(s.arena, d->loc.file), "dir/parts.tgf"), "f is of a file");
    o = index_find(s.index, "dir/main.tgf", 1, 6);
    CHECK(o && s.index->defs.at[o->def].kind == DEF_FILE, "a file's name leads to it");
    static const char *const paths[][2] = {
        {"a/./b", "a/b"},        {"a/../b", "b"},    {"../a", "../a"}, {"a/../../b", "../b"},
        {"/../a/", "/a"},        {"/a//b/..", "/a"}, {"./", "."},      {"a/..", "."},
        {"../../a/..", "../.."}, {"/", "/"},         {"", "."},        {"a/...", "a/..."}};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        CHECK(!strcmp(path_normal(s.arena, paths[i][0]), paths[i][1]), "%s becomes %s, not %s", paths[i][0],
              path_normal(s.arena, paths[i][0]), paths[i][1]);
    session_close(&s);
}

static const Sight *seen(const Session *s, int line, int col, const char *func) {
    for (int i = 0; i < s->sights.at.n; i++) {
        const Sight *x = &s->sights.at.at[i];
        if (x->loc.line == line && x->loc.col == col && !strcmp(x->func->name, func)) return x;
    }
    return NULL;
}

static void test_sights(void) {
    Session s;
    session_open(&s, program, NULL, 0, "two");
    const Sight *t = seen(&s, 13, 9, "eval"), *x = seen(&s, 11, 5, "eval"), *by = seen(&s, 3, 23, "eval");
    CHECK(t && t->kind == SIGHT_TENSOR && t->type.rank == 2, "t is a tensor");
    CHECK(by && by->kind == SIGHT_NUMBER && by->number == 3, "by is 3 in the first call");
    const Sight *w = seen(&s, 3, 16, "eval"), *g = seen(&s, 4, 11, "eval");
    CHECK(w && w->kind == SIGHT_AXIS && w->axis->extent == 8, "the block's width is the axis");
    CHECK(g && g->is_param && !strcmp(g->value->def->attr.s2, "s.g [width]"), "a parameter");
    CHECK(passes_run(s.result.unit, &(PassOptions){.last = "clean"}), "the passes run");
    Living living = living_values(unit_func(s.result.unit, "eval"), s.arena);
    const Value *v = x ? sight_value(&living, x->value) : NULL;
    CHECK(v && type_split(&v->type) == 3 && x->type.rank == 2 && !type_split(&x->type),
          "x is split, as written it is not");
    CHECK(t && sight_value(&living, t->value), "t lives");
    session_close(&s);
}

static void test_places(void) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    Arena *a = arena_new();
    Diag *d = diag_new(a, out, false);
    static const char source[] = "one\ntwo\n";
    diag_source(d, "f.c", source, strlen(source));
    diag_error(d, (Loc){"f.c", 2, 0, 0}, "no column");
    diag_warning(d, (Loc){"f.c", 2, 2, 4}, "with %d", 2);
    fclose(out);
    const char *want = "f.c:2: error: no column\nf.c:2:2: warning: with 2\n    2 | two\n      |  ^~\n";
    CHECK(!strcmp(text, want), "printed:\n%s", text);
    d = diag_new_taken(a, NULL, NULL);
    for (int i = 0; i < 300; i++) diag_error(d, (Loc){0}, "one of many");
    CHECK(diag_errors(d) == 300, "all are counted");
    free(text);
    arena_free(a);
}

int main(void) {
    test_names();
    test_mistakes();
    test_files();
    test_sights();
    test_places();
    printf(failures ? "%d failures\n" : "ok\n", failures);
    return failures != 0;
}
