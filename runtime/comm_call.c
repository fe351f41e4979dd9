// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm_call.h"
#include "base/checked.h"
#include <stdio.h>
#include <string.h>

int64_t comm_elements(const CommCall *c) { return c->outer * c->middle * c->inner; }

// ---- checks ---------------------------------------------------------------------------------------------------------
static bool sizes_of(const CommCall *c, int64_t element, int ways, int64_t *out_send, int64_t *out_receive) {
    int64_t n;
    if (c->outer < 1 || c->middle < 1 || c->inner < 1 || !checked_mul(c->outer, c->middle, &n) ||
        !checked_mul(n, c->inner, &n) || !checked_mul(n, element, &n))
        return false;
    *out_send = *out_receive = n;
    if (c->rows && (c->kind != COMM_ALL_TO_ALL || c->rows < 0 || c->row < 1 || !c->send_counts || !c->receive_counts ||
                    c->inner % c->rows || c->inner / c->rows % c->row))
        return false;
    if (c->kind == COMM_ALL_GATHER) return checked_mul(n, ways, out_receive);
    if (c->kind == COMM_REDUCE_SCATTER) *out_receive = n / c->middle * ceil_div(c->middle, ways);
    if (c->kind == COMM_ALL_TO_ALL) return checked_mul(n / c->middle * ceil_div(c->middle, ways), ways, out_receive);
    return true;
}

Status comm_call_check(const CommOptions *o, const CommCall *c, int ways, int64_t *out_send) {
    int64_t element = plan_dtype_bytes(c->dtype), send, receive;
    char text[160];
    if (c->mesh >> o->nmesh || !element || (unsigned)c->kind > COMM_REVERSE)
        return status_make(STATUS_INVALID, "a collective over unknown mesh axes or of an unknown type");
    if (!sizes_of(c, element, ways, &send, &receive))
        return status_make(STATUS_INVALID, "%s: sizes do not fit %d ranks", comm_call_text(o, c, text, sizeof text),
                           ways);
    *out_send = send;
    bool reduces = c->kind == COMM_ALL_REDUCE || c->kind == COMM_REDUCE_SCATTER;
    if (reduces && c->dtype == PLAN_BOOL && c->reduce == REDUCE_SUM)
        return status_make(STATUS_INVALID, "%s: a sum of bool", comm_call_text(o, c, text, sizeof text));
    if (c->kind == COMM_SEND || c->kind == COMM_RECV) return status_ok();
    const char *from = c->send, *to = c->receive;
    bool in_place = c->kind == COMM_ALL_REDUCE || c->kind == COMM_BROADCAST;
    if (!(in_place && from == to) && from < to + receive && to < from + send)
        return status_make(STATUS_INVALID, "%s: send and receive overlap", comm_call_text(o, c, text, sizeof text));
    return status_ok();
}

Status comm_message_check(const CommMessage *m, int rank, int nranks) {
    if (m->peer >= 0 && m->peer < nranks && m->peer != rank && m->bytes >= 0) return status_ok();
    return status_make(STATUS_INVALID, "a message of %lld bytes from or to rank %d", (long long)m->bytes, m->peer);
}

bool comm_calls_differ(const CommCall *a, const CommCall *b) {
    bool reduces = a->kind == COMM_ALL_REDUCE || a->kind == COMM_REDUCE_SCATTER;
    return a->kind != b->kind || a->dtype != b->dtype || (reduces && a->reduce != b->reduce) || a->outer != b->outer ||
           a->middle != b->middle || a->inner != b->inner || a->rows != b->rows || a->row != b->row ||
           (a->kind == COMM_SHIFT && a->peer != b->peer) || a->step != b->step; // two of one shape that changed places
}

bool comm_payloads_differ(const CommCall *a, const CommCall *b) {
    return a->dtype != b->dtype || comm_elements(a) != comm_elements(b);
}

// ---- who has what ---------------------------------------------------------------------------------------------------
int64_t comm_chunk_each(int64_t count, int n) { return (ceil_div(count, n) + 15) / 16 * 16; }

