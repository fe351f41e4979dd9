// SPDX-License-Identifier: Apache-2.0
// test_matmul: products as CUDA C (codegen/cuda_matmul.c), run by the simulation against plain loops in f64: random
// descriptions, every form and tile size, and the products of the examples' models in small. Elements of A and B that
// the description does not reach are NaN, and nothing outside C may change.
#include "base/checked.h"
#include "codegen/cuda.h"
#include "harness.h"
#include "lib/sim_api.h"
#include "runtime/dtype.h"
#include "tests/runtime/check.h"
#include <math.h>

typedef struct Case {
    CudaTarget target;
    TileMatmul d;
    bool tf32;
    int64_t size[3]; // elements of A, B, C
    CudaLaunch launch;
    char name[32];
} Case;

// ---- descriptions

static uint32_t seed = 5;
static int random_int(int from, int to) {
    seed = seed * 1664525u + 1013904223u;
    uint32_t x = seed ^ seed >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    return from + (int)(x % (uint32_t)(to - from + 1));
}

static int64_t *stride_of(TileAxis *x, int side) { return side == 0 ? &x->a : side == 1 ? &x->b : &x->c; }

static int64_t group_count(const TileGroup *g) {
    int64_t n = 1;
    for (int i = 0; i < g->count; i++) n *= g->axis[i].extent;
    return n;
}
static int64_t group_place(const TileGroup *g, int side, int64_t index) {
    int64_t at = 0;
    for (int i = g->count - 1; i >= 0; i--) {
        TileAxis x = g->axis[i];
        at += index % x.extent * *stride_of(&x, side);
        index /= x.extent;
    }
    return at;
}

// The groups of an operand's axes.
static void operand_groups(TileMatmul *d, int side, TileGroup **out) {
    out[0] = &d->batch;
    out[1] = side == 1 ? &d->k : &d->m;
    out[2] = side == 0 ? &d->k : &d->n;
}

// Gives the axes of an operand strides: in their order (0), the other way round (1) or in a random one (2). unit: what
// paddings are multiples of. rough: broadcasts and gaps between all elements too.
static int64_t lay_operand(TileMatmul *d, int side, int order, int unit, bool rough) {
    TileGroup *groups[3];
    TileAxis *axes[3 * TILE_AXES];
    int count = 0;
    operand_groups(d, side, groups);
    for (int g = 0; g < 3; g++)
        for (int i = 0; i < groups[g]->count; i++) axes[count++] = &groups[g]->axis[i];
    for (int i = count - 1; i > 0 && order; i--) {
        int j = order == 1 ? count - 1 - i : random_int(0, i);
        if (order == 1 && j >= i) break;
        TileAxis *x = axes[i];
        axes[i] = axes[j];
        axes[j] = x;
    }
    int64_t stride = rough && random_int(0, 3) == 0 ? 2 : 1;
    for (int i = count - 1; i >= 0; i--) {
        bool repeat = side != 2 && rough && random_int(0, 11) == 0;
        *stride_of(axes[i], side) = repeat ? 0 : stride;
        if (!repeat) stride *= axes[i]->extent;
        if (random_int(0, 5) == 0) stride += random_int(1, 9) * unit;
    }
    return stride + 16;
}

static void case_kind(Case *c, int kind) {
    c->d.type = kind == 0 ? REAL_BF16 : kind == 1 ? REAL_F16 : REAL_F32;
    c->tf32 = kind == 2;
}

