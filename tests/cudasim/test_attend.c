// SPDX-License-Identifier: Apache-2.0
// test_attend: attention's CUDA kernels, simulated, against softmax written out in double precision, gradients
// included: causal with positions or a last key, masks, grouped heads, queries that see nothing, odd sizes and layouts,
// every element type.
#include "codegen/cuda.h"
#include "harness.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { Q, K, V, Y, LSE, MASK, DY, DQ, DK, DV, LAST, OPERANDS };
static const char *const operand_names[] = {"q", "k", "v", "y", "lse", "mask", "dy", "dq", "dk", "dv", "last"};
enum { EDGE = 64 }; // elements of poison on both sides of an operand: none is touched

typedef struct Case {
    TileAttendBack d;
    int64_t batch, heads, group;
    int64_t size[OPERANDS];
    int64_t scalars[2];
    CudaLaunch forward, backward;
    char name[2][32];
} Case;

static int failures;
static void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("FAILED: ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    failures++;
}

static uint32_t random_bits(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    uint32_t x = (*seed ^ *seed >> 16) * 0x7feb352du;
    return x ^ x >> 15;
}
static int random_int(uint32_t *seed, int from, int to) {
    return from + (int)(random_bits(seed) % (uint32_t)(to - from + 1));
}

// ---- element types
static float f16_value(uint16_t x) {
    int exponent = x >> 10 & 31, fraction = x & 1023;
    float y = exponent == 31 ? (fraction ? NAN : INFINITY)
              : exponent     ? ldexpf((float)(fraction + 1024), exponent - 25)
                             : ldexpf((float)fraction, -24);
    return x >> 15 ? -y : y;
}
static float value(Real type, const char *at, int64_t i) {
    uint16_t x;
    float y;
    if (type == REAL_F32) {
        memcpy(&y, at + 4 * i, 4);
        return y;
    }
    memcpy(&x, at + 2 * i, 2);
    if (type == REAL_F16) return f16_value(x);
    uint32_t bits = (uint32_t)x << 16;
    memcpy(&y, &bits, 4);
    return y;
}
static void put(Real type, char *at, int64_t i, float x) { // for what operands are made of: normal in every type
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint16_t half = (uint16_t)(bits >> 16);
    if (type == REAL_F16)
        half = (uint16_t)((bits >> 31) << 15 | (((bits >> 23 & 255) - 112) << 10) | (bits >> 13 & 1023));
    if (type == REAL_F32) memcpy(at + 4 * i, &x, 4);
    else memcpy(at + 2 * i, &half, 2);
}

// ---- cases
static TileRows *case_rows(Case *c, int i) {
    TileAttend *f = &c->d.forward;
    TileRows *all[] = {&f->q, &f->k, &f->v, &f->y, &f->lse, &f->mask, &c->d.dy, &c->d.dq, &c->d.dk, &c->d.dv, &f->last};
    return all[i];
}

static int operand_bytes(const Case *c, int i) {
    return i == MASK ? 1 : i == LSE || i == LAST ? 4 : real_bytes(c->d.forward.type);
}

// layout 0: [batch, head, group, row, column]; 1: [batch, row, head, group, column]; 2: [column, row, batch, head,
// group]. first: elements in front.
static void lay(Case *c, int i, int layout, int64_t rows, int64_t columns, bool grouped, int64_t first) {
    TileRows *x = case_rows(c, i);
    int64_t group = grouped ? c->group : 1;
    int64_t extents[5] = {c->batch, c->heads, group, rows, columns}, strides[5];
    static const int orders[3][5] = {{0, 1, 2, 3, 4}, {0, 3, 1, 2, 4}, {4, 3, 0, 1, 2}};
    int64_t stride = 1;
    for (int a = 4; a >= 0; a--) {
        strides[orders[layout][a]] = stride;
        stride *= extents[orders[layout][a]];
    }
    *x = (TileRows){.buf = i, .first = first, .row = strides[3], .column = strides[4]};
    for (int a = 0; a < 3; a++) x->outer[a] = strides[a];
    if (!grouped) x->outer[2] = 0;
    c->size[i] = stride + first + 5;
}

