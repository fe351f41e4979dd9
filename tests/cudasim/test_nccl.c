// SPDX-License-Identifier: Apache-2.0
// NCCL's stand-in: collectives between ranks that are threads, on streams and in graphs; calls that do not match, ranks
// that wait for one another in a circle, and races with a collective are reported.
#include "standin.h"
#include "tests/runtime/check.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    MOST_RANKS = 4,
    N = 1000,
    F32 = 7,
    BF16 = 9,
    I32 = 2,
    SUM = 0,
    MAX = 2,
    IN_PROGRESS = 7,
    FAULT = 710,
    NOT_READY = 600
};

typedef struct Config { // ncclConfig_t as of 2.18
    size_t size;
    unsigned magic, version;
    int blocking, cga_cluster, least_blocks, most_blocks;
    const char *net;
    int split_share;
} Config;
static const int DEFAULT = (int)0x80000000;

typedef struct Rank {
    int rank, nranks;
    StandinId id, other_id;
    void *comm, *stream[2];
    uint64_t x, y; // N floats each, times MOST_RANKS
    float *host;
    char text[1000]; // what the communicator said last
    int result;
    bool nonblocking;
} Rank;
typedef void Body(Rank *r);

static pthread_mutex_t check_lock = PTHREAD_MUTEX_INITIALIZER;
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        bool holds_ = (condition);                                                                                     \
        pthread_mutex_lock(&check_lock);                                                                               \
        if (!holds_) printf("rank %d: ", r->rank);                                                                     \
        CHECK(holds_ &&#condition);                                                                                    \
        pthread_mutex_unlock(&check_lock);                                                                             \
    } while (0)

static Body *body;
static pthread_barrier_t made; // a failure of one is not to meet another that still joins

// What a call of a nonblocking communicator comes to.
static int settle(Rank *r, void *comm, int result) {
    (void)r;
    while (result == IN_PROGRESS) {
        if (cu.ncclCommGetAsyncError(comm, &result)) return -1;
        if (result == IN_PROGRESS) usleep(100);
    }
    return result;
}
#define NCCL(call) settle(r, r->comm, call)

static void *rank_main(void *data) {
    Rank *r = data;
    void *context;
    Config config = {sizeof config, 0xcafebeef, 21800, !r->nonblocking, DEFAULT, DEFAULT, DEFAULT, NULL, DEFAULT};
    EXPECT(!cu.cuDevicePrimaryCtxRetain(&context, r->rank) && !cu.cuCtxSetCurrent(context));
    for (int i = 0; i < 2; i++) EXPECT(!cu.cuStreamCreateWithPriority(&r->stream[i], 1, 0));
    EXPECT(!cu.cuMemAlloc_v2(&r->x, N * 4 * MOST_RANKS) && !cu.cuMemAlloc_v2(&r->y, N * 4 * MOST_RANKS));
    EXPECT(!cu.cuMemHostAlloc((void **)&r->host, N * 4 * MOST_RANKS, 3));
    EXPECT(!NCCL(cu.ncclCommInitRankConfig(&r->comm, r->nranks, r->id, r->rank, &config)));
    pthread_barrier_wait(&made);
    body(r);
    if (r->comm) cu.ncclCommDestroy(r->comm);
    EXPECT(!cu.cuDevicePrimaryCtxRelease_v2(r->rank));
    return NULL;
}

static Rank ranks[MOST_RANKS];
static void with_ranks(int n, bool nonblocking, Body *run) {
    pthread_t thread[MOST_RANKS];
    StandinId id, other;
    CHECK(!cu.ncclGetUniqueId(&id) && !cu.ncclGetUniqueId(&other));
    body = run;
    pthread_barrier_init(&made, NULL, (unsigned)n);
    for (int i = 0; i < n; i++) {
        ranks[i] = (Rank){.rank = i, .nranks = n, .id = id, .other_id = other, .nonblocking = nonblocking};
        if (pthread_create(&thread[i], NULL, rank_main, &ranks[i])) abort();
    }
    for (int i = 0; i < n; i++) pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&made);
}

static void put(Rank *r, uint64_t at, int n, float first, float step) {
    for (int i = 0; i < n; i++) r->host[i] = first + step * (float)i;
    EXPECT(!cu.cuMemcpyHtoDAsync_v2(at, r->host, (size_t)n * 4, r->stream[0]) && !cu.cuStreamSynchronize(r->stream[0]));
}
static bool is(Rank *r, uint64_t at, int n, float first, float step) {
    if (cu.cuMemcpyDtoHAsync_v2(r->host, at, (size_t)n * 4, r->stream[0]) || cu.cuStreamSynchronize(r->stream[0]))
        return false;
    for (int i = 0; i < n; i++)
        if (r->host[i] != first + step * (float)i) return false;
    return true;
}
#define P(x) ((void *)(uintptr_t)(x))

