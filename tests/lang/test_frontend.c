// SPDX-License-Identifier: Apache-2.0
// What frontend_load takes beside a path: texts in memory, more declarations, definitions, a batch; and what it
// returns.
#include "frontend/frontend.h"
#include <string.h>

static int failures;
#define CHECK(x) ((x) ? (void)0 : (void)(printf("%s:%d: %s\n", __FILE__, __LINE__, #x), failures++))

static const char program[] = "use \"sizes.tgf\"\n"
                              "model m {\n"
                              "    input ids : i32[batch]\n"
                              "    param w [vocab, n] = normal(0.1)\n"
                              "    loss = mean(dropout(take(w, ids, vocab), 0.1))\n"
                              "}\n"
                              "train { batch = 4 }\n";

typedef struct Session {
    Arena *arena, *scratch;
    FrontendOptions options;
    FrontendResult result;
} Session;

static bool load(Session *s, FrontendOptions o) {
    s->arena = arena_new();
    s->scratch = arena_new();
    s->options = o;
    s->options.arena = s->arena;
    s->options.scratch = s->scratch;
    s->options.strs = strtable_new(s->arena);
    s->options.diag = diag_new(s->arena, stdout, false);
    return frontend_load(&s->options, &s->result);
}

static void done(Session *s) {
    arena_free(s->arena);
    arena_free(s->scratch);
}

static int64_t extent(const Session *s, const char *name) {
    const Axis *a = unit_axis(s->result.unit, str_intern(s->options.strs, name));
    return a ? a->extent : -1;
}

static const Node *find(const Func *f, OpKind op, const char *name) {
    for (const Node *n = f->top->first; n; n = n->next)
        if (n->op == op && (!name || !strcmp(n->attr.s, name))) return n;
    return NULL;
}

static void test_memory(void) {
    const FrontendText files[] = {{"sizes.tgf", "axis n = 3, vocab = 7\n", 22}};
    const FrontendDefine defines[] = {{"n", 5}, {"n", 6}};
    Session s;
    CHECK(load(&s, (FrontendOptions){.path = "m.tgf",
                                     .text = program,
                                     .size = sizeof program - 1,
                                     .files = files,
                                     .nfiles = 1,
                                     .no_disk = true,
                                     .defines = defines,
                                     .ndefines = 2,
                                     .batch = 9,
                                     .extra = "strategy made { mesh data = 3; split batch over data }\n",
                                     .strategy = "made"}));
    if (!s.result.unit) return;
    CHECK(extent(&s, "n") == 6 && extent(&s, "batch") == 9 && extent(&s, "vocab") == 7);
    CHECK(s.result.unit->recipe && s.result.unit->recipe->batch == 9);
    const Strategy *made = s.result.unit->strategy;
    CHECK(made && made->mesh.n == 1 && made->mesh.axis[0].extent == 3 && made->nsplits == 1 &&
          made->splits[0].over == 1);
    CHECK(s.result.unit->mesh.n == 0 && s.result.nfiles == 0);
    const Func *train = unit_func(s.result.unit, "train"), *eval = unit_func(s.result.unit, "eval");
    CHECK(train && eval && unit_func(s.result.unit, "init") && !unit_func(s.result.unit, "predict"));
    const Node *ids = find(train, OP_input, "ids");
    CHECK(ids && ids->attr.i == 7 && ids->attr.j == 0);
    CHECK(find(train, OP_random, NULL) && find(train, OP_input, "seed") && find(train, OP_input, "step"));
    CHECK(!find(eval, OP_random, NULL) && !find(eval, OP_input, "step"));
    done(&s);
}

static void test_disk(void) {
    Session s;
    CHECK(load(&s, (FrontendOptions){.path = "tests/lang/good/blocks.tgf"}));
    CHECK(s.result.nfiles == 2 && !strcmp(s.result.files[0], "tests/lang/good/blocks.tgf") &&
          !strcmp(s.result.files[1], "tests/lang/good/parts/shared.tgf"));
    CHECK(s.result.unit && !s.result.unit->recipe && !unit_func(s.result.unit, "train"));
    done(&s);
    CHECK(!load(&s, (FrontendOptions){.path = "tests/lang/good/nowhere.tgf"})); // prints why
    CHECK(!s.result.unit);
    done(&s);
}

static void test_define(void) {
    Arena *a = arena_new();
    FrontendDefine d;
    CHECK(frontend_parse_define("layer=48", a, &d) && !strcmp(d.name, "layer") && d.value == 48);
    static const char *const bad[] = {"layer",    "=3",   "layer=", "layer=x",
                                      "layer=-1", "3a=1", "a b=1",  "a=99999999999999999999"};
    for (int i = 0; i < 8; i++) CHECK(!frontend_parse_define(bad[i], a, &d));
    arena_free(a);
}

int main(void) {
    test_memory();
    test_disk();
    test_define();
    return failures != 0;
}