static Case case_make(int i, uint32_t *seed) {
    Case c = {.batch = 1, .heads = 1, .group = 1};
    static const int sizes[] = {1, 5, 64, 100, 130}, widths[] = {64, 16, 128, 40, 5, 80};
    TileAttend *f = &c.d.forward;
    f->type = (Real[]){REAL_BF16, REAL_F32, REAL_F16}[i % 3];
    f->queries = sizes[random_int(seed, 0, 4)];
    f->keys = random_int(seed, 0, 1) ? f->queries : sizes[random_int(seed, 0, 4)];
    f->q_columns = widths[random_int(seed, 0, 5)];
    f->v_columns = random_int(seed, 0, 1) ? f->q_columns : widths[random_int(seed, 0, 5)];
    if (i == 4) f->keys = 0;
    if (i == 5) f->queries = 0;
    if (i == 6) f->q_columns = f->v_columns = 256, f->queries = f->keys = 70;
    if (i == 7) f->q_columns = 200, f->v_columns = 256, f->queries = 20, f->keys = 70;
    if (i == 9 || i == 11) f->queries = f->keys = 300, f->q_columns = f->v_columns = i == 9 ? 64 : 128;
    bool large = f->queries * f->keys * (f->q_columns + f->v_columns) > 1 << 20;
    c.batch = large ? 1 : random_int(seed, 1, 2);
    c.heads = large ? 1 : random_int(seed, 1, 2);
    c.group = random_int(seed, 0, 2) ? 1 : random_int(seed, 2, 3);
    f->outer_count = 3;
    f->outer[0] = c.batch, f->outer[1] = c.heads, f->outer[2] = c.group;
    f->scale = (i % 10 == 8 ? -1 : 1) / sqrtf((float)f->q_columns);
    if (i == 13) f->scale = 0;
    f->causal = i % 2;
    f->masked = i % 5 == 0;
    f->query_position = f->key_position = -1;
    if (i % 4 == 3) {
        f->query_position = 0, f->key_position = 1;
        c.scalars[0] = random_int(seed, 0, 40), c.scalars[1] = random_int(seed, 0, 40);
    }
    // The last key that query 0 sees is the last but one of its block of keys.
    if (i == 19) f->queries = f->keys = 130, c.scalars[0] = 62, c.scalars[1] = 0;
    f->bounded = i % 7 == 1 || i % 7 == 2;
    int layout = i == 9 || i == 11 ? 1 : random_int(seed, 0, 2);
    int64_t step = random_int(seed, 0, 2) ? 8 : 1; // of the first elements: 16-byte pieces, or not
    lay(&c, Q, layout, f->queries, f->q_columns, true, step);
    lay(&c, K, layout, f->keys, f->q_columns, false, 0);
    lay(&c, V, layout, f->keys, f->v_columns, false, 2 * step);
    lay(&c, Y, layout, f->queries, f->v_columns, true, step);
    lay(&c, LSE, 0, f->queries, 1, true, 1);
    lay(&c, MASK, 0, f->queries, f->keys, true, 2);
    if (i % 2 == 0) case_rows(&c, MASK)->row = 0; // keys only
    lay(&c, DY, layout, f->queries, f->v_columns, true, 0);
    lay(&c, DQ, layout, f->queries, f->q_columns, true, step);
    lay(&c, DK, layout, f->keys, f->q_columns, false, 2 * step);
    lay(&c, DV, layout, f->keys, f->v_columns, false, 0);
    lay(&c, LAST, 0, 1, 1, i % 2, 1);
    case_rows(&c, LAST)->row = 0;
    snprintf(c.name[0], sizeof c.name[0], "attend_%d", i);
    snprintf(c.name[1], sizeof c.name[1], "attend_back_%d", i);
    // Operands the kernels do not have take no number of their own.
    if (!f->masked) case_rows(&c, MASK)->buf = Q;
    if (!f->bounded) case_rows(&c, LAST)->buf = Q;
    return c;
}

