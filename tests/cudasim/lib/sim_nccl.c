// SPDX-License-Identifier: Apache-2.0
// The stand-in for NCCL, libnccl.so.2: communicators and calls. Nonblocking ones are said to be in progress now and
// then, and may not be used before a poll said otherwise.
#include "sim_nccl.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAGIC = 0x6c63636e, CONFIG_MAGIC = 0xcafebeef, NO_COLOR = -1, MOST_CALLS = 256, MOST_MADE = 64 };
static const double JOIN_LIMIT = 60; // seconds

typedef struct UniqueId {
    union {
        char bytes[128];
        struct {
            int magic, pid;
            uint64_t id;
        };
    };
} UniqueId;

typedef struct Config { // the head of ncclConfig_t
    size_t size;
    unsigned magic, version;
    int blocking;
} Config;

static Clique *cliques;
static uint64_t next_id = 1, randomness;
static int next_number;
static _Thread_local char last_error[SIM_REPORT];
static _Thread_local struct {
    int depth, ncalls, nmade;
    struct {
        Comm *comm;
        Stream *stream;
        Call call;
    } call[MOST_CALLS];
    Comm *made[MOST_MADE]; // communicators that the group's end waits for
} group;

static int draw(int below) {
    if (!randomness) randomness = (uint64_t)world_number("TGF_CUDASIM_SEED", 1) * 7919 + 1;
    return (int)(sim_random(&randomness) % (uint64_t)below);
}

__attribute__((format(printf, 2, 3))) static int refuse(int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(last_error, sizeof last_error, format, args);
    va_end(args);
    fprintf(stderr, "cudasim: NCCL: %s\n", last_error);
    return code;
}

void clique_fail(Clique *q, int code, const char *format, ...) {
    if (q->failed) return;
    va_list args;
    va_start(args, format);
    vsnprintf(q->why, sizeof q->why, format, args);
    va_end(args);
    q->failed = true;
    q->code = code;
    if (strcmp(q->why, world_last_report())) world_report("%s", q->why);
    for (int r = 0; r < q->nranks; r++) {
        Context *c = q->comm[r] && !q->comm[r]->destroyed ? q->comm[r]->context : NULL;
        for (int i = 0; c && i < c->nready; i++)
            if (c->ready[i]->work->external == &nccl_external && ((Calls *)c->ready[i]->work->data)->comm->clique == q)
                c->ready[i]->failed = true;
    }
}

// ---- communicators

static Clique *clique_make(int nranks, uint64_t id) {
    Clique *q = calloc(1, sizeof *q);
    if (!q) abort();
    *q = (Clique){.number = next_number++, .nranks = nranks, .id = id, .next = cliques};
    q->sends = calloc((size_t)(nranks * nranks), sizeof *q->sends);
    q->receives = calloc((size_t)(nranks * nranks), sizeof *q->receives);
    if (!q->sends || !q->receives) abort();
    // Another start a run, the same for groups of one size: NCCL's rings are alike where the links are. Where they are
    // not, copies of a value that two groups sum differ by rounding, as tgf verify would say on such a machine.
    uint64_t from = (uint64_t)world_number("TGF_CUDASIM_SEED", 1) * 7919 + (uint64_t)nranks;
    q->turn = (int)(sim_random(&from) % (uint64_t)nranks);
    cliques = q;
    return q;
}

static void clique_release(Clique *q) {
    if (!q || --q->refs) return;
    for (Clique **p = &cliques; *p; p = &(*p)->next)
        if (*p == q) {
            *p = q->next;
            break;
        }
    for (int i = 0; i < q->nranks * q->nranks; i++) free(q->sends[i].entry), free(q->receives[i].entry);
    for (int i = 0; i < q->nmeetings; i++) free(q->meeting[i]);
    while (q->splits) {
        Split *next = q->splits->next;
        free(q->splits);
        q->splits = next;
    }
    free(q->sends), free(q->receives), free(q->meeting), free(q);
}

void comm_release(Comm *comm) {
    if (--comm->refs) return;
    clique_release(comm->clique);
    clique_release(comm->parent);
    free(comm);
}

