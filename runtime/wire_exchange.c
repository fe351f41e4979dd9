// SPDX-License-Identifier: Apache-2.0
// wire_exchange: the collectives of comm_wire. Each is: what goes to each member (a part of the send value, packed when
// it does not lie together), the exchange, and what becomes of what came. Small ones need one note each way. An
// all_reduce of n members moves 2 (n-1)/n of its bytes out of each and into each: everyone gets the others' pieces of
// its chunk, adds them in order, and gives the sum to all.
#include "runtime/wire.h"
#include "base/checked.h"
#include "runtime/reduce.h"
#include <stdlib.h>
#include <string.h>

typedef struct Exchange {
    Wire *c;
    const CommCall *call;
    int n, me;
    const int *member;
    int64_t element;
    bool small;
    int64_t own, place; // all_to_all, reduce_scatter: places of middle a member has, at most; bytes of one
    int64_t stage_used; // bytes
} Exchange;

// Of member m's places of middle, those that exist.
static int64_t places(const Exchange *e, int m) {
    int64_t left = e->call->middle - e->own * m;
    return left < 0 ? 0 : left < e->own ? left : e->own;
}

static char *send_at(const Exchange *e, int64_t outer, int m) {
    return (char *)e->call->send + (outer * e->call->middle + e->own * m) * e->place;
}

// ---- memory to pack and to receive in ------------------------------------------------------------------------------
static Status stage_reserve(Exchange *e, int64_t bytes) {
    Wire *c = e->c;
    if (bytes <= c->stage_bytes) return status_ok();
    free(c->stage);
    c->stage_bytes = 0;
    c->stage = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64);
    if (!c->stage) return status_make(STATUS_MEMORY, "no memory for %lld bytes of a collective", (long long)bytes);
    c->stage_bytes = bytes;
    return status_ok();
}

static int64_t padded(int64_t bytes) { return (bytes + 63) / 64 * 64; }

static char *stage_take(Exchange *e, int64_t bytes) {
    char *at = e->c->stage + e->stage_used;
    e->stage_used += padded(bytes);
    return at;
}

// ---- the exchange ---------------------------------------------------------------------------------------------------
static Head *head_of(Wire *c, int from, uint32_t mesh) {
    for (Head *h = c->peers[from].heads; h; h = h->next)
        if (h->epoch == c->epoch && h->call.mesh == mesh && h->call.kind != COMM_SEND && h->call.kind != COMM_RECV)
            return h;
    return NULL;
}

static bool all_called(Wire *c, const void *context) {
    const Exchange *e = context;
    for (int m = 0; m < e->n; m++)
        if (m != e->me && !head_of(c, e->member[m], e->call->mesh)) return false;
    return true;
}

static Status compare_heads(const Exchange *e) {
    const Head *zero = head_of(e->c, e->member[0], e->call->mesh);
    const CommCall *first = e->me ? &zero->call : e->call;
    for (int m = 1; m < e->n; m++) {
        const Head *h = m == e->me ? NULL : head_of(e->c, e->member[m], e->call->mesh);
        const CommCall *call = h ? &h->call : e->call;
        if (comm_calls_differ(first, call)) return comm_differ(&e->c->options, e->member[0], first, e->member[m], call);
    }
    for (int m = 0; m < e->n; m++) {
        const Head *h = m == e->me ? NULL : head_of(e->c, e->member[m], e->call->mesh);
        if (!h || h->part == e->c->in_bytes[m]) continue;
        char text[160];
        return status_make(STATUS_COMM,
                           "ranks do not match: rank %d sends %lld bytes to rank %d, which counts %lld: %s",
                           e->member[m], (long long)h->part, e->c->rank, (long long)e->c->in_bytes[m],
                           comm_call_text(&e->c->options, e->call, text, sizeof text));
    }
    return status_ok();
}

static void drop_head(Wire *c, int from, const Head *h) {
    Head **at = &c->peers[from].heads;
    while (*at != h) at = &(*at)->next;
    *at = h->next;
    free((Head *)h);
}

static Status move(const Exchange *e) {
    Wire *c = e->c;
    c->nmoves = 0;
    for (int i = 1; i < e->n; i++) { // each begins with another
        int to = (e->me + i) % e->n, from = (e->me + e->n - i) % e->n;
        if (c->in_bytes[from]) wire_receive(c, e->member[from], c->in[from], c->in_bytes[from], &c->moves[c->nmoves++]);
        if (c->out_bytes[to]) wire_send(c, e->member[to], c->out[to], c->out_bytes[to], &c->moves[c->nmoves++]);
    }
    return wire_settle(c, e->call);
}

// Everyone says what it calls; then out goes to the others and in comes from them.
static Status exchange(const Exchange *e) {
    Wire *c = e->c;
    for (int i = 1; i < e->n; i++) {
        int to = (e->me + i) % e->n;
        wire_tell_call(c, e->member[to], e->call, e->small && c->out_bytes[to] ? c->out[to] : NULL, c->out_bytes[to]);
    }
    STATUS_TRY(wire_wait(c, (WireWait){.call = e->call}, all_called, e));
    STATUS_TRY(compare_heads(e));
    for (int m = 0; m < e->n; m++) {
        if (m == e->me) continue;
        Head *h = head_of(c, e->member[m], e->call->mesh);
        if (e->small && h->part) memcpy(c->in[m], h->data, (size_t)h->part);
        drop_head(c, e->member[m], h);
    }
    return e->small ? status_ok() : move(e);
}

static void nothing_moves(const Exchange *e) {
    for (int m = 0; m < e->n; m++) e->c->out_bytes[m] = e->c->in_bytes[m] = 0;
}

// ---- all_reduce -----------------------------------------------------------------------------------------------------
typedef struct Sum {
    const Exchange *e;
    const void *const *from;
    char *to;
    int64_t count;
} Sum;
enum { GRAIN = 16 * 1024, MOST = WIRE_RANKS };

static void sum_part(void *context, int thread, int64_t begin, int64_t end) {
    const Sum *s = context;
    const void *from[MOST];
    int64_t first = begin * GRAIN, last = end * GRAIN < s->count ? end * GRAIN : s->count;
    (void)thread;
    for (int m = 0; m < s->e->n; m++) from[m] = (const char *)s->from[m] + first * s->e->element;
    if (first < last)
        reduce_elements(s->e->call->reduce, s->e->call->dtype, s->to + first * s->e->element, from, s->e->n,
                        last - first);
}

static void sum_all(const Exchange *e, char *to, int64_t count) {
    Sum s = {e, e->c->sources, to, count};
    if (e->call->pool && count > GRAIN) pool_run(e->call->pool, ceil_div(count, GRAIN), sum_part, &s);
    else sum_part(&s, 0, 0, ceil_div(count, GRAIN));
}

static Status all_reduce(Exchange *e) {
    Wire *c = e->c;
    const CommCall *call = e->call;
    int64_t count = comm_elements(call), begin = 0, end = count, from, to;
    if (!e->small) comm_chunk(count, e->n, e->me, &begin, &end);
    int64_t mine = (end - begin) * e->element;
    STATUS_TRY(stage_reserve(e, padded(mine) * e->n));
    for (int m = 0; m < e->n; m++) {
        from = 0, to = count;
        if (!e->small) comm_chunk(count, e->n, m, &from, &to);
        c->out[m] = (const char *)call->send + from * e->element;
        c->out_bytes[m] = (to - from) * e->element;
        c->in[m] = stage_take(e, mine);
        c->in_bytes[m] = mine;
        c->sources[m] = m == e->me ? (const char *)call->send + begin * e->element : c->in[m];
    }
    STATUS_TRY(exchange(e));
    sum_all(e, (char *)call->receive + begin * e->element, end - begin);
    if (e->small) return status_ok();
    for (int m = 0; m < e->n; m++) {
        comm_chunk(count, e->n, m, &from, &to);
        c->out[m] = (const char *)call->receive + begin * e->element;
        c->out_bytes[m] = mine;
        c->in[m] = (char *)call->receive + from * e->element;
        c->in_bytes[m] = (to - from) * e->element;
    }
    return move(e);
}

// ---- broadcast, shift, reverse --------------------------------------------------------------------------------------
// Large: the root deals out chunks, and everyone gives its own to all but the root.
static Status broadcast(Exchange *e) {
    Wire *c = e->c;
    const CommCall *call = e->call;
    int64_t count = comm_elements(call), from, to, begin, end;
    const char *source = call->send;
    char *target = call->receive;
    nothing_moves(e);
    comm_chunk(count, e->n, e->me, &begin, &end);
    for (int m = 0; m < e->n; m++) {
        from = 0, to = count;
        if (!e->small) comm_chunk(count, e->n, e->me ? e->me : m, &from, &to);
        if (e->me == 0 && m) {
            c->out[m] = source + from * e->element;
            c->out_bytes[m] = (to - from) * e->element;
        } else if (e->me && m == 0) {
            c->in[m] = target + from * e->element;
            c->in_bytes[m] = (to - from) * e->element;
        }
    }
    STATUS_TRY(exchange(e));
    if (e->me == 0 && target != source) memcpy(target, source, (size_t)(count * e->element));
    if (e->small) return status_ok();
    nothing_moves(e);
    for (int m = 0; m < e->n; m++) {
        comm_chunk(count, e->n, m, &from, &to);
        if (m) {
            c->out[m] = (e->me ? target : source) + begin * e->element;
            c->out_bytes[m] = (end - begin) * e->element;
        }
        if (e->me) {
            c->in[m] = target + from * e->element;
            c->in_bytes[m] = (to - from) * e->element;
        }
    }
    return move(e);
}

