// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"
#include "base/memory_stream.h"
#include <stdarg.h>
#include <stdbool.h>
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
    ArenaCatch *under; // the catch that frees it; then it is in the catch's list
    Arena *next, *before;
    MemoryStream stream;
};

enum { CHUNK_BYTES = 64 * 1024, ALIGN = 16 };

static void oom_abort(void) {
    fputs("tgf: out of memory\n", stderr);
    abort();
}
static void (*oom_handler)(void) = oom_abort;

void arena_on_oom(void (*handler)(void)) { oom_handler = handler ? handler : oom_abort; }

// initial-exec: addressed without a call, which would make the shared library need the dynamic linker by name.
static _Thread_local ArenaCatch *innermost __attribute__((tls_model("initial-exec")));

static void list_add(Arena *a, ArenaCatch *c) {
    a->under = c;
    a->before = NULL;
    a->next = c ? c->made : NULL;
    if (a->next) a->next->before = a;
    if (c) c->made = a;
}

static void list_remove(Arena *a) {
    if (!a->under) return;
    if (a->next) a->next->before = a->before;
    if (a->before) a->before->next = a->next;
    else a->under->made = a->next;
    a->under = NULL;
}

ArenaCatch *arena_catch_begin(ArenaCatch *c) {
    c->outer = innermost;
    c->made = NULL;
    return innermost = c;
}

void arena_catch_end(ArenaCatch *c) {
    innermost = c->outer;
    while (c->made) {
        Arena *a = c->made;
        list_remove(a);
        list_add(a, c->outer);
    }
}

void arena_exhausted(void) {
    ArenaCatch *c = innermost;
    if (c) {
        while (c->made) arena_free(c->made);
        innermost = c->outer;
        longjmp(c->place, 1);
    }
    oom_handler();
    abort();
}

static void *must(void *p) {
    if (!p) arena_exhausted();
    return p;
}

Arena *arena_new(void) {
    Arena *a = must(calloc(1, sizeof(Arena)));
    list_add(a, innermost);
    return a;
}

void arena_reset(Arena *a) {
    if (a->stream.file) {
        memory_stream_close(&a->stream);
        free(a->stream.text);
    }
    for (Chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    a->chunks = NULL;
    a->total = 0;
}

void arena_free(Arena *a) {
    if (!a) return;
    list_remove(a);
    arena_reset(a);
    free(a);
}

// NULL: out of memory.
static void *try_alloc(Arena *a, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    Chunk *c = a->chunks;
    if (!c || c->size - c->used < bytes) {
        size_t size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        c = malloc(sizeof(Chunk) + size);
        if (!c) return NULL;
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

void *arena_alloc(Arena *a, size_t bytes) { return must(try_alloc(a, bytes)); }

void *arena_take(Arena *a, void *block, size_t bytes) {
    void *p = try_alloc(a, bytes);
    if (p && bytes) memcpy(p, block, bytes);
    free(block);
    return must(p);
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

FILE *arena_stream(Arena *a) {
    if (a->stream.file) { // a bug
        fputs("tgf: internal error: two streams of one arena\n", stderr);
        abort();
    }
    return must(memory_stream_open(&a->stream));
}

char *arena_stream_text(Arena *a, size_t *out_size) {
    if (memory_stream_close(&a->stream)) {
        free(a->stream.text);
        arena_exhausted();
    }
    if (out_size) *out_size = a->stream.size;
    return arena_take(a, a->stream.text, a->stream.size + 1);
}

size_t arena_bytes(const Arena *a) { return a->total; }
