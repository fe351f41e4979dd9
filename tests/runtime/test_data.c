// SPDX-License-Identifier: Apache-2.0
// Token files and windows: formats, damage, and that a batch depends on seed and step alone.
#include "check.h"
#include "runtime/data.h"

static void header(unsigned char *file, int32_t magic, int32_t version, int32_t count) {
    int32_t values[] = {magic, version, count};
    memset(file, 0, 1024);
    memcpy(file, values, sizeof values);
}

static void formats(void) {
    TokenFile *f;
    static unsigned char file[1024 + 20];
    CHECK_OK(tokens_parse("hello\xff", 6, "a.txt", TOKENS_AUTO, &f));
    CHECK(tokens_format(f) == TOKENS_BYTES && tokens_count(f) == 6 && tokens_at(f, 5) == 255 &&
          tokens_greatest(f) == 255);
    tokens_close(f);
    CHECK_OK(tokens_parse("\x01\x02\xff\xff", 4, "a.bin", TOKENS_AUTO, &f));
    CHECK(tokens_format(f) == TOKENS_U16 && tokens_count(f) == 2 && tokens_at(f, 0) == 0x201 &&
          tokens_at(f, 1) == 65535);
    tokens_close(f);
    header(file, 20240520, 1, 10);
    file[1024] = 7;
    CHECK_OK(tokens_parse(file, sizeof file, "b.bin", TOKENS_AUTO, &f));
    CHECK(tokens_format(f) == TOKENS_LLMC && tokens_count(f) == 10 && tokens_at(f, 0) == 7 && tokens_at(f, 9) == 0);
    tokens_close(f);
    CHECK_OK(tokens_parse(file, sizeof file, "b.bin", TOKENS_BYTES, &f)); // the caller's word counts
    CHECK(tokens_count(f) == 1044);
    tokens_close(f);

    CHECK_FAILS(tokens_parse("", 0, "a.txt", TOKENS_AUTO, &f), STATUS_INVALID, "holds no tokens");
    CHECK_FAILS(tokens_parse("abc", 3, "a.bin", TOKENS_AUTO, &f), STATUS_CORRUPT,
                "3 bytes are no whole number of 16-bit");
    CHECK_FAILS(tokens_parse(file, 100, "b.bin", TOKENS_AUTO, &f), STATUS_CORRUPT,
                "100 bytes are too few for an llm.c");
    CHECK_FAILS(tokens_parse(file, sizeof file - 1, "b.bin", TOKENS_AUTO, &f), STATUS_CORRUPT, "truncated");
    CHECK_FAILS(tokens_parse(file, sizeof file - 2, "b.bin", TOKENS_AUTO, &f), STATUS_CORRUPT,
                "says 10 tokens, holds 18 bytes");
    header(file, 20240520, 1, 9);
    CHECK_FAILS(tokens_parse(file, sizeof file, "b.bin", TOKENS_AUTO, &f), STATUS_CORRUPT, "too long");
    header(file, 20240520, 1, -1);
    CHECK_FAILS(tokens_parse(file, sizeof file, "b.bin", TOKENS_AUTO, &f), STATUS_CORRUPT, "negative number of tokens");
    header(file, 20240520, 1, INT32_MAX);
    CHECK_FAILS(tokens_parse(file, sizeof file, "b.bin", TOKENS_AUTO, &f), STATUS_CORRUPT, "truncated");
    header(file, 20240520, 2, 10);
    CHECK_FAILS(tokens_parse(file, sizeof file, "b.bin", TOKENS_AUTO, &f), STATUS_UNSUPPORTED, "version 2");
    header(file, 20240801, 7, 10);
    CHECK_FAILS(tokens_parse(file, sizeof file, "b.bin", TOKENS_AUTO, &f), STATUS_UNSUPPORTED, "32-bit tokens");
    header(file, 5, 1, 10);
    CHECK_FAILS(tokens_parse(file, sizeof file, "b.bin", TOKENS_LLMC, &f), STATUS_CORRUPT, "begins with 5");
    CHECK_FAILS(tokens_open("/no/such/file", TOKENS_AUTO, &f), STATUS_IO, "cannot open /no/such/file: No such file");
    CHECK_FAILS(tokens_open("/tmp", TOKENS_AUTO, &f), STATUS_INVALID, "not a regular file");
    TokenFormat format;
    CHECK(token_format_parse("llmc", &format) && format == TOKENS_LLMC && !token_format_parse("x", &format));
}

static void windows(void) {
    enum { COUNT = 1000, BATCH = 8, SEQ = 16 };
    unsigned char file[COUNT];
    TokenFile *f;
    TokenRange train, held;
    int32_t tokens[BATCH * SEQ], labels[BATCH * SEQ], again[BATCH * SEQ];
    for (int i = 0; i < COUNT; i++) file[i] = (unsigned char)(i % 251);
    CHECK_OK(tokens_parse(file, COUNT, "x", TOKENS_AUTO, &f));
    tokens_split(f, 0.1, &train, &held);
    CHECK(train.begin == 0 && train.end == 900 && held.begin == 900 && held.end == 1000);
    bool first = false, last = false;
    for (int step = 0; step < 2000; step++) {
        batch_draw(train, 5, step, BATCH, SEQ, tokens, labels);
        for (int i = 0; i < BATCH * SEQ; i++) CHECK(labels[i] == (tokens[i] + 1) % 251);
        for (int b = 0; b < BATCH; b++) {
            first = first || (tokens[b * SEQ] == 0);
            last = last || labels[b * SEQ + SEQ - 1] == 899 % 251;
        }
    }
    CHECK(first && last);
    batch_draw(train, 5, 17, BATCH, SEQ, tokens, NULL);
    batch_draw(train, 5, 17, BATCH, SEQ, again, NULL);
    CHECK(!memcmp(tokens, again, sizeof tokens));
    batch_draw(train, 6, 17, BATCH, SEQ, again, NULL);
    CHECK(memcmp(tokens, again, sizeof tokens));
    batch_draw(train, 5, 18, BATCH, SEQ, again, NULL);
    CHECK(memcmp(tokens, again, sizeof tokens));
    batch_spread(held, 0, 3, BATCH, SEQ, tokens, labels);
    CHECK(tokens[0] == 900 % 251);
    batch_spread(held, 2, 3, BATCH, SEQ, tokens, labels);
    CHECK(labels[BATCH * SEQ - 1] == 999 % 251);
    CHECK_OK(batch_check(held, 99));
    CHECK_FAILS(batch_check(held, 100), STATUS_INVALID, "100 tokens are too few for windows of 100");
    TokenRange tight = {f, 0, SEQ + 1};
    batch_draw(tight, 1, 1, BATCH, SEQ, tokens, labels);
    for (int b = 0; b < BATCH; b++) CHECK(tokens[b * SEQ] == 0);
    tokens_close(f);
}

int main(void) {
    formats();
    windows();
    return check_report("data");
}
