// SPDX-License-Identifier: Apache-2.0
// The communicators: one of all ranks, from which each group and each lane is split off; made without blocking, so that
// a rank that never comes is noticed; ended, all of them, as soon as one rank has failed.
#define _GNU_SOURCE
#include "base/clock.h"
#include "runtime/comm_nccl.h"
#include "runtime/world.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

// ---- what the plan needs --------------------------------------------------------------------------------------------
static int lane_find(const CommNccl *c, int from, int to, int channel) {
    for (int i = 0; i < c->nlanes; i++)
        if (c->lanes[i].from == from && c->lanes[i].to == to && c->lanes[i].channel == channel) return i;
    return -1;
}

// Are the messages from one stage to another taken in the order in which they are sent, in every program?
static bool in_order(const Plan *p, int from, int to) {
    for (int i = 0; i < p->nprograms; i++) {
        const PlanProgram *g = &p->programs[i];
        int64_t a = 0, b = 0;
        for (;; a++, b++) {
            const PlanStep *sends = g->steps[from], *takes = g->steps[to];
            for (; a < g->count[from]; a++)
                if (sends[a].kind == PLAN_STEP_SEND && p->chunks[p->channels[sends[a].what].to].stage == to) break;
            for (; b < g->count[to]; b++)
                if (takes[b].kind == PLAN_STEP_RECV && p->chunks[p->channels[takes[b].what].from].stage == from) break;
            bool done = a >= g->count[from], empty = b >= g->count[to];
            if (done != empty) return false;
            if (done) break;
            if (sends[a].what != takes[b].what || sends[a].microbatch != takes[b].microbatch) return false;
        }
    }
    return true;
}

Status nccl_plan_groups(CommNccl *c) {
    const Plan *p = c->plan;
    for (int i = 0; i < p->nmesh; i++)
        if (p->mesh[i].extent > 1) c->full |= 1u << i;
    c->groups = calloc((size_t)p->ninstrs + 1, sizeof *c->groups);
    c->lanes = calloc((size_t)p->nchannels + 1, sizeof *c->lanes);
    c->lane_of = calloc((size_t)p->nchannels + 1, sizeof *c->lane_of);
    if (!c->groups || !c->lanes || !c->lane_of) return status_make(STATUS_MEMORY, "no memory for communicators");
    for (int i = 0; i < p->ninstrs; i++) {
        uint32_t mesh = p->instrs[i].mesh & c->full;
        if (p->instrs[i].kind != INSTR_COMM || !mesh || mesh == c->full) continue;
        int at = 0;
        while (at < c->ngroups && c->groups[at] != mesh) at++;
        if (at == c->ngroups) c->groups[c->ngroups++] = mesh;
    }
    for (int i = 0; i < p->nchannels; i++) {
        int from = p->chunks[p->channels[i].from].stage, to = p->chunks[p->channels[i].to].stage;
        c->lane_of[i] = -1;
        if (from == to) continue;
        int channel = in_order(p, from, to) ? -1 : i, at = lane_find(c, from, to, channel);
        if (at < 0) c->lanes[at = c->nlanes++] = (NcclLane){from, to, channel};
        c->lane_of[i] = at;
    }
    return status_ok();
}

// ---- waiting for NCCL -----------------------------------------------------------------------------------------------
Status nccl_stopped(const CommNccl *c) {
    return status_make(STATUS_COMM, COMM_STOPPED " rank %d failed: %.400s", c->stopper, c->why.message);
}

// Other processes' failures: they end this one's waits too.
static Status hear_others(const CommNccl *c) {
    return c->options.world ? world_progress(c->options.world, 0, NULL) : status_ok();
}

static void pause(int64_t turn) {
    struct timespec t = {0, turn < 200 ? 20000 : 1000000};
    if (turn > 20) nanosleep(&t, NULL);
}

