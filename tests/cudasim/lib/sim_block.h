// SPDX-License-Identifier: Apache-2.0
// sim_block: runs a kernel's grid on the calling thread, one block after another in random order, the threads of a
// block as fibers. Where threads meet, which of them goes on first is random too; between two meetings a thread runs
// without interruption, so that a missing barrier shows as values that were not written yet (shared memory starts as
// NaNs).
#pragma once
#include "sim_api.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIM_ERROR = 600, SIM_MOST_THREADS = 1024, SIM_BARRIERS = 16 };

// Is [at, at + bytes) memory that the kernel may read (write)? If not, writes why, without a full stop.
typedef bool SimAccess(void *context, uintptr_t at, size_t bytes, bool write, char *out_why, size_t size);

typedef struct SimLaunch {
    const SimKernel *kernel;
    void *const *params;
    unsigned grid[3], block[3];
    size_t shared_bytes;
    uint64_t seed;
    SimAccess *access;
    void *context;
} SimLaunch;

// False: `out_error` (SIM_ERROR bytes) says what, in which kernel, block and threads; the grid was given up there.
bool sim_run(const SimLaunch *launch, char *out_error);
extern const SimApi sim_api_table;
// Inside a kernel: reports and leaves it, so it does not return. For sim_warp.c.
void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline uint64_t sim_random(uint64_t *state) { // splitmix64
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

// The warp's instructions, fragments as PTX ISA lays them out (sim_warp.c).
void sim_mma_bf16(void **lanes);
void sim_mma_f16(void **lanes);
void sim_mma_tf32(void **lanes);
void sim_ldmatrix(void **lanes);
void sim_ldmatrix_t(void **lanes);
