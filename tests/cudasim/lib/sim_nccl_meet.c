// SPDX-License-Identifier: Apache-2.0
// Where calls of different ranks meet: matched as they are submitted, run when all ops they need can run.
#include "sim_nccl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TOGETHER = 512 };

static const struct {
    const char *name;
    int bytes;
} types[] = {{"i8", 1},  {"u8", 1},  {"i32", 4}, {"u32", 4}, {"i64", 8},
             {"u64", 8}, {"f16", 2}, {"f32", 4}, {"f64", 8}, {"bf16", 2}};
enum { TYPES = sizeof types / sizeof *types };
int type_bytes(int type) { return type >= 0 && type < TYPES ? types[type].bytes : 0; }

const char *call_name(CallKind kind) {
    static const char *const names[] = {"all_reduce", "all_gather", "reduce_scatter", "broadcast", "send", "recv"};
    return names[kind];
}

void call_text(const Call *c, char *out, size_t size) {
    static const char *const reduces[] = {"sum", "product", "max", "min", "mean"};
    int n = snprintf(out, size, "%s of %zu %s", call_name(c->kind), c->count, types[c->type].name);
    if (c->kind == CALL_ALL_REDUCE || c->kind == CALL_REDUCE_SCATTER)
        snprintf(out + n, size - (size_t)n, " (%s)", reduces[c->reduce]);
    else if (c->kind == CALL_BROADCAST) snprintf(out + n, size - (size_t)n, " from rank %d", c->peer);
    else if (c->kind == CALL_SEND) snprintf(out + n, size - (size_t)n, " to rank %d", c->peer);
    else if (c->kind == CALL_RECV) snprintf(out + n, size - (size_t)n, " from rank %d", c->peer);
}

static Calls *calls_of(const Op *op) { return op->work->data; }
static bool is_pair(CallKind kind) { return kind == CALL_SEND || kind == CALL_RECV; }

static Entries *entries_of(Clique *q, int rank, const Call *c, bool other) {
    bool sends = (c->kind == CALL_SEND) != other;
    int from = c->kind == CALL_SEND ? rank : c->peer, to = c->kind == CALL_SEND ? c->peer : rank;
    return &(sends ? q->sends : q->receives)[from * q->nranks + to];
}

static Entry *entry_of(Entries *e, int i) { return i < e->count ? &e->entry[i] : NULL; }

// ---- begin

static void meet_collective(Clique *q, Comm *comm, Op *op, int i, int number) {
    const Call *c = &calls_of(op)->call[i];
    while (q->nmeetings <= number) {
        if (q->nmeetings == q->meetings_cap) {
            q->meetings_cap = q->meetings_cap ? 2 * q->meetings_cap : 64;
            q->meeting = realloc(q->meeting, (size_t)q->meetings_cap * sizeof *q->meeting);
            if (!q->meeting) abort();
        }
        if (!(q->meeting[q->nmeetings++] = calloc(1, sizeof(Meeting)))) abort();
    }
    Meeting *m = q->meeting[number];
    if (!m) return;
    m->entry[comm->rank] = (Entry){op, i};
    if (!m->arrived++) {
        m->first = *c;
        m->first_rank = comm->rank;
        return;
    }
    const Call *f = &m->first;
    bool reduces = c->kind == CALL_ALL_REDUCE || c->kind == CALL_REDUCE_SCATTER;
    if (f->kind == c->kind && f->count == c->count && f->type == c->type && (!reduces || f->reduce == c->reduce) &&
        (c->kind != CALL_BROADCAST || f->peer == c->peer))
        return;
    char a[120], b[120];
    call_text(f, a, sizeof a);
    call_text(c, b, sizeof b);
    clique_fail(q, NCCL_INVALID_USAGE, "collective %d of communicator %d does not match: rank %d calls %s, rank %d %s",
                number, q->number, m->first_rank, a, comm->rank, b);
}

static void meet_pair(Clique *q, Comm *comm, Op *op, int i, int *out_number) {
    const Call *c = &calls_of(op)->call[i];
    Entries *own = entries_of(q, comm->rank, c, false);
    if (own->count == own->cap) {
        own->cap = own->cap ? 2 * own->cap : 16;
        own->entry = realloc(own->entry, (size_t)own->cap * sizeof *own->entry);
        if (!own->entry) abort();
    }
    *out_number = own->count;
    own->entry[own->count++] = (Entry){op, i};
    const Entry *other = entry_of(entries_of(q, comm->rank, c, true), *out_number);
    if (!other || !other->op) return;
    const Call *o = &calls_of(other->op)->call[other->call];
    if (o->count == c->count && o->type == c->type) return;
    char a[120], b[120];
    call_text(o, a, sizeof a);
    call_text(c, b, sizeof b);
    clique_fail(q, NCCL_INVALID_USAGE, "in communicator %d rank %d calls %s, rank %d %s", q->number, c->peer, a,
                comm->rank, b);
}

