// SPDX-License-Identifier: Apache-2.0
// test_attend: attention's kernels against softmax written out in double precision, gradients included: causal with
// positions or a last key, masks, grouped heads, queries that see nothing, odd sizes and layouts.
#include "codegen/tile_attend.h"
#include "tests/codegen/tile_cases.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { Q, K, V, Y, LSE, MASK, DY, DQ, DK, DV, LAST, OPERANDS };
static const char *const operand_names[] = {"q", "k", "v", "y", "lse", "mask", "dy", "dq", "dk", "dv", "last"};

typedef struct Case {
    TileAttendBack d;
    int64_t batch, heads, group;
    int64_t size[OPERANDS];
    int64_t scalars[2];
    TilePlan forward, backward;
    char name[2][32];
} Case;

static TileRows *case_rows(Case *c, int i) {
    TileAttend *f = &c->d.forward;
    TileRows *all[] = {&f->q, &f->k, &f->v, &f->y, &f->lse, &f->mask, &c->d.dy, &c->d.dq, &c->d.dk, &c->d.dv, &f->last};
    return all[i];
}

// layout 0: [batch, head, group, row, column]; 1: [batch, row, head, group, column]; 2: [column, row, batch, head,
// group].
static void lay(Case *c, int i, int layout, int64_t rows, int64_t columns, bool grouped) {
    TileRows *x = case_rows(c, i);
    int64_t group = grouped ? c->group : 1;
    int64_t extents[5] = {c->batch, c->heads, group, rows, columns}, strides[5];
    static const int orders[3][5] = {{0, 1, 2, 3, 4}, {0, 3, 1, 2, 4}, {4, 3, 0, 1, 2}};
    int64_t stride = 1;
    for (int a = 4; a >= 0; a--) {
        strides[orders[layout][a]] = stride;
        stride *= extents[orders[layout][a]];
    }
    *x = (TileRows){.buf = i, .first = i % 3, .row = strides[3], .column = strides[4]};
    for (int a = 0; a < 3; a++) x->outer[a] = strides[a];
    if (!grouped) x->outer[2] = 0;
    c->size[i] = stride + i % 3 + 5;
}

static Case case_make(int i, uint32_t *seed) {
    Case c = {.batch = 1, .heads = 1, .group = 1};
    static const int sizes[] = {1, 2, 5, 8, 15, 16, 17, 31, 32, 33, 48, 64, 65, 100, 130, 200, 300};
    static const int widths[] = {64, 16, 8, 5, 24, 33, 80};
    TileAttend *f = &c.d.forward;
    int kinds = sizeof sizes / sizeof *sizes;
    f->queries = sizes[random_int(seed, 0, kinds - 1)];
    f->keys = random_int(seed, 0, 1) ? f->queries : sizes[random_int(seed, 0, kinds - 1)];
    f->q_columns = widths[random_int(seed, 0, 6)];
    f->v_columns = random_int(seed, 0, 1) ? f->q_columns : widths[random_int(seed, 0, 6)];
    c.batch = random_int(seed, 1, 2);
    c.heads = random_int(seed, 1, 2);
    c.group = random_int(seed, 0, 1) ? 1 : random_int(seed, 2, 3);
    f->outer_count = 3;
    f->outer[0] = c.batch, f->outer[1] = c.heads, f->outer[2] = c.group;
    f->scale = 1.0f / sqrtf((float)f->q_columns);
    f->causal = i % 2;
    f->masked = i % 3 == 0;
    f->query_position = f->key_position = -1;
    if (i % 4 == 3) {
        f->query_position = 0, f->key_position = 1;
        c.scalars[0] = random_int(seed, 0, 40), c.scalars[1] = random_int(seed, 0, 40);
    }
    f->bounded = i % 5 == 1 || i % 5 == 2;
    int layout = random_int(seed, 0, 2);
    if (i == 6) f->keys = 0;
    if (i == 7) f->queries = 0;
    if (i == 8) f->queries = f->keys = 300, layout = 1;
    if (i == 9) f->queries = f->keys = 277, layout = 1;
    lay(&c, Q, layout, f->queries, f->q_columns, true);
    lay(&c, K, layout, f->keys, f->q_columns, false);
    lay(&c, V, layout, f->keys, f->v_columns, false);
    lay(&c, Y, layout, f->queries, f->v_columns, true);
    lay(&c, LSE, 0, f->queries, 1, true);
    lay(&c, MASK, 0, f->queries, f->keys, true);
    if (i % 6 == 0) case_rows(&c, MASK)->row = 0; // keys only
    lay(&c, DY, layout, f->queries, f->v_columns, true);
    lay(&c, DQ, layout, f->queries, f->q_columns, true);
    lay(&c, DK, layout, f->keys, f->q_columns, false);
    lay(&c, DV, layout, f->keys, f->v_columns, false);
    lay(&c, LAST, 0, 1, 1, i % 2);
    case_rows(&c, LAST)->row = 0;
    snprintf(c.name[0], sizeof c.name[0], "attend_%d", i);
    snprintf(c.name[1], sizeof c.name[1], "attend_back_%d", i);
    return c;
}

