// SPDX-License-Identifier: Apache-2.0
#include "runtime/data.h"
#include "base/random.h"
#include "runtime/file.h"
#include <stdlib.h>
#include <string.h>

enum { LLMC_HEADER = 1024, LLMC_MAGIC = 20240520, LLAMA_MAGIC = 20240801, NAME = 256 };

struct TokenFile {
    FileMap map;
    TokenFormat format;
    const unsigned char *tokens;
    int width; // bytes of a token
    int64_t count;
};

static const char *const format_names[] = {"auto", "bytes", "u16", "llmc"};

const char *token_format_name(TokenFormat f) { return (unsigned)f < 4 ? format_names[f] : "?"; }

bool token_format_parse(const char *name, TokenFormat *out_format) {
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, format_names[i])) {
            *out_format = (TokenFormat)i;
            return true;
        }
    return false;
}

// ---- opening --------------------------------------------------------------------------------------------------------
#define CORRUPT(...) return status_make(STATUS_CORRUPT, __VA_ARGS__)

static int64_t little_i32(const unsigned char *p) {
    return (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static TokenFormat detect(const unsigned char *data, size_t size, const char *name) {
    if (!ends_with(name, ".bin")) return TOKENS_BYTES;
    if (size < 4) return TOKENS_U16;
    int64_t magic = little_i32(data);
    return magic == LLMC_MAGIC || magic == LLAMA_MAGIC ? TOKENS_LLMC : TOKENS_U16;
}

static Status look_at_llmc(TokenFile *f, const unsigned char *data, size_t size, const char *name) {
    if (size < LLMC_HEADER) CORRUPT("%s: %zu bytes are too few for an llm.c token file", name, size);
    int64_t magic = little_i32(data), version = little_i32(data + 4), count = little_i32(data + 8);
    if (magic == LLAMA_MAGIC)
        return status_make(STATUS_UNSUPPORTED, "%s: llm.c's token files of 32-bit tokens are not supported", name);
    if (magic != LLMC_MAGIC)
        CORRUPT("%s: begins with %lld, an llm.c token file with %d", name, (long long)magic, LLMC_MAGIC);
    if (version != 1)
        return status_make(STATUS_UNSUPPORTED, "%s: llm.c token file of version %lld, only 1 is known", name,
                           (long long)version);
    if (count < 0) CORRUPT("%s: a negative number of tokens", name);
    int64_t have = (int64_t)(size - LLMC_HEADER);
    if (have != 2 * count)
        CORRUPT("%s: says %lld tokens, holds %lld bytes for them: %s", name, (long long)count, (long long)have,
                have < 2 * count ? "truncated" : "too long");
    f->tokens = data + LLMC_HEADER;
    f->width = 2;
    f->count = count;
    return status_ok();
}

static Status look_at(TokenFile *f, const unsigned char *data, size_t size, const char *name) {
    switch (f->format) {
    case TOKENS_LLMC: return look_at_llmc(f, data, size, name);
    case TOKENS_U16:
        if (size % 2) CORRUPT("%s: %zu bytes are no whole number of 16-bit tokens", name, size);
        f->width = 2;
        break;
    default: f->width = 1;
    }
    f->tokens = data;
    f->count = (int64_t)(size / (size_t)f->width);
    return status_ok();
}

Status tokens_parse(const void *data, size_t size, const char *name, TokenFormat format, TokenFile **out_file) {
    *out_file = NULL;
    TokenFile *f = calloc(1, sizeof *f);
    if (!f) return status_make(STATUS_MEMORY, "no memory to open %s", name);
    f->format = format == TOKENS_AUTO ? detect(data, size, name) : format;
    Status s = look_at(f, data, size, name);
    if (!status_failed(&s) && !f->count) s = status_make(STATUS_INVALID, "%s holds no tokens", name);
    if (status_failed(&s)) free(f);
    else *out_file = f;
    return s;
}

Status tokens_open(const char *path, TokenFormat format, TokenFile **out_file) {
    FileMap map;
    *out_file = NULL;
    STATUS_TRY(file_map(path, &map));
    Status s = tokens_parse(map.data, map.size, path, format, out_file);
    if (status_failed(&s)) file_unmap(&map);
    else (*out_file)->map = map;
    return s;
}

void tokens_close(TokenFile *f) {
    if (!f) return;
    file_unmap(&f->map);
    free(f);
}

int64_t tokens_count(const TokenFile *f) { return f->count; }
TokenFormat tokens_format(const TokenFile *f) { return f->format; }

int32_t tokens_at(const TokenFile *f, int64_t i) {
    return f->width == 1 ? f->tokens[i] : f->tokens[2 * i] | f->tokens[2 * i + 1] << 8;
}

int32_t tokens_greatest(const TokenFile *f) {
    int32_t most = -1;
    for (int64_t i = 0; i < f->count; i++) {
        int32_t t = tokens_at(f, i);
        if (t > most) most = t;
    }
    return most;
}

// ---- windows --------------------------------------------------------------------------------------------------------
TokenRange tokens_all(const TokenFile *f) { return (TokenRange){f, 0, f->count}; }

void tokens_split(const TokenFile *f, double fraction, TokenRange *out_train, TokenRange *out_held_out) {
    double part = fraction > 0 ? fraction < 1 ? fraction : 1 : 0;
    int64_t held = (int64_t)((double)f->count * part), at = f->count - held;
    *out_train = (TokenRange){f, 0, at};
    *out_held_out = (TokenRange){f, at, f->count};
}

Status batch_check(TokenRange r, int64_t seq) {
    if (r.end - r.begin < seq + 1 || seq < 1)
        return status_make(STATUS_INVALID, "%lld tokens are too few for windows of %lld and the one that follows",
                           (long long)(r.end - r.begin), (long long)seq);
    return status_ok();
}

static void read_row(TokenRange r, int64_t start, int64_t seq, int32_t *tokens, int32_t *labels) {
    for (int64_t i = 0; i < seq; i++) {
        tokens[i] = tokens_at(r.file, r.begin + start + i);
        if (labels) labels[i] = tokens_at(r.file, r.begin + start + i + 1);
    }
}

void batch_draw(TokenRange r, uint64_t seed, int64_t step, int64_t batch, int64_t seq, int32_t *out_tokens,
                int32_t *out_labels) {
    uint64_t starts = (uint64_t)(r.end - r.begin - seq); // how many there are
    for (int64_t b = 0; b < batch; b++) {
        uint32_t c[4] = {(uint32_t)b, (uint32_t)((uint64_t)b >> 32), (uint32_t)step, (uint32_t)((uint64_t)step >> 32)};
        philox4x32(c, (uint32_t)seed, (uint32_t)(seed >> 32) ^ 0x746f6b65u); // apart from what kernels draw
        uint64_t x = (uint64_t)c[0] << 32 | c[1];
        int64_t start = (int64_t)((unsigned __int128)x * starts >> 64);
        read_row(r, start, seq, out_tokens + b * seq, out_labels ? out_labels + b * seq : NULL);
    }
}

void batch_spread(TokenRange r, int64_t index, int64_t count, int64_t batch, int64_t seq, int32_t *out_tokens,
                  int32_t *out_labels) {
    int64_t last = r.end - r.begin - seq - 1, rows = batch * count;
    for (int64_t b = 0; b < batch; b++) {
        int64_t row = index * batch + b;
        int64_t start = rows > 1 ? (int64_t)((__int128)last * row / (rows - 1)) : 0;
        read_row(r, start, seq, out_tokens + b * seq, out_labels ? out_labels + b * seq : NULL);
    }
}
