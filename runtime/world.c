// SPDX-License-Identifier: Apache-2.0
// world: what every kind of world has: channels, ends and failures, and the few things all processes do together. Those
// need no speed: tokens (notes of channel 1 with a kind and a running number) say who is where, and carry small values.
#include "runtime/world.h"
#include "base/checked.h"
#include "base/clock.h"
#include "runtime/comm.h"
#include <stdlib.h>
#include <string.h>

enum { OWN_CHANNEL = 1, INLINE_BYTES = 4096, LEAVE_MS = 2000, SLICE_MS = 200 };

typedef enum OwnKind { OWN_TOKEN, OWN_ABORT, OWN_LEAVE } OwnKind;
typedef enum TogetherKind { TOGETHER_BARRIER, TOGETHER_BROADCAST, TOGETHER_GATHER } TogetherKind;

typedef struct OwnNote {
    int32_t kind, together;
    int64_t number, bytes; // of what follows: inline, or as a transfer
    char data[INLINE_BYTES];
} OwnNote;
enum { OWN_FIXED = offsetof(OwnNote, data) };
_Static_assert(sizeof(OwnNote) <= WORLD_NOTE - WORLD_HEAD, "a token is a note");

typedef struct Token {
    struct Token *next;
    int32_t together;
    int64_t number, bytes;
    char data[];
} Token;

typedef struct WorldParts {
    int64_t number; // of things done together
    int64_t told;   // number behind the last agreement on a failure
    Token **first;  // by rank, in the order they came
    bool *left;
    bool leaving; // this process
} WorldParts;

// ---- notes ----------------------------------------------------------------------------------------------------------
typedef struct NoteHead {
    uint32_t channel, bytes;
} NoteHead;
_Static_assert(sizeof(NoteHead) == WORLD_HEAD, "what the limit allows for");

void world_note(World *w, int channel, int to, const void *data, int bytes) {
    char note[WORLD_NOTE];
    NoteHead head = {(uint32_t)channel, (uint32_t)bytes};
    memcpy(note, &head, sizeof head);
    memcpy(note + sizeof head, data, (size_t)bytes);
    if (!status_failed(&w->why)) w->v->note(w, to, note, (int)sizeof head + bytes);
}

void world_deliver(World *w, int from, const void *data, int64_t bytes) {
    NoteHead head;
    if (bytes < (int64_t)sizeof head || from < 0 || from >= w->size) return;
    memcpy(&head, data, sizeof head);
    if (head.bytes > bytes - (int64_t)sizeof head) return;
    for (int i = 0; i < WORLD_CHANNELS; i++)
        if (w->listener[i].channel && w->listener[i].channel == (int)head.channel) {
            w->listener[i].fn(w->listener[i].context, from, (const char *)data + sizeof head, (int)head.bytes);
            return;
        }
}

static void on_token(World *w, int from, const OwnNote *n, int bytes) {
    int64_t has = bytes - OWN_FIXED;
    if (n->bytes < 0 || (n->bytes <= INLINE_BYTES && has != n->bytes) || (n->bytes > INLINE_BYTES && has)) return;
    Token *t = malloc(sizeof *t + (size_t)has);
    if (!t) {
        world_fail(w, status_make(STATUS_MEMORY, "no memory for a note"));
        return;
    }
    *t = (Token){.together = n->together, .number = n->number, .bytes = n->bytes};
    memcpy(t->data, n->data, (size_t)has);
    Token **at = &w->parts->first[from];
    while (*at) at = &(*at)->next;
    *at = t;
}

// Passed on: who ends because of it must not look like the one that failed.
static void on_abort(World *w, int from, const char *text, int length) {
    bool passed_on = length >= (int)strlen(COMM_STOPPED) && !strncmp(text, COMM_STOPPED, strlen(COMM_STOPPED));
    if (passed_on) world_fail(w, status_make(STATUS_COMM, "%.*s", length, text));
    else world_fail(w, status_make(STATUS_COMM, COMM_STOPPED " rank %d failed: %.*s", from, length, text));
}

static void on_note(void *context, int from, const void *note, int bytes) {
    World *w = context;
    OwnNote n;
    if (bytes < OWN_FIXED || bytes > (int)sizeof n) return;
    memcpy(&n, note, (size_t)bytes);
    switch ((OwnKind)n.kind) {
    case OWN_TOKEN: on_token(w, from, &n, bytes); break;
    case OWN_LEAVE: w->parts->left[from] = true; break;
    case OWN_ABORT: on_abort(w, from, n.data, bytes - OWN_FIXED > 400 ? 400 : bytes - OWN_FIXED); break;
    }
}

