// SPDX-License-Identifier: Apache-2.0
// bytes: sizes of memory as people read them: "40.00 GB", "512 B", in decimal units.
#pragma once
#include "base/arena.h"
#include <stdio.h>

static inline const char *bytes_print(double bytes, char *text, size_t size) {
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
    int i = 0;
    while (bytes >= 1000 && i < 5) bytes /= 1000, i++;
    snprintf(text, size, i ? "%.2f %s" : "%.0f %s", bytes, units[i]);
    return text;
}

static inline const char *bytes_text(double bytes, Arena *a) {
    char text[40];
    return arena_printf(a, "%s", bytes_print(bytes, text, sizeof text));
}