static Status permute(Exchange *e) {
    Wire *c = e->c;
    const CommCall *call = e->call;
    int64_t bytes = comm_elements(call) * e->element;
    int from = comm_sender(call, e->me, e->n);
    nothing_moves(e);
    for (int m = 0; m < e->n; m++)
        if (comm_sender(call, m, e->n) == e->me && m != e->me) {
            c->out[m] = call->send;
            c->out_bytes[m] = bytes;
        }
    c->in[from] = call->receive;
    if (from != e->me) c->in_bytes[from] = bytes;
    STATUS_TRY(exchange(e));
    if (from == e->me) memcpy(call->receive, call->send, (size_t)bytes);
    return status_ok();
}

// ---- all_gather, reduce_scatter, all_to_all -------------------------------------------------------------------------
static Status all_gather(Exchange *e) {
    Wire *c = e->c;
    const CommCall *call = e->call;
    int64_t row = call->middle * call->inner * e->element, bytes = call->outer * row;
    char *to = call->receive;
    if (call->outer > 1) STATUS_TRY(stage_reserve(e, padded(bytes) * e->n));
    for (int m = 0; m < e->n; m++) {
        c->out[m] = call->send;
        c->in[m] = call->outer > 1 ? stage_take(e, bytes) : to + m * row;
        c->out_bytes[m] = c->in_bytes[m] = bytes;
    }
    STATUS_TRY(exchange(e));
    for (int m = 0; m < e->n; m++) {
        const char *from = m == e->me ? call->send : c->in[m];
        if (m != e->me && call->outer == 1) continue;
        for (int64_t i = 0; i < call->outer; i++) memcpy(to + (i * e->n + m) * row, from + i * row, (size_t)row);
    }
    return status_ok();
}

// What goes to member m: [outer, its places], packed where it does not lie together.
static Status pack_places(Exchange *e, int64_t in_bytes) {
    Wire *c = e->c;
    const CommCall *call = e->call;
    int64_t packs = call->outer > 1 ? padded(call->outer * e->own * e->place) : 0;
    STATUS_TRY(stage_reserve(e, (packs + padded(in_bytes)) * e->n));
    for (int m = 0; m < e->n; m++) {
        int64_t run = places(e, m) * e->place;
        c->out[m] = send_at(e, 0, m);
        c->out_bytes[m] = call->outer * run;
        if (call->outer == 1 || m == e->me) continue;
        char *to = stage_take(e, c->out_bytes[m]);
        c->out[m] = to;
        for (int64_t i = 0; i < call->outer && run; i++) memcpy(to + i * run, send_at(e, i, m), (size_t)run);
    }
    return status_ok();
}

static Status reduce_scatter(Exchange *e) {
    Wire *c = e->c;
    const CommCall *call = e->call;
    int64_t run = places(e, e->me) * e->place, bytes = call->outer * run, row = e->own * e->place;
    STATUS_TRY(pack_places(e, bytes));
    for (int m = 0; m < e->n; m++) {
        c->in[m] = stage_take(e, bytes);
        c->in_bytes[m] = bytes;
    }
    STATUS_TRY(exchange(e));
    for (int64_t i = 0; i < call->outer; i++) {
        char *to = (char *)call->receive + i * row;
        for (int m = 0; m < e->n; m++) c->sources[m] = m == e->me ? send_at(e, i, m) : c->in[m] + i * run;
        if (run) sum_all(e, to, run / e->element);
        memset(to + run, 0, (size_t)(row - run));
    }
    return status_ok();
}

static Status all_to_all(Exchange *e) {
    Wire *c = e->c;
    const CommCall *call = e->call;
    int64_t run = places(e, e->me) * e->place, bytes = call->outer * run, row = e->own * e->place;
    bool straight = places(e, e->me) == e->own; // or rows must be spread, with zeros between
    STATUS_TRY(pack_places(e, straight ? 0 : bytes));
    for (int m = 0; m < e->n; m++) {
        c->in[m] = straight ? (char *)call->receive + m * call->outer * row : stage_take(e, bytes);
        c->in_bytes[m] = bytes;
    }
    STATUS_TRY(exchange(e));
    for (int m = 0; m < e->n; m++)
        for (int64_t i = 0; i < call->outer; i++) {
            char *to = (char *)call->receive + (m * call->outer + i) * row;
            if (m != e->me && straight) continue;
            if (run) memcpy(to, m == e->me ? send_at(e, i, m) : c->in[m] + i * run, (size_t)run);
            memset(to + run, 0, (size_t)(row - run));
        }
    return status_ok();
}