static void begin(Op *op) {
    Calls *calls = calls_of(op);
    Comm *comm = calls->comm;
    int *numbers = op->state = calloc((size_t)calls->count + 1, sizeof(int));
    if (!numbers) abort();
    if (comm->destroyed) {
        context_fault(op->context, "a graph's collective of a communicator that was destroyed");
        return;
    }
    op_depend(op, comm->last, false); // a communicator's calls go one after another, but nothing may rely on it
    op_release(comm->last);
    comm->last = op_keep(op);
    for (int i = 0; i < calls->count; i++)
        if (is_pair(calls->call[i].kind)) meet_pair(comm->clique, comm, op, i, &numbers[i]);
        else meet_collective(comm->clique, comm, op, i, numbers[i] = comm->ncollectives++);
}

// ---- what must run together

typedef struct Together {
    int count;
    Op *op[MOST_TOGETHER];
} Together;

static void add(Together *t, Op *op) {
    for (int i = 0; i < t->count; i++)
        if (t->op[i] == op) return;
    if (t->count == MOST_TOGETHER) abort();
    t->op[t->count++] = op;
}

// The ops that call i of op meets, NULL for ranks that are not there yet. Returns how many entries it wrote.
static int partners(const Op *op, int i, Op **out, int *out_rank) {
    Calls *calls = calls_of(op);
    Clique *q = calls->comm->clique;
    const Call *c = &calls->call[i];
    int number = ((int *)op->state)[i];
    if (is_pair(c->kind)) {
        const Entry *e = entry_of(entries_of(q, calls->comm->rank, c, true), number);
        out[0] = e ? e->op : NULL;
        out_rank[0] = c->peer;
        return 1;
    }
    for (int r = 0; r < q->nranks; r++) {
        out[r] = q->meeting[number] ? q->meeting[number]->entry[r].op : NULL;
        out_rank[r] = r;
    }
    return q->nranks;
}

static bool gather(Op *op, Together *t) {
    t->count = 0;
    add(t, op);
    for (int at = 0; at < t->count; at++) {
        Op *o = t->op[at];
        if (o->waits_for || !o->submitted || o->done || (o->context->running && o->context != op->context))
            return false;
        if (o->context->error) {
            clique_fail(calls_of(op)->comm->clique, NCCL_REMOTE_ERROR, "rank %d has failed: its device has an error",
                        calls_of(o)->comm->rank);
            return false;
        }
        for (int i = 0; i < calls_of(o)->count; i++) {
            Op *met[SIM_RANKS];
            int rank[SIM_RANKS], n = partners(o, i, met, rank);
            for (int j = 0; j < n; j++) {
                if (!met[j]) return false;
                add(t, met[j]);
            }
        }
    }
    return true;
}

static bool ready(Op *op) {
    Comm *comm = calls_of(op)->comm;
    if (comm->aborted) return true;
    if (comm->clique->failed) op->failed = true;
    Together t;
    return !op->failed && gather(op, &t) && !comm->clique->failed;
}

static int missing(Op *op, Context **out, int most) {
    Clique *q = calls_of(op)->comm->clique;
    int n = 0;
    for (int i = 0; i < calls_of(op)->count; i++) {
        Op *met[SIM_RANKS];
        int rank[SIM_RANKS], m = partners(op, i, met, rank);
        for (int j = 0; j < m; j++) {
            Comm *peer = q->comm[rank[j]];
            if ((met[j] && !met[j]->waits_for) || !peer || peer->destroyed) continue;
            bool known = false;
            for (int k = 0; k < n; k++) known = known || out[k] == peer->context;
            if (!known && n < most) out[n++] = peer->context;
        }
    }
    return n;
}

static void describe(Op *op, char *out, size_t size) {
    Calls *calls = calls_of(op);
    Clique *q = calls->comm->clique;
    size_t n = (size_t)snprintf(out, size, "rank %d of communicator %d (stream %d) waits in", calls->comm->rank,
                                q->number, op->stream);
    for (int i = 0; i < calls->count && n + 60 < size; i++) {
        Op *met[SIM_RANKS];
        int rank[SIM_RANKS], m = partners(op, i, met, rank), listed = 0;
        char text[120];
        call_text(&calls->call[i], text, sizeof text);
        bool all = true;
        for (int j = 0; j < m; j++) all = all && met[j] && !met[j]->waits_for;
        if (all && calls->count > 1) continue;
        n += (size_t)snprintf(out + n, size - n, " %.80s%s", text, all ? "" : " for rank");
        for (int j = 0; j < m && n + 20 < size; j++) {
            if (met[j] && !met[j]->waits_for) continue;
            n += (size_t)snprintf(out + n, size - n, "%s%d", listed++ ? ", " : " ", rank[j]);
        }
    }
}

static void fail(Op *op, const char *why) {
    op->failed = true;
    clique_fail(calls_of(op)->comm->clique, NCCL_INTERNAL_ERROR, "%s", why);
}

// ---- run

