// SPDX-License-Identifier: Apache-2.0
// machine: what the tools' --target, --gemm and -mcpu say.
#pragma once
#include "codegen/codegen.h"

typedef struct Machine {
    const char *target; // NULL or "cpu"; "cuda": the GPU of this machine; "cuda:sm_90a"
    const char *mcpu;
    const char *gemm; // NULL: generated
    char arch[16];
} Machine;

// clang-format off
// Rows of a tool's table of options (tools/common_options.h).
#define MACHINE_OPTIONS(m)                                                                                             \
    {"-mcpu", "NAME", "processor to compile for (native)", OPTION_TEXT, &(m)->mcpu},                                   \
    {"--target", "cpu|cuda|cuda:ARCH", "cuda: this machine's GPU; cuda:sm_90a, ... (cpu)", OPTION_TEXT,                \
     &(m)->target},                                                                                                    \
    {"--gemm", "generated|cublaslt|auto", "products on a GPU (generated)", OPTION_TEXT, &(m)->gemm}
// clang-format on

// Fills in mcpu, cuda and gemm; cuda points into the machine.
Status machine_choose(Machine *machine, CodegenOptions *out_options);
// The same; false after a line on stderr.
bool machine_read(Machine *machine, const char *tool, CodegenOptions *out_options);