static int64_t place(Case *c, int i, int64_t o, int64_t row, int64_t column) {
    const TileRows *x = case_rows(c, i);
    int64_t g = o % c->group, h = o / c->group % c->heads, b = o / c->group / c->heads;
    return x->first + b * x->outer[0] + h * x->outer[1] + g * x->outer[2] + row * x->row + column * x->column;
}

// ---- what the results should be
typedef struct Memory {
    char *block[OPERANDS], *at[OPERANDS]; // at: behind EDGE elements
    double *x[OPERANDS];                  // inputs as numbers; of outputs: what they should be, NaN where nothing is
} Memory;

static bool seen(Case *c, const Memory *m, int64_t o, int64_t s, int64_t t) {
    const TileAttend *f = &c->d.forward;
    int64_t far = f->causal ? c->scalars[0] + s - c->scalars[1] : 0;
    if (f->bounded && t > (int64_t)m->x[LAST][place(c, LAST, o, 0, 0)] + far) return false;
    if (!f->bounded && f->causal && t > far) return false;
    return !f->masked || m->x[MASK][place(c, MASK, o, s, t)] != 0;
}

// One query: its row of y, lse and dq, and its part of dk and dv.
static void reference_query(Case *c, Memory *m, int64_t o, int64_t s, double *p, double *dp) {
    const TileAttend *f = &c->d.forward;
    double **x = m->x, high = -INFINITY, sum = 0, mean = 0;
    for (int64_t t = 0; t < f->keys; t++) {
        p[t] = 0;
        for (int64_t e = 0; e < f->q_columns; e++) p[t] += x[Q][place(c, Q, o, s, e)] * x[K][place(c, K, o, t, e)];
        p[t] = seen(c, m, o, s, t) ? f->scale * p[t] : -INFINITY;
        if (p[t] > high) high = p[t];
    }
    for (int64_t t = 0; t < f->keys; t++) p[t] = p[t] == -INFINITY ? 0 : exp(p[t] - high), sum += p[t];
    x[LSE][place(c, LSE, o, s, 0)] = sum > 0 ? high + log(sum) : -INFINITY;
    for (int64_t e = 0; e < f->v_columns; e++) x[Y][place(c, Y, o, s, e)] = 0;
    for (int64_t e = 0; e < f->q_columns; e++) x[DQ][place(c, DQ, o, s, e)] = 0;
    for (int64_t t = 0; t < f->keys; t++) {
        p[t] = sum > 0 ? p[t] / sum : 0;
        dp[t] = 0;
        for (int64_t e = 0; e < f->v_columns; e++) {
            double dy = x[DY][place(c, DY, o, s, e)], v = x[V][place(c, V, o, t, e)];
            dp[t] += dy * v;
            x[Y][place(c, Y, o, s, e)] += p[t] * v;
            x[DV][place(c, DV, o, t, e)] += p[t] * dy;
        }
        mean += p[t] * dp[t];
    }
    for (int64_t t = 0; t < f->keys; t++) {
        double slope = p[t] * (dp[t] - mean) * f->scale;
        if (slope == 0) continue;
        for (int64_t e = 0; e < f->q_columns; e++) {
            x[DQ][place(c, DQ, o, s, e)] += slope * x[K][place(c, K, o, t, e)];
            x[DK][place(c, DK, o, t, e)] += slope * x[Q][place(c, Q, o, s, e)];
        }
    }
}

static void reference(Case *c, Memory *m) {
    const TileAttend *f = &c->d.forward;
    int64_t outers = c->batch * c->heads * c->group;
    double *p = calloc((size_t)f->keys + 1, sizeof *p), *dp = calloc((size_t)f->keys + 1, sizeof *dp);
    for (int64_t o = 0; o < outers; o++)
        for (int64_t t = 0; t < f->keys; t++) {
            for (int64_t e = 0; e < f->q_columns; e++) m->x[DK][place(c, DK, o, t, e)] = 0;
            for (int64_t e = 0; e < f->v_columns; e++) m->x[DV][place(c, DV, o, t, e)] = 0;
        }
    for (int64_t o = 0; o < outers; o++)
        for (int64_t s = 0; s < f->queries; s++) reference_query(c, m, o, s, p, dp);
    free(p);
    free(dp);
}

