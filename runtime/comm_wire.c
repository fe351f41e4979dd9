// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm_wire.h"
#include "base/checked.h"
#include "runtime/wire.h"
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

// ---- send and recv --------------------------------------------------------------------------------------------------
typedef struct Awaited { // the next call of a rank over these mesh axes
    int from;
    uint32_t mesh;
    bool pairs;
    PlanCommKind kind; // pairs
} Awaited;

static Head **find_head(Wire *c, const Awaited *a) {
    for (Head **at = &c->peers[a->from].heads; *at; at = &(*at)->next) {
        bool pairs = (*at)->call.kind == COMM_SEND || (*at)->call.kind == COMM_RECV;
        if ((*at)->epoch == c->epoch && pairs == a->pairs && (!pairs || (*at)->call.kind == a->kind) &&
            (*at)->call.mesh == a->mesh)
            return at;
    }
    return NULL;
}

static bool head_is_there(Wire *c, const void *context) { return find_head(c, context) != NULL; }

static Status call_pair(Wire *c, int peer, const CommCall *call) {
    int64_t bytes = comm_elements(call) * plan_dtype_bytes(call->dtype);
    bool sends = call->kind == COMM_SEND, small = bytes <= WIRE_INLINE;
    Awaited other = {peer, call->mesh, true, sends ? COMM_RECV : COMM_SEND};
    wire_tell_call(c, peer, call, sends && small ? call->send : NULL, sends ? bytes : 0);
    STATUS_TRY(wire_wait(c, (WireWait){.call = call}, head_is_there, &other));
    Head **at = find_head(c, &other), *h = *at;
    *at = h->next;
    Status s = status_ok();
    if (comm_payloads_differ(&h->call, call))
        s = wire_fail(c, sends ? comm_differ(&c->options, c->rank, call, peer, &h->call)
                               : comm_differ(&c->options, peer, &h->call, c->rank, call));
    else if (!sends && small) memcpy(call->receive, h->data, (size_t)bytes);
    free(h);
    if (status_failed(&s) || small) return s;
    c->nmoves = 1;
    if (sends) wire_send(c, peer, call->send, bytes, &c->moves[0]);
    else wire_receive(c, peer, call->receive, bytes, &c->moves[0]);
    return wire_settle(c, call);
}

// ---- messages of a pipeline -----------------------------------------------------------------------------------------
static Status comm_post(Comm *comm, int rank, const CommMessage *m) {
    Wire *c = (Wire *)comm;
    STATUS_TRY(comm_message_check(m, rank, c->n));
    if (c->failed) return c->why;
    Post *p = NULL;
    for (int64_t i = 0; i < c->options.posts && !p; i++)
        if (!c->posts[i].used) p = &c->posts[i];
    if (!p) return comm_too_many(rank, c->options.posts);
    *p = (Post){.used = true, .message = *m, .transfer.done = true};
    bool small = m->bytes <= WIRE_INLINE, empty = !m->send;
    PostNote n = {.kind = WIRE_POST,
                  .channel = m->channel,
                  .microbatch = m->microbatch,
                  .step = m->step,
                  .empty = empty,
                  .epoch = c->epoch,
                  .bytes = m->bytes,
                  .number = empty || small ? -1 : c->peers[m->peer].sends};
    size_t has = empty || !small ? 0 : (size_t)m->bytes;
    if (has) memcpy(n.data, m->send, has);
    wire_count(c, m->peer, &n, (int)(offsetof(PostNote, data) + has));
    if (n.number >= 0) wire_send(c, m->peer, m->send, m->bytes, &p->transfer);
    return status_ok();
}

static Letter **find_letter(Wire *c, const CommMessage *m) {
    for (Letter **at = &c->peers[m->peer].letters; *at; at = &(*at)->next)
        if (!(*at)->dropped && (*at)->epoch == c->epoch && (*at)->message.channel == m->channel) return at;
    return NULL;
}

static bool letter_is_there(Wire *c, const void *context) { return find_letter(c, context) != NULL; }