static int64_t place(Case *c, int i, int64_t o, int64_t row, int64_t column) {
    const TileRows *x = case_rows(c, i);
    int64_t g = o % c->group, h = o / c->group % c->heads, b = o / c->group / c->heads;
    return x->first + b * x->outer[0] + h * x->outer[1] + g * x->outer[2] + row * x->row + column * x->column;
}

// Element (row, column) of each operand at one outer index.
typedef struct View {
    int64_t base, row, column;
} View;
static inline int64_t at(const View *v, int64_t row, int64_t column) {
    return v->base + row * v->row + column * v->column;
}

static bool seen(const Case *c, const View *v, float *const *x, const uint8_t *mask, int64_t s, int64_t t) {
    const TileAttend *f = &c->d.forward;
    int64_t far = f->causal ? c->scalars[0] + s - c->scalars[1] : 0;
    if (f->bounded && t > ((const int32_t *)x[LAST])[v[LAST].base] + far) return false;
    if (!f->bounded && f->causal && c->scalars[1] + t > c->scalars[0] + s) return false;
    return !f->masked || mask[at(&v[MASK], s, t)];
}

static double dot(const float *x, const View *v, int64_t row, const float *y, const View *w, int64_t other,
                  int64_t columns) {
    double sum = 0;
    for (int64_t e = 0; e < columns; e++) sum += (double)x[at(v, row, e)] * y[at(w, other, e)];
    return sum;
}

// One query: its row of y, lse and dq, and its part of dk and dv. p, dp: room for a number a key.
static void reference_query(const Case *c, const View *v, int64_t s, float *const *x, const uint8_t *mask,
                            double *const *want, double *p, double *dp) {
    const TileAttend *f = &c->d.forward;
    double high = -INFINITY, sum = 0, mean = 0;
    for (int64_t t = 0; t < f->keys; t++) {
        p[t] = seen(c, v, x, mask, s, t) ? f->scale * dot(x[Q], &v[Q], s, x[K], &v[K], t, f->q_columns) : -INFINITY;
        if (p[t] > high) high = p[t];
    }
    for (int64_t t = 0; t < f->keys; t++) p[t] = p[t] == -INFINITY ? 0 : exp(p[t] - high), sum += p[t];
    want[LSE][at(&v[LSE], s, 0)] = sum > 0 ? high + log(sum) : -INFINITY;
    for (int64_t e = 0; e < f->v_columns; e++) want[Y][at(&v[Y], s, e)] = 0;
    for (int64_t e = 0; e < f->q_columns; e++) want[DQ][at(&v[DQ], s, e)] = 0;
    for (int64_t t = 0; t < f->keys; t++) {
        p[t] = sum > 0 ? p[t] / sum : 0;
        dp[t] = dot(x[DY], &v[DY], s, x[V], &v[V], t, f->v_columns);
        mean += p[t] * dp[t];
        for (int64_t e = 0; e < f->v_columns; e++) {
            want[Y][at(&v[Y], s, e)] += p[t] * x[V][at(&v[V], t, e)];
            want[DV][at(&v[DV], t, e)] += p[t] * x[DY][at(&v[DY], s, e)];
        }
    }
    for (int64_t t = 0; t < f->keys; t++) {
        double slope = p[t] * (dp[t] - mean) * f->scale;
        for (int64_t e = 0; e < f->q_columns; e++) {
            want[DQ][at(&v[DQ], s, e)] += slope * x[K][at(&v[K], t, e)];
            want[DK][at(&v[DK], t, e)] += slope * x[Q][at(&v[Q], s, e)];
        }
    }
}

// The same as the kernels in doubles; want[DK] and want[DV] start at zero.
static void reference(Case *c, float *const *x, const uint8_t *mask, double *const *want) {
    const TileAttend *f = &c->d.forward;
    double *p = calloc((size_t)f->keys + 1, sizeof *p), *dp = calloc((size_t)f->keys + 1, sizeof *dp);
    for (int64_t o = 0; o < c->batch * c->heads * c->group; o++) {
        View v[OPERANDS];
        for (int i = 0; i < OPERANDS; i++)
            v[i] = (View){place(c, i, o, 0, 0), case_rows(c, i)->row, case_rows(c, i)->column};
        for (int64_t s = 0; s < f->queries; s++) reference_query(c, v, s, x, mask, want, p, dp);
    }
    free(p);
    free(dp);
}

static bool same_value(float got, double want, double scale) {
    if (isinf(want)) return got == want;
    return fabs(got - want) <= 4e-6 * scale;
}

