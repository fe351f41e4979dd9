// SPDX-License-Identifier: Apache-2.0
// rpc: JSON-RPC messages as the language server protocol frames them, in and out:
//
//   Content-Length: 27\r\n\r\n{"jsonrpc":"2.0","id":1,...
#pragma once
#include "tools/tgf_lsp_json.h"
#include <stdbool.h>

enum { MESSAGE_BYTES_MAX = 64 << 20, HEADER_BYTES_MAX = 4096 };

typedef struct Message { // malloc'ed
    char *text;
    size_t size;
} Message;

typedef struct Rpc {
    int in;
    FILE *out;
    bool ended, broken; // no more input; nobody reads what is written
    char *bytes;        // read and not yet a message
    size_t n, cap;
    size_t skip; // bytes of a message that is too long, still to come
    struct {
        Message *at;
        int n, cap;
    } queue; // read and not yet taken
} Rpc;

// Reads what there is into the queue; waits until something comes when `wait`.
void rpc_read(Rpc *w, bool wait);
bool rpc_take(Rpc *w, Message *out_message); // the oldest of the queue; the caller frees its text
void rpc_send(Rpc *w, const char *json, size_t size);
void rpc_close(Rpc *w);
