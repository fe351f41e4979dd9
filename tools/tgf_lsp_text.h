// SPDX-License-Identifier: Apache-2.0
// lsp_text: places of a text three ways: byte offsets; lines and columns as the compiler counts them (Loc: from 1, in
// bytes, lines end in \n); positions as editors count them (from 0, in UTF-16 code units, lines end in \n, \r\n or \r).
#pragma once
#include "base/diag.h"
#include <stdint.h>

typedef struct Position {
    int64_t line, character;
} Position;

// Beyond the end of a line is its end; beyond the last line the end of the text; inside a surrogate pair in front of
// it.
size_t text_offset(const char *text, size_t size, Position p);
Position text_position(const char *text, size_t size, size_t offset);
size_t text_offset_at(const char *text, size_t size, int line, int col); // of a Loc's
void text_place(const char *text, size_t offset, int *out_line, int *out_col);
// "range": {...} of a Loc: its columns; to the end of the line where they are not known, the whole line for col 0.
void put_range(FILE *out, const char *text, size_t size, Loc at);
void put_positions(FILE *out, const char *text, size_t size, size_t from, size_t to); // of bytes
// The name around a byte: its first byte and its size, 0 when there is none.
size_t text_word(const char *text, size_t size, size_t offset, size_t *out_start);