static void collectives(Rank *r) {
    int n = r->nranks, total = n * (n - 1) / 2;
    void *s = r->stream[0];
    put(r, r->x, N, (float)r->rank, 1);
    EXPECT(!NCCL(cu.ncclAllReduce(P(r->x), P(r->y), N, F32, SUM, r->comm, s)) &&
           is(r, r->y, N, (float)total, (float)n));
    EXPECT(!NCCL(cu.ncclAllReduce(P(r->x), P(r->x), N, F32, MAX, r->comm, s)) && is(r, r->x, N, (float)(n - 1), 1));
    put(r, r->x, N, (float)(r->rank * N), 1);
    EXPECT(!NCCL(cu.ncclAllGather(P(r->x), P(r->y), N, F32, r->comm, s)) && is(r, r->y, N * n, 0, 1));
    EXPECT(!NCCL(cu.ncclReduceScatter(P(r->y), P(r->x), N, F32, SUM, r->comm, s)));
    EXPECT(is(r, r->x, N, (float)(r->rank * N * n), (float)n));
    EXPECT(!NCCL(cu.ncclBroadcast(P(r->x), P(r->x), N, F32, 1, r->comm, s)) &&
           is(r, r->x, N, (float)(N * n), (float)n));
    int next = (r->rank + 1) % n, before = (r->rank + n - 1) % n; // a ring
    put(r, r->x, N, (float)r->rank, 0);
    EXPECT(!cu.ncclGroupStart() && !cu.ncclSend(P(r->x), N, F32, next, r->comm, s));
    EXPECT(!cu.ncclRecv(P(r->y), N, F32, before, r->comm, s) && !NCCL(cu.ncclGroupEnd()));
    EXPECT(is(r, r->y, N, (float)before, 0));
    uint16_t half[2] = {0x3f80, 0x4000}; // 1, 2
    EXPECT(!cu.cuMemcpyHtoDAsync_v2(r->x, half, 4, s) &&
           !NCCL(cu.ncclAllReduce(P(r->x), P(r->y), 2, BF16, SUM, r->comm, s)));
    EXPECT(!cu.cuMemcpyDtoHAsync_v2(half, r->y, 4, s) && half[0] == (n == 4 ? 0x4080 : 0x4000));
    void *part; // even and odd ranks, the last first
    Config config = {sizeof config, 0xcafebeef, 21800, !r->nonblocking, DEFAULT, DEFAULT, DEFAULT, NULL, DEFAULT};
    int result = cu.ncclCommSplit(r->comm, r->rank % 2, -r->rank, &part, &config);
    EXPECT(!settle(r, part, result));
    put(r, r->x, N, (float)r->rank, 0);
    EXPECT(!settle(r, part, cu.ncclAllGather(P(r->x), P(r->y), N, F32, part, s)));
    EXPECT(is(r, r->y, N, (float)(r->rank % 2 + (n == 4 ? 2 : 0)), 0));
    EXPECT(!settle(r, part, cu.ncclCommFinalize(part)) && !cu.ncclCommDestroy(part));
    result = cu.ncclCommSplit(r->comm, r->rank ? -1 : 5, 0, &part, &config);
    EXPECT((part == NULL) == (r->rank != 0));
    if (part) EXPECT(!settle(r, part, result) && !cu.ncclCommDestroy(part));
}

