// SPDX-License-Identifier: Apache-2.0
// suite: what every communicator must do, checked against a naive one: each collective, type and group of several
// meshes, in place where allowed, the same bits again and again; calls that do not match, ranks that leave or fail.
// A communicator's test includes this and calls comm_suite with its make function.
#pragma once
#include "runtime/comm.h"
#include "runtime/dtype.h"
#include "tests/runtime/check.h"
#include <math.h>

typedef Status CommMakeFn(const CommOptions *options, Comm **out_comm);

enum { SUITE_RANKS = 8 };

typedef struct SuiteMessage { // posted, received or waited for, in order, behind the calls
    enum { SUITE_POST, SUITE_RECEIVE, SUITE_WAIT } kind;
    CommMessage message;
} SuiteMessage;

typedef struct Suite {
    CommMakeFn *make;
    Plan mesh; // only its mesh is used, for coordinates
    int nranks;
    Comm *comm;
    Pool *drivers, *helpers[SUITE_RANKS]; // helpers: a rank's own threads, or NULL
    CommCall calls[SUITE_RANKS][4];       // what each rank calls, in order
    int ncalls[SUITE_RANKS];
    bool fails[SUITE_RANKS]; // instead of calling
    SuiteMessage messages[SUITE_RANKS][32];
    int nmessages[SUITE_RANKS];
    Status status[SUITE_RANKS];
} Suite;

static void suite_drive(void *context, int thread, int64_t begin, int64_t end) {
    Suite *s = context;
    int r = (int)begin;
    (void)thread, (void)end;
    s->status[r] = status_ok();
    if (s->fails[r]) {
        s->status[r] = status_make(STATUS_INTERNAL, "the disk is on fire");
        s->comm->v->abort(s->comm, r, &s->status[r]);
    }
    for (int i = 0; i < s->ncalls[r] && !status_failed(&s->status[r]); i++)
        s->status[r] = s->comm->v->call(s->comm, r, &s->calls[r][i]);
    for (int i = 0; i < s->nmessages[r] && !status_failed(&s->status[r]); i++) {
        const SuiteMessage *m = &s->messages[r][i];
        const CommVtable *v = s->comm->v;
        s->status[r] = m->kind == SUITE_POST      ? v->post(s->comm, r, &m->message)
                       : m->kind == SUITE_RECEIVE ? v->receive(s->comm, r, &m->message)
                                                  : v->wait(s->comm, r, &m->message);
    }
    if (status_failed(&s->status[r])) s->comm->v->abort(s->comm, r, &s->status[r]);
    Status left = s->comm->v->leave(s->comm, r);
    if (!status_failed(&s->status[r])) s->status[r] = left;
}

static void suite_run(Suite *s) {
    s->comm->v->start(s->comm);
    pool_run(s->drivers, s->nranks, suite_drive, s);
}

static bool suite_open(Suite *s, CommMakeFn *make, int nmesh, const int64_t *extent, int64_t timeout_ms) {
    static const char *const names[] = {"data", "pipe", "tensor"};
    CommOptions o = {.nmesh = nmesh, .timeout_ms = timeout_ms, .posts = 8};
    *s = (Suite){.make = make, .mesh = {.nmesh = nmesh}};
    for (int i = 0; i < nmesh; i++) {
        s->mesh.mesh[i].extent = o.extent[i] = extent[i];
        o.name[i] = names[i];
    }
    s->nranks = (int)plan_ranks(&s->mesh);
    CHECK_OK(make(&o, &s->comm));
    CHECK_OK(pool_make(s->nranks, false, &s->drivers));
    for (int r = 0; r < s->nranks && s->nranks <= 4; r++) CHECK_OK(pool_make(1 + r, false, &s->helpers[r]));
    return s->comm && s->drivers;
}

static void suite_close(Suite *s) {
    pool_free(s->drivers);
    for (int r = 0; r < s->nranks; r++) pool_free(s->helpers[r]);
    if (s->comm) s->comm->v->free(s->comm);
}

