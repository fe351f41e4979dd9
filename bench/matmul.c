// SPDX-License-Identifier: Apache-2.0
// matmul: generated matrix products against OpenBLAS, side by side in one run, at a GPT-2 124M training step's shapes.
// Build from the top folder, with libopenblas-dev installed:
//   cc -std=gnu11 -O2 -I. -I/usr/lib/llvm-19/include bench/matmul.c codegen/{target,jit,irb,irb_math}.c
//      codegen/tile_*.c base/status.c -L/usr/lib/llvm-19/lib -lLLVM-19 -lopenblas -lpthread -lm -o bench-matmul
// Run:   bench-matmul [--threads 2] [--reps 7] [--tokens 1024] [--mcpu NAME] [--only K,N] [--json FILE]
//        [--block mr,nv,mc,nc,kc]   to try a blocking by hand (0: the compiler's choice)
// Each product is timed `reps` times with each library, by turns in three rounds; medians are compared. Results are
// checked against OpenBLAS.
#define _GNU_SOURCE // processor affinity
#include "codegen/jit.h"
#include "codegen/tile_matmul.h"
#include <cblas.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void openblas_set_num_threads(int n);
char *openblas_get_config(void);
char *openblas_get_corename(void);

enum { THREADS_MAX = 64, REPS_MAX = 101, ROUNDS = 3 };

typedef enum Form { FORWARD, FORWARD_T, BACK_X, BACK_X_N, BACK_W, BACK_W_T } Form;
static const char *const form_names[] = {"x W", "x W^T", "dy W^T", "dy W", "x^T dy", "dy^T x"};

typedef struct Case {
    Form form;
    int64_t m, n, k;
    bool a_turned, b_turned; // A is stored [k][m], B is stored [n][k]
    KernelFn kernel;
    TilePlan plan;
    double ours, blas; // median seconds
} Case;

// ---- a small pool

typedef struct Pool {
    int threads;
    pthread_barrier_t start, stop;
    const Case *job;
    char *buf[3];
    char *work[THREADS_MAX];
    bool quit;
} Pool;
static Pool pool;

static void pool_part(int i) {
    int64_t tasks = pool.job->plan.tasks;
    pool.job->kernel(pool.buf, NULL, pool.work[i], tasks * i / pool.threads, tasks * (i + 1) / pool.threads);
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
static void pool_run(const Case *job) {
    pool.job = job;
    pthread_barrier_wait(&pool.start);
    pool_part(0);
    pthread_barrier_wait(&pool.stop);
}

// ---- measuring

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static int by_value(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}
static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[n / 2];
}

static void *big_alloc(size_t bytes) {
    size_t huge = 2 << 20;
    bytes = (bytes + huge - 1) / huge * huge;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    madvise(p, bytes, MADV_HUGEPAGE);
    memset(p, 0, bytes);
    return p;
}

static void fill(float *x, int64_t n, uint32_t seed) {
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)seed * (1.0f / 2147483648.0f);
    }
}

static void blas_run(const Case *c, float *out) {
    cblas_sgemm(CblasRowMajor, c->a_turned ? CblasTrans : CblasNoTrans, c->b_turned ? CblasTrans : CblasNoTrans,
                (int)c->m, (int)c->n, (int)c->k, 1.0f, (float *)pool.buf[0], (int)(c->a_turned ? c->m : c->k),
                (float *)pool.buf[1], (int)(c->b_turned ? c->k : c->n), 0.0f, out, (int)c->n);
}

static Case case_make(Form form, int64_t tokens, int64_t in, int64_t out) {
    switch (form) {
    case FORWARD: return (Case){form, tokens, out, in, false, false, NULL, {0}, 0, 0};
    case FORWARD_T: return (Case){form, tokens, out, in, false, true, NULL, {0}, 0, 0};
    case BACK_X: return (Case){form, tokens, in, out, false, true, NULL, {0}, 0, 0};
    case BACK_X_N: return (Case){form, tokens, in, out, false, false, NULL, {0}, 0, 0};
    case BACK_W: return (Case){form, in, out, tokens, true, false, NULL, {0}, 0, 0};
    case BACK_W_T: return (Case){form, out, in, tokens, true, false, NULL, {0}, 0, 0};
    }
    abort();
}

