// SPDX-License-Identifier: Apache-2.0
// Kernels rendered by cpu_llvm against plain C: mathematics over dense samples, rows, columns, chunks, gathers.
#include "codegen/cpu_llvm.h"
#include "codegen/jit.h"
#include "ir/random.h"
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;
#define CHECK(cond, ...)                                                                                               \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                            \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

static Arena *arena;
static CpuTarget target;

static void must(Status s) {
    if (!status_failed(&s)) return;
    fprintf(stderr, "%s\n", s.message);
    exit(1);
}

typedef struct Made {
    Jit *jit;
    KernelFn run;
} Made;

static Made make(const Kernel *k) {
    if (getenv("TGF_SHOW")) kernel_print(k, stdout);
    LLVMContextRef context = LLVMContextCreate();
    LLVMModuleRef module = LLVMModuleCreateWithNameInContext(k->name, context);
    target_adopt(&target, module);
    Irb b;
    irb_init(&b, &target, module);
    cpu_llvm_kernel(&b, k);
    irb_drop(&b);
    must(target_optimise(&target, module));
    if (getenv("TGF_SHOW")) LLVMDumpModule(module);
    Made m;
    must(jit_make(&m.jit));
    must(jit_add_module(m.jit, &target, module));
    void *address;
    must(jit_lookup(m.jit, k->name, &address));
    m.run = (KernelFn)(uintptr_t)address;
    LLVMDisposeModule(module);
    LLVMContextDispose(context);
    return m;
}

static KIndex at(int n, ...) { // pairs of variable and stride
    KIndex x = {0};
    va_list list;
    va_start(list, n);
    for (int i = 0; i < n; i++) {
        int var = va_arg(list, int);
        kindex_add_var(&x, var, va_arg(list, int));
    }
    va_end(list);
    return x;
}

static int64_t ulps(float a, float b) {
    if (isnan(a) && isnan(b)) return 0;
    if (isnan(a) || isnan(b)) return INT64_MAX;
    int32_t x, y;
    memcpy(&x, &a, 4), memcpy(&y, &b, 4);
    int64_t i = x < 0 ? -(int64_t)(x & 0x7fffffff) : x, j = y < 0 ? -(int64_t)(y & 0x7fffffff) : y;
    return i > j ? i - j : j - i;
}

static KExpr *unary_rsqrt(Kernel *k, KExpr *a) { return kb_rsqrt(k, a); }
static double ref_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double ref_softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }
static double ref_rsqrt(double x) { return 1 / sqrt(x); }

