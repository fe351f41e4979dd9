// SPDX-License-Identifier: Apache-2.0
// wire_wait: what ranks tell each other about how far they are: failures, waits, and whether all wait for each other.
//
// A rank that has waited a while tells the others what for, with how many notes it has sent to and received from each.
// When all wait or have left, and nothing is on its way to one that waits, the lowest of those asks them once more;
// the same answers mean that nobody was between two waits, and that the wait is for ever (Mattern 1987).
#include "base/clock.h"
#include "runtime/wire.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- failures -------------------------------------------------------------------------------------------------------
static void set_failed(Wire *c, Status why) {
    if (c->failed) return;
    c->failed = true;
    c->why = why;
}

Status wire_fail(Wire *c, Status why) {
    if (c->failed) return c->why;
    AbortNote n = {.kind = WIRE_ABORT, .code = (int32_t)why.code, .epoch = c->epoch};
    size_t length = strlen(why.message);
    memcpy(n.message, why.message, length + 1);
    for (int r = 0; r < c->n; r++)
        if (r != c->rank) world_note(c->world, c->channel, r, &n, (int)(offsetof(AbortNote, message) + length + 1));
    set_failed(c, why);
    return c->why;
}

static Status progress(Wire *c, int64_t wait_ms) {
    Status s = world_progress(c->world, wait_ms, NULL);
    if (status_failed(&s)) set_failed(c, s);
    return s;
}

// ---- transfers ------------------------------------------------------------------------------------------------------
static void begin_letters(Wire *c, int from);

void wire_send(Wire *c, int to, const void *data, int64_t bytes, WorldTransfer *t) {
    WirePeer *p = &c->peers[to];
    p->size[p->sends++ % WIRE_SIZES] = bytes;
    *t = (WorldTransfer){.peer = to, .sends = true, .data = (void *)data, .bytes = bytes};
    c->world->v->begin(c->world, t);
}

void wire_receive(Wire *c, int from, void *data, int64_t bytes, WorldTransfer *t) {
    c->peers[from].receives++;
    *t = (WorldTransfer){.peer = from, .data = data, .bytes = bytes};
    c->world->v->begin(c->world, t);
    begin_letters(c, from);
}

// Letters' transfers, as far as it is their turn.
static void begin_letters(Wire *c, int from) {
    WirePeer *p = &c->peers[from];
    for (Letter *l = p->letters; l; l = l->next) {
        if (l->begun || l->number < 0 || l->number != p->receives) continue;
        l->begun = true;
        p->receives++;
        l->transfer = (WorldTransfer){.peer = from, .data = l->data, .bytes = l->message.bytes};
        c->world->v->begin(c->world, &l->transfer);
    }
}

static bool moves_done(const Wire *c) {
    for (int i = 0; i < c->nmoves; i++)
        if (!c->moves[i].done) return false;
    return true;
}

static bool is_waiting(const Wire *c, int r) { return c->peers[r].state_epoch == c->epoch && c->peers[r].waits; }
static bool has_left(const Wire *c, int r) {
    return (c->peers[r].state_epoch == c->epoch && c->peers[r].left) || c->peers[r].state_epoch > c->epoch ||
           (r != c->rank && world_has_left(c->world, r));
}

static bool shares_group(const Wire *c, int rank, uint32_t mesh) {
    for (int i = 0; i < c->ways[mesh]; i++)
        if (c->member[mesh][i] == rank) return true;
    return false;
}

static bool is_missing(const Wire *c, const WireWait *w, int r) {
    if (w->message) return w->message->peer == r;
    for (int i = 0; i < c->nmoves; i++)
        if (c->moves[i].peer == r && !c->moves[i].done) return true;
    if (c->nmoves || r == c->rank || !shares_group(c, r, w->call->mesh)) return false;
    const Head *h = c->peers[r].heads;
    while (h && !(h->epoch == c->epoch && h->call.mesh == w->call->mesh)) h = h->next;
    return !h;
}

// Who has not come, or not brought what is awaited; or, if those wait themselves, who else does not.
static void name_missing(const Wire *c, const WireWait *w, char *text, size_t size) {
    size_t n = 0;
    bool all_tell = !c->nmoves;
    for (int r = 0; r < c->n && all_tell; r++) all_tell = !is_missing(c, w, r) || is_waiting(c, r);
    text[0] = 0;
    for (int r = 0; r < c->n && n < size; r++) {
        bool named = all_tell ? r != c->rank && !is_waiting(c, r) && !has_left(c, r) : is_missing(c, w, r);
        if (named) n += (size_t)snprintf(text + n, size - n, "%s %d", n ? "," : "; still missing: rank", r);
    }
}

