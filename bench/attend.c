// SPDX-License-Identifier: Apache-2.0
// attend: generated attention at GPT-2's shapes, forward and backward, beside a generated product of the same run.
// Build as bench/matmul.c, without OpenBLAS.
// Run:   bench-attend [--threads 2] [--reps 9] [--mcpu NAME]
// FLOPs counted: 4 batch heads queries keys columns forward, 10 backward, halved when causal.
#define _GNU_SOURCE // processor affinity
#include "codegen/jit.h"
#include "codegen/tile_attend.h"
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { THREADS_MAX = 64, REPS_MAX = 101, BUFFERS = 10 };

typedef struct Pool {
    int threads;
    pthread_barrier_t start, stop;
    KernelFn kernel;
    TilePlan plan;
    char *buf[BUFFERS], *work[THREADS_MAX];
    bool quit;
} Pool;
static Pool pool;

static void pool_part(int i) {
    pool.kernel(pool.buf, NULL, pool.work[i], pool.plan.tasks * i / pool.threads,
                pool.plan.tasks * (i + 1) / pool.threads);
}
// Woken threads may be put on one processor and stay there for a whole short product: each gets its own.
static void pool_pin(int i) {
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all)) return;
    CPU_ZERO(&one);
    for (int cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && seen++ == i) CPU_SET(cpu, &one);
    if (CPU_COUNT(&one)) pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}
