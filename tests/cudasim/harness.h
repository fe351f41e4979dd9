// SPDX-License-Identifier: Apache-2.0
// harness: unit tests of generated kernels, run by the simulation (README.md) without a driver: text in, launches, and
// what went wrong as text.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIM_MESSAGE = 4000 };

typedef struct Sim Sim;

// kernels: functions as codegen/cuda.h says, without the prelude. NULL: out_error (SIM_MESSAGE bytes) says why.
Sim *sim_compile(const char *kernels, char *out_error);
void sim_free(Sim *sim);
// Kernels may read, or read and write, these bytes (and what was allowed before); nothing else.
void sim_allow(Sim *sim, void *at, size_t bytes);
void sim_allow_reading(Sim *sim, const void *at, size_t bytes);
void sim_forget(Sim *sim); // allow nothing
// Of the order of blocks, warps and threads, and of when copies happen; each launch draws on from it.
void sim_seed(Sim *sim, uint64_t seed);
// params: as cuLaunchKernel takes them, a pointer to each argument. NULL: went well; else what went wrong, valid until
// the next launch.
const char *sim_launch(Sim *sim, const char *name, int64_t blocks, int threads, int64_t shared_bytes,
                       void *const *params);
// Parameters of the kernel; -1: there is none of that name.
int sim_params(const Sim *sim, const char *name);