static bool is_output(int i) { return i == Y || i == LSE || (i >= DQ && i <= DV); }
static Real operand_type(const Case *c, int i) { return i == LSE ? REAL_F32 : c->d.forward.type; }

static void memory_make(Memory *m, Case *c, uint32_t *seed) {
    memset(m, 0, sizeof *m);
    int sparse = random_int(seed, 0, 2);
    for (int i = 0; i < OPERANDS; i++) {
        size_t bytes = (size_t)(c->size[i] + 2 * EDGE) * (size_t)operand_bytes(c, i);
        m->block[i] = aligned_alloc(64, (bytes + 63) / 64 * 64);
        m->at[i] = m->block[i] + EDGE * operand_bytes(c, i);
        m->x[i] = malloc((size_t)c->size[i] * sizeof(double));
        memset(m->block[i], 0xff, bytes); // NaN
        for (int64_t j = 0; j < c->size[i]; j++) {
            if (is_output(i)) {
                m->x[i][j] = NAN;
            } else if (i == MASK) {
                m->at[i][j] = (char)(sparse ? random_int(seed, 0, 4 * sparse) == 0 : random_int(seed, 0, 3) > 0);
                m->x[i][j] = m->at[i][j];
            } else if (i == LAST) {
                ((int32_t *)m->at[i])[j] = random_int(seed, 0, (int)c->d.forward.keys + 60) - 30;
                m->x[i][j] = ((int32_t *)m->at[i])[j];
            } else { // bf16 and f16 hold these exactly
                float x = (float)(2 * random_int(seed, 0, 127) - 127) / 128 * (i == Q ? 4 : 1);
                put(c->d.forward.type, m->at[i], j, x);
                m->x[i][j] = x;
            }
        }
    }
}

static void memory_free(Memory *m) {
    for (int i = 0; i < OPERANDS; i++) free(m->block[i]), free(m->x[i]);
}

static bool poisoned(const char *p, int bytes) {
    for (int i = 0; i < bytes; i++)
        if ((unsigned char)p[i] != 0xff) return false;
    return true;
}

// Every element written is what it should be, all others are as they were.
static void compare(Case *c, const Memory *m, int i) {
    const TileAttend *f = &c->d.forward;
    int bytes = operand_bytes(c, i);
    // P, dS and results are rounded to the type once each; y and its delta carry the forward kernel's rounding.
    double tolerance = i == LSE || f->type == REAL_F32 ? 1e-5 : f->type == REAL_BF16 ? 1.6e-2 : 2e-3, high = 0.1;
    for (int64_t j = 0; j < c->size[i]; j++)
        if (isfinite(m->x[i][j]) && fabs(m->x[i][j]) > high) high = fabs(m->x[i][j]);
    for (int64_t j = -EDGE; j < c->size[i] + EDGE; j++) {
        double want = j < 0 || j >= c->size[i] ? NAN : m->x[i][j], got = value(operand_type(c, i), m->at[i], j);
        bool good = isnan(want)   ? poisoned(m->at[i] + j * bytes, bytes)
                    : isinf(want) ? got == want
                                  : fabs(got - want) <= tolerance * high;
        if (good) continue;
        fail("%s %s (type %d queries %ld keys %ld columns %ld %ld causal %d masked %d bounded %d group %ld): element "
             "%ld "
             "is %g, should be %g",
             c->name[i > MASK], operand_names[i], f->type, (long)f->queries, (long)f->keys, (long)f->q_columns,
             (long)f->v_columns, f->causal, f->masked, f->bounded, (long)c->group, (long)j, got, want);
        return;
    }
}

static void allow(Sim *sim, const Case *c, const Memory *m, bool back) {
    sim_forget(sim);
    for (int i = 0; i < OPERANDS; i++) {
        size_t bytes = (size_t)c->size[i] * (size_t)operand_bytes(c, i);
        if (is_output(i) && back == (i > MASK)) sim_allow(sim, m->at[i], bytes);
        else if (!back || i <= LSE || i == MASK || i == DY || i == LAST) sim_allow_reading(sim, m->at[i], bytes);
    }
}

