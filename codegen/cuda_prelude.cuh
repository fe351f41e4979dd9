// SPDX-License-Identifier: Apache-2.0
// What every generated CUDA kernel is written against. Kernels touch global memory through gload, gstore and the copy
// functions only, shared memory through tgf_shared only, and the other threads through the functions here only: so the
// same text also runs where threads, barriers, shuffles and tensor cores are simulated on a CPU, and there every access
// is seen. Sources: PTX ISA 9.0 (instructions, fragment layouts); no headers: NVRTC needs none.
typedef unsigned char u8;
typedef unsigned short u16; // also the bits of a bf16 or an f16
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#ifdef TGF_CUDASIM
#include "cudasim_device.h" // defines everything below, and blockIdx, threadIdx, gridDim, __global__, __launch_bounds__
#else

#define TGF_DEVICE static __device__ __forceinline__

// ---- memory: T is u8, u16, u32, int, float, or a vector of them of at most 16 bytes, aligned to its size
template <class T> TGF_DEVICE T gload(const T *p) { return *p; }
template <class T> TGF_DEVICE void gstore(T *p, T x) { *p = x; }
// The block's dynamic shared memory, 1024-byte aligned. Its use is not seen by anyone else.
TGF_DEVICE char *tgf_shared() {
    extern __shared__ __align__(1024) char tgf_shared_bytes[];
    return tgf_shared_bytes;
}

