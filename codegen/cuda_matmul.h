// SPDX-License-Identifier: Apache-2.0
// cuda_matmul: what the forms of a product on a GPU share: the description brought into the form that kernels take, how
// its operands can be copied, and the text of the Shape that the templates of cuda_prelude_matmul.cuh are made with.
#pragma once
#include "codegen/cuda.h"
#include "codegen/tile_group.h"

// How an operand's elements lie: copies of `width` bytes run along the depth or along the rows (A, B); of C, stores of
// `width` bytes along n.
typedef struct CudaSide {
    int operand;         // number of the kernel's parameter
    int64_t first;       // bytes
    TileSide side;       // of d's axes
    TileGroup row, rest; // row: m of A and C, n of B. rest: k of A and B, n of C. Merged as this operand sees them
    TileGroup batch;
    bool along_rest;
    int width;
} CudaSide;

typedef struct CudaProduct {
    const CudaTarget *target;
    const char *name;
    TileMatmul d; // m and n exchanged where that makes C contiguous along n
    bool tf32;
    int size; // bytes of an element
    int64_t batches, m, n, k;
    CudaSide a, b, c;
} CudaProduct;

// Block tiles of the warp form and of the scalar one; depth in bytes.
typedef struct CudaTiling {
    int m, n, k_bytes, warps_m, warps_n, warps_k, stages;
    double speed; // of the machine's peak when all blocks are busy, roughly: for choosing only
} CudaTiling;

int cuda_tiling_threads(const CudaTiling *t);
int64_t cuda_tiling_shared(const CudaProduct *p, const CudaTiling *t);
// Work of the busiest multiprocessor with tiles of this size, at this speed.
double cuda_tiles_time(const CudaProduct *p, int tile_m, int tile_n, double speed);
int64_t cuda_product_tiles(const CudaProduct *p, int tile_m, int tile_n);

// `struct NAME_shape {...};`
void cuda_shape_text(FILE *out, const CudaProduct *p, const CudaTiling *t);
// Everything in front of the body: `extern "C" __global__ void __launch_bounds__(...) NAME(...)`.
void cuda_head_text(FILE *out, const CudaProduct *p, int threads, int nmaps);
// `NAME_shape` as the arguments of a template's `run`: "b0 + 128, b1, b2".
void cuda_bases_text(FILE *out, const CudaProduct *p);

// The form for Hopper's warpgroups (cuda_matmul_wgmma.c), when it takes less than `time`. False: it does not, or it is
// not for this product; nothing is written then.
bool cuda_matmul_wgmma(FILE *out, const CudaProduct *p, double time, CudaLaunch *out_launch);
