// SPDX-License-Identifier: Apache-2.0
// comm_local: ranks are threads of one process and read each other's memory. A collective is: post the call, meet the
// group, compare all calls, read the peers' buffers, meet again so that nobody overwrites what others still read. Small
// payloads are copied into a stage first, and then one meeting is enough: stages alternate between two, and nobody
// posts to one again before all have read it.
//
// Who waits is counted under one lock, so "everyone waits for someone" is known the moment it becomes true.
#include "runtime/comm.h"
#include "base/checked.h"
#include "runtime/comm_call.h"
#include "runtime/reduce.h"
#include "runtime/wait.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RANKS = 128, STAGE_BYTES = 4096, GRAIN_BYTES = 64 * 1024 };

typedef struct Post {
    CommCall call;
    const char *data; // call.send, or its copy in the stage
} Post;

typedef struct Group {
    int n, arrived;
    uint32_t mesh;
    int *rank;      // of member 0 .. n-1
    uint32_t *turn; // of each member: calls made
    Post *posts;    // [2][n]
    char *stage;    // [2][n][STAGE_BYTES]
} Group;

typedef struct Channel { // from one rank to another
    bool full, awaited;
    CommCall call; // the sender's
} Channel;

typedef struct Letter { // a message on its way
    CommMessage message;
    int from;
    bool received;
    struct Letter *next; // to the same rank, in the order they were posted; or the next free one
} Letter;

typedef struct Wait { // what a rank waits in; neither: nothing
    const CommCall *call;
    const CommMessage *message;
    bool receives;
} Wait;

typedef struct RankState {
    WaitWord word; // advanced to let the rank go on
    Wait waits;
    bool left;
    Letter *inbox, *free; // posted to it and not yet waited for; letters it may post
    Letter *letters;      // all of its own
} RankState;

typedef struct Local {
    Comm comm;
    CommOptions options;
    int nranks, spins;
    pthread_mutex_t lock;
    // under the lock
    int live, blocked;
    Status why; // of the abort
    _Atomic bool aborted;
    RankState *ranks;
    Group **group_of; // [mesh set][rank]
    int nsets;
    Channel *channels; // [from][to]
} Local;

// ---- messages -------------------------------------------------------------------------------------------------------
static const char *call_text(const Local *l, const CommCall *c, char *text, size_t size) {
    return comm_call_text(&l->options, c, text, size);
}

static const char *wait_text(const Local *l, const Wait *w, char *text, size_t size) {
    return w->call ? call_text(l, w->call, text, size) : comm_message_text(w->message, w->receives, text, size);
}

// ---- waiting --------------------------------------------------------------------------------------------------------
static void release_all(Local *l) {
    for (int r = 0; r < l->nranks; r++) wait_advance(&l->ranks[r].word);
}

// Under the lock.
static void abort_locked(Local *l, Status why) {
    if (atomic_load(&l->aborted)) return;
    l->why = why;
    atomic_store(&l->aborted, true);
    release_all(l);
}

// Under the lock: every rank that is still there waits.
static void report_deadlock(Local *l) {
    if (atomic_load(&l->aborted)) return;
    Status s = status_make(STATUS_COMM, "deadlock:");
    size_t n = strlen(s.message);
    for (int r = 0; r < l->nranks && n < sizeof s.message - 1; r++) {
        char text[160];
        const RankState *k = &l->ranks[r];
        if (k->left) snprintf(text, sizeof text, "has finished");
        else if (k->waits.call || k->waits.message) wait_text(l, &k->waits, text, sizeof text);
        else continue;
        n += (size_t)snprintf(s.message + n, sizeof s.message - n, "%s rank %d %s%s", n > 9 ? "," : "", r,
                              k->left ? "" : "waits in ", text);
    }
    abort_locked(l, s);
}