// ---- threads
TGF_DEVICE void sync_block() { __syncthreads(); }
TGF_DEVICE void sync_warp() { __syncwarp(); }
TGF_DEVICE void sync_named(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); } // 1 <= id <= 15; threads: of whole warps
TGF_DEVICE float shfl_xor(float x, int lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); } // whole warp
TGF_DEVICE float shfl(float x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
TGF_DEVICE u32 shfl_bits(u32 x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
TGF_DEVICE u32 warp_ballot(bool x) { return __ballot_sync(0xffffffffu, x); }

// ---- numbers
TGF_DEVICE float bits_float(u32 x) { return __uint_as_float(x); }
TGF_DEVICE u32 float_bits(float x) { return __float_as_uint(x); }
TGF_DEVICE u32 mul_high(u32 x, u32 y) { return __umulhi(x, y); }
TGF_DEVICE int count_bits(u32 x) { return __popc(x); }
TGF_DEVICE float fma_f32(float x, float y, float z) { return __fmaf_rn(x, y, z); }
TGF_DEVICE float sqrt_f32(float x) { return __fsqrt_rn(x); }
TGF_DEVICE float floor_f32(float x) { return floorf(x); }
TGF_DEVICE double floor_f64(double x) { return floor(x); }
TGF_DEVICE float abs_f32(float x) { return fabsf(x); }
TGF_DEVICE float exp2_fast(float x) { // ex2.approx.ftz: 2 ulp; 0 for -inf
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
TGF_DEVICE float log2_fast(float x) { // lg2.approx.ftz
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
TGF_DEVICE float from_bf16(u16 x) { return __uint_as_float((u32)x << 16); }
TGF_DEVICE u16 to_bf16(float x) { // to the nearest, ties to even; NaN kept
    u16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}
TGF_DEVICE float from_f16(u16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}
TGF_DEVICE u16 to_f16(float x) { // beyond the largest: inf
    u16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}
TGF_DEVICE u32 to_bf16x2(float low, float high) {
    u32 y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}
TGF_DEVICE u32 to_f16x2(float low, float high) {
    u32 y;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}
TGF_DEVICE u32 to_tf32(float x) { // f32 bits of which the tensor cores use the upper 19
    u32 y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
    return y;
}

// ---- tensor cores of a warp: d += a b; fragments as PTX ISA, "Matrix Fragments for mma.m16n8k16" (and .m16n8k8, tf32)
TGF_DEVICE void mma_bf16(float *d, const u32 *a, const u32 *b) { // d[4], a[4], b[2]: m16n8k16
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
TGF_DEVICE void mma_f16(float *d, const u32 *a, const u32 *b) { // m16n8k16
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
TGF_DEVICE void mma_tf32(float *d, const u32 *a, const u32 *b) { // m16n8k8
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Four 8x8 matrices of 16-bit elements from shared memory; each lane gives the address of one row of 16 bytes: lanes 0-7
// of matrix 0, 8-15 of matrix 1, and so on. r[i]: this lane's two elements of matrix i; _t: of its transpose.
TGF_DEVICE void ldmatrix_x4(u32 *r, const char *row) {
    u32 at = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
TGF_DEVICE void ldmatrix_x4_t(u32 *r, const char *row) {
    u32 at = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// ---- asynchronous copies from global to shared memory, both aligned to their size. `bytes` of the 16 (or 4) are read,
// the rest become zeros; with bytes 0 `from` is not read. A copy is there for its thread once a wait has let it through,
// for others after a barrier behind that.
TGF_DEVICE void copy_async16(char *to, const char *from, int bytes) {
    u32 at = (u32)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}
TGF_DEVICE void copy_async4(char *to, const char *from, int bytes) {
    u32 at = (u32)__cvta_generic_to_shared(to);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}
TGF_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int groups> TGF_DEVICE void copy_async_wait() { // until at most `groups` of the last groups are on their way
    asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}
#endif

// ---- built from the above, for both sides: what loop nests (cuda_nest.c) need

#ifdef TGF_CUDASIM
#define TGF_MEMBER
#define TGF_UNROLL
#define TGF_UNROLL_4
#else
#define TGF_MEMBER __device__ __forceinline__
#define TGF_UNROLL _Pragma("unroll")
#define TGF_UNROLL_4 _Pragma("unroll 4")
#endif

TGF_DEVICE int add_i32(int x, int y) { return (int)((u32)x + (u32)y); } // all of them wrap around
TGF_DEVICE int sub_i32(int x, int y) { return (int)((u32)x - (u32)y); }
TGF_DEVICE int mul_i32(int x, int y) { return (int)((u32)x * (u32)y); }
TGF_DEVICE int shl_i32(int x, int y) { return (int)((u32)x << y); }
TGF_DEVICE int shr_i32(int x, int y) { return (int)((u32)x >> y); }
TGF_DEVICE int mul_high_i32(int x, int y) { return (int)mul_high((u32)x, (u32)y); }
template <class T> TGF_DEVICE T max_of(T x, T y) { return x > y ? x : y; }
template <class T> TGF_DEVICE T min_of(T x, T y) { return x < y ? x : y; }

// V neighbours at once, in pieces of at most 16 bytes; p is aligned to a piece.
template <class T, int n> struct alignas(n * sizeof(T)) Pack {
    T at[n];
};
template <class T, int V> TGF_DEVICE void gload_n(T (&x)[V], const T *p) {
    constexpr int n = V * sizeof(T) > 16 ? 16 / sizeof(T) : V;
    TGF_UNROLL
    for (int i = 0; i < V; i += n) {
        Pack<T, n> piece = gload((const Pack<T, n> *)(p + i));
        TGF_UNROLL
        for (int j = 0; j < n; j++) x[i + j] = piece.at[j];
    }
}
template <class T, int V> TGF_DEVICE void gstore_n(T *p, const T (&x)[V]) {
    constexpr int n = V * sizeof(T) > 16 ? 16 / sizeof(T) : V;
    TGF_UNROLL
    for (int i = 0; i < V; i += n) {
        Pack<T, n> piece;
        TGF_UNROLL
        for (int j = 0; j < n; j++) piece.at[j] = x[i + j];
        gstore((Pack<T, n> *)(p + i), piece);
    }
}

// Sums and maxima over threads, in a fixed order; each of them gets the result.
struct Sum {
    static TGF_MEMBER float of(float x, float y) { return x + y; }
    static TGF_MEMBER int of(int x, int y) { return add_i32(x, y); }
};
struct Max {
    static TGF_MEMBER float of(float x, float y) { return max_of(x, y); }
    static TGF_MEMBER int of(int x, int y) { return max_of(x, y); }
};
TGF_DEVICE int shfl_xor(int x, int lanes) { return (int)shfl_bits((u32)x, (int)(threadIdx.x % 32) ^ lanes); }
// Groups of `lanes` neighbours of a warp, a power of two.
template <class Op, int lanes, class T> TGF_DEVICE T reduce_lanes(T x) {
    TGF_UNROLL
    for (int by = lanes / 2; by; by /= 2) x = Op::of(x, shfl_xor(x, by));
    return x;
}
// The block, of 64 to 1024 threads, a power of two; the shared memory's first 128 bytes.
template <class Op, int threads, class T> TGF_DEVICE T reduce_block(T x) {
    T *part = (T *)tgf_shared();
    x = reduce_lanes<Op, 32>(x);
    sync_block();
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    sync_block();
    return reduce_lanes<Op, threads / 32>(part[threadIdx.x % (threads / 32)]);
}
// Threads `across` apart, `down` of them, a power of two: thread t is row t / across of column t % across. The shared
// memory's first 4 bytes a thread.
template <class Op, int across, int down, class T> TGF_DEVICE T reduce_down(T x) {
    T *part = (T *)tgf_shared();
    int at = (int)threadIdx.x;
    sync_block();
    part[at] = x;
    TGF_UNROLL
    for (int by = down / 2; by; by /= 2) {
        sync_block();
        if (at < by * across) part[at] = x = Op::of(x, part[at + by * across]);
    }
    sync_block();
    return part[at % across];
}

// Of the numbers that 256 threads give (own[j] of thread t is at place first + 256 j + t; below 0: none), those that are
// one, sorted by number and then by place: how many. The shared memory's first 16512 bytes; nobody reads the last ones
// any more once all threads are here again.
TGF_DEVICE int *match_rows() { return (int *)(tgf_shared() + 128); }
TGF_DEVICE int *match_places() { return match_rows() + 1024; }
TGF_DEVICE int sort_matches(const int (&own)[4], int first) {
    int *counts = (int *)tgf_shared(), *row = match_rows() + 2048, *place = row + 1024;
    int thread = (int)threadIdx.x, warp = thread / 32, total = 0, to[4];
    u32 found[4];
    sync_block();
    TGF_UNROLL
    for (int j = 0; j < 4; j++) {
        found[j] = warp_ballot(own[j] >= 0);
        if (thread % 32 == 0) counts[j * 8 + warp] = count_bits(found[j]);
    }
    sync_block();
    TGF_UNROLL
    for (int j = 0; j < 4; j++)
        for (int w = 0; w < 8; w++) {
            if (w == warp) to[j] = total + count_bits(found[j] & ((1u << thread % 32) - 1));
            total += counts[j * 8 + w];
        }
    TGF_UNROLL
    for (int j = 0; j < 4; j++)
        if (own[j] >= 0) {
            row[to[j]] = own[j];
            place[to[j]] = first + j * 256 + thread;
        }
    sync_block();
    for (int i = thread; i < total; i += 256) {
        int rank = 0;
        for (int k = 0; k < total; k++) rank += row[k] < row[i] || (row[k] == row[i] && k < i);
        match_rows()[rank] = row[i];
        match_places()[rank] = place[i];
    }
    sync_block();
    return total;
}

TGF_DEVICE float of_lane(float x, int lane) { return shfl(x, lane); }
TGF_DEVICE int of_lane(int x, int lane) { return (int)shfl_bits((u32)x, lane); }
template <class T> TGF_DEVICE T scan_lanes(T x) { // running sums over the warp
    int lane = (int)(threadIdx.x % 32);
    TGF_UNROLL
    for (int by = 1; by < 32; by *= 2) {
        T before = of_lane(x, lane >= by ? lane - by : lane);
        if (lane >= by) x = Sum::of(before, x);
    }
    return x;
}
