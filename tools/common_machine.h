// SPDX-License-Identifier: Apache-2.0
// machine: what the tools' --target and -mcpu say.
#pragma once
#include "codegen/codegen.h"
#include "tools/common_options.h"

typedef struct Machine {
    const char *target; // NULL or "cpu"; "cuda": the GPU of this machine; "cuda:sm_90a"
    const char *mcpu;
    char arch[16];
} Machine;

// Rows of a tool's table of options.
#define MACHINE_OPTIONS(machine)                                                                                       \
    {"-mcpu", "NAME", "processor to compile for (native)", OPTION_TEXT, &(machine)->mcpu}, {                           \
        "--target", "MACHINE", "cpu; cuda: this machine's GPU; cuda:sm_90a, ... (cpu)", OPTION_TEXT,                   \
            &(machine)->target                                                                                         \
    }

// Fills in mcpu and cuda. False after a line on stderr.
bool machine_read(Machine *machine, const char *tool, CodegenOptions *out_options);
