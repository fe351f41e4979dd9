// SPDX-License-Identifier: Apache-2.0
// jobs: the kernels of a unit, each described once however often it is called: equal descriptions are one kernel.
// Describing needs no LLVM; rendering fills a module.
#pragma once
#include "codegen/cuda_gemm.h"
#include "codegen/tile_attend.h"
#include "ir/kernel.h"
#include <stdio.h>

typedef enum JobKind { JOB_NEST, JOB_MATMUL, JOB_ATTEND, JOB_ATTEND_BACK } JobKind;

typedef struct Job {
    JobKind kind;
    const char *name; // unique in the unit
    Kernel *nest;
    TileMatmul matmul;
    TileAttend attend;
    TileAttendBack back;
    double flops, bytes;       // of one call
    int64_t tasks, work_bytes; // known once rendered
    const PlanGemm *gemm;      // of a GPU: a library does it; NULL: the kernel does
    CudaLaunch launch;         // of a GPU's kernel, likewise
    const char *key;
    size_t key_bytes;
} Job;

typedef struct Jobs {
    Arena *arena;
    const CudaTarget *cuda; // what they are for; NULL: a CPU
    bool tf32;              // of a GPU's products
    GemmChoice gemm;        // likewise
    Vec(Job) list;
} Jobs;

// The number of the job; descriptions with the same code give the same number. Unused bytes of descriptors are zero.
int jobs_add_nest(Jobs *jobs, Kernel *nest, const char *stem, double flops, double bytes);
int jobs_add_matmul(Jobs *jobs, const TileMatmul *m, const char *stem, double flops, double bytes);
int jobs_add_attend(Jobs *jobs, const TileAttend *a, const char *stem, double flops, double bytes);
int jobs_add_attend_back(Jobs *jobs, const TileAttendBack *a, const char *stem, double flops, double bytes);
// Adds the functions of jobs [from, to) to b's module, local to it, and fills in tasks and work_bytes.
Status jobs_render(Jobs *jobs, Irb *b, int from, int to);
// Writes the CUDA C of all jobs, and fills in their launches.
Status jobs_render_cuda(Jobs *jobs, FILE *out);
void jobs_print(const Jobs *jobs, FILE *out);
