// SPDX-License-Identifier: Apache-2.0
#include "ir/dtype.h"
#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    int bytes;
} table[DT_COUNT] = {{"bool", 1}, {"i32", 4}, {"f32", 4}, {"f64", 8}, {"bf16", 2}, {"f16", 2}};

const char *dtype_name(DType t) { return table[t].name; }
int dtype_bytes(DType t) { return table[t].bytes; }

bool dtype_parse(const char *name, DType *out_dtype) {
    for (int i = 0; i < DT_COUNT; i++)
        if (!strcmp(table[i].name, name)) {
            *out_dtype = (DType)i;
            return true;
        }
    return false;
}

double dtype_roundoff(DType t) {
    switch (t) {
    case DT_BF16: return 0x1p-8;
    case DT_F16: return 0x1p-11;
    case DT_F32: return 0x1p-24;
    case DT_F64: return 0x1p-53;
    default: return 0;
    }
}

double dtype_round(DType t, double x) {
    if ((t != DT_BF16 && t != DT_F16) || x == 0 || !isfinite(x)) return x;
    int digits = t == DT_BF16 ? 8 : 11, least = t == DT_BF16 ? -133 : -24, exponent;
    double largest = t == DT_BF16 ? 0x1.FEp127 : 65504;
    frexp(x, &exponent);
    int unit = exponent - digits > least ? exponent - digits : least;
    x = ldexp(nearbyint(ldexp(x, -unit)), unit);
    return fabs(x) > largest ? copysign(INFINITY, x) : x;
}
