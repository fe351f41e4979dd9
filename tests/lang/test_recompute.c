// SPDX-License-Identifier: Apache-2.0
// `recompute auto` against an exhaustive search: for GPT-2 medium at five budgets, on one rank and on four, the peak
// fits and the work done again is within 5% of the best of all subsets of what could be kept, each compiled. And
// budgets that do not fit: the proposal in the message is compiled, and fits; the next larger batch does not.
#include "ir/storage.h"
#include "passes/pass.h"
#include "passes/recompute.h"
#include "world.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int failures;

#define CHECK(condition, ...)                                                                                          \
    ((condition) ? (void)0 : (printf("FAIL %s: ", #condition), printf(__VA_ARGS__), (void)failures++))

enum { MEDIUM_BATCH = 8 };

static const char *const meshes[] = {
    "", "mesh data = 2, tensor = 2\n split batch over data\n split head, hidden, vocab over tensor"};

// GPT-2 medium under a strategy of these lines, through the passes up to `last`.
static World *compile(const char *lines, int64_t batch, const char *last) {
    FrontendDefine defines[] = {{"layer", 24}, {"head", 16}, {"batch", batch}};
    return world_make(lines, defines, sizeof defines / sizeof *defines, last);
}

typedef struct Point {
    int64_t bytes;
    double again;
} Point;

// Every subset of the candidates, compiled.
static Point *search(const char *mesh, int *out_n, Arena *a) {
    World *w = compile(arena_printf(a, "%s\n memory = 1TB", mesh), MEDIUM_BATCH, "simplify");
    RecomputeTrial t;
    *out_n = 0;
    if (!w->u || !recompute_begin(w->u) || !recompute_try(w->u, NULL, 0, &t)) {
        CHECK(false, "the model does not compile: %s\n", w->said);
        world_end(w);
        return NULL;
    }
    int n = t.candidates;
    CHECK(n >= 5 && n <= 10, "%d candidates\n", n);
    Point *points = NEW_ARRAY(a, Point, 1 << n);
    for (unsigned set = 0; set < 1u << n; set++) {
        bool keep[16];
        for (int i = 0; i < n; i++) keep[i] = !(set >> i & 1);
        CHECK(recompute_try(w->u, keep, n, &t), "subset %u is refused\n", set);
        points[set] = (Point){t.bytes, t.cost.again};
    }
    *out_n = 1 << n;
    world_end(w);
    return points;
}

static void check_auto(const char *mesh) {
    Arena *a = arena_new();
    int n;
    const Point *points = search(mesh, &n, a);
    int64_t least = INT64_MAX, most = n ? points[0].bytes : 0;
    for (int i = 0; i < n; i++)
        if (points[i].bytes < least) least = points[i].bytes;
    for (int i = 0; i < 5 && n; i++) {
        int64_t budget = least + (most - least) * i / 4;
        double best = 1e300;
        for (int k = 0; k < n; k++)
            if (points[k].bytes <= budget && points[k].again < best) best = points[k].again;
        World *w =
            compile(arena_printf(a, "%s\n recompute auto memory = %" PRId64 "B", mesh, budget), MEDIUM_BATCH, NULL);
        CHECK(w->u, "budget %" PRId64 ": %s\n", budget, w->said);
        if (w->u) {
            double again = recompute_cost(w->u).again;
            printf("budget %.3f GB: peak %.3f GB, %.1f GFLOP again, best of %d %.1f\n", (double)budget * 1e-9,
                   (double)w->u->storage->slab_bytes * 1e-9, again * 1e-9, n, best * 1e-9);
            CHECK(w->u->storage->slab_bytes <= budget, "%" PRId64 " bytes\n", w->u->storage->slab_bytes);
            CHECK(again <= best * 1.05, "budget %" PRId64 "\n", budget);
        }
        world_end(w);
    }
    arena_free(a);
}

static int64_t slab(const char *lines, int64_t batch) {
    World *w = compile(lines, batch, NULL);
    int64_t bytes = w->u ? w->u->storage->slab_bytes : INT64_MAX;
    if (!w->u) printf("%s\n%s\n", lines, w->said);
    world_end(w);
    return bytes;
}

// The change in "with CHANGE it needs": as the message says it, in the language, and the batch it says.
static void check_proposal(const char *lines, int64_t budget) {
    Arena *a = arena_new();
    World *w = compile(arena_printf(a, "%s\n memory = %" PRId64 "B", lines, budget), MEDIUM_BATCH, NULL);
    char *note = w->u ? NULL : strstr(w->said, "note: with "), *end = note ? strstr(note, " it needs") : NULL;
    CHECK(note && end, "%s\n", w->said);
    if (note && end) {
        char *change = arena_printf(a, "%.*s", (int)(end - note - 11), note + 11), *batch = strstr(change, "batch = ");
        bool whole = batch && (batch == change || batch[-1] == ' '); // not "microbatches = "
        int64_t n = whole ? strtoll(batch + 8, NULL, 10) : MEDIUM_BATCH;
        if (whole) batch[0] = 0;
        for (char *at; (at = strstr(change, " and "));) memcpy(at, "\n    ", 5);
        for (char *at; (at = strchr(change, '\''));) *at = ' ';
        const char *again = strstr(lines, "recompute block")             ? ""
                            : whole && strstr(note, "'recompute block'") ? "recompute block"
                                                                         : "";
        int64_t bytes =
            slab(arena_printf(a, "%s\n %s\n %s", lines, change, strstr(change, "recompute") ? "" : again), n);
        CHECK(bytes <= budget, "with %s: %" PRId64 " of %" PRId64 "\n", change, bytes, budget);
    }
    world_end(w);
    arena_free(a);
}

static void check_budget(const char *mesh) {
    Arena *a = arena_new();
    const char *block = arena_printf(a, "%s\n recompute block", mesh);
    int64_t all = slab(mesh, MEDIUM_BATCH), none = slab(block, MEDIUM_BATCH);
    CHECK(none < all, "%" PRId64 " %" PRId64 "\n", none, all);
    CHECK(slab(arena_printf(a, "%s\n memory = %" PRId64 "B", mesh, all), MEDIUM_BATCH) == all, "an exact budget\n");
    World *w = compile(arena_printf(a, "%s\n memory = %" PRId64 "B", mesh, all - 1), MEDIUM_BATCH, NULL);
    CHECK(!w->u && strstr(w->said, "a rank needs") && strstr(w->said, "it fits with 'recompute auto'"), "%s\n",
          w->said);
    world_end(w);
    check_proposal(block, none - 1);
    check_proposal(mesh, none - 1);
    int64_t ones = slab(arena_printf(a, "%s\n microbatches = %d", block, MEDIUM_BATCH), MEDIUM_BATCH);
    if (strstr(mesh, "data"))
        check_proposal(block, (ones < none ? ones : none) * 19 / 20); // parts of states or gradients
    w = compile(arena_printf(a, "%s\n recompute auto memory = 1MB", mesh), MEDIUM_BATCH, NULL);
    CHECK(!w->u && strstr(w->said, "split over more ranks"), "%s\n", w->said);
    world_end(w);
    arena_free(a);
}

int main(void) {
    for (size_t i = 0; i < sizeof meshes / sizeof *meshes; i++) {
        check_auto(meshes[i]);
        check_budget(meshes[i]);
    }
    printf("%d failures\n", failures);
    return failures ? 1 : 0;
}
