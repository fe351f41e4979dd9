// SPDX-License-Identifier: Apache-2.0
// safetensors: the ecosystem's checkpoint files: 8 bytes of header length, a JSON header naming each tensor's type,
// shape and place, then the data. Reading is strict: every byte of data belongs to exactly one tensor.
#pragma once
#include "base/status.h"
#include <stddef.h>
#include <stdint.h>

enum { TENSOR_RANK = 12, TENSOR_NAME = 512, TENSOR_HEADER = 100 << 20 };

typedef enum TensorDType {
    TENSOR_BOOL,
    TENSOR_U8,
    TENSOR_I8,
    TENSOR_F8_E4M3,
    TENSOR_F8_E5M2,
    TENSOR_I16,
    TENSOR_U16,
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_I32,
    TENSOR_U32,
    TENSOR_F32,
    TENSOR_I64,
    TENSOR_U64,
    TENSOR_F64
} TensorDType;
const char *tensor_dtype_name(TensorDType t); // "F32"
int tensor_dtype_bytes(TensorDType t);

typedef struct Tensor {
    const char *name;
    TensorDType dtype;
    int rank;
    int64_t shape[TENSOR_RANK];
    const unsigned char *data; // not aligned
    int64_t bytes;
} Tensor;

// ---- reading --------------------------------------------------------------------------------------------------------
typedef struct Safetensors Safetensors;
Status safetensors_open(const char *path, Safetensors **out_file); // maps the file
// From memory, which must outlive the result; `name` stands in messages.
Status safetensors_parse(const void *data, size_t size, const char *name, Safetensors **out_file);
void safetensors_close(Safetensors *f); // NULL is fine
int safetensors_count(const Safetensors *f);
const Tensor *safetensors_at(const Safetensors *f, int i);              // in the order of their names
const Tensor *safetensors_find(const Safetensors *f, const char *name); // NULL: absent
const char *safetensors_meta(const Safetensors *f, const char *key);    // of __metadata__; NULL: absent

// ---- writing --------------------------------------------------------------------------------------------------------
// Announce all tensors, start, write each one's bytes in any order, finish. The file appears under its name only when
// it is complete and on the disk; the same calls give the same bytes. The first failure is kept and told by finish.
typedef struct SafetensorsWriter SafetensorsWriter;
Status safetensors_create(const char *path, SafetensorsWriter **out_writer);
void safetensors_put_meta(SafetensorsWriter *w, const char *key, const char *value);
int safetensors_add(SafetensorsWriter *w, const char *name, TensorDType dtype, int rank, const int64_t *shape);
void safetensors_start(SafetensorsWriter *w);
void safetensors_write(SafetensorsWriter *w, int tensor, int64_t at, const void *data, int64_t bytes); // at: in it
Status safetensors_finish(SafetensorsWriter *w);                                                       // frees w
void safetensors_abandon(SafetensorsWriter *w); // frees w, leaves no file; NULL is fine
