// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct StrTable {
    Arena *arena;
    Str *slots;
    size_t count, cap; // cap is a power of two
};

static uint64_t hash_bytes(const char *s, size_t n) { // FNV-1a
    uint64_t h = 14695981039346656037ull;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 1099511628211ull;
    return h ^ (h >> 32);
}

StrTable *strtable_new(Arena *a) {
    StrTable *t = NEW(a, StrTable);
    t->arena = a;
    t->cap = 256;
    t->slots = NEW_ARRAY(a, Str, t->cap);
    return t;
}

static Str *slot_for(const StrTable *t, const char *s, size_t n) {
    size_t i = hash_bytes(s, n) & (t->cap - 1);
    while (t->slots[i] && (strncmp(t->slots[i], s, n) || t->slots[i][n])) i = (i + 1) & (t->cap - 1);
    return &t->slots[i];
}

static void grow(StrTable *t) {
    Str *old = t->slots;
    size_t cap = t->cap;
    t->cap *= 2;
    t->slots = NEW_ARRAY(t->arena, Str, t->cap);
    for (size_t i = 0; i < cap; i++)
        if (old[i]) *slot_for(t, old[i], strlen(old[i])) = old[i];
}

Str str_intern_n(StrTable *t, const char *s, size_t n) {
    if (t->count * 2 >= t->cap) grow(t);
    Str *slot = slot_for(t, s, n);
    if (!*slot) {
        char *copy = arena_alloc(t->arena, n + 1);
        memcpy(copy, s, n);
        *slot = copy;
        t->count++;
    }
    return *slot;
}

Str str_intern(StrTable *t, const char *s) { return str_intern_n(t, s, strlen(s)); }

Str str_internf(StrTable *t, const char *format, ...) {
    char small[256];
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, format, ap);
    va_end(ap);
    char *s = small;
    if ((size_t)n >= sizeof small) {
        s = arena_alloc(t->arena, (size_t)n + 1);
        vsnprintf(s, (size_t)n + 1, format, again);
    }
    va_end(again);
    return str_intern_n(t, s, (size_t)n);
}

int str_utf8(const char *s, size_t n) {
    const unsigned char *t = (const unsigned char *)s;
    unsigned char c = n ? *t : 0;
    int size = c < 0x80 ? 1 : c >= 0xC2 && c < 0xE0 ? 2 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xF0 && c < 0xF5 ? 4 : 0;
    bool ok = size && (size_t)size <= n && c;
    for (int j = 1; ok && j < size; j++) ok = (t[j] & 0xC0) == 0x80;
    if (ok && size == 3) ok = !(c == 0xE0 && t[1] < 0xA0) && !(c == 0xED && t[1] >= 0xA0);
    if (ok && size == 4) ok = !(c == 0xF0 && t[1] < 0x90) && !(c == 0xF4 && t[1] >= 0x90);
    return ok ? size : 0;
}

int str_distance(const char *a, const char *b, int limit) {
    enum { MAX = 64 };
    int la = (int)strnlen(a, MAX), lb = (int)strnlen(b, MAX);
    if (la == MAX || lb == MAX || la - lb > limit || lb - la > limit) return limit + 1;
    int d[3][MAX + 1]; // rows i-2, i-1, i
    for (int j = 0; j <= lb; j++) d[1][j] = j;
    for (int i = 1; i <= la; i++) {
        int *row = d[2];
        row[0] = i;
        for (int j = 1; j <= lb; j++) {
            int best = d[1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[1][j] + 1 < best) best = d[1][j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[0][j - 2] + 1 < best)
                best = d[0][j - 2] + 1;
            row[j] = best;
        }
        memcpy(d[0], d[1], sizeof d[0]);
        memcpy(d[1], d[2], sizeof d[1]);
    }
    return d[1][lb] > limit ? limit + 1 : d[1][lb];
}
