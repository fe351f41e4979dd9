// SPDX-License-Identifier: Apache-2.0
// test_tile: matrix products made by codegen/tile_matmul against plain loops in double precision, on every
// vector level this processor runs; any split of the tasks gives the same bits; the polynomial functions against libm.
#include "runtime/dtype.h"
#include "tests/codegen/tile_cases.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- exp, log, tanh

typedef void (*MapFn)(const float *x, float *y, int64_t n);
static const char *const map_names[] = {"exp", "log", "tanh"};

static void emit_map(Irb *b, const char *name, Val (*f)(Irb *, Val)) {
    Ty parameters[] = {b->ptr, b->ptr, b->i64};
    LLVMSetLinkage(irb_function_begin(b, name, 3, parameters, b->nothing), LLVMExternalLinkage);
    IrbLoop i = irb_loop(b, irb_int(b, 0), irb_param(b, 2), irb_int(b, b->lanes));
    Val x = irb_load(b, b->vf, irb_index(b, irb_param(b, 0), b->f32, i.index));
    irb_store(b, f(b, x), irb_index(b, irb_param(b, 1), b->f32, i.index));
    irb_loop_end(b, &i);
    irb_function_end(b, NULL);
}

// Distance in units of the last place of the f32 nearest to `want`.
static double ulps(float got, double want) {
    float w = (float)want;
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : 1e9;
    if (isinf(w) || isinf(got)) return w == got ? 0 : 1e9;
    int e;
    frexp(want == 0 ? 1e-45 : want, &e);
    return fabs(got - want) / ldexp(1.0, (e < -125 ? -125 : e) - 24);
}

static void test_map(const CpuTarget *target) {
    TestModule t;
    module_open(&t, target);
    emit_map(&t.b, "exp", irb_exp);
    emit_map(&t.b, "log", irb_log);
    emit_map(&t.b, "tanh", irb_tanh);
    module_link(&t);
    static const double limit[] = {2, 2, 5};
    enum { N = 1 << 16 };
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    for (int f = 0; f < 3; f++) {
        static const float special[] = {0.0f,      -0.0f,  1.0f,    -1.0f,   88.7f,   88.8f,  100.0f,
                                        1e30f,     -87.5f, -100.0f, -103.5f, -104.5f, -1e30f, INFINITY,
                                        -INFINITY, NAN,    1e-40f,  1e-45f,  0.625f,  3e38f,  0.99999f};
        int n_special = sizeof special / sizeof *special;
        uint32_t seed = 7;
        for (int i = 0; i < N; i++) {
            double u = random_unit(&seed);
            x[i] = i < n_special ? special[i]
                   : f == 0      ? (float)(u * 104)
                   : f == 1      ? (float)exp(u * 87)
                                 : (float)(u * u * u * 12);
        }
        ((MapFn)module_address(&t, map_names[f]))(x, y, N);
        double worst = 0;
        float at = 0;
        for (int i = 0; i < N; i++) {
            double want = f == 0   ? (x[i] < -87.33f ? 0 : exp(x[i]))
                          : f == 1 ? log(x[i])
                                   : tanh(x[i]),
                   e = ulps(y[i], want);
            if (e > worst) worst = e, at = x[i];
        }
        check(worst <= limit[f], "%s: %.2f ulp at %g", map_names[f], worst, (double)at);
    }
    free(x);
    free(y);
    module_close(&t);
}

// ---- products

