// SPDX-License-Identifier: Apache-2.0
// text: a file's bytes as tokens. Its last tenth is held out.
#pragma once
#include <stdint.h>

typedef struct Text {
    unsigned char *bytes;
    int64_t count, train; // bytes; of them before the held-out part
} Text;

// 0, or -1 after a line on stderr: cannot read, or too short for rows of `seq` tokens.
int text_read(const char *path, int64_t seq, Text *out);
void text_free(Text *t);
// Rows begun at random places of the training part: a function of `step` alone, so that all runs see the same data.
void text_batch(const Text *t, int64_t step, int64_t batch, int64_t seq, int32_t *tokens, int32_t *labels);
// Batch `number` of `count`: rows spread evenly over the held-out part.
void text_held_out(const Text *t, int number, int count, int64_t batch, int64_t seq, int32_t *tokens, int32_t *labels);