// The rank waits until another releases it. Enters with the lock held, leaves without.
static Status block_in(Local *l, int rank, Wait waits) {
    RankState *k = &l->ranks[rank];
    uint32_t seen = atomic_load(&k->word.value);
    k->waits = waits;
    if (++l->blocked == l->live) report_deadlock(l);
    pthread_mutex_unlock(&l->lock);
    if (!wait_changed(&k->word, seen, l->spins, l->options.timeout_ms)) {
        char text[200];
        pthread_mutex_lock(&l->lock);
        if (atomic_load(&k->word.value) == seen)
            abort_locked(l, status_make(STATUS_COMM, "rank %d waited %lld ms in %s", rank,
                                        (long long)l->options.timeout_ms, wait_text(l, &waits, text, sizeof text)));
        pthread_mutex_unlock(&l->lock);
    }
    return atomic_load(&l->aborted) ? l->why : status_ok();
}

static Status block(Local *l, int rank, const CommCall *call) { return block_in(l, rank, (Wait){.call = call}); }

// Under the lock: lets a waiting rank go on.
static void release(Local *l, int rank) {
    l->blocked--;
    l->ranks[rank].waits = (Wait){0};
    wait_advance(&l->ranks[rank].word);
}

static Status meet(Local *l, Group *g, int rank, const CommCall *call) {
    pthread_mutex_lock(&l->lock);
    if (atomic_load(&l->aborted)) {
        pthread_mutex_unlock(&l->lock);
        return l->why;
    }
    if (++g->arrived < g->n) return block(l, rank, call);
    g->arrived = 0;
    for (int i = 0; i < g->n; i++)
        if (g->rank[i] != rank) release(l, g->rank[i]);
    pthread_mutex_unlock(&l->lock);
    return status_ok();
}

// ---- moving data ----------------------------------------------------------------------------------------------------
typedef struct Job { // what one member does between two meetings, splittable by index
    const Group *g;
    const Post *posts;
    int me;
    bool small;
    int64_t unit; // elements of one index
    int64_t element;
} Job;

static void reduce_range(const Job *j, char *out, int64_t from, int64_t count) {
    const void *in[MAX_RANKS];
    const CommCall *c = &j->posts[j->me].call;
    for (int i = 0; i < j->g->n; i++) in[i] = j->posts[i].data + from * j->element;
    reduce_elements(c->reduce, c->dtype, out, in, j->g->n, count);
}

static void do_all_reduce(void *context, int thread, int64_t begin, int64_t end) {
    const Job *j = context;
    const CommCall *c = &j->posts[j->me].call;
    int64_t first = 0, last = comm_elements(c);
    (void)thread;
    if (!j->small) comm_chunk(last, j->g->n, j->me, &first, &last);
    int64_t from = first + begin * j->unit, to = first + end * j->unit;
    if (to > last) to = last;
    if (from < to) reduce_range(j, (char *)c->receive + from * j->element, from, to - from);
}

static void do_share_reduced(void *context, int thread, int64_t begin, int64_t end) {
    const Job *j = context;
    const CommCall *c = &j->posts[j->me].call;
    (void)thread;
    for (int64_t i = begin; i < end; i++) { // one index is one peer
        int64_t from, to;
        if (i == j->me) continue;
        comm_chunk(comm_elements(c), j->g->n, (int)i, &from, &to);
        memcpy((char *)c->receive + from * j->element, (const char *)j->posts[i].call.receive + from * j->element,
               (size_t)((to - from) * j->element));
    }
}

static void do_all_gather(void *context, int thread, int64_t begin, int64_t end) {
    const Job *j = context;
    const CommCall *c = &j->posts[j->me].call;
    int64_t row = c->middle * c->inner * j->element;
    (void)thread;
    for (int64_t i = begin; i < end; i++) { // one index is one (outer, member)
        int64_t outer = i / j->g->n, m = i % j->g->n;
        memcpy((char *)c->receive + i * row, j->posts[m].data + outer * row, (size_t)row);
    }
}

