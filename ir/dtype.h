// SPDX-License-Identifier: Apache-2.0
// dtype: element types.
#pragma once
#include <stdbool.h>

typedef enum DType { DT_BOOL, DT_I32, DT_F32, DT_F64, DT_BF16, DT_F16, DT_COUNT } DType;

const char *dtype_name(DType t); // "bool" "i32" "f32" "f64" "bf16" "f16"
bool dtype_parse(const char *name, DType *out_dtype);
int dtype_bytes(DType t); // 1 4 4 8 2 2
static inline bool dtype_is_float(DType t) { return t >= DT_F32; }
