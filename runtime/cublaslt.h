// SPDX-License-Identifier: Apache-2.0
// cublaslt: products of matrices by NVIDIA's library instead of a generated kernel, where the plan asks for it.
#pragma once
#include "runtime/cuda_api.h"
#include "runtime/plan.h"

// An operand [batch, row, column]: strides in elements, one of row's and column's is 1. Extents are the product's.
typedef struct GemmOperand {
    int arg;       // operand of the launch
    int64_t first; // elements from the operand's address
    int64_t batch, row, column;
} GemmOperand;

// C[batch, m, n] = sum over k of A[batch, m, k] * B[batch, k, n], + C when accumulating. Sums in f32, rounded once.
typedef struct GemmSpec {
    int64_t batch, m, n, k;
    PlanDType type, out; // of A and B; of C: the same, or F32
    GemmOperand a, b, c;
    bool tf32; // F32 operands are rounded to tf32
    bool accumulate;
} GemmSpec;

typedef struct Gemm Gemm;         // a product that is ready to run: nothing is chosen or allocated later
typedef struct Cublaslt Cublaslt; // one device's

enum { CUBLASLT_WORK_BYTES = 32 << 20 };

bool gemm_spec_fits(const GemmSpec *spec); // strides and types that the library has; else a generated kernel's
// On the calling thread's device. work: CUBLASLT_WORK_BYTES of its memory, 256-byte aligned; products of one stream.
Status cublaslt_make(CuAddress work, Cublaslt **out_cublaslt);
void cublaslt_free(Cublaslt *c); // NULL is fine; its products first
// Asks the library for its best algorithm. STATUS_UNSUPPORTED: it has none for this.
Status gemm_make(Cublaslt *c, const GemmSpec *spec, Gemm **out_gemm);
void gemm_free(Gemm *g); // NULL is fine
Status gemm_run(const Gemm *g, char *const *buf, CuStream stream);
