// SPDX-License-Identifier: Apache-2.0
// exec: runs the functions of a plan. A Program is a plan, its kernels and a mesh of ranks, each with one slab and its
// own threads; after program_make nothing is allocated. Its ranks are threads of this process or, with a World, one
// rank is this process.
//
// One thread uses a Program at a time (any thread). Reading and writing what lies in the slabs: runtime/bind.h.
#pragma once
#include "runtime/fault.h"
#include "runtime/trace.h"

typedef struct Program Program;
typedef struct World World; // runtime/world.h

// Bytes for the slab of one rank on a CPU, at a multiple of `alignment`; NULL: there are none.
typedef struct ProgramMemorySource {
    void *(*allocate)(void *user, int64_t bytes, int64_t alignment, int rank);
    void (*release)(void *user, void *memory, int64_t bytes, int rank);
    void *user;
} ProgramMemorySource;

typedef struct ProgramOptions {
    int threads; // over all ranks, each gets at least one; 0: one a processor
    bool trace;
    int64_t trace_events;       // single events kept a rank
    bool late;                  // started collectives are done where they are waited for, instead of where they start
    int64_t comm_timeout_ms;    // a rank waiting longer in a collective fails everyone; 0: never
    bool eager;                 // GPU: every run is told step by step, no graphs
    bool poison;                // slabs begin as NaNs: what is read before it is written shows
    World *world;               // the processes of this run, one rank each; NULL: all ranks are threads of this one
    void *nccl;                 // GPU: the caller's ncclComm_t of all ranks, this process's; NULL: none
    ProgramMemorySource memory; // CPU: where slabs come from; allocate NULL: from the system. From the calling thread
    const Fault *faults;        // seeded on purpose; copied
    int nfaults;
    const struct CudaFault *cuda_fault; // GPU: one more, runtime/cuda_fault.h; copied
} ProgramOptions;

// options NULL: all defaults. The module's text is parsed and checked; its kernels must outlive the program.
Status program_make(const PlanModule *module, const ProgramOptions *options, Program **out_program);
// The same with a plan in memory instead of the module's text; it must outlive the program.
Status program_make_from_plan(const Plan *plan, const PlanModule *module, const ProgramOptions *options,
                              Program **out_program);
void program_free(Program *p); // NULL is fine

// Runs a program (a function of the model) on all ranks. Inputs it reads must have been set; parameters must have been
// set or initialised: "init" does the latter (and clears the optimizer states first). When a rank fails the others are
// stopped; the status names rank, step, op and .tgf line, and what the function writes is unspecified from then on.
Status program_run(Program *p, const char *func);

const Plan *program_plan(const Program *p);
Trace *program_trace(Program *p);      // NULL unless asked for
int program_threads(const Program *p); // of each rank

typedef struct ProgramMemory { // bytes of one rank
    int64_t slab, scratch;     // scratch: of all its threads
    int64_t host;              // of the host, beside the slab: planned, all of it used
    int64_t planned, used;     // what the compiler said, and the highest byte that its stage's tasks touch
    int ranks;
} ProgramMemory;
ProgramMemory program_memory(const Program *p, int rank);