static Status take_letter(Wire *c, Letter *l, const CommMessage *m) {
    while (!c->failed && l->number >= 0 && !(l->begun && l->transfer.done)) // the sender has begun: it will come
        STATUS_TRY(world_progress(c->world, WIRE_SLICE_MS, NULL));
    if (c->failed) return c->why;
    if (!l->empty) memcpy(m->receive, l->data, (size_t)m->bytes);
    return status_ok();
}

static Status comm_receive(Comm *comm, int rank, const CommMessage *m) {
    Wire *c = (Wire *)comm;
    STATUS_TRY(comm_message_check(m, rank, c->n));
    STATUS_TRY(wire_wait(c, (WireWait){.message = m, .receives = true}, letter_is_there, m));
    Letter *l = *find_letter(c, m);
    if (l->message.microbatch != m->microbatch || l->message.bytes != m->bytes)
        return wire_fail(c, comm_messages_differ(rank, m, &l->message));
    STATUS_TRY(take_letter(c, l, m));
    *find_letter(c, m) = l->next;
    free(l->data);
    free(l);
    TakenNote n = {.kind = WIRE_TAKEN, .channel = m->channel, .microbatch = m->microbatch, .epoch = c->epoch};
    wire_count(c, m->peer, &n, sizeof n);
    return status_ok();
}

static Post *find_post(Wire *c, const CommMessage *m) {
    for (int64_t i = 0; i < c->options.posts; i++) {
        Post *p = &c->posts[i];
        if (p->used && p->message.peer == m->peer && p->message.channel == m->channel &&
            p->message.microbatch == m->microbatch)
            return p;
    }
    return NULL;
}

static bool post_is_taken(Wire *c, const void *context) {
    const Post *p = context;
    (void)c;
    return p->taken && p->transfer.done;
}

static Status comm_wait(Comm *comm, int rank, const CommMessage *m) {
    Wire *c = (Wire *)comm;
    STATUS_TRY(comm_message_check(m, rank, c->n));
    if (c->failed) return c->why;
    Post *p = find_post(c, m);
    if (!p) return comm_not_sent(rank, m);
    STATUS_TRY(wire_wait(c, (WireWait){.message = m}, post_is_taken, p));
    p->used = false;
    return status_ok();
}

// ---- the vtable -----------------------------------------------------------------------------------------------------
static Status comm_call(Comm *comm, int rank, const CommCall *call) {
    Wire *c = (Wire *)comm;
    int64_t send;
    int ways = call->mesh >> c->options.nmesh ? 0 : c->ways[call->mesh];
    (void)rank;
    STATUS_TRY(comm_call_check(&c->options, call, ways, &send));
    if (c->failed) return c->why;
    if (call->kind == COMM_SEND || call->kind == COMM_RECV) {
        int64_t at;
        if (!checked_add(c->me[call->mesh], call->peer, &at) || at < 0 || at >= ways) return status_ok();
        if (at == c->me[call->mesh]) return status_make(STATUS_INVALID, "a rank sends to itself");
        return call_pair(c, c->member[call->mesh][at], call);
    }
    if (ways > 1) return wire_collective(c, call);
    memmove(call->receive, call->send, (size_t)send);
    return status_ok();
}

static void comm_start(Comm *comm) { wire_begin((Wire *)comm); }

static Status comm_leave(Comm *comm, int rank) {
    Wire *c = (Wire *)comm;
    Status s = status_ok();
    for (int64_t i = 0; i < c->options.posts && !c->failed; i++)
        if (c->posts[i].used) s = wire_fail(c, comm_unwaited(rank, &c->posts[i].message, c->posts[i].message.peer));
    if (c->failed) wire_end(c);
    else wire_tell_left(c);
    return s;
}

static void comm_abort(Comm *comm, int rank, const Status *why) {
    wire_fail((Wire *)comm, status_make(STATUS_COMM, COMM_STOPPED " rank %d failed: %.400s", rank, why->message));
}