static void in_graph(Rank *r) {
    void *graph, *exec, *begun, *done, *a = r->stream[0], *b = r->stream[1];
    EXPECT(!cu.cuEventCreate(&begun, 2) && !cu.cuEventCreate(&done, 2));
    EXPECT(!cu.cuMemsetD32Async(r->y, 0, N, a) && !cu.cuStreamSynchronize(a));
    EXPECT(!cu.cuStreamBeginCapture_v2(a, 1));
    EXPECT(!cu.cuMemsetD32Async(r->x, (unsigned)r->rank + 1, N, a));
    EXPECT(!cu.cuEventRecord(begun, a) && !cu.cuStreamWaitEvent(b, begun, 0));
    EXPECT(!cu.ncclAllReduce(P(r->x), P(r->x), N, I32, SUM, r->comm, b));
    EXPECT(!cu.ncclAllReduce(P(r->x), P(r->y), N, I32, SUM, r->comm, b));
    EXPECT(!cu.cuEventRecord(done, b) && !cu.cuStreamWaitEvent(a, done, 0));
    EXPECT(!cu.cuStreamEndCapture(a, &graph) && !cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
    for (int i = 0; i < 10; i++) EXPECT(!cu.cuGraphLaunch(exec, a));
    EXPECT(!cu.cuMemcpyDtoHAsync_v2(r->host, r->y, N * 4, a) && !cu.cuStreamSynchronize(a));
    int want = r->nranks * r->nranks * (r->nranks + 1) / 2, got[2];
    memcpy(got, r->host, 4);
    memcpy(got + 1, &r->host[N - 1], 4);
    EXPECT(got[0] == want && got[1] == want);
    EXPECT(!cu.cuGraphExecDestroy(exec) && !cu.cuGraphDestroy(graph));
    EXPECT(!cu.cuEventDestroy_v2(begun) && !cu.cuEventDestroy_v2(done));
}

// Waits, and keeps what the communicator says; blocking: in the driver, else by polls, ended by an abort.
static void wait_for_failure(Rank *r, bool blocking) {
    int error = 0;
    if (r->result && r->result != IN_PROGRESS) blocking = true; // the call itself was refused: another rank was faster
    else if (blocking) r->result = cu.cuStreamSynchronize(r->stream[0]);
    else
        while ((!error || error == IN_PROGRESS) && cu.cuStreamQuery(r->stream[0]) == NOT_READY)
            cu.ncclCommGetAsyncError(r->comm, &error);
    cu.ncclCommGetAsyncError(r->comm, &error);
    snprintf(r->text, sizeof r->text, "%s", cu.ncclGetLastError(r->comm));
    if (!blocking) r->result = error;
    EXPECT(!cu.ncclCommAbort(r->comm));
    r->comm = NULL;
    if (!blocking) EXPECT(!cu.cuStreamSynchronize(r->stream[0])); // the abort let it go on
}
static void expect_failure(int n, const char *part, const char *other) {
    for (int i = 0; i < n; i++) {
        Rank *r = &ranks[i];
        bool said = r->result && strstr(r->text, part) && strstr(r->text, other);
        if (!said) printf("rank %d: result %d, '%s'\n", i, r->result, r->text);
        EXPECT(said);
    }
}

static void mismatch(Rank *r) {
    r->result = cu.ncclAllReduce(P(r->x), P(r->y), r->rank == 1 ? N - 1 : N, F32, SUM, r->comm, r->stream[0]);
    wait_for_failure(r, !r->nonblocking);
}
static void mismatched_kind(Rank *r) {
    if (r->rank) r->result = cu.ncclAllGather(P(r->x), P(r->y), N, F32, r->comm, r->stream[0]);
    else r->result = cu.ncclAllReduce(P(r->x), P(r->y), N, F32, SUM, r->comm, r->stream[0]);
    wait_for_failure(r, !r->nonblocking);
}
static void two_orders(Rank *r) { // two communicators, one stream, another order on each rank
    void *other;
    if (settle(r, NULL, cu.ncclCommInitRankConfig(&other, r->nranks, r->other_id, r->rank, NULL))) return;
    for (int i = 0; i < 2; i++) {
        void *comm = (r->rank + i) % 2 ? other : r->comm;
        r->result = cu.ncclAllReduce(P(r->x), P(r->y), N, F32, SUM, comm, r->stream[0]);
    }
    wait_for_failure(r, true);
    EXPECT(!cu.ncclCommAbort(other));
}
static void unmatched_send(Rank *r) {
    if (r->rank) r->result = cu.ncclRecv(P(r->x), N, F32, 0, r->comm, r->stream[0]);
    else r->result = cu.ncclRecv(P(r->x), N, F32, 1, r->comm, r->stream[0]);
    wait_for_failure(r, !r->nonblocking);
}
static void shorter_send(Rank *r) {
    if (r->rank) r->result = cu.ncclRecv(P(r->x), N, F32, 0, r->comm, r->stream[0]);
    else r->result = cu.ncclSend(P(r->x), N - 1, F32, 1, r->comm, r->stream[0]);
    wait_for_failure(r, !r->nonblocking);
}
static void race(Rank *r) { // the sum is taken on another stream than what it is of is made on
    cu.cuMemsetD32Async(r->x, 0, N, r->stream[1]);
    cu.ncclAllReduce(P(r->x), P(r->y), N, F32, SUM, r->comm, r->stream[0]);
    r->result = cu.cuCtxSynchronize();
    const char *text = "";
    cu.cuGetErrorString(FAULT, &text);
    snprintf(r->text, sizeof r->text, "%s", text);
    cu.ncclCommAbort(r->comm);
    r->comm = NULL;
}

int main(void) {
    int version = 0;
    if (!standin_load() || !cu.ncclGetVersion) return 1;
    CHECK(!cu.ncclGetVersion(&version) && version >= 21800);
    for (int round = 0; round < 5; round++) {
        with_ranks(2, false, collectives);
        with_ranks(4, true, collectives);
        with_ranks(4, false, in_graph);
    }
    for (int polls = 0; polls < 2; polls++) {
        with_ranks(3, polls, mismatch);
        expect_failure(3, "rank 1 ", "all_reduce of 999 f32");
        with_ranks(2, polls, mismatched_kind);
        expect_failure(2, "all_gather", "all_reduce");
        with_ranks(2, polls, unmatched_send);
        expect_failure(2, "deadlock", "recv of 1000 f32 from rank 1 for rank 1");
        with_ranks(2, polls, shorter_send);
        expect_failure(2, "send of 999 f32", "recv of 1000 f32");
    }
    with_ranks(2, false, two_orders);
    expect_failure(2, "deadlock", "all_reduce of 1000 f32 (sum) for rank");
    with_ranks(2, false, race);
    expect_failure(2, "race", "no event orders them");
    return check_report("nccl");
}
