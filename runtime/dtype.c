// SPDX-License-Identifier: Apache-2.0
#include "runtime/dtype.h"

float f32_from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 31) return f32_from_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent) return f32_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float magnitude = (float)fraction * 0x1p-24f; // denormal: exact
    return sign ? -magnitude : magnitude;
}

uint16_t f16_from_f32(float f) {
    uint32_t u = bits_from_f32(f), sign = u >> 16 & 0x8000, magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00);  // NaN
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00); // 65520 and above round to infinity
    if (magnitude < 0x38800000u) { // below 2^-14: the sum with 0.5 leaves the rounded denormal in the low bits
        float shifted = f32_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_from_f32(shifted) - 0x3f000000u));
    }
    return (uint16_t)(sign | (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13);
}

const char *plan_dtype_name(PlanDType t) {
    static const char *const names[] = {"bool", "i32", "f32", "f64", "bf16", "f16"};
    return (unsigned)t < sizeof names / sizeof *names ? names[t] : "?";
}

static double get(const void *p, PlanDType t, int64_t i) {
    switch (t) {
    case PLAN_F32: return ((const float *)p)[i];
    case PLAN_F64: return ((const double *)p)[i];
    case PLAN_BF16: return f32_from_bf16(((const uint16_t *)p)[i]);
    default: return f32_from_f16(((const uint16_t *)p)[i]);
    }
}

static void put(void *p, PlanDType t, int64_t i, double x) {
    switch (t) {
    case PLAN_F32: ((float *)p)[i] = (float)x; break;
    case PLAN_F64: ((double *)p)[i] = x; break;
    case PLAN_BF16: ((uint16_t *)p)[i] = bf16_from_f32((float)x); break;
    default: ((uint16_t *)p)[i] = f16_from_f32((float)x);
    }
}

bool dtype_convert(void *to, PlanDType to_type, const void *from, PlanDType from_type, int64_t n) {
    if (to_type == from_type) {
        memcpy(to, from, (size_t)n * (size_t)plan_dtype_bytes(to_type));
        return true;
    }
    if (to_type < PLAN_F32 || from_type < PLAN_F32) return false;
    for (int64_t i = 0; i < n; i++) put(to, to_type, i, get(from, from_type, i));
    return true;
}
