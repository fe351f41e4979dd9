// SPDX-License-Identifier: Apache-2.0
// What Hopper adds (sm_90a): copies of whole tiles by the bulk copy engine, barriers that count the bytes it has
// brought, products of warpgroups that read shared memory on their own. Sources: PTX ISA 9.0, "Tensor copy",
// "mbarrier", "Asynchronous Warpgroup Level Matrix Instructions". Below: the product made of them.
//
// Only kernels that codegen writes for sm_90a use this, within TGF_SM90.
#pragma once

struct alignas(64) Map { // a tensor map: 128 bytes, made by the driver
    u64 opaque[16];
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(TGF_CUDASIM_SM90)
#define TGF_SM90
#ifdef TGF_CUDASIM
#include "device_sm90.h"
#else

TGF_DEVICE u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

// ---- barriers in shared memory, 8 bytes each. A phase ends when all arrivals and all expected bytes are there.
TGF_DEVICE void barrier_init(u64 *b, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals) : "memory");
}
TGF_DEVICE void barrier_init_done() { // for the copy engine; other threads need a sync_block behind it
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
TGF_DEVICE void barrier_arrive(u64 *b) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
TGF_DEVICE void barrier_expect(u64 *b, int bytes) { // arrives too
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes) : "memory");
}
// Until the phase of this parity has ended; the first one has parity 0, and one before it has ended.
TGF_DEVICE void barrier_wait(u64 *b, u32 parity) {
    u32 at = shared_address(b), done;
    do {
        asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                     : "=r"(done) : "r"(at), "r"(parity) : "memory");
    } while (!done);
}

// ---- a box of a tensor, from these coordinates (innermost first), to 128-byte aligned shared memory; what is outside
// the tensor becomes zeros. Its bytes arrive at the barrier.
TGF_DEVICE void map_load(char *to, const Map *m, u64 *b, u32 x, u32 y) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
                 ::"r"(shared_address(to)), "l"(m), "r"(shared_address(b)), "r"(x), "r"(y) : "memory");
}
TGF_DEVICE void map_load(char *to, const Map *m, u64 *b, u32 x, u32 y, u32 z) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
                 ::"r"(shared_address(to)), "l"(m), "r"(shared_address(b)), "r"(x), "r"(y), "r"(z) : "memory");
}
TGF_DEVICE void map_load(char *to, const Map *m, u64 *b, u32 x, u32 y, u32 z, u32 v) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];"
                 ::"r"(shared_address(to)), "l"(m), "r"(shared_address(b)), "r"(x), "r"(y), "r"(z), "r"(v) : "memory");
}
TGF_DEVICE void map_load(char *to, const Map *m, u64 *b, u32 x, u32 y, u32 z, u32 v, u32 w) {
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, %7}], [%2];"
                 ::"r"(shared_address(to)), "l"(m), "r"(shared_address(b)), "r"(x), "r"(y), "r"(z), "r"(v), "r"(w) : "memory");
}
TGF_DEVICE void map_prefetch(const Map *m) { asm volatile("prefetch.tensormap [%0];" ::"l"(m) : "memory"); }

// ---- registers move between warpgroups; each executes it as a whole
template <int count> TGF_DEVICE void registers_shrink() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count)); }
template <int count> TGF_DEVICE void registers_grow() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count)); }

// ---- products of a warpgroup: asynchronous from wgmma to the wgmma_wait that lets its group through
TGF_DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); } // in front of the first of a run
TGF_DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int groups> TGF_DEVICE void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(groups) : "memory"); }

// d[n / 2] (+)= A B: 64 rows, n columns, 16 of depth; add: 0 begins a sum. a, b: matrix_descriptor of operands along the
// depth, or, turned, along their rows. d[4 j + i] is row lane / 4 + i / 2 * 8 of the warp's 16, column 8 j + lane % 4 * 2
// + i % 2.
#define TGF_TEN(t) "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9, "
#define TGF_FIFTY TGF_TEN() TGF_TEN(1) TGF_TEN(2) TGF_TEN(3) TGF_TEN(4)
#define TGF_SUM64 TGF_FIFTY TGF_TEN(5) "%60, %61, %62, %63"
#define TGF_SUM96 TGF_FIFTY TGF_TEN(5) TGF_TEN(6) TGF_TEN(7) TGF_TEN(8) "%90, %91, %92, %93, %94, %95"
#define TGF_SUM128 TGF_FIFTY TGF_TEN(5) TGF_TEN(6) TGF_TEN(7) TGF_TEN(8) TGF_TEN(9) TGF_TEN(10) TGF_TEN(11) \
    "%120, %121, %122, %123, %124, %125, %126, %127"
