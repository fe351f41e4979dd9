// SPDX-License-Identifier: Apache-2.0
// str: interned strings. Two Str made by one table are equal exactly when their pointers are.
#pragma once
#include "base/arena.h"

typedef const char *Str;
typedef struct StrTable StrTable;

StrTable *strtable_new(Arena *a); // lives in the arena
Str str_intern(StrTable *t, const char *s);
Str str_intern_n(StrTable *t, const char *s, size_t n);
Str str_internf(StrTable *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
// The bytes of the UTF-8 character (RFC 3629) that begins the n bytes at s; 0: they begin with none.
int str_utf8(const char *s, size_t n);
// Edit distance (Damerau-Levenshtein, restricted), for "did you mean"; stops early and returns limit + 1 beyond the
// limit.
int str_distance(const char *a, const char *b, int limit);