// ---- counted all_to_all ---------------------------------------------------------------------------------------------
// Rows that count of piece `i` (of a member's places of one outer) of the pieces counted from `counts`.
static int64_t counted_rows(const Exchange *e, const int32_t *counts, int64_t i, int64_t exist) {
    int64_t pieces = e->call->inner / (e->call->rows * e->call->row);
    if (i / pieces >= exist || counts[i] < 0) return 0;
    return counts[i] > e->call->rows ? e->call->rows : counts[i];
}

typedef struct Counted { // sizes in bytes
    int64_t pieces, unit, row;
} Counted;

static int64_t pack_rows(const Exchange *e, const Counted *k, int m, char *to) { // NULL: only counts
    const CommCall *c = e->call;
    int64_t bytes = 0;
    for (int64_t outer = 0; outer < c->outer; outer++)
        for (int64_t i = 0; i < e->own * k->pieces; i++) {
            int64_t first = (outer * c->middle + e->own * m) * k->pieces;
            int64_t n = counted_rows(e, c->send_counts + first, i, places(e, m)) * k->row;
            if (to && n) memcpy(to + bytes, (const char *)c->send + (first + i) * k->unit, (size_t)n);
            bytes += n;
        }
    return bytes;
}

// from NULL: only counts.
static int64_t spread_rows(const Exchange *e, const Counted *k, int m, const char *from) {
    const CommCall *c = e->call;
    int64_t bytes = 0, all = e->own * k->pieces;
    for (int64_t outer = 0; outer < c->outer; outer++)
        for (int64_t i = 0; i < all; i++) {
            int64_t first = (m * c->outer + outer) * all;
            int64_t n = counted_rows(e, c->receive_counts + first, i, places(e, e->me)) * k->row;
            char *to = (char *)c->receive + (first + i) * k->unit;
            if (from && n) memcpy(to, from + bytes, (size_t)n);
            if (from) memset(to + n, 0, (size_t)(k->unit - n));
            bytes += n;
        }
    return bytes;
}

static Status counted_all_to_all(Exchange *e) {
    Wire *c = e->c;
    const CommCall *call = e->call;
    int64_t unit = call->rows * call->row, total = 0;
    Counted k = {call->inner / unit, unit * e->element, call->row * e->element};
    for (int m = 0; m < e->n; m++) {
        c->out_bytes[m] = pack_rows(e, &k, m, NULL);
        c->in_bytes[m] = spread_rows(e, &k, m, NULL);
        total += padded(c->out_bytes[m]) + padded(c->in_bytes[m]);
    }
    STATUS_TRY(stage_reserve(e, total + 64));
    for (int m = 0; m < e->n; m++) {
        char *out = stage_take(e, c->out_bytes[m]);
        pack_rows(e, &k, m, out);
        c->out[m] = out;
        c->in[m] = m == e->me ? out : stage_take(e, c->in_bytes[m]);
    }
    STATUS_TRY(exchange(e));
    for (int m = 0; m < e->n; m++) spread_rows(e, &k, m, c->in[m]);
    return status_ok();
}

// ---------------------------------------------------------------------------------------------------------------------
Status wire_collective(Wire *c, const CommCall *call) {
    int64_t element = plan_dtype_bytes(call->dtype);
    Exchange e = {.c = c,
                  .call = call,
                  .n = c->ways[call->mesh],
                  .me = c->me[call->mesh],
                  .member = c->member[call->mesh],
                  .element = element,
                  .small = comm_elements(call) * element <= WIRE_INLINE,
                  .place = call->inner * element};
    e.own = ceil_div(call->middle, e.n);
    switch (call->kind) {
    case COMM_ALL_REDUCE: return all_reduce(&e);
    case COMM_ALL_GATHER: return all_gather(&e);
    case COMM_REDUCE_SCATTER: return reduce_scatter(&e);
    case COMM_ALL_TO_ALL: return call->rows ? counted_all_to_all(&e) : all_to_all(&e);
    case COMM_SHIFT:
    case COMM_REVERSE: return permute(&e);
    default: return broadcast(&e);
    }
}
