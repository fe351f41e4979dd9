// SPDX-License-Identifier: Apache-2.0
// parse_core: what the readers of the IR's text share: one cursor over the text, its words and numbers. A reader that
// finds something else than it expects calls fail, which reports where and does not return.
#pragma once
#include "base/vec.h"
#include "ir/graph.h"
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

typedef struct Named {
    Str name; // with its suffix
    Value *value;
} Named;

typedef struct Parser {
    Unit *u;
    Str file;
    const char *p, *end, *line_start;
    int line, depth;
    jmp_buf *fail;
    Vec(Named) scope;
} Parser;

static inline Loc here(const Parser *s) { return (Loc){s->file, s->line, (int)(s->p - s->line_start) + 1, 0}; }

static inline void __attribute__((noreturn, format(printf, 2, 3))) fail(Parser *s, const char *format, ...) {
    char text[300];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    diag_error(s->u->diag, here(s), "%s", text);
    longjmp(*s->fail, 1);
}

static inline char peek(const Parser *s) { return s->p < s->end ? *s->p : '\0'; }
static inline void blanks(Parser *s) {
    while (peek(s) == ' ' || peek(s) == '\t') s->p++;
}
static inline void newline(Parser *s) {
    blanks(s);
    if (s->p < s->end && *s->p != '\n') fail(s, "expected the end of the line");
    while (s->p < s->end && (*s->p == '\n' || *s->p == ' ')) {
        if (*s->p == '\n') {
            s->line++;
            s->line_start = s->p + 1;
        }
        s->p++;
    }
}
static inline bool accept(Parser *s, char c) {
    blanks(s);
    if (peek(s) != c || s->p >= s->end) return false;
    s->p++;
    return true;
}
static inline void expect(Parser *s, char c) {
    if (!accept(s, c)) fail(s, "expected '%c'", c);
}
static inline bool word_char(char c) { return isalnum((unsigned char)c) || c == '_'; }
static inline Str word(Parser *s) {
    blanks(s);
    const char *start = s->p;
    while (s->p < s->end && word_char(*s->p)) s->p++;
    if (s->p == start) fail(s, "expected a name");
    return str_intern_n(s->u->strs, start, (size_t)(s->p - start));
}
static inline bool accept_word(Parser *s, const char *w) {
    blanks(s);
    size_t n = strlen(w);
    if (!n || (size_t)(s->end - s->p) < n || memcmp(s->p, w, n) || (s->p + n < s->end && word_char(s->p[n])))
        return false;
    s->p += n;
    return true;
}
static inline int64_t integer(Parser *s) {
    blanks(s);
    char buf[24];
    size_t n = 0;
    while (s->p + n < s->end && n < sizeof buf - 1 && (isdigit((unsigned char)s->p[n]) || (!n && s->p[n] == '-'))) {
        buf[n] = s->p[n];
        n++;
    }
    buf[n] = 0;
    char *stop;
    errno = 0;
    long long v = strtoll(buf, &stop, 10);
    if (!n || *stop || errno) fail(s, "expected an integer");
    s->p += n;
    return v;
}
static inline double number(Parser *s) {
    blanks(s);
    char buf[48];
    size_t n = 0;
    while (s->p + n < s->end && n < sizeof buf - 1 && (word_char(s->p[n]) || strchr("+-.", s->p[n]))) {
        buf[n] = s->p[n];
        n++;
    }
    buf[n] = 0;
    char *stop;
    double v = strtod(buf, &stop);
    if (!n || *stop) fail(s, "expected a number");
    s->p += n;
    return v;
}
static inline Str string(Parser *s) {
    expect(s, '"');
    Vec(char) text = {0};
    while (peek(s) != '"') {
        if (s->p >= s->end || *s->p == '\n') fail(s, "unterminated string");
        char c = *s->p++;
        if (c == '\\' && s->p < s->end) {
            c = *s->p++;
            if (c == 'x' && s->end - s->p >= 2) {
                char hex[3] = {s->p[0], s->p[1], 0};
                c = (char)strtol(hex, NULL, 16);
                if (!c) fail(s, "a NUL in a string");
                s->p += 2;
            }
        }
        vec_push(s->u->arena, &text, c);
    }
    s->p++;
    return str_intern_n(s->u->strs, text.at ? text.at : "", (size_t)text.n);
}
static inline Loc location(Parser *s) {
    if (!accept(s, '@')) return (Loc){0};
    if (peek(s) == '"') { // a name that is not one plain word
        Loc at = {string(s), 0, 0, 0};
        expect(s, ':');
        at.line = (int)integer(s);
        expect(s, ':');
        at.col = (int)integer(s);
        return at;
    }
    const char *start = s->p, *stop = start;
    while (stop < s->end && *stop != '\n' && *stop != ' ') stop++;
    const char *colon[2] = {NULL, NULL};
    for (const char *c = start; c < stop; c++)
        if (*c == ':') {
            colon[0] = colon[1];
            colon[1] = c;
        }
    if (!colon[0]) fail(s, "expected file:line:column");
    Loc at = {str_intern_n(s->u->strs, start, (size_t)(colon[0] - start)), 0, 0, 0};
    s->p = colon[0] + 1;
    at.line = (int)integer(s);
    expect(s, ':');
    at.col = (int)integer(s);
    return at;
}
static inline Str dotted(Parser *s) { // "layer", "layer.0", "train.f0"
    Str name = word(s);
    while (accept(s, '.')) name = str_internf(s->u->strs, "%s.%s", name, word(s));
    return name;
}
static inline int64_t bounded(Parser *s, int64_t least, int64_t most) {
    int64_t n = integer(s);
    if (n < least || n > most) fail(s, "expected a number from %lld to %lld", (long long)least, (long long)most);
    return n;
}

// The section behind the functions, if there is one (pipeline_text.c).
void pipeline_parse(Parser *s);
