// SPDX-License-Identifier: Apache-2.0
// A model for GPUs on an NCCL communicator of the program's own. Processes are played by threads, each with a model, a
// communicator and a GPU of its own; they know of each other by the communicator alone. Prints their losses, and those
// of ranks that are threads of one model.
#include "expect.h"
#include "novel.h"
#include <pthread.h>
#include <stdlib.h>

// Of libcuda and libnccl, as far as it is used here.
int cuInit(unsigned flags);
int cuDevicePrimaryCtxRetain(void **out_context, int device);
int cuCtxSetCurrent(void *context);
int cuCtxGetCurrent(void **out_context);
typedef struct Id {
    char bytes[128];
} Id;
int ncclGetUniqueId(Id *out);
int ncclCommInitRank(void **out, int ranks, Id id, int rank);
int ncclCommCount(void *comm, int *out);
int ncclCommDestroy(void *comm);

enum { STEPS = 4, RANKS = NOVEL_RANKS };

typedef struct Process {
    int rank, gpu, says; // says: the rank it tells of, -1: none
    int port;            // of TCP, 0: the communicator alone
    Id id;
    void *comm;
    pthread_t thread;
    float loss[STEPS];
    TgfStatus opened;
} Process;

static void train(const TgfOptions *options, float *loss, TgfStatus *out_opened) {
    novel_model m;
    int32_t tokens[NOVEL_TOKENS_COUNT], labels[NOVEL_LABELS_COUNT];
    *out_opened = novel_open(options, &m);
    if (!m.model) return;
    OK(novel_init(m));
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < NOVEL_TOKENS_COUNT; i++)
            tokens[i] = (i * 5 + step) % 19, labels[i] = (i * 5 + step + 5) % 19;
        OK(novel_step(m, tokens, labels, &loss[step]));
    }
    novel_close(m);
}

static void *process(void *context) {
    Process *p = context;
    void *gpu, *now;
    CHECK(!cuDevicePrimaryCtxRetain(&gpu, p->gpu) && !cuCtxSetCurrent(gpu));
    CHECK(!ncclCommInitRank(&p->comm, RANKS, p->id, p->rank));
    TgfOptions o = tgf_options();
    o.seed = 3;
    o.nccl = p->comm;
    if (p->says >= 0) o.rank = p->says, o.ranks = RANKS;
    if (p->port) o.host = "localhost", o.port = p->port;
    train(&o, p->loss, &p->opened);
    int count = 0;
    CHECK(!ncclCommCount(p->comm, &count) && count == RANKS); // it stays the program's
    if (p->opened.code == TGF_OK) CHECK(!cuCtxGetCurrent(&now));
    CHECK(!ncclCommDestroy(p->comm));
    return NULL;
}

// The GPUs are not those that the runtime would have chosen.
typedef enum How { ALONE, WRONG_RANK, BESIDE_TCP, SWAPPED } How;

static void run_all(Process *p, How how, int port) {
    Id id;
    CHECK(!ncclGetUniqueId(&id));
    for (int r = 0; r < RANKS; r++) {
        int says[] = {r % 2 ? r : -1, 0, r, RANKS - 1 - r}; // by how
        p[r] = (Process){.rank = r, .gpu = 5 - r, .says = says[how], .port = port, .id = id};
        CHECK(!pthread_create(&p[r].thread, NULL, process, &p[r]));
    }
    for (int r = 0; r < RANKS; r++) pthread_join(p[r].thread, NULL);
}

static void *take(void *user, int64_t bytes, int64_t alignment, int rank) {
    (void)user, (void)bytes, (void)alignment, (void)rank;
    return NULL;
}
static void give(void *user, void *memory, int64_t bytes, int rank) {
    (void)user, (void)memory, (void)bytes, (void)rank;
}

int main(int argc, char **argv) {
    static Process p[RANKS];
    int port = argc > 1 ? atoi(argv[1]) : 0;
    float loss[STEPS];
    TgfStatus opened;
    TgfOptions o = tgf_options();
    o.seed = 3;
    CHECK(!cuInit(0));
    train(&o, loss, &opened);
    OK(opened);
    for (int step = 0; step < STEPS; step++) printf("threads %d %.9g\n", step, (double)loss[step]);
    for (How how = ALONE; how <= BESIDE_TCP; how += BESIDE_TCP) {
        run_all(p, how, how == BESIDE_TCP ? port : 0);
        for (int r = 0; r < RANKS; r++) {
            OK(p[r].opened);
            CHECK(!memcmp(p[r].loss, loss, sizeof loss));
        }
    }
    run_all(p, SWAPPED, port); // the two do not agree who is who
    for (int r = 0; r < RANKS; r++) FAILS(p[r].opened, TGF_INVALID, "NCCL communicator is rank ");
    run_all(p, WRONG_RANK, 0); // all say they are rank 0
    for (int r = 0; r < RANKS; r++)
        FAILS(p[r].opened, TGF_INVALID, "rank 1: TgfOptions says rank 0 of 2, the communicator rank 1 of 2");
    o.allocate = take;
    o.release = give;
    novel_model m;
    FAILS(novel_open(&o, &m), TGF_UNSUPPORTED, "its slab is the GPU's memory");
    if (!expect_failures) printf("ok\n");
    return expect_failures != 0;
}
