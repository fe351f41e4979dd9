// SPDX-License-Identifier: Apache-2.0
// A trainer that puts its own in the runtime's place: it makes the batches itself, gets every message, gives the memory
// of the slabs, and is told of each step. The model learns to continue runs of counting.
//   make && ./hooks STEPS FOLDER
#include "model.h"
#include <stdio.h>
#include <stdlib.h>

static void must(TgfStatus s) {
    if (s.code == TGF_OK) return;
    fprintf(stderr, "hooks: %s: %s\n", tgf_code_name(s.code), s.message);
    exit(1);
}

static const TgfStatus fine = {TGF_OK, ""};

// ---- memory ---------------------------------------------------------------------------------------------------------
typedef struct Arena { // one block that all slabs are cut from
    char *block;
    int64_t bytes, used;
} Arena;

static void *take(void *user, int64_t bytes, int64_t alignment, int rank) {
    Arena *a = user;
    int64_t begin = (a->used + alignment - 1) / alignment * alignment;
    (void)rank;
    if (bytes > a->bytes - begin) return NULL;
    a->used = begin + bytes;
    return a->block + begin;
}

static void give(void *user, void *memory, int64_t bytes, int rank) { // the block goes as a whole
    (void)user, (void)memory, (void)bytes, (void)rank;
}

// ---- messages -------------------------------------------------------------------------------------------------------
static void note(void *user, TgfLevel level, const char *message) {
    static const char *const names[] = {"note", "step", "warning"};
    fprintf(user, "[%s] %s\n", names[level], message);
}

// ---- data -----------------------------------------------------------------------------------------------------------
typedef struct Counting {
    int32_t tokens[NOVEL_TOKENS_COUNT], labels[NOVEL_LABELS_COUNT];
    double best;
    int rounds_without; // since the loss was best
} Counting;

// The arrays are bound once; a batch is whatever they hold when the step begins.
static TgfStatus next_batch(void *user, TgfModel *model, int64_t step, int *out_stop) {
    Counting *c = user;
    (void)model, (void)out_stop;
    for (int row = 0; row < NOVEL_BATCH; row++) {
        int stride = 1 + (int)((step + row) % 3);
        for (int i = 0; i < NOVEL_SEQ; i++) {
            c->tokens[row * NOVEL_SEQ + i] = (row * 11 + i * stride) % NOVEL_VOCAB;
            c->labels[row * NOVEL_SEQ + i] = (row * 11 + (i + 1) * stride) % NOVEL_VOCAB;
        }
    }
    return fine;
}

// Ends early when nothing gets better any more.
static TgfStatus on_step(void *user, TgfModel *model, const TgfProgress *p, int *out_stop) {
    Counting *c = user;
    (void)model;
    printf("step %lld/%lld  loss %.4f  gradient %.3f  rate %.2e  %.0f tokens/s  slab %lld bytes\n", (long long)p->step,
           (long long)p->steps, p->loss, p->grad_norm, p->lr, p->tokens_per_second, (long long)p->slab_bytes);
    c->rounds_without = p->loss < c->best ? 0 : c->rounds_without + 1;
    if (p->loss < c->best) c->best = p->loss;
    *out_stop = c->rounds_without == 50;
    return fine;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: hooks STEPS FOLDER\n");
        return 1;
    }
    static Counting counting = {.best = 1e9};
    Arena arena = {.bytes = NOVEL_RANKS * NOVEL_SLAB_BYTES}; // slabs are multiples of their alignment
    arena.block = aligned_alloc(64, (size_t)arena.bytes);
    if (!arena.block) return 1;

    TgfOptions options = tgf_options();
    options.seed = 1;
    options.allocate = take;
    options.release = give;
    options.memory_user = &arena;
    options.log = note;
    options.log_user = stderr;
    novel_model model;
    must(novel_open(&options, &model));
    must(novel_init(model));
    must(novel_bind(model, counting.tokens, counting.labels));

    TgfLoop loop = tgf_training();
    loop.steps = strtol(argv[1], NULL, 10);
    loop.batch = next_batch;
    loop.on_step = on_step;
    loop.user = &counting;
    loop.save = argv[2];
    must(novel_loop(model, &loop));

    TgfTensor largest = {0};
    for (int i = 0; i < NOVEL_PARAMETERS; i++) {
        TgfTensor t;
        TgfPlacement placement;
        must(novel_parameter(model, i, 0, &t, &placement));
        if (t.count > largest.count) largest = t;
    }
    printf("largest parameter: %s, %lld elements\n", largest.name, (long long)largest.count);
    novel_close(model);
    free(arena.block);
    return 0;
}
