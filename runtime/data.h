// SPDX-License-Identifier: Apache-2.0
// data: token files and the windows a trainer reads from them.
//
// Formats:
//   bytes     any file; a token is a byte (vocabulary 256)
//   u16       nanoGPT's .bin: little-endian uint16, no header
//   llmc      llm.c's .bin: a header of 256 int32 (20240520, version 1, number of tokens), then uint16
// Chosen by the file when not by the caller: `.bin` is llmc when it begins with llm.c's number, u16 otherwise; anything
// else is bytes.
#pragma once
#include "base/status.h"
#include <stddef.h>
#include <stdint.h>

typedef enum TokenFormat { TOKENS_AUTO, TOKENS_BYTES, TOKENS_U16, TOKENS_LLMC } TokenFormat;
const char *token_format_name(TokenFormat f);
bool token_format_parse(const char *name, TokenFormat *out_format);

typedef struct TokenFile TokenFile;
Status tokens_open(const char *path, TokenFormat format, TokenFile **out_file); // maps the file
// From memory, which must outlive the result; `name` stands in messages and decides TOKENS_AUTO.
Status tokens_parse(const void *data, size_t size, const char *name, TokenFormat format, TokenFile **out_file);
void tokens_close(TokenFile *f); // NULL is fine
int64_t tokens_count(const TokenFile *f);
TokenFormat tokens_format(const TokenFile *f);
int32_t tokens_at(const TokenFile *f, int64_t i);
int32_t tokens_greatest(const TokenFile *f); // reads the whole file; -1 when it is empty

// A part of a file.
typedef struct TokenRange {
    const TokenFile *file;
    int64_t begin, end;
} TokenRange;
TokenRange tokens_all(const TokenFile *f);
// The last `fraction` (0 to 1) of the file is held out. The two parts do not overlap.
void tokens_split(const TokenFile *f, double fraction, TokenRange *out_train, TokenRange *out_held_out);

// Windows are rows of `seq` tokens; the labels are the tokens that follow, so each row covers seq + 1.
// STATUS_INVALID when the range is shorter than that.
Status batch_check(TokenRange range, int64_t seq);
// `batch` rows begun at random: a function of (seed, step) alone, whatever ran before. labels may be NULL.
void batch_draw(TokenRange range, uint64_t seed, int64_t step, int64_t batch, int64_t seq, int32_t *out_tokens,
                int32_t *out_labels);
// Of `count` batches spread evenly over the range, number `index`: the same every time.
void batch_spread(TokenRange range, int64_t index, int64_t count, int64_t batch, int64_t seq, int32_t *out_tokens,
                  int32_t *out_labels);
