// SPDX-License-Identifier: Apache-2.0
// lsp_json: pieces of a message by name. Members of JSON objects come in any order, so what is wanted is looked up in
// the text; a message is checked to be JSON, whole, before anything is looked up.
#pragma once
#include "base/arena.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum RpcError {
    RPC_PARSE = -32700,
    RPC_INVALID_REQUEST = -32600,
    RPC_NO_METHOD = -32601,
    RPC_INVALID_PARAMS = -32602,
    RPC_INTERNAL = -32603,
    RPC_NOT_INITIALIZED = -32002,
    RPC_REQUEST_FAILED = -32803,
    RPC_CANCELLED = -32800,
};

typedef struct Span { // of one JSON value; text NULL: absent
    const char *text;
    size_t size;
} Span;

bool span_valid(Span message); // one JSON value
// A member of a member ... of an object: "textDocument.uri". Absent where there is none; the first of equal names.
Span span_at(Span object, const char *path);
Span span_item(Span array, int i); // absent beyond the end
char span_kind(Span s);            // its first byte, 0 when absent: { [ " t f n, digits, -
// A string's text; NULL when it is none.
char *span_text(Span s, Arena *a, size_t *out_size);
bool span_int(Span s, int64_t *out);
bool span_equal(Span a, Span b); // written alike
static inline bool span_true(Span s) { return span_kind(s) == 't'; }
