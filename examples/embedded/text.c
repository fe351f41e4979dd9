// SPDX-License-Identifier: Apache-2.0
#include "text.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_all(FILE *f, Text *out) {
    if (fseek(f, 0, SEEK_END)) return -1;
    long size = ftell(f);
    if (size < 0 || fseek(f, 0, SEEK_SET)) return -1;
    out->bytes = malloc((size_t)size + 1);
    out->count = size;
    return out->bytes && fread(out->bytes, 1, (size_t)size, f) == (size_t)size ? 0 : -1;
}

int text_read(const char *path, int64_t seq, Text *out) {
    *out = (Text){0};
    FILE *f = fopen(path, "rb");
    int rc = f ? read_all(f, out) : -1;
    if (rc) fprintf(stderr, "sweep: %s: %s\n", path, strerror(errno));
    if (f) fclose(f);
    out->train = out->count - out->count / 10;
    if (!rc && out->count / 10 <= 2 * seq) {
        fprintf(stderr, "sweep: %s is too short: a tenth of it is held out\n", path);
        rc = -1;
    }
    if (rc) text_free(out);
    return rc;
}

void text_free(Text *t) {
    free(t->bytes);
    *t = (Text){0};
}

static void take_row(const Text *t, int64_t at, int64_t seq, int32_t *tokens, int32_t *labels) {
    for (int64_t i = 0; i < seq; i++) {
        tokens[i] = t->bytes[at + i];
        labels[i] = t->bytes[at + i + 1];
    }
}

static uint64_t mix(uint64_t x) { // splitmix64's finisher
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void text_batch(const Text *t, int64_t step, int64_t batch, int64_t seq, int32_t *tokens, int32_t *labels) {
    for (int64_t i = 0; i < batch; i++) {
        uint64_t x = mix(((uint64_t)(step * batch + i) + 1) * 0x9e3779b97f4a7c15u);
        take_row(t, (int64_t)(x % (uint64_t)(t->train - seq)), seq, tokens + i * seq, labels + i * seq);
    }
}

void text_held_out(const Text *t, int number, int count, int64_t batch, int64_t seq, int32_t *tokens, int32_t *labels) {
    int64_t places = t->count - t->train - seq - 1;
    for (int64_t i = 0; i < batch; i++) {
        int64_t at = t->train + places * (number * batch + i) / (count * batch);
        take_row(t, at, seq, tokens + i * seq, labels + i * seq);
    }
}
