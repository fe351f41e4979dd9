// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

Status status_make(StatusCode code, const char *format, ...) {
    Status s = {.code = code};
    va_list ap;
    va_start(ap, format);
    vsnprintf(s.message, sizeof s.message, format, ap);
    va_end(ap);
    return s;
}

Status status_errno(const char *what, const char *path) {
    return status_make(STATUS_IO, "%s %s: %s", what, path, strerror(errno));
}

const char *status_name(StatusCode code) {
    static const char *const names[] = {"ok",          "invalid", "corrupt", "io",      "out of memory",
                                        "unsupported", "range",   "comm",    "internal"};
    return (unsigned)code < sizeof names / sizeof *names ? names[code] : "unknown";
}
