// SPDX-License-Identifier: Apache-2.0
// cuda_image: the kernels of a unit as one text of CUDA C, and that text compiled by NVRTC. Needs no GPU and no driver.
#pragma once
#include "codegen/jobs.h"

// What the assembler says of a kernel.
typedef struct CudaUse {
    int registers;        // a thread
    int64_t stack_bytes;  // a thread: local memory
    int64_t spill_bytes;  // a thread: written and read because registers ran out
    int64_t shared_bytes; // a block, static; dynamic: in the launch
} CudaUse;

typedef struct CudaImage {
    PlanCuda code; // as the runtime takes it
    CudaUse *use;  // by job
} CudaImage;

// Renders the jobs and compiles them for jobs->cuda. portable: also makes the PTX for newer chips. Everything lives in
// the jobs' arena. STATUS_UNSUPPORTED where there is no NVRTC; STATUS_INTERNAL with the compiler's words when it
// refuses the text.
Status cuda_image_make(Jobs *jobs, bool portable, CudaImage *out_image);
// One line a kernel: registers, shared memory, stack and spills, blocks and threads.
void cuda_image_print(const Jobs *jobs, const CudaImage *image, FILE *out);
