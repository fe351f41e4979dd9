// SPDX-License-Identifier: Apache-2.0
// expect: what the programs of this folder share. They are C and C++.
#pragma once
#include <stdio.h>
#include <string.h>
#include <tgf/tgf.h>

static int expect_failures;

static inline void expect_status(TgfStatus s, TgfCode code, const char *text, const char *file, int line) {
    if (s.code == code && strstr(s.message, text)) return;
    printf("%s:%d: expected %s '%s', got %s '%s'\n", file, line, tgf_code_name(code), text, tgf_code_name(s.code),
           s.message);
    expect_failures++;
}

#define OK(expr) expect_status(expr, TGF_OK, "", __FILE__, __LINE__)
#define FAILS(expr, code, text) expect_status(expr, code, text, __FILE__, __LINE__)
#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                                                  \
            expect_failures++;                                                                                         \
        }                                                                                                              \
    } while (0)