// ---- the naive communicator -----------------------------------------------------------------------------------------
static double suite_get(const void *p, PlanDType t, int64_t i) {
    if (t == PLAN_BOOL) return ((const uint8_t *)p)[i];
    if (t == PLAN_I32) return ((const int32_t *)p)[i];
    double x;
    dtype_convert(&x, PLAN_F64, (const char *)p + i * plan_dtype_bytes(t), t, 1);
    return x;
}

static void suite_put(void *p, PlanDType t, int64_t i, double x) {
    if (t == PLAN_BOOL) ((uint8_t *)p)[i] = x != 0;
    else if (t == PLAN_I32) ((int32_t *)p)[i] = (int32_t)x;
    else dtype_convert((char *)p + i * plan_dtype_bytes(t), t, &x, PLAN_F64, 1);
}

// In the order of coordinates; f64 in double, the others in float.
static double suite_reduce(const CommCall *c, void *const *in, int n, int64_t i) {
    double acc = suite_get(in[0], c->dtype, i);
    for (int m = 1; m < n; m++) {
        double x = suite_get(in[m], c->dtype, i);
        if (c->reduce == REDUCE_MAX) acc = isnan(x) || x > acc ? x : acc;
        else if (c->dtype == PLAN_F64 || c->dtype == PLAN_I32) acc += x;
        else acc = (float)acc + (float)x;
    }
    return acc;
}

// What member `me` of a group receives; sends: of each member in order.
static void suite_expect(const CommCall *c, void *const *sends, int n, int me, void *out) {
    PlanDType t = c->dtype;
    int64_t o = c->outer, m = c->middle, k = c->inner, own = (m + n - 1) / n;
    switch (c->kind) {
    case COMM_ALL_REDUCE:
        for (int64_t i = 0; i < o * m * k; i++) suite_put(out, t, i, suite_reduce(c, sends, n, i));
        break;
    case COMM_BROADCAST:
        for (int64_t i = 0; i < o * m * k; i++) suite_put(out, t, i, suite_get(sends[0], t, i));
        break;
    case COMM_SHIFT:
    case COMM_REVERSE: {
        int64_t from = c->kind == COMM_REVERSE ? n - 1 - me : ((me - c->peer) % n + n) % n;
        for (int64_t i = 0; i < o * m * k; i++) suite_put(out, t, i, suite_get(sends[from], t, i));
        break;
    }
    case COMM_ALL_GATHER:
        for (int64_t a = 0; a < o; a++)
            for (int64_t b = 0; b < n * m; b++)
                for (int64_t i = 0; i < k; i++)
                    suite_put(out, t, (a * n * m + b) * k + i, suite_get(sends[b / m], t, (a * m + b % m) * k + i));
        break;
    case COMM_REDUCE_SCATTER:
        for (int64_t a = 0; a < o; a++)
            for (int64_t b = 0; b < own; b++)
                for (int64_t i = 0; i < k; i++) {
                    bool padding = me * own + b >= m;
                    suite_put(out, t, (a * own + b) * k + i,
                              padding ? 0 : suite_reduce(c, sends, n, (a * m + me * own + b) * k + i));
                }
        break;
    case COMM_ALL_TO_ALL:
        for (int from = 0; from < n; from++)
            for (int64_t a = 0; a < o; a++)
                for (int64_t b = 0; b < own; b++)
                    for (int64_t i = 0; i < k; i++)
                        suite_put(out, t, ((from * o + a) * own + b) * k + i,
                                  me * own + b < m ? suite_get(sends[from], t, (a * m + me * own + b) * k + i) : 0);
        break;
    default: break;
    }
}

// A communicator that sums in an order of its own and loses NaNs in maxima (NCCL) sets this before its cases.
static bool suite_loose __attribute__((unused));

