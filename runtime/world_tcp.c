// SPDX-License-Identifier: Apache-2.0
// world_tcp: processes that talk over TCP, two connections between any two: one for notes, each behind its size, one
// for the bytes of transfers and nothing else. A process that dies closes its connections, and one whose host is gone
// does not acknowledge (tcp_join sets the limits): either is seen on the connection of notes, behind whatever it said
// before.
#include "base/clock.h"
#include "runtime/tcp_join.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAME_HEAD = 8, IN_BYTES = 8 * (WORLD_NOTE + FRAME_HEAD), ORPHAN_MS = 2000, FLUSH_MS = 1000, DRAIN_MS = 500 };

typedef struct Frame { // a note on its way: head, note, zeros up to a multiple of 8
    uint32_t bytes, check;
} Frame;
_Static_assert(sizeof(Frame) == FRAME_HEAD && IN_BYTES % 8 == 0, "notes stay aligned");
static const uint32_t CHECK = 0x74676621;

typedef struct Queue { // of transfers in one direction
    WorldTransfer *first, **end;
} Queue;

typedef struct Peer {
    int fd[TCP_LANES]; // -1: closed
    char *out;         // notes not yet sent: bytes [out_at, out_n) of out_room
    size_t out_at, out_n, out_room;
    char *in; // received and not yet delivered: in_n bytes of IN_BYTES
    size_t in_n;
    Queue sends, receives;
    int64_t orphan_since; // its connection of data is gone, that of notes not yet; 0: no
} Peer;

typedef struct Tcp {
    World world;
    Peer *peers;
    struct pollfd *polls;
    int *poll_peer;
    bool failed_send; // no memory for a note
} Tcp;

// ---- notes ----------------------------------------------------------------------------------------------------------
static void close_lane(Peer *p, int lane) {
    if (p->fd[lane] >= 0) close(p->fd[lane]);
    p->fd[lane] = -1;
}

static bool would_block(ssize_t n) { return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR); }

// What a dead peer does not take is dropped: its end is seen when its last words have been read.
static bool flush_notes(Peer *p) {
    bool moved = false;
    while (p->out_at < p->out_n && p->fd[TCP_NOTES] >= 0) {
        ssize_t n = send(p->fd[TCP_NOTES], p->out + p->out_at, p->out_n - p->out_at, MSG_NOSIGNAL);
        if (would_block(n)) return moved;
        if (n <= 0) break;
        p->out_at += (size_t)n;
        moved = true;
    }
    p->out_at = p->out_n = 0;
    return moved;
}

static void tcp_note(World *w, int to, const void *data, int bytes) {
    Tcp *t = (Tcp *)w;
    Peer *p = &t->peers[to];
    Frame head = {(uint32_t)bytes, CHECK ^ (uint32_t)bytes};
    size_t whole = sizeof head + ((size_t)bytes + 7) / 8 * 8;
    if (p->fd[TCP_NOTES] < 0) return;
    if (p->out_n + whole > p->out_room) {
        size_t room = (p->out_n + whole) * 2;
        char *out = realloc(p->out, room);
        if (!out) {
            t->failed_send = true;
            return;
        }
        p->out = out;
        p->out_room = room;
    }
    memset(p->out + p->out_n, 0, whole);
    memcpy(p->out + p->out_n, &head, sizeof head);
    memcpy(p->out + p->out_n + sizeof head, data, (size_t)bytes);
    p->out_n += whole;
    flush_notes(p);
}

static Status peer_ended(Tcp *t, int rank, const char *how) {
    Peer *p = &t->peers[rank];
    for (int lane = 0; lane < TCP_LANES; lane++) close_lane(p, lane);
    if (world_has_left(&t->world, rank)) return status_ok();
    return status_make(STATUS_COMM, "rank %d has ended: %s", rank, how);
}

// Delivers all whole notes that are there.
static Status deliver(Tcp *t, int rank) {
    Peer *p = &t->peers[rank];
    size_t at = 0;
    while (p->in_n - at >= sizeof(Frame)) {
        Frame head;
        memcpy(&head, p->in + at, sizeof head);
        if (head.bytes > WORLD_NOTE || head.check != (CHECK ^ head.bytes))
            return status_make(STATUS_COMM, "rank %d sent something that is no note", rank);
        size_t whole = sizeof head + ((size_t)head.bytes + 7) / 8 * 8;
        if (p->in_n - at < whole) break;
        world_deliver(&t->world, rank, p->in + at + sizeof head, head.bytes);
        at += whole;
    }
    memmove(p->in, p->in + at, p->in_n - at);
    p->in_n -= at;
    return status_ok();
}

