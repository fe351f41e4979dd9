// SPDX-License-Identifier: Apache-2.0
// cudasim_device: the device part of codegen/cuda_prelude.cuh for a CPU, included from there. What concerns one thread
// is computed here; whatever other threads or memory take part in goes through SimApi. README.md says how hostile.
#pragma once
#include "lib/sim_api.h"

#define TGF_DEVICE static inline __attribute__((unused))
#define __global__
#define __device__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

static const SimApi *sim_api;
extern "C" void tgf_sim_bind(const SimApi *api) { sim_api = api; }

#define threadIdx (sim_api->self()->thread)
#define blockIdx (sim_api->self()->block)
#define blockDim (sim_api->self()->block_dim)
#define gridDim (sim_api->self()->grid_dim)

// Vector types, as NVRTC has them built in.
#define SIM_VECTORS(T, name)                                                                                           \
    struct alignas(2 * sizeof(T)) name##2 {                                                                            \
        T x, y;                                                                                                        \
    };                                                                                                                 \
    struct alignas(4 * sizeof(T)) name##4 {                                                                            \
        T x, y, z, w;                                                                                                  \
    };                                                                                                                 \
    TGF_DEVICE name##2 make_##name##2(T x, T y) { return {x, y}; }                                                     \
    TGF_DEVICE name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
SIM_VECTORS(unsigned char, uchar)
SIM_VECTORS(unsigned short, ushort)
SIM_VECTORS(unsigned int, uint)
SIM_VECTORS(int, int)
SIM_VECTORS(float, float)
#undef SIM_VECTORS

// ---- memory
template <class T> TGF_DEVICE T gload(const T *p) {
    sim_api->touch(p, sizeof(T), sizeof(T), 0);
    T x;
    __builtin_memcpy(&x, p, sizeof x);
    return x;
}
template <class T> TGF_DEVICE void gstore(T *p, T x) {
    sim_api->touch(p, sizeof(T), sizeof(T), 1);
    __builtin_memcpy(p, &x, sizeof x);
}
TGF_DEVICE char *tgf_shared() { return sim_api->self()->shared; }

// ---- threads
TGF_DEVICE void sim_nothing(void **) {}
TGF_DEVICE void sync_block() { sim_api->barrier(0, 0, 1); }
TGF_DEVICE void sync_warp() { sim_api->meet_warp("sync_warp", sim_nothing, nullptr); }
TGF_DEVICE void sync_named(int id, int threads) {
    if (id < 1 || id > 15 || threads <= 0 || threads % 32) sim_api->fail("sync_named: no such barrier");
    sim_api->barrier(id, threads, 1);
}

struct SimShuffle {
    u32 x, from, y;
};
TGF_DEVICE void sim_shuffle(void **lanes) {
    for (int i = 0; i < 32; i++) {
        SimShuffle *s = (SimShuffle *)lanes[i];
        s->y = ((SimShuffle *)lanes[s->from & 31])->x;
    }
}
TGF_DEVICE u32 sim_shuffle_bits(const char *what, u32 x, u32 from) {
    SimShuffle s = {x, from, 0};
    sim_api->meet_warp(what, sim_shuffle, &s);
    return s.y;
}
TGF_DEVICE void sim_ballot(void **lanes) {
    u32 votes = 0;
    for (int i = 0; i < 32; i++) votes |= ((SimShuffle *)lanes[i])->x << i;
    for (int i = 0; i < 32; i++) ((SimShuffle *)lanes[i])->y = votes;
}

TGF_DEVICE float bits_float(u32 x) {
    float y;
    __builtin_memcpy(&y, &x, 4);
    return y;
}
TGF_DEVICE u32 float_bits(float x) {
    u32 y;
    __builtin_memcpy(&y, &x, 4);
    return y;
}
TGF_DEVICE u32 shfl_bits(u32 x, int lane) { return sim_shuffle_bits("shfl", x, (u32)lane); }
TGF_DEVICE float shfl(float x, int lane) { return bits_float(shfl_bits(float_bits(x), lane)); }
TGF_DEVICE float shfl_xor(float x, int lanes) {
    u32 from = (u32)(sim_api->self()->number ^ lanes);
    return bits_float(sim_shuffle_bits("shfl_xor", float_bits(x), from));
}
TGF_DEVICE u32 warp_ballot(bool x) {
    SimShuffle s = {x, 0, 0};
    sim_api->meet_warp("warp_ballot", sim_ballot, &s);
    return s.y;
}

