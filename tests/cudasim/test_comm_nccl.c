// SPDX-License-Identifier: Apache-2.0
// The communicator of GPUs under the suite of all communicators, on simulated GPUs and NCCL: what ranks send lies on
// the host there, so each call brings it to the device and back.
#include "base/checked.h"
#include "runtime/comm_nccl.h"
#include "tests/comm/suite.h"
#include <unistd.h>

extern const char cuda_prelude[]; // codegen/cuda_*.cuh
extern const size_t cuda_prelude_size;

enum { PART = 1 << 20, SLAB = 4 * PART };

typedef struct HostComm {
    Comm comm;
    Comm *inner;
    Plan plan;
    PlanStage stage;
    PlanInstr instrs[1 + (1 << PLAN_MESH)];
    PlanCuda cuda;
    Device *device[SUITE_RANKS];
    Status status[SUITE_RANKS];
    Pool *pool;
} HostComm;

static Status host_call(Comm *comm, int rank, const CommCall *call) {
    HostComm *h = (HostComm *)comm;
    Device *d = h->device[rank];
    int64_t ways = plan_ways(&h->plan, call->mesh), own = ceil_div(call->middle, ways);
    int64_t element = plan_dtype_bytes(call->dtype), send = call->outer * call->middle * call->inner * element;
    int64_t receive = call->kind == COMM_ALL_GATHER                                        ? send * ways
                      : call->kind == COMM_REDUCE_SCATTER || call->kind == COMM_ALL_TO_ALL ? send / call->middle * own
                                                                                           : send;
    if (call->kind == COMM_ALL_TO_ALL) receive *= ways;
    bool in_place = call->send == call->receive;
    CommCall c = *call;
    char *to = d->slab + (in_place ? 0 : PART);
    CHECK(send <= PART && receive <= PART);
    d->v->zero(d, d->slab + PART, PART);
    if (call->send) d->v->write(d, d->slab, call->send, send);
    c.send = d->slab;
    c.receive = to;
    if (call->rows) {
        int64_t unit = call->rows * call->row, n = call->outer * call->middle * (call->inner / unit);
        int64_t there = ways * call->outer * own * (call->inner / unit);
        d->v->write(d, d->slab + 2 * PART, call->send_counts, n * 4);
        d->v->write(d, d->slab + 3 * PART, call->receive_counts, there * 4);
        c.send_counts = (int32_t *)(d->slab + 2 * PART);
        c.receive_counts = (int32_t *)(d->slab + 3 * PART);
    }
    STATUS_TRY(h->inner->v->call(h->inner, rank, &c));
    bool ends = call->kind == COMM_RECV && plan_coord(&h->plan, call->mesh, rank) + call->peer < 0;
    STATUS_TRY(device_cuda_wait((DeviceCuda *)d, ((DeviceCuda *)d)->compute));
    if (call->receive && !ends) d->v->read(d, call->receive, to, receive);
    return ((DeviceCuda *)d)->failed;
}
static void host_start(Comm *comm) {
    HostComm *h = (HostComm *)comm;
    h->inner->v->start(h->inner);
}
static Status host_leave(Comm *comm, int rank) {
    HostComm *h = (HostComm *)comm;
    return h->inner->v->leave(h->inner, rank);
}
static void host_abort(Comm *comm, int rank, const Status *why) {
    HostComm *h = (HostComm *)comm;
    h->inner->v->abort(h->inner, rank, why);
}
static void host_free(Comm *comm) {
    HostComm *h = (HostComm *)comm;
    if (h->inner) h->inner->v->free(h->inner);
    for (int r = 0; r < SUITE_RANKS; r++)
        if (h->device[r]) h->device[r]->v->free(h->device[r]);
    pool_free(h->pool);
    free(h);
}
static const CommVtable host_vtable = {.name = "nccl",
                                       .start = host_start,
                                       .call = host_call,
                                       .leave = host_leave,
                                       .abort = host_abort,
                                       .free = host_free};

static void attach(void *context, int thread, int64_t begin, int64_t end) {
    HostComm *h = context;
    int r = (int)begin;
    (void)thread, (void)end;
    h->status[r] = comm_nccl_attach(h->inner, r, h->device[r]);
}

static Status make_inside(HostComm *h, const CommOptions *o) {
    int n = (int)plan_ranks(&h->plan);
    CommNcclOptions c = {.plan = &h->plan, .timeout_ms = o->timeout_ms, .posts = o->posts, .nlocal = n};
    STATUS_TRY(comm_nccl_make(&c, &h->inner));
    for (int r = 0; r < n; r++) {
        DeviceOptions d = {.slab_bytes = SLAB,
                           .poison = true,
                           .cuda = &h->cuda,
                           .plan = &h->plan,
                           .rank = r,
                           .ordinal = r,
                           .timeout_ms = o->timeout_ms};
        STATUS_TRY(device_cuda_make(&d, &h->device[r]));
    }
    STATUS_TRY(pool_make(n, false, &h->pool));
    pool_run(h->pool, n, attach, h);
    for (int r = 0; r < n; r++) STATUS_TRY(h->status[r]);
    return status_ok();
}