// What the epilogue of the tests computes: sum * 0.5 + bias[n] + residual laid out as [batch, m, n].
typedef struct Tail {
    int64_t m, n;
    Ty f32;
} Tail;
static Val tail_emit(Irb *b, void *user, const TilePoint *p, Val sum) {
    const Tail *t = user;
    Val x = irb_mul(b, sum, irb_real(b, 0.5));
    Val bias = irb_kernel_buf(b, p->kernel, 3), residual = irb_kernel_buf(b, p->kernel, 4);
    Val at = irb_add(b, irb_muli(b, irb_add(b, irb_muli(b, p->batch, t->m), p->m), t->n), p->n);
    if (!p->along_m) {
        x = irb_add(b, x, irb_load_masked(b, b->vf, irb_index(b, bias, b->f32, p->n), p->mask, NULL));
        return irb_add(b, x, irb_load_masked(b, b->vf, irb_index(b, residual, b->f32, at), p->mask, NULL));
    }
    x = irb_add(b, x, irb_load(b, b->f32, irb_index(b, bias, b->f32, p->n)));
    for (int l = 0; l < b->lanes; l++) {
        Val lane = irb_var(b, b->f32, irb_real(b, 0));
        IrbIf in = irb_if(b, irb_lane(b, p->mask, l));
        irb_set(b, lane, irb_load(b, b->f32, irb_index(b, residual, b->f32, irb_addi(b, at, l * t->n))));
        irb_if_end(b, &in);
        x = irb_set_lane(b, x, l, irb_add(b, irb_lane(b, x, l), irb_get(b, lane)));
    }
    return x;
}

typedef struct Product {
    TileMatmul d;
    TileBlocking blocking;
    TilePlan plan;
    Tail tail;
    bool has_tail;
    int64_t size[3]; // elements of A, B, C
    char name[32];
} Product;

static int64_t group_count(const TileGroup *g) {
    int64_t n = 1;
    for (int i = 0; i < g->count; i++) n *= g->axis[i].extent;
    return n;
}
static int64_t group_place(const TileGroup *g, int side, int64_t index) {
    int64_t at = 0;
    for (int i = g->count - 1; i >= 0; i--) {
        const TileAxis *x = &g->axis[i];
        at += index % x->extent * (side == 0 ? x->a : side == 1 ? x->b : x->c);
        index /= x->extent;
    }
    return at;
}

// Gives the axes of the groups that operand `side` has strides of a random order, sometimes padded or broadcast.
static int64_t lay_operand(TileMatmul *d, int side, int order, uint32_t *seed) {
    TileGroup *groups[2][3] = {{&d->batch, side == 1 ? &d->k : &d->m, side == 0 ? &d->k : &d->n}};
    TileAxis *axes[3 * TILE_AXES];
    int count = 0;
    for (int g = 0; g < 3; g++)
        for (int i = 0; i < groups[0][g]->count; i++) axes[count++] = &groups[0][g]->axis[i];
    if (order == 1) // the last two groups in the other order
        for (int i = 0; i < count / 2; i++) {
            TileAxis *x = axes[i];
            axes[i] = axes[count - 1 - i];
            axes[count - 1 - i] = x;
        }
    if (order == 2)
        for (int i = count - 1; i > 0; i--) {
            int j = random_int(seed, 0, i);
            TileAxis *x = axes[i];
            axes[i] = axes[j];
            axes[j] = x;
        }
    int64_t stride = order == 2 && random_int(seed, 0, 3) == 0 ? 2 : 1;
    for (int i = count - 1; i >= 0; i--) {
        int64_t *s = side == 0 ? &axes[i]->a : side == 1 ? &axes[i]->b : &axes[i]->c;
        bool repeat = side != 2 && random_int(seed, 0, 11) == 0;
        *s = repeat ? 0 : stride;
        if (!repeat) stride *= axes[i]->extent;
        if (random_int(seed, 0, 5) == 0) stride += random_int(seed, 1, 9);
    }
    return stride + 16;
}

