// SPDX-License-Identifier: Apache-2.0
// program: the inside of a Program, shared by exec.c and bind.c.
#pragma once
#include "runtime/comm.h"
#include "runtime/device.h"
#include "runtime/exec.h"

typedef struct Rank {
    Device *device;
    int64_t *integers; // of each step's scalars, the part known before the run (see scalar_at)
    char **buf;        // operands of the step being done
    int64_t *scalar;
    Status status;
} Rank;

struct Program {
    const Plan *plan;
    Arena *arena; // the parsed plan's; NULL when the plan is the caller's
    PlanKernelFn *const *kernels;
    ProgramOptions options;
    int nranks, threads; // threads: of each rank
    bool spin;
    Rank *ranks;
    Pool *drivers; // one thread a rank; the caller drives rank 0
    Comm *comm;
    Trace *trace;
    int *scalar_at; // by step: where its scalars start in integers
    Fault *faults;
    const Fault **fault_of; // by step; NULL when there are no faults
    bool *is_set;           // by leaf
    const PlanFunc *running;
};