static void clique_join(Clique *q, Comm *comm, int rank) {
    for (int r = 0; r < q->nranks; r++)
        if (q->comm[r] && q->comm[r]->context == comm->context)
            clique_fail(q, NCCL_INVALID_USAGE, "ranks %d and %d of communicator %d both use device %d", r, rank,
                        q->number, comm->context->device);
    q->comm[rank] = comm;
    q->joined++;
    q->refs++;
    comm->clique = q;
    comm->rank = rank;
}

static Comm *comm_make(const Config *config) {
    Comm *comm = calloc(1, sizeof *comm);
    if (!comm) abort();
    comm->context = current();
    comm->refs = 1;
    comm->blocking = !config || config->blocking != 0;
    if (!comm->blocking) comm->busy = draw(4);
    return comm;
}

static bool is_made(const Comm *comm) { return comm->clique && comm->clique->joined == comm->clique->nranks; }

// The world is locked once.
static int wait_until_made(Comm *comm) {
    double until = world_now() + JOIN_LIMIT;
    while (!is_made(comm) && world_now() < until) {
        world_unlock();
        usleep(300);
        world_lock();
    }
    if (!is_made(comm)) return refuse(NCCL_SYSTEM_ERROR, "a communicator was not joined by all its ranks");
    return comm->clique->failed ? comm->clique->code : NCCL_OK;
}

static int made(Comm *comm) {
    if (group.depth) {
        if (group.nmade < MOST_MADE) group.made[group.nmade++] = comm;
        return NCCL_OK;
    }
    return comm->blocking ? wait_until_made(comm) : NCCL_IN_PROGRESS;
}

static const char *config_wrong(const Config *config) {
    return config && config->magic != CONFIG_MAGIC ? "the configuration was not initialized" : NULL;
}

EXPORT int ncclGetVersion(int *out) {
    *out = 22800;
    return NCCL_OK;
}
EXPORT const char *ncclGetErrorString(int result) {
    static const char *const texts[] = {"no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "NCCL operation in progress"};
    return result >= 0 && result <= NCCL_IN_PROGRESS ? texts[result] : "unknown result code";
}
EXPORT const char *ncclGetLastError(Comm *comm) {
    world_lock();
    if (comm && comm->clique && comm->clique->failed) snprintf(last_error, sizeof last_error, "%s", comm->clique->why);
    world_unlock();
    return last_error;
}
EXPORT int ncclGetUniqueId(UniqueId *out) {
    memset(out, 0, sizeof *out);
    world_lock();
    out->magic = MAGIC;
    out->pid = (int)getpid();
    out->id = next_id++;
    world_unlock();
    return NCCL_OK;
}

EXPORT int ncclCommInitRankConfig(Comm **out, int nranks, UniqueId id, int rank, const Config *config) {
    *out = NULL;
    const char *wrong = config_wrong(config);
    if (wrong) return refuse(NCCL_INVALID_ARGUMENT, "%s", wrong);
    if (id.magic != MAGIC) return refuse(NCCL_INVALID_ARGUMENT, "not an id of ncclGetUniqueId");
    if (id.pid != (int)getpid())
        return refuse(NCCL_INVALID_USAGE, "the id is of another process: ranks of one process only are simulated");
    if (nranks < 1 || nranks > SIM_RANKS || rank < 0 || rank >= nranks)
        return refuse(NCCL_INVALID_ARGUMENT, "rank %d of %d", rank, nranks);
    if (!current()) return refuse(NCCL_INVALID_USAGE, "no context is current");
    world_lock();
    Clique *q = cliques;
    while (q && q->id != id.id) q = q->next;
    if (!q) q = clique_make(nranks, id.id);
    int bad = q->nranks != nranks
                  ? refuse(NCCL_INVALID_ARGUMENT, "rank %d says %d ranks, others %d", rank, nranks, q->nranks)
              : q->comm[rank] ? refuse(NCCL_INVALID_ARGUMENT, "rank %d joins twice", rank)
                              : NCCL_OK;
    if (!bad) {
        *out = comm_make(config);
        clique_join(q, *out, rank);
        bad = made(*out);
    }
    world_unlock();
    return bad;
}
EXPORT int ncclCommInitRank(Comm **out, int nranks, UniqueId id, int rank) {
    return ncclCommInitRankConfig(out, nranks, id, rank, NULL);
}

static void split_complete(Clique *q, Split *s) {
    for (int first = 0; first < q->nranks; first++) {
        if (s->color[first] == NO_COLOR) continue;
        bool seen = false;
        for (int r = 0; r < first; r++) seen = seen || s->color[r] == s->color[first];
        if (seen) continue;
        int n = 0;
        for (int r = 0; r < q->nranks; r++) n += s->color[r] == s->color[first];
        Clique *child = clique_make(n, 0);
        for (int r = 0; r < q->nranks; r++) {
            int rank = 0;
            if (s->color[r] != s->color[first]) continue;
            for (int o = 0; o < q->nranks; o++)
                rank += s->color[o] == s->color[r] && (s->key[o] < s->key[r] || (s->key[o] == s->key[r] && o < r));
            clique_join(child, s->child[r], rank);
        }
    }
}

// Nothing may be asked of it now, but polls and its end.
static int comm_refuses(Comm *comm) {
    if (!comm || comm->destroyed) return refuse(NCCL_INVALID_ARGUMENT, "no communicator, or one that was destroyed");
    if (comm->clique && comm->clique->failed) return comm->clique->code;
    if (comm->finalizing) return refuse(NCCL_INVALID_USAGE, "a communicator that is finalized");
    if (!is_made(comm) || (!comm->blocking && comm->busy && !group.depth))
        return refuse(NCCL_INVALID_USAGE, "used while its last call is still in progress");
    return NCCL_OK;
}

EXPORT int ncclCommSplit(Comm *comm, int color, int key, Comm **out, const Config *config) {
    *out = NULL;
    const char *wrong = config_wrong(config);
    if (wrong) return refuse(NCCL_INVALID_ARGUMENT, "%s", wrong);
    world_lock();
    int bad = comm_refuses(comm);
    if (!bad && color < NO_COLOR) bad = refuse(NCCL_INVALID_ARGUMENT, "color %d", color);
    if (!bad) {
        Clique *q = comm->clique;
        Split *s = q->splits;
        int number = comm->nsplits++;
        while (s && s->number != number) s = s->next;
        if (!s) {
            s = calloc(1, sizeof *s);
            if (!s) abort();
            s->number = number;
            s->next = q->splits;
            q->splits = s;
        }
        Comm *child = NULL;
        if (color != NO_COLOR) {
            child = comm_make(config);
            child->context = comm->context;
            if (!config) child->blocking = comm->blocking;
            child->parent = q;
            q->refs++;
        }
        s->child[comm->rank] = *out = child;
        s->color[comm->rank] = color;
        s->key[comm->rank] = key;
        if (++s->arrived == q->nranks) {
            split_complete(q, s);
            for (Split **p = &q->splits; *p; p = &(*p)->next)
                if (*p == s) {
                    *p = s->next;
                    break;
                }
            free(s);
        }
        if (child) bad = made(child);
    }
    world_unlock();
    return bad;
}

static int comm_ask(Comm *comm, int *out, int answer(const Comm *comm)) {
    world_lock();
    int bad = comm_refuses(comm);
    if (!bad) *out = answer(comm);
    world_unlock();
    return bad;
}
static int count_of(const Comm *comm) { return comm->clique->nranks; }
static int rank_of(const Comm *comm) { return comm->rank; }
static int device_of(const Comm *comm) { return comm->context->device; }
EXPORT int ncclCommCount(Comm *comm, int *out) { return comm_ask(comm, out, count_of); }
EXPORT int ncclCommUserRank(Comm *comm, int *out) { return comm_ask(comm, out, rank_of); }
EXPORT int ncclCommCuDevice(Comm *comm, int *out) { return comm_ask(comm, out, device_of); }

EXPORT int ncclCommGetAsyncError(Comm *comm, int *out) {
    if (!comm) return NCCL_INVALID_ARGUMENT;
    world_lock();
    if (comm->clique && comm->clique->failed) *out = comm->clique->code;
    else if (!is_made(comm)) *out = NCCL_IN_PROGRESS;
    else if (!comm->blocking && comm->busy > 0) {
        comm->busy--;
        *out = NCCL_IN_PROGRESS;
    } else if (comm->finalizing && comm->last && !comm->last->done) {
        context_poll(comm->context);
        *out = NCCL_IN_PROGRESS;
    } else *out = NCCL_OK;
    world_unlock();
    return NCCL_OK;
}

EXPORT int ncclCommFinalize(Comm *comm) {
    world_lock();
    int bad = comm_refuses(comm);
    if (!bad) {
        comm->finalizing = true;
        if (!comm->blocking) {
            comm->busy = draw(3);
            bad = NCCL_IN_PROGRESS;
        } else if (comm->last && context_wait(comm->context, comm->last)) bad = NCCL_CUDA_ERROR;
    }
    world_unlock();
    return bad;
}

static void comm_end(Comm *comm) {
    comm->destroyed = true;
    op_release(comm->last);
    comm->last = NULL;
    if (comm->clique) comm->clique->comm[comm->rank] = NULL;
    comm_release(comm);
}

EXPORT int ncclCommDestroy(Comm *comm) {
    if (!comm) return NCCL_OK;
    world_lock();
    int bad = NCCL_OK;
    if (comm->last && !comm->last->done && context_wait(comm->context, comm->last)) bad = NCCL_CUDA_ERROR;
    if (comm->last && !comm->last->done) comm->aborted = true;
    comm_end(comm);
    world_unlock();
    return bad;
}

EXPORT int ncclCommAbort(Comm *comm) {
    if (!comm) return NCCL_OK;
    world_lock();
    comm->aborted = true; // what it still has to do does nothing
    bool open = comm->last && !comm->last->done;
    Context *c = comm->context;
    for (int i = 0; i < c->nready; i++)
        if (c->ready[i]->work->external == &nccl_external && ((Calls *)c->ready[i]->work->data)->comm == comm)
            c->ready[i]->failed = false;
    if (open && comm->clique)
        clique_fail(comm->clique, NCCL_REMOTE_ERROR, "rank %d aborted communicator %d", comm->rank,
                    comm->clique->number);
    for (int i = 0; i < c->nready; i++)
        if (c->ready[i]->work->external == &nccl_external && ((Calls *)c->ready[i]->work->data)->comm == comm)
            c->ready[i]->failed = false;
    comm_end(comm);
    world_unlock();
    return NCCL_OK;
}

// ---- calls

static int submit(Comm *comm, Stream *stream, const Call *calls, int ncalls) {
    Calls *data = malloc(sizeof *data + (size_t)ncalls * sizeof *calls);
    if (!data) abort();
    data->comm = comm;
    data->count = ncalls;
    memcpy(data->call, calls, (size_t)ncalls * sizeof *calls);
    char label[SIM_LABEL];
    if (ncalls == 1) snprintf(label, sizeof label, "%s", call_name(calls->kind));
    else snprintf(label, sizeof label, "group of %d from %s", ncalls, call_name(calls->kind));
    Work *w = work_make(WORK_EXTERNAL, label);
    comm->refs++;
    w->external = &nccl_external;
    w->data = data;
    int bad = stream_submit(stream, w, NULL);
    work_release(w);
    if (bad) return refuse(NCCL_CUDA_ERROR, "%s cannot be put on its stream: CUDA error %d", label, bad);
    if (!comm->blocking && !draw(4)) {
        comm->busy = 1 + draw(2);
        return NCCL_IN_PROGRESS;
    }
    return comm->clique->failed ? comm->clique->code : NCCL_OK;
}

EXPORT int ncclGroupStart(void) {
    group.depth++;
    return NCCL_OK;
}

EXPORT int ncclGroupEnd(void) {
    if (!group.depth) return refuse(NCCL_INVALID_USAGE, "ncclGroupEnd without ncclGroupStart");
    if (--group.depth) return NCCL_OK;
    int bad = NCCL_OK;
    world_lock();
    for (int i = 0; i < group.nmade; i++) {
        int result = group.made[i]->blocking ? wait_until_made(group.made[i]) : NCCL_IN_PROGRESS;
        if (result && (!bad || bad == NCCL_IN_PROGRESS)) bad = result;
    }
    for (int i = 0; i < group.ncalls; i++) {
        Comm *comm = group.call[i].comm;
        Call calls[MOST_CALLS];
        int n = 0, result = NCCL_OK;
        if (!comm) continue;
        for (int j = i; j < group.ncalls; j++) {
            if (group.call[j].comm != comm) continue;
            calls[n++] = group.call[j].call;
            if (group.call[j].stream != group.call[i].stream)
                result =
                    refuse(NCCL_INVALID_USAGE, "calls of one group and communicator on two streams are not simulated");
            group.call[j].comm = NULL;
        }
        if (!result) result = submit(comm, group.call[i].stream, calls, n);
        if (result && (!bad || bad == NCCL_IN_PROGRESS)) bad = result;
    }
    group.ncalls = group.nmade = 0;
    world_unlock();
    return bad;
}

static int call(Comm *comm, void *handle, Call c) {
    if (!type_bytes(c.type)) return refuse(NCCL_INVALID_ARGUMENT, "%s of type %d", call_name(c.kind), c.type);
    if (c.reduce < 0 || c.reduce > 4)
        return refuse(NCCL_INVALID_ARGUMENT, "%s with operation %d", call_name(c.kind), c.reduce);
    world_lock();
    int bad = comm_refuses(comm);
    Stream *s = bad ? NULL : stream_of(handle);
    if (!bad && (!s || stream_context(s) != comm->context))
        bad = refuse(NCCL_INVALID_USAGE, "%s on a stream of another device than the communicator's", call_name(c.kind));
    bool has_peer = c.kind == CALL_SEND || c.kind == CALL_RECV || c.kind == CALL_BROADCAST;
    if (!bad && has_peer && (c.peer < 0 || c.peer >= comm->clique->nranks))
        bad = refuse(NCCL_INVALID_ARGUMENT, "%s: rank %d of %d", call_name(c.kind), c.peer, comm->clique->nranks);
    if (!bad && !group.depth) bad = submit(comm, s, &c, 1);
    else if (!bad && group.ncalls == MOST_CALLS)
        bad = refuse(NCCL_INVALID_USAGE, "more than %d calls in a group", MOST_CALLS);
    else if (!bad) {
        group.call[group.ncalls].comm = comm;
        group.call[group.ncalls].stream = s;
        group.call[group.ncalls++].call = c;
    }
    world_unlock();
    return bad;
}

EXPORT int ncclAllReduce(const void *send, void *receive, size_t count, int type, int reduce, Comm *comm, void *s) {
    return call(comm, s, (Call){CALL_ALL_REDUCE, send, receive, count, type, reduce, 0});
}
EXPORT int ncclAllGather(const void *send, void *receive, size_t count, int type, Comm *comm, void *s) {
    return call(comm, s, (Call){CALL_ALL_GATHER, send, receive, count, type, 0, 0});
}
EXPORT int ncclReduceScatter(const void *send, void *receive, size_t count, int type, int reduce, Comm *comm, void *s) {
    return call(comm, s, (Call){CALL_REDUCE_SCATTER, send, receive, count, type, reduce, 0});
}
EXPORT int ncclBroadcast(const void *send, void *receive, size_t count, int type, int root, Comm *comm, void *s) {
    return call(comm, s, (Call){CALL_BROADCAST, send, receive, count, type, 0, root});
}
EXPORT int ncclSend(const void *send, size_t count, int type, int peer, Comm *comm, void *s) {
    return call(comm, s, (Call){CALL_SEND, send, NULL, count, type, 0, peer});
}
EXPORT int ncclRecv(void *receive, size_t count, int type, int peer, Comm *comm, void *s) {
    return call(comm, s, (Call){CALL_RECV, NULL, receive, count, type, 0, peer});
}
