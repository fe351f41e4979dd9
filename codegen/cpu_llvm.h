// SPDX-License-Identifier: Apache-2.0
// cpu_llvm: renders a loop nest (ir/kernel.h) as a function of the KernelFn ABI. Vector loops become explicit vectors
// of the target's width, unrolled, with accumulators in registers and a masked tail; sums are combined in a fixed
// order, so results depend on the kernel and the target only.
#pragma once
#include "codegen/irb.h"
#include "ir/kernel.h"

// Adds function k->name to b's module.
void cpu_llvm_kernel(Irb *b, const Kernel *k);
