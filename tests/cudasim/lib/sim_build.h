// SPDX-License-Identifier: Apache-2.0
// sim_build: CUDA C text to a library for this CPU, by the C++ compiler found when this was built, and its kernels.
#pragma once
#include "sim_api.h"
#include <stdbool.h>
#include <stddef.h>

enum { SIM_PATH = 512, SIM_LOG = 4000 };

// text: codegen/cuda_prelude.cuh followed by kernels. Writes the library to `to`. False: out_log says why; it holds the
// compiler's messages.
bool sim_build(const char *text, size_t bytes, const char *to, char *out_log, size_t log_bytes);

typedef struct SimLibrary {
    void *handle;
    const SimKernel *kernels; // ended by a NULL name
} SimLibrary;

bool sim_load(const char *path, SimLibrary *out_library, char *out_log, size_t log_bytes);
void sim_unload(SimLibrary *library);
const SimKernel *sim_kernel(const SimLibrary *library, const char *name); // NULL: none