static Status host_make(const CommOptions *o, Comm **out_comm) {
    HostComm *h = calloc(1, sizeof *h);
    h->comm.v = &host_vtable;
    h->plan = (Plan){.nmesh = o->nmesh, .nstages = 1, .stages = &h->stage, .instrs = h->instrs};
    for (int i = 0; i < o->nmesh; i++) {
        h->plan.mesh[i].extent = o->extent[i];
        h->plan.mesh[i].name = o->name[i];
    }
    for (uint32_t set = 0; set < 1u << o->nmesh; set++) // a communicator for each group, and staging enough
        h->instrs[h->plan.ninstrs++] = (PlanInstr){.kind = INSTR_COMM,
                                                   .comm = COMM_ALL_GATHER,
                                                   .dtype = PLAN_F64,
                                                   .mesh = set,
                                                   .outer = 2,
                                                   .middle = PART / 16,
                                                   .inner = 1};
    h->cuda = (PlanCuda){
        .arch = "sm_80", .source = cuda_prelude, .source_bytes = cuda_prelude_size, .options = "--std=c++17"};
    Status s = make_inside(h, o);
    if (status_failed(&s)) host_free(&h->comm);
    else *out_comm = &h->comm;
    return s;
}

// As suite_collectives, fewer of them: a simulated call takes its time.
static void collectives(void) {
    static const struct {
        int n;
        int64_t extent[3];
    } meshes[] = {{0, {0}}, {1, {2}}, {1, {3}}, {2, {2, 2}}, {3, {2, 2, 2}}};
    static const int64_t sizes[][3] = {{1, 1, 1}, {1, 6, 1}, {2, 3, 5}, {3, 1, 70}, {5, 2, 39}};
    for (size_t i = 0; i < sizeof meshes / sizeof *meshes; i++) {
        Suite s;
        if (!suite_open(&s, host_make, meshes[i].n, meshes[i].extent, 0)) return;
        for (uint32_t set = 0; set < 1u << meshes[i].n; set++)
            for (int kind = COMM_ALL_REDUCE; kind <= COMM_REVERSE; kind += kind == COMM_BROADCAST ? 3 : 1)
                for (size_t k = set % 2; k < sizeof sizes / sizeof *sizes; k += 1 + (meshes[i].n > 1)) {
                    PlanDType t = (PlanDType)(((size_t)kind + k + i + set) % (PLAN_F16 + 1));
                    CommCall c = {.kind = (PlanCommKind)kind,
                                  .reduce = t == PLAN_BOOL || k == 2 ? REDUCE_MAX : REDUCE_SUM,
                                  .dtype = t,
                                  .mesh = set,
                                  .outer = sizes[k][0],
                                  .middle = sizes[k][1],
                                  .inner = sizes[k][2],
                                  .peer = kind == COMM_SHIFT ? (int64_t)k - 2 : 0};
                    suite_case(&s, c, kind == COMM_ALL_REDUCE && k % 2, false);
                }
        suite_close(&s);
    }
}

static void differ_kind(Suite *s, float *m) { (void)m, s->calls[3][0].kind = COMM_BROADCAST; }
static void differ_count(Suite *s, float *m) { (void)m, s->calls[2][0].outer = 2; }
static void rank_fails(Suite *s, float *m) { (void)m, s->fails[1] = true; }

// Calls that differ, a rank that fails, one that never comes: all ranks come back, and one says why.
static void wrong(SuiteSpoilFn *spoil, int64_t timeout_ms, const char *text) {
    Suite s;
    static float memory[SUITE_RANKS][8192];
    if (!suite_open(&s, host_make, 2, (int64_t[]){2, 2}, timeout_ms)) return;
    for (int round = 0; round < 2; round++) {
        for (int r = 0; r < s.nranks; r++) {
            s.ncalls[r] = 1;
            s.calls[r][0] = (CommCall){.dtype = PLAN_F32,
                                       .mesh = 2,
                                       .outer = 1,
                                       .middle = 64,
                                       .inner = 4,
                                       .send = memory[r],
                                       .receive = memory[r]};
        }
        if (round) spoil(&s, memory[0]);
        suite_run(&s);
        bool told = !round;
        for (int r = 0; r < s.nranks; r++) {
            if (!round) CHECK_OK(s.status[r]);
            told = told || (status_failed(&s.status[r]) && strstr(s.status[r].message, text));
        }
        if (told) continue;
        check_failures++;
        printf("no rank tells '%s':\n", text);
        for (int r = 0; r < s.nranks; r++) printf("  rank %d: %s\n", r, s.status[r].message);
    }
    suite_close(&s);
}
static void rank_absent(Suite *s, float *m) { (void)m, s->ncalls[2] = 0; }

int main(void) {
    char cache[] = "/tmp/tgf-comm-nccl-XXXXXX";
    CHECK(mkdtemp(cache));
    setenv("XDG_CACHE_HOME", cache, 1);
    setenv("TGF_CUDA_LIBRARIES", TGF_CUDASIM_LIBRARIES, 0);
    suite_loose = true;
    collectives();
    suite_counted(host_make);
    suite_pipeline(host_make);
    wrong(differ_kind, 0, "all_reduce");
    wrong(differ_count, 0, "512");
    wrong(rank_fails, 0, "stopped because rank 1 failed: the disk is on fire");
    wrong(rank_absent, 500, "rank 3 waited");
    return check_report("comm_nccl");
}