#define TGF_IN8(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define TGF_IN32(i) TGF_IN8(i), TGF_IN8(i + 8), TGF_IN8(i + 16), TGF_IN8(i + 24)
#define TGF_IN64 TGF_IN32(0), TGF_IN32(32)
#define TGF_IN96 TGF_IN64, TGF_IN32(64)
#define TGF_IN128 TGF_IN96, TGF_IN32(96)
#define TGF_WGMMA(n, type, sum, in, a_at, b_at, add_at, ta_at, tb_at)                                                    \
    asm volatile("{\n.reg .pred p;\nsetp.ne.u32 p, " add_at ", 0;\nwgmma.mma_async.sync.aligned.m64n" n "k16.f32." type "." type \
                 " {" sum "}, " a_at ", " b_at ", p, 1, 1, " ta_at ", " tb_at ";\n}"                                         \
                 : in : "l"(a), "l"(b), "r"(add), "n"(turn_a), "n"(turn_b) : "memory")
template <int n, bool bf16, int turn_a, int turn_b> TGF_DEVICE void wgmma(float *d, u64 a, u64 b, u32 add) {
    static_assert(n == 128 || n == 192 || n == 256, "columns of a product");
    if (n == 128 && bf16) TGF_WGMMA("128", "bf16", TGF_SUM64, TGF_IN64, "%64", "%65", "%66", "%67", "%68");
    if (n == 128 && !bf16) TGF_WGMMA("128", "f16", TGF_SUM64, TGF_IN64, "%64", "%65", "%66", "%67", "%68");
    if (n == 192 && bf16) TGF_WGMMA("192", "bf16", TGF_SUM96, TGF_IN96, "%96", "%97", "%98", "%99", "%100");
    if (n == 192 && !bf16) TGF_WGMMA("192", "f16", TGF_SUM96, TGF_IN96, "%96", "%97", "%98", "%99", "%100");
    if (n == 256 && bf16) TGF_WGMMA("256", "bf16", TGF_SUM128, TGF_IN128, "%128", "%129", "%130", "%131", "%132");
    if (n == 256 && !bf16) TGF_WGMMA("256", "f16", TGF_SUM128, TGF_IN128, "%128", "%129", "%130", "%131", "%132");
}
#endif

// Describes an operand of wgmma in shared memory with 128-byte swizzle: lines of 128 bytes, whose 16-byte pieces are
// permuted by the line's number in a 1024-byte aligned group of eight. Along the depth a line is one row's, and groups
// of eight rows are `group` bytes apart. Along the rows (turned) a line is 64 rows of one depth, groups of eight depths
// are `group` apart and the next 64 rows `block`.
TGF_DEVICE u64 matrix_descriptor(u32 address, u32 block, u32 group) {
    return (u64)(address >> 4 & 0x3fff) | (u64)(block >> 4 & 0x3fff) << 16 | (u64)(group >> 4 & 0x3fff) << 32 | (u64)1 << 62;
}

