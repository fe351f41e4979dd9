// SPDX-License-Identifier: Apache-2.0
// device: what runs one rank: its slab, its scratch and its threads. One vtable, so that other machines than this CPU
// fit.
#pragma once
#include "runtime/plan.h"
#include "runtime/pool.h"
#include <stdbool.h>

typedef struct DeviceOptions {
    int threads; // of this rank, >= 1
    bool spin;
    int64_t slab_bytes, work_bytes; // work_bytes: scratch of one thread
} DeviceOptions;

typedef struct Device Device;
typedef struct DeviceVtable {
    const char *name;
    // Addresses in buf lie in the slab. Returns when the kernel is done.
    void (*launch)(Device *d, PlanKernelFn *fn, const PlanKernel *kernel, char *const *buf, const int64_t *scalar);
    void (*copy)(Device *d, char *to, const char *from, int64_t bytes); // both in the slab; may overlap
    void (*zero)(Device *d, char *to, int64_t bytes);
    void (*write)(Device *d, char *to, const void *host, int64_t bytes);
    void (*read)(Device *d, void *host, const char *from, int64_t bytes);
    void (*free)(Device *d);
} DeviceVtable;
struct Device {
    const DeviceVtable *v;
    char *slab;
    int64_t slab_bytes, scratch_bytes; // as allocated
    Pool *pool;                        // host threads a communicator may use
};

// Slab and scratch are one allocation in huge pages, zeroed and touched by the rank's own threads.
Status device_cpu_make(const DeviceOptions *options, Device **out_device);
