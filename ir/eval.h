// SPDX-License-Identifier: Apache-2.0
// eval: the reference interpreter: slow, in double precision, obviously right. Runs any function of a unit on all ranks
// of its mesh at once, so sharded graphs with collectives are executed as written.
#pragma once
#include "ir/graph.h"

// A dense array in double, row-major in the type's dimension order; local extents when it belongs to a rank.
typedef struct Tensor {
    Type type;
    int64_t count;
    double *at;
} Tensor;

// A unit must not change while an Eval of it is in use: make a new one after a pass.
typedef struct Eval Eval; // the state of one run: values of params, states, inputs by name, and outputs

Eval *eval_new(Unit *u, Arena *arena);
// Global tensors in and out, in the leaf's declared dimension order. Padding is filled with zeros for params and
// states, for inputs too.
bool eval_set(Eval *e, const char *name, const double *global,
              int64_t count); // param, state ("NAME") or input, before eval_run
bool eval_get(const Eval *e, const char *name, double *out_global,
              int64_t count);                           // param, state or output after eval_run
const Type *eval_type(const Eval *e, const char *name); // NULL: no such leaf or output
// Runs "init", "train", "eval" or "predict". Assignments take effect at the end. False after a diagnostic.
// Replicated results must agree on all ranks (exactly: same operations), else a diagnostic names the first node that
// differs.
bool eval_run(Eval *e, const char *func);
// From now on the padding places of every op's result are filled with large numbers (with 1 if it is an i32 or
// bool, NaN where it is not finite there), so that a missing mask shows in the results. Zeros stay: resolve relies on
// those that follow from zeros and finite numbers. Returns the former setting.
bool eval_poison(Eval *e, bool on);
// From now on (0: no longer) every f32 result is one of the f32 numbers within 1.5 ulp of what it should be, the seed
// says which, and so is every addend where a sum is made; what f32 holds exactly stays. How far outputs move under some
// seeds is the condition of a graph: what correct f32 code may differ by from the exact result, up to a small factor.
void eval_perturb(Eval *e, uint64_t seed);
// One place of an elementwise op by the table's equation; b and c are ignored where the op has no such operand.
double eval_map(OpKind op, double a, double b, double c);
