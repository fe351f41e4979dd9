// SPDX-License-Identifier: Apache-2.0
// lower: a `fused` node (or one op that could stand in one) becomes a loop nest.
//
// The node's values are of two kinds: over all its axes P and I, or over P only (results of its reductions over I and
// what is made from them). The kernel loops over P outside, tasks first; inside, once for each phase, over I: a phase
// ends with the reductions that the next one needs. Lanes run along the last axis: of I (a row is reduced across lanes)
// or, where the reduced axes lie outside of the last one, of P (columns: each lane has its own sum). Views are folded
// into addresses, the pieces of a concat become loops of their own.
#pragma once
#include "ir/kernel.h"
#include "ir/op.h"
#include "ir/storage.h"

// CPU: as many tasks as threads are worth, what is left in loops, lanes along the last axis. GPU: every loop whose
// iterations are independent is a task's or a lane's.
typedef enum LowerMachine { LOWER_CPU, LOWER_GPU } LowerMachine;

// A run-time integer of the kernel: factor * coordinate along mesh + first * (the running chunk's first layer), or the
// iteration number, on the whole axis, of the repeat whose body parameter `iteration` is.
typedef struct LowerScalar {
    int64_t factor, first;
    MeshSet mesh;
    const Value *iteration; // NULL: the other kind
} LowerScalar;

typedef struct Lowered {
    Kernel *kernel;
    Vec(const Value *) bufs; // whose place is buffer 0, 1, ...
    Vec(LowerScalar) scalars;
} Lowered;

// False after a diagnostic. Everything made lives in `arena`.
bool lower_fused(const Unit *u, const FuncStorage *places, const Node *n, LowerMachine machine, Arena *arena,
                 const char *name, Lowered *out_lowered);
// A scatter, or the sum of one and another value (a fused node of both): a task owns some trailing places of every row
// and goes through the ids in order.
const Node *lower_scatter_of(const Node *n); // NULL: neither
bool lower_scatter(const Unit *u, const FuncStorage *places, const Node *n, LowerMachine machine, Arena *arena,
                   const char *name, Lowered *out_lowered);
// A cumsum: a task owns some lines of places along its axis.
bool lower_scan(const Unit *u, const FuncStorage *places, const Node *n, LowerMachine machine, Arena *arena,
                const char *name, Lowered *out_lowered);
// Copies the elements of a value from buffer 1 to buffer 0, where they have other strides.
Kernel *lower_copy(const Unit *u, const Type *t, const int64_t *to, const int64_t *from, LowerMachine machine,
                   Arena *arena);