static void test_math(void) {
    static const struct {
        const char *name;
        KExpr *(*build)(Kernel *, KExpr *);
        double (*reference)(double);
        double from, to;
        int ulps;
        double absolute;
    } cases[] = {
        {"exp", kb_exp, exp, -110, 90, 2, 0},
        {"exp_small", kb_exp, exp, -1, 1, 2, 0},
        {"log", kb_log, log, 0, 1e4, 2, 0},
        {"log_one", kb_log, log, 0.5, 2, 2, 0},
        {"tanh", kb_tanh, tanh, -10, 10, 5, 0},
        {"tanh_small", kb_tanh, tanh, -0.01, 0.01, 4, 0},
        {"sigmoid", kb_sigmoid, ref_sigmoid, -87, 87, 4, 0},
        {"softplus", kb_softplus, ref_softplus, -87, 87, 4, 0},
        {"erf", kb_erf, erf, -5, 5, 3, 0},
        {"erf_small", kb_erf, erf, -0.01, 0.01, 3, 0},
        {"sin", kb_sin, sin, -10, 10, 2, 0x1p-23},
        {"cos", kb_cos, cos, -10, 10, 2, 0x1p-23},
        {"sin_far", kb_sin, sin, -1e5, 1e5, 2, 0x1p-23},
        {"cos_far", kb_cos, cos, -1e5, 1e5, 2, 0x1p-23},
        {"rsqrt", unary_rsqrt, ref_rsqrt, 1e-6, 1e6, 2, 0},
    };
    enum { N = 100003 };
    float *x = malloc(sizeof *x * N), *y = malloc(sizeof *y * N);
    static const float special[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1.0f, -1.0f, 1e-40f, 3e38f, -3e38f, 1e-30f};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        Kernel *k = kernel_new(arena, cases[c].name);
        int in = kernel_buf(k, DT_F32, false), out = kernel_buf(k, DT_F32, true), v = kernel_var(k);
        KStmt *loop = kbody_loop(k, &k->body, KLOOP_VECTOR, v, N);
        kbody_store(k, &loop->body, out, at(1, v, 1), cases[c].build(k, kb_load(k, in, at(1, v, 1))));
        Made m = make(k);
        size_t specials = sizeof special / sizeof *special;
        for (int i = 0; i < N; i++)
            x[i] =
                i < (int)specials ? special[i] : (float)(cases[c].from + (cases[c].to - cases[c].from) * i / (N - 1));
        char *bufs[] = {(char *)x, (char *)y};
        m.run(bufs, NULL, NULL, 0, 1);
        int64_t worst = 0;
        int where = 0;
        for (int i = 0; i < N; i++) {
            bool trigonometric = strncmp(cases[c].name, "sin", 3) == 0 || strncmp(cases[c].name, "cos", 3) == 0;
            if (trigonometric && !(fabsf(x[i]) <= 1e5f)) {
                if (isnan(x[i])) CHECK(isnan(y[i]), "%s(NaN) = %g", cases[c].name, (double)y[i]);
                continue;
            }
            float r = (float)cases[c].reference((double)x[i]);
            if (cases[c].absolute && fabs((double)y[i] - (double)r) <= cases[c].absolute) continue;
            int64_t u = ulps(y[i], r);
            if (u > worst) worst = u, where = i;
        }
        CHECK(worst <= cases[c].ulps, "%s(%.9g) = %.9g, should be %.9g: %" PRId64 " ulp", cases[c].name,
              (double)x[where], (double)y[where], cases[c].reference((double)x[where]), worst);
        if (getenv("TGF_VERBOSE")) printf("%-12s worst %" PRId64 " ulp\n", cases[c].name, worst);
        jit_free(m.jit);
    }
    free(x), free(y);
}

static void test_pow(void) {
    static const float base[] = {0,     -0.0f,  1,     -1,       2,         -2,  0.5f,    3.7f,
                                 -3.7f, 1e-30f, 1e30f, INFINITY, -INFINITY, NAN, 1.0001f, 1e-42f};
    static const float exponent[] = {0,    -0.0f, 1,   -1,       2,         3,   -3,   0.5f,    -0.5f,
                                     2.2f, 37,    -37, INFINITY, -INFINITY, NAN, 1e9f, 2.00001f};
    enum { NB = sizeof base / sizeof *base, NE = sizeof exponent / sizeof *exponent, N = NB * NE };
    float a[N], b[N], y[N];
    for (int i = 0; i < N; i++) a[i] = base[i / NE], b[i] = exponent[i % NE];
    Kernel *k = kernel_new(arena, "pow");
    int ia = kernel_buf(k, DT_F32, false), ib = kernel_buf(k, DT_F32, false), out = kernel_buf(k, DT_F32, true);
    int v = kernel_var(k);
    KStmt *loop = kbody_loop(k, &k->body, KLOOP_VECTOR, v, N);
    kbody_store(k, &loop->body, out, at(1, v, 1), kb_pow(k, kb_load(k, ia, at(1, v, 1)), kb_load(k, ib, at(1, v, 1))));
    Made m = make(k);
    m.run((char *[]){(char *)a, (char *)b, (char *)y}, NULL, NULL, 0, 1);
    for (int i = 0; i < N; i++) {
        float r = (float)pow((double)a[i], (double)b[i]);
        CHECK(ulps(y[i], r) <= 3, "pow(%.9g, %.9g) = %.9g, should be %.9g", (double)a[i], (double)b[i], (double)y[i],
              (double)r);
    }
    jit_free(m.jit);
}