static void case_random(Case *c, int i) {
    static const int extents[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17, 24, 31, 32, 33, 48, 64, 65, 96, 100, 130};
    static const int processors[] = {1, 4, 132};
    c->target.processors = processors[random_int(0, 2)];
    c->d.a = 0, c->d.b = 1, c->d.c = 2;
    case_kind(c, i % 4);
    bool smooth = i % 3 != 0; // operands that 16-byte copies can reach
    TileGroup *groups[] = {&c->d.batch, &c->d.m, &c->d.n, &c->d.k};
    int limit[] = {3, i % 16 == 7 ? 300 : 140, i % 16 == 7 ? 300 : 140, 200};
    for (int g = 0; g < 4; g++) {
        int64_t total = 1;
        groups[g]->count = random_int(0, 3);
        for (int a = 0; a < groups[g]->count; a++) {
            int64_t extent = extents[random_int(0, (int)(sizeof extents / sizeof *extents) - 1)];
            if (smooth && g && a == groups[g]->count - 1) extent = (extent + 7) / 8 * 8;
            while (total * extent > limit[g]) extent = extent / 2 + (extent == 3);
            if (extent < 1) extent = 1;
            groups[g]->axis[a].extent = extent;
            total *= extent;
        }
    }
    if (i % 12 == 1) c->d.m = (TileGroup){1, {{.extent = 1}}};
    if (i % 12 == 2) c->d.n = (TileGroup){1, {{.extent = 1}}};
    if (i % 12 == 3) c->d.k = (TileGroup){1, {{.extent = 1}}};
    if (i % 12 == 4) c->d.k = (TileGroup){1, {{.extent = 1024 + i}}};
    if (i % 24 == 5) c->d.k = (TileGroup){1, {{.extent = 0}}};
    if (i % 24 == 13) c->d.m = (TileGroup){1, {{.extent = 0}}};
    for (int side = 0; side < 3; side++) {
        c->size[side] = lay_operand(&c->d, side, random_int(0, 2), smooth ? 8 : 1, !smooth);
        c->d.align[side] = smooth ? 16 : 1 << random_int(real_bytes(c->d.type) == 4 ? 2 : 1, 4);
    }
    c->d.a_first = random_int(0, 2) * 8;
    c->d.b_first = smooth ? 0 : random_int(0, 3);
    c->d.c_first = random_int(0, 1) * 16;
    c->size[0] += c->d.a_first, c->size[1] += c->d.b_first, c->size[2] += c->d.c_first;
    c->d.accumulate = c->d.type == REAL_F32 && random_int(0, 2) == 0;
}

// Row-major products with A and B turned as asked; `pad` elements behind each row.
static void case_plain(Case *c, int kind, int64_t m, int64_t n, int64_t k, bool turn_a, bool turn_b, int pad,
                       int processors) {
    c->target.processors = processors;
    c->d.a = 0, c->d.b = 1, c->d.c = 2;
    case_kind(c, kind);
    c->d.m = (TileGroup){1, {{m, turn_a ? 1 : k + pad, 0, n + pad}}};
    c->d.n = (TileGroup){1, {{n, 0, turn_b ? k + pad : 1, 1}}};
    c->d.k = (TileGroup){1, {{k, turn_a ? m + pad : 1, turn_b ? 1 : n + pad, 0}}};
    c->size[0] = (turn_a ? k : m) * ((turn_a ? m : k) + pad);
    c->size[1] = (turn_b ? n : k) * ((turn_b ? k : n) + pad);
    c->size[2] = m * (n + pad);
    for (int i = 0; i < 3; i++) c->d.align[i] = 16;
    c->d.accumulate = c->d.type == REAL_F32 && turn_a && !turn_b;
}

// ---- data

// As the kernel's arithmetic takes it: 16-bit types exactly, and tf32 without rounding.
static float random_value(const Case *c) {
    float x = (float)random_int(-4096, 4096) / 4096.f;
    if (c->d.type == REAL_F32 && !c->tf32) return x;
    return f32_from_bf16(bf16_from_f32(x));
}

static void put(char *at, Real type, float x) {
    uint16_t h = type == REAL_BF16 ? bf16_from_f32(x) : f16_from_f32(x);
    memcpy(at, type == REAL_F32 ? (void *)&x : (void *)&h, (size_t)real_bytes(type));
}
static float get(const char *at, Real type) {
    float x;
    uint16_t h;
    memcpy(type == REAL_F32 ? (void *)&x : (void *)&h, at, (size_t)real_bytes(type));
    return type == REAL_F32 ? x : type == REAL_BF16 ? f32_from_bf16(h) : f32_from_f16(h);
}

