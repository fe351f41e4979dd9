// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm_nccl.h"
#include "runtime/world.h"
#include <stdlib.h>
#include <string.h>

#define NCCL_DID(call, what)                                                                                           \
    do {                                                                                                               \
        if (!device_cuda_did(r->d, c->cuda->call, what)) return r->d->failed;                                          \
    } while (0)

// What follows on `later` sees what was told to `earlier` so far.
static Status follow(CommNccl *c, NcclRank *r, CuEvent event, CuStream earlier, CuStream later) {
    NCCL_DID(cuEventRecord(event, earlier), "cuEventRecord");
    NCCL_DID(cuStreamWaitEvent(later, event, 0), "cuStreamWaitEvent");
    return status_ok();
}

// ---- collectives ----------------------------------------------------------------------------------------------------
static NcclComm comm_over(const CommNccl *c, const NcclRank *r, uint32_t mesh) {
    if (mesh == c->full) return r->world;
    for (int i = 0; i < c->ngroups; i++)
        if (c->groups[i] == mesh) return r->group[i];
    return NULL;
}

static bool continues(const CommNccl *c, int at) { // is the instruction behind one call with this one?
    const Plan *p = c->plan;
    return at + 1 < p->ninstrs && p->instrs[at + 1].kind == INSTR_COMM && p->instrs[at + 1].joined;
}

// Calls of one bucket are one group to NCCL, begun when the group is closed.
static Status bucket_close(CommNccl *c, NcclRank *r) {
    int last = r->bucket;
    if (last < 0) return status_ok();
    r->bucket = -1;
    NcclComm comm = comm_over(c, r, c->plan->instrs[last].mesh & c->full);
    NcclResult result = c->api->ncclGroupEnd();
    STATUS_TRY(nccl_taken(c, r, comm, result, comm_kind_name(c->plan->instrs[last].comm)));
    device_cuda_mark(r->d, r->collectives, 1, -1);
    for (int i = last; i >= 0 && (i == last || continues(c, i)); i--)
        if (r->begun[i]) NCCL_DID(cuEventRecord(r->ended[i], r->collectives), "cuEventRecord");
    return r->d->failed;
}

static Status check_call(const CommNccl *c, const CommCall *call) {
    if (call->step < 0 || call->step >= c->plan->ninstrs)
        return status_make(STATUS_INVALID, "there is no instruction %d", call->step);
    if (call->outer < 0 || call->middle < 1 || call->inner < 0)
        return status_make(STATUS_INVALID, "%s: sizes do not fit", comm_kind_name(call->kind));
    if (call->dtype == PLAN_BOOL && call->reduce == REDUCE_SUM &&
        (call->kind == COMM_ALL_REDUCE || call->kind == COMM_REDUCE_SCATTER))
        return status_make(STATUS_INVALID, "a sum of bool");
    return status_ok();
}

static Status call_inside(CommNccl *c, NcclRank *r, const CommCall *call) {
    DeviceCuda *d = r->d;
    STATUS_TRY(check_call(c, call));
    uint32_t mesh = call->mesh & c->full;
    if (!mesh) return nccl_alone(c, r, call);
    int64_t ways = plan_ways(c->plan, mesh), me = plan_coord(c->plan, mesh, r->rank);
    NcclComm comm = comm_over(c, r, mesh);
    if (!comm) return status_make(STATUS_COMM, "%s over a group that the plan has not", comm_kind_name(call->kind));
    bool start = call->start && r->ended[call->step], direct = nccl_is_direct(call, ways);
    bool joins = r->bucket >= 0 && r->bucket == call->step - 1 && start && direct && continues(c, call->step - 1);
    if (!joins) STATUS_TRY(bucket_close(c, r));
    bool opens = !joins && start && direct && continues(c, call->step);
    if (!device_cuda_fails(d, CUDA_FAULT_MISSING_EVENT, call->step) || d->capturing)
        STATUS_TRY(follow(c, r, r->ready, d->compute, r->collectives));
    if (!joins) device_cuda_mark(d, r->collectives, 1, call->step + 1);
    if (opens) STATUS_TRY(nccl_status(c->api, comm, c->api->ncclGroupStart(), "ncclGroupStart"));
    if (opens || joins) r->bucket = call->step;
    if (!device_cuda_fails(d, CUDA_FAULT_DROP_COMM, call->step))
        STATUS_TRY(nccl_collective(c, r, call, comm, ways, me));
    if (start) r->begun[call->step] = true;
    if (r->bucket >= 0) return continues(c, call->step) ? status_ok() : bucket_close(c, r);
    device_cuda_mark(d, r->collectives, 1, -1);
    CuEvent ended = start ? r->ended[call->step] : r->done;
    NCCL_DID(cuEventRecord(ended, r->collectives), "cuEventRecord");
    bool forgotten = device_cuda_fails(d, CUDA_FAULT_MISSING_WAIT, call->step) ||
                     (d->capturing && device_cuda_fails(d, CUDA_FAULT_MISSING_EDGE, call->step));
    if (!start && !forgotten) NCCL_DID(cuStreamWaitEvent(d->compute, ended, 0), "cuStreamWaitEvent");
    return d->failed;
}

