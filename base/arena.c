// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Chunk {
    struct Chunk *next;
    size_t used, size;
    _Alignas(16) char data[];
} Chunk;

struct Arena {
    Chunk *chunks;
    size_t total;
};

enum { CHUNK_BYTES = 64 * 1024, ALIGN = 16 };

static void oom_abort(void) {
    fputs("tgf: out of memory\n", stderr);
    abort();
}
static void (*oom_handler)(void) = oom_abort;

void arena_on_oom(void (*handler)(void)) { oom_handler = handler ? handler : oom_abort; }

static void *must(void *p) {
    if (!p) {
        oom_handler();
        abort();
    }
    return p;
}

Arena *arena_new(void) { return must(calloc(1, sizeof(Arena))); }

void arena_reset(Arena *a) {
    for (Chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    a->chunks = NULL;
    a->total = 0;
}

void arena_free(Arena *a) {
    if (!a) return;
    arena_reset(a);
    free(a);
}

void *arena_alloc(Arena *a, size_t bytes) {
    if (bytes > SIZE_MAX / 2) must(NULL);
    bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    Chunk *c = a->chunks;
    if (!c || c->size - c->used < bytes) {
        size_t size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        c = must(malloc(sizeof(Chunk) + size));
        c->size = size;
        c->used = 0;
        // A chunk made for one large object goes behind the current one, whose room is still good.
        if (a->chunks && bytes > CHUNK_BYTES / 2) {
            c->next = a->chunks->next;
            a->chunks->next = c;
        } else {
            c->next = a->chunks;
            a->chunks = c;
        }
    }
    void *p = c->data + c->used;
    c->used += bytes;
    a->total += bytes;
    return memset(p, 0, bytes);
}

void *arena_dup(Arena *a, const void *from, size_t bytes) {
    void *p = arena_alloc(a, bytes);
    return bytes ? memcpy(p, from, bytes) : p;
}

char *arena_printf(Arena *a, const char *format, ...) {
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    char *s = arena_alloc(a, (size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, format, again);
    va_end(again);
    return s;
}

size_t arena_bytes(const Arena *a) { return a->total; }
