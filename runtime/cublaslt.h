// SPDX-License-Identifier: Apache-2.0
// cublaslt: products of matrices by NVIDIA's library instead of a generated kernel, where the plan asks for it.
#pragma once
#include "runtime/cuda_api.h"
#include "runtime/plan.h"

typedef struct Gemm Gemm;         // a product that is ready to run: nothing is chosen or allocated later
typedef struct Cublaslt Cublaslt; // one device's

enum { CUBLASLT_WORK_BYTES = 32 << 20 };

// On the calling thread's device. work: CUBLASLT_WORK_BYTES of its memory, 256-byte aligned; products of one stream.
Status cublaslt_make(CuAddress work, Cublaslt **out_cublaslt);
void cublaslt_free(Cublaslt *c); // NULL is fine; its products first
// Asks the library for its best algorithm. STATUS_UNSUPPORTED: it has none for this.
Status gemm_make(Cublaslt *c, const PlanGemm *spec, Gemm **out_gemm);
void gemm_free(Gemm *g); // NULL is fine
Status gemm_run(const Gemm *g, char *const *buf, CuStream stream);
