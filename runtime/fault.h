// SPDX-License-Identifier: Apache-2.0
// fault: errors seeded into a run on purpose, so that `tgf verify` can show that it would notice them. Each is what a
// compiler that forgets or confuses something would produce.
#pragma once
#include "runtime/plan.h"

typedef enum FaultKind {
    FAULT_DROP_COMM,      // the collective is done as if each rank were alone: a missing all_reduce
    FAULT_STALE_COMM,     // the collective does not happen: what lay in the receive buffer is used
    FAULT_WRONG_GROUP,    // all_reduce or broadcast over `mesh` instead; 0: the first other group that fits
    FAULT_WRONG_SCALE,    // what a collective receives is multiplied by `scale` (0: by 2); floats only
    FAULT_SWAP_PEER,      // the parts of members 0 and 1 are exchanged: all_gather, reduce_scatter, all_to_all
    FAULT_SKIP_KERNEL,    // the kernel is not run
    FAULT_SKIP_ITERATION, // the loop's last iteration is not run: a skipped layer or microbatch
} FaultKind;

typedef struct Fault {
    FaultKind kind;
    int instr; // number in plan->instrs: a COMM, KERNEL or LOOP as the kind asks
    int rank;  // only on this rank; -1: on all. On one rank alone a collective ends in STATUS_COMM
    uint32_t mesh;
    double scale;
} Fault;

const char *fault_name(FaultKind kind); // "drop_comm"
// Whether the fault can be seeded there; on success mesh and scale are filled in.
Status fault_resolve(const Plan *p, Fault *fault);