// Places of all indices of a group.
static int64_t *places(const TileGroup *g, int side) {
    int64_t n = group_count(g), *at = malloc((size_t)(n + 1) * sizeof *at);
    for (int64_t i = 0; i < n; i++) at[i] = group_place(g, side, i);
    return at;
}

typedef struct Operand {
    char *block, *at; // at: aligned to what the case promises and not to more
    int64_t bytes, *batch, *row, *column;
} Operand;

static void operand_make(const Case *c, int side, Operand *o) {
    TileMatmul d = c->d;
    TileGroup *g[3];
    operand_groups(&d, side, g);
    int64_t first = side == 0 ? d.a_first : side == 1 ? d.b_first : d.c_first;
    int size = real_bytes(d.type);
    o->bytes = c->size[side] * size;
    o->block = aligned_alloc(64, (size_t)(o->bytes + 192) / 64 * 64);
    o->at = o->block + 64 + (c->d.align[side] < 64 ? c->d.align[side] : 0);
    memset(o->block, 0xff, (size_t)(o->bytes + 192) / 64 * 64);
    o->batch = places(g[0], side);
    o->row = places(g[1], side);
    o->column = places(g[2], side);
    for (int64_t b = 0; b < group_count(g[0]); b++)
        for (int64_t i = 0; i < group_count(g[1]); i++)
            for (int64_t j = 0; j < group_count(g[2]); j++)
                put(o->at + (first + o->batch[b] + o->row[i] + o->column[j]) * size, d.type, random_value(c));
}

static void operand_free(Operand *o) { free(o->block), free(o->batch), free(o->row), free(o->column); }

// What the driver would make, and what it would refuse.
static void map_make(SimMap *s, const PlanMap *m, const char *at) {
    memset(s, 0, sizeof *s);
    s->magic = SIM_MAP_MAGIC;
    s->element = 2;
    s->rank = m->rank;
    s->swizzle = m->swizzle;
    s->address = (uintptr_t)(at + m->first);
    CHECK(s->address % 16 == 0 && m->rank >= 1 && m->rank <= PLAN_MAP_RANK);
    for (int d = 0; d < m->rank; d++) {
        CHECK(d ? m->stride[d] % 16 == 0 && m->stride[d] < (int64_t)1 << 40 : m->stride[d] == 2);
        CHECK(m->box[d] >= 1 && m->box[d] <= 256 && m->extent[d] >= 1 && m->extent[d] <= (int64_t)1 << 32);
        s->stride[d] = (unsigned long long)m->stride[d];
        s->extent[d] = (unsigned)m->extent[d];
        s->box[d] = (unsigned short)m->box[d];
    }
    CHECK(m->box[0] * m->stride[0] <= m->swizzle);
}