static bool suite_same(const CommCall *c, const void *got, const void *expected, int64_t n) {
    if (!memcmp(got, expected, (size_t)(n * plan_dtype_bytes(c->dtype)))) return true;
    bool sums = (c->kind == COMM_ALL_REDUCE || c->kind == COMM_REDUCE_SCATTER) && c->reduce == REDUCE_SUM;
    if (!suite_loose || !sums || c->dtype < PLAN_F32) return false;
    double off = c->dtype == PLAN_BF16 ? 1 : c->dtype == PLAN_F16 ? 0.1 : c->dtype == PLAN_F32 ? 1e-4 : 1e-12;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(suite_get(got, c->dtype, i) - suite_get(expected, c->dtype, i)) <= off)) return false;
    return true;
}

// ---- values ---------------------------------------------------------------------------------------------------------
static void suite_fill(void *p, PlanDType t, int64_t n, int rank, bool with_nan) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t h = (uint32_t)(i * 2654435761u) ^ (uint32_t)(rank * 40503 + 17);
        h = (h ^ h >> 15) * 2246822519u;
        h ^= h >> 13;
        double x = (double)(h % 20011) / 977 - 10; // sums of these round differently in another order
        if (t == PLAN_I32) x = (double)(h % 2000003) - 1000000;
        if (t == PLAN_BOOL) x = h >> 9 & 1;
        if (with_nan && i % 7 == rank % 7 && t >= PLAN_F32) x = NAN;
        suite_put(p, t, i, x);
    }
}

static bool suite_group(const Suite *s, uint32_t mesh, int rank, int *out_members) {
    int n = 0;
    for (int r = 0; r < s->nranks; r++)
        if (plan_coord(&s->mesh, ~mesh, r) == plan_coord(&s->mesh, ~mesh, rank)) out_members[n++] = r;
    return n == plan_ways(&s->mesh, mesh);
}

static void suite_case(Suite *s, CommCall c, bool in_place, bool with_nan) {
    int n = (int)plan_ways(&s->mesh, c.mesh);
    int64_t count = c.outer * c.middle * c.inner, element = plan_dtype_bytes(c.dtype), receive = count;
    if (c.kind == COMM_ALL_GATHER) receive = count * n;
    if (c.kind == COMM_REDUCE_SCATTER || c.kind == COMM_ALL_TO_ALL)
        receive = count / c.middle * ((c.middle + n - 1) / n);
    if (c.kind == COMM_ALL_TO_ALL) receive *= n;
    void *send[SUITE_RANKS], *kept[SUITE_RANKS], *got[SUITE_RANKS], *expected[SUITE_RANKS];
    for (int r = 0; r < s->nranks; r++) {
        send[r] = malloc((size_t)(count * element));
        kept[r] = malloc((size_t)(count * element));
        got[r] = in_place ? send[r] : malloc((size_t)(receive * element));
        expected[r] = malloc((size_t)(receive * element));
        suite_fill(kept[r], c.dtype, count, r, with_nan);
    }
    for (int r = 0; r < s->nranks; r++) {
        int member[SUITE_RANKS], me = 0;
        void *sends[SUITE_RANKS];
        CHECK(suite_group(s, c.mesh, r, member));
        for (int i = 0; i < n; i++) sends[i] = kept[member[i]];
        while (member[me] != r) me++;
        suite_expect(&c, sends, n, me, expected[r]);
    }
    for (int again = 0; again < 3; again++) {
        for (int r = 0; r < s->nranks; r++) {
            memcpy(send[r], kept[r], (size_t)(count * element));
            s->calls[r][0] = c;
            s->calls[r][0].send = send[r];
            s->calls[r][0].receive = got[r];
            s->calls[r][0].pool = s->helpers[r];
            s->ncalls[r] = 1;
        }
        suite_run(s);
        for (int r = 0; r < s->nranks; r++) {
            CHECK_OK(s->status[r]);
            if (!suite_same(&c, got[r], expected[r], receive) && !check_failures++)
                printf("%s of %s [%lld, %lld, %lld] over %u of %d ranks, in place %d, try %d: rank %d has other bits\n",
                       comm_kind_name(c.kind), plan_dtype_name(c.dtype), (long long)c.outer, (long long)c.middle,
                       (long long)c.inner, c.mesh, s->nranks, in_place, again, r);
        }
    }
    for (int r = 0; r < s->nranks; r++) {
        if (!in_place) free(got[r]);
        free(send[r]);
        free(kept[r]);
        free(expected[r]);
    }
}