static void do_reduce_scatter(void *context, int thread, int64_t begin, int64_t end) {
    const Job *j = context;
    const CommCall *c = &j->posts[j->me].call;
    int64_t own = ceil_div(c->middle, j->g->n), first = own * j->me, left = c->middle - first;
    int64_t has = (left < 0 ? 0 : left < own ? left : own) * c->inner; // the last members may have less
    (void)thread;
    for (int64_t i = begin; i < end; i++) { // one index is one outer
        char *to = (char *)c->receive + i * own * c->inner * j->element;
        if (has) reduce_range(j, to, (i * c->middle + first) * c->inner, has);
        memset(to + has * j->element, 0, (size_t)((own * c->inner - has) * j->element));
    }
}

// Only the counted rows of what member m sends for `outer`; what is left is zero.
static void copy_rows(const Job *j, int64_t m, int64_t outer) {
    const CommCall *c = &j->posts[j->me].call;
    int64_t own = ceil_div(c->middle, j->g->n), first = own * j->me, unit = c->rows * c->row;
    int64_t pieces = c->inner / unit, row = c->row * j->element, at = (m * c->outer + outer) * own * pieces;
    for (int64_t i = 0; i < own * pieces; i++) {
        int64_t n = c->receive_counts[at + i];
        if (n < 0 || first + i / pieces >= c->middle) n = 0;
        if (n > c->rows) n = c->rows;
        char *to = (char *)c->receive + (at + i) * unit * j->element;
        const char *from = j->posts[m].data + ((outer * c->middle + first) * pieces + i) * unit * j->element;
        if (n) memcpy(to, from, (size_t)(n * row));
        memset(to + n * row, 0, (size_t)((c->rows - n) * row));
    }
}

static void do_all_to_all(void *context, int thread, int64_t begin, int64_t end) {
    const Job *j = context;
    const CommCall *c = &j->posts[j->me].call;
    int64_t own = ceil_div(c->middle, j->g->n), first = own * j->me, left = c->middle - first;
    int64_t place = c->inner * j->element, row = own * place;
    int64_t has = (left < 0 ? 0 : left < own ? left : own) * place; // the last members may have less
    (void)thread;
    for (int64_t i = begin; i < end; i++) { // one index is one (member, outer)
        int64_t m = i / c->outer, outer = i % c->outer;
        if (c->rows) {
            copy_rows(j, m, outer);
            continue;
        }
        char *to = (char *)c->receive + i * row;
        if (has) memcpy(to, j->posts[m].data + (outer * c->middle + first) * place, (size_t)has);
        memset(to + has, 0, (size_t)(row - has));
    }
}

static void do_broadcast(void *context, int thread, int64_t begin, int64_t end) {
    const Job *j = context;
    const CommCall *c = &j->posts[j->me].call;
    int64_t count = comm_elements(c), from = begin * j->unit, to = end * j->unit < count ? end * j->unit : count;
    (void)thread;
    if (from < to)
        memcpy((char *)c->receive + from * j->element, j->posts[0].data + from * j->element,
               (size_t)((to - from) * j->element));
}

static void do_permute(void *context, int thread, int64_t begin, int64_t end) {
    const Job *j = context;
    const CommCall *c = &j->posts[j->me].call;
    int64_t count = comm_elements(c), from = begin * j->unit, to = end * j->unit < count ? end * j->unit : count;
    (void)thread;
    if (from < to)
        memcpy((char *)c->receive + from * j->element,
               j->posts[comm_sender(c, j->me, j->g->n)].data + from * j->element, (size_t)((to - from) * j->element));
}

static void run_job(Job *j, int64_t tasks, PoolFn *fn) {
    const CommCall *c = &j->posts[j->me].call;
    if (j->small || !c->pool || comm_elements(c) * j->element < GRAIN_BYTES) fn(j, 0, 0, tasks);
    else pool_run(c->pool, tasks, fn, j);
}

// ---- collectives ----------------------------------------------------------------------------------------------------
static Status compare_posts(const Local *l, const Group *g, const Post *posts) {
    for (int i = 1; i < g->n; i++)
        if (comm_calls_differ(&posts[0].call, &posts[i].call))
            return comm_differ(&l->options, g->rank[0], &posts[0].call, g->rank[i], &posts[i].call);
    return status_ok();
}

