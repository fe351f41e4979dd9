// SPDX-License-Identifier: Apache-2.0
// schedule: in which order each stage of a pipeline does its work. The model's layers are cut into chunks 0 ..
// chunks-1; chunk c lives on stage place[c] (a coordinate of the pipe axis). Microbatch m goes through chunk 0, 1, ...
// forward, and back. A schedule is data: one list of items a stage, made by a generator (passes/schedule_*.c) or read
// from a file, and checked by schedule_check before anything trusts it.
//
//   schedule 1f1b stages 2 chunks 2 microbatches 3          F: forward, B: backward, I and W: its two halves
//   place 0 1                                               stage of each chunk
//   0: F0.0 F0.1 B0.0 F0.2 B0.1 B0.2                        letter, chunk, '.', microbatch
//   1: F1.0 B1.0 F1.1 B1.1 F1.2 B1.2
#pragma once
#include "base/diag.h"
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum ScheduleName {
    PIPE_1F1B, // PipeDream-flush (Narayanan et al. 2021)
    PIPE_GPIPE,
    PIPE_INTERLEAVED, // v chunks a stage (Narayanan et al. 2021, section 2.2)
    PIPE_ZBH1,        // zero bubble, H1 (Qi et al. 2023): backward in two halves
    PIPE_ZBV,         // zero bubble, V: two chunks a stage, placed 0 1 ... p-1 p-1 ... 1 0
    PIPE_FILE
} ScheduleName;

typedef enum WorkKind {
    WORK_FORWARD,
    WORK_BACKWARD,   // both halves
    WORK_INPUT_GRAD, // the gradient of what the chunk was given
    WORK_WEIGHT_GRAD // the gradients of its parameters; after WORK_INPUT_GRAD of the same microbatch
} WorkKind;

typedef struct WorkItem {
    WorkKind kind;
    int chunk;
    int64_t microbatch;
} WorkItem;

typedef struct Schedule {
    ScheduleName name;
    int stages, chunks; // chunks is a multiple of stages
    int64_t microbatches;
    bool halves;      // backward comes as INPUT_GRAD and WEIGHT_GRAD
    int *place;       // by chunk: its stage
    int64_t *count;   // by stage: number of items
    WorkItem **items; // by stage, in order
} Schedule;

const char *schedule_name(ScheduleName name);                 // "1f1b", "gpipe", "interleaved", "zbh1", "zbv", "file"
bool schedule_find(const char *text, ScheduleName *out_name); // never PIPE_FILE
