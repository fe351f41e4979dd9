// SPDX-License-Identifier: Apache-2.0
#include "runtime/safetensors.h"
#include "base/arena.h"
#include "base/checked.h"
#include "base/vec.h"
#include "runtime/file.h"
#include "runtime/json.h"
#include <stdlib.h>
#include <string.h>

typedef struct Meta {
    const char *key, *value;
} Meta;

struct Safetensors {
    Arena *arena;
    const char *name;
    FileMap map; // of safetensors_open
    Vec(Tensor) tensors;
    Vec(Meta) metas;
};

static const struct {
    const char *name;
    int bytes;
} dtypes[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
              {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"I64", 8},     {"U64", 8}, {"F64", 8}};
enum { NDTYPES = sizeof dtypes / sizeof *dtypes };

const char *tensor_dtype_name(TensorDType t) { return (unsigned)t < NDTYPES ? dtypes[t].name : "?"; }
int tensor_dtype_bytes(TensorDType t) { return (unsigned)t < NDTYPES ? dtypes[t].bytes : 0; }

#define CORRUPT(...) return status_make(STATUS_CORRUPT, __VA_ARGS__)

// ---- reading --------------------------------------------------------------------------------------------------------
static Status json_status(const Safetensors *f, const Json *j) {
    CORRUPT("%s: header, byte %zu: %s", f->name, j->error_at, j->error);
}

static Status parse_metas(Safetensors *f, Json *j) {
    enum { VALUE = 1 << 16 };
    char *key = arena_alloc(f->arena, TENSOR_NAME), *value = arena_alloc(f->arena, VALUE);
    json_enter(j, '{');
    while (json_next(j, '}'))
        if (json_key(j, key, TENSOR_NAME) && json_string(j, value, VALUE)) {
            Meta m = {arena_dup(f->arena, key, strlen(key) + 1), arena_dup(f->arena, value, strlen(value) + 1)};
            vec_push(f->arena, &f->metas, m);
        }
    return j->error ? json_status(f, j) : status_ok();
}

static Status parse_dtype(const Safetensors *f, Json *j, const char *name, TensorDType *out) {
    char text[32];
    if (!json_string(j, text, sizeof text)) return json_status(f, j);
    for (int i = 0; i < NDTYPES; i++)
        if (!strcmp(text, dtypes[i].name)) {
            *out = (TensorDType)i;
            return status_ok();
        }
    CORRUPT("%s: tensor '%s' has unknown element type '%s'", f->name, name, text);
}

static Status parse_tensor(Safetensors *f, Json *j, const char *name, const unsigned char *data, int64_t data_size) {
    Tensor t = {.name = arena_dup(f->arena, name, strlen(name) + 1)};
    int64_t offsets[2] = {0}, noffsets = 0;
    int seen = 0; // bits: dtype, shape, offsets
    char key[64];
    json_enter(j, '{');
    while (json_next(j, '}')) {
        if (!json_key(j, key, sizeof key)) break;
        int bit = !strcmp(key, "dtype") ? 1 : !strcmp(key, "shape") ? 2 : !strcmp(key, "data_offsets") ? 4 : 0;
        if (!bit) CORRUPT("%s: tensor '%s' has unknown field '%s'", f->name, name, key);
        if (seen & bit) CORRUPT("%s: tensor '%s' has field '%s' twice", f->name, name, key);
        seen |= bit;
        if (bit == 1) {
            STATUS_TRY(parse_dtype(f, j, name, &t.dtype));
            continue;
        }
        json_enter(j, '[');
        while (json_next(j, ']')) {
            int64_t x;
            if (!json_int(j, &x)) break;
            if (x < 0) CORRUPT("%s: tensor '%s' has a negative %s", f->name, name, bit == 2 ? "extent" : "offset");
            if (bit == 4) {
                if (noffsets == 2) CORRUPT("%s: tensor '%s' has more than two offsets", f->name, name);
                offsets[noffsets++] = x;
            } else {
                if (t.rank == TENSOR_RANK)
                    CORRUPT("%s: tensor '%s' has more than %d dimensions", f->name, name, TENSOR_RANK);
                t.shape[t.rank++] = x;
            }
        }
    }
    if (j->error) return json_status(f, j);
    if (seen != 7 || noffsets != 2) CORRUPT("%s: tensor '%s' lacks type, shape or offsets", f->name, name);
    if (offsets[0] > offsets[1]) CORRUPT("%s: tensor '%s' ends before it begins", f->name, name);
    if (offsets[1] > data_size)
        CORRUPT("%s: tensor '%s' ends at byte %lld of %lld: the file is truncated", f->name, name,
                (long long)offsets[1], (long long)data_size);
    int64_t bytes = tensor_dtype_bytes(t.dtype);
    for (int i = 0; i < t.rank; i++)
        if (!checked_mul(bytes, t.shape[i], &bytes)) CORRUPT("%s: tensor '%s' is too large", f->name, name);
    if (offsets[1] - offsets[0] != bytes)
        CORRUPT("%s: tensor '%s' has %lld bytes, its shape needs %lld", f->name, name,
                (long long)(offsets[1] - offsets[0]), (long long)bytes);
    t.data = data + offsets[0];
    t.bytes = bytes;
    vec_push(f->arena, &f->tensors, t);
    return status_ok();
}