static Status collective(Local *l, int rank, const CommCall *call, int64_t element) {
    Group *g = l->group_of[(int64_t)call->mesh * l->nranks + rank];
    int me = 0;
    while (g->rank[me] != rank) me++;
    int64_t bytes = comm_elements(call) * element;
    bool small = bytes <= STAGE_BYTES;
    uint32_t half = g->turn[me]++ & 1;
    Post *posts = g->posts + half * (uint32_t)g->n;
    posts[me] = (Post){*call, call->send};
    if (small) {
        char *stage = g->stage + ((int64_t)half * g->n + me) * STAGE_BYTES;
        memcpy(stage, call->send, (size_t)bytes);
        posts[me].data = stage;
    }
    STATUS_TRY(meet(l, g, rank, call));
    STATUS_TRY(compare_posts(l, g, posts));
    Job j = {.g = g, .posts = posts, .me = me, .small = small, .unit = GRAIN_BYTES / element, .element = element};
    int64_t count = comm_elements(call), mine = small ? count : comm_chunk_each(count, g->n);
    switch (call->kind) {
    case COMM_ALL_REDUCE:
        run_job(&j, ceil_div(mine, j.unit), do_all_reduce);
        if (small) break;
        STATUS_TRY(meet(l, g, rank, call));
        run_job(&j, g->n, do_share_reduced);
        break;
    case COMM_ALL_GATHER: run_job(&j, call->outer * g->n, do_all_gather); break;
    case COMM_REDUCE_SCATTER: run_job(&j, call->outer, do_reduce_scatter); break;
    case COMM_ALL_TO_ALL: run_job(&j, call->outer * g->n, do_all_to_all); break;
    case COMM_SHIFT:
    case COMM_REVERSE: run_job(&j, ceil_div(count, j.unit), do_permute); break;
    default: // the root's buffer is where it belongs already, unless it goes elsewhere
        if (small || me || call->receive != call->send) run_job(&j, ceil_div(count, j.unit), do_broadcast);
    }
    return small ? status_ok() : meet(l, g, rank, call);
}

// ---- point to point -------------------------------------------------------------------------------------------------
static Status do_send(Local *l, int from, int to, const CommCall *call) {
    Channel *ch = &l->channels[from * l->nranks + to];
    pthread_mutex_lock(&l->lock);
    if (atomic_load(&l->aborted)) {
        pthread_mutex_unlock(&l->lock);
        return l->why;
    }
    ch->full = true;
    ch->call = *call;
    if (ch->awaited) {
        ch->awaited = false;
        release(l, to);
    }
    return block(l, from, call); // until the receiver has read the buffer; a mismatch aborts
}

static Status do_receive(Local *l, int from, int to, const CommCall *call, int64_t element) {
    Channel *ch = &l->channels[from * l->nranks + to];
    pthread_mutex_lock(&l->lock);
    if (!atomic_load(&l->aborted) && !ch->full) {
        ch->awaited = true;
        STATUS_TRY(block(l, to, call));
        pthread_mutex_lock(&l->lock);
    }
    if (!atomic_load(&l->aborted) && comm_payloads_differ(&ch->call, call))
        abort_locked(l, comm_differ(&l->options, from, &ch->call, to, call));
    const void *sent = ch->call.send;
    pthread_mutex_unlock(&l->lock);
    if (atomic_load(&l->aborted)) return l->why;
    memcpy(call->receive, sent, (size_t)(comm_elements(call) * element));
    pthread_mutex_lock(&l->lock);
    ch->full = false;
    release(l, from);
    pthread_mutex_unlock(&l->lock);
    return status_ok();
}

// The rank whose coordinate along `mesh` differs by `peer`; -1 beyond the ends.
static int peer_rank(const Local *l, int rank, const CommCall *call) {
    const Group *g = l->group_of[(int64_t)call->mesh * l->nranks + rank];
    int me = 0;
    while (g->rank[me] != rank) me++;
    int64_t at;
    if (!checked_add(me, call->peer, &at) || at < 0 || at >= g->n) return -1;
    return g->rank[at];
}