static void suite_collectives(CommMakeFn *make) {
    static const struct {
        int n;
        int64_t extent[3];
    } meshes[] = {{0, {0}},    {1, {1}},    {1, {2}},    {1, {3}},       {1, {8}},       {2, {2, 2}},
                  {2, {1, 5}}, {2, {2, 4}}, {2, {4, 2}}, {3, {2, 2, 2}}, {3, {2, 1, 3}}, {1, {7}}};
    static const int64_t sizes[][3] = {{1, 1, 1}, {1, 3, 1}, {2, 3, 5}, {3, 1, 700}, {1, 1, 17000}, {5, 2, 399}};
    for (size_t i = 0; i < sizeof meshes / sizeof *meshes; i++) {
        Suite s;
        if (!suite_open(&s, make, meshes[i].n, meshes[i].extent, 0)) return;
        for (uint32_t set = 0; set < 1u << meshes[i].n; set++)
            for (int kind = COMM_ALL_REDUCE; kind <= COMM_REVERSE; kind += kind == COMM_BROADCAST ? 3 : 1)
                for (int t = PLAN_BOOL; t <= PLAN_F16; t++)
                    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
                        if (k >= 4 && t != PLAN_F32 && t != PLAN_BF16) continue;
                        CommCall c = {.kind = (PlanCommKind)kind,
                                      .reduce = t == PLAN_BOOL || k == 2 ? REDUCE_MAX : REDUCE_SUM,
                                      .dtype = (PlanDType)t,
                                      .mesh = set,
                                      .outer = sizes[k][0],
                                      .middle = sizes[k][1],
                                      .inner = sizes[k][2],
                                      .peer = kind == COMM_SHIFT ? (int64_t)k - 2 : 0};
                        bool parts = kind == COMM_REDUCE_SCATTER || kind == COMM_ALL_TO_ALL;
                        if (parts) suite_case(&s, c, false, false); // uneven ones
                        if (parts) c.middle *= plan_ways(&s.mesh, set);
                        suite_case(&s, c, false, false);
                        if (kind == COMM_ALL_REDUCE || kind == COMM_BROADCAST) suite_case(&s, c, true, false);
                        if (kind == COMM_ALL_REDUCE && c.reduce == REDUCE_MAX && t == PLAN_F32)
                            suite_case(&s, c, true, true);
                    }
        suite_close(&s);
    }
}