static Status usable(const CommNccl *c, const NcclRank *r) {
    if (atomic_load(&c->stopped)) return nccl_stopped(c);
    return r->d->failed;
}

static Status nccl_call(Comm *comm, int rank, const CommCall *call) {
    CommNccl *c = (CommNccl *)comm;
    NcclRank *r = &c->ranks[rank];
    STATUS_TRY(usable(c, r));
    STATUS_TRY(call_inside(c, r, call));
    return r->d->timed && !call->start ? device_cuda_wait(r->d, r->d->compute) : status_ok();
}

static Status nccl_finish(Comm *comm, int rank, int step) {
    CommNccl *c = (CommNccl *)comm;
    NcclRank *r = &c->ranks[rank];
    STATUS_TRY(usable(c, r));
    STATUS_TRY(bucket_close(c, r));
    if (!r->begun[step]) return status_ok();
    if (device_cuda_fails(r->d, CUDA_FAULT_MISSING_WAIT, step) ||
        (r->d->capturing && device_cuda_fails(r->d, CUDA_FAULT_MISSING_EDGE, step)))
        return status_ok();
    NCCL_DID(cuStreamWaitEvent(r->d->compute, r->ended[step], 0), "cuStreamWaitEvent");
    return status_ok();
}

// ---- messages -------------------------------------------------------------------------------------------------------
// The lane between this rank and the peer; the peer's number in it is 1 for who sends, 0 for who receives.
static Status lane_of(const CommNccl *c, const NcclRank *r, const CommMessage *m, bool sends, int *out_lane) {
    const Plan *p = c->plan;
    int lane = m->channel >= 0 && m->channel < p->nchannels ? c->lane_of[m->channel] : -1;
    bool fits = lane >= 0 && r->lane[lane] && m->peer >= 0 && m->peer < c->nranks && m->peer != r->rank &&
                r->stage == (sends ? c->lanes[lane].from : c->lanes[lane].to) &&
                plan_stage(p, m->peer) == (sends ? c->lanes[lane].to : c->lanes[lane].from) &&
                plan_coord(p, ~p->stage_mesh, m->peer) == plan_coord(p, ~p->stage_mesh, r->rank);
    if (!fits)
        return status_make(STATUS_COMM, "channel %d does not lead %s rank %d", m->channel, sends ? "to" : "from",
                           m->peer);
    *out_lane = lane;
    return status_ok();
}

static Status nccl_post(Comm *comm, int rank, const CommMessage *m) {
    CommNccl *c = (CommNccl *)comm;
    NcclRank *r = &c->ranks[rank];
    NcclPost *post = NULL;
    int lane = 0;
    STATUS_TRY(usable(c, r));
    STATUS_TRY(bucket_close(c, r));
    STATUS_TRY(lane_of(c, r, m, true, &lane));
    for (int64_t i = 0; i < c->options.posts && !post; i++)
        if (!r->posts[i].open) post = &r->posts[i];
    if (!post)
        return status_make(STATUS_COMM, "rank %d has %lld messages on their way already", rank,
                           (long long)c->options.posts);
    CuStream s = r->lane_stream[lane];
    if (!device_cuda_fails(r->d, CUDA_FAULT_EARLY_SEND, m->channel) || r->d->capturing)
        STATUS_TRY(follow(c, r, r->ready, r->d->compute, s));
    device_cuda_mark(r->d, s, 2 + lane, m->channel + 1);
    if (m->send && !device_cuda_fails(r->d, CUDA_FAULT_DROP_SEND, m->channel))
        STATUS_TRY(nccl_taken(c, r, r->lane[lane],
                              c->api->ncclSend(m->send, (size_t)m->bytes, NCCL_U8, 1, r->lane[lane], s), "a message"));
    device_cuda_mark(r->d, s, 2 + lane, -1);
    NCCL_DID(cuEventRecord(post->sent, s), "cuEventRecord");
    *post = (NcclPost){true, m->peer, m->channel, m->microbatch, m->step, post->sent};
    return r->d->failed;
}

