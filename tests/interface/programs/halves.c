// SPDX-License-Identifier: Apache-2.0
// Two models on two ranks each: as threads of one process, over the halves of MPI_COMM_WORLD, or over TCP at an address
// that the program names. Each prints its losses, and they are the same.
//   halves threads | mpi | tcp RANK PORT MODEL
#include "bert.h"
#include "expect.h"
#include "novel.h"
#include <stdlib.h>
#ifdef WITH_MPI
#include <mpi.h>
#endif

enum { STEPS = 5 };
static int32_t tokens[NOVEL_TOKENS_COUNT], labels[NOVEL_LABELS_COUNT];
static int32_t words[BERT_TOKENS_COUNT], types[BERT_TYPES_COUNT], masked[BERT_LABELS_COUNT], mask[BERT_MASK_COUNT];

static void train_novel(const TgfOptions *options, int speaks) {
    novel_model m;
    float x = 0, logits[16];
    OK(novel_open(options, &m));
    if (!m.model) return;
    CHECK(tgf_ranks(m.model) == 2);
    OK(novel_init(m));
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < NOVEL_TOKENS_COUNT; i++)
            tokens[i] = (i * 31 + step) % 200, labels[i] = (i * 31 + step + 31) % 200;
        OK(novel_step(m, tokens, labels, &x));
        if (speaks) printf("novel %d %.9g\n", step, (double)x);
    }
    FAILS(tgf_get_output(m.model, "logits", TGF_F32, logits, 16), TGF_INVALID, "elements, not 16");
    novel_close(m);
}

static TgfStatus stop_at_rank(void *user, TgfModel *model, const TgfProgress *p, int *out_stop) {
    // Only one of the processes wants to stop: all do, in the same step.
    *out_stop = p->step == STEPS && *(const int *)user;
    if (*(const int *)user) printf("bert %d %.9g\n", (int)p->step - 1, p->loss);
    (void)model;
    TgfStatus s = {TGF_OK, ""};
    return s;
}

static void train_bert(const TgfOptions *options, int speaks) {
    bert_model m;
    TgfLoop loop = tgf_training();
    loop.steps = 1000;
    loop.on_step = stop_at_rank;
    loop.user = &speaks;
    for (int i = 0; i < BERT_BATCH * BERT_SEQ; i++) {
        words[i] = i * 7 % BERT_VOCAB;
        mask[i] = 1;
        masked[i] = i % 3 ? -100 : words[i];
    }
    OK(bert_open(options, &m));
    if (!m.model) return;
    OK(bert_init(m));
    OK(bert_bind(m, words, types, masked, mask));
    OK(bert_loop(m, &loop));
    CHECK(bert_steps(m) == STEPS);
    bert_close(m);
}

#ifdef WITH_MPI
static void *take(void *user, int64_t bytes, int64_t alignment, int rank) {
    *(int *)user = 1 + rank;
    return aligned_alloc((size_t)alignment, (size_t)bytes);
}
static void give(void *user, void *memory, int64_t bytes, int rank) {
    (void)bytes;
    CHECK(*(int *)user == 1 + rank);
    free(memory);
}

static void over_mpi(void) {
    int rank, size, own;
    MPI_Comm half, nobody = MPI_COMM_NULL;
    novel_model m;
    TgfOptions o = tgf_options();
    o.seed = 3;
    o.threads = 2;
    o.mpi = &nobody;
    FAILS(novel_open(&o, &m), TGF_INVALID, "MPI has not begun");
    MPI_Init(NULL, NULL);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(size == 4);
    FAILS(novel_open(&o, &m), TGF_INVALID, "MPI_COMM_NULL");
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &half); // ranks 0 and 2, 1 and 3
    MPI_Comm_rank(half, &own);
    o.mpi = &half;
    o.rank = own;
    o.ranks = 3;
    FAILS(novel_open(&o, &m), TGF_INVALID, "of 3, the communicator rank ");
    o.rank = o.ranks = 0;
    int taken = 0;
    o.allocate = take;
    o.release = give;
    o.memory_user = &taken;
    if (rank % 2) train_bert(&o, own == 0);
    else train_novel(&o, own == 0);
    CHECK(taken == 1 + own); // one slab, this rank's
    o.mpi = &(MPI_Comm){MPI_COMM_WORLD};
    FAILS(novel_open(&o, &m), TGF_INVALID, "runs on 2 ranks, there are 4 processes");
    int sum = 0; // the communicator is as it was
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, half);
    CHECK(sum == (rank % 2 ? 4 : 2));
    MPI_Comm_free(&half);
    MPI_Finalize();
}
#endif

int main(int argc, char **argv) {
    TgfOptions o = tgf_options();
    o.seed = 3;
    o.threads = 2;
    if (argc == 2 && !strcmp(argv[1], "threads")) {
        train_novel(&o, 1);
        train_bert(&o, 1);
    } else if (argc == 5 && !strcmp(argv[1], "tcp")) {
        o.host = "localhost";
        o.rank = atoi(argv[2]);
        o.ranks = 2;
        o.port = atoi(argv[3]);
        o.secret = "halves";
        if (!strcmp(argv[4], "novel")) train_novel(&o, o.rank == 0);
        else train_bert(&o, o.rank == 0);
    } else {
#ifdef WITH_MPI
        over_mpi();
#else
        return 2;
#endif
    }
    return expect_failures != 0;
}