// ---- numbers
TGF_DEVICE u32 mul_high(u32 x, u32 y) { return (u32)((u64)x * y >> 32); }
TGF_DEVICE int count_bits(u32 x) { return __builtin_popcount(x); }
TGF_DEVICE float fma_f32(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
TGF_DEVICE float sqrt_f32(float x) { return __builtin_sqrtf(x); }
TGF_DEVICE float floor_f32(float x) { return __builtin_floorf(x); }
TGF_DEVICE double floor_f64(double x) { return __builtin_floor(x); }
TGF_DEVICE float abs_f32(float x) { return __builtin_fabsf(x); }
TGF_DEVICE float sim_flush(float x) { // subnormals are zeros
    return float_bits(x) & 0x7f800000u ? x : bits_float(float_bits(x) & 0x80000000u);
}
TGF_DEVICE float exp2_fast(float x) { return sim_flush(__builtin_exp2f(sim_flush(x))); }
TGF_DEVICE float log2_fast(float x) { return __builtin_log2f(sim_flush(x)); }
TGF_DEVICE float from_bf16(u16 x) { return bits_float((u32)x << 16); }
TGF_DEVICE u16 to_bf16(float x) {
    u32 b = float_bits(x);
    if ((b & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (u16)((b + 0x7fffu + (b >> 16 & 1)) >> 16);
}
TGF_DEVICE float from_f16(u16 x) {
    u32 sign = (u32)(x & 0x8000u) << 16, exponent = x >> 10 & 31, fraction = x & 0x3ffu;
    if (exponent == 31) return bits_float(sign | 0x7f800000u | fraction << 13);
    if (exponent) return bits_float(sign | (exponent + 112) << 23 | fraction << 13);
    float y = (float)fraction * 0x1p-24f;
    return sign ? -y : y;
}
TGF_DEVICE u16 to_f16(float x) {
    u32 b = float_bits(x), sign = b >> 16 & 0x8000u, a = b & 0x7fffffffu;
    if (a > 0x7f800000u) return 0x7fff;
    if (a >= 0x477ff000u) return (u16)(sign | 0x7c00u); // 65520 and up
    if (a < 0x38800000u) {                              // below 2^-14: steps of 2^-24
        float y = bits_float(a) * 0x1p24f, whole = __builtin_floorf(y), rest = y - whole;
        u32 n = (u32)whole;
        return (u16)(sign | (n + (rest > 0.5f || (rest == 0.5f && (n & 1)))));
    }
    return (u16)(sign | ((a + 0xfffu + (a >> 13 & 1) - 0x38000000u) >> 13));
}
TGF_DEVICE u32 to_bf16x2(float low, float high) { return to_bf16(low) | (u32)to_bf16(high) << 16; }
TGF_DEVICE u32 to_f16x2(float low, float high) { return to_f16(low) | (u32)to_f16(high) << 16; }
TGF_DEVICE u32 to_tf32(float x) { // to the nearest, ties away from zero
    u32 b = float_bits(x);
    if ((b & 0x7f800000u) == 0x7f800000u) return b;
    return (b + 0x1000u) & 0xffffe000u;
}

// ---- tensor cores
TGF_DEVICE void mma_bf16(float *d, const u32 *a, const u32 *b) {
    const void *mine[3] = {d, a, b};
    sim_api->meet_warp("mma_bf16", sim_api->mma_bf16, mine);
}
TGF_DEVICE void mma_f16(float *d, const u32 *a, const u32 *b) {
    const void *mine[3] = {d, a, b};
    sim_api->meet_warp("mma_f16", sim_api->mma_f16, mine);
}
TGF_DEVICE void mma_tf32(float *d, const u32 *a, const u32 *b) {
    const void *mine[3] = {d, a, b};
    sim_api->meet_warp("mma_tf32", sim_api->mma_tf32, mine);
}
TGF_DEVICE void ldmatrix_x4(u32 *r, const char *row) {
    const void *mine[2] = {r, row};
    sim_api->touch_shared(row, 16, 16);
    sim_api->meet_warp("ldmatrix_x4", sim_api->ldmatrix, mine);
}
TGF_DEVICE void ldmatrix_x4_t(u32 *r, const char *row) {
    const void *mine[2] = {r, row};
    sim_api->touch_shared(row, 16, 16);
    sim_api->meet_warp("ldmatrix_x4_t", sim_api->ldmatrix_t, mine);
}

// ---- asynchronous copies
TGF_DEVICE void copy_async16(char *to, const char *from, int bytes) { sim_api->copy_async(to, from, 16, bytes); }
TGF_DEVICE void copy_async4(char *to, const char *from, int bytes) { sim_api->copy_async(to, from, 4, bytes); }
TGF_DEVICE void copy_async_commit() { sim_api->copy_commit(); }
template <int groups> TGF_DEVICE void copy_async_wait() { sim_api->copy_wait(groups); }

// ---- kernels by name: the compiler of the simulation appends `SIM_KERNEL(name, launch bounds)` for each
template <int... i> struct SimNumbers {};
template <int n, int... i> struct SimCount : SimCount<n - 1, n - 1, i...> {};
template <int... i> struct SimCount<0, i...> { typedef SimNumbers<i...> type; };
namespace { // of this library alone: libraries of other images have kernels of the same names
template <auto f> struct SimCall;
template <class... A, void (*f)(A...)> struct SimCall<f> {
    static constexpr int count = sizeof...(A);
    static constexpr int bytes[sizeof...(A) + 1] = {(int)sizeof(A)..., 0};
    template <int... i> static void spread(void *const *p, SimNumbers<i...>) { f(*(A *)p[i]...); }
    static void call(void *const *p) { spread(p, typename SimCount<sizeof...(A)>::type()); }
};
}
#define SIM_FIRST(x, ...) (int)(x)
#define SIM_KERNEL(name, ...)                                                                                          \
    {#name, SIM_FIRST(__VA_ARGS__), SimCall<name>::count, SimCall<name>::bytes, SimCall<name>::call},