// ---- the product: one producing warp keeps a ring of stages filled, two warpgroups of 64 rows each multiply. Blocks
// go through tiles until there are none. S is the Shape of cuda_prelude_matmul.cuh and for A and B
//   load(to, map, barrier, batch, row, k): starts the copies of a stage's tile, in blocks of 64 rows when along the rows
template <class S> struct GroupMatmul {
    typedef typename S::Real Real;
    static const int n = S::tile_n, depth = 64, stages = S::stages, row_groups = 2, threads = 128 * (row_groups + 1);
    static_assert(S::tile_m == 64 * row_groups && S::tile_k == depth, "tiles");
    static const u32 steps = (S::K + depth - 1) / depth;
    static const int bytes_a = S::tile_m * depth * 2, bytes_b = n * depth * 2, stage_bytes = bytes_a + bytes_b;
    // A warp's 16 rows of C leave 64 columns at a time.
    static const int out_line = 64 * 2 + 16, out_bytes = 16 * out_line;
    static const int barriers_at = stages * stage_bytes + row_groups * 4 * out_bytes;

    // Where stage `i` of all stages ever filled is, and in which phase its barriers are then.
    struct Ring {
        u32 stage, phase;
        TGF_DEVICE_MEMBER Ring() : stage(0), phase(0) {}
        TGF_DEVICE_MEMBER void next() {
            if (++stage == stages) stage = 0, phase ^= 1;
        }
    };

    TGF_DEVICE void produce(const Map *a, const Map *b, char *shared, u64 *full, u64 *empty) {
        Ring at;
        for (u32 tile = blockIdx.x; tile < MatmulTile<S>::tiles; tile += gridDim.x) {
            MatmulTile<S> t(tile);
            for (u32 step = 0; step < steps; step++, at.next()) {
                char *stage = shared + at.stage * stage_bytes;
                barrier_wait(empty + at.stage, at.phase ^ 1);
                barrier_expect(full + at.stage, stage_bytes);
                S::A::load(stage, a, full + at.stage, t.batch, t.m, step * depth);
                S::B::load(stage + bytes_a, b, full + at.stage, t.batch, t.n, step * depth);
            }
        }
    }

    TGF_DEVICE void multiply(float *sum, u32 stage, int group, u32 add) {
        u32 a = S::A::along_k ? stage + group * (64 * 128) : stage + group * (depth * 128), b = stage + bytes_a;
#pragma unroll
        for (int k = 0; k < depth / 16; k++) {
            u64 da = matrix_descriptor(a + k * (S::A::along_k ? 32 : 16 * 128), depth * 128, 1024);
            u64 db = matrix_descriptor(b + k * (S::B::along_k ? 32 : 16 * 128), depth * 128, 1024);
            wgmma<n, Real::is_bf16, !S::A::along_k, !S::B::along_k>(sum, da, db, k ? 1 : add);
        }
    }

    TGF_DEVICE void store(const float *sum, char *c, MatmulTile<S> at, char *out, int row, int lane) {
        const int each = S::C::width / 2, per_line = 64 / each;
#pragma unroll
        for (int from = 0; from < n; from += 64) {
#pragma unroll
            for (int j = 0; j < 8; j++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const float *x = sum + (from / 8 + j) * 4 + half * 2;
                    Real::put_pair(out + (lane / 4 + half * 8) * out_line + (j * 8 + lane % 4 * 2) * 2, x[0], x[1]);
                }
            sync_warp();
#pragma unroll (each > 1 ? 4 : 1)
            for (int i = lane; i < 16 * per_line; i += 32) {
                int r = i / per_line, column = i % per_line * each;
                if (S::M % S::tile_m == 0 || at.m + row + r < S::M)
                    matmul_put_line<S, each, 2>(c, at.m + row + r, at.n + from + column, out + r * out_line + column * 2);
            }
            sync_warp();
        }
    }

    TGF_DEVICE void consume(char *c, char *shared, u64 *full, u64 *empty, int thread) {
        int group = thread / 128, warp = thread / 32, lane = thread % 32;
        u32 base = shared_address(shared);
        Ring at;
        for (u32 tile = blockIdx.x; tile < MatmulTile<S>::tiles; tile += gridDim.x) {
            MatmulTile<S> t(tile);
            float sum[n / 2];
            u32 before = 0; // the stage multiplied last: free once its group has ended
            for (u32 step = 0; step < steps; step++, at.next()) {
                barrier_wait(full + at.stage, at.phase);
                wgmma_fence();
                multiply(sum, base + at.stage * stage_bytes, group, step ? 1 : 0);
                wgmma_commit();
                wgmma_wait<1>();
                if (step && lane == 0) barrier_arrive(empty + before);
                before = at.stage;
            }
            wgmma_wait<0>();
            if (lane == 0) barrier_arrive(empty + before);
            store(sum, c + S::C::batch(t.batch), t, shared + stages * stage_bytes + warp * out_bytes, warp * 16, lane);
        }
    }

    TGF_DEVICE void run(const Map *a, const Map *b, char *c) {
        int thread = (int)threadIdx.x;
        char *shared = tgf_shared();
        u64 *full = (u64 *)(shared + barriers_at), *empty = full + stages;
        if (thread == 0) {
            for (int i = 0; i < stages; i++) barrier_init(full + i, 1), barrier_init(empty + i, row_groups * 4);
            barrier_init_done();
        }
        sync_block();
        if (thread < 128) {
            registers_shrink<40>();
            if (thread == 0) {
                map_prefetch(a), map_prefetch(b);
                produce(a, b, shared, full, empty);
            }
        } else {
            registers_grow<232>();
            consume(c, shared, full, empty, thread - 128);
        }
    }
};
#endif