// ---- counted all_to_all ---------------------------------------------------------------------------------------------
// Rows beyond the counts hold NaN where they are sent and must be zero where they are received; counts beyond the rows,
// and negative ones, are no more than all and no less than none. Member m counts (5 m + i) % 9 - 2 of 4 rows.
static void suite_counted(CommMakeFn *make) {
    enum { OUTER = 3, MIDDLE = 5, PIECES = 2, ROWS = 4, ROW = 7, UNIT = ROWS * ROW };
    for (int ways = 2; ways <= 4; ways++) {
        Suite s;
        if (!suite_open(&s, make, 1, (int64_t[]){ways}, 0)) return;
        int own = (MIDDLE + ways - 1) / ways, count = OUTER * MIDDLE * PIECES, there = ways * OUTER * own * PIECES;
        float *send[SUITE_RANKS], *got[SUITE_RANKS];
        int32_t *counts[SUITE_RANKS], *arriving[SUITE_RANKS];
        for (int r = 0; r < ways; r++) {
            send[r] = malloc(sizeof(float) * (size_t)(count * UNIT));
            got[r] = malloc(sizeof(float) * (size_t)(there * UNIT));
            counts[r] = malloc(sizeof(int32_t) * (size_t)count);
            arriving[r] = malloc(sizeof(int32_t) * (size_t)there);
            for (int i = 0; i < count; i++) {
                counts[r][i] = (5 * r + i) % 9 - 2;
                for (int k = 0; k < UNIT; k++)
                    send[r][i * UNIT + k] = k / ROW < counts[r][i] ? (float)(r * 10000 + i * UNIT + k) : NAN;
            }
            for (int i = 0; i < there; i++) { // [ways][outer, own, pieces]
                int at = r * own + i / PIECES % own, from = (i / (own * PIECES) % OUTER * MIDDLE + at) * PIECES;
                arriving[r][i] = (5 * (i / (OUTER * own * PIECES)) + from + i % PIECES) % 9 - 2;
            }
            s.calls[r][0] = (CommCall){.kind = COMM_ALL_TO_ALL,
                                       .dtype = PLAN_F32,
                                       .mesh = 1,
                                       .outer = OUTER,
                                       .middle = MIDDLE,
                                       .inner = PIECES * UNIT,
                                       .rows = ROWS,
                                       .row = ROW,
                                       .send_counts = counts[r],
                                       .receive_counts = arriving[r],
                                       .send = send[r],
                                       .receive = got[r],
                                       .pool = s.helpers[r]};
            s.ncalls[r] = 1;
        }
        suite_run(&s);
        for (int r = 0; r < ways; r++) {
            CHECK_OK(s.status[r]);
            for (int i = 0; i < there * UNIT; i++) {
                int block = i / UNIT, m = block / (OUTER * own * PIECES), at = r * own + block / PIECES % own;
                int from = (block / (own * PIECES) % OUTER * MIDDLE + at) * PIECES + block % PIECES, k = i % UNIT;
                float want = at < MIDDLE && k / ROW < (5 * m + from) % 9 - 2 ? (float)(m * 10000 + from * UNIT + k) : 0;
                CHECK(got[r][i] == want);
            }
            free(send[r]);
            free(got[r]);
            free(counts[r]);
            free(arriving[r]);
        }
        suite_close(&s);
    }
}

// ---- send and recv --------------------------------------------------------------------------------------------------
// Along `pipe` of data=2, pipe=4: everyone sends on, receives from behind; the ends have nobody.
static void suite_pipeline(CommMakeFn *make) {
    Suite s;
    if (!suite_open(&s, make, 2, (int64_t[]){2, 4}, 0)) return;
    for (int64_t count = 3; count < 100000; count *= 181) {
        float *send[SUITE_RANKS], *got[SUITE_RANKS];
        for (int r = 0; r < s.nranks; r++) {
            send[r] = calloc((size_t)count, sizeof(float));
            got[r] = calloc((size_t)count, sizeof(float));
            for (int64_t i = 0; i < count; i++) send[r][i] = (float)(r * 1000 + i % 997);
            CommCall c = {.dtype = PLAN_F32, .mesh = 2, .outer = 1, .middle = count, .inner = 1};
            c.kind = COMM_SEND, c.peer = 1, c.send = send[r], c.receive = NULL;
            s.calls[r][0] = c;
            c.kind = COMM_RECV, c.peer = -1, c.send = NULL, c.receive = got[r];
            s.calls[r][1] = c;
            s.ncalls[r] = 2;
        }
        suite_run(&s);
        for (int r = 0; r < s.nranks; r++) {
            CHECK_OK(s.status[r]);
            for (int64_t i = 0; i < count; i++)
                if (got[r][i] != (r % 4 ? send[r - 1][i] : 0) && !check_failures++)
                    printf("rank %d received wrong\n", r);
        }
        for (int r = 0; r < s.nranks; r++) {
            free(send[r]);
            free(got[r]);
        }
    }
    suite_close(&s);
}

// ---- messages that are posted and waited for ------------------------------------------------------------------------
static void suite_say(Suite *s, int rank, int kind, int peer, int channel, int microbatch, void *data, int64_t bytes) {
    int n = s->nmessages[rank]++;
    s->messages[rank][n] = (SuiteMessage){kind, {peer, channel, microbatch, data, data, bytes, n}};
}