static Status read_notes(Tcp *t, int rank, bool *out_moved) {
    Peer *p = &t->peers[rank];
    for (;;) {
        size_t room = IN_BYTES - p->in_n;
        ssize_t n = recv(p->fd[TCP_NOTES], p->in + p->in_n, room, 0);
        if (would_block(n)) return status_ok();
        if (n <= 0) return peer_ended(t, rank, n ? strerror(errno) : "it closed its connection");
        *out_moved = true;
        p->in_n += (size_t)n;
        STATUS_TRY(deliver(t, rank));
        if ((size_t)n < room || p->fd[TCP_NOTES] < 0) return status_ok();
    }
}

// ---- transfers ------------------------------------------------------------------------------------------------------
static void orphan(Peer *p) {
    close_lane(p, TCP_DATA);
    p->orphan_since = now_ms();
}

static bool move_data(Peer *p, bool sends) {
    Queue *q = sends ? &p->sends : &p->receives;
    bool moved = false;
    while (q->first && p->fd[TCP_DATA] >= 0) {
        WorldTransfer *t = q->first;
        char *at = (char *)t->data + t->moved;
        size_t left = (size_t)(t->bytes - t->moved);
        ssize_t n = sends ? send(p->fd[TCP_DATA], at, left, MSG_NOSIGNAL) : recv(p->fd[TCP_DATA], at, left, 0);
        if (would_block(n)) return moved;
        if (n <= 0) {
            orphan(p);
            return moved;
        }
        moved = true;
        if ((t->moved += n) < t->bytes) continue;
        if (!(q->first = t->next)) q->end = &q->first;
        t->done = true; // from here on it is the caller's
    }
    return moved;
}

static void tcp_begin(World *w, WorldTransfer *t) {
    Peer *p = &((Tcp *)w)->peers[t->peer];
    Queue *q = t->sends ? &p->sends : &p->receives;
    t->next = NULL;
    t->moved = 0;
    t->done = t->bytes == 0;
    if (t->done) return;
    *q->end = t;
    q->end = &t->next;
    if (q->first == t && t->sends) move_data(p, true);
}

static void tcp_cancel(World *w, WorldTransfer *t) {
    Queue *q = &((Tcp *)w)->peers[t->peer].receives;
    for (WorldTransfer **at = &q->first; *at; at = &(*at)->next) {
        if (*at != t) continue;
        if (!(*at = t->next)) q->end = at;
        break;
    }
    t->done = true;
}

// ---- progress -------------------------------------------------------------------------------------------------------
// Notes are always read; data only where somebody waits for it.
static int list_polls(Tcp *t) {
    int n = 0;
    for (int r = 0; r < t->world.size; r++) {
        const Peer *p = &t->peers[r];
        if (r == t->world.rank) continue;
        if (p->fd[TCP_NOTES] >= 0) {
            t->polls[n] = (struct pollfd){.fd = p->fd[TCP_NOTES], .events = POLLIN};
            if (p->out_at < p->out_n) t->polls[n].events |= POLLOUT;
            t->poll_peer[n++] = r * TCP_LANES + TCP_NOTES;
        }
        if (p->fd[TCP_DATA] >= 0 && (p->sends.first || p->receives.first)) {
            t->polls[n] = (struct pollfd){.fd = p->fd[TCP_DATA]};
            if (p->receives.first) t->polls[n].events |= POLLIN;
            if (p->sends.first) t->polls[n].events |= POLLOUT;
            t->poll_peer[n++] = r * TCP_LANES + TCP_DATA;
        }
    }
    return n;
}

static Status check_orphans(Tcp *t) {
    for (int r = 0; r < t->world.size; r++)
        if (t->peers[r].orphan_since && t->peers[r].fd[TCP_NOTES] >= 0 &&
            now_ms() - t->peers[r].orphan_since > ORPHAN_MS)
            return peer_ended(t, r, "its connection for data broke");
    return status_ok();
}

static Status tcp_progress(World *w, int64_t wait_ms, bool *out_moved) {
    Tcp *t = (Tcp *)w;
    int n = list_polls(t);
    *out_moved = false;
    if (t->failed_send) return status_make(STATUS_MEMORY, "no memory for a note");
    if (poll(t->polls, (nfds_t)n, wait_ms > 1000 ? 1000 : (int)wait_ms) < 0 && errno != EINTR)
        return status_make(STATUS_IO, "poll: %s", strerror(errno));
    for (int i = 0; i < n; i++) {
        int rank = t->poll_peer[i] / TCP_LANES, lane = t->poll_peer[i] % TCP_LANES;
        short what = t->polls[i].revents;
        Peer *p = &t->peers[rank];
        if (!what || p->fd[lane] != t->polls[i].fd) continue;
        if (lane == TCP_NOTES) {
            if (what & POLLOUT) *out_moved |= flush_notes(p);
            if (what & (POLLIN | POLLHUP | POLLERR)) STATUS_TRY(read_notes(t, rank, out_moved));
        } else {
            if (what & (POLLIN | POLLHUP | POLLERR)) *out_moved |= move_data(p, false);
            if (what & (POLLOUT | POLLHUP | POLLERR)) *out_moved |= move_data(p, true);
        }
    }
    return check_orphans(t);
}