// Launches the kernel on fresh data and compares.
static void case_run(Sim *sim, const Case *c) {
    const TileMatmul *d = &c->d;
    Operand o[3];
    int size = real_bytes(d->type);
    for (int i = 0; i < 3; i++) operand_make(c, i, &o[i]);
    int64_t all = (o[2].bytes + 192) / 64 * 64;
    char *before = malloc((size_t)all);
    memcpy(before, o[2].block, (size_t)all);
    sim_forget(sim);
    sim_allow_reading(sim, o[0].at, (size_t)o[0].bytes);
    sim_allow_reading(sim, o[1].at, (size_t)o[1].bytes);
    sim_allow(sim, o[2].at, (size_t)o[2].bytes);
    union {
        SimMap map;
        char bytes[128];
    } maps[2] __attribute__((aligned(64)));
    for (int i = 0; i < c->launch.nmaps; i++) map_make(&maps[i].map, &c->launch.maps[i], o[c->launch.maps[i].arg].at);
    void *params[5] = {&o[0].at, &o[1].at, &o[2].at, &maps[0], &maps[1]};
    const char *error =
        c->launch.blocks ? sim_launch(sim, c->name, c->launch.blocks, c->launch.threads, c->launch.shared_bytes, params)
                         : NULL;
    int64_t batches = group_count(&d->batch), M = group_count(&d->m), N = group_count(&d->n), K = group_count(&d->k);
    double unit = d->type == REAL_BF16 ? 0x1p-8 : d->type == REAL_F16 ? 0x1p-11 : 0, worst = 0;
    float *x = malloc((size_t)(K + 1) * sizeof *x), *y = malloc((size_t)(K * N + 1) * sizeof *y);
    for (int64_t b = 0; b < batches; b++) {
        const char *at_a = o[0].at + (d->a_first + o[0].batch[b]) * size;
        const char *at_b = o[1].at + (d->b_first + o[1].batch[b]) * size;
        for (int64_t i = 0; i < K * N; i++) y[i] = get(at_b + (o[1].row[i % K] + o[1].column[i / K]) * size, d->type);
        for (int64_t m = 0; m < M; m++) {
            for (int64_t k = 0; k < K; k++) x[k] = get(at_a + (o[0].row[m] + o[0].column[k]) * size, d->type);
            for (int64_t n = 0; n < N; n++) {
                char *at = o[2].at + (d->c_first + o[2].batch[b] + o[2].row[m] + o[2].column[n]) * size;
                double sum = d->accumulate ? get(before + (at - o[2].block), d->type) : 0, length = fabs(sum);
                for (int64_t k = 0; k < K; k++) {
                    double p = (double)x[k] * y[n * K + k];
                    sum += p;
                    length += fabs(p);
                }
                double e = (fabs(get(at, d->type) - sum) - 1.001 * unit * fabs(sum)) / (length + 1);
                if (!(e <= worst) && !isnan(worst)) worst = e;
                memcpy(before + (at - o[2].block), at, (size_t)size);
            }
        }
    }
    bool inside = !memcmp(before, o[2].block, (size_t)all);
    if (error || !(worst < 2e-6) || !inside) {
        check_failures++;
        printf("%s (%s%s, %ld times m %ld n %ld k %ld, %d threads, %ld blocks, %d maps): %s, off by %g%s\n", c->name,
               d->type == REAL_F32    ? "f32"
               : d->type == REAL_BF16 ? "bf16"
                                      : "f16",
               c->tf32 ? " as tf32" : "", (long)batches, (long)M, (long)N, (long)K, c->launch.threads,
               (long)c->launch.blocks, c->launch.nmaps, error ? error : "ran", worst,
               inside ? "" : ", wrote outside C");
    }
    free(x), free(y), free(before);
    for (int i = 0; i < 3; i++) operand_free(&o[i]);
}

// ---- suites

static void copy_file(FILE *to, const char *path) {
    FILE *f = fopen(path, "r");
    char buffer[4096];
    CHECK(f);
    for (size_t n; f && (n = fread(buffer, 1, sizeof buffer, f));) fwrite(buffer, 1, n, to);
    if (f) fclose(f);
}

// The number of kernels with tensor maps. native: as sm_90a would compile them; else their portable form.
static int cases_run(Case *cases, int count, const char *arch, bool native) {
    char *text = NULL, error[SIM_MESSAGE];
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    int maps = 0;
    if (native) fputs("#define TGF_CUDASIM_SM90\n", f);
    copy_file(f, "codegen/cuda_prelude_matmul.cuh");
    copy_file(f, "codegen/cuda_prelude_sm90.cuh");
    for (int i = 0; i < count; i++) {
        Case *c = &cases[i];
        CudaTarget target;
        CHECK_OK(cuda_target_make(arch, &target));
        target.processors = c->target.processors;
        c->target = target;
        snprintf(c->name, sizeof c->name, "product_%d", i);
        CHECK_OK(cuda_matmul(f, &c->target, c->name, &c->d, c->tf32, &c->launch));
        CHECK(c->launch.shared_bytes <= target.shared_bytes);
        maps += c->launch.nmaps > 0;
    }
    fclose(f);
    Sim *sim = sim_compile(text, error);
    free(text);
    if (!sim) {
        printf("%s\n", error);
        check_failures++;
        return 0;
    }
    sim_seed(sim, 1);
    for (int i = 0; i < count; i++) case_run(sim, &cases[i]);
    sim_free(sim);
    return maps;
}

