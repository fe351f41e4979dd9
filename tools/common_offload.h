// SPDX-License-Identifier: Apache-2.0
// What --stats says of memory on the host and of what is moved there and back; nothing when there is none.
#pragma once
#include "ir/storage.h"
#include <stdio.h>

void offload_print_memory(const Storage *s, FILE *out);
// times: how often each function runs in one call of `func`.
void offload_print_moves(const Unit *u, const char *func, const double *times, FILE *out);