static void forget(Op *op) { // its calls are no longer met
    Calls *calls = calls_of(op);
    Clique *q = calls->comm->clique;
    for (int i = 0; i < calls->count; i++) {
        const Call *c = &calls->call[i];
        int number = ((int *)op->state)[i];
        if (is_pair(c->kind)) {
            Entry *e = entry_of(entries_of(q, calls->comm->rank, c, false), number);
            if (e && e->op == op) e->op = NULL;
        } else if (number < q->nmeetings && q->meeting[number] && q->meeting[number]->entry[calls->comm->rank].op == op)
            q->meeting[number]->entry[calls->comm->rank].op = NULL;
    }
}

static bool may_touch(Op *op, const char *what, const void *at, size_t bytes, bool write) {
    char why[400], text[600];
    if (!bytes || memory_touch(op, (uintptr_t)at, bytes, write, why, sizeof why)) return true;
    snprintf(text, sizeof text, "%s on stream %d: %s", what, op->stream, why);
    context_fault(op->context, text);
    clique_fail(calls_of(op)->comm->clique, NCCL_CUDA_ERROR, "rank %d: %s", calls_of(op)->comm->rank, text);
    return false;
}

static bool run_pair(Op *from, const Call *send, Op *to, const Call *receive) {
    size_t bytes = send->count * (size_t)type_bytes(send->type);
    if (!may_touch(from, "send", send->send, bytes, false) || !may_touch(to, "recv", receive->receive, bytes, true))
        return false;
    if (bytes) memmove(receive->receive, send->send, bytes);
    return true;
}

static bool run_collective(Clique *q, Meeting *m) {
    int n = q->nranks;
    const Call *call[SIM_RANKS];
    size_t bytes = m->first.count * (size_t)type_bytes(m->first.type);
    CallKind kind = m->first.kind;
    for (int r = 0; r < n; r++) {
        Op *op = m->entry[r].op;
        call[r] = &calls_of(op)->call[m->entry[r].call];
        size_t reads = kind == CALL_REDUCE_SCATTER                    ? bytes * (size_t)n
                       : kind == CALL_BROADCAST && r != call[r]->peer ? 0
                                                                      : bytes;
        size_t writes = kind == CALL_ALL_GATHER ? bytes * (size_t)n : bytes;
        if (!may_touch(op, call_name(kind), call[r]->send, reads, false) ||
            !may_touch(op, call_name(kind), call[r]->receive, writes, true))
            return false;
    }
    if (!bytes) return true;
    size_t parts = kind == CALL_REDUCE_SCATTER ? (size_t)n : 1;
    char *copy[SIM_RANKS]; // of what is sent: receiving may be in place
    const char *sent[SIM_RANKS];
    for (int r = 0; r < n; r++) {
        sent[r] = copy[r] = malloc(bytes * parts);
        if (!copy[r]) abort();
        if (kind != CALL_BROADCAST || r == call[r]->peer) memcpy(copy[r], call[r]->send, bytes * parts);
    }
    for (int r = 0; r < n; r++) {
        char *to = call[r]->receive;
        if (kind == CALL_ALL_REDUCE) {
            if (!r) nccl_reduce(n, sent, to, m->first.count, m->first.type, m->first.reduce, q->turn);
            else memcpy(to, call[0]->receive, bytes);
        } else if (kind == CALL_REDUCE_SCATTER) {
            const char *part[SIM_RANKS];
            for (int i = 0; i < n; i++) part[i] = sent[i] + (size_t)r * bytes;
            nccl_reduce(n, part, to, m->first.count, m->first.type, m->first.reduce, q->turn);
        } else if (kind == CALL_ALL_GATHER)
            for (int i = 0; i < n; i++) memcpy(to + (size_t)i * bytes, sent[i], bytes);
        else memcpy(to, sent[call[r]->peer], bytes);
    }
    for (int r = 0; r < n; r++) free(copy[r]);
    return true;
}

static void run(Op *op) {
    Together t;
    if (calls_of(op)->comm->aborted || !gather(op, &t)) {
        forget(op);
        op_finish(op);
        return;
    }
    bool ok = true;
    for (int at = 0; ok && at < t.count; at++) {
        Calls *calls = calls_of(t.op[at]);
        Clique *q = calls->comm->clique;
        for (int i = 0; ok && i < calls->count; i++) {
            int number = ((int *)t.op[at]->state)[i];
            if (calls->call[i].kind == CALL_SEND) {
                Entry *to = entry_of(entries_of(q, calls->comm->rank, &calls->call[i], true), number);
                ok = run_pair(t.op[at], &calls->call[i], to->op, &calls_of(to->op)->call[to->call]);
            } else if (!is_pair(calls->call[i].kind) && q->meeting[number]) {
                ok = run_collective(q, q->meeting[number]);
                free(q->meeting[number]);
                q->meeting[number] = NULL;
            }
        }
    }
    for (int at = 0; at < t.count; at++) {
        t.op[at]->failed = !ok;
        if (!ok) continue; // never ends
        forget(t.op[at]);
        op_finish(t.op[at]);
    }
}

static void release(void *data) {
    Calls *calls = data;
    comm_release(calls->comm);
    free(calls);
}

const External nccl_external = {begin, ready, run, fail, describe, missing, release, forget};