static Status too_late(Wire *c, const WireWait *w) {
    char text[200], missing[100];
    name_missing(c, w, missing, sizeof missing);
    return wire_fail(c, status_make(STATUS_COMM, "rank %d waited %lld ms in %s%s", c->rank,
                                    (long long)c->options.timeout_ms,
                                    w->call ? comm_call_text(&c->options, w->call, text, sizeof text)
                                            : comm_message_text(w->message, w->receives, text, sizeof text),
                                    missing));
}

Status wire_settle(Wire *c, const CommCall *call) {
    int64_t since = now_ms();
    while (!moves_done(c) && !c->failed) {
        STATUS_TRY(progress(c, WIRE_SLICE_MS));
        if (c->options.timeout_ms && now_ms() - since >= c->options.timeout_ms && !moves_done(c))
            too_late(c, &(WireWait){.call = call});
    }
    if (c->failed) return c->why;
    c->nmoves = 0;
    return status_ok();
}

// ---- what ranks tell ------------------------------------------------------------------------------------------------
void wire_count(Wire *c, int to, const void *note, int bytes) {
    c->peers[to].sent++;
    world_note(c->world, c->channel, to, note, bytes);
}

void wire_tell_call(Wire *c, int to, const CommCall *call, const void *data, int64_t part) {
    CallNote n = {.kind = WIRE_CALL,
                  .comm = (int32_t)call->kind,
                  .reduce = (int32_t)call->reduce,
                  .dtype = (int32_t)call->dtype,
                  .step = call->step,
                  .epoch = c->epoch,
                  .mesh = call->mesh,
                  .inlined = data ? (uint32_t)part : 0,
                  .outer = call->outer,
                  .middle = call->middle,
                  .inner = call->inner,
                  .rows = call->rows,
                  .row = call->row,
                  .peer = call->peer,
                  .part = part};
    if (data) memcpy(n.data, data, (size_t)part);
    wire_count(c, to, &n, (int)(offsetof(CallNote, data) + n.inlined));
}

// to -1: everyone.
static void tell_state(Wire *c, int to, bool left, uint32_t wave) {
    StateNote n = {.kind = WIRE_STATE, .left = left, .epoch = c->epoch, .wave = wave};
    const WireWait *w = &c->waits;
    if (w->call) comm_call_text(&c->options, w->call, n.text, sizeof n.text);
    else if (w->message) comm_message_text(w->message, w->receives, n.text, sizeof n.text);
    for (int r = 0; r < c->n; r++) {
        n.counts[r] = c->peers[r].sent;
        n.counts[c->n + r] = c->peers[r].received;
    }
    WirePeer *own = &c->peers[c->rank]; // the same as the others know
    own->waits = !left;
    own->left = left;
    own->state_epoch = c->epoch;
    own->wave = wave;
    memcpy(own->counts, n.counts, sizeof *n.counts * 2 * (size_t)c->n);
    memcpy(own->text, n.text, sizeof own->text);
    int bytes = (int)(offsetof(StateNote, counts) + sizeof *n.counts * 2 * (size_t)c->n);
    for (int r = 0; r < c->n; r++)
        if (r != c->rank && (to < 0 || r == to)) world_note(c->world, c->channel, r, &n, bytes);
}

void wire_tell_left(Wire *c) {
    c->gone = true;
    tell_state(c, -1, true, 0);
}

// All wait or have left, and nothing is on its way to who waits. out_sum: of all counts.
static bool all_wait(const Wire *c, uint64_t *out_sum) {
    uint64_t sum = 14695981039346656037u;
    for (int b = 0; b < c->n; b++) {
        if (!is_waiting(c, b)) {
            if (!has_left(c, b)) return false;
            continue;
        }
        for (int a = 0; a < c->n; a++) {
            uint32_t received = c->peers[b].counts[c->n + a];
            bool known = c->peers[a].state_epoch == c->epoch;
            if (a != b && known && c->peers[a].counts[b] != received) return false;
            sum = (sum ^ received) * 1099511628211u;
        }
    }
    *out_sum = sum;
    return true;
}

