// SPDX-License-Identifier: Apache-2.0
// arena: memory that lives and dies together. The compiler has three (session, unit, scratch); passes never free.
#pragma once
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>

typedef struct Arena Arena;

Arena *arena_new(void);
void arena_free(Arena *a); // NULL is fine
void arena_reset(Arena *a);
// Zeroed, 16-byte aligned. Never returns NULL: when memory is exhausted the handler set by arena_on_oom runs (it must
// not return; the default prints one line and aborts).
void *arena_alloc(Arena *a, size_t bytes);
void *arena_dup(Arena *a, const void *from, size_t bytes);
// A copy of a block that malloc gave; the block is freed, also when memory is exhausted.
void *arena_take(Arena *a, void *block, size_t bytes);
char *arena_printf(Arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t arena_bytes(const Arena *a); // bytes handed out since creation or reset
void arena_on_oom(void (*handler)(void));
_Noreturn void arena_exhausted(void); // for memory that is no arena's: the same

// A stream into memory, one at a time for an arena, which closes it if the arena goes first (see ArenaCatch).
// arena_stream_text closes it: what was written, with a 0 behind it, as the arena's.
FILE *arena_stream(Arena *a);
char *arena_stream_text(Arena *a, size_t *out_size);

// For a library, which must not abort: between arena_catch_begin and arena_catch_end this thread goes back to
// ARENA_CAUGHT when memory is exhausted, instead of the handler. They nest. What was allocated from older arenas stays
// theirs; arenas made since then are freed. No other thing may be held there: no stream but an arena's, no malloc'd
// block.
//     ArenaCatch c;
//     if (ARENA_CAUGHT(&c)) return false;
//     ... arena_alloc ...
//     arena_catch_end(&c);
typedef struct ArenaCatch {
    jmp_buf place;
    struct ArenaCatch *outer;
    Arena *made; // since it began
} ArenaCatch;
ArenaCatch *arena_catch_begin(ArenaCatch *c);
void arena_catch_end(ArenaCatch *c);
#define ARENA_CAUGHT(c) setjmp(arena_catch_begin(c)->place) // the whole condition of an `if`

#define NEW(arena, Type) ((Type *)arena_alloc((arena), sizeof(Type)))
#define NEW_ARRAY(arena, Type, count) ((Type *)arena_alloc((arena), sizeof(Type) * (size_t)(count)))