static TileMatmul case_describe(const Case *c) {
    TileMatmul d = {.a = 0, .b = 1, .c = 2};
    d.m = (TileGroup){1, {{c->m, c->a_turned ? 1 : c->k, 0, c->n}}};
    d.n = (TileGroup){1, {{c->n, 0, c->b_turned ? c->k : 1, 1}}};
    d.k = (TileGroup){1, {{c->k, c->a_turned ? c->m : 1, c->b_turned ? 1 : c->n, 0}}};
    return d;
}

static void must(Status s) {
    if (!status_failed(&s)) return;
    fprintf(stderr, "matmul: %s\n", s.message);
    exit(1);
}

// OpenBLAS knows processors by name and takes its slowest kernels for one newer than itself; the comparison is with the
// fastest it has, and the choice is made when it is loaded.
static void blas_choose_kernels(char **argv) {
    __builtin_cpu_init();
    if (strcmp(openblas_get_corename(), "Prescott") || getenv("OPENBLAS_CORETYPE")) return;
    setenv("OPENBLAS_CORETYPE", __builtin_cpu_supports("avx512vl") ? "SkylakeX" : "Haswell", 1);
    execv("/proc/self/exe", argv);
}

int main(int argc, char **argv) {
    blas_choose_kernels(argv);
    int threads = 2, reps = 7;
    int64_t tokens = 1024, only_in = 0, only_out = 0;
    const char *mcpu = NULL, *json = NULL;
    TileBlocking blocking = {0};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--threads")) threads = atoi(value), i++;
        else if (!strcmp(argv[i], "--reps")) reps = atoi(value), i++;
        else if (!strcmp(argv[i], "--tokens")) tokens = atoll(value), i++;
        else if (!strcmp(argv[i], "--mcpu")) mcpu = value, i++;
        else if (!strcmp(argv[i], "--json")) json = value, i++;
        else if (!strcmp(argv[i], "--only")) sscanf(value, "%ld,%ld", &only_in, &only_out), i++;
        else if (!strcmp(argv[i], "--block"))
            sscanf(value, "%d,%d,%ld,%ld,%ld", &blocking.mr, &blocking.nv, &blocking.mc, &blocking.nc, &blocking.kc),
                i++;
        else {
            fprintf(stderr, "matmul: unknown option %s; see the head of bench/matmul.c\n", argv[i]);
            return 2;
        }
    }
    if (threads < 1 || threads > THREADS_MAX || reps < 1 || reps > REPS_MAX || tokens < 1) {
        fprintf(stderr, "matmul: threads 1..%d, reps 1..%d, tokens >= 1\n", THREADS_MAX, REPS_MAX);
        return 2;
    }
    static const int64_t layers[][2] = {{768, 2304}, {768, 768}, {768, 3072}, {3072, 768}, {768, 50304}};
    static const Form forms[][3] = {{FORWARD, BACK_X, BACK_W}, {FORWARD_T, BACK_X_N, BACK_W_T}};
    Case cases[15];
    int count = 0;
    for (int f = 0; f < 3; f++)
        for (int l = 0; l < 5; l++)
            if (!only_in || (only_in == layers[l][0] && only_out == layers[l][1]))
                cases[count++] = case_make(forms[l == 4][f], tokens, layers[l][0], layers[l][1]);

    CpuTarget target;
    Jit *jit;
    must(target_make(mcpu, &target));
    must(jit_make(&jit));
    double made = now();
    LLVMContextRef context = LLVMContextCreate();
    LLVMModuleRef module = LLVMModuleCreateWithNameInContext("matmul", context);
    target_adopt(&target, module);
    Irb b;
    irb_init(&b, &target, module);
    int64_t work = 0;
    size_t sizes[3] = {0};
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "matmul_%d", i);
        TileMatmul d = case_describe(&cases[i]);
        must(tile_matmul_blocked(&b, name, &d, NULL, blocking, &cases[i].plan));
        if (cases[i].plan.work_bytes > work) work = cases[i].plan.work_bytes;
        int64_t elements[] = {cases[i].m * cases[i].k, cases[i].k * cases[i].n, cases[i].m * cases[i].n};
        for (int o = 0; o < 3; o++)
            if ((size_t)elements[o] > sizes[o]) sizes[o] = (size_t)elements[o];
    }
    irb_drop(&b);
    double emitted = now();
    must(target_optimise(&target, module));
    double optimised = now();
    must(jit_add_module(jit, &target, module));
    for (int i = 0; i < count; i++) {
        char name[32];
        void *address;
        snprintf(name, sizeof name, "matmul_%d", i);
        must(jit_lookup(jit, name, &address));
        cases[i].kernel = (KernelFn)address;
    }
    fprintf(stderr, "%d kernels for %s, %d lanes: emitted %.0f ms, optimised %.0f ms, compiled %.0f ms; work %.1f MB\n",
            count, target.cpu, target.lanes, (emitted - made) * 1e3, (optimised - emitted) * 1e3,
            (now() - optimised) * 1e3, (double)work / 1e6);

    for (int o = 0; o < 3; o++) pool.buf[o] = big_alloc(sizes[o] * 4);
    float *check = big_alloc(sizes[2] * 4);
    fill((float *)pool.buf[0], (int64_t)sizes[0], 1);
    fill((float *)pool.buf[1], (int64_t)sizes[1], 2);
    openblas_set_num_threads(threads); // its threads are made before this one is bound to a processor
    blas_run(&cases[0], check);
    pool.threads = threads;
    pthread_barrier_init(&pool.start, NULL, (unsigned)threads);
    pthread_barrier_init(&pool.stop, NULL, (unsigned)threads);
    pthread_t id[THREADS_MAX];
    for (int i = 0; i < threads; i++) {
        pool.work[i] = big_alloc((size_t)work);
        if (i) pthread_create(&id[i], NULL, pool_thread, (void *)(intptr_t)i);
    }

    pool_pin(0);
    FILE *out = json ? fopen(json, "w") : NULL;
    if (json && !out) {
        perror(json);
        return 1;
    }
    if (out)
        fprintf(out, "{\"threads\": %d, \"reps\": %d, \"blas\": \"%s\", \"products\": [", threads, reps,
                openblas_get_config());
    printf("%-8s %6s %6s %6s %12s %12s %7s\n", "product", "m", "n", "k", "tgf GF/s", "OpenBLAS", "ratio");
    double total_ours = 0, total_blas = 0, total_flops = 0, worst = 1e9;
    for (int i = 0; i < count; i++) {
        Case *c = &cases[i];
        double ours[REPS_MAX], blas[REPS_MAX], flops = 2.0 * (double)c->m * (double)c->n * (double)c->k;
        for (int round = 0; round < ROUNDS; round++) {
            int from = reps * round / ROUNDS, to = reps * (round + 1) / ROUNDS;
            // OpenBLAS's threads spin for a while after a call: they must not be running beside ours.
            usleep(60000);
            for (int r = from - 1; r < to; r++) {
                double t = now();
                pool_run(c);
                if (r >= from) ours[r] = now() - t;
            }
            for (int r = from - 1; r < to; r++) {
                double t = now();
                blas_run(c, check);
                if (r >= from) blas[r] = now() - t;
            }
        }
        const float *mine = (const float *)pool.buf[2];
        double error = 0;
        for (int64_t j = 0; j < c->m * c->n; j++) error = fmax(error, fabs((double)mine[j] - (double)check[j]));
        if (!(error <= 1e-6 * (double)c->k)) {
            fprintf(stderr, "matmul: wrong: differs from OpenBLAS by %g\n", error);
            return 1;
        }
        c->ours = median(ours, reps);
        c->blas = median(blas, reps);
        double ratio = c->blas / c->ours;
        if (ratio < worst) worst = ratio;
        total_ours += c->ours, total_blas += c->blas, total_flops += flops;
        printf("%-8s %6ld %6ld %6ld %12.1f %12.1f %7.3f\n", form_names[c->form], c->m, c->n, c->k,
               flops / c->ours / 1e9, flops / c->blas / 1e9, ratio);
        fflush(stdout);
        if (out)
            fprintf(
                out,
                "%s\n  {\"product\": \"%s\", \"m\": %ld, \"n\": %ld, \"k\": %ld, \"tgf\": %.2f, \"openblas\": %.2f}",
                i ? "," : "", form_names[c->form], c->m, c->n, c->k, flops / c->ours / 1e9, flops / c->blas / 1e9);
    }
    printf("%-29s %12.1f %12.1f %7.3f   worst %.3f\n", "all, by time", total_flops / total_ours / 1e9,
           total_flops / total_blas / 1e9, total_blas / total_ours, worst);
    if (out) {
        fprintf(out, "],\n \"tgf\": %.2f, \"openblas\": %.2f, \"ratio\": %.4f, \"worst\": %.4f}\n",
                total_flops / total_ours / 1e9, total_flops / total_blas / 1e9, total_blas / total_ours, worst);
        fclose(out);
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
