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
    FAULT_SKIP_ITERATION, // the loop's last iteration is not run: a skipped layer
    // Of a step of a program:
    FAULT_SKIP_RUN,     // the task is not run: a skipped microbatch
    FAULT_DROP_SEND,    // nothing is copied: the receiver goes on with what lay in the buffer
    FAULT_SWAP_SEND,    // this message and the next one on its channel exchange their places
    FAULT_SEND_ASTRAY,  // the message goes to another rank
    FAULT_WRONG_SLOT,   // another microbatch's piece is sent
    FAULT_MISSING_WAIT, // the send's buffer is taken to be free at once
    FAULT_KINDS
} FaultKind;

typedef struct Fault {
    FaultKind kind;
    int instr; // number in plan->instrs: a COMM, KERNEL or LOOP as the kind asks
    int rank;  // only on this rank; -1: on all. On one rank alone a collective ends in STATUS_COMM
    uint32_t mesh;
    double scale;
    int program, stage; // kinds of a step: number in plan->programs, and whose list
    int64_t step;
} Fault;

const char *fault_name(FaultKind kind); // "drop_comm"
bool fault_is_step(FaultKind kind);     // of a program's step, not of an instruction
// Whether the fault can be seeded there; on success mesh and scale are filled in.
Status fault_resolve(const Plan *p, Fault *fault);