static Status deadlock(Wire *c) {
    Status s = status_make(STATUS_COMM, "deadlock:");
    size_t n = strlen(s.message);
    for (int r = 0; r < c->n && n < sizeof s.message - 1; r++) {
        bool waits = is_waiting(c, r);
        n += (size_t)snprintf(s.message + n, sizeof s.message - n, "%s rank %d %s%s", n > 9 ? "," : "", r,
                              waits ? "waits in " : "has finished", waits ? c->peers[r].text : "");
    }
    return wire_fail(c, s);
}

static void look_for_deadlock(Wire *c) {
    uint64_t sum;
    for (int r = 0; r < c->rank; r++)
        if (is_waiting(c, r)) return; // it looks
    if (!all_wait(c, &sum)) {
        c->asking = false;
        return;
    }
    if (!c->asking) {
        c->asking = true;
        c->asked = sum;
        AskNote n = {.kind = WIRE_ASK, .epoch = c->epoch, .wave = ++c->wave};
        c->peers[c->rank].wave = c->wave;
        for (int r = 0; r < c->n; r++)
            if (r != c->rank && is_waiting(c, r)) world_note(c->world, c->channel, r, &n, sizeof n);
    }
    for (int r = 0; r < c->n; r++)
        if (is_waiting(c, r) && c->peers[r].wave != c->wave) return;
    if (sum == c->asked) deadlock(c);
    c->asking = false;
}

static uint64_t counted(const Wire *c) {
    uint64_t n = 0;
    for (int r = 0; r < c->n; r++) n += (uint64_t)c->peers[r].sent + c->peers[r].received;
    return n;
}

Status wire_wait(Wire *c, WireWait waits, WireReadyFn *ready, const void *context) {
    int64_t since = now_ms(), idle = since;
    uint64_t seen = counted(c);
    bool told = false;
    c->waits = waits;
    while (!c->failed && !ready(c, context)) {
        Status s = progress(c, told ? WIRE_SLICE_MS : WIRE_IDLE_MS);
        int64_t now = now_ms();
        if (status_failed(&s) || c->failed || ready(c, context)) break;
        if (counted(c) != seen) {
            seen = counted(c);
            idle = now;
            told = false;
        }
        if (!told && now - idle >= WIRE_IDLE_MS) {
            tell_state(c, -1, false, 0);
            told = true;
        }
        if (told) look_for_deadlock(c);
        if (c->options.timeout_ms && now - since >= c->options.timeout_ms && !c->failed) too_late(c, &waits);
    }
    c->waits = (WireWait){0};
    c->peers[c->rank].waits = false;
    c->asking = false;
    return c->failed ? c->why : status_ok();
}

// ---- notes that come ------------------------------------------------------------------------------------------------
static void no_memory(Wire *c) { world_fail(c->world, status_make(STATUS_MEMORY, "no memory for a message")); }

static void on_call(Wire *c, int from, const CallNote *n, int64_t inlined) {
    if (n->epoch < c->epoch) return;
    Head *h = malloc(sizeof *h + (size_t)inlined);
    if (!h) {
        no_memory(c);
        return;
    }
    *h = (Head){.epoch = n->epoch, .part = n->part};
    h->call = (CommCall){.kind = (PlanCommKind)n->comm,
                         .reduce = (PlanReduce)n->reduce,
                         .dtype = (PlanDType)n->dtype,
                         .mesh = n->mesh,
                         .outer = n->outer,
                         .middle = n->middle,
                         .inner = n->inner,
                         .rows = n->rows,
                         .row = n->row,
                         .peer = n->peer,
                         .step = n->step};
    memcpy(h->data, n->data, (size_t)inlined);
    Head **at = &c->peers[from].heads;
    while (*at) at = &(*at)->next;
    *at = h;
    if (n->epoch == c->epoch) c->peers[from].received++;
}

static void on_post(Wire *c, int from, const PostNote *n, int64_t inlined) {
    WirePeer *p = &c->peers[from];
    if (n->epoch < c->epoch && n->number < 0) return;
    Letter *l = calloc(1, sizeof *l);
    char *data = malloc((size_t)n->bytes + 1);
    if (!l || !data) {
        free(l);
        free(data);
        no_memory(c);
        return;
    }
    *l = (Letter){
        .epoch = n->epoch, .empty = n->empty, .dropped = n->epoch < c->epoch, .number = n->number, .data = data};
    l->message = (CommMessage){
        .peer = from, .channel = n->channel, .microbatch = n->microbatch, .bytes = n->bytes, .step = n->step};
    if (inlined) memcpy(data, n->data, (size_t)inlined);
    Letter **at = &p->letters;
    while (*at) at = &(*at)->next;
    *at = l;
    if (n->epoch == c->epoch) p->received++;
    begin_letters(c, from);
}

