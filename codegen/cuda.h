// SPDX-License-Identifier: Apache-2.0
// cuda: the GPUs that kernels are made for, and the emitters of CUDA C. Each emitter writes one function
//
//   extern "C" __global__ void __launch_bounds__(threads) NAME(char *b0, char *b1, ..., i64 s0, ..., Map m0, ...)
//
// b: addresses of the operands as the description numbers them; s: run-time integers; m: descriptors of launch->maps.
// The text is C++ without a library, written against codegen/cuda_prelude.cuh only (see there for how memory and other
// threads are reached), so that it also runs simulated. Within one kernel every task may run in any order; results do
// not depend on it: no atomics on floats.
#pragma once
#include "base/status.h"
#include "codegen/tile.h"
#include "ir/kernel.h"
#include "runtime/plan.h"
#include <stdio.h>

typedef struct CudaTarget {
    char arch[16];        // "sm_90a"
    int sm;               // 90
    bool specific;        // the `a` at its end: wgmma and the bulk copy engine may be used (sm_90a)
    int64_t shared_bytes; // dynamic shared memory a block can be given
    int processors;       // multiprocessors, assumed: for how finely work is cut, never for correctness
} CudaTarget;

// name: "sm_80" to "sm_121", with or without `a`. An unknown one is STATUS_INVALID and lists the known ones.
Status cuda_target_make(const char *name, CudaTarget *out_target);

typedef struct CudaLaunch {
    int64_t blocks; // of a grid of one dimension; 0: nothing to do
    int threads;    // of a block: a multiple of 32
    int64_t shared_bytes;
    int nmaps;
    PlanMap maps[4];
} CudaLaunch;

// A nest whose PARALLEL loops are tasks and whose lanes are threads (cuda_nest.c).
Status cuda_nest(FILE *out, const CudaTarget *target, const Kernel *kernel, CudaLaunch *out_launch);
// Products (cuda_matmul.c): tensor cores for 16-bit operands, and for f32 ones when `tf32`; else f32 arithmetic.
Status cuda_matmul(FILE *out, const CudaTarget *target, const char *name, const TileMatmul *matmul, bool tf32,
                   CudaLaunch *out_launch);
// Attention (cuda_attend.c, cuda_attend_back.c). Scores are never in global memory.
Status cuda_attend(FILE *out, const CudaTarget *target, const char *name, const TileAttend *attend,
                   CudaLaunch *out_launch);
Status cuda_attend_back(FILE *out, const CudaTarget *target, const char *name, const TileAttendBack *attend,
                        CudaLaunch *out_launch);
// Parameter lists, so that all kernels spell them alike: writes `(char *b0, ..., i64 s0, ..., Map m0, ...)`.
void cuda_parameters(FILE *out, int nbufs, int nscalars, int nmaps);
