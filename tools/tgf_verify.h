// SPDX-License-Identifier: Apache-2.0
// What tgf verify compares, and how closely.
#pragma once
#include "base/vec.h"
#include "tools/common_built.h"

typedef struct Named {
    char *name;
    double *at; // any element type, widened
    int64_t count;
    enum { NAMED_OUTPUT, NAMED_GRADIENT, NAMED_UPDATED } kind;
    double spread_squares, spread_most; // of the runs added by spread_add
} Named;

// Everything a step made: outputs, then parameters and states, in the plan's order.
typedef struct Snapshot {
    int n;
    Named *at;
    double gradient_rms; // over all gradients: the scale of what is small beside its neighbours
    double rate;         // output `lr`, or 0
    int spreads;         // runs added by spread_add; 0: the step is in f32
} Snapshot;

typedef struct Difference {
    const char *name;
    double error, allowed; // at the element that is worst relative to what is allowed
} Difference;
// How bad a difference is: 1 is just allowed; one that is not a number is as bad as can be.
double difference_ratio(const Difference *d);

// Draws every input of the program: ids within their range (some labels ignored), normal numbers, mostly-true masks.
Status snapshot_inputs(Program *p, uint64_t seed);
// What the optimizer has of each parameter, as after some steps: of zeros nothing would show whether they were read.
Status snapshot_states(Program *p, uint64_t seed);
Status snapshot_take(Program *p, const char *func, Snapshot *out); // also checks that replicas agree bit for bit
void snapshot_free(Snapshot *s);
int snapshot_other_bits(const Snapshot *a, const Snapshot *b);   // the first tensor that is not the same; -1: all are
const Named *snapshot_find(const Snapshot *s, const char *name); // NULL: none
// Is tensor i of `a` another in `b`? Gradients and outputs: |difference| <= tolerance * scale, the scale being the
// tensor's largest magnitude or the gradients' root mean square, whichever is larger. Updated parameters may differ by
// what that change of the gradient does to an AdamW step: rate * min(2, tolerance * scale / |g|). With spreads, see
// spread_differs.
bool snapshot_differs(const Snapshot *a, int i, const Snapshot *b, double tolerance, Difference *out);
int snapshot_compare(const Snapshot *a, const Snapshot *b, double tolerance,
                     Difference *out_worst); // tensors that differ

// 2 * 4 * 2^-24 * sum over the reductions of `func` (times their repeats) of sqrt(length): Higham and Mary, "A new
// approach to probabilistic rounding error analysis", SISC 2019, with lambda = 4, for two runs.
double verify_tolerance(const Unit *u, const char *func);
// What is allowed beside it when products round their f32 operands to tf32.
double verify_tf32(const Unit *u, const char *func);

// Steps in 16 bits. `moved` is the step of `a` once more, rounded at random; false when it has other tensors.
bool spread_add(Snapshot *a, const Snapshot *moved);
// Is the layout farther from `a` than its spreads say? Both |a - b| in the Euclidean norm and the largest element of it
// may be SPREADS times the root mean square, or the largest, of the same of the moved runs, and what f32's tolerance
// allows. An updated parameter may besides differ as a change of its gradient that is allowed changes an AdamW step.
bool spread_differs(const Snapshot *a, int i, const Snapshot *b, double tolerance, Difference *out);
enum { SPREADS = 4, SPREAD_RUNS = 8 };

typedef struct RandomStrategies {
    const Unit *unit;
    Arena *arena;
    uint64_t seed, drawn;
    int64_t ranks; // at most
} RandomStrategies;
// Text of a legal strategy called `name`; illegal draws (refused by the compiler with a located error) are counted and
// skipped.
const char *random_strategy(RandomStrategies *r, const CompileRequest *request, const char *name,
                            const char **out_label, int *illegal);

// Faults that are seeded on purpose (tgf_faults.c). Beside the runtime's kinds there is one of the plan itself: the
// compiler says more memory than the tasks touch.
typedef Vec(Fault) FaultList;
#define FAULT_WASTED_MEMORY FAULT_KINDS
const char *fault_text(FaultKind kind); // its name
void fault_describe(const Plan *p, const Fault *f, char *text, size_t size);
// All faults of a kind that can be seeded into the training program, in its order.
FaultList faults_of(Arena *a, const Plan *p, FaultKind kind);
// "KIND=TEXT#N@RANK": the Nth (from 0; without #N the first) of those in whose description TEXT occurs, on one rank
// with @RANK. False after saying on stderr why not.
bool fault_wanted(Arena *a, const Plan *p, const char *spec, Fault *out);
const Plan *plan_wasteful(Arena *a, const Plan *p);
