// SPDX-License-Identifier: Apache-2.0
// recipe: with which optimizer, batch and data a model is trained (`train { ... }`).
#pragma once
#include "base/diag.h"
#include <stdbool.h>
#include <stdint.h>

typedef enum OptimizerKind { OPTIMIZER_ADAMW, OPTIMIZER_SGD } OptimizerKind;
typedef enum ScheduleKind { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE } ScheduleKind;

struct Recipe {
    OptimizerKind optimizer;
    ScheduleKind schedule;
    double lr;                // peak learning rate
    double floor;             // final learning rate as a fraction of lr (linear, cosine)
    int64_t warmup, steps;    // in steps; the rate rises linearly over warmup (step s, from 0: lr * (s+1)/warmup), then
                              // decays to steps
    double beta1, beta2, eps; // adamw
    double momentum;          // sgd
    double decay;             // decoupled weight decay, of parameters stored in two or more dimensions (docs/passes.md, optimizer)
    int nno_decay;
    Str *no_decay; // parameters (full names) that never decay
    double clip;   // largest global gradient norm; 0: no clipping
    int64_t batch; // sequences a step over the whole mesh: the extent of axis `batch`
    int64_t seed;
    Str data, validation; // paths as written, or NULL
    Loc loc;
};
