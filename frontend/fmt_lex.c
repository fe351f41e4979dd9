// SPDX-License-Identifier: Apache-2.0
// fmt_lex: characters to tokens with their white space, comments kept. The text was parsed before, so no error is left
// to report here.
#include "frontend/ast.h"
#include "frontend/fmt_text.h"
#include <ctype.h>

static bool is_letter(char c) { return isalpha((unsigned char)c) || c == '_'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static size_t digits(const char *p, const char *end) {
    const char *from = p;
    while (p < end && is_digit(*p)) p++;
    return (size_t)(p - from);
}

// The longer of a number and a word (1f1b, 12GB), as flex chooses.
static size_t number_or_word(const char *p, const char *end) {
    const char *n = p + digits(p, end), *w = p;
    if (n + 1 < end && *n == '.' && is_digit(n[1])) n += 1 + digits(n + 1, end);
    if (n < end && (*n == 'e' || *n == 'E')) {
        const char *e = n + 1;
        if (e < end && (*e == '+' || *e == '-')) e++;
        if (e < end && is_digit(*e)) n = e + digits(e, end);
    }
    while (w < end && (is_letter(*w) || is_digit(*w))) w++;
    return (size_t)((w > n ? w : n) - p);
}

static size_t token_measure(const char *p, const char *end, FmtKind *out_kind) {
    const char *q = p;
    *out_kind = FMT_VALUE;
    if (is_digit(*p)) return number_or_word(p, end);
    if (is_letter(*p)) {
        while (q < end && (is_letter(*q) || is_digit(*q))) q++;
        if (name_is_keyword(p, (size_t)(q - p))) *out_kind = FMT_KEYWORD;
        return (size_t)(q - p);
    }
    if (*p == '"') {
        *out_kind = FMT_STRING;
        for (q = p + 1; q < end && *q != '"' && *q != '\n'; q++) {}
        return (size_t)(q - p) + (q < end && *q == '"');
    }
    if (*p == '#') {
        *out_kind = FMT_COMMENT;
        while (q < end && *q != '\n') q++;
        while (strchr(" \t\r", q[-1])) q--; // white space at the end is none of the comment's
        return (size_t)(q - p);
    }
    *out_kind = FMT_MARK;
    if (end - p >= 2 && ((p[1] == '=' && strchr("<>=!", *p)) || (*p == '-' && p[1] == '>'))) return 2;
    return 1;
}

void fmt_lex(FmtText *t, const char *text, size_t size, Arena *a) {
    const char *p = text, *end = text + size;
    int column = 0, space = 0, breaks = 0;
    while (p < end) {
        if (*p == '\n' || *p == ' ' || *p == '\t' || *p == '\r') {
            int width = *p == ' ' ? 1 : *p == '\t' ? 8 - column % 8 : 0;
            column = *p == '\n' ? 0 : column + width;
            space = *p == '\n' ? 0 : space + width;
            breaks += *p++ == '\n';
            continue;
        }
        FmtToken token = {.text = p, .column = column, .space = space};
        token.size = (int)token_measure(p, end, &token.kind);
        for (int i = 0; i < token.size; i++) token.width += ((unsigned char)p[i] & 0xC0) != 0x80;
        FmtLine line = {.first = t->tokens.n, .blank = t->lines.n && breaks > 1};
        if (breaks || !t->lines.n) vec_push(a, &t->lines, line);
        token.line = t->lines.n - 1;
        vec_push(a, &t->tokens, token);
        t->lines.at[token.line].end = t->tokens.n;
        p += token.size;
        column += token.width;
        space = breaks = 0;
    }
}

bool fmt_is(const FmtToken *t, const char *text) {
    return t->kind != FMT_STRING && t->kind != FMT_COMMENT && strlen(text) == (size_t)t->size &&
           !memcmp(t->text, text, (size_t)t->size);
}