static void on_taken(Wire *c, int from, const TakenNote *n) {
    if (n->epoch != c->epoch) return;
    c->peers[from].received++;
    for (int64_t i = 0; i < c->options.posts; i++) {
        Post *p = &c->posts[i];
        if (!p->used || p->taken || p->message.peer != from || p->message.channel != n->channel ||
            p->message.microbatch != n->microbatch)
            continue;
        p->taken = true;
        return;
    }
}

static void on_state(Wire *c, int from, const StateNote *n) {
    WirePeer *p = &c->peers[from];
    p->waits = !n->left;
    p->left = n->left;
    p->state_epoch = n->epoch;
    p->wave = n->wave;
    memcpy(p->counts, n->counts, sizeof *n->counts * 2 * (size_t)c->n);
    memcpy(p->text, n->text, sizeof p->text);
    p->text[sizeof p->text - 1] = 0;
}

static void on_abort(Wire *c, const AbortNote *n) {
    Status s = status_make((StatusCode)n->code, "%s", n->message);
    if (n->epoch == c->epoch) set_failed(c, s);
    if (n->epoch > c->epoch) {
        c->abort_epoch = n->epoch;
        c->abort_why = s;
    }
}

// What the other has begun is taken and thrown away where nobody here asks for it any more, and what it has not begun
// is not waited for.
static void on_end(Wire *c, int from, const EndNote *n) {
    WirePeer *p = &c->peers[from];
    if (n->epoch == c->epoch) {
        p->ended = true;
        set_failed(c, status_make((StatusCode)n->why.code, "%.*s", (int)sizeof n->why.message - 1, n->why.message));
    }
    for (int i = 0; i < c->nmoves && p->receives > n->number; i++)
        if (c->moves[i].peer == from && !c->moves[i].sends && !c->moves[i].done) {
            c->world->v->cancel(c->world, &c->moves[i]);
            p->receives--;
        }
    begin_letters(c, from);
    while (p->receives < n->number && n->number - p->receives <= WIRE_SIZES) {
        int64_t bytes = n->size[p->receives % WIRE_SIZES], before = p->receives;
        Letter *l = calloc(1, sizeof *l);
        char *data = malloc((size_t)bytes + 1);
        if (!l || !data) {
            free(l);
            free(data);
            no_memory(c);
            return;
        }
        *l = (Letter){
            .epoch = n->epoch, .dropped = true, .begun = true, .number = before, .data = data, .next = p->letters};
        p->letters = l;
        wire_receive(c, from, data, bytes, &l->transfer);
    }
}

static bool sane_call(const CallNote *n, int64_t bytes) {
    int64_t fixed = (int64_t)offsetof(CallNote, data);
    return bytes >= fixed && n->inlined <= WIRE_INLINE && bytes == fixed + n->inlined && n->part >= 0;
}

static bool sane_post(const PostNote *n, int64_t bytes) {
    int64_t fixed = (int64_t)offsetof(PostNote, data);
    if (bytes < fixed || n->bytes < 0) return false;
    if (n->number >= 0) return bytes == fixed;
    return n->empty ? bytes == fixed : n->bytes <= WIRE_INLINE && bytes == fixed + n->bytes;
}

static bool sane_end(const EndNote *n, int64_t bytes) {
    for (int i = 0; bytes == (int64_t)sizeof *n && i < WIRE_SIZES; i++)
        if (n->size[i] < 0) return false;
    return bytes == (int64_t)sizeof *n && n->why.code > STATUS_OK && n->why.code <= STATUS_INTERNAL;
}

static bool sane_abort(const AbortNote *n, int64_t bytes) {
    int64_t fixed = (int64_t)offsetof(AbortNote, message);
    return bytes > fixed && bytes <= (int64_t)sizeof *n && n->message[bytes - fixed - 1] == 0 && n->code > STATUS_OK &&
           n->code <= STATUS_INTERNAL;
}