// y = (x - mean) * scale, also rows' sums of squares and maxima; rows in parallel, for several widths.
static void test_rows(void) {
    static const int widths[] = {1, 3, 15, 16, 17, 64, 100, 129, 768};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        int rows = 37, width = widths[w];
        size_t n = (size_t)(rows * width);
        float *x = malloc(4 * n), *y = malloc(4 * n), *scale = malloc(4 * (size_t)width),
              *most = malloc(4 * (size_t)rows);
        for (size_t i = 0; i < n; i++) x[i] = (float)((double)(i * 2654435761u % 1000) / 1000 - 0.5);
        for (int i = 0; i < width; i++) scale[i] = (float)i;
        Kernel *k = kernel_new(arena, "rows");
        int bx = kernel_buf(k, DT_F32, false), bs = kernel_buf(k, DT_F32, false), by = kernel_buf(k, DT_F32, true);
        int bm = kernel_buf(k, DT_F32, true), r = kernel_var(k), v0 = kernel_var(k), v1 = kernel_var(k);
        int sum = kernel_acc(k), max = kernel_acc(k);
        KStmt *row = kbody_loop(k, &k->body, KLOOP_PARALLEL, r, rows);
        kbody_acc(k, &row->body, sum, KREDUCE_SUM);
        kbody_acc(k, &row->body, max, KREDUCE_MAX);
        KStmt *first = kbody_loop(k, &row->body, KLOOP_VECTOR, v0, width);
        kbody_update(k, &first->body, sum, kb_load(k, bx, at(2, r, width, v0, 1)));
        kbody_update(k, &first->body, max, kb_load(k, bx, at(2, r, width, v0, 1)));
        KExpr *mean = kb_div(k, kb_acc(k, sum, DT_F32), kb_const(k, DT_F32, width));
        KStmt *second = kbody_loop(k, &row->body, KLOOP_VECTOR, v1, width);
        KExpr *d = kb_sub(k, kb_load(k, bx, at(2, r, width, v1, 1)), mean);
        kbody_store(k, &second->body, by, at(2, r, width, v1, 1), kb_mul(k, d, kb_load(k, bs, at(1, v1, 1))));
        kbody_store(k, &row->body, bm, at(1, r, 1), kb_acc(k, max, DT_F32));
        Made m = make(k);
        char *bufs[] = {(char *)x, (char *)scale, (char *)y, (char *)most};
        m.run(bufs, NULL, NULL, 0, 11);
        m.run(bufs, NULL, NULL, 11, rows);
        for (int i = 0; i < rows; i++) {
            double mu = 0;
            float top = -INFINITY;
            for (int j = 0; j < width; j++) mu += (double)x[i * width + j], top = fmaxf(top, x[i * width + j]);
            mu /= width;
            CHECK(top == most[i], "width %d: maximum %g, not %g", width, (double)most[i], (double)top);
            for (int j = 0; j < width; j++) {
                double want = ((double)x[i * width + j] - mu) * (double)scale[j];
                CHECK(fabs(want - (double)y[i * width + j]) <= 1e-5 * (1 + fabs(want)),
                      "width %d: y[%d, %d] = %g, not %g", width, i, j, (double)y[i * width + j], want);
            }
        }
        jit_free(m.jit);
        free(x), free(y), free(scale), free(most);
    }
}

// Sums over rows in chunks of columns: lanes along the kept axis, the last chunk short.
static void test_columns(void) {
    static const int widths[] = {5, 64, 130, 200};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        int rows = 23, width = widths[w], chunk = 64;
        float *x = malloc(sizeof *x * (size_t)(rows * width)), *y = malloc(4 * (size_t)width + 400);
        for (int i = 0; i < rows * width; i++) x[i] = (float)(i % 17);
        for (int i = 0; i < width + 100; i++) y[i] = -1;
        Kernel *k = kernel_new(arena, "columns");
        int bx = kernel_buf(k, DT_F32, false), by = kernel_buf(k, DT_F32, true);
        int c = kernel_var(k), v = kernel_var(k), r = kernel_var(k), sum = kernel_acc(k);
        KStmt *tasks = kbody_loop(k, &k->body, KLOOP_PARALLEL, c, (width + chunk - 1) / chunk);
        KStmt *columns = kbody_chunk(k, &tasks->body, KLOOP_VECTOR, v, chunk, c, width);
        kbody_acc(k, &columns->body, sum, KREDUCE_SUM);
        KStmt *down = kbody_loop(k, &columns->body, KLOOP_SERIAL, r, rows);
        kbody_update(k, &down->body, sum, kb_load(k, bx, at(3, c, chunk, v, 1, r, width)));
        kbody_store(k, &columns->body, by, at(2, c, chunk, v, 1), kb_acc(k, sum, DT_F32));
        Made m = make(k);
        m.run((char *[]){(char *)x, (char *)y}, NULL, NULL, 0, k->tasks);
        for (int j = 0; j < width; j++) {
            float want = 0;
            for (int i = 0; i < rows; i++) want += x[i * width + j];
            CHECK(want == y[j], "width %d: column %d is %g, not %g", width, j, (double)y[j], (double)want);
        }
        for (int j = 0; j < 100; j++) CHECK(y[width + j] == -1, "written beyond the end");
        jit_free(m.jit);
        free(x), free(y);
    }
}