static void *pool_thread(void *argument) {
    int i = (int)(intptr_t)argument;
    pool_pin(i);
    for (;;) {
        pthread_barrier_wait(&pool.start);
        if (pool.quit) return NULL;
        pool_part(i);
        pthread_barrier_wait(&pool.stop);
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static int by_value(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}
static double pool_time(KernelFn kernel, TilePlan plan, int reps) {
    double seconds[REPS_MAX];
    pool.kernel = kernel, pool.plan = plan;
    for (int r = -1; r < reps; r++) {
        double t = now();
        pthread_barrier_wait(&pool.start);
        pool_part(0);
        pthread_barrier_wait(&pool.stop);
        if (r >= 0) seconds[r] = now() - t;
    }
    qsort(seconds, (size_t)reps, sizeof *seconds, by_value);
    return seconds[reps / 2];
}

static void must(Status s) {
    if (!status_failed(&s)) return;
    fprintf(stderr, "attend: %s\n", s.message);
    exit(1);
}
static void *big_alloc(size_t bytes) {
    bytes = (bytes + (2 << 20) - 1) >> 21 << 21;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    madvise(p, bytes, MADV_HUGEPAGE);
    return memset(p, 0, bytes);
}

// [batch, sequence, head, column]
static TileRows rows(int buf, int64_t sequence, int64_t heads, int64_t columns) {
    return (TileRows){buf, 0, {sequence * heads * columns, columns}, heads * columns, 1};
}
static TileAttendBack describe(int64_t batch, int64_t heads, int64_t sequence, int64_t columns, bool causal) {
    TileAttendBack d = {.forward = {.outer_count = 2,
                                    .outer = {batch, heads},
                                    .queries = sequence,
                                    .keys = sequence,
                                    .q_columns = columns,
                                    .v_columns = columns,
                                    .scale = 1.0f / sqrtf((float)columns),
                                    .causal = causal,
                                    .query_position = -1,
                                    .key_position = -1}};
    TileRows *all[] = {&d.forward.q, &d.forward.k, &d.forward.v, &d.forward.y, &d.dy, &d.dq, &d.dk, &d.dv};
    for (int i = 0; i < 8; i++) *all[i] = rows(i, sequence, heads, columns);
    d.forward.lse = (TileRows){8, 0, {heads * sequence, sequence}, 1, 1};
    return d;
}

int main(int argc, char **argv) {
    int threads = 2, reps = 9;
    const char *mcpu = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--threads")) threads = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--reps")) reps = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--mcpu")) mcpu = argv[i + 1];
    }
    if (threads < 1 || threads > THREADS_MAX || reps < 1 || reps > REPS_MAX) return 2;
    static const struct {
        int64_t batch, heads, sequence, columns;
        bool causal;
    } shapes[] = {{4, 12, 256, 64, true},   {4, 12, 256, 64, false},  {4, 12, 1024, 64, true},
                  {4, 12, 1024, 64, false}, {1, 32, 2048, 128, true}, {4, 12, 64, 64, true}};
    enum { SHAPES = sizeof shapes / sizeof *shapes };
    CpuTarget target;
    Jit *jit;
    must(target_make(mcpu, &target));
    must(jit_make(&jit));
    LLVMContextRef context = LLVMContextCreate();
    LLVMModuleRef module = LLVMModuleCreateWithNameInContext("attend", context);
    target_adopt(&target, module);
    Irb b;
    irb_init(&b, &target, module);
    TilePlan plans[SHAPES][2], product;
    size_t bytes = 1024 * 768 * 4, work = 0; // at least the product's operands
    for (int i = 0; i < SHAPES; i++) {
        TileAttendBack d =
            describe(shapes[i].batch, shapes[i].heads, shapes[i].sequence, shapes[i].columns, shapes[i].causal);
        char name[2][32];
        for (int k = 0; k < 2; k++) snprintf(name[k], sizeof name[k], "attend_%d_%d", i, k);
        must(tile_attend(&b, name[0], &d.forward, &plans[i][0]));
        must(tile_attend_back(&b, name[1], &d, &plans[i][1]));
        size_t here = (size_t)(shapes[i].batch * shapes[i].heads * shapes[i].sequence * shapes[i].columns) * 4;
        if (here > bytes) bytes = here;
        for (int k = 0; k < 2; k++)
            if ((size_t)plans[i][k].work_bytes > work) work = (size_t)plans[i][k].work_bytes;
    }
    TileMatmul m = {.m = {1, {{1024, 768, 0, 768}}},
                    .n = {1, {{768, 0, 1, 1}}},
                    .k = {1, {{768, 1, 768, 0}}},
                    .a = 0,
                    .b = 1,
                    .c = 3};
    must(tile_matmul(&b, "product", &m, &product));
    if ((size_t)product.work_bytes > work) work = (size_t)product.work_bytes;
    irb_drop(&b);
    double t0 = now();
    must(target_optimise(&target, module));
    must(jit_add_module(jit, &target, module));
    void *address;
    must(jit_lookup(jit, "product", &address));
    fprintf(stderr, "%d kernels compiled in %.0f ms\n", 2 * SHAPES + 1, (now() - t0) * 1e3);
    for (int i = 0; i < BUFFERS; i++) {
        pool.buf[i] = big_alloc(bytes);
        uint32_t seed = (uint32_t)i + 1;
        for (size_t j = 0; j < bytes / 4; j++) {
            seed = seed * 1664525u + 1013904223u;
            ((float *)pool.buf[i])[j] = (float)(int32_t)seed * (1.0f / 2147483648.0f);
        }
    }
    pool.threads = threads;
    pthread_barrier_init(&pool.start, NULL, (unsigned)threads);
    pthread_barrier_init(&pool.stop, NULL, (unsigned)threads);
    pthread_t id[THREADS_MAX];
    for (int i = 0; i < threads; i++) {
        pool.work[i] = big_alloc(work);
        if (i) pthread_create(&id[i], NULL, pool_thread, (void *)(intptr_t)i);
    }
    pool_pin(0);
    printf("%-36s %10s %10s %10s %9s %9s\n", "batch heads sequence columns causal", "product", "forward", "backward",
           "fwd/prod", "bwd/prod");
    for (int i = 0; i < SHAPES; i++) {
        double flops = 4.0 * (double)(shapes[i].batch * shapes[i].heads * shapes[i].sequence * shapes[i].sequence *
                                      shapes[i].columns);
        if (shapes[i].causal) flops /= 2;
        double rate[3], work_done[3] = {2.0 * 1024 * 768 * 768, flops, 2.5 * flops};
        for (int k = 0; k < 3; k++) {
            char name[32] = "product";
            if (k) snprintf(name, sizeof name, "attend_%d_%d", i, k - 1);
            must(jit_lookup(jit, name, &address));
            rate[k] = work_done[k] / pool_time((KernelFn)address, k ? plans[i][k - 1] : product, reps) / 1e9;
        }
        printf("%5ld %5ld %8ld %7ld %6s %10.1f %10.1f %10.1f %9.2f %9.2f\n", shapes[i].batch, shapes[i].heads,
               shapes[i].sequence, shapes[i].columns, shapes[i].causal ? "yes" : "no", rate[0], rate[1], rate[2],
               rate[1] / rate[0], rate[2] / rate[0]);
    }
    pool.quit = true;
    pthread_barrier_wait(&pool.start);
    for (int i = 1; i < threads; i++) pthread_join(id[i], NULL);
    jit_free(jit);
    LLVMDisposeModule(module);
    LLVMContextDispose(context);
    target_free(&target);
    return 0;
}
