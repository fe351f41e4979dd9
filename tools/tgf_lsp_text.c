// SPDX-License-Identifier: Apache-2.0
#include "tools/tgf_lsp_text.h"
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

static bool ends_line(char c) { return c == '\n' || c == '\r'; }

// Behind the end of the line that holds `at`, for editors.
static size_t next_line(const char *text, size_t size, size_t at) {
    while (at < size && !ends_line(text[at])) at++;
    if (at < size) at += text[at] == '\r' && at + 1 < size && text[at + 1] == '\n' ? 2 : 1;
    return at;
}

// Bytes of a character, and its UTF-16 units; a byte that begins none counts as one.
static size_t character(const char *text, size_t size, size_t at, int *out_units) {
    size_t n = (size_t)str_utf8(text + at, size - at);
    *out_units = n == 4 ? 2 : 1;
    return n ? n : 1;
}

size_t text_offset(const char *text, size_t size, Position p) {
    size_t at = 0;
    for (int64_t line = 0; line < p.line; line++) {
        size_t next = next_line(text, size, at);
        if (next == at || (next == size && !ends_line(text[size - 1]))) return size;
        at = next;
    }
    for (int64_t left = p.character; at < size && !ends_line(text[at]);) {
        int units;
        size_t n = character(text, size, at, &units);
        left -= units;
        if (left < 0) break;
        at += n;
    }
    return at;
}

Position text_position(const char *text, size_t size, size_t offset) {
    Position p = {0};
    size_t start = 0;
    if (offset > size) offset = size;
    for (;;) {
        size_t next = next_line(text, size, start);
        if (next > offset || next == start || !ends_line(text[next - 1])) break;
        p.line++;
        start = next;
    }
    while (start < offset && !ends_line(text[start])) {
        int units;
        start += character(text, size, start, &units);
        if (start <= offset) p.character += units;
    }
    return p;
}

size_t text_offset_at(const char *text, size_t size, int line, int col) {
    size_t at = 0;
    for (int i = 1; i < line && at < size; i++) {
        const char *end = memchr(text + at, '\n', size - at);
        at = end ? (size_t)(end - text) + 1 : size;
    }
    const char *end = at < size ? memchr(text + at, '\n', size - at) : NULL;
    size_t stop = end ? (size_t)(end - text) : size;
    size_t wanted = at + (size_t)(col > 1 ? col - 1 : 0);
    return wanted < stop ? wanted : stop;
}

void text_place(const char *text, size_t offset, int *out_line, int *out_col) {
    size_t start = 0;
    *out_line = 1;
    for (size_t i = 0; i < offset; i++)
        if (text[i] == '\n') {
            ++*out_line;
            start = i + 1;
        }
    *out_col = (int)(offset - start) + 1;
}

void put_positions(FILE *out, const char *text, size_t size, size_t from, size_t to) {
    Position a = text_position(text, size, from), b = text_position(text, size, to);
    fprintf(out,
            "{\"start\":{\"line\":%" PRId64 ",\"character\":%" PRId64 "},\"end\":{\"line\":%" PRId64
            ",\"character\":%" PRId64 "}}",
            a.line, a.character, b.line, b.character);
}

void put_range(FILE *out, const char *text, size_t size, Loc at) {
    size_t from = text_offset_at(text, size, at.line, at.col);
    size_t to = at.end_col > at.col && at.col ? text_offset_at(text, size, at.line, at.end_col)
                                              : text_offset_at(text, size, at.line, 1 << 30);
    while (!(at.end_col > at.col && at.col) && to > from && isspace((unsigned char)text[to - 1])) to--;
    put_positions(out, text, size, from, to);
}

static bool in_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

size_t text_word(const char *text, size_t size, size_t offset, size_t *out_start) {
    size_t from = offset, to = offset;
    while (from > 0 && in_word(text[from - 1])) from--;
    while (to < size && in_word(text[to])) to++;
    *out_start = from;
    return to - from;
}
