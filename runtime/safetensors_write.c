// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "base/arena.h"
#include "base/checked.h"
#include "base/vec.h"
#include "runtime/file.h"
#include "runtime/json.h"
#include "runtime/safetensors.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Entry {
    const char *name;
    TensorDType dtype;
    int rank;
    int64_t shape[TENSOR_RANK], begin, bytes; // begin: in the data
} Entry;

typedef struct Meta {
    const char *key, *value;
} Meta;

struct SafetensorsWriter {
    Arena *arena;
    const char *path, *beside, *folder;
    int fd;
    Status status; // the first failure
    int64_t data_at, size;
    Vec(Entry) entries;
    Vec(Meta) metas;
};

static void keep(SafetensorsWriter *w, Status s) {
    if (!status_failed(&w->status)) w->status = s;
}

Status safetensors_create(const char *path, SafetensorsWriter **out_writer) {
    *out_writer = NULL;
    Arena *arena = arena_new();
    SafetensorsWriter *w = NEW(arena, SafetensorsWriter);
    const char *slash = strrchr(path, '/');
    w->arena = arena;
    w->path = arena_printf(arena, "%s", path);
    w->beside = arena_printf(arena, "%s.tmp", path);
    w->folder = slash ? arena_printf(arena, "%.*s", (int)(slash - path + (slash == path)), path) : ".";
    w->fd = open(w->beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        Status s = status_errno("cannot create", w->beside);
        arena_free(arena);
        return s;
    }
    *out_writer = w;
    return status_ok();
}

void safetensors_put_meta(SafetensorsWriter *w, const char *key, const char *value) {
    Meta m = {arena_printf(w->arena, "%s", key), arena_printf(w->arena, "%s", value)};
    vec_push(w->arena, &w->metas, m);
}

int safetensors_add(SafetensorsWriter *w, const char *name, TensorDType dtype, int rank, const int64_t *shape) {
    Entry e = {arena_printf(w->arena, "%s", name), dtype, rank, {0}, w->size, tensor_dtype_bytes(dtype)};
    if (rank > TENSOR_RANK) keep(w, status_make(STATUS_INVALID, "tensor '%s' has %d dimensions", name, rank));
    for (int i = 0; i < rank && i < TENSOR_RANK; i++) {
        e.shape[i] = shape[i];
        if (!checked_mul(e.bytes, shape[i], &e.bytes)) e.bytes = INT64_MAX;
    }
    if (!checked_add(w->size, e.bytes, &w->size)) {
        keep(w, status_make(STATUS_INVALID, "tensor '%s' is too large", name));
        e.bytes = 0;
    }
    vec_push(w->arena, &w->entries, e);
    return w->entries.n - 1;
}

static void write_at(SafetensorsWriter *w, int64_t at, const void *data, int64_t bytes) {
    const char *from = data;
    while (bytes > 0 && !status_failed(&w->status)) {
        ssize_t n = pwrite(w->fd, from, (size_t)bytes, at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            keep(w, status_errno("cannot write", w->beside));
            return;
        }
        from += n;
        at += n;
        bytes -= n;
    }
}

static void put_header(const SafetensorsWriter *w, FILE *out) {
    const char *sep = "";
    fputc('{', out);
    if (w->metas.n) {
        fputs("\"__metadata__\":{", out);
        for (int i = 0; i < w->metas.n; i++) {
            fputs(i ? "," : "", out);
            json_put_string(out, w->metas.at[i].key);
            fputc(':', out);
            json_put_string(out, w->metas.at[i].value);
        }
        fputc('}', out);
        sep = ",";
    }
    for (int i = 0; i < w->entries.n; i++, sep = ",") {
        const Entry *e = &w->entries.at[i];
        fputs(sep, out);
        json_put_string(out, e->name);
        fprintf(out, ":{\"dtype\":\"%s\",\"shape\":[", tensor_dtype_name(e->dtype));
        for (int k = 0; k < e->rank; k++) fprintf(out, "%s%lld", k ? "," : "", (long long)e->shape[k]);
        fprintf(out, "],\"data_offsets\":[%lld,%lld]}", (long long)e->begin, (long long)(e->begin + e->bytes));
    }
    fputc('}', out);
}

void safetensors_start(SafetensorsWriter *w) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) {
        keep(w, status_errno("no memory for the header of", w->path));
        return;
    }
    put_header(w, out);
    fflush(out);
    while (size % 8) { // the data begins aligned
        fputc(' ', out);
        fflush(out);
    }
    if (fclose(out)) keep(w, status_errno("no memory for the header of", w->path));
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)size >> 8 * i);
    write_at(w, 0, length, 8);
    write_at(w, 8, text, (int64_t)size);
    w->data_at = 8 + (int64_t)size;
    free(text);
    if (!status_failed(&w->status) && ftruncate(w->fd, w->data_at + w->size))
        keep(w, status_errno("cannot make room for", w->beside));
}

void safetensors_write(SafetensorsWriter *w, int tensor, int64_t at, const void *data, int64_t bytes) {
    const Entry *e = &w->entries.at[tensor];
    if (at < 0 || bytes < 0 || at > e->bytes || bytes > e->bytes - at)
        keep(w, status_make(STATUS_INTERNAL, "tensor '%s' written beyond its end", e->name));
    else write_at(w, w->data_at + e->begin + at, data, bytes);
}

void safetensors_abandon(SafetensorsWriter *w) {
    if (!w) return;
    close(w->fd);
    unlink(w->beside);
    arena_free(w->arena);
}

Status safetensors_finish(SafetensorsWriter *w) {
    if (!status_failed(&w->status) && fsync(w->fd)) keep(w, status_errno("cannot sync", w->beside));
    if (close(w->fd)) keep(w, status_errno("cannot close", w->beside));
    if (!status_failed(&w->status)) keep(w, file_rename(w->beside, w->path));
    if (status_failed(&w->status)) unlink(w->beside);
    else keep(w, file_sync_folder(w->folder));
    Status s = w->status;
    arena_free(w->arena);
    return s;
}
