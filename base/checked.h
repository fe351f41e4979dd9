// SPDX-License-Identifier: Apache-2.0
// checked: size arithmetic that says when it overflows. Each returns false on overflow and leaves *out unspecified.
#pragma once
#include <stdbool.h>
#include <stdint.h>

static inline bool checked_add(int64_t a, int64_t b, int64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool checked_sub(int64_t a, int64_t b, int64_t *out) { return !__builtin_sub_overflow(a, b, out); }
static inline bool checked_mul(int64_t a, int64_t b, int64_t *out) { return !__builtin_mul_overflow(a, b, out); }
// Smallest multiple of `to` (a positive number) not below a.
static inline bool checked_round_up(int64_t a, int64_t to, int64_t *out) {
    int64_t t;
    if (!checked_add(a, to - 1, &t)) return false;
    *out = t / to * to;
    return true;
}
static inline int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }
