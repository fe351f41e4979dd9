// SPDX-License-Identifier: Apache-2.0
#include "tools/tgf_lsp_rpc.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const char *find_bytes(const char *text, size_t size, const char *what) {
    size_t n = strlen(what);
    for (size_t i = 0; i + n <= size; i++)
        if (!memcmp(text + i, what, n)) return text + i;
    return NULL;
}

static void say_error(Rpc *w, int code, const char *message) {
    char text[300];
    int n = snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":%d,\"message\":\"%s\"}}",
                     code, message);
    rpc_send(w, text, (size_t)n);
}

static void end(Rpc *w) { w->ended = true; }

static void enqueue(Rpc *w, const char *text, size_t size) {
    char *copy = malloc(size + 1);
    if (w->queue.n == w->queue.cap) {
        int cap = w->queue.cap ? 2 * w->queue.cap : 16;
        Message *more = realloc(w->queue.at, (size_t)cap * sizeof *more);
        if (more) {
            w->queue.at = more;
            w->queue.cap = cap;
        }
    }
    if (!copy || w->queue.n == w->queue.cap) {
        free(copy);
        say_error(w, RPC_INTERNAL, "not enough memory for a message");
        return;
    }
    memcpy(copy, text, size);
    copy[size] = 0;
    w->queue.at[w->queue.n++] = (Message){copy, size};
}

// The length that the header lines in [p, end) give. False: none, or not a number.
static bool header_length(const char *p, const char *end_, size_t *out_length) {
    static const char name[] = "content-length:";
    bool found = false;
    while (p < end_) {
        const char *stop = memchr(p, '\n', (size_t)(end_ - p));
        if (!stop) stop = end_;
        if ((size_t)(stop - p) > sizeof name - 1 && !strncasecmp(p, name, sizeof name - 1)) {
            const char *digits = p + sizeof name - 1;
            while (digits < stop && (*digits == ' ' || *digits == '\t')) digits++;
            const char *at = digits;
            *out_length = 0;
            for (; at < stop && *at >= '0' && *at <= '9' && at - digits < 15; at++)
                *out_length = *out_length * 10 + (size_t)(*at - '0');
            found = at > digits && (at == stop || *at == '\r' || *at == ' ');
            if (!found) return false;
        }
        p = stop + 1;
    }
    return found;
}

static void drop(Rpc *w, size_t n) {
    memmove(w->bytes, w->bytes + n, w->n - n);
    w->n -= n;
}

// Behind a header that says nothing: where the next one may begin, or where the bytes end.
static size_t next_header(const Rpc *w, size_t from) {
    static const char name[] = "content-length:";
    for (size_t i = from; i + sizeof name - 1 <= w->n; i++)
        if (!strncasecmp(w->bytes + i, name, sizeof name - 1)) return i;
    return from;
}

// One message out of the bytes. False: more are needed.
static bool cut(Rpc *w) {
    if (w->skip) {
        size_t n = w->skip < w->n ? w->skip : w->n;
        drop(w, n);
        w->skip -= n;
        return !w->skip && w->n;
    }
    size_t look = w->n < HEADER_BYTES_MAX + 4 ? w->n : HEADER_BYTES_MAX + 4;
    const char *blank = find_bytes(w->bytes, look, "\r\n\r\n"), *bare = find_bytes(w->bytes, look, "\n\n");
    size_t gap = 4;
    if (bare && (!blank || bare < blank)) blank = bare, gap = 2;
    if (!blank) {
        if (w->n <= HEADER_BYTES_MAX) return false;
        say_error(w, RPC_PARSE, "a header without an end");
        size_t to = next_header(w, 1);
        drop(w, to > 1 ? to : w->n);
        return w->n > 0;
    }
    size_t length, body = (size_t)(blank - w->bytes) + gap;
    if (!header_length(w->bytes, blank, &length)) {
        say_error(w, RPC_PARSE, "a header without a Content-Length");
        drop(w, next_header(w, body));
        return w->n > 0;
    }
    if (length > MESSAGE_BYTES_MAX) {
        say_error(w, RPC_INVALID_REQUEST, "a message of more than 64 MiB");
        drop(w, body);
        w->skip = length;
        return w->n > 0;
    }
    if (w->n - body < length) return false;
    enqueue(w, w->bytes + body, length);
    drop(w, body + length);
    return w->n > 0;
}

void rpc_read(Rpc *w, bool wait) {
    for (;;) {
        struct pollfd p = {.fd = w->in, .events = POLLIN};
        if (w->ended) return;
        int ready = poll(&p, 1, wait ? -1 : 0);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return;
        if (w->cap - w->n < 1 << 16) {
            size_t cap = w->cap ? 2 * w->cap : 1 << 17;
            char *more = realloc(w->bytes, cap);
            if (!more) {
                say_error(w, RPC_INTERNAL, "not enough memory for input");
                end(w);
                return;
            }
            w->bytes = more;
            w->cap = cap;
        }
        ssize_t got = read(w->in, w->bytes + w->n, w->cap - w->n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            end(w);
            return;
        }
        w->n += (size_t)got;
        while (cut(w)) {}
        if (w->queue.n) wait = false;
    }
}

bool rpc_take(Rpc *w, Message *out) {
    if (!w->queue.n) return false;
    *out = w->queue.at[0];
    memmove(w->queue.at, w->queue.at + 1, (size_t)--w->queue.n * sizeof *w->queue.at);
    return true;
}

void rpc_send(Rpc *w, const char *json, size_t size) {
    if (w->broken) return;
    fprintf(w->out, "Content-Length: %zu\r\n\r\n", size);
    fwrite(json, 1, size, w->out);
    w->broken = fflush(w->out) || ferror(w->out);
}

void rpc_close(Rpc *w) {
    for (int i = 0; i < w->queue.n; i++) free(w->queue.at[i].text);
    free(w->queue.at);
    free(w->bytes);
    *w = (Rpc){.ended = true};
}
