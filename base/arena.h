// SPDX-License-Identifier: Apache-2.0
// arena: memory that lives and dies together. The compiler has three (session, unit, scratch); passes never free.
#pragma once
#include <stddef.h>

typedef struct Arena Arena;

Arena *arena_new(void);
void arena_free(Arena *a); // NULL is fine
void arena_reset(Arena *a);
// Zeroed, 16-byte aligned. Never returns NULL: when memory is exhausted the handler set by arena_on_oom runs (it must
// not return; the default prints one line and aborts).
void *arena_alloc(Arena *a, size_t bytes);
void *arena_dup(Arena *a, const void *from, size_t bytes);
char *arena_printf(Arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t arena_bytes(const Arena *a); // bytes handed out since creation or reset
void arena_on_oom(void (*handler)(void));

#define NEW(arena, Type) ((Type *)arena_alloc((arena), sizeof(Type)))
#define NEW_ARRAY(arena, Type, count) ((Type *)arena_alloc((arena), sizeof(Type) * (size_t)(count)))
