// SPDX-License-Identifier: Apache-2.0
// json: a strict reader that pulls values off a text of known size, in order, without building anything. The text may
// come from anywhere: nesting is bounded, and the first mistake ends everything (error, error_at).
//
//   json_enter(&j, '{'); while (json_next(&j, '}')) { json_key(&j, key, sizeof key); json_int(&j, &x); }
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { JSON_DEPTH = 32 };

typedef struct Json {
    const char *start, *at, *end;
    const char *error; // NULL: none so far
    size_t error_at;   // byte of the text
    int depth;
    bool first[JSON_DEPTH]; // no element of this level was read yet
} Json;

Json json_open(const char *text, size_t size);
bool json_enter(Json *j, char bracket); // '{' or '['
// Whether another element follows in the object or array that `close` ends; leaves it when not. False on a mistake.
bool json_next(Json *j, char close);
// Strings are unescaped to UTF-8 and end with a zero byte; size includes it. Longer ones and \u0000 are mistakes.
bool json_key(Json *j, char *out_key, size_t size); // and the colon
bool json_string(Json *j, char *out_string, size_t size);
// Any text an editor may hold: \u0000 is a zero byte, half a surrogate pair alone U+FFFD. *out_size: bytes in front of
// the last zero byte.
bool json_text(Json *j, char *out_text, size_t size, size_t *out_size);
bool json_int(Json *j, int64_t *out_value); // without fraction or exponent
bool json_skip(Json *j);                    // any value
bool json_end(Json *j);                     // only blanks are left
char json_peek(Json *j);                    // the first byte of what follows, 0 at the end

// Quoted and escaped; bytes that are not UTF-8 become U+FFFD.
void json_put_string(FILE *out, const char *s);
