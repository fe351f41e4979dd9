// SPDX-License-Identifier: Apache-2.0
// The reference interpreter against numbers worked out by hand: every op that is not elementwise, on one rank and on
// several; effects; and what it must complain about. (tests/ops holds the elementwise ops, gradients and placements.)
#include "ir/eval.h"
#include "ir/random.h"
#include "ir/text.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { VALUES = 24 };
static const char ANOTHER[] = "the result must be another"; // as a message

typedef struct Named {
    const char *name;
    int n;
    double at[VALUES];
} Named;

typedef struct Case {
    const char *what, *text; // behind the common head; the result is output "y"
    Named set[4], want;
    bool poison;
    const char *message; // if not ANOTHER: expected in what is printed, when the run must fail
} Case;

#define HEAD                                                                                                           \
    "unit \"t\"\nmesh m=2\nmesh k=3\naxis a=2\naxis b=3\naxis c=4\naxis d=2\naxis e=6\naxis p=5\naxis one=1\nfunc "    \
    "train\n"
#define X_AB "%x: f32[a=2, b=3] = input \"x\"\n"
#define SIX                                                                                                            \
    {                                                                                                                  \
        "x", 6, { 1, 2, 3, 4, 5, 6 }                                                                                   \
    }

static const Case cases[] = {
    {"broadcast by name, whatever the order",
     X_AB "%z: f32[b=3] = input \"z\"\n%y: f32[a=2, b=3] = mul %z, %x\noutput %y \"y\"\n",
     {SIX, {"z", 3, {10, 100, 1000}}},
     {"y", 6, {10, 200, 3000, 40, 500, 6000}},
     false,
     NULL},
    {"a transposed operand",
     X_AB "%z: f32[b=3, a=2] = input \"z\"\n%y: f32[a=2, b=3] = sub %x, %z\noutput %y \"y\"\n",
     {SIX, {"z", 6, {1, 2, 3, 4, 5, 6}}},
     {"y", 6, {0, -1, -2, 2, 1, 0}},
     false,
     NULL},
    {"cast truncates",
     X_AB "%i: i32[a=2, b=3] = cast %x as i32\n%y: f32[a=2, b=3] = cast %i as f32\noutput %y \"y\"\n",
     {{"x", 6, {1.9, -1.9, 0.5, -0.5, 7, 2.1}}},
     {"y", 6, {1, -1, 0, 0, 7, 2}},
     false,
     NULL},
    {"cast to bool",
     X_AB "%i: bool[a=2, b=3] = cast %x as bool\n%y: f32[a=2, b=3] = cast %i as f32\noutput %y \"y\"\n",
     {{"x", 6, {0, 0.25, -3, 0, 1, 2}}},
     {"y", 6, {0, 1, 1, 0, 1, 1}},
     false,
     NULL},
    {"expand transposes and repeats",
     X_AB "%y: f32[b=3, d=2, a=2] = expand %x\noutput %y \"y\"\n",
     {SIX},
     {"y", 12, {1, 4, 1, 4, 2, 5, 2, 5, 3, 6, 3, 6}},
     false,
     NULL},
    {"index on a split axis",
     "%y: i32[p/k=5] = index over p\noutput %y \"y\"\n",
     {{0}},
     {"y", 5, {0, 1, 2, 3, 4}},
     true,
     NULL},
    {"rename merges",
     X_AB "%y: f32[e=6] = rename %x over a, b to e\noutput %y \"y\"\n",
     {SIX},
     {"y", 6, {1, 2, 3, 4, 5, 6}},
     false,
     NULL},
    {"rename splits a split axis",
     "%x: f32[e/m=6] = input \"x\"\n%y: f32[a/m=2, b=3] = rename %x over e to a, b\noutput %y \"y\"\n",
     {SIX},
     {"y", 6, {1, 2, 3, 4, 5, 6}},
     false,
     NULL},
    {"rename to a name split unevenly",
     "%x: f32[e/m=6] = input \"x\"\n%y: f32[b/m=3, a=2] = rename %x over e to b, a\noutput %y \"y\"\n",
     {SIX},
     {0},
     false,
     "shards differ in size"},
    {"rename whose second part is split",
     "%x: f32[e/m=6] = input \"x\"\n%y: f32[b=3, a/m=2] = rename %x over e to b, a\noutput %y \"y\"\n",
     {SIX},
     {0},
     false,
     "'a' is not the first of its group"},
    {"slice",
     X_AB "%y: f32[a=2, d=2] = slice %x over b to d at 1\noutput %y \"y\"\n",
     {SIX},
     {"y", 4, {2, 3, 5, 6}},
     false,
     NULL},
    {"slice drops",
     X_AB "%y: f32[b=3] = slice %x over a at 1\noutput %y \"y\"\n",
     {SIX},
     {"y", 3, {4, 5, 6}},
     false,
     NULL},
    {"slice of a split axis",
     "%x: f32[a=2, b/k=3] = input \"x\"\n%y: f32[a=2, d=2] = slice %x over b to d at 1\noutput %y \"y\"\n",
     {SIX},
     {0},
     false,
     "axis 'b' must be whole"},
    {"place",
     X_AB "%y: f32[a=2, p=5] = place %x over b to p at 2\noutput %y \"y\"\n",
     {SIX},
     {"y", 10, {0, 0, 1, 2, 3, 0, 0, 4, 5, 6}},
     false,
     NULL},
    {"place in a new axis",
     X_AB "%y: f32[a=2, d=2, b=3] = place %x to d at 1 dim 1\noutput %y \"y\"\n",
     {SIX},
     {"y", 12, {0, 0, 0, 1, 2, 3, 0, 0, 0, 4, 5, 6}},
     false,
     NULL},
    {"concat",
     X_AB
     "%z: f32[a=2, d=2] = slice %x over b to d\n%y: f32[a=2, p=5] = concat %x, %z over b, d to p\noutput %y \"y\"\n",
     {SIX},
     {"y", 10, {1, 2, 3, 1, 2, 4, 5, 6, 4, 5}},
     false,
     NULL},
    {"stack",
     X_AB "%z: f32[a=2, b=3] = neg %x\n%y: f32[a=2, d=2, b=3] = concat %x, %z to d dim 1\noutput %y \"y\"\n",
     {SIX},
     {"y", 12, {1, 2, 3, -1, -2, -3, 4, 5, 6, -4, -5, -6}},
     false,
     NULL},
    {"stack on a split axis beside",
     "%x: f32[p/k=5] = input \"x\"\n%z: f32[p/k=5] = neg %x\n%y: f32[p/k=5, d=2] = concat %x, %z to d dim 1\noutput %y "
     "\"y\"\n",
     {{"x", 5, {1, 2, 3, 4, 5}}},
     {"y", 10, {1, -1, 2, -2, 3, -3, 4, -4, 5, -5}},
     true,
     NULL},
    {"sum and max",
     X_AB
     "%s: f32[b=3] = sum %x over a\n%m: f32[a=2] = max %x over b\n%y: f32[b=3, a=2] = mul %s, %m\noutput %y \"y\"\n",
     {SIX},
     {"y", 6, {15, 30, 21, 42, 27, 54}},
     false,
     NULL},
    {"max of negatives",
     "%x: f32[b=3] = input \"x\"\n%y: f32[] = max %x over b\noutput %y \"y\"\n",
     {{"x", 3, {-3, -1, -2}}},
     {"y", 1, {-1}},
     false,
     NULL},
    {"dot with a shared axis",
     X_AB "%z: f32[c=4, b=3, a=2] = input \"z\"\n%y: f32[a=2, c=4] = dot %x, %z over b\noutput %y \"y\"\n",
     {SIX, {"z", 24, {1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1}}},
     {"y", 8, {1, 0, 2, 6, 0, 4, 5, 15}},
     false,
     NULL},
    {"dot over two axes, split",
     "%x: f32[a/m=2, b/k=3] = input \"x\"\n%z: f32[b/k=3, a/m=2] = input \"z\"\n%q: f32[] +sum(m, k) = dot %x, %z over "
     "a, b\n%y: f32[] = all_reduce %q on m, k\noutput %y \"y\"\n",
     {SIX, {"z", 6, {1, 10, 100, 1000, 10000, 100000}}},
     {"y", 1, {1 + 40 + 200 + 5000 + 30000 + 600000}},
     true,
     NULL},
    {"take",
     "%t: f32[b=3, a=2] = input \"t\"\n%i: i32[c=4] = input \"i\"\n%y: f32[c=4, a=2] = take %t, %i over b\noutput %y "
     "\"y\"\n",
     {{"t", 6, {1, 2, 3, 4, 5, 6}}, {"i", 4, {2, -1, 3, 0}}},
     {"y", 8, {5, 6, 0, 0, 0, 0, 1, 2}},
     false,
     NULL},
    {"take aligned",
     "%t: f32[a=2, b=3] = input \"t\"\n%i: i32[a=2] = input \"i\"\n%y: f32[a=2] = take %t, %i over b\noutput %y "
     "\"y\"\n",
     {{"t", 6, {1, 2, 3, 4, 5, 6}}, {"i", 2, {2, 0}}},
     {"y", 2, {3, 4}},
     false,
     NULL},
    {"take from a split table",
     "%t: f32[p/k=5, a=2] = input \"t\"\n%i: i32[c=4] = input \"i\"\n%q: f32[c=4, a=2] +sum(k) = take %t, %i over "
     "p\n%y: f32[c=4, a=2] = all_reduce %q on k\noutput %y \"y\"\n",
     {{"t", 10, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}, {"i", 4, {4, 5, 0, 3}}},
     {"y", 8, {9, 10, 0, 0, 1, 2, 7, 8}},
     true,
     NULL},
    {"scatter adds",
     "%i: i32[c=4] = input \"i\"\n%u: f32[c=4, a=2] = input \"u\"\n%y: f32[a=2, b=3] = scatter %i, %u over b to a, "
     "b\noutput %y \"y\"\n",
     {{"i", 4, {2, 0, 2, -1}}, {"u", 8, {1, 2, 3, 4, 5, 6, 7, 8}}},
     {"y", 6, {3, 0, 6, 4, 0, 8}},
     false,
     NULL},
    {"scatter aligned",
     "%i: i32[a=2] = input \"i\"\n%u: f32[a=2] = input \"u\"\n%y: f32[a=2, b=3] = scatter %i, %u over b to a, "
     "b\noutput %y \"y\"\n",
     {{"i", 2, {2, 0}}, {"u", 2, {1, 2}}},
     {"y", 6, {0, 0, 1, 2, 0, 0}},
     false,
     NULL},
    {"scatter into a split axis",
     "%i: i32[c=4] = input \"i\"\n%u: f32[c=4] = input \"u\"\n%y: f32[p/k=5] = scatter %i, %u over p to p\noutput %y "
     "\"y\"\n",
     {{"i", 4, {4, 0, 3, 4}}, {"u", 4, {1, 2, 3, 4}}},
     {"y", 5, {2, 0, 0, 3, 5}},
     true,
     NULL},
    {"attend to two equal keys",
     "%q: f32[a=2, one=1] = input \"q\"\n%k: f32[b=3, one=1] = input \"k\"\n%v: f32[b=3, one=1] = input \"v\"\n%y: "
     "f32[a=2, one=1], %l: f32[a=2] = attend %q, %k, %v over one, b value 1\noutput %y \"y\"\n",
     {{"q", 2, {0, 1}}, {"k", 3, {0, 0, -1000}}, {"v", 3, {3, 6, 9}}},
     {"y", 2, {6, 4.5}},
     false,
     NULL},
    {"attend, causal over a split query axis",
     "%q: f32[b/k=3, one=1] = input \"q\"\n%kk: f32[c=4, one=1] = input \"k\"\n%v: f32[c=4, one=1] = input \"v\"\n%y: "
     "f32[b/k=3, one=1], %l: f32[b/k=3] = attend %q, %kk, %v over one, c to b, c value 1 causal\noutput %y \"y\"\n",
     {{"q", 3, {0, 0, 0}}, {"k", 4, {1, 2, 3, 4}}, {"v", 4, {3, 6, 9, 12}}},
     {"y", 3, {3, 4.5, 6}},
     false,
     NULL},
    {"attend to nothing",
     "%q: f32[a=2, one=1] = input \"q\"\n%k: f32[b=3, one=1] = input \"k\"\n%m: bool[a=2, b=3] = input \"m\"\n%y: "
     "f32[a=2, one=1], %l: f32[a=2] = attend %q, %k, %k, %m over one, b value 1\noutput %y \"y\"\n",
     {{"q", 2, {1, 1}}, {"k", 3, {1, 2, 3}}, {"m", 6, {0, 0, 0, 0, 1, 0}}},
     {"y", 2, {0, 2}},
     false,
     NULL},
    {"log sum exp",
     "%q: f32[a=2, one=1] = input \"q\"\n%k: f32[b=3, one=1] = input \"k\"\n%y: f32[a=2, one=1], %l: f32[a=2] = attend "
     "%q, %k, %k over one, b value 2\noutput %l \"y\"\n",
     {{"q", 2, {0, 1}}, {"k", 3, {500, 500, 500}}},
     {"y", 2, {1.0986122886681098, 1001.0986122886681}},
     false,
     NULL},
    {"fused",
     X_AB "%y: f32[a=2, b=3], %z: f32[a=2, b=3] = fused %x {\n^ %u: f32[a=2, b=3]\n%v: f32[a=2, b=3] = neg %u\nyield "
          "%u, %v\n}\noutput %z \"y\"\n",
     {SIX},
     {"y", 6, {-1, -2, -3, -4, -5, -6}},
     false,
     NULL},
    {"all_reduce takes the maximum",
     "%x: f32[p/k=5] = input \"x\"\n%f: f32[p/k=5] = mask %x over p value -inf\n%q: f32[] +max(k) = max %f over p\n%y: "
     "f32[] = all_reduce %q on k max\noutput %y \"y\"\n",
     {{"x", 5, {-5, -2, -1, -4, -3}}},
     {"y", 1, {-1}},
     true,
     NULL},
    {"all_gather",
     "%x: f32[a=2, p/m/k=5] = input \"x\"\n%y: f32[a=2, p=5] = all_gather %x over p on m, k\noutput %y \"y\"\n",
     {{"x", 10, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}},
     {"y", 10, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
     true,
     NULL},
    {"all_gather over one of two",
     "%x: f32[e/m/k=6] = input \"x\"\n%y: f32[e/m=6] = all_gather %x over e on k\noutput %y \"y\"\n",
     {SIX},
     {"y", 6, {1, 2, 3, 4, 5, 6}},
     true,
     NULL},
    {"reduce_scatter",
     "%x: f32[a/m=2, p=5] = input \"x\"\n%s: f32[p=5] +sum(m) = sum %x over a\n%y: f32[p/m=5] = reduce_scatter %s over "
     "p on m\noutput %y \"y\"\n",
     {{"x", 10, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}},
     {"y", 5, {7, 9, 11, 13, 15}},
     true,
     NULL},
    {"all_to_all",
     "%x: f32[a/m=2, p=5] = input \"x\"\n%y: f32[a=2, p/m=5] = all_to_all %x over a, p on m\noutput %y \"y\"\n",
     {{"x", 10, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}},
     {"y", 10, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
     true,
     NULL},
    {"permute",
     "%x: f32[a=2, b/k=3] = input \"x\"\n%y: f32[a=2, b/k=3] = permute %x over b on k\noutput %y \"y\"\n",
     {{"x", 6, {1, 2, 3, 4, 5, 6}}},
     {"y", 6, {3, 1, 2, 6, 4, 5}},
     true,
     NULL},
    {"permute reverse",
     "%x: f32[a=2, b/k=3] = input \"x\"\n%y: f32[a=2, b/k=3] = permute %x over b on k reverse\noutput %y \"y\"\n",
     {{"x", 6, {1, 2, 3, 4, 5, 6}}},
     {"y", 6, {3, 2, 1, 6, 5, 4}},
     true,
     NULL},
    {"blocks as they lie: padding becomes places",
     "%x: f32[p/k=5] = input \"x\"\n%z: f32[p/k=5] = mask %x over p\n%r: f32[b/k=3, a=2] = rename %z over p to b, "
     "a\n%y: f32[b=3, a=2] = all_gather %r over b on k\noutput %y \"y\"\n",
     {{"x", 5, {1, 2, 3, 4, 5}}},
     {"y", 6, {1, 2, 3, 4, 5, 0}},
     true,
     NULL},
    {"and padding again",
     "%x: f32[b/k=3, a=2] = input \"x\"\n%r: f32[p/k=5] = rename %x over b, a to p\n%y: f32[p=5] = all_gather %r over "
     "p on k\noutput %y \"y\"\n",
     {SIX},
     {"y", 5, {1, 2, 3, 4, 5}},
     true,
     NULL},
    {"all_to_all, counted",
     "%x: f32[a/m=2, d=2, b=3] = input \"x\"\n%n: i32[a/m=2, d=2] = input limit 9 least -9 \"n\"\n"
     "%o: i32[a=2, d/m=2] = all_to_all %n over a, d on m\n"
     "%y: f32[a=2, d/m=2, b=3] = all_to_all %x, %n, %o over a, d, b on m\noutput %y \"y\"\n",
     {{"x", 12, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}, {"n", 4, {2, -1, 7, 1}}},
     {"y", 12, {1, 2, 0, 0, 0, 0, 7, 8, 9, 10, 0, 0}},
     true,
     NULL},
    {"part",
     "%x: f32[a/m=2, p=5] = input \"x\"\n%y: f32[a/m=2, p/k=5] = part %x over p on k\noutput %y \"y\"\n",
     {{"x", 10, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}},
     {"y", 10, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
     true,
     NULL},
    {"a missing mask shows",
     "%x: f32[p/k=5] = input \"x\"\n%f: f32[p/k=5] = exp %x\n%q: f32[] +sum(k) = sum %f over p\n%y: f32[] = all_reduce "
     "%q on k\noutput %y \"y\"\n",
     {{"x", 5, {0, 0, 0, 0, 0}}},
     {"y", 1, {5}},
     true,
     ANOTHER},
    {"a mask helps",
     "%x: f32[p/k=5] = input \"x\"\n%f: f32[p/k=5] = exp %x\n%g: f32[p/k=5] = mask %f over p\n%q: f32[] +sum(k) = sum "
     "%g over p\n%y: f32[] = all_reduce %q on k\noutput %y \"y\"\n",
     {{"x", 5, {0, 0, 0, 0, 0}}},
     {"y", 1, {5}},
     true,
     NULL},
    {"a pending output",
     "%x: f32[a/m=2] = input \"x\"\n%y: f32[] +sum(m) = sum %x over a\noutput %y \"y\"\n",
     {{"x", 2, {1, 2}}},
     {0},
     false,
     "still pending"},
    {"a sum that nobody reduced",
     "%x: f32[a/m=2] = input \"x\"\n%y: f32[] = sum %x over a\n%z: f32[] = neg %y\noutput %z \"y\"\n",
     {{"x", 2, {1, 2}}},
     {0},
     false,
     "%y: f32[] = sum"},
    {"a group that is too small",
     "%x: f32[e/m/k=6] = input \"x\"\n%q: f32[] +sum(m, k) = sum %x over e\n%y: f32[] = all_reduce %q on k\noutput %y "
     "\"y\"\n",
     {SIX},
     {0},
     false,
     "all_reduce %"},
    {"an input without a value", X_AB "output %x \"y\"\n", {{0}}, {0}, false, "'x' has no value"},
};

static int failures;
#define FAIL(...) (printf("FAIL: "), printf(__VA_ARGS__), printf("\n"), failures++)

typedef struct World {
    Arena *arena, *scratch;
    FILE *sink;
    char *text;
    size_t size;
    Unit *unit;
} World;

static void world_open(World *w, const char *head, const char *body) {
    *w = (World){.arena = arena_new(), .scratch = arena_new()};
    StrTable *strs = strtable_new(w->arena);
    w->sink = open_memstream(&w->text, &w->size);
    Diag *diag = diag_new(w->arena, w->sink, false);
    char *text = arena_printf(w->arena, "%s%s", head, body);
    w->unit = unit_parse(w->arena, w->scratch, strs, diag, str_intern(strs, "case"), text, strlen(text));
}

static const char *world_said(World *w) {
    fflush(w->sink);
    return w->text;
}

static void world_close(World *w) {
    fclose(w->sink);
    free(w->text);
    arena_free(w->scratch);
    arena_free(w->arena);
}

static bool same(double a, double b) { return (isnan(a) && isnan(b)) || a == b || fabs(a - b) <= 1e-14 * fabs(b); }

static void run_case(const Case *c) {
    World w;
    world_open(&w, HEAD, c->text);
    if (!w.unit) {
        FAIL("%s: does not parse: %s", c->what, world_said(&w));
        world_close(&w);
        return;
    }
    Eval *e = eval_new(w.unit, w.arena);
    eval_poison(e, c->poison);
    for (int i = 0; i < 4 && c->set[i].name; i++)
        if (!eval_set(e, c->set[i].name, c->set[i].at, c->set[i].n)) FAIL("%s: cannot set %s", c->what, c->set[i].name);
    bool ok = eval_run(e, "train");
    if (c->message && c->message != ANOTHER) {
        if (ok || !strstr(world_said(&w), c->message))
            FAIL("%s: expected '%s', got: %s", c->what, c->message, world_said(&w));
    } else if (!ok) {
        FAIL("%s: %s", c->what, world_said(&w));
    } else {
        double got[VALUES];
        if (!eval_get(e, "y", got, c->want.n)) FAIL("%s: no y of %d values", c->what, c->want.n);
        else
            for (int i = 0; i < c->want.n; i++)
                if (same(got[i], c->want.at[i]) == (c->message == ANOTHER))
                    FAIL("%s: y[%d] is %.17g, not %.17g", c->what, i, got[i], c->want.at[i]);
    }
    world_close(&w);
}

// Random numbers are those of ir/random.h by global element, whatever the split, and depend on every key.
static void test_random(void) {
    World w;
    world_open(&w, HEAD,
               "%s: i32[] = input \"s\"\n%t: i32[] = input \"t\"\n"
               "%u: f32[p/k=5, a/m=2] = random %s, %t stream 7\noutput %u \"u\"\n"
               "%n: f32[p=5, a=2] = random %s law 1 stream 7\noutput %n \"n\"\n");
    if (!w.unit) {
        FAIL("random: %s", world_said(&w));
        world_close(&w);
        return;
    }
    Eval *e = eval_new(w.unit, w.arena);
    double u[10], n[10];
    eval_set(e, "s", &(double){-3}, 1);
    eval_set(e, "t", &(double){5}, 1);
    if (!eval_run(e, "train") || !eval_get(e, "u", u, 10) || !eval_get(e, "n", n, 10))
        FAIL("random: %s", world_said(&w));
    for (int i = 0; i < 10; i++) {
        uint32_t words[4];
        random_words(i, 7, (int32_t[]){-3, 5, 0, 0}, words);
        if (u[i] != (words[0] >> 8) / 16777216.0) FAIL("uniform %d", i);
        random_words(i, 7, (int32_t[]){-3, 0, 0, 0}, words);
        double want = sqrt(-2 * log(((words[0] >> 8) + 0.5) / 16777216)) * cos(2 * M_PI * (words[1] >> 8) / 16777216);
        if (n[i] != want) FAIL("normal %d: %g, not %g", i, n[i], want);
    }
    world_close(&w);
}

// Perturbed, what f32 holds stays, equal numbers stay equal, and what cancels shows what rounding does to it.
static void test_perturb(void) {
    World w;
    world_open(&w, HEAD,
               "%x: f32[a=2, b=3] = input \"x\"\n"
               "%e: f32[a=2, b=3] = add %x, %x\noutput %e \"exact\"\n"
               "%s: f32[a=2, b=3] = sin %x\noutput %s \"sin\"\n"
               "%t: f32[a=2, b=3] = sin %x\n%d: f32[a=2, b=3] = sub %s, %t\noutput %d \"zero\"\n"
               "%m: f32[a=2] = sum %x over b\noutput %m \"sum\"\n");
    if (!w.unit) {
        FAIL("perturb: %s", world_said(&w));
        world_close(&w);
        return;
    }
    Eval *e = eval_new(w.unit, w.arena);
    const double x[6] = {0.1f, 0.25, 3, 16777216, 1, -16777216};
    double exact[6], sine[6], zero[6], sum[2];
    eval_set(e, "x", x, 6);
    bool moved = false;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        eval_perturb(e, seed);
        if (!eval_run(e, "train") || !eval_get(e, "exact", exact, 6) || !eval_get(e, "sin", sine, 6) ||
            !eval_get(e, "zero", zero, 6) || !eval_get(e, "sum", sum, 2))
            FAIL("perturb: %s", world_said(&w));
        for (int i = 0; i < 6; i++) {
            double error = fabs(sine[i] - sin(x[i])), nearest = (double)(float)sin(x[i]);
            if (exact[i] != 2 * x[i] || zero[i] != 0) FAIL("perturb: place %d moved, or a tie broke", i);
            if (sine[i] != (double)(float)sine[i] || error > 0x1.8p-23 * fabs(sin(x[i]))) FAIL("perturb: sin %d", i);
            moved |= sine[i] != nearest;
        }
        if (sum[1] != 0) FAIL("perturb: f32 loses the 1 in 2^24 + 1, not %g", sum[1]);
    }
    if (!moved) FAIL("perturb: nothing moved");
    eval_perturb(e, 0);
    if (!eval_run(e, "train") || !eval_get(e, "sum", sum, 2) || sum[1] != 1) FAIL("perturb: still on");
    world_close(&w);
}

// Repeats: values carried, sliced and stacked, forwards and backwards, nested.
static void test_repeat(void) {
    static const char body[] = "%x: f32[a=2, b=3] = input \"x\"\n"
                               "%s: f32[] = input \"s\"\n"
                               "%c: f32[], %y: f32[a=2, b=3] = repeat %s, %x, %s over a carry 1 stack 1%R {\n"
                               "    ^ %i: i32[], %d: f32[], %row: f32[b=3], %k: f32[]\n"
                               "    %e: f32[], %z: f32[b=3] = repeat %d, %row over b carry 1 stack 1 {\n"
                               "        ^ %j: i32[], %f: f32[], %one: f32[]\n"
                               "        %g: f32[] = mul %f, %k\n"
                               "        %h: f32[] = add %g, %one\n"
                               "        yield %h, %f\n"
                               "    }\n"
                               "    %q: f32[] = cast %i as f32\n"
                               "    %r: f32[b=3] = add %z, %q\n"
                               "    yield %e, %r\n"
                               "}\n"
                               "output %c \"c\"\n"
                               "output %y \"y\"\n";
    for (int reverse = 0; reverse < 2; reverse++) {
        Arena *a = arena_new();
        const char *at = strstr(body, "%R");
        World w;
        world_open(&w, HEAD, arena_printf(a, "%.*s%s%s", (int)(at - body), body, reverse ? " reverse" : "", at + 2));
        double c = 0, y[6], want[6], x[] = {1, 2, 3, 4, 5, 6}, carry = 10;
        Eval *e = w.unit ? eval_new(w.unit, w.arena) : NULL;
        for (int round = 0; e && round < 2; round++) { // the second run must not see the first
            eval_set(e, "x", x, 6);
            eval_set(e, "s", &(double){10}, 1);
            if (!eval_run(e, "train")) break;
        }
        if (!e || !eval_get(e, "c", &c, 1) || !eval_get(e, "y", y, 6)) FAIL("repeat: %s", world_said(&w));
        for (int step = 0; step < 2; step++) {
            int i = reverse ? 1 - step : step;
            for (int j = 0; j < 3; j++) {
                want[i * 3 + j] = carry + i;
                carry = carry * 10 + x[i * 3 + j];
            }
        }
        if (c != carry) FAIL("repeat: the carry is %g, not %g", c, carry);
        for (int i = 0; i < 6; i++)
            if (y[i] != want[i]) FAIL("repeat%s: y[%d] is %g, not %g", reverse ? " reverse" : "", i, y[i], want[i]);
        world_close(&w);
        arena_free(a);
    }
}

// Assignments of init and train; within a run the old value is read, wherever the assignment stands.
static void test_assign(void) {
    World w;
    world_open(
        &w, "unit \"t\"\nmesh m=2\naxis b=3\n",
        "func init\n%w: f32[b/m=3] = param \"w\" \"\"\n%c: f32[b/m=3] = const value 4\nassign %w, %c\n"
        "func train\n%w: f32[b/m=3] = param \"w\" \"\"\n%s: f32[b/m=3] = state \"v/w\" \"w\"\n"
        "%n: f32[b/m=3] = add %w, %w\nassign %w, %n\n%t: f32[b/m=3] = add %s, %w\nassign %s, %t\noutput %t \"t\"\n");
    double got[3];
    if (!w.unit) {
        FAIL("assign: %s", world_said(&w));
        world_close(&w);
        return;
    }
    Eval *e = eval_new(w.unit, w.arena);
    if (eval_run(e, "train")) FAIL("assign: train runs without init");
    if (!eval_run(e, "init") || !eval_run(e, "train") || !eval_run(e, "train")) FAIL("assign: %s", world_said(&w));
    if (!eval_get(e, "w", got, 3) || got[0] != 16 || got[2] != 16)
        FAIL("assign: w is %g %g %g", got[0], got[1], got[2]);
    if (!eval_get(e, "v/w", got, 3) || got[1] != 12 || got[2] != 12)
        FAIL("assign: v is %g %g %g", got[0], got[1], got[2]);
    if (!eval_type(e, "t") || eval_type(e, "t")->rank != 1) FAIL("assign: eval_type");
    if (eval_type(e, "nobody") || eval_get(e, "w", got, 2) || eval_set(e, "w", got, 2))
        FAIL("names and counts are checked");
    world_close(&w);
}

int main(void) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) run_case(&cases[i]);
    test_random();
    test_perturb();
    test_repeat();
    test_assign();
    printf("%d failures\n", failures);
    return failures != 0;
}