static void product_random(Product *p, int i, uint32_t *seed) {
    *p = (Product){.d = {.a = 0, .b = 1, .c = 2}};
    TileGroup *groups[] = {&p->d.batch, &p->d.m, &p->d.n, &p->d.k};
    static const int extents[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17, 24, 31, 32, 33, 48, 49, 64, 65, 100, 130};
    int limit[] = {3, 150, 150, 300};
    for (int g = 0; g < 4; g++) {
        int64_t total = 1;
        groups[g]->count = random_int(seed, 0, 3);
        for (int a = 0; a < groups[g]->count; a++) {
            int64_t extent = extents[random_int(seed, 0, (int)(sizeof extents / sizeof *extents) - 1)];
            while (total * extent > limit[g]) extent = extent / 2 + (extent == 3);
            if (extent < 1) extent = 1;
            groups[g]->axis[a].extent = extent;
            total *= extent;
        }
    }
    // Some of the shapes that blocked code gets wrong.
    if (i % 8 == 1) p->d.m = (TileGroup){1, {{.extent = 1}}};
    if (i % 8 == 2) p->d.n = (TileGroup){1, {{.extent = 1}}};
    if (i % 8 == 3) p->d.k = (TileGroup){1, {{.extent = 1}}};
    if (i % 8 == 4) p->d.k = (TileGroup){1, {{.extent = 2048 + i}}};
    if (i == 5) p->d.k = (TileGroup){1, {{.extent = 0}}};
    if (i == 13) p->d.m = (TileGroup){1, {{.extent = 0}}};
    for (int side = 0; side < 3; side++) p->size[side] = lay_operand(&p->d, side, random_int(seed, 0, 2), seed);
    p->d.accumulate = random_int(seed, 0, 2) == 0;
    if (i % 4 == 0) { // 16 bits
        p->d.type = i % 8 ? REAL_BF16 : REAL_F16;
        p->d.accumulate = false;
    }
    if (i % 3 == 0) p->blocking = (TileBlocking){0, 0, 24, 96, 48}; // many blocks
    if (i % 2) {
        p->tail = (Tail){.m = group_count(&p->d.m), .n = group_count(&p->d.n)};
        p->has_tail = true;
    }
    snprintf(p->name, sizeof p->name, "product_%d", i);
}

static void from_halves(float *x, const uint16_t *h, int64_t n, Real type) {
    for (int64_t i = 0; i < n; i++) x[i] = type == REAL_BF16 ? f32_from_bf16(h[i]) : f32_from_f16(h[i]);
}
// x as 16 bits hold it, in both forms.
static uint16_t *to_halves(float *x, int64_t n, Real type) {
    uint16_t *h = malloc((size_t)n * 2);
    for (int64_t i = 0; i < n; i++) h[i] = type == REAL_BF16 ? bf16_from_f32(x[i]) : f16_from_f32(x[i]);
    from_halves(x, h, n, type);
    return h;
}