// y[i, w] = table[id[i], w] where the id is valid, 0 elsewhere; and picked[i] = table[id[i], i] in lanes (a gather).
static void test_gather(void) {
    enum { IDS = 21, ROWS = 9, WIDTH = 40 };
    float table[ROWS * WIDTH], y[IDS * WIDTH], picked[IDS];
    int32_t id[IDS];
    uint8_t valid[IDS];
    for (int i = 0; i < ROWS * WIDTH; i++) table[i] = (float)i;
    for (int i = 0; i < IDS; i++) id[i] = i * 5 % 11 - 1;
    Kernel *k = kernel_new(arena, "gather");
    int bi = kernel_buf(k, DT_I32, false), bt = kernel_buf(k, DT_F32, false), by = kernel_buf(k, DT_F32, true);
    int i = kernel_var(k), w = kernel_var(k);
    KExpr *which = kb_load(k, bi, at(1, i, 1)), *zero = kb_const(k, DT_I32, 0), *last = kb_const(k, DT_I32, ROWS - 1);
    KExpr *ok = kb_and(k, kb_le(k, zero, which), kb_le(k, which, last));
    KExpr *safe = kb_min(k, kb_max(k, which, zero), last);
    KStmt *rows = kbody_loop(k, &k->body, KLOOP_PARALLEL, i, IDS);
    KStmt *row = kbody_loop(k, &rows->body, KLOOP_VECTOR, w, WIDTH);
    KIndex from = at(1, w, 1);
    kindex_add_expr(k, &from, safe, WIDTH);
    kbody_store(k, &row->body, by, at(2, i, WIDTH, w, 1),
                kb_select(k, ok, kb_load(k, bt, from), kb_const(k, DT_F32, 0)));
    Made m = make(k);
    m.run((char *[]){(char *)id, (char *)table, (char *)y}, NULL, NULL, 0, IDS);
    jit_free(m.jit);

    k = kernel_new(arena, "pick");
    bi = kernel_buf(k, DT_I32, false), bt = kernel_buf(k, DT_F32, false), by = kernel_buf(k, DT_F32, true);
    int bv = kernel_buf(k, DT_BOOL, true);
    i = kernel_var(k);
    which = kb_load(k, bi, at(1, i, 1)), zero = kb_const(k, DT_I32, 0), last = kb_const(k, DT_I32, ROWS - 1);
    ok = kb_and(k, kb_le(k, zero, which), kb_le(k, which, last));
    safe = kb_min(k, kb_max(k, which, zero), last);
    KStmt *all = kbody_loop(k, &k->body, KLOOP_VECTOR, i, IDS);
    from = at(1, i, 1);
    kindex_add_expr(k, &from, safe, WIDTH);
    kbody_store(k, &all->body, by, at(1, i, 1), kb_select(k, ok, kb_load(k, bt, from), kb_const(k, DT_F32, 0)));
    kbody_store(k, &all->body, bv, at(1, i, 1), ok);
    m = make(k);
    m.run((char *[]){(char *)id, (char *)table, (char *)picked, (char *)valid}, NULL, NULL, 0, 1);
    jit_free(m.jit);
    for (int a = 0; a < IDS; a++) {
        bool in = id[a] >= 0 && id[a] < ROWS;
        for (int c = 0; c < WIDTH; c++)
            CHECK(y[a * WIDTH + c] == (in ? table[id[a] * WIDTH + c] : 0), "row %d column %d", a, c);
        CHECK(picked[a] == (in ? table[id[a] * WIDTH + a] : 0), "pick %d: %g", a, (double)picked[a]);
        CHECK(valid[a] == in, "valid %d", a);
    }
}