// ---- ends -----------------------------------------------------------------------------------------------------------
static bool all_flushed(Tcp *t) {
    bool all = true;
    for (int r = 0; r < t->world.size; r++)
        if (r != t->world.rank) {
            flush_notes(&t->peers[r]);
            all = all && !t->peers[r].out_n;
        }
    return all;
}

// Reads and drops until the others have closed too: a connection closed with unread bytes would be reset, and what was
// said last be lost.
static void drain(Tcp *t) {
    char dropped[4096];
    int64_t until = now_ms() + DRAIN_MS;
    for (int r = 0; r < t->world.size; r++)
        if (t->peers[r].fd[TCP_NOTES] >= 0) shutdown(t->peers[r].fd[TCP_NOTES], SHUT_WR);
    for (int open = 1; open && now_ms() < until;) {
        int n = list_polls(t);
        open = 0;
        for (int i = 0; i < n; i++)
            if (t->poll_peer[i] % TCP_LANES == TCP_NOTES) open++;
            else t->polls[i].fd = -1;
        if (open && poll(t->polls, (nfds_t)n, 50) < 0) break;
        for (int i = 0; i < n; i++) {
            if (t->polls[i].fd < 0 || !t->polls[i].revents) continue;
            ssize_t got = recv(t->polls[i].fd, dropped, sizeof dropped, 0);
            if (got <= 0 && !would_block(got)) close_lane(&t->peers[t->poll_peer[i] / TCP_LANES], TCP_NOTES);
        }
    }
}

static void tcp_free(World *w, bool clean) {
    Tcp *t = (Tcp *)w;
    if (t->peers) {
        (void)clean; // either way: the last words have to arrive
        for (int r = 0; r < w->size; r++) {
            t->peers[r].sends.first = t->peers[r].receives.first = NULL; // nobody touches buffers any more
            close_lane(&t->peers[r], TCP_DATA);
        }
        int64_t until = now_ms() + FLUSH_MS;
        while (!all_flushed(t) && now_ms() < until) poll(NULL, 0, 5);
        drain(t);
        for (int r = 0; r < w->size; r++) {
            close_lane(&t->peers[r], TCP_NOTES);
            free(t->peers[r].out);
            free(t->peers[r].in);
        }
    }
    free(t->peers);
    free(t->polls);
    free(t->poll_peer);
    world_end(w);
    free(t);
}

static const WorldVtable tcp_vtable = {"tcp", tcp_note, tcp_begin, tcp_cancel, tcp_progress, tcp_free};

static Status make_peers(Tcp *t, int size) {
    t->peers = calloc((size_t)size, sizeof *t->peers);
    t->polls = calloc((size_t)size * TCP_LANES, sizeof *t->polls);
    t->poll_peer = calloc((size_t)size * TCP_LANES, sizeof *t->poll_peer);
    bool ok = t->peers && t->polls && t->poll_peer;
    for (int r = 0; t->peers && r < size; r++) {
        Peer *p = &t->peers[r];
        p->fd[TCP_NOTES] = p->fd[TCP_DATA] = -1;
        p->sends.end = &p->sends.first;
        p->receives.end = &p->receives.first;
        ok = ok && (p->in = malloc(IN_BYTES)) != NULL;
    }
    return ok ? status_ok() : status_make(STATUS_MEMORY, "no memory for a run of %d processes", size);
}

Status world_tcp_make(const WorldTcpOptions *o, World **out_world) {
    *out_world = NULL;
    if (o->size < 1 || o->size > WORLD_RANKS || o->rank < 0 || o->rank >= o->size)
        return status_make(STATUS_INVALID, "rank %d of %d processes (at most %d)", o->rank, o->size, WORLD_RANKS);
    Tcp *t = calloc(1, sizeof *t);
    TcpLink *links = calloc((size_t)o->size, sizeof *links);
    if (!t || !links) {
        free(t);
        free(links);
        return status_make(STATUS_MEMORY, "no memory for a run of %d processes", o->size);
    }
    Status s = world_init(&t->world, &tcp_vtable, o->rank, o->size, o->local, o->locals);
    if (status_failed(&s)) {
        free(links);
        free(t);
        return s;
    }
    s = make_peers(t, o->size);
    if (!status_failed(&s) && o->size > 1) s = tcp_join(o, links);
    for (int r = 0; r < o->size && o->size > 1 && !status_failed(&s); r++)
        for (int lane = 0; lane < TCP_LANES; lane++) t->peers[r].fd[lane] = links[r].fd[lane];
    free(links);
    t->world.timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : 60000;
    if (!status_failed(&s)) s = world_barrier(&t->world); // all are there
    t->world.timeout_ms = 0;
    if (status_failed(&s)) tcp_free(&t->world, false);
    else *out_world = &t->world;
    return s;
}