static void send_own(World *w, int to, OwnKind kind, TogetherKind together, const void *data, int64_t bytes) {
    OwnNote n = {.kind = kind, .together = together, .number = w->parts->number, .bytes = bytes};
    int has = bytes <= INLINE_BYTES ? (int)bytes : 0;
    if (has) memcpy(n.data, data, (size_t)has);
    world_note(w, OWN_CHANNEL, to, &n, OWN_FIXED + has);
}

// ---- failures and ends ----------------------------------------------------------------------------------------------
Status world_fail(World *w, Status why) {
    if (status_failed(&w->why)) return w->why;
    for (int r = 0; r < w->size; r++)
        if (r != w->rank && !w->parts->left[r])
            send_own(w, r, OWN_ABORT, TOGETHER_BARRIER, why.message, (int64_t)strlen(why.message));
    w->why = why;
    return why;
}

void world_abort(World *w, const Status *why) { world_fail(w, *why); }

Status world_progress(World *w, int64_t wait_ms, bool *out_moved) {
    bool moved = false;
    if (!status_failed(&w->why)) {
        Status s = w->v->progress(w, wait_ms, &moved);
        if (status_failed(&s)) world_fail(w, s);
    }
    if (out_moved) *out_moved = moved;
    return w->why;
}

bool world_has_left(const World *w, int rank) { return w->parts->left[rank]; }

Status world_expect(World *w, int rank) {
    if (status_failed(&w->why)) return w->why;
    if (!w->parts->left[rank]) return status_ok();
    return world_fail(w, status_make(STATUS_COMM, "rank %d has ended, rank %d still needs it", rank, w->rank));
}

Status world_init(World *w, const WorldVtable *v, int rank, int size, int local, int locals) {
    *w = (World){.v = v, .rank = rank, .size = size, .local = local, .locals = locals};
    w->parts = calloc(1, sizeof *w->parts);
    if (w->parts) w->parts->first = calloc((size_t)size, sizeof *w->parts->first);
    if (w->parts) w->parts->left = calloc((size_t)size, sizeof *w->parts->left);
    if (!w->parts || !w->parts->first || !w->parts->left) {
        world_end(w);
        return status_make(STATUS_MEMORY, "no memory for a run of %d processes", size);
    }
    w->channels = OWN_CHANNEL;
    w->listener[0].channel = OWN_CHANNEL;
    w->listener[0].fn = on_note;
    w->listener[0].context = w;
    return status_ok();
}

void world_end(World *w) {
    WorldParts *parts = w->parts;
    if (!parts) return;
    for (int r = 0; parts->first && r < w->size; r++)
        for (Token *t = parts->first[r]; t;) {
            Token *next = t->next;
            free(t);
            t = next;
        }
    free(parts->first);
    free(parts->left);
    free(parts);
    w->parts = NULL;
}

void world_free(World *w) {
    if (!w) return;
    bool clean = !status_failed(&w->why);
    for (int r = 0; clean && r < w->size; r++)
        if (r != w->rank) send_own(w, r, OWN_LEAVE, TOGETHER_BARRIER, NULL, 0);
    int64_t until = now_ms() + LEAVE_MS;
    for (bool all = false; clean && !all && now_ms() < until;) {
        all = true;
        for (int r = 0; r < w->size; r++) all = all && (r == w->rank || w->parts->left[r]);
        Status s = all ? status_ok() : world_progress(w, SLICE_MS, NULL);
        clean = !status_failed(&s);
    }
    for (int r = 0; clean && r < w->size; r++) clean = r == w->rank || w->parts->left[r];
    w->v->free(w, clean);
}