void wire_note(void *context, int from, const void *note, int bytes) {
    Wire *c = context;
    int32_t kind = -1;
    bool sane = bytes >= (int)sizeof kind;
    if (sane) memcpy(&kind, note, sizeof kind);
    switch (kind) {
    case WIRE_CALL:
        if ((sane = sane_call(note, bytes))) on_call(c, from, note, bytes - (int)offsetof(CallNote, data));
        break;
    case WIRE_POST:
        if ((sane = sane_post(note, bytes))) on_post(c, from, note, bytes - (int)offsetof(PostNote, data));
        break;
    case WIRE_TAKEN:
        if ((sane = bytes == (int)sizeof(TakenNote))) on_taken(c, from, note);
        break;
    case WIRE_STATE:
        sane = bytes == (int)(offsetof(StateNote, counts) + 2 * sizeof(uint32_t) * (size_t)c->n);
        if (sane) on_state(c, from, note);
        break;
    case WIRE_ASK:
        if ((sane = bytes == (int)sizeof(AskNote)) && ((const AskNote *)note)->epoch == c->epoch &&
            (c->waits.call || c->waits.message))
            tell_state(c, from, false, ((const AskNote *)note)->wave);
        break;
    case WIRE_ABORT:
        if ((sane = sane_abort(note, bytes))) on_abort(c, note);
        break;
    case WIRE_END:
        if ((sane = sane_end(note, bytes))) on_end(c, from, note);
        break;
    default: sane = false;
    }
    if (!sane) world_fail(c->world, status_make(STATUS_COMM, "rank %d sent a note that makes no sense", from));
}

// ---- epochs ---------------------------------------------------------------------------------------------------------
static void free_letter(Letter *l) {
    free(l->data);
    free(l);
}

// Frees what came in earlier epochs, but for buffers that are still being filled.
static void purge(Wire *c, int from, bool all) {
    WirePeer *p = &c->peers[from];
    for (Head **at = &p->heads; *at;) {
        Head *h = *at;
        if (!all && h->epoch >= c->epoch) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        free(h);
    }
    for (Letter **at = &p->letters; *at;) {
        Letter *l = *at;
        bool filling = l->number >= 0 && !(l->begun && l->transfer.done);
        if (l->epoch < c->epoch) l->dropped = true;
        if (!all && (!l->dropped || filling)) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        free_letter(l);
    }
}

void wire_forget(Wire *c) {
    for (int r = 0; r < c->n; r++) purge(c, r, true);
}

static bool nothing_left(const Wire *c) {
    bool done = moves_done(c);
    for (int64_t i = 0; i < c->options.posts; i++) {
        const Post *p = &c->posts[i];
        done = done && (!p->used || p->transfer.done);
    }
    for (int r = 0; r < c->n && done; r++) {
        done = r == c->rank || c->peers[r].ended || has_left(c, r);
        for (const Letter *l = c->peers[r].letters; l; l = l->next)
            done = done && (l->number < 0 || (l->begun && l->transfer.done));
    }
    return done;
}

void wire_end(Wire *c) {
    int64_t until = now_ms() + WIRE_GRACE_MS;
    for (int r = 0; r < c->n; r++) {
        EndNote n = {.kind = WIRE_END, .epoch = c->epoch, .number = c->peers[r].sends, .why = c->why};
        memcpy(n.size, c->peers[r].size, sizeof n.size);
        if (r != c->rank) world_note(c->world, c->channel, r, &n, sizeof n);
    }
    c->gone = true;
    while (!nothing_left(c)) {
        Status s = progress(c, WIRE_SLICE_MS);
        if (status_failed(&s)) return;
        if (now_ms() > until) {
            world_fail(c->world, c->why); // somebody is stuck: buffers are not touched any more
            return;
        }
    }
    c->nmoves = 0;
}

void wire_begin(Wire *c) {
    c->epoch++;
    c->failed = status_failed(&c->world->why);
    if (c->failed) c->why = c->world->why;
    if (c->abort_epoch == c->epoch) set_failed(c, c->abort_why);
    c->gone = c->asking = false;
    c->waits = (WireWait){0};
    c->nmoves = 0;
    for (int r = 0; r < c->n; r++) {
        WirePeer *p = &c->peers[r];
        purge(c, r, false);
        p->sent = p->received = 0;
        p->ended = false;
        for (const Head *h = p->heads; h; h = h->next) p->received += h->epoch == c->epoch;
        for (const Letter *l = p->letters; l; l = l->next) p->received += !l->dropped && l->epoch == c->epoch;
    }
    for (int64_t i = 0; i < c->options.posts; i++) c->posts[i].used = false;
}