// Each rank sends six messages on two channels to the next and receives those of the one before it, in every order that
// keeps a channel's; a buffer is written again once its message has been waited for.
static void suite_messages(CommMakeFn *make) {
    enum { ROUNDS = 3, COUNT = 5000 };
    static int32_t sent[SUITE_RANKS][2][ROUNDS][COUNT], got[SUITE_RANKS][2][ROUNDS][COUNT];
    for (int ranks = 2; ranks <= 5; ranks += 3)
        for (int order = 0; order < 3; order++) {
            Suite s;
            if (!suite_open(&s, make, 1, (int64_t[]){ranks}, 0)) return;
            for (int r = 0; r < ranks; r++) {
                int to = (r + 1) % ranks, from = (r + ranks - 1) % ranks;
                int64_t bytes = sizeof sent[0][0][0];
                for (int c = 0; c < 2; c++)
                    for (int k = 0; k < ROUNDS; k++)
                        for (int i = 0; i < COUNT; i++) sent[r][c][k][i] = ((r * 2 + c) * ROUNDS + k) * COUNT + i;
                memset(got[r], 0, sizeof got[r]);
                for (int k = 0; k < ROUNDS; k++)
                    for (int c = 0; c < 2; c++) suite_say(&s, r, SUITE_POST, to, c, k, sent[r][c][k], bytes);
                for (int k = 0; k < ROUNDS; k++) {
                    for (int c = 0; c < 2; c++) {
                        int channel = order == 1 ? 1 - c : c;
                        suite_say(&s, r, SUITE_RECEIVE, from, channel, k, got[r][channel][k], bytes);
                    }
                    for (int c = 0; c < 2 && order != 2; c++) suite_say(&s, r, SUITE_WAIT, to, c, k, NULL, bytes);
                }
                for (int c = 1; c >= 0 && order == 2; c--) // the last first
                    for (int k = ROUNDS - 1; k >= 0; k--) suite_say(&s, r, SUITE_WAIT, to, c, k, NULL, bytes);
            }
            for (int again = 0; again < 5; again++) {
                suite_run(&s);
                for (int r = 0; r < ranks; r++) {
                    CHECK_OK(s.status[r]);
                    CHECK(!memcmp(got[r], sent[(r + ranks - 1) % ranks], sizeof got[r]));
                }
            }
            suite_close(&s);
        }
}

// ---- what goes wrong ------------------------------------------------------------------------------------------------
typedef void SuiteSpoilFn(Suite *s, float *memory);

static void suite_wrong(CommMakeFn *make, SuiteSpoilFn *spoil, StatusCode code, const char *text) {
    Suite s;
    static float memory[SUITE_RANKS][8192];
    if (!suite_open(&s, make, 2, (int64_t[]){2, 2}, 0)) return;
    for (int round = 0; round < 20; round++) { // and each failure is forgotten by the next start
        for (int r = 0; r < s.nranks; r++) {
            s.fails[r] = false;
            s.nmessages[r] = 0;
            s.ncalls[r] = 1;
            s.calls[r][0] = (CommCall){.kind = COMM_ALL_REDUCE,
                                       .dtype = PLAN_F32,
                                       .mesh = 2,
                                       .outer = 1,
                                       .middle = 64,
                                       .inner = round % 2 ? 1 : 64,
                                       .send = memory[r],
                                       .receive = memory[r]};
        }
        suite_run(&s);
        for (int r = 0; r < s.nranks; r++) CHECK_OK(s.status[r]);
        spoil(&s, memory[0]);
        suite_run(&s);
        bool told = false;
        for (int r = 0; r < s.nranks; r++)
            told = told || (s.status[r].code == code && strstr(s.status[r].message, text));
        if (!told && !check_failures++) {
            printf("no rank tells '%s':\n", text);
            for (int r = 0; r < s.nranks; r++) printf("  rank %d: %s\n", r, s.status[r].message);
        }
    }
    suite_close(&s);
}

