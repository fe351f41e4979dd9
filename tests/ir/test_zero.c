// SPDX-License-Identifier: Apache-2.0
// What `shard optimizer | gradients | parameters` must cost and save: the bytes a step moves (Rajbhandari et al., SC
// 2020, section 7: 2 times the parameters for stages 1 and 2, 3 times for stage 3), what each rank stores, and that a
// stage holds less than the one before. The numbers themselves are test_layout.c's.
#include "base/checked.h"
#include "ir/op.h"
#include "ir/storage.h"
#include "ir/strategy.h"
#include "ir/text.h"
#include "passes/pass.h"
#include <stdlib.h>

static int failures;
#define CHECK_EQUAL(got, want, what)                                                                                   \
    do {                                                                                                               \
        double got_ = (double)(got), want_ = (double)(want);                                                           \
        if (got_ != want_) {                                                                                           \
            fprintf(stderr, "FAIL %s=%lld, %s: %s is %.0f, expected %.0f\n", mesh, (long long)ranks,                   \
                    level ? shard_name(level) : "whole", what, got_, want_);                                           \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

typedef struct Moved {
    double scattered, gathered, reduced; // elements of one step, whole values
} Moved;

static void add_moved(const Unit *u, const Block *b, double times, Moved *out) {
    for (const Node *n = b->first; n; n = n->next) {
        if (n->body)
            add_moved(u, n->body, n->op == OP_repeat ? times * (double)n->attr.axes.at[0]->extent : times, out);
        if (!(op_info(n->op)->traits & TRAIT_COMM)) continue;
        const Type *whole = n->op == OP_all_gather ? &n->results[0]->type : &n->args[0]->type;
        int64_t count = 0;
        type_local_elements(whole, &u->mesh, &count);
        *(n->op == OP_all_gather       ? &out->gathered
          : n->op == OP_reduce_scatter ? &out->scattered
                                       : &out->reduced) += times * (double)count;
    }
}

typedef struct Result {
    Moved moved;
    double params, states; // elements a rank stores
    int64_t slab;
} Result;

static Result compile(const char *text, size_t size, const char *mesh, int64_t ranks, ShardLevel level) {
    Result r = {0};
    Arena *arena = arena_new(), *scratch = arena_new();
    StrTable *strs = strtable_new(arena);
    Diag *diag = diag_new(arena, stderr, false);
    Unit *u = unit_parse(arena, scratch, strs, diag, str_intern(strs, "gpt.tgi"), text, size);
    Strategy *s = NEW(arena, Strategy);
    Split *batch = NEW(arena, Split);
    *batch = (Split){.axis = unit_axis(u, str_intern(strs, "batch")), .over = 1};
    *s = (Strategy){.name = str_intern(strs, "zero"), .nsplits = 1, .splits = batch, .shard = level, .shard_over = 1};
    s->mesh.n = 1;
    s->mesh.axis[0].name = str_intern(strs, mesh);
    s->mesh.axis[0].extent = ranks;
    u->strategy = s;
    PassOptions o = {.first = "simplify", .last = "memory", .check_text = true};
    if (!passes_run(u, &o)) {
        fprintf(stderr, "FAIL: the passes refuse it\n");
        failures++;
    } else {
        add_moved(u, unit_func(u, "train")->top, 1, &r.moved);
        r.slab = u->storage->slab_bytes;
        for (int i = 0; i < u->storage->nleaves; i++) {
            const Leaf *l = &u->storage->leaves[i];
            int64_t count = 0;
            type_local_elements(&l->type, &u->mesh, &count);
            if (l->kind == LEAF_PARAM) r.params += (double)count;
            if (l->kind == LEAF_STATE) r.states += (double)count;
        }
    }
    arena_free(scratch);
    arena_free(arena);
    return r;
}

int main(void) {
    FILE *f = fopen("tests/ir/layout/gpt.tgi", "rb");
    char *text = NULL;
    size_t size;
    FILE *copy = f ? open_memstream(&text, &size) : NULL;
    for (int ch; copy && (ch = fgetc(f)) != EOF;) fputc(ch, copy);
    if (!copy || fclose(copy) || fclose(f)) {
        fprintf(stderr, "run from the source folder\n");
        return 1;
    }
    const char *mesh = "data";
    // width 6, qkv 3, head 3, dim 2, hidden 8, vocab 11, seq 4, layer 3: every parameter has a dimension that two ranks
    // divide; over three, b1 [layer, hidden] is padded to 9.
    double stacked = 3 * (6 + 6 + 108 + 18 + 36 + 6 + 6 + 48 + 8 + 48 + 6), top = 66 + 24 + 6, all = stacked + top;
    double added = 3 * (18 + 6 + 6 + 8); // biases: the backward half does not need them
    static const int64_t sizes[] = {2, 3};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t ranks = sizes[i], slab = INT64_MAX;
        double cut = (all + (ranks == 3 ? 3 : 0)) / (double)ranks;
        for (ShardLevel level = SHARD_NOTHING; level <= SHARD_PARAMETERS; level++) {
            Result r = compile(text, size, mesh, ranks, level);
            bool some = level != SHARD_NOTHING, third = level == SHARD_PARAMETERS;
            CHECK_EQUAL(r.moved.scattered, some ? all : 0, "gradients scattered");
            // The third: in the repeat once forward and once backward; outside once, kept for both.
            CHECK_EQUAL(r.moved.gathered, third ? top + 2 * stacked - added : some ? all : 0, "parameters gathered");
            CHECK_EQUAL(r.moved.reduced, some ? 3 : all + 2, "all_reduced (loss, labels, norm)");
            CHECK_EQUAL(r.params, third ? cut : all, "parameters stored");
            CHECK_EQUAL(r.states, some ? 2 * cut : 2 * all, "states stored");
            if (r.slab >= slab) {
                fprintf(stderr, "FAIL %s over %lld ranks needs %lld bytes, the stage before it %lld\n",
                        shard_name(level), (long long)ranks, (long long)r.slab, (long long)slab);
                failures++;
            }
            slab = r.slab;
        }
    }
    printf("%d failures\n", failures);
    free(text);
    return failures != 0;
}