Status nccl_taken(CommNccl *c, NcclRank *r, NcclComm comm, NcclResult result, const char *what) {
    int64_t begin = now_ms();
    for (int64_t turn = 0; result == NCCL_IN_PROGRESS; turn++) {
        if (atomic_load(&c->stopped)) return nccl_stopped(c);
        STATUS_TRY(hear_others(c));
        if (now_ms() - begin > r->d->timeout_ms)
            return status_make(STATUS_COMM, "rank %d waited %lld ms for the others in %s", r->rank,
                               (long long)(now_ms() - begin), what);
        if (turn) pause(turn);
        NcclResult asked = c->api->ncclCommGetAsyncError(comm, &result);
        if (asked != NCCL_OK) result = asked;
    }
    if (result != NCCL_OK && atomic_load(&c->stopped)) return nccl_stopped(c); // and this is what came of it
    return nccl_status(c->api, comm, result, what);
}

// The first thing that went wrong anywhere, while the host waits for the GPU.
Status nccl_watch(void *context, DeviceCuda *d) {
    CommNccl *c = context;
    NcclRank *r = &c->ranks[d->rank];
    if (atomic_load(&c->stopped)) return nccl_stopped(c);
    STATUS_TRY(hear_others(c));
    for (int i = -1; c->api && i < c->ngroups + c->nlanes; i++) {
        NcclComm comm = i < 0 ? r->world : i < c->ngroups ? r->group[i] : r->lane[i - c->ngroups];
        NcclResult result = NCCL_OK;
        if (!comm) continue;
        c->api->ncclCommGetAsyncError(comm, &result);
        if (result == NCCL_OK || result == NCCL_IN_PROGRESS) continue;
        if (atomic_load(&c->stopped)) return nccl_stopped(c);
        char where[250];
        device_cuda_where(d, where, sizeof where);
        Status s = nccl_status(c->api, comm, result, "NCCL");
        return status_make(STATUS_COMM, "rank %d: %.200s%s%.240s", d->rank, s.message, *where ? "; " : "", where);
    }
    return status_ok();
}

// ---- making ---------------------------------------------------------------------------------------------------------
static Status split(CommNccl *c, NcclRank *r, NcclComm from, int color, int key, NcclComm *out_comm) {
    NcclConfig config = NCCL_CONFIG;
    config.blocking = 0;
    NcclComm made = NULL;
    NcclResult result = c->api->ncclCommSplit(from, color, key, &made, &config);
    if (result != NCCL_OK && result != NCCL_IN_PROGRESS) return nccl_status(c->api, from, result, "ncclCommSplit");
    STATUS_TRY(nccl_taken(c, r, from, NCCL_IN_PROGRESS, "ncclCommSplit"));
    if (color == NCCL_NO_COLOR) return status_ok();
    int64_t begin = now_ms();
    for (int64_t turn = 0; !*(NcclComm volatile *)&made; turn++) { // filled in by a thread of NCCL's
        if (atomic_load(&c->stopped)) return nccl_stopped(c);
        if (now_ms() - begin > r->d->timeout_ms)
            return status_make(STATUS_COMM, "rank %d waited in vain for a communicator", r->rank);
        pause(turn + 21);
    }
    *out_comm = made;
    return nccl_taken(c, r, made, NCCL_IN_PROGRESS, "ncclCommSplit");
}

static Status join_all(CommNccl *c, NcclRank *r) {
    if (c->options.handed) return split(c, r, c->options.handed, 0, r->rank, &r->world);
    NcclConfig config = NCCL_CONFIG;
    config.blocking = 0;
    NcclResult result = c->api->ncclCommInitRankConfig(&r->world, c->nranks, c->id, r->rank, &config);
    if (result != NCCL_OK && result != NCCL_IN_PROGRESS) return nccl_status(c->api, NULL, result, "ncclCommInitRank");
    return nccl_taken(c, r, r->world, NCCL_IN_PROGRESS, "ncclCommInitRank");
}

