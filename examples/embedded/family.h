// SPDX-License-Identifier: Apache-2.0
// family: decoders over bytes whose size is one number.
#pragma once
#include <tgf/dsl.h>

enum { FAMILY_SEQ = 128, FAMILY_BATCH = 8, FAMILY_DIM = 16 };

// Of one number n = 1, 2, ...: n heads of FAMILY_DIM, and a layer for every 32 of width.
int family_width(int n);
int family_layers(int n);
// The caller's, for tgf_program_free; mistakes are in its messages. NULL: out of memory.
TgfProgram *family_member(int n, int warmup);
