// SPDX-License-Identifier: Apache-2.0
// Tensor core instructions of a warp. Fragments: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type"
// and "... mma.m16n8k8" (tf32), "ldmatrix". Products of 16-bit and tf32 elements are exact in f32; sums are f32.
#include "sim_block.h"
#include <string.h>

static inline float half_f32(uint16_t x) {
    uint32_t sign = (uint32_t)(x & 0x8000) << 16, exponent = x >> 10 & 31, fraction = x & 0x3ff, bits;
    if (!exponent) return (sign ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
    bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}
static inline float brain_f32(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}

// c[16][8] from and to the lanes' d[4]: row lane / 4 (+ 8), columns 2 (lane % 4) + {0, 1}.
static void mma(void **lanes, int k, float a[16][16], float b[16][8]) {
    float c[16][8];
    for (int l = 0; l < 32; l++) {
        const float *d = ((void **)lanes[l])[0];
        for (int i = 0; i < 4; i++) c[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2] = d[i];
    }
    for (int row = 0; row < 16; row++) {
        float sum[8];
        memcpy(sum, c[row], sizeof sum);
        for (int j = 0; j < k; j++)
            for (int column = 0; column < 8; column++) sum[column] += a[row][j] * b[j][column];
        memcpy(c[row], sum, sizeof sum);
    }
    for (int l = 0; l < 32; l++) {
        float *d = ((void **)lanes[l])[0];
        for (int i = 0; i < 4; i++) d[i] = c[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
    }
}

static inline __attribute__((always_inline)) void mma_16(void **lanes, float (*value)(uint16_t)) {
    float a[16][16], b[16][8];
    for (int l = 0; l < 32; l++) {
        const uint32_t *ra = ((void **)lanes[l])[1], *rb = ((void **)lanes[l])[2];
        for (int i = 0; i < 8; i++)
            a[l / 4 + i / 2 % 2 * 8][l % 4 * 2 + i / 4 * 8 + i % 2] = value((uint16_t)(ra[i / 2] >> i % 2 * 16));
        for (int i = 0; i < 4; i++)
            b[l % 4 * 2 + i / 2 * 8 + i % 2][l / 4] = value((uint16_t)(rb[i / 2] >> i % 2 * 16));
    }
    mma(lanes, 16, a, b);
}

void sim_mma_bf16(void **lanes) { mma_16(lanes, brain_f32); }
void sim_mma_f16(void **lanes) { mma_16(lanes, half_f32); }

static float tf32(uint32_t bits) {
    bits &= 0xffffe000u;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}

void sim_mma_tf32(void **lanes) {
    float a[16][16], b[16][8];
    for (int l = 0; l < 32; l++) {
        const uint32_t *ra = ((void **)lanes[l])[1], *rb = ((void **)lanes[l])[2];
        for (int i = 0; i < 4; i++) a[l / 4 + i % 2 * 8][l % 4 + i / 2 * 4] = tf32(ra[i]);
        for (int i = 0; i < 2; i++) b[l % 4 + i * 4][l / 4] = tf32(rb[i]);
    }
    mma(lanes, 8, a, b);
}

void sim_ldmatrix(void **lanes) {
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            const char *row = ((void **)lanes[i * 8 + l / 4])[1];
            memcpy((uint32_t *)((void **)lanes[l])[0] + i, row + l % 4 * 4, 4);
        }
}

void sim_ldmatrix_t(void **lanes) {
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            uint16_t pair[2];
            for (int j = 0; j < 2; j++) {
                const char *row = ((void **)lanes[i * 8 + l % 4 * 2 + j])[1];
                memcpy(&pair[j], row + l / 4 * 2, 2);
            }
            memcpy((uint32_t *)((void **)lanes[l])[0] + i, pair, 4);
        }
}
