// SPDX-License-Identifier: Apache-2.0
// check: what the runtime's tests say what they expect with.
#pragma once
#include "base/status.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failures __attribute__((unused));

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("%s:%d: expected %s\n", __FILE__, __LINE__, #condition);                                            \
            check_failures++;                                                                                          \
        }                                                                                                              \
    } while (0)

#define CHECK_OK(expr)                                                                                                 \
    do {                                                                                                               \
        Status check_s_ = (expr);                                                                                      \
        if (status_failed(&check_s_)) {                                                                                \
            printf("%s:%d: %s failed: %s\n", __FILE__, __LINE__, #expr, check_s_.message);                             \
            check_failures++;                                                                                          \
        }                                                                                                              \
    } while (0)

// The call must fail with this code and a message holding `text`.
#define CHECK_FAILS(expr, wanted, text)                                                                                \
    do {                                                                                                               \
        Status check_s_ = (expr);                                                                                      \
        if (check_s_.code != (wanted) || !strstr(check_s_.message, (text))) {                                          \
            printf("%s:%d: %s: expected %s '%s', got %s '%s'\n", __FILE__, __LINE__, #expr, status_name(wanted),       \
                   (text), status_name(check_s_.code), check_s_.message);                                              \
            check_failures++;                                                                                          \
        }                                                                                                              \
    } while (0)

static inline int check_report(const char *name) {
    if (check_failures) printf("%s: %d failures\n", name, check_failures);
    else printf("%s: ok\n", name);
    return check_failures != 0;
}