static Status nccl_receive(Comm *comm, int rank, const CommMessage *m) {
    CommNccl *c = (CommNccl *)comm;
    NcclRank *r = &c->ranks[rank];
    int lane = 0;
    STATUS_TRY(usable(c, r));
    STATUS_TRY(bucket_close(c, r));
    STATUS_TRY(lane_of(c, r, m, false, &lane));
    CuStream s = r->lane_stream[lane];
    if (!device_cuda_fails(r->d, CUDA_FAULT_EARLY_RECEIVE, m->channel) || r->d->capturing)
        STATUS_TRY(follow(c, r, r->ready, r->d->compute, s));
    device_cuda_mark(r->d, s, 2 + lane, m->channel + 1);
    STATUS_TRY(nccl_taken(c, r, r->lane[lane],
                          c->api->ncclRecv(m->receive, (size_t)m->bytes, NCCL_U8, 0, r->lane[lane], s), "a message"));
    device_cuda_mark(r->d, s, 2 + lane, -1);
    STATUS_TRY(follow(c, r, r->done, s, r->d->compute));
    return r->d->failed;
}

static Status nccl_wait(Comm *comm, int rank, const CommMessage *m) {
    CommNccl *c = (CommNccl *)comm;
    NcclRank *r = &c->ranks[rank];
    STATUS_TRY(usable(c, r));
    for (int64_t i = 0; i < c->options.posts; i++) {
        NcclPost *p = &r->posts[i];
        if (!p->open || p->peer != m->peer || p->channel != m->channel || p->microbatch != m->microbatch) continue;
        p->open = false;
        if (device_cuda_fails(r->d, CUDA_FAULT_REUSE_SEND, m->channel)) return status_ok();
        NCCL_DID(cuStreamWaitEvent(r->d->compute, p->sent, 0), "cuStreamWaitEvent");
        return status_ok();
    }
    return status_make(STATUS_COMM,
                       "rank %d waits for a message to rank %d on channel %d, microbatch %d that it did not send", rank,
                       m->peer, m->channel, m->microbatch);
}

// ---- a run ----------------------------------------------------------------------------------------------------------
static void nccl_start(Comm *comm) {
    CommNccl *c = (CommNccl *)comm;
    for (int k = 0; k < c->nranks; k++) {
        NcclRank *r = &c->ranks[k];
        if (r->begun) memset(r->begun, 0, (size_t)c->plan->ninstrs);
        for (int64_t i = 0; r->posts && i < c->options.posts; i++) r->posts[i].open = false;
    }
}

static Status nccl_leave(Comm *comm, int rank) {
    CommNccl *c = (CommNccl *)comm;
    NcclRank *r = &c->ranks[rank];
    if (atomic_load(&c->stopped)) return nccl_stopped(c);
    for (int64_t i = 0; i < c->options.posts; i++)
        if (r->posts[i].open)
            return status_make(STATUS_COMM,
                               "rank %d sent microbatch %d on channel %d to rank %d (step %d) and never waited for it",
                               rank, r->posts[i].microbatch, r->posts[i].channel, r->posts[i].peer, r->posts[i].step);
    return status_ok();
}

// NCCL's handles are each rank's own: its thread ends them here, after its own failure or the one it was stopped by.
static void nccl_abort(Comm *comm, int rank, const Status *why) {
    CommNccl *c = (CommNccl *)comm;
    pthread_mutex_lock(&c->lock);
    if (!atomic_load(&c->stopped)) {
        c->stopper = rank;
        c->why = *why;
        atomic_store(&c->stopped, true);
    }
    pthread_mutex_unlock(&c->lock);
    if (c->options.world) world_abort(c->options.world, why);
    if (c->ranks[rank].d) nccl_abort_rank(c, &c->ranks[rank]);
}