static Status open_comms(CommNccl *c, NcclRank *r) {
    const Plan *p = c->plan;
    STATUS_TRY(join_all(c, r));
    for (int i = 0; i < c->ngroups; i++)
        STATUS_TRY(split(c, r, r->world, (int)plan_coord(p, ~c->groups[i], r->rank),
                         (int)plan_coord(p, c->groups[i], r->rank), &r->group[i]));
    for (int i = 0; i < c->nlanes; i++) {
        bool sends = r->stage == c->lanes[i].from, takes = r->stage == c->lanes[i].to;
        int color = sends || takes ? (int)plan_coord(p, ~p->stage_mesh, r->rank) : NCCL_NO_COLOR;
        STATUS_TRY(split(c, r, r->world, color, takes, &r->lane[i]));
    }
    return status_ok();
}

static Status open_streams(CommNccl *c, NcclRank *r) {
    const CudaApi *a = c->cuda;
    int least = 0, greatest = 0;
    CUDA_TRY(a, cuCtxGetStreamPriorityRange(&least, &greatest), "cuCtxGetStreamPriorityRange");
    CUDA_TRY(a, cuStreamCreateWithPriority(&r->collectives, CU_STREAM_NONBLOCKING_FLAG, greatest), "cuStreamCreate");
    CUDA_TRY(a, cuEventCreate(&r->ready, CU_EVENT_NO_TIMING), "cuEventCreate");
    CUDA_TRY(a, cuEventCreate(&r->done, CU_EVENT_NO_TIMING), "cuEventCreate");
    for (int i = 0; i < c->nlanes; i++)
        if (r->stage == c->lanes[i].from || r->stage == c->lanes[i].to)
            CUDA_TRY(a, cuStreamCreateWithPriority(&r->lane_stream[i], CU_STREAM_NONBLOCKING_FLAG, greatest),
                     "cuStreamCreate");
    for (int i = 0; i < c->plan->ninstrs; i++)
        if (c->plan->instrs[i].kind == INSTR_COMM && c->plan->instrs[i].start)
            CUDA_TRY(a, cuEventCreate(&r->ended[i], CU_EVENT_NO_TIMING), "cuEventCreate");
    for (int64_t i = 0; i < c->options.posts; i++)
        CUDA_TRY(a, cuEventCreate(&r->posts[i].sent, CU_EVENT_NO_TIMING), "cuEventCreate");
    return status_ok();
}

Status nccl_open(CommNccl *c, NcclRank *r) {
    int n = c->plan->ninstrs + 1;
    r->group = calloc((size_t)c->ngroups + 1, sizeof *r->group);
    r->lane = calloc((size_t)c->nlanes + 1, sizeof *r->lane);
    r->lane_stream = calloc((size_t)c->nlanes + 1, sizeof *r->lane_stream);
    r->ended = calloc((size_t)n, sizeof *r->ended);
    r->begun = calloc((size_t)n, sizeof *r->begun);
    r->posts = calloc((size_t)c->options.posts + 1, sizeof *r->posts);
    r->bucket = -1;
    if (!r->group || !r->lane || !r->lane_stream || !r->ended || !r->begun || !r->posts)
        return status_make(STATUS_MEMORY, "no memory for communicators");
    STATUS_TRY(open_streams(c, r));
    return c->api ? open_comms(c, r) : status_ok();
}

// ---- ending ---------------------------------------------------------------------------------------------------------
enum { PATIENCE_MS = 10000 };

// By its number: lanes, groups, the one they were split from.
static NcclComm *comm_at(const CommNccl *c, NcclRank *r, int i) {
    return i < c->nlanes ? &r->lane[i] : i < c->nlanes + c->ngroups ? &r->group[i - c->nlanes] : &r->world;
}

// ncclCommAbort stops what runs and then waits for everything that knows the communicator; should that never come, the
// process goes on without it: a thread of its own, a little patience, and the rest is left to the process's end.
typedef struct Ending {
    const NcclApi *api;
    const CudaApi *cuda;
    CuContext context;
    int count;
    NcclComm comm[];
} Ending;

static void *end_comms(void *context) {
    Ending *e = context;
    e->cuda->cuCtxSetCurrent(e->context);
    for (int i = 0; i < e->count; i++) e->api->ncclCommAbort(e->comm[i]);
    return NULL;
}

