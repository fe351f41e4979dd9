// SPDX-License-Identifier: Apache-2.0
// build: the steps between a unit and machine code, for codegen.c and object.c.
#pragma once
#include "codegen/codegen.h"
#include "codegen/cuda_image.h"
#include "codegen/jobs.h"

typedef struct Build {
    Arena *arena;
    CpuTarget target; // of a GPU's unit: the host
    CudaTarget cuda;  // jobs.cuda points here when the unit is for a GPU
    CudaImage image;
    Jobs jobs;
    Plan *plan;
    const char *name; // of the object
} Build;

Status build_start(Unit *u, const CodegenOptions *options, Build *out_build); // kernels described, plan without tasks
void build_end(Build *b);

// One LLVM module with the kernels [from, to), optimised when `optimise`, and an exported constant made by `finish`.
typedef struct BuildModule {
    LLVMContextRef context;
    LLVMModuleRef module;
} BuildModule;
typedef Status BuildFinish(Build *b, Irb *irb, int from, int to, void *user);
Status build_module(Build *b, const CpuTarget *target, int from, int to, BuildFinish *finish, void *user,
                    BuildModule *out_module);
void build_module_free(BuildModule *m);
Val build_kernel_table(Build *b, Irb *irb, int from, int to,
                       const char *name); // constant array of functions; NULL: no memory
