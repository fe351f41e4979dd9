// SPDX-License-Identifier: Apache-2.0
#include "ir/axis.h"
#include <stdarg.h>

int axes_find(const Axes *list, const Axis *axis) {
    for (int i = 0; i < list->n; i++)
        if (list->at[i] == axis) return i;
    return -1;
}

bool axes_push(Axes *list, const Axis *axis) {
    if (list->n == RANK_MAX) return false;
    list->at[list->n++] = axis;
    return true;
}

Axes axes_of(int n, ...) {
    Axes list = {0};
    va_list ap;
    va_start(ap, n);
    for (int i = 0; i < n; i++) axes_push(&list, va_arg(ap, const Axis *));
    va_end(ap);
    return list;
}

bool axes_equal(const Axes *a, const Axes *b) {
    if (a->n != b->n) return false;
    for (int i = 0; i < a->n; i++)
        if (a->at[i] != b->at[i]) return false;
    return true;
}