// ---- messages of a pipeline -----------------------------------------------------------------------------------------
static Status message_wrong(const Local *l, int rank, const CommMessage *m) {
    return comm_message_check(m, rank, l->nranks);
}

static Status local_post(Comm *comm, int rank, const CommMessage *m) {
    Local *l = (Local *)comm;
    STATUS_TRY(message_wrong(l, rank, m));
    RankState *me = &l->ranks[rank], *to = &l->ranks[m->peer];
    Status s = status_ok();
    pthread_mutex_lock(&l->lock);
    Letter *letter = me->free;
    if (atomic_load(&l->aborted)) {
        s = l->why;
    } else if (!letter) {
        s = comm_too_many(rank, l->options.posts);
    } else {
        me->free = letter->next;
        *letter = (Letter){.message = *m, .from = rank};
        Letter **at = &to->inbox;
        while (*at) at = &(*at)->next;
        *at = letter;
        const Wait *w = &to->waits;
        if (w->message && w->receives && w->message->peer == rank && w->message->channel == m->channel)
            release(l, m->peer);
    }
    pthread_mutex_unlock(&l->lock);
    return s;
}

// Under the lock. The first message from a rank on a channel that has not been received.
static Letter *next_letter(const RankState *to, int from, int channel) {
    for (Letter *p = to->inbox; p; p = p->next)
        if (p->from == from && p->message.channel == channel && !p->received) return p;
    return NULL;
}

static Status local_receive(Comm *comm, int rank, const CommMessage *m) {
    Local *l = (Local *)comm;
    STATUS_TRY(message_wrong(l, rank, m));
    RankState *me = &l->ranks[rank];
    pthread_mutex_lock(&l->lock);
    Letter *letter = next_letter(me, m->peer, m->channel);
    if (!letter && !atomic_load(&l->aborted)) {
        STATUS_TRY(block_in(l, rank, (Wait){.message = m, .receives = true}));
        pthread_mutex_lock(&l->lock);
        letter = next_letter(me, m->peer, m->channel);
    }
    if (!atomic_load(&l->aborted) && letter &&
        (letter->message.microbatch != m->microbatch || letter->message.bytes != m->bytes))
        abort_locked(l, comm_messages_differ(rank, m, &letter->message));
    if (atomic_load(&l->aborted)) {
        pthread_mutex_unlock(&l->lock);
        return l->why;
    }
    const void *sent = letter->message.send;
    pthread_mutex_unlock(&l->lock);
    if (sent) memcpy(m->receive, sent, (size_t)m->bytes);
    pthread_mutex_lock(&l->lock);
    letter->received = true;
    const Wait *w = &l->ranks[m->peer].waits;
    if (w->message && !w->receives && w->message->peer == rank && w->message->channel == m->channel &&
        w->message->microbatch == m->microbatch)
        release(l, m->peer);
    pthread_mutex_unlock(&l->lock);
    return status_ok();
}

// Under the lock: where the letter to `m->peer` hangs, NULL when there is none.
static Letter **sent_letter(Local *l, int rank, const CommMessage *m) {
    for (Letter **at = &l->ranks[m->peer].inbox; *at; at = &(*at)->next)
        if ((*at)->from == rank && (*at)->message.channel == m->channel && (*at)->message.microbatch == m->microbatch)
            return at;
    return NULL;
}

static Status local_wait(Comm *comm, int rank, const CommMessage *m) {
    Local *l = (Local *)comm;
    STATUS_TRY(message_wrong(l, rank, m));
    pthread_mutex_lock(&l->lock);
    Letter **at = sent_letter(l, rank, m);
    if (at && !(*at)->received && !atomic_load(&l->aborted)) {
        STATUS_TRY(block_in(l, rank, (Wait){.message = m}));
        pthread_mutex_lock(&l->lock);
        at = sent_letter(l, rank, m);
    }
    Status s = status_ok();
    if (atomic_load(&l->aborted)) {
        s = l->why;
    } else if (!at) {
        s = comm_not_sent(rank, m);
    } else {
        Letter *letter = *at;
        *at = letter->next;
        letter->next = l->ranks[rank].free;
        l->ranks[rank].free = letter;
    }
    pthread_mutex_unlock(&l->lock);
    return s;
}