static void product_check(TestModule *t, const Product *p, uint32_t *seed) {
    const TileMatmul *d = &p->d;
    int64_t batches = group_count(&d->batch), M = group_count(&d->m), N = group_count(&d->n), K = group_count(&d->k);
    float *x[5], *twin;
    int64_t size[5] = {p->size[0], p->size[1], p->size[2], N + 1, batches * M * N + 1};
    bool half = d->type != REAL_F32;
    uint16_t *halves[3] = {0};
    for (int i = 0; i < 5; i++) x[i] = random_floats(size[i], seed);
    for (int i = 0; i < 3 && half; i++) halves[i] = to_halves(x[i], size[i], d->type);
    twin = malloc((size_t)size[2] * 4);
    float *before = malloc((size_t)size[2] * 4), *want = malloc((size_t)size[2] * 4);
    memcpy(twin, x[2], (size_t)size[2] * 4);
    memcpy(before, x[2], (size_t)size[2] * 4);
    memcpy(want, x[2], (size_t)size[2] * 4);
    char *buf[5];
    for (int i = 0; i < 5; i++) buf[i] = (char *)x[i];
    KernelFn f = (KernelFn)module_address(t, p->name);
    for (int i = 0; i < 3 && half; i++) buf[i] = (char *)halves[i];
    memcpy(before, x[2], (size_t)size[2] * 4); // as 16 bits hold it
    memcpy(want, x[2], (size_t)size[2] * 4);
    run_split(f, buf, NULL, p->plan, 1, seed);
    if (half) from_halves(x[2], halves[2], size[2], d->type);
    uint16_t *again = half ? to_halves(twin, size[2], d->type) : NULL;
    buf[2] = half ? (char *)again : (char *)twin;
    run_split(f, buf, NULL, p->plan, 3, seed);
    if (half) from_halves(twin, again, size[2], d->type);
    double unit = d->type == REAL_BF16 ? 0x1p-8 : d->type == REAL_F16 ? 0x1p-11 : 0;
    check(!memcmp(twin, x[2], (size_t)size[2] * 4), "%s: another split of the tasks gives other bits", p->name);
    double worst = 0;
    for (int64_t b = 0; b < batches; b++)
        for (int64_t m = 0; m < M; m++)
            for (int64_t n = 0; n < N; n++) {
                int64_t at = group_place(&d->batch, 2, b) + group_place(&d->m, 2, m) + group_place(&d->n, 2, n);
                double sum = d->accumulate ? before[at] : 0, size_of = fabs(sum);
                for (int64_t k = 0; k < K; k++) {
                    double u = x[0][group_place(&d->batch, 0, b) + group_place(&d->m, 0, m) + group_place(&d->k, 0, k)];
                    double v = x[1][group_place(&d->batch, 1, b) + group_place(&d->n, 1, n) + group_place(&d->k, 1, k)];
                    sum += u * v;
                    size_of += fabs(u * v);
                }
                if (p->has_tail) sum = sum * 0.5 + x[3][n] + x[4][(b * M + m) * N + n];
                double e = (fabs(x[2][at] - sum) - 1.001 * unit * fabs(sum)) / (size_of + 1); // NaN stays
                if (!(e <= worst) && !isnan(worst)) worst = e;
                want[at] = x[2][at];
            }
    check(worst < 2e-6, "%s (m %ld n %ld k %ld): off by %g", p->name, (long)M, (long)N, (long)K, worst);
    check(!memcmp(want, x[2], (size_t)size[2] * 4), "%s: wrote outside C", p->name);
    for (int i = 0; i < 5; i++) free(x[i]);
    for (int i = 0; i < 3; i++) free(halves[i]);
    free(again);
    free(twin);
    free(before);
    free(want);
}

static void test_products(const CpuTarget *target, int count, uint32_t seed) {
    Product *p = calloc((size_t)count, sizeof *p);
    TestModule t;
    module_open(&t, target);
    for (int i = 0; i < count; i++) {
        product_random(&p[i], i, &seed);
        TileTail tail = {tail_emit, &p[i].tail};
        must(tile_matmul_blocked(&t.b, p[i].name, &p[i].d, p[i].has_tail ? &tail : NULL, p[i].blocking, &p[i].plan));
    }
    module_link(&t);
    for (int i = 0; i < count; i++) product_check(&t, &p[i], &seed);
    module_close(&t);
    free(p);
}

static void test_refusals(const CpuTarget *target) {
    TestModule t;
    module_open(&t, target);
    TilePlan plan;
    TileMatmul d = {.m = {1, {{.extent = -1}}}};
    check(tile_matmul(&t.b, "bad", &d, &plan).code == STATUS_INVALID, "a negative extent is taken");
    d.m = (TileGroup){2, {{.extent = INT64_MAX / 2}, {.extent = 4}}};
    check(tile_matmul(&t.b, "bad", &d, &plan).code == STATUS_INVALID, "an overflowing extent is taken");
    module_close(&t);
    CpuTarget none;
    check(target_make("no-such-cpu", &none).code == STATUS_INVALID, "an unknown processor is taken");
}

static void test_all(const CpuTarget *target, int count, uint32_t seed) {
    test_map(target);
    test_products(target, count, seed);
    test_refusals(target);
}

int main(int argc, char **argv) { return on_every_target(test_all, argc > 1 ? atoi(argv[1]) : 32); }