// ---- together -------------------------------------------------------------------------------------------------------
static const char *together_name(int kind) {
    static const char *const names[] = {"barrier", "broadcast", "gather"};
    return (unsigned)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

static Status too_late(World *w, int for_rank, TogetherKind kind, int64_t since) {
    if (!w->timeout_ms || now_ms() - since < w->timeout_ms) return status_ok();
    return world_fail(w, status_make(STATUS_COMM, "rank %d waited %lld ms for rank %d in a %s of all processes",
                                     w->rank, (long long)w->timeout_ms, for_rank, together_name(kind)));
}

static Status wait_transfer(World *w, const WorldTransfer *t, TogetherKind kind) {
    int64_t since = now_ms();
    while (!t->done) {
        STATUS_TRY(world_progress(w, SLICE_MS, NULL));
        if (!t->done) STATUS_TRY(world_expect(w, t->peer));
        if (!t->done) STATUS_TRY(too_late(w, t->peer, kind, since));
    }
    return status_ok();
}

// The next token of `from`, which must be of the same thing.
static Status take_token(World *w, int from, TogetherKind kind, int64_t bytes, Token **out_token) {
    int64_t since = now_ms();
    Token **first = &w->parts->first[from];
    while (!*first) {
        STATUS_TRY(world_progress(w, SLICE_MS, NULL));
        if (!*first) STATUS_TRY(world_expect(w, from));
        if (!*first) STATUS_TRY(too_late(w, from, kind, since));
    }
    Token *t = *first;
    *first = t->next;
    if (t->together == (int)kind && t->number == w->parts->number && t->bytes == bytes) {
        *out_token = t;
        return status_ok();
    }
    Status s = status_make(STATUS_COMM,
                           "processes do not match: rank %d is at a %s of %lld bytes (%lld), rank %d at a %s of %lld "
                           "bytes (%lld)",
                           from, together_name(t->together), (long long)t->bytes, (long long)t->number, w->rank,
                           together_name(kind), (long long)bytes, (long long)w->parts->number);
    free(t);
    return world_fail(w, s);
}

// The transfer, if one is needed, is due to be waited for.
static void give(World *w, int to, TogetherKind kind, const void *data, int64_t bytes, WorldTransfer *t) {
    send_own(w, to, OWN_TOKEN, kind, data, bytes);
    *t = (WorldTransfer){.peer = to, .sends = true, .data = (void *)data, .bytes = bytes, .done = true};
    if (bytes <= INLINE_BYTES || status_failed(&w->why)) return;
    t->done = false;
    w->v->begin(w, t);
}

static Status take(World *w, int from, TogetherKind kind, void *data, int64_t bytes) {
    Token *token = NULL;
    STATUS_TRY(take_token(w, from, kind, bytes, &token));
    if (bytes && bytes <= INLINE_BYTES) memcpy(data, token->data, (size_t)bytes);
    free(token);
    if (bytes <= INLINE_BYTES) return status_ok();
    WorldTransfer t = {.peer = from, .data = data, .bytes = bytes};
    w->v->begin(w, &t);
    return wait_transfer(w, &t, kind);
}

Status world_barrier(World *w) {
    for (int distance = 1; distance < w->size; distance *= 2) {
        WorldTransfer none;
        give(w, (w->rank + distance) % w->size, TOGETHER_BARRIER, NULL, 0, &none);
        STATUS_TRY(take(w, (w->rank + w->size - distance) % w->size, TOGETHER_BARRIER, NULL, 0));
    }
    w->parts->number++;
    return w->why;
}

// A binomial tree: who has it by round k passes it on to who is 2^k further.
Status world_broadcast(World *w, int root, void *data, int64_t bytes) {
    int me = (w->rank - root + w->size) % w->size, distance = 1;
    while (distance < w->size && !(me & distance)) distance *= 2;
    if (me) STATUS_TRY(take(w, (w->rank + w->size - distance) % w->size, TOGETHER_BROADCAST, data, bytes));
    for (distance /= 2; distance; distance /= 2) {
        WorldTransfer t;
        if (me + distance >= w->size) continue;
        give(w, (w->rank + distance) % w->size, TOGETHER_BROADCAST, data, bytes, &t);
        STATUS_TRY(wait_transfer(w, &t, TOGETHER_BROADCAST));
    }
    w->parts->number++;
    return w->why;
}

static Status give_parts(World *w, int root, const void *own, const int64_t *bytes_of, WorldTransfer *sends) {
    for (int i = 1; i < w->size; i++) {
        int to = (w->rank + i) % w->size;
        sends[i].done = true;
        if (root < 0 || to == root) give(w, to, TOGETHER_GATHER, own, bytes_of[w->rank], &sends[i]);
    }
    return w->why;
}

static Status take_parts(World *w, int root, const int64_t *bytes_of, const int64_t *from, char *all) {
    for (int i = 1; i < w->size; i++) {
        int r = (w->rank + w->size - i) % w->size;
        if (root < 0 || w->rank == root) STATUS_TRY(take(w, r, TOGETHER_GATHER, all + from[r], bytes_of[r]));
    }
    return status_ok();
}

Status world_gather(World *w, int root, const void *own, const int64_t *bytes_of, void *out_all) {
    bool takes = root < 0 || w->rank == root;
    WorldTransfer *sends = calloc((size_t)w->size, sizeof *sends);
    int64_t *from = calloc((size_t)w->size + 1, sizeof *from);
    Status s = sends && from ? status_ok() : world_fail(w, status_make(STATUS_MEMORY, "no memory for a gather"));
    for (int r = 0; r < w->size && !status_failed(&s); r++)
        if (bytes_of[r] < 0 || !checked_add(from[r], bytes_of[r], &from[r + 1]))
            s = status_make(STATUS_INVALID, "a gather of too many bytes");
    if (!status_failed(&s)) s = give_parts(w, root, own, bytes_of, sends);
    if (!status_failed(&s)) s = take_parts(w, root, bytes_of, from, out_all);
    for (int i = 1; i < w->size && !status_failed(&s); i++) s = wait_transfer(w, &sends[i], TOGETHER_GATHER);
    if (!status_failed(&s) && takes && bytes_of[w->rank] && (char *)out_all + from[w->rank] != own)
        memcpy((char *)out_all + from[w->rank], own, (size_t)bytes_of[w->rank]);
    w->parts->number++;
    free(sends);
    free(from);
    return s;
}

Status world_agree(World *w, Status own) {
    int32_t code = (int32_t)own.code;
    int32_t *codes = calloc((size_t)w->size, sizeof *codes);
    int64_t *bytes_of = calloc((size_t)w->size, sizeof *bytes_of);
    Status s = codes && bytes_of ? status_ok() : world_fail(w, status_make(STATUS_MEMORY, "no memory to agree"));
    for (int r = 0; r < w->size && !status_failed(&s); r++) bytes_of[r] = sizeof code;
    if (!status_failed(&s)) s = world_gather(w, -1, &code, bytes_of, codes);
    int first = 0;
    while (!status_failed(&s) && first < w->size && !codes[first]) first++;
    if (!status_failed(&s) && first < w->size) {
        Status told = own;
        s = world_broadcast(w, first, &told, sizeof told);
        told.message[sizeof told.message - 1] = 0;
        if (!status_failed(&s)) {
            s = status_make(told.code, "rank %d: %s", first, told.message);
            w->parts->told = w->parts->number;
        }
    }
    free(codes);
    free(bytes_of);
    return s;
}

bool world_all_know(const World *w) { return w->parts->told && w->parts->told == w->parts->number; }

Status world_any(World *w, bool own, bool *out_any) {
    uint8_t says = own, *all = calloc((size_t)w->size, sizeof *all);
    int64_t *bytes_of = calloc((size_t)w->size, sizeof *bytes_of);
    Status s = all && bytes_of ? status_ok() : world_fail(w, status_make(STATUS_MEMORY, "no memory to agree"));
    for (int r = 0; r < w->size && !status_failed(&s); r++) bytes_of[r] = 1;
    if (!status_failed(&s)) s = world_gather(w, -1, &says, bytes_of, all);
    for (int r = 0; r < w->size && !status_failed(&s); r++) says |= all[r];
    *out_any = says;
    free(all);
    free(bytes_of);
    return s;
}

// ---- channels -------------------------------------------------------------------------------------------------------
Status world_open(World *w, WorldNoteFn *fn, void *context, int *out_channel) {
    for (int i = 0; i < WORLD_CHANNELS; i++)
        if (!w->listener[i].channel) {
            w->listener[i].channel = *out_channel = ++w->channels;
            w->listener[i].fn = fn;
            w->listener[i].context = context;
            return world_barrier(w); // nobody's notes come before everyone listens
        }
    return status_make(STATUS_UNSUPPORTED, "more than %d users of the processes at a time", WORLD_CHANNELS - 1);
}

void world_close(World *w, int channel) {
    for (int i = 0; i < WORLD_CHANNELS; i++)
        if (w->listener[i].channel == channel) w->listener[i].channel = 0;
}