static void nccl_free(Comm *comm) {
    CommNccl *c = (CommNccl *)comm;
    if (c->cuda) nccl_close(c);
    pthread_mutex_destroy(&c->lock);
    free(c->groups);
    free(c->lanes);
    free(c->lane_of);
    free(c->ranks);
    free(c);
}

static const CommVtable nccl_vtable = {.name = "nccl",
                                       .start = nccl_start,
                                       .call = nccl_call,
                                       .finish = nccl_finish,
                                       .post = nccl_post,
                                       .receive = nccl_receive,
                                       .wait = nccl_wait,
                                       .leave = nccl_leave,
                                       .abort = nccl_abort,
                                       .free = nccl_free};

static Status open_libraries(CommNccl *c) {
    STATUS_TRY(cuda_api(&c->cuda));
    if (c->nranks == 1) return status_ok();
    Status s = nccl_api(&c->api);
    if (status_failed(&s))
        return status_make(s.code, "%d ranks on GPUs need NCCL (one rank runs without it): %.380s", c->nranks,
                           s.message);
    int gpus = device_cuda_count(c->cuda);
    if (c->options.nlocal > gpus)
        return status_make(STATUS_UNSUPPORTED, "%d ranks need as many GPUs, this machine has %d", c->options.nlocal,
                           gpus);
    return status_ok();
}

static Status check_handed(const CommNccl *c) {
    int rank, ranks, gpu;
    STATUS_TRY(comm_nccl_look(c->options.handed, &rank, &ranks, &gpu));
    if (ranks == c->nranks && rank == c->options.first && c->options.nlocal == 1) return status_ok();
    return status_make(STATUS_INVALID,
                       "the caller's NCCL communicator is rank %d of %d, this process is rank %d of the model's %d%s",
                       rank, ranks, c->options.first, c->nranks, c->options.nlocal > 1 ? ", all in it" : "");
}

// What NCCL's communicators find each other by: rank 0's, and the other processes are told. Every process comes here,
// also one that lacks something, so that all hear of it.
static Status share_id(CommNccl *c, Status own) {
    World *w = c->options.world;
    if (!status_failed(&own) && w && w->size != c->nranks)
        own = status_make(STATUS_INVALID, "the model runs on %d ranks, there are %d processes", c->nranks, w->size);
    if (!status_failed(&own) && c->options.handed) own = check_handed(c);
    if (!status_failed(&own) && c->api && !c->options.handed && (!w || w->rank == 0))
        own = nccl_status(c->api, NULL, c->api->ncclGetUniqueId(&c->id), "ncclGetUniqueId");
    if (!w) return own;
    STATUS_TRY(world_agree(w, own));
    if (c->options.handed) return status_ok();
    return world_broadcast(w, 0, &c->id, sizeof c->id);
}

static Status make_inside(CommNccl *c) {
    STATUS_TRY(share_id(c, open_libraries(c)));
    if (!(c->ranks = calloc((size_t)c->nranks, sizeof *c->ranks)))
        return status_make(STATUS_MEMORY, "no memory for %d ranks", c->nranks);
    return nccl_plan_groups(c);
}

Status comm_nccl_make(const CommNcclOptions *options, Comm **out_comm) {
    *out_comm = NULL;
    CommNccl *c = calloc(1, sizeof *c);
    if (!c) return status_make(STATUS_MEMORY, "no memory for a communicator");
    c->comm.v = &nccl_vtable;
    c->options = *options;
    c->plan = options->plan;
    c->nranks = (int)plan_ranks(c->plan);
    pthread_mutex_init(&c->lock, NULL);
    Status s = make_inside(c);
    if (status_failed(&s)) nccl_free(&c->comm);
    else *out_comm = &c->comm;
    return s;
}

Status comm_nccl_attach(Comm *comm, int rank, Device *device) {
    CommNccl *c = (CommNccl *)comm;
    NcclRank *r = &c->ranks[rank];
    r->d = (DeviceCuda *)device;
    r->rank = rank;
    r->stage = plan_stage(c->plan, rank);
    device_cuda_enter(r->d);
    Status s = nccl_open(c, r);
    if (status_failed(&s)) {
        nccl_abort(comm, rank, &s);
        return s;
    }
    r->d->watch = nccl_watch;
    r->d->watch_context = c;
    r->d->other = r->collectives;
    return s;
}
