// SPDX-License-Identifier: Apache-2.0
// cuda_gemm: which products cuBLASLt does instead of a generated kernel.
#pragma once
#include "codegen/codegen.h"
#include "codegen/cuda.h"

// The product as the library takes it; false where it cannot be told so (an index over axes that are not one in memory,
// a broadcast operand).
bool cuda_gemm_describe(const TileMatmul *matmul, bool tf32, PlanGemm *out_gemm);
// Whether the library is to do it. auto: where gemm_table.def says that it was measured to be faster.
bool cuda_gemm_picks(const CudaTarget *target, GemmChoice choice, const PlanGemm *gemm);
