// SPDX-License-Identifier: Apache-2.0
// program: the inside of a Program, shared by exec.c and bind.c.
#pragma once
#include "runtime/comm.h"
#include "runtime/device.h"
#include "runtime/exec.h"

typedef struct LateCopy { // between the host and the slab
    int step;
    char *to;
    const char *from;
    int64_t bytes;
} LateCopy;

typedef struct Rank {
    Device *device;
    int stage;
    int64_t *integers; // of each instruction's scalars, what the rank decides (see scalar_at)
    char **buf;        // operands of the step being done
    int64_t *scalar;
    CommCall *late;        // collectives started and not yet done, in order; with options.late
    LateCopy *late_copies; // and copies
    int nlate, nlate_copies;
    Status status;
} Rank;

struct Program {
    const Plan *plan;
    Arena *arena;                 // the parsed plan's; NULL when the plan is the caller's
    PlanKernelFn *const *kernels; // of a CPU
    const PlanCuda *cuda;         // of a GPU, or NULL
    ProgramOptions options;
    int nranks, threads; // threads: of each rank
    int first, nlocal;   // ranks [first, first + nlocal) run in this process: the others have no device
    bool spin;
    Rank *ranks;
    Pool *drivers; // one thread a rank; the caller drives rank 0
    Comm *comm;
    Trace *trace;
    int gpu;        // of the first rank of this process
    void **slabs;   // by rank: from options.memory, NULL where it is not from there
    int *scalar_at; // by instruction: where its scalars start in integers
    Fault *faults;
    const Fault **fault_of; // by instruction; NULL when there are no faults
    bool *is_set;           // by leaf
    const PlanProgram *running;
};

// Where a chunk's section lies in the rank's slab; and what it has in the host's memory.
char *rank_chunk(const Program *p, int rank, int chunk);
char *rank_chunk_host(const Program *p, int rank, int chunk);

// comm_nccl_meet.c: p->gpu, that of options.nccl if there is one.
Status program_choose_gpu(Program *p);
// exec_memory.c: p->slabs, from options.memory if it has any.
Status program_take_slabs(Program *p);
void program_give_slabs(Program *p); // after the devices that use them
