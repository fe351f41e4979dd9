// SPDX-License-Identifier: Apache-2.0
#include "codegen/cuda_matmul.h"
bool cuda_matmul_wgmma(FILE *out, const CudaProduct *p, CudaLaunch *launch) {
    (void)out, (void)p, (void)launch;
    return false;
}
