// SPDX-License-Identifier: Apache-2.0
// Sums of a collective: NCCL promises no order of members. Here each n-th part of the elements starts with another
// member, as in a ring, and who starts the first part is drawn. 16-bit types are summed in f32 and rounded once.
#include "sim_nccl.h"
#include <math.h>
#include <string.h>

enum { I8, U8, I32, U32, I64, U64, F16, F32, F64, BF16 };
enum { SUM, PRODUCT, MAX, MIN, MEAN };

static float load_float(const char *p, int type) {
    float y;
    uint16_t x;
    if (type == F32) {
        memcpy(&y, p, 4);
        return y;
    }
    memcpy(&x, p, 2);
    if (type == F16) {
        _Float16 h;
        memcpy(&h, &x, 2);
        return (float)h;
    }
    uint32_t bits = (uint32_t)x << 16;
    memcpy(&y, &bits, 4);
    return y;
}

static void store_float(char *p, int type, float x) {
    if (type == F32) memcpy(p, &x, 4);
    else if (type == F16) {
        _Float16 h = (_Float16)x;
        memcpy(p, &h, 2);
    } else {
        uint32_t b;
        memcpy(&b, &x, 4);
        uint16_t y = x != x ? 0x7fff : (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
        memcpy(p, &y, 2);
    }
}

static float combine_float(float a, float b, int reduce) {
    return reduce == PRODUCT ? a * b : reduce == MAX ? fmaxf(a, b) : reduce == MIN ? fminf(a, b) : a + b;
}
static double combine_double(double a, double b, int reduce) {
    return reduce == PRODUCT ? a * b : reduce == MAX ? fmax(a, b) : reduce == MIN ? fmin(a, b) : a + b;
}
static int64_t combine_int(int64_t a, int64_t b, int reduce) {
    if (reduce == MAX || reduce == MIN) return (a > b) == (reduce == MAX) ? a : b;
    uint64_t x = (uint64_t)a, y = (uint64_t)b;
    return (int64_t)(reduce == PRODUCT ? x * y : x + y);
}

static int64_t load_int(const char *p, int type) {
    int64_t y = 0;
    memcpy(&y, p, (size_t)type_bytes(type)); // little-endian
    if (type == I8) y = (int8_t)y;
    if (type == I32) y = (int32_t)y;
    return y;
}

void nccl_reduce(int n, const char *const *send, char *to, size_t count, int type, int reduce, int turn) {
    size_t unit = (size_t)type_bytes(type), part = (count + (size_t)n - 1) / (size_t)n;
    for (size_t i = 0; i < count; i++) {
        int first = (int)((i / part + (size_t)turn) % (size_t)n);
        if (type == F32 || type == F16 || type == BF16) {
            float sum = load_float(send[first] + i * unit, type);
            for (int r = 1; r < n; r++)
                sum = combine_float(sum, load_float(send[(first + r) % n] + i * unit, type), reduce);
            store_float(to + i * unit, type, reduce == MEAN ? sum / (float)n : sum);
        } else if (type == F64) {
            double sum, x;
            memcpy(&sum, send[first] + i * 8, 8);
            for (int r = 1; r < n; r++) {
                memcpy(&x, send[(first + r) % n] + i * 8, 8);
                sum = combine_double(sum, x, reduce);
            }
            if (reduce == MEAN) sum /= n;
            memcpy(to + i * 8, &sum, 8);
        } else {
            int64_t sum = load_int(send[first] + i * unit, type);
            for (int r = 1; r < n; r++)
                sum = combine_int(sum, load_int(send[(first + r) % n] + i * unit, type), reduce);
            if (reduce == MEAN) sum /= n;
            memcpy(to + i * unit, &sum, unit);
        }
    }
}
