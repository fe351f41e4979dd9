// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // accept4
#include "runtime/tcp_join.h"
#include "base/clock.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    VERSION = 1,
    NONCE_BYTES = 128,
    KEY_BYTES = 16,
    REASON_BYTES = 240,
    GUESTS = 64,        // connections that have not said who they are yet
    HELLO_MS = 5000,    // to say so
    TIMEOUT_MS = 60000, // default
    DEAD_MS = 6000      // a host that does not acknowledge for so long is gone
};
static const char MAGIC[8] = "tgfwire";

typedef enum HelloKind { HELLO_JOIN = 0x4a4f494e, HELLO_LINK = 0x4c494e4b } HelloKind; // also tells the byte order

typedef struct Hello {
    char magic[8];
    uint32_t version, kind, rank, size, lane, port;
    uint8_t secret[NONCE_BYTES]; // JOIN: the nonce; LINK: the key
} Hello;

typedef struct Answer {
    char magic[8];
    uint32_t version, refused;
    uint8_t key[KEY_BYTES];
    char reason[REASON_BYTES];
} Answer; // behind it, unless refused, an Address for each rank

typedef struct Address {
    uint16_t family, port; // AF_INET or AF_INET6; of this machine's order
    uint32_t scope;
    uint8_t host[16];
} Address;

typedef struct Guest {
    int fd;
    int64_t until;
    size_t got;
    Hello hello;
} Guest;

typedef struct Join {
    const WorldTcpOptions *o;
    TcpLink *links;
    int64_t until;
    int door; // listens
    int port;
    Guest guests[GUESTS];
    int nguests, refused; // refused: with a hello
    char last_reason[REASON_BYTES];
    uint8_t nonce[NONCE_BYTES], key[KEY_BYTES];
    Address *where;
} Join;

// ---- sockets --------------------------------------------------------------------------------------------------------
static int64_t left_ms(const Join *j) {
    int64_t left = j->until - now_ms();
    return left > 0 ? left : 0;
}

static void set_option(int fd, int level, int option, int value) {
    setsockopt(fd, level, option, &value, sizeof value); // what a system lacks it does without
}

static void tune(int fd) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 3);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_MS);
}

static bool wait_for(int fd, short events, int64_t until) {
    for (;;) {
        int64_t left = until - now_ms();
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, left > 0 ? (int)(left < 1000 ? left : 1000) : 0);
        if (n > 0) return true;
        if ((n < 0 && errno != EINTR) || left <= 0) return false;
    }
}

static bool send_all(int fd, const void *data, size_t bytes, int64_t until) {
    for (size_t at = 0; at < bytes;) {
        ssize_t n = send(fd, (const char *)data + at, bytes - at, MSG_NOSIGNAL);
        if (n > 0) at += (size_t)n;
        else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (!wait_for(fd, POLLOUT, until)) return false;
        } else return false;
    }
    return true;
}

// Returns the bytes that came before the end or the time was over.
static size_t receive_all(int fd, void *data, size_t bytes, int64_t until) {
    size_t at = 0;
    while (at < bytes) {
        ssize_t n = recv(fd, (char *)data + at, bytes - at, 0);
        if (n > 0) at += (size_t)n;
        else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (!wait_for(fd, POLLIN, until)) break;
        } else break;
    }
    return at;
}

// -1 with errno set.
static int connect_to(const struct sockaddr *to, socklen_t bytes, int64_t until) {
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
    if (fd < 0) return -1;
    if (connect(fd, to, bytes) < 0) {
        socklen_t size = sizeof error;
        if (errno != EINPROGRESS) error = errno;
        else if (!wait_for(fd, POLLOUT, until)) error = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
    }
    if (error) {
        close(fd);
        errno = error;
        return -1;
    }
    tune(fd);
    return fd;
}

static int listen_on(int family, int port) {
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    struct sockaddr_storage at = {.ss_family = (sa_family_t)family};
    if (family == AF_INET6) ((struct sockaddr_in6 *)&at)->sin6_port = htons((uint16_t)port);
    else ((struct sockaddr_in *)&at)->sin_port = htons((uint16_t)port);
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (family == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(fd, (struct sockaddr *)&at,
             family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)) < 0 ||
        listen(fd, SOMAXCONN) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static Address address_of(const struct sockaddr_storage *s) {
    Address a = {.family = s->ss_family};
    if (s->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)s;
        a.port = ntohs(six->sin6_port);
        a.scope = six->sin6_scope_id;
        memcpy(a.host, &six->sin6_addr, 16);
        if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
            a.family = AF_INET;
            memmove(a.host, a.host + 12, 4);
            memset(a.host + 4, 0, 12);
        }
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *)s;
        a.port = ntohs(four->sin_port);
        memcpy(a.host, &four->sin_addr, 4);
    }
    return a;
}

