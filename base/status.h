// SPDX-License-Identifier: Apache-2.0
// status: how a run-time call went, with a message a person can act on. Nothing in the runtime exits or prints.
#pragma once
#include <stdbool.h>

typedef enum StatusCode {
    STATUS_OK = 0,
    STATUS_INVALID, // an argument, a name, a shape
    STATUS_CORRUPT, // a file that is not what it says it is
    STATUS_IO,      // the system refused: errno's text is in the message
    STATUS_MEMORY,
    STATUS_UNSUPPORTED,
    STATUS_RANGE, // data outside its declared range (a token id beyond the vocabulary)
    STATUS_COMM,  // a collective failed or did not match its peers
    STATUS_INTERNAL,
} StatusCode;

typedef struct Status {
    StatusCode code;
    char message[500]; // empty when code is STATUS_OK
} Status;

static inline Status status_ok(void) { return (Status){STATUS_OK, ""}; }
static inline bool status_failed(const Status *s) { return s->code != STATUS_OK; }
Status status_make(StatusCode code, const char *format, ...) __attribute__((format(printf, 2, 3)));
Status status_errno(const char *what, const char *path); // STATUS_IO with strerror(errno)
const char *status_name(StatusCode code);

// In a function returning Status: pass a failure on to the caller.
#define STATUS_TRY(expr)                                                                                               \
    do {                                                                                                               \
        Status status_try_ = (expr);                                                                                   \
        if (status_failed(&status_try_)) return status_try_;                                                           \
    } while (0)
