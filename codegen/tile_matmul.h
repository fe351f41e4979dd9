// SPDX-License-Identifier: Apache-2.0
// tile_matmul: a blocked matrix product over strided operands, batched, as one kernel of the KernelFn ABI (jit.h):
//   C[batch, m, n] = epilogue( sum over k of A[batch, m, k] * B[batch, k, n]  (+ C[batch, m, n] when accumulating) )
// Every index is a group of axes, outermost first, and every operand has its own stride along each axis, so transposes,
// head splits and broadcasts (stride 0) need no copies. Extents and strides are known when the kernel is made.
#pragma once
#include "codegen/irb.h"

// Where an epilogue stands. The vector runs along n from (m, n), or along m where along_m is set (C is stored so).
// m, n: linear indices in their groups (row-major over the group's axes as described); batch: same, of the batch group.
typedef struct TilePoint {
    const IrbKernel *kernel; // for irb_kernel_buf and irb_kernel_scalar
    Val batch, m, n;         // i64
    bool along_m;
    Val mask; // <lanes x i1>: lanes inside C. Loads and stores of the epilogue must respect it.
} TilePoint;
// Given the <lanes x f32> sums returns what is stored. May store elsewhere too. Called once, at emission.
typedef Val (*TileEpilogue)(Irb *b, void *user, const TilePoint *at, Val sum);

typedef struct TileTail {
    TileEpilogue emit;
    void *user;
} TileTail;

typedef struct TilePlan {
    int64_t tasks;      // the whole is [0, tasks)
    int64_t work_bytes; // scratch a thread needs
    bool along_m;       // the epilogue's vectors run along m
} TilePlan;

// How the product is cut. Zeros: chosen from the target and the extents. For measuring; results' bits depend on kc
// only.
typedef struct TileBlocking {
    int mr, nv;
    int64_t mc, nc, kc;
} TileBlocking;

// Adds kernel `name` to b's module. STATUS_INVALID: a negative extent, or sizes beyond 64 bits.
Status tile_matmul(Irb *b, const char *name, const TileMatmul *matmul, TilePlan *out_plan);
// tail: f32 only; NULL: none. What it reads, C must not overlap either.
Status tile_matmul_blocked(Irb *b, const char *name, const TileMatmul *matmul, const TileTail *tail,
                           TileBlocking blocking, TilePlan *out_plan);