static void spoil_kind(Suite *s, float *m) { (void)m, s->calls[3][0].kind = COMM_BROADCAST; }
static void spoil_type(Suite *s, float *m) { (void)m, s->calls[1][0].dtype = PLAN_I32; }
static void spoil_size(Suite *s, float *m) { (void)m, s->calls[2][0].outer = 2; }
static void spoil_op(Suite *s, float *m) { (void)m, s->calls[0][0].reduce = REDUCE_MAX; }
static void spoil_group(Suite *s, float *m) { (void)m, s->calls[0][0].mesh = 1; }
static void spoil_absent(Suite *s, float *m) { (void)m, s->ncalls[2] = 0; }
static void spoil_rank(Suite *s, float *m) { (void)m, s->fails[1] = true; }
static void spoil_overlap(Suite *s, float *m) {
    (void)m;
    for (int r = 0; r < s->nranks; r++) s->calls[r][0].receive = (char *)s->calls[r][0].send + 4;
}
static void spoil_middle(Suite *s, float *m) {
    (void)m;
    for (int r = 0; r < s->nranks; r++) s->calls[r][0].kind = COMM_ALL_TO_ALL, s->calls[r][0].middle = 0;
}
static void spoil_bool(Suite *s, float *m) {
    (void)m;
    for (int r = 0; r < s->nranks; r++) s->calls[r][0].dtype = PLAN_BOOL;
}
static void spoil_cycle(Suite *s, float *m) { // both receive first
    (void)m;
    for (int r = 0; r < s->nranks; r++) s->calls[r][0].kind = COMM_RECV, s->calls[r][0].peer = r % 2 ? -1 : 1;
}
static void spoil_pair(Suite *s, float *m) {
    (void)m;
    for (int r = 0; r < s->nranks; r++) {
        s->calls[r][0].kind = r % 2 ? COMM_RECV : COMM_SEND;
        s->calls[r][0].peer = r % 2 ? -1 : 1;
    }
    s->calls[3][0].outer = 2;
}

static void spoil_microbatch(Suite *s, float *m) {
    suite_say(s, 0, SUITE_POST, 1, 7, 3, m, 64);
    suite_say(s, 0, SUITE_WAIT, 1, 7, 3, m, 64);
    suite_say(s, 1, SUITE_RECEIVE, 0, 7, 2, m + 64, 64);
}
static void spoil_bytes(Suite *s, float *m) {
    suite_say(s, 0, SUITE_POST, 1, 7, 3, m, 64);
    suite_say(s, 0, SUITE_WAIT, 1, 7, 3, m, 64);
    suite_say(s, 1, SUITE_RECEIVE, 0, 7, 3, m + 64, 128);
}
static void spoil_astray(Suite *s, float *m) {
    suite_say(s, 0, SUITE_POST, 2, 7, 3, m, 64);
    suite_say(s, 0, SUITE_WAIT, 1, 7, 3, m, 64);
    suite_say(s, 1, SUITE_RECEIVE, 0, 7, 3, m + 64, 64);
}
static void spoil_unsent(Suite *s, float *m) { suite_say(s, 1, SUITE_RECEIVE, 0, 7, 3, m, 64); }
static void spoil_unread(Suite *s, float *m) {
    suite_say(s, 0, SUITE_POST, 1, 7, 3, m, 64);
    suite_say(s, 0, SUITE_WAIT, 1, 7, 3, m, 64);
}
static void spoil_wait(Suite *s, float *m) {
    suite_say(s, 0, SUITE_POST, 1, 7, 3, m, 64);
    suite_say(s, 1, SUITE_RECEIVE, 0, 7, 3, m + 64, 64);
}
static void spoil_ring(Suite *s, float *m) { // each waits for its own to be received before it receives
    for (int r = 0; r < s->nranks; r++) {
        int to = (r + 1) % s->nranks, from = (r + s->nranks - 1) % s->nranks;
        suite_say(s, r, SUITE_POST, to, 0, 0, m + 16 * r, 64);
        suite_say(s, r, SUITE_WAIT, to, 0, 0, m, 64);
        suite_say(s, r, SUITE_RECEIVE, from, 0, 0, m + 256 + 16 * r, 64);
    }
}
static void spoil_many(Suite *s, float *m) {
    for (int i = 0; i < 9; i++) suite_say(s, 0, SUITE_POST, 1, 0, i, m, 64);
}
static void spoil_self(Suite *s, float *m) { suite_say(s, 2, SUITE_POST, 2, 0, 0, m, 64); }

