// SPDX-License-Identifier: Apache-2.0
// cuda_fault: mistakes seeded into what a GPU is told, so that tests can show that they are noticed. Each is what a
// runtime that forgets or confuses a stream, an event or a count would do. (Mistakes of a compiler: fault.h.)
#pragma once
#include <stdint.h>

typedef enum CudaFaultKind {
    CUDA_FAULT_NONE,
    CUDA_FAULT_MISSING_EVENT, // a collective does not wait for what was computed before it
    CUDA_FAULT_MISSING_WAIT,  // what is computed after it does not wait for its end
    CUDA_FAULT_MISSING_EDGE,  // the same, only in the captured graph
    CUDA_FAULT_WRONG_STREAM,  // a copy or a clearing runs on the stream of collectives
    CUDA_FAULT_OTHER_COUNT,   // the collective has one element less
    CUDA_FAULT_OTHER_KIND,    // broadcast instead of all_reduce and the other way round
    CUDA_FAULT_DROP_COMM,     // the collective is not called
    CUDA_FAULT_DROP_SEND,     // a message is not sent
    CUDA_FAULT_EARLY_SEND,    // a message does not wait for what was computed before it
    CUDA_FAULT_REUSE_SEND,    // what is computed after a wait does not wait for the message's end
    CUDA_FAULT_EARLY_RECEIVE, // a message may arrive while its buffer is still read
    CUDA_FAULT_KINDS
} CudaFaultKind;

typedef struct CudaFault {
    CudaFaultKind kind;
    int rank;  // only on this rank; -1: on all
    int instr; // collectives: number in plan->instrs; messages: the channel; -1: all it fits
} CudaFault;

const char *cuda_fault_name(CudaFaultKind kind); // "missing_event"
