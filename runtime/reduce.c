// SPDX-License-Identifier: Apache-2.0
// reduce: elements are added block by block in an accumulator that stays in the first-level cache, so out may be an
// input.
#include "runtime/reduce.h"
#include "runtime/dtype.h"

enum { BLOCK = 1024 };

#define SAME(x) (x)
#define ADD(a, b) ((a) + (b))
#define MAX(a, b) ((b) > (a) || (b) != (b) ? (b) : (a)) // a NaN on either side stays

#define REDUCE(NAME, ELEMENT, SUM, FROM, TO, OP)                                                                       \
    static void NAME(ELEMENT *out, const void *const *in, int n, int64_t count) {                                      \
        SUM acc[BLOCK];                                                                                                \
        for (int64_t at = 0; at < count; at += BLOCK) {                                                                \
            int len = count - at < BLOCK ? (int)(count - at) : BLOCK;                                                  \
            const ELEMENT *first = (const ELEMENT *)in[0] + at;                                                        \
            for (int i = 0; i < len; i++) acc[i] = FROM(first[i]);                                                     \
            for (int j = 1; j < n; j++) {                                                                              \
                const ELEMENT *x = (const ELEMENT *)in[j] + at;                                                        \
                for (int i = 0; i < len; i++) {                                                                        \
                    SUM y = FROM(x[i]);                                                                                \
                    acc[i] = OP(acc[i], y);                                                                            \
                }                                                                                                      \
            }                                                                                                          \
            for (int i = 0; i < len; i++) out[at + i] = TO(acc[i]);                                                    \
        }                                                                                                              \
    }

REDUCE(sum_i32, uint32_t, uint32_t, SAME, SAME, ADD) // wraps
REDUCE(sum_f32, float, float, SAME, SAME, ADD)
REDUCE(sum_f64, double, double, SAME, SAME, ADD)
REDUCE(sum_bf16, uint16_t, float, f32_from_bf16, bf16_from_f32, ADD)
REDUCE(sum_f16, uint16_t, float, f32_from_f16, f16_from_f32, ADD)
REDUCE(max_bool, uint8_t, uint8_t, SAME, SAME, MAX)
REDUCE(max_i32, int32_t, int32_t, SAME, SAME, MAX)
REDUCE(max_f32, float, float, SAME, SAME, MAX)
REDUCE(max_f64, double, double, SAME, SAME, MAX)
REDUCE(max_bf16, uint16_t, float, f32_from_bf16, bf16_from_f32, MAX)
REDUCE(max_f16, uint16_t, float, f32_from_f16, f16_from_f32, MAX)

void reduce_elements(PlanReduce op, PlanDType type, void *out, const void *const *in, int n, int64_t count) {
    bool sum = op == REDUCE_SUM;
    switch (type) {
    case PLAN_BOOL: max_bool(out, in, n, count); break; // a sum of bool is refused before
    case PLAN_I32: sum ? sum_i32(out, in, n, count) : max_i32(out, in, n, count); break;
    case PLAN_F32: sum ? sum_f32(out, in, n, count) : max_f32(out, in, n, count); break;
    case PLAN_F64: sum ? sum_f64(out, in, n, count) : max_f64(out, in, n, count); break;
    case PLAN_BF16: sum ? sum_bf16(out, in, n, count) : max_bf16(out, in, n, count); break;
    case PLAN_F16: sum ? sum_f16(out, in, n, count) : max_f16(out, in, n, count); break;
    }
}