void comm_chunk(int64_t count, int n, int m, int64_t *out_begin, int64_t *out_end) {
    int64_t each = comm_chunk_each(count, n);
    *out_begin = each * m < count ? each * m : count;
    *out_end = each * (m + 1) < count ? each * (m + 1) : count;
}

int comm_sender(const CommCall *c, int me, int n) {
    if (c->kind == COMM_REVERSE) return n - 1 - me;
    int64_t from = (me - c->peer % n) % n;
    return (int)(from < 0 ? from + n : from);
}

// ---- words ----------------------------------------------------------------------------------------------------------
const char *comm_kind_name(PlanCommKind kind) {
    static const char *const names[] = {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast",
                                        "send",       "recv",       "shift",          "reverse"};
    return (unsigned)kind < sizeof names / sizeof *names ? names[kind] : "unknown collective";
}

static const char *mesh_text(const CommOptions *o, uint32_t mesh, char *text, size_t size) {
    size_t n = 0;
    text[0] = 0;
    for (int i = 0; i < o->nmesh; i++)
        if (mesh >> i & 1 && n < size) n += (size_t)snprintf(text + n, size - n, "%s%s", n ? "+" : "", o->name[i]);
    return mesh ? text : "no axis";
}

const char *comm_call_text(const CommOptions *o, const CommCall *c, char *text, size_t size) {
    static const char *const types[] = {"bool", "i32", "f32", "f64", "bf16", "f16"};
    char mesh[64];
    bool reduces = c->kind == COMM_ALL_REDUCE || c->kind == COMM_REDUCE_SCATTER;
    snprintf(text, size, "%s%s %s[%lld, %lld, %lld] over %s (step %d)", comm_kind_name(c->kind),
             !reduces                  ? ""
             : c->reduce == REDUCE_SUM ? " sum"
                                       : " max",
             (unsigned)c->dtype < sizeof types / sizeof *types ? types[c->dtype] : "?", (long long)c->outer,
             (long long)c->middle, (long long)c->inner, mesh_text(o, c->mesh, mesh, sizeof mesh), c->step);
    return text;
}

const char *comm_message_text(const CommMessage *m, bool receives, char *text, size_t size) {
    snprintf(text, size, "%s %s rank %d (channel %d, microbatch %d, step %d)", receives ? "recv" : "wait",
             receives ? "from" : "for", m->peer, m->channel, m->microbatch, m->step);
    return text;
}

Status comm_differ(const CommOptions *o, int rank, const CommCall *a, int other, const CommCall *b) {
    char one[160], two[160];
    return status_make(STATUS_COMM, "ranks do not match: rank %d calls %s, rank %d calls %s", rank,
                       comm_call_text(o, a, one, sizeof one), other, comm_call_text(o, b, two, sizeof two));
}

Status comm_messages_differ(int rank, const CommMessage *m, const CommMessage *sent) {
    return status_make(STATUS_COMM,
                       "ranks do not match: rank %d sends microbatch %d (%lld bytes, step %d) on channel "
                       "%d, rank %d expects microbatch %d (%lld bytes, step %d)",
                       m->peer, sent->microbatch, (long long)sent->bytes, sent->step, m->channel, rank, m->microbatch,
                       (long long)m->bytes, m->step);
}

Status comm_too_many(int rank, int64_t posts) {
    return status_make(STATUS_COMM, "rank %d has %lld messages on their way, no more were foreseen", rank,
                       (long long)posts);
}

Status comm_not_sent(int rank, const CommMessage *m) {
    return status_make(STATUS_COMM,
                       "rank %d waits for a message to rank %d on channel %d, microbatch %d that it did not send", rank,
                       m->peer, m->channel, m->microbatch);
}

Status comm_unwaited(int rank, const CommMessage *m, int to) {
    return status_make(STATUS_COMM,
                       "rank %d sent microbatch %d on channel %d to rank %d (step %d) and never "
                       "waited for it to be received",
                       rank, m->microbatch, m->channel, to, m->step);
}