static void suite_timeout(CommMakeFn *make) {
    Suite s;
    float memory[2] = {0};
    if (!suite_open(&s, make, 1, (int64_t[]){2}, 50)) return;
    s.comm->v->start(s.comm);
    CommCall c = {.dtype = PLAN_F32, .mesh = 1, .outer = 1, .middle = 1, .inner = 1, .send = memory, .receive = memory};
    CHECK_FAILS(s.comm->v->call(s.comm, 0, &c), STATUS_COMM,
                "rank 0 waited 50 ms in all_reduce sum f32[1, 1, 1] over data");
    CHECK_FAILS(s.comm->v->call(s.comm, 1, &c), STATUS_COMM, "rank 0 waited");
    suite_close(&s);
}

static __attribute__((unused)) int comm_suite(const char *name, CommMakeFn *make) {
    suite_collectives(make);
    suite_counted(make);
    suite_pipeline(make);
    suite_wrong(make, spoil_kind, STATUS_COMM, "rank 2 calls all_reduce sum f32[1, 64,");
    suite_wrong(make, spoil_type, STATUS_COMM, "rank 1 calls all_reduce sum i32");
    suite_wrong(make, spoil_size, STATUS_COMM, "rank 2 calls all_reduce sum f32[2, 64,");
    suite_wrong(make, spoil_op, STATUS_COMM, "rank 0 calls all_reduce max");
    suite_wrong(make, spoil_group, STATUS_COMM, "deadlock");
    suite_wrong(make, spoil_absent, STATUS_COMM, "rank 2 has finished, rank 3 waits in all_reduce");
    suite_wrong(make, spoil_rank, STATUS_COMM, "stopped because rank 1 failed: the disk is on fire");
    suite_wrong(make, spoil_overlap, STATUS_INVALID, "send and receive overlap");
    suite_wrong(make, spoil_middle, STATUS_INVALID, "sizes do not fit 2 ranks");
    suite_wrong(make, spoil_bool, STATUS_INVALID, "a sum of bool");
    suite_wrong(make, spoil_cycle, STATUS_COMM, "deadlock: rank 0 waits in recv");
    suite_wrong(make, spoil_pair, STATUS_COMM, "rank 2 calls send f32[1, 64,");
    suite_messages(make);
    suite_wrong(
        make, spoil_microbatch, STATUS_COMM,
        "rank 0 sends microbatch 3 (64 bytes, step 0) on channel 7, rank 1 expects microbatch 2 (64 bytes, step 0)");
    suite_wrong(make, spoil_bytes, STATUS_COMM, "rank 1 expects microbatch 3 (128 bytes");
    suite_wrong(make, spoil_astray, STATUS_COMM, "on channel 7, microbatch 3 that it did not send");
    suite_wrong(make, spoil_unsent, STATUS_COMM, "rank 1 waits in recv from rank 0 (channel 7, microbatch 3, step 0)");
    suite_wrong(make, spoil_unread, STATUS_COMM, "rank 0 waits in wait for rank 1 (channel 7, microbatch 3, step 1)");
    suite_wrong(make, spoil_wait, STATUS_COMM, "rank 0 sent microbatch 3 on channel 7 to rank 1 (step 0) and never");
    suite_wrong(make, spoil_ring, STATUS_COMM, "deadlock: rank 0 waits in wait for rank 1");
    suite_wrong(make, spoil_many, STATUS_COMM, "rank 0 has 8 messages on their way");
    suite_wrong(make, spoil_self, STATUS_INVALID, "from or to rank 2");
    suite_timeout(make);
    return check_report(name);
}