static void launch(Sim *sim, Case *c, Memory *m, bool back) {
    const CudaLaunch *l = back ? &c->backward : &c->forward;
    const char *name = c->name[back];
    void *params[OPERANDS + 2];
    int n = sim_params(sim, name), scalars = c->d.forward.query_position < 0 ? 0 : 2;
    for (int i = 0; i < n - scalars; i++) params[i] = &m->at[i];
    for (int i = 0; i < scalars; i++) params[n - scalars + i] = &c->scalars[i];
    if (!l->blocks) return;
    allow(sim, c, m, back);
    const char *why = sim_launch(sim, name, l->blocks, l->threads, l->shared_bytes, params);
    if (why) fail("%s: %s", name, why);
}

static void case_check(Sim *sim, Case *c, uint32_t *seed) {
    Memory m, twin;
    uint32_t again = *seed;
    memory_make(&m, c, seed);
    reference(c, &m);
    launch(sim, c, &m, false);
    launch(sim, c, &m, true);
    static const int outputs[] = {Y, LSE, DQ, DK, DV};
    for (int i = 0; i < 5; i++) compare(c, &m, outputs[i]);
    memory_make(&twin, c, &again);
    launch(sim, c, &twin, false);
    launch(sim, c, &twin, true);
    for (int i = 0; i < 5; i++) {
        int o = outputs[i];
        if (memcmp(m.at[o], twin.at[o], (size_t)c->size[o] * (size_t)operand_bytes(c, o)))
            fail("%s %s: another order of blocks and threads gives other bits", c->name[o > MASK], operand_names[o]);
    }
    memory_free(&m);
    memory_free(&twin);
}

static void must(Status s) {
    if (!status_failed(&s)) return;
    fail("%s", s.message);
    exit(1);
}

static void test_refusals(FILE *out, const CudaTarget *target) {
    uint32_t seed = 1;
    CudaLaunch launch;
    Case c = case_make(0, &seed);
    TileAttendBack wide = c.d, uneven = c.d;
    wide.forward.q_columns = 264;
    Status s = cuda_attend(out, target, "wide", &wide.forward, &launch);
    if (s.code != STATUS_UNSUPPORTED || !strstr(s.message, "264 columns")) fail("a head of 264 columns is taken");
    uneven.forward.outer[0] = 2;
    uneven.dk.outer[0] = 0, uneven.dv.outer[0] = 8;
    s = cuda_attend_back(out, target, "uneven", &uneven, &launch);
    if (s.code != STATUS_INVALID) fail("dk summed and dv not is taken");
}

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 24, only = argc > 2 ? atoi(argv[2]) : -1;
    uint32_t seed = 7;
    static const char *const targets[] = {"sm_80", "sm_86", "sm_90a", "sm_100"};
    char *text = NULL, error[SIM_MESSAGE];
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    fprintf(out, "#include \"../../codegen/cuda_prelude_attend.cuh\"\n"
                 "#include \"../../codegen/cuda_prelude_attend_back.cuh\"\n");
    Case *c = calloc((size_t)count, sizeof *c);
    CudaTarget target;
    for (int i = 0; i < count; i++) {
        c[i] = case_make(i, &seed);
        must(cuda_target_make(targets[i % 4], &target));
        target.processors = 1; // small cases in the blocks of large ones
        must(cuda_attend(out, &target, c[i].name[0], &c[i].d.forward, &c[i].forward));
        must(cuda_attend_back(out, &target, c[i].name[1], &c[i].d, &c[i].backward));
    }
    test_refusals(out, &target);
    fclose(out);
    Sim *sim = sim_compile(text, error);
    if (!sim) {
        fail("the kernels do not compile: %s", error);
        return 1;
    }
    for (int i = 0; i < count; i++) {
        sim_seed(sim, (uint64_t)i * 2 + 1);
        if (only < 0 || only == i) case_check(sim, &c[i], &seed);
    }
    sim_free(sim);
    free(text);
    free(c);
    printf("%d cases, %d failures\n", count, failures);
    return failures != 0;
}
