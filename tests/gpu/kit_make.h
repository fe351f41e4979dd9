// SPDX-License-Identifier: Apache-2.0
// kit_make: what makes the kinds of kits. All report to stderr and return an exit status.
#pragma once
#include "tests/gpu/kit.h"
#include <stdint.h>

// Cases part, part + parts, part + 2 parts, ... of tests/ops, in every precision they are tested in, on one rank, with
// what the reference interpreter says of them. Adds to a case:
//   op, dtype            the row it is there for; what its products are in
//   param NAME, input NAME  values, in the plan's type
//   want NAME            output: f64 for each element
//   moved NAME           f32: what rounding in f32 moves the element by, at most
//   tolerance            of the largest element of an output
int kit_ops(FILE *out, const char *arch, int part, int parts);

typedef struct KitModel {
    const char *arch, *path, *precision; // "f32", "bf16", "f16", "tf32"
    const char *name;                    // of the case
    const char *const *defines;          // "batch=8"
    int ndefines;
    const char *cpu; // NULL, or the name of the object with the same kernels for x86-64-v3, and, with precisions of 16
                     // bits, of one that rounds at random with ".moved" behind: what a step is to be compared with
} KitModel;
// One rank of a model. Adds: tolerance (tgf verify's), tokens, flops, parameters; cpu, where there is that object.
int kit_model(FILE *out, const KitModel *m);

// Kernels alone, one a case. Adds: symbol, blocks, threads, shared, maps (PlanMap, without their arg's meaning
// changed), nbufs; flops, bytes; and `shape`, what bench/gpu_kernels.py needs to do the same in PyTorch. small: for a
// simulation.
int kit_products(FILE *out, const char *arch, bool small);
int kit_attention(FILE *out, const char *arch, bool small);
