// SPDX-License-Identifier: Apache-2.0
// fault: errors seeded into a run on purpose, so that `tgf verify` can show that it would notice them. Each is what a
// compiler that forgets or confuses something would produce.
#pragma once
#include "runtime/plan.h"

typedef enum FaultKind {
    // Of an instruction:
    FAULT_DROP_COMM,   // the collective is done as if each rank were alone: a missing all_reduce
    FAULT_STALE_COMM,  // the collective does not happen: what lay in the receive buffer is used
    FAULT_WRONG_GROUP, // all_reduce or broadcast over `mesh` instead; 0: the first other group that fits
    FAULT_WRONG_SCALE, // what a collective receives is multiplied by `scale` (0: by 2); floats only
    FAULT_SWAP_PEER,   // the parts of members 0 and 1 are exchanged (all_gather, reduce_scatter, all_to_all); a shift
                       // goes round the other way
    FAULT_SWAP_COMM,   // this collective and the next one of its block exchange their places, on one rank only
    FAULT_SKIP_KERNEL, // the kernel is not run
    FAULT_WRONG_PART,  // the kernel takes another rank's part: its offsets are of other mesh coordinates
    FAULT_SKIP_ITERATION, // the loop's last iteration is not run: a skipped layer
    FAULT_SKIP_COPY,      // nothing is copied
    FAULT_SKIP_ZERO,      // nothing is cleared
    FAULT_SKIP_WAIT,      // a started collective is not waited for
    // Of a step of a program:
    FAULT_SKIP_RUN,      // the task is not run: a skipped microbatch
    FAULT_DOUBLE_RUN,    // a task that adds to sums over microbatches is run twice
    FAULT_EARLY_RUN,     // the task is run in front of the message it needs
    FAULT_SWAP_MEETINGS, // this task of the rank's own and the next one exchange their places: stages meet elsewhere
    FAULT_DROP_SEND,     // nothing is copied: the receiver goes on with what lay in the buffer
    FAULT_SWAP_SEND,     // this message and the next one on its channel exchange their places
    FAULT_SEND_ASTRAY,   // the message goes to another rank
    FAULT_WRONG_SLOT,    // another microbatch's piece is sent
    FAULT_MISSING_WAIT,  // the send's buffer is taken to be free at once
    FAULT_DROP_RECEIVE,  // the message is never taken
    FAULT_DROP_COPY,     // one chunk's value does not reach the next one on the same rank
    FAULT_SKIP_CLEAR,    // sums over microbatches do not begin at zero
    FAULT_KINDS
} FaultKind;

typedef struct Fault {
    FaultKind kind;
    int instr; // number in plan->instrs, of what the kind asks for
    int rank;  // only on this rank; -1: on all. On one rank alone a collective ends in STATUS_COMM
    uint32_t mesh;
    double scale;
    int program, stage; // kinds of a step: number in plan->programs, and whose list
    int64_t step;
    int64_t other; // by fault_resolve: the instruction or step that it exchanges places with
} Fault;

const char *fault_name(FaultKind kind); // "drop_comm"
bool fault_is_step(FaultKind kind);     // of a program's step, not of an instruction
bool fault_swaps(FaultKind kind);       // exchanges two steps of a program
// Whether the fault can be seeded there; on success mesh, scale, other and the rank of SWAP_COMM are filled in.
Status fault_resolve(const Plan *p, Fault *fault);
