// SPDX-License-Identifier: Apache-2.0
// device: what runs one rank: its slab, its scratch and its threads. One vtable for every machine.
//
// A device of a GPU does what it is told later, in order; `read`, `write` and `end` wait until all before them is done.
// What goes wrong meanwhile is remembered and told by `end`.
#pragma once
#include "runtime/plan.h"
#include "runtime/pool.h"
#include <stdbool.h>

typedef struct DeviceOptions {
    int threads; // of this rank, >= 1
    bool spin;
    int64_t slab_bytes, work_bytes;     // work_bytes: scratch of one thread
    int64_t host_bytes;                 // memory of the host beside the slab
    void *slab;                         // CPU: slab_bytes at a multiple of PLAN_ALIGN, the caller's; NULL: made here
    bool poison;                        // the slab begins as bytes 0xff instead of zeros
    PlanKernelFn *const *kernels;       // of a CPU, in the order of plan->kernels
    const PlanCuda *cuda;               // of a GPU
    const Plan *plan;                   // outlives the device
    int rank;                           // whose device this is, for messages
    int ordinal;                        // GPU: its number on this host
    bool eager;                         // GPU: no graphs of whole programs
    bool timed;                         // GPU: everything has ended when its call returns, for traces
    int64_t timeout_ms;                 // GPU: a wait in which nothing moves fails after so long; 0: ten minutes
    const struct CudaFault *cuda_fault; // GPU: seeded on purpose, or NULL
} DeviceOptions;

typedef struct Device Device;
typedef struct DeviceVtable {
    const char *name;
    // kernel: its number in the plan. Addresses in buf lie in the slab.
    void (*launch)(Device *d, int kernel, char *const *buf, const int64_t *scalar);
    void (*copy)(Device *d, char *to, const char *from, int64_t bytes); // both in the slab; may overlap
    // Between the rank's memory of the host and its slab. start: on the device's stream of copies of that direction,
    // behind what it was told before; what it is told behind `finish` of the same step comes behind the copy, every
    // time it was begun. NULL (all three): `copy` does it at once.
    void (*fetch)(Device *d, int step, bool start, char *to, const char *from, int64_t bytes);
    void (*stash)(Device *d, int step, bool start, char *to, const char *from, int64_t bytes);
    void (*finish)(Device *d, int step);
    void (*zero)(Device *d, char *to, int64_t bytes); // of the slab
    void (*write)(Device *d, char *to, const void *host, int64_t bytes);
    void (*read)(Device *d, void *host, const char *from, int64_t bytes);
    // Around the steps of a program (its number in the plan); either may be NULL. begin: *out_done when the device
    // knows the program's steps from an earlier run and has begun them all: nothing more is asked of it, nor of the
    // communicator, before end. end waits until everything is done.
    Status (*begin)(Device *d, int program, bool *out_done);
    void (*step)(Device *d, int64_t at); // the step of the rank's list that begins, for messages; may be NULL
    Status (*end)(Device *d, int program);
    void (*free)(Device *d);
} DeviceVtable;
struct Device {
    const DeviceVtable *v;
    char *slab, *host;
    int64_t slab_bytes, scratch_bytes, host_bytes; // as allocated
    Pool *pool;                                    // host threads a communicator may use; NULL: none
};

// Slab and scratch are one allocation in huge pages (with options->slab the scratch alone), zeroed and touched by the
// rank's own threads.
Status device_cpu_make(const DeviceOptions *options, Device **out_device);
