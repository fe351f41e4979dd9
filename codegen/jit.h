// SPDX-License-Identifier: Apache-2.0
// jit: kernels run in the process that made them. A module becomes the same object code that target_emit_object writes
// to a file, and ORC links it here: what is tested in memory is what is shipped.
#pragma once
#include "codegen/target.h"

typedef struct Jit Jit;

// The ABI of every kernel. buf[i]: base address of operand i. scalar[]: run-time integers. work: this thread's scratch,
// 64-byte aligned, of the size the emitter reported. [begin, end): the tasks this call does; any split of [0, tasks)
// gives the same bits.
typedef void (*KernelFn)(char *const *buf, const int64_t *scalar, char *work, int64_t begin, int64_t end);

Status jit_make(Jit **out_jit);
void jit_free(Jit *jit); // code looked up from it is gone afterwards
// Emits `module` (already target_optimise'd) for `target` and links it; the module stays the caller's to dispose.
Status jit_add_module(Jit *jit, const CpuTarget *target, LLVMModuleRef module);
Status jit_add_object(Jit *jit, LLVMMemoryBufferRef object); // takes the buffer
Status jit_lookup(Jit *jit, const char *name, void **out_address);
