// SPDX-License-Identifier: Apache-2.0
// dtype: element types.
#pragma once
#include <stdbool.h>

typedef enum DType { DT_BOOL, DT_I32, DT_F32, DT_F64, DT_BF16, DT_F16, DT_COUNT } DType;

const char *dtype_name(DType t); // "bool" "i32" "f32" "f64" "bf16" "f16"
bool dtype_parse(const char *name, DType *out_dtype);
int dtype_bytes(DType t); // 1 4 4 8 2 2
static inline bool dtype_is_float(DType t) { return t >= DT_F32; }
static inline bool dtype_is_half(DType t) { return t == DT_BF16 || t == DT_F16; }
double dtype_roundoff(DType t);        // 2^-8 for bf16, 2^-11 for f16, 2^-24 for f32, 2^-53 for f64; 0 for others
double dtype_round(DType t, double x); // to the nearest bf16 or f16, ties to even; x itself for other types