static void comm_free(Comm *comm) {
    Wire *c = (Wire *)comm;
    if (c->channel) world_close(c->world, c->channel);
    if (c->peers) wire_forget(c);
    for (int r = 0; c->peers && r < c->n; r++) free(c->peers[r].counts);
    for (int set = 0; set < 1 << PLAN_MESH; set++) free(c->member[set]);
    free(c->peers);
    free(c->posts);
    free(c->moves);
    free(c->out);
    free(c->in);
    free(c->sources);
    free(c->out_bytes);
    free(c->in_bytes);
    free(c->stage);
    free(c);
}

static const CommVtable wire_vtable = {.name = "wire",
                                       .start = comm_start,
                                       .call = comm_call,
                                       .post = comm_post,
                                       .receive = comm_receive,
                                       .wait = comm_wait,
                                       .leave = comm_leave,
                                       .abort = comm_abort,
                                       .free = comm_free};

static bool make_tables(Wire *c, const Plan *mesh) {
    size_t n = (size_t)c->n;
    c->peers = calloc(n, sizeof *c->peers);
    c->posts = calloc((size_t)c->options.posts + 1, sizeof *c->posts);
    c->moves = calloc(2 * n, sizeof *c->moves);
    c->out = calloc(n, sizeof *c->out);
    c->in = calloc(n, sizeof *c->in);
    c->sources = calloc(n, sizeof *c->sources);
    c->out_bytes = calloc(n, sizeof *c->out_bytes);
    c->in_bytes = calloc(n, sizeof *c->in_bytes);
    if (!c->peers || !c->posts || !c->moves || !c->out || !c->in || !c->sources || !c->out_bytes || !c->in_bytes)
        return false;
    for (int r = 0; r < c->n; r++)
        if (!(c->peers[r].counts = calloc(2 * n, sizeof *c->peers[r].counts))) return false;
    for (uint32_t set = 0; set < 1u << mesh->nmesh; set++) {
        c->ways[set] = (int)plan_ways(mesh, set);
        c->me[set] = (int)plan_coord(mesh, set, c->rank);
        if (!(c->member[set] = calloc((size_t)c->ways[set], sizeof(int)))) return false;
        for (int r = 0; r < c->n; r++)
            if (plan_coord(mesh, ~set, r) == plan_coord(mesh, ~set, c->rank))
                c->member[set][plan_coord(mesh, set, r)] = r;
    }
    return true;
}

Status comm_wire_make(const CommOptions *options, World *world, Comm **out_comm) {
    *out_comm = NULL;
    if (options->nmesh < 0 || options->nmesh > PLAN_MESH)
        return status_make(STATUS_INVALID, "a mesh of %d axes", options->nmesh);
    Plan mesh = {.nmesh = options->nmesh};
    int64_t ranks = 1;
    for (int i = 0; i < options->nmesh; i++) {
        mesh.mesh[i].extent = options->extent[i];
        if (options->extent[i] < 1 || !checked_mul(ranks, options->extent[i], &ranks))
            return status_make(STATUS_INVALID, "a mesh axis of %lld ranks", (long long)options->extent[i]);
    }
    if (ranks != world->size)
        return status_make(STATUS_INVALID, "the strategy needs %lld ranks, this run has %d processes", (long long)ranks,
                           world->size);
    if (ranks > WIRE_RANKS) return status_make(STATUS_UNSUPPORTED, "at most %d processes", WIRE_RANKS);
    Wire *c = calloc(1, sizeof *c);
    if (!c) return status_make(STATUS_MEMORY, "no memory for a communicator of %lld ranks", (long long)ranks);
    c->comm.v = &wire_vtable;
    c->options = *options;
    c->world = world;
    c->rank = world->rank;
    c->n = world->size;
    Status s = make_tables(c, &mesh) ? status_ok()
                                     : status_make(STATUS_MEMORY, "no memory for a communicator of %d ranks", c->n);
    if (!status_failed(&s)) s = world_open(world, wire_note, c, &c->channel);
    if (status_failed(&s)) {
        comm_free(&c->comm);
        return s;
    }
    *out_comm = &c->comm;
    return s;
}