// A whole reduction of two dimensions, in place updates, transposed reads.
static void test_shapes(void) {
    enum { ROWS = 13, WIDTH = 70 };
    float x[ROWS * WIDTH], t[WIDTH * ROWS], total[1];
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = (float)(i % 29), t[i] = -1;
    Kernel *k = kernel_new(arena, "shapes");
    int bx = kernel_buf(k, DT_F32, true), bt = kernel_buf(k, DT_F32, true), bs = kernel_buf(k, DT_F32, true);
    int r0 = kernel_var(k), w0 = kernel_var(k), w1 = kernel_var(k), r1 = kernel_var(k), sum = kernel_acc(k);
    kbody_acc(k, &k->body, sum, KREDUCE_SUM);
    KStmt *rows = kbody_loop(k, &k->body, KLOOP_SERIAL, r0, ROWS);
    KStmt *row = kbody_loop(k, &rows->body, KLOOP_VECTOR, w0, WIDTH);
    kbody_update(k, &row->body, sum, kb_load(k, bx, at(2, r0, WIDTH, w0, 1)));
    kbody_store(k, &k->body, bs, (KIndex){0}, kb_acc(k, sum, DT_F32));
    KStmt *columns = kbody_loop(k, &k->body, KLOOP_SERIAL, w1, WIDTH);
    KStmt *down = kbody_loop(k, &columns->body, KLOOP_VECTOR, r1, ROWS);
    KExpr *old = kb_load(k, bx, at(2, r1, WIDTH, w1, 1));
    kbody_store(k, &down->body, bx, at(2, r1, WIDTH, w1, 1), kb_add(k, old, kb_const(k, DT_F32, 1)));
    kbody_store(k, &down->body, bt, at(2, w1, ROWS, r1, 1), old);
    float before[ROWS * WIDTH], want = 0;
    memcpy(before, x, sizeof x);
    for (int i = 0; i < ROWS * WIDTH; i++) want += x[i];
    Made m = make(k);
    m.run((char *[]){(char *)x, (char *)t, (char *)total}, NULL, NULL, 0, 1);
    CHECK(total[0] == want, "total %g, not %g", (double)total[0], (double)want);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < WIDTH; j++) {
            CHECK(t[j * ROWS + i] == before[i * WIDTH + j], "transposed %d %d", i, j);
            CHECK(x[i * WIDTH + j] == before[i * WIDTH + j] + 1, "in place %d %d", i, j);
        }
    jit_free(m.jit);
}

static void test_random(void) {
    enum { N = 1000 };
    float u[N], z[N];
    Kernel *k = kernel_new(arena, "draw");
    int bu = kernel_buf(k, DT_F32, true), bz = kernel_buf(k, DT_F32, true), v = kernel_var(k);
    KExpr *zero = kb_const(k, DT_I32, 0), *keys[] = {kb_scalar(k, 0), kb_scalar(k, 1), zero, zero};
    KStmt *loop = kbody_loop(k, &k->body, KLOOP_VECTOR, v, N);
    kbody_store(k, &loop->body, bu, at(1, v, 1), kb_random(k, 0, kb_var(k, v), zero, 7, keys));
    kbody_store(k, &loop->body, bz, at(1, v, 1), kb_random(k, 1, kb_var(k, v), zero, 7, keys));
    Made m = make(k);
    int64_t scalars[] = {42, -3};
    m.run((char *[]){(char *)u, (char *)z}, scalars, NULL, 0, 1);
    for (int i = 0; i < N; i++) {
        uint32_t w[4];
        random_words(i, 7, (int32_t[]){42, -3, 0, 0}, w);
        CHECK(u[i] == (float)((w[0] >> 8) * 0x1p-24), "uniform %d", i);
        double want = sqrt(-2 * log(((w[0] >> 8) + 0.5) * 0x1p-24)) * cos(2 * M_PI * ((w[1] >> 8) * 0x1p-24));
        CHECK(fabs(want - (double)z[i]) <= 5e-7 * fabs(want), "normal %d: %g, not %g", i, (double)z[i], want);
    }
    jit_free(m.jit);
}

int main(void) {
    static const char *const processors[] = {"native", "x86-64-v3", "x86-64"};
    arena = arena_new();
    for (size_t i = 0; i < sizeof processors / sizeof *processors; i++) {
        must(target_make(processors[i], &target));
        if (target_runs_here(&target)) {
            test_math();
            test_pow();
            test_rows();
            test_columns();
            test_gather();
            test_shapes();
            test_random();
        }
        target_free(&target);
        if (failures) fprintf(stderr, "%d failures on %s\n", failures, processors[i]);
    }
    arena_free(arena);
    return failures != 0;
}