static int by_place(const void *a, const void *b) {
    const Tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes != y->bytes ? (x->bytes < y->bytes ? -1 : 1) : strcmp(x->name, y->name);
}
static int by_tensor_name(const void *a, const void *b) {
    return strcmp(((const Tensor *)a)->name, ((const Tensor *)b)->name);
}

static Status check_places(Safetensors *f, const unsigned char *data, int64_t data_size) {
    const unsigned char *next = data;
    if (f->tensors.n) qsort(f->tensors.at, (size_t)f->tensors.n, sizeof(Tensor), by_place);
    for (int i = 0; i < f->tensors.n; i++) {
        const Tensor *t = &f->tensors.at[i];
        if (t->data < next) CORRUPT("%s: tensors '%s' and '%s' overlap", f->name, f->tensors.at[i - 1].name, t->name);
        if (t->data > next)
            CORRUPT("%s: %lld bytes before tensor '%s' belong to none", f->name, (long long)(t->data - next), t->name);
        next = t->data + t->bytes;
    }
    if (next != data + data_size)
        CORRUPT("%s: the last %lld bytes belong to no tensor", f->name, (long long)(data + data_size - next));
    if (f->tensors.n) qsort(f->tensors.at, (size_t)f->tensors.n, sizeof(Tensor), by_tensor_name);
    for (int i = 1; i < f->tensors.n; i++)
        if (!strcmp(f->tensors.at[i - 1].name, f->tensors.at[i].name))
            CORRUPT("%s: tensor '%s' occurs twice", f->name, f->tensors.at[i].name);
    return status_ok();
}

static Status parse_all(Safetensors *f, const unsigned char *bytes, size_t size) {
    uint64_t header = 0;
    if (size < 8) CORRUPT("%s: %zu bytes are too few for a safetensors file", f->name, size);
    for (int i = 0; i < 8; i++) header |= (uint64_t)bytes[i] << 8 * i;
    if (header > TENSOR_HEADER)
        CORRUPT("%s: a header of %llu bytes; at most %d are allowed", f->name, (unsigned long long)header,
                TENSOR_HEADER);
    if (header > size - 8)
        CORRUPT("%s: a header of %llu bytes in a file of %zu: truncated or no safetensors file", f->name,
                (unsigned long long)header, size);
    const unsigned char *data = bytes + 8 + header;
    int64_t data_size = (int64_t)(size - 8 - header);
    Json j = json_open((const char *)bytes + 8, header);
    char *name = arena_alloc(f->arena, TENSOR_NAME);
    bool meta_seen = false;
    json_enter(&j, '{');
    while (json_next(&j, '}')) {
        if (!json_key(&j, name, TENSOR_NAME)) break;
        if (!strcmp(name, "__metadata__")) {
            if (meta_seen) CORRUPT("%s: '__metadata__' occurs twice", f->name);
            meta_seen = true;
            STATUS_TRY(parse_metas(f, &j));
        } else {
            STATUS_TRY(parse_tensor(f, &j, name, data, data_size));
        }
    }
    if (!json_end(&j)) return json_status(f, &j);
    return check_places(f, data, data_size);
}

Status safetensors_parse(const void *data, size_t size, const char *name, Safetensors **out_file) {
    *out_file = NULL;
    Arena *arena = arena_new();
    Safetensors *f = NEW(arena, Safetensors);
    f->arena = arena;
    f->name = arena_dup(arena, name, strlen(name) + 1);
    Status s = parse_all(f, data, size);
    if (status_failed(&s)) arena_free(arena);
    else *out_file = f;
    return s;
}

Status safetensors_open(const char *path, Safetensors **out_file) {
    FileMap map;
    *out_file = NULL;
    STATUS_TRY(file_map(path, &map));
    Status s = safetensors_parse(map.data, map.size, path, out_file);
    if (status_failed(&s)) file_unmap(&map);
    else (*out_file)->map = map;
    return s;
}

void safetensors_close(Safetensors *f) {
    if (!f) return;
    file_unmap(&f->map);
    arena_free(f->arena);
}

int safetensors_count(const Safetensors *f) { return f->tensors.n; }
const Tensor *safetensors_at(const Safetensors *f, int i) { return &f->tensors.at[i]; }

const Tensor *safetensors_find(const Safetensors *f, const char *name) {
    Tensor key = {.name = name};
    if (!f->tensors.n) return NULL;
    return bsearch(&key, f->tensors.at, (size_t)f->tensors.n, sizeof(Tensor), by_tensor_name);
}

const char *safetensors_meta(const Safetensors *f, const char *key) {
    for (int i = 0; i < f->metas.n; i++)
        if (!strcmp(f->metas.at[i].key, key)) return f->metas.at[i].value;
    return NULL;
}
