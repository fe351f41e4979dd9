// SPDX-License-Identifier: Apache-2.0
// target: the processor code is made for, and everything that depends on it: LLVM's target machine, the vector width
// the emitters block for, the pass pipeline, and emission. Widths come from features, never from a processor's name.
#pragma once
#include "base/status.h"
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Types.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct CpuTarget {
    char *triple;               // e.g. x86_64-pc-linux-gnu
    char *cpu;                  // LLVM's name: scheduling and, for a named processor, its features
    char *features;             // LLVM's +a,-b list on top of cpu's own
    int lanes;                  // f32 lanes of a vector: 16 (avx512f), 8 (avx2 and fma), 4 (the baseline)
    int registers;              // architectural vector registers
    bool has_fma;               // a*b+c in one rounding
    int64_t l1_bytes, l2_bytes; // data caches of one core, assumed (blocking only, never correctness)
    LLVMTargetMachineRef machine;
} CpuTarget;

// Before anything else of LLVM; once a process, from any thread.
Status target_initialise(void);

// name: NULL or "native" for the processor this runs on, else an -mcpu name (x86-64, x86-64-v3, skylake-avx512, ...).
// An unknown name is STATUS_INVALID and lists the known ones. Release with target_free (which takes zeroed targets
// too).
Status target_make(const char *name, CpuTarget *out_target);
void target_free(CpuTarget *target);
// Whether code for `target` can run on this processor.
bool target_runs_here(const CpuTarget *target);

// Gives the module the target's triple and data layout. Call before filling it.
void target_adopt(const CpuTarget *target, LLVMModuleRef module);
// Verifies the module, runs the (short) pass pipeline over it. A module that does not verify is STATUS_INTERNAL.
Status target_optimise(const CpuTarget *target, LLVMModuleRef module);
// Machine code of an optimised module: the same bytes for the same module. Dispose with LLVMDisposeMemoryBuffer.
Status target_emit_object(const CpuTarget *target, LLVMModuleRef module, LLVMMemoryBufferRef *out_object);
Status target_emit_assembly(const CpuTarget *target, LLVMModuleRef module, LLVMMemoryBufferRef *out_text);
