// SPDX-License-Identifier: Apache-2.0
// dtype: numbers of the plan's element types, converted on the host. Rounding is to nearest, ties to even.
#pragma once
#include "runtime/plan.h"
#include <stdbool.h>
#include <string.h>

static inline float f32_from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
static inline uint32_t bits_from_f32(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
static inline float f32_from_bf16(uint16_t h) { return f32_from_bits((uint32_t)h << 16); }
static inline uint16_t bf16_from_f32(float f) {
    uint32_t u = bits_from_f32(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40); // NaN stays one
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
float f32_from_f16(uint16_t h);
uint16_t f16_from_f32(float f);

const char *plan_dtype_name(PlanDType t); // "f32"
// n floats of type `from` as type `to`. False when either is not a float type and they differ.
bool dtype_convert(void *to, PlanDType to_type, const void *from, PlanDType from_type, int64_t n);