static socklen_t socket_address(const Address *a, struct sockaddr_storage *out) {
    memset(out, 0, sizeof *out);
    out->ss_family = a->family;
    if (a->family == AF_INET6) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
        six->sin6_port = htons(a->port);
        six->sin6_scope_id = a->scope;
        memcpy(&six->sin6_addr, a->host, 16);
        return sizeof *six;
    }
    struct sockaddr_in *four = (struct sockaddr_in *)out;
    four->sin_port = htons(a->port);
    memcpy(&four->sin_addr, a->host, 4);
    return sizeof *four;
}

static bool is_loopback(const Address *a) {
    static const uint8_t six[16] = {[15] = 1};
    return a->family == AF_INET ? a->host[0] == 127 : !memcmp(a->host, six, 16);
}

static Status open_door(Join *j, int port) {
    struct sockaddr_storage at;
    socklen_t size = sizeof at;
    j->door = listen_on(AF_INET6, port);
    if (j->door < 0 && errno != EADDRINUSE) j->door = listen_on(AF_INET, port); // a system without IPv6
    if (j->door < 0 || getsockname(j->door, (struct sockaddr *)&at, &size) < 0)
        return status_make(STATUS_IO, "cannot listen on port %d: %s", port, strerror(errno));
    j->port = address_of(&at).port;
    return status_ok();
}

// ---- who is at the door ---------------------------------------------------------------------------------------------
static bool same_secret(const uint8_t *a, const uint8_t *b, size_t n) { // in a time that tells nothing
    uint8_t differ = 0;
    for (size_t i = 0; i < n; i++) differ |= a[i] ^ b[i];
    return !differ;
}