// Under the lock: what the rank posted and never waited for.
static Status report_unwaited(Local *l, int rank) {
    for (int r = 0; r < l->nranks; r++)
        for (const Letter *p = l->ranks[r].inbox; p; p = p->next)
            if (p->from == rank && !atomic_load(&l->aborted)) {
                abort_locked(l, comm_unwaited(rank, &p->message, r));
                return l->why;
            }
    return status_ok();
}

// ---- the vtable -----------------------------------------------------------------------------------------------------
static Status local_call(Comm *comm, int rank, const CommCall *call) {
    Local *l = (Local *)comm;
    int64_t element = plan_dtype_bytes(call->dtype), send;
    int ways = call->mesh >> l->options.nmesh ? 0 : l->group_of[(int64_t)call->mesh * l->nranks + rank]->n;
    STATUS_TRY(comm_call_check(&l->options, call, ways, &send));
    if (call->kind == COMM_SEND || call->kind == COMM_RECV) {
        int peer = peer_rank(l, rank, call);
        if (peer < 0) return status_ok();
        if (peer == rank) return status_make(STATUS_INVALID, "a rank sends to itself");
        return call->kind == COMM_SEND ? do_send(l, rank, peer, call) : do_receive(l, peer, rank, call, element);
    }
    if (ways == 1) {
        memmove(call->receive, call->send, (size_t)send);
        return status_ok();
    }
    return collective(l, rank, call, element);
}

static void local_start(Comm *comm) {
    Local *l = (Local *)comm;
    l->live = l->nranks;
    l->blocked = 0;
    atomic_store(&l->aborted, false);
    for (int r = 0; r < l->nranks; r++) {
        RankState *k = &l->ranks[r];
        k->waits = (Wait){0};
        k->left = false;
        k->inbox = k->free = NULL;
        for (int64_t i = 0; i < l->options.posts; i++) {
            k->letters[i].next = k->free;
            k->free = &k->letters[i];
        }
    }
    for (int i = 0; i < l->nsets * l->nranks; i++) {
        Group *g = l->group_of[i];
        g->arrived = 0;
        memset(g->turn, 0, sizeof *g->turn * (size_t)g->n);
    }
    memset(l->channels, 0, sizeof *l->channels * (size_t)l->nranks * (size_t)l->nranks);
}

static Status local_leave(Comm *comm, int rank) {
    Local *l = (Local *)comm;
    pthread_mutex_lock(&l->lock);
    Status s = l->options.posts ? report_unwaited(l, rank) : status_ok();
    l->ranks[rank].left = true;
    l->live--;
    if (l->live && l->blocked == l->live) report_deadlock(l);
    pthread_mutex_unlock(&l->lock);
    return s;
}

static void local_abort(Comm *comm, int rank, const Status *why) {
    Local *l = (Local *)comm;
    pthread_mutex_lock(&l->lock);
    abort_locked(l, status_make(STATUS_COMM, COMM_STOPPED " rank %d failed: %.400s", rank, why->message));
    pthread_mutex_unlock(&l->lock);
}

