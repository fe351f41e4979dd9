// SPDX-License-Identifier: Apache-2.0
// codegen: a unit that went through the memory pass becomes kernels and a plan: in memory, as an object file, as text.
// A user's mistakes are reported to the unit's Diag and give STATUS_INVALID with an empty reason beyond that.
#pragma once
#include "base/status.h"
#include "ir/graph.h"
#include "runtime/plan.h"

// Who does products on a GPU: generated kernels, cuBLASLt where it can, or by the table of what was measured.
typedef enum GemmChoice { GEMM_GENERATED, GEMM_CUBLASLT, GEMM_AUTO } GemmChoice;

typedef struct CodegenOptions {
    const char *mcpu; // NULL or "native": the processor this runs on
    const char *cuda; // "sm_90a": kernels for that GPU; NULL: for a CPU
    GemmChoice gemm;
    bool use;      // GPU: CODEGEN_KERNELS ends with the registers and shared memory of each kernel
    uint64_t hash; // stated in the plan
    // Files below this folder (with its last slash) are named from it on in the plan; NULL: as they are. What is made
    // then does not depend on where the folder lies.
    const char *folder;
    const char *name; // of the object's symbol, and of what its header declares; NULL: the model's
    int threads;      // that compile; 0: one a processor. The code does not depend on it
} CodegenOptions;

// Kernels in this process; a GPU's are an image that the runtime loads.
typedef struct CodegenJit CodegenJit;
Status codegen_jit(Unit *u, const CodegenOptions *options, CodegenJit **out_jit);
void codegen_jit_free(CodegenJit *jit); // NULL is fine; the kernels are gone afterwards
const Plan *codegen_jit_plan(const CodegenJit *jit);
PlanKernelFn *const *codegen_jit_kernels(const CodegenJit *jit); // in the order of the plan's; NULL for a GPU
const PlanModule *codegen_jit_module(const CodegenJit *jit);     // the same with the plan as text

// A relocatable object with the symbol tgf_model_NAME (a PlanModule), and the C header that declares it. Equal units
// give equal bytes. Release with codegen_object_free.
typedef struct CodegenObject {
    char *bytes;
    size_t size;
    char *header; // text
} CodegenObject;
Status codegen_object(Unit *u, const CodegenOptions *options, CodegenObject *out_object);
void codegen_object_free(CodegenObject *object);

// kernels: the nests, for a GPU their CUDA C. asm: of a GPU, PTX. llvm: of a CPU only.
typedef enum CodegenText { CODEGEN_KERNELS, CODEGEN_PLAN, CODEGEN_LLVM, CODEGEN_ASM } CodegenText;
Status codegen_print(Unit *u, const CodegenOptions *options, CodegenText what, FILE *out);