static bool closed_by_peer(int fd) {
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static bool knows_secret(const Join *j, const Hello *h) {
    return h->kind == HELLO_JOIN ? same_secret(h->secret, j->nonce, NONCE_BYTES)
                                 : same_secret(h->secret, j->key, KEY_BYTES);
}

// Why the guest is not let in; empty: it is. It is one of ours by its magic.
static void judge(const Join *j, const Hello *h, HelloKind wanted, char *reason) {
    const WorldTcpOptions *o = j->o;
    int rank = (int)h->rank, lane = h->kind == HELLO_JOIN ? TCP_NOTES : (int)h->lane;
    reason[0] = 0;
    if (h->version != VERSION)
        snprintf(reason, REASON_BYTES, "version %u of the protocol, this run has %d", h->version, VERSION);
    else if (h->kind != HELLO_JOIN && h->kind != HELLO_LINK)
        snprintf(reason, REASON_BYTES, "a hello of an unknown kind, or another byte order");
    else if (!knows_secret(j, h)) snprintf(reason, REASON_BYTES, "the nonce is not this run's (TGF_NONCE)");
    else if (h->size != (uint32_t)o->size)
        snprintf(reason, REASON_BYTES, "it counts %u processes, rank %d counts %d", h->size, o->rank, o->size);
    else if (h->kind != wanted) snprintf(reason, REASON_BYTES, "too late or too early");
    else if (rank <= o->rank || rank >= o->size || lane < 0 || lane >= TCP_LANES)
        snprintf(reason, REASON_BYTES, "there is no rank %u", h->rank);
    else if (j->links[rank].fd[lane] >= 0 && !(wanted == HELLO_JOIN && closed_by_peer(j->links[rank].fd[lane])))
        snprintf(reason, REASON_BYTES, "there is a rank %d already", rank);
}

static void refuse(Join *j, int fd, const Hello *h, const char *reason) {
    Answer a = {.version = VERSION, .refused = 1};
    memcpy(a.magic, MAGIC, sizeof MAGIC);
    snprintf(a.reason, sizeof a.reason, "%s", reason);
    if (h->kind == HELLO_JOIN) send(fd, &a, sizeof a, MSG_NOSIGNAL | MSG_DONTWAIT);
    j->refused++;
    snprintf(j->last_reason, sizeof j->last_reason, "%s", reason);
}

static void dismiss(Join *j, int guest) {
    if (j->guests[guest].fd >= 0) close(j->guests[guest].fd);
    j->guests[guest] = j->guests[--j->nguests];
}

static void let_in(Join *j) {
    for (;;) {
        int fd = accept4(j->door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        tune(fd);
        if (j->nguests == GUESTS) dismiss(j, 0);
        j->guests[j->nguests++] = (Guest){.fd = fd, .until = now_ms() + HELLO_MS};
    }
}

// Reads what has come of a guest's hello. False: it is to go. *out_ready: it is complete, and ours.
static bool listen_to(Guest *g, bool *out_ready) {
    *out_ready = false;
    ssize_t n = recv(g->fd, (char *)&g->hello + g->got, sizeof g->hello - g->got, 0);
    if (n <= 0) return n < 0 && (errno == EAGAIN || errno == EINTR) && now_ms() < g->until;
    g->got += (size_t)n;
    if (memcmp(g->hello.magic, MAGIC, g->got < sizeof MAGIC ? g->got : sizeof MAGIC)) return false;
    *out_ready = g->got == sizeof g->hello;
    return true;
}

// The next guest with a good hello of the wanted kind; the caller has its connection. False: the time is over.
static bool welcome(Join *j, HelloKind wanted, Hello *out_hello, int *out_fd) {
    while (left_ms(j)) {
        struct pollfd p[GUESTS + 1] = {{.fd = j->door, .events = POLLIN}};
        int n = j->nguests;
        for (int i = 0; i < n; i++) p[i + 1] = (struct pollfd){.fd = j->guests[i].fd, .events = POLLIN};
        poll(p, (nfds_t)n + 1, (int)(left_ms(j) < 200 ? left_ms(j) : 200));
        for (int i = n - 1; i >= 0; i--) { // dismissing moves the last one
            bool ready;
            char reason[REASON_BYTES];
            Guest *g = &j->guests[i];
            if (!listen_to(g, &ready)) {
                dismiss(j, i);
                continue;
            }
            if (!ready) continue;
            judge(j, &g->hello, wanted, reason);
            if (reason[0]) {
                refuse(j, g->fd, &g->hello, reason);
                dismiss(j, i);
                continue;
            }
            *out_hello = g->hello;
            *out_fd = g->fd;
            g->fd = -1;
            dismiss(j, i);
            return true;
        }
        if (p[0].revents) let_in(j);
    }
    return false;
}

static Status nobody_came(const Join *j, int lane) {
    char missing[120] = "";
    int came = 0;
    for (int r = j->o->rank + 1; r < j->o->size; r++) {
        size_t n = strlen(missing);
        if (j->links[r].fd[lane] >= 0) came++;
        else if (n < sizeof missing - 16) snprintf(missing + n, sizeof missing - n, "%s%d", n ? ", " : "", r);
    }
    Status s = status_make(STATUS_COMM, "rank %d waited %lld s on port %d: %d of %d processes came; missing: rank %s",
                           j->o->rank, (long long)(j->o->timeout_ms / 1000), j->port, came, j->o->size - 1 - j->o->rank,
                           missing);
    size_t n = strlen(s.message);
    if (j->refused)
        snprintf(s.message + n, sizeof s.message - n, "; %d were refused, the last because: %.200s", j->refused,
                 j->last_reason);
    return s;
}

// ---- rank 0 ---------------------------------------------------------------------------------------------------------
static Status gather_ranks(Join *j) {
    for (int came = 1; came < j->o->size;) {
        Hello h;
        int fd;
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        if (!welcome(j, HELLO_JOIN, &h, &fd)) return nobody_came(j, TCP_NOTES);
        int *link = &j->links[h.rank].fd[TCP_NOTES];
        if (*link >= 0) close(*link); // it had died, and was started again
        else came++;
        *link = fd;
        if (getpeername(fd, (struct sockaddr *)&from, &size) == 0) j->where[h.rank] = address_of(&from);
        j->where[h.rank].port = (uint16_t)h.port;
    }
    return status_ok();
}

// Where everyone is, as seen from rank `to`: those who came to rank 0 by its own loopback are where `to` came to.
static Status tell(Join *j, int to) {
    Answer a = {.version = VERSION};
    struct sockaddr_storage at;
    socklen_t size = sizeof at;
    int fd = j->links[to].fd[TCP_NOTES], n = j->o->size;
    Address *seen = calloc((size_t)n, sizeof *seen);
    if (!seen) return status_make(STATUS_MEMORY, "no memory for %d processes", n);
    memcpy(seen, j->where, sizeof *seen * (size_t)n);
    if (getsockname(fd, (struct sockaddr *)&at, &size) == 0) {
        Address here = address_of(&at);
        for (int r = 0; r < n; r++)
            if (r == 0 || (is_loopback(&seen[r]) && !is_loopback(&here))) {
                uint16_t port = seen[r].port;
                seen[r] = here;
                seen[r].port = port;
            }
    }
    memcpy(a.magic, MAGIC, sizeof MAGIC);
    memcpy(a.key, j->key, KEY_BYTES);
    bool ok = send_all(fd, &a, sizeof a, j->until) && send_all(fd, seen, sizeof *seen * (size_t)n, j->until);
    free(seen);
    return ok ? status_ok() : status_make(STATUS_COMM, "rank %d came and was gone before all were there", to);
}

static Status join_first(Join *j) {
    STATUS_TRY(open_door(j, j->o->port));
    if (j->o->on_port) j->o->on_port(j->o->context, j->port);
    if (getrandom(j->key, KEY_BYTES, 0) != KEY_BYTES) return status_errno("cannot read", "random bytes");
    j->where[0].port = (uint16_t)j->port;
    STATUS_TRY(gather_ranks(j));
    for (int r = 1; r < j->o->size; r++) STATUS_TRY(tell(j, r));
    return status_ok();
}

// ---- the others -----------------------------------------------------------------------------------------------------
static Hello hello_make(const Join *j, HelloKind kind, int lane) {
    Hello h = {.version = VERSION,
               .kind = (uint32_t)kind,
               .rank = (uint32_t)j->o->rank,
               .size = (uint32_t)j->o->size,
               .lane = (uint32_t)lane,
               .port = (uint32_t)j->port};
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    if (kind == HELLO_JOIN) memcpy(h.secret, j->nonce, NONCE_BYTES);
    else memcpy(h.secret, j->key, KEY_BYTES);
    return h;
}

// One try to be let in by rank 0 at this address. *out_again: it may work later.
static Status ask(Join *j, const struct addrinfo *at, bool *out_again) {
    const WorldTcpOptions *o = j->o;
    Answer a;
    *out_again = true;
    int fd = connect_to(at->ai_addr, at->ai_addrlen, j->until);
    if (fd < 0) return status_make(STATUS_COMM, "%s", strerror(errno));
    Hello h = hello_make(j, HELLO_JOIN, TCP_NOTES);
    size_t got = send_all(fd, &h, sizeof h, j->until) ? receive_all(fd, &a, sizeof a, j->until) : 0;
    Status s = status_ok();
    if (got && memcmp(a.magic, MAGIC, got < sizeof MAGIC ? got : sizeof MAGIC)) {
        *out_again = false;
        s = status_make(STATUS_COMM, "what answers there is not rank 0 of a run");
    } else if (got < sizeof a) {
        s = status_make(STATUS_COMM, "it gave no answer");
    } else if (a.refused || a.version != VERSION) {
        *out_again = false;
        a.reason[REASON_BYTES - 1] = 0;
        s = status_make(STATUS_COMM, "this process (rank %d) was refused: %s", o->rank,
                        a.refused ? a.reason : "another version of the protocol");
    } else if (receive_all(fd, j->where, sizeof *j->where * (size_t)o->size, j->until) <
               sizeof *j->where * (size_t)o->size) {
        s = status_make(STATUS_COMM, "it ended before it had told where the others are");
    }
    if (status_failed(&s)) {
        close(fd);
        return s;
    }
    memcpy(j->key, a.key, KEY_BYTES);
    j->links[0].fd[TCP_NOTES] = fd;
    *out_again = false;
    return s;
}

static Status join_other(Join *j) {
    const WorldTcpOptions *o = j->o;
    char port[16];
    STATUS_TRY(open_door(j, 0));
    snprintf(port, sizeof port, "%d", o->port);
    Status s = status_make(STATUS_COMM, "nothing answers there");
    bool again = true;
    for (int64_t pause = 20; again; pause = pause < 500 ? pause * 2 : pause) {
        struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *all;
        int error = getaddrinfo(o->host, port, &hints, &all);
        if (error) s = status_make(STATUS_COMM, "%s", gai_strerror(error));
        again = !error || error == EAI_AGAIN || error == EAI_FAIL || error == EAI_NONAME;
        bool done = false;
        for (struct addrinfo *at = error ? NULL : all; at && !done; at = at->ai_next) {
            s = ask(j, at, &again);
            done = !again;
        }
        if (!error) freeaddrinfo(all);
        if (done || !left_ms(j)) break;
        nanosleep(&(struct timespec){.tv_nsec = pause * 1000000}, NULL);
    }
    if (!status_failed(&s)) return s;
    return status_make(s.code, "rank 0 at %.100s port %d: %s", o->host, o->port, s.message);
}

static Status link_to(Join *j, int rank, int lane) {
    struct sockaddr_storage at;
    socklen_t size = socket_address(&j->where[rank], &at);
    int fd = -1;
    for (int64_t pause = 10; fd < 0 && left_ms(j); pause *= 2) {
        fd = connect_to((struct sockaddr *)&at, size, j->until);
        if (fd < 0 && errno != ECONNREFUSED && errno != ETIMEDOUT && errno != EAGAIN) break;
        if (fd < 0) nanosleep(&(struct timespec){.tv_nsec = (pause < 500 ? pause : 500) * 1000000}, NULL);
    }
    Hello h = hello_make(j, HELLO_LINK, lane);
    if (fd >= 0 && send_all(fd, &h, sizeof h, j->until)) {
        j->links[rank].fd[lane] = fd;
        return status_ok();
    }
    char host[64] = "?", port[16] = "";
    getnameinfo((struct sockaddr *)&at, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    Status s = status_make(STATUS_COMM, "rank %d cannot connect to rank %d at %s port %s: %s", j->o->rank, rank, host,
                           port, strerror(errno));
    if (fd >= 0) close(fd);
    return s;
}

// Everyone connects to all below and is connected to by all above.
static Status link_all(Join *j) {
    int me = j->o->rank, n = j->o->size, missing = 0;
    for (int r = 0; r < me; r++)
        for (int lane = 0; lane < TCP_LANES; lane++)
            if (j->links[r].fd[lane] < 0) STATUS_TRY(link_to(j, r, lane));
    for (int r = me + 1; r < n; r++)
        for (int lane = 0; lane < TCP_LANES; lane++) missing += j->links[r].fd[lane] < 0;
    for (; missing; missing--) {
        Hello h;
        int fd;
        if (!welcome(j, HELLO_LINK, &h, &fd)) return nobody_came(j, TCP_DATA);
        j->links[h.rank].fd[h.lane] = fd;
    }
    return status_ok();
}

Status tcp_join(const WorldTcpOptions *options, TcpLink *links) {
    WorldTcpOptions o = *options;
    if (o.timeout_ms <= 0) o.timeout_ms = TIMEOUT_MS;
    for (int r = 0; r < o.size; r++)
        for (int lane = 0; lane < TCP_LANES; lane++) links[r].fd[lane] = -1;
    if (o.nonce && strlen(o.nonce) > NONCE_BYTES)
        return status_make(STATUS_INVALID, "the nonce has more than %d bytes", NONCE_BYTES);
    if (o.port < 0 || o.port > 65535 || (o.rank && !o.port))
        return status_make(STATUS_INVALID, "%d is no port", o.port);
    Join *j = calloc(1, sizeof *j);
    Address *where = calloc((size_t)o.size, sizeof *where);
    Status s = status_make(STATUS_MEMORY, "no memory for %d processes", o.size);
    if (j && where) {
        *j = (Join){.o = &o, .links = links, .until = now_ms() + o.timeout_ms, .door = -1, .where = where};
        if (o.nonce) memcpy(j->nonce, o.nonce, strlen(o.nonce));
        s = o.rank ? join_other(j) : join_first(j);
        if (!status_failed(&s)) s = link_all(j);
        while (j->nguests) dismiss(j, 0);
        if (j->door >= 0) close(j->door);
    }
    for (int r = 0; r < o.size && status_failed(&s); r++)
        for (int lane = 0; lane < TCP_LANES; lane++)
            if (links[r].fd[lane] >= 0) {
                close(links[r].fd[lane]);
                links[r].fd[lane] = -1;
            }
    free(where);
    free(j);
    return s;
}