static void case_check(TestModule *module, Case *c, uint32_t *seed) {
    static const int outputs[] = {Y, LSE, DQ, DK, DV};
    float *x[OPERANDS], *twin[OPERANDS];
    double *want[OPERANDS] = {0};
    char *buf[OPERANDS], *twin_buf[OPERANDS];
    uint8_t *mask = malloc((size_t)c->size[MASK]);
    int sparse = random_int(seed, 0, 2);
    for (int64_t i = 0; i < c->size[MASK]; i++)
        mask[i] = sparse ? random_int(seed, 0, 4 * sparse) == 0 : random_int(seed, 0, 3) > 0;
    for (int i = 0; i < OPERANDS; i++) {
        x[i] = random_floats(c->size[i], seed);
        if (i == Q)
            for (int64_t j = 0; j < c->size[i]; j++) x[i][j] *= 4;
        if (i == LAST)
            for (int64_t j = 0; j < c->size[i]; j++)
                ((int32_t *)x[i])[j] = random_int(seed, 0, (int)c->d.forward.keys + 60) - 30;
        twin[i] = malloc((size_t)c->size[i] * 4);
        memcpy(twin[i], x[i], (size_t)c->size[i] * 4);
        buf[i] = i == MASK ? (char *)mask : (char *)x[i];
        twin_buf[i] = i == MASK ? (char *)mask : (char *)twin[i];
    }
    for (int i = 0; i < 5; i++) {
        int o = outputs[i];
        want[o] = malloc((size_t)c->size[o] * sizeof *want[o]);
        for (int64_t j = 0; j < c->size[o]; j++) want[o][j] = x[o][j];
    }
    const TileAttend *f = &c->d.forward;
    for (int64_t o = 0; o < c->batch * c->heads * c->group; o++)
        for (int64_t t = 0; t < f->keys; t++) {
            for (int64_t e = 0; e < f->q_columns; e++) want[DK][place(c, DK, o, t, e)] = 0;
            for (int64_t e = 0; e < f->v_columns; e++) want[DV][place(c, DV, o, t, e)] = 0;
        }
    reference(c, x, mask, want);
    KernelFn forward = (KernelFn)module_address(module, c->name[0]),
             back = (KernelFn)module_address(module, c->name[1]);
    run_split(forward, buf, c->scalars, c->forward, 1, seed);
    run_split(back, buf, c->scalars, c->backward, 1, seed);
    run_split(forward, twin_buf, c->scalars, c->forward, 3, seed);
    run_split(back, twin_buf, c->scalars, c->backward, 3, seed);
    for (int i = 0; i < 5; i++) {
        int o = outputs[i];
        double high = 1;
        for (int64_t j = 0; j < c->size[o]; j++)
            if (!isinf(want[o][j]) && fabs(want[o][j]) > high) high = fabs(want[o][j]);
        int64_t bad = -1;
        for (int64_t j = 0; j < c->size[o] && bad < 0; j++)
            if (!same_value(x[o][j], want[o][j], high)) bad = j;
        check(bad < 0,
              "%s %s (queries %ld keys %ld columns %ld %ld causal %d masked %d): element %ld is %g, should be %g",
              c->name[0], operand_names[o], (long)f->queries, (long)f->keys, (long)f->q_columns, (long)f->v_columns,
              f->causal, f->masked, (long)bad, bad < 0 ? 0 : (double)x[o][bad], bad < 0 ? 0 : want[o][bad]);
        check(!memcmp(x[o], twin[o], (size_t)c->size[o] * 4), "%s %s: another split of the tasks gives other bits",
              c->name[0], operand_names[o]);
    }
    for (int i = 0; i < OPERANDS; i++) free(x[i]), free(twin[i]), free(want[i]);
    free(mask);
}

static void test_attention(const CpuTarget *target, int count, uint32_t seed) {
    Case *c = calloc((size_t)count, sizeof *c);
    TestModule module;
    module_open(&module, target);
    for (int i = 0; i < count; i++) {
        c[i] = case_make(i, &seed);
        must(tile_attend(&module.b, c[i].name[0], &c[i].d.forward, &c[i].forward));
        must(tile_attend_back(&module.b, c[i].name[1], &c[i].d, &c[i].backward));
    }
    TileAttendBack bad = c[0].d;
    TilePlan plan;
    bad.dk.outer[0] = 0;
    if (c[0].batch > 1)
        check(tile_attend_back(&module.b, "bad", &bad, &plan).code == STATUS_INVALID, "dk summed and dv not is taken");
    module_link(&module);
    for (int i = 0; i < count; i++) case_check(&module, &c[i], &seed);
    module_close(&module);
    free(c);
}

int main(int argc, char **argv) { return on_every_target(test_attention, argc > 1 ? atoi(argv[1]) : 20); }