static void test_random(int count) {
    Case *c = calloc((size_t)count, sizeof *c);
    for (int i = 0; i < count; i++) case_random(&c[i], i);
    cases_run(c, count, "sm_80", false);
    free(c);
}

// Every tile size of the warp and the scalar form, with each way the operands can lie.
static void test_tiles(void) {
    enum { MOST = 80 };
    Case *c = calloc(MOST, sizeof *c);
    int n = 0;
    static const int sizes[][3] = {{136, 264, 80}, {136, 136, 72}, {24, 136, 264}, {200, 16, 136}, {8, 24, 520}};
    for (int s = 0; s < 5; s++)
        for (int turn = 0; turn < 4; turn++)
            for (int kind = 0; kind < 4; kind++)
                if ((kind != 1 || turn == 1) && (kind != 3 || s < 2))
                    case_plain(&c[n++], kind, sizes[s][0], sizes[s][1], sizes[s][2], turn & 1, turn >> 1, 0,
                               s < 2 && turn % 2 == s % 2 ? 1 : 4);
    cases_run(c, n, "sm_80", false);
    free(c);
}

// A vocabulary of odd size, heads split off and merged, grouped queries, experts.
static void test_models(void) {
    enum { B = 2, S = 24, H = 4, D = 16, W = H * D, V = 77, E = 3, BF16 = 0 };
    Case *c = calloc(8, sizeof *c);
    case_plain(&c[0], BF16, B * S, V, W, false, true, 0, 8);  // logits
    case_plain(&c[1], BF16, B * S, W, V, false, false, 0, 8); // and the gradients of what they are made of
    case_plain(&c[2], BF16, V, W, B * S, true, false, 0, 8);
    for (int i = 3; i < 8; i++) {
        case_plain(&c[i], BF16, 1, 1, 1, false, false, 0, 8);
        c[i].size[0] = c[i].size[1] = c[i].size[2] = B * S * H * S * E;
        c[i].d.accumulate = false;
    }
    // [batch, seq, width] to [batch, head, seq, feature]
    c[3].d.m = (TileGroup){2, {{B, S * W, 0, H * S * D}, {S, W, 0, D}}};
    c[3].d.n = (TileGroup){2, {{H, 0, D, S * D}, {D, 0, 1, 1}}};
    c[3].d.k = (TileGroup){1, {{W, 1, W, 0}}};
    // and back: the heads' features are summed over
    c[4].d.m = (TileGroup){2, {{B, H * S * D, 0, S * W}, {S, D, 0, W}}};
    c[4].d.n = (TileGroup){1, {{W, 0, 1, 1}}};
    c[4].d.k = (TileGroup){2, {{H, S * D, D * W, 0}, {D, 1, W, 0}}};
    // the weights' gradient: batch and sequence are summed over
    c[5].d.m = (TileGroup){1, {{W, 1, 0, W}}};
    c[5].d.n = (TileGroup){2, {{H, 0, S * D, D}, {D, 0, 1, 1}}};
    c[5].d.k = (TileGroup){2, {{B, S * W, H * S * D, 0}, {S, W, D, 0}}};
    // scores: two query heads share a key head
    c[6].d.batch = (TileGroup){3, {{B, S * W, S * W / 2, H * S * S}, {H / 2, 2 * D, D, 2 * S * S}, {2, D, 0, S * S}}};
    c[6].d.m = (TileGroup){1, {{S, W, 0, S}}};
    c[6].d.n = (TileGroup){1, {{S, 0, W / 2, 1}}};
    c[6].d.k = (TileGroup){1, {{D, 1, 1, 0}}};
    // experts, each with its own weights
    c[7].d.batch = (TileGroup){1, {{E, S * W, W * W, S * W}}};
    c[7].d.m = (TileGroup){1, {{S, W, 0, W}}};
    c[7].d.n = (TileGroup){1, {{W, 0, 1, 1}}};
    c[7].d.k = (TileGroup){1, {{W, 1, W, 0}}};
    cases_run(c, 8, "sm_80", false);
    free(c);
}