void nccl_abort_rank(CommNccl *c, NcclRank *r) {
    if (!c->api || !r->d || r->aborted || !r->lane || !r->group) return;
    r->aborted = true;
    if (r->bucket >= 0) c->api->ncclGroupEnd();
    r->bucket = -1;
    int most = c->nlanes + c->ngroups + 1;
    Ending *e = calloc(1, sizeof *e + (size_t)most * sizeof *e->comm);
    if (!e) return;
    *e = (Ending){.api = c->api, .cuda = c->cuda, .context = r->d->context};
    for (int i = 0; i < most; i++) {
        NcclComm *at = comm_at(c, r, i);
        if (*at) e->comm[e->count++] = *at;
        *at = NULL;
    }
    device_cuda_drop_graphs(r->d); // they hold on to the communicators
    pthread_t thread;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    if (pthread_create(&thread, NULL, end_comms, e)) return;
    if (pthread_timedjoin_np(thread, NULL, &until)) pthread_detach(thread); // e stays
    else free(e);
}

static void close_comms(CommNccl *c) {
    for (int i = 0; i <= c->nlanes + c->ngroups; i++) { // one by one, each on all ranks of this process
        int64_t begin = now_ms();
        for (int k = 0; k < c->nranks; k++) {
            NcclRank *r = &c->ranks[k];
            if (!r->d || !r->lane || !r->group || !*comm_at(c, r, i)) continue;
            device_cuda_enter(r->d);
            c->api->ncclCommFinalize(*comm_at(c, r, i));
        }
        for (int k = 0; k < c->nranks; k++) {
            NcclRank *r = &c->ranks[k];
            if (!r->d || !r->lane || !r->group || !*comm_at(c, r, i)) continue;
            NcclComm comm = *comm_at(c, r, i);
            NcclResult result = NCCL_IN_PROGRESS;
            device_cuda_enter(r->d);
            for (int64_t turn = 0; result == NCCL_IN_PROGRESS && now_ms() - begin < PATIENCE_MS; turn++) {
                if (turn) pause(turn);
                if (c->api->ncclCommGetAsyncError(comm, &result) != NCCL_OK) break;
            }
            if (result == NCCL_OK) c->api->ncclCommDestroy(comm);
            else c->api->ncclCommAbort(comm);
            *comm_at(c, r, i) = NULL;
        }
    }
}

void nccl_close(CommNccl *c) {
    bool stopped = atomic_load(&c->stopped);
    for (int k = 0; c->ranks && k < c->nranks; k++)
        if (c->ranks[k].d) {
            device_cuda_enter(c->ranks[k].d);
            device_cuda_drop_graphs(c->ranks[k].d);
            if (stopped) nccl_abort_rank(c, &c->ranks[k]);
        }
    if (c->ranks && c->api && !stopped) close_comms(c);
    for (int k = 0; c->ranks && k < c->nranks; k++) {
        NcclRank *r = &c->ranks[k];
        if (r->d) {
            device_cuda_enter(r->d);
            if (r->collectives) c->cuda->cuStreamDestroy(r->collectives);
            if (r->ready) c->cuda->cuEventDestroy(r->ready);
            if (r->done) c->cuda->cuEventDestroy(r->done);
            for (int i = 0; r->lane_stream && i < c->nlanes; i++)
                if (r->lane_stream[i]) c->cuda->cuStreamDestroy(r->lane_stream[i]);
            for (int i = 0; r->ended && i < c->plan->ninstrs; i++)
                if (r->ended[i]) c->cuda->cuEventDestroy(r->ended[i]);
            for (int64_t i = 0; r->posts && i < c->options.posts; i++)
                if (r->posts[i].sent) c->cuda->cuEventDestroy(r->posts[i].sent);
        }
        free(r->group);
        free(r->lane);
        free(r->lane_stream);
        free(r->ended);
        free(r->begun);
        free(r->posts);
    }
}