static void local_free(Comm *comm) {
    Local *l = (Local *)comm;
    for (int i = l->group_of ? l->nsets * l->nranks - 1 : -1; i >= 0; i--) {
        Group *g = l->group_of[i];
        if (!g || g->rank[0] != i % l->nranks) continue; // member 0, the lowest rank, owns it: it is met last
        free(g->rank);
        free(g->turn);
        free(g->posts);
        free(g->stage);
        free(g);
    }
    free(l->group_of);
    for (int r = 0; l->ranks && r < l->nranks; r++) free(l->ranks[r].letters);
    free(l->channels);
    free(l->ranks);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static const CommVtable local_vtable = {.name = "local",
                                        .start = local_start,
                                        .call = local_call,
                                        .post = local_post,
                                        .receive = local_receive,
                                        .wait = local_wait,
                                        .leave = local_leave,
                                        .abort = local_abort,
                                        .free = local_free};

static Group *group_make(uint32_t mesh, int n) {
    Group *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->n = n;
    g->mesh = mesh;
    g->rank = calloc((size_t)n, sizeof *g->rank);
    g->turn = calloc((size_t)n, sizeof *g->turn);
    g->posts = calloc((size_t)n * 2, sizeof *g->posts);
    g->stage = calloc((size_t)n * 2, STAGE_BYTES);
    if (g->rank && g->turn && g->posts && g->stage) return g;
    free(g->rank);
    free(g->turn);
    free(g->posts);
    free(g->stage);
    free(g);
    return NULL;
}

// Ranks with equal coordinates outside `set` form a group, in the order of their coordinates along it.
static bool make_groups(Local *l, uint32_t set, const Plan *mesh) {
    int n = (int)plan_ways(mesh, set);
    for (int r = 0; r < l->nranks; r++) {
        Group **slot = &l->group_of[(int64_t)set * l->nranks + r];
        if (plan_coord(mesh, set, r) == 0) {
            if (!(*slot = group_make(set, n))) return false;
        } else {
            for (int q = 0; q < r && !*slot; q++) // member 0 is the group's lowest rank
                if (plan_coord(mesh, ~set, q) == plan_coord(mesh, ~set, r))
                    *slot = l->group_of[(int64_t)set * l->nranks + q];
        }
        (*slot)->rank[plan_coord(mesh, set, r)] = r;
    }
    return true;
}

Status comm_local_make(const CommOptions *options, Comm **out_comm) {
    *out_comm = NULL;
    if (options->nmesh < 0 || options->nmesh > PLAN_MESH)
        return status_make(STATUS_INVALID, "a mesh of %d axes", options->nmesh);
    Plan mesh = {.nmesh = options->nmesh};
    int64_t ranks = 1;
    for (int i = 0; i < options->nmesh; i++) {
        mesh.mesh[i].extent = options->extent[i];
        if (options->extent[i] < 1 || !checked_mul(ranks, options->extent[i], &ranks) || ranks > MAX_RANKS)
            return status_make(STATUS_UNSUPPORTED, "at most %d ranks in one process", MAX_RANKS);
    }
    Local *l = calloc(1, sizeof *l);
    if (!l) return status_make(STATUS_MEMORY, "no memory for a communicator of %lld ranks", (long long)ranks);
    l->comm.v = &local_vtable;
    l->options = *options;
    l->nranks = (int)ranks;
    l->spins = options->spin ? WAIT_SPINS : 0;
    l->nsets = 1 << options->nmesh;
    pthread_mutex_init(&l->lock, NULL);
    l->ranks = aligned_alloc(64, sizeof *l->ranks * (size_t)ranks);
    l->group_of = calloc((size_t)l->nsets * (size_t)ranks, sizeof(Group *));
    l->channels = calloc((size_t)(ranks * ranks), sizeof *l->channels);
    bool ok = l->ranks && l->group_of && l->channels;
    if (l->ranks) memset(l->ranks, 0, sizeof *l->ranks * (size_t)ranks);
    for (int r = 0; ok && r < l->nranks; r++)
        ok = (l->ranks[r].letters = calloc((size_t)options->posts + 1, sizeof(Letter))) != NULL;
    for (int set = 0; ok && set < l->nsets; set++) ok = make_groups(l, (uint32_t)set, &mesh);
    if (!ok) {
        local_free(&l->comm);
        return status_make(STATUS_MEMORY, "no memory for a communicator of %lld ranks", (long long)ranks);
    }
    local_start(&l->comm);
    *out_comm = &l->comm;
    return status_ok();
}