// Hopper's form: each tile width, each way operands lie, tails in all directions, groups of several axes, batches.
static void test_hopper(void) {
    enum { MOST = 32 };
    Case *c = calloc(MOST, sizeof *c);
    int n = 0;
    for (int turn = 0; turn < 4; turn++) {
        case_plain(&c[n++], turn & 1, 136, 256, 200, turn & 1, turn >> 1, 0, 1);
        case_plain(&c[n++], turn & 1, 264, 200, 136, turn & 1, turn >> 1, 8, 2);
        case_plain(&c[n++], turn & 1, 200, 120, 64 * (turn + 1), turn & 1, turn >> 1, 0, 2);
    }
    case_plain(&c[n++], 0, 384, 520, 328, false, true, 0, 3);
    for (int i = 0; i < 3; i++) {
        case_plain(&c[n + i], 0, 1, 1, 1, false, false, 0, 2);
        c[n + i].size[0] = c[n + i].size[1] = c[n + i].size[2] = 1 << 18;
    }
    // Rows are of two axes, the depth too (heads of 64 features); C's rows likewise.
    c[n].d.m = (TileGroup){2, {{3, 64 * 256, 0, 64 * 136}, {64, 128, 0, 136}}};
    c[n].d.n = (TileGroup){1, {{136, 0, 1, 1}}};
    c[n].d.k = (TileGroup){2, {{2, 64 * 128 * 6, 64 * 136, 0}, {64, 1, 136, 0}}};
    n++;
    // Batches: one axis that B lacks; A turned, its depth of two axes.
    c[n].d.batch = (TileGroup){2, {{2, 40000, 0, 70000}, {2, 136, 136 * 200, 20000}}};
    c[n].d.m = (TileGroup){1, {{136, 1, 0, 128}}};
    c[n].d.n = (TileGroup){1, {{128, 0, 200, 1}}};
    c[n].d.k = (TileGroup){2, {{4, 32 * 280, 40, 0}, {32, 272, 1, 0}}};
    n++;
    // C is neither contiguous along m nor along n.
    c[n].d.m = (TileGroup){1, {{130, 200, 0, 2 * 136}}};
    c[n].d.n = (TileGroup){1, {{136, 0, 200, 2}}};
    c[n].d.k = (TileGroup){1, {{200, 1, 1, 0}}};
    n++;
    CHECK(cases_run(c, n, "sm_90a", true) >= n - 2);
    CHECK(cases_run(c, n, "sm_90a", false) >= n - 2);
    free(c);
}

static void test_refusals(void) {
    CudaTarget t;
    CudaLaunch l;
    CHECK_OK(cuda_target_make("sm_80", &t));
    FILE *f = fopen("/dev/null", "w");
    TileMatmul d;
    memset(&d, 0, sizeof d);
    d.b = 1, d.c = 2;
    d.m = (TileGroup){1, {{.extent = -1}}};
    CHECK_FAILS(cuda_matmul(f, &t, "bad", &d, false, &l), STATUS_INVALID, "extents");
    d.m = (TileGroup){1, {{.extent = (int64_t)1 << 40}}};
    CHECK_FAILS(cuda_matmul(f, &t, "bad", &d, false, &l), STATUS_UNSUPPORTED, "2^30");
    d.m.axis[0].extent = 4;
    d.type = REAL_F16;
    d.accumulate = true;
    CHECK_FAILS(cuda_matmul(f, &t, "bad", &d, false, &l), STATUS_INVALID, "f32");
    fclose(f);
}

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 72;
    if (argc > 2) seed = (uint32_t)atoi(argv[2]);
    test_random(count);
    test_tiles();
    test_models();
    test_hopper();
    test_refusals();
    return check_report("matmul");
}
