// SPDX-License-Identifier: Apache-2.0
// bind: values in and out of a program, as whole arrays: dense, row-major over the leaf's dimensions with their global
// extents, whatever the mesh. Each rank takes or gives the part its coordinates stand for; padding is zero and never
// seen. In a pipeline a rank has a part in each of its chunks that knows the leaf: of a layered one its layers, of
// another a copy.
//
// Where the ranks are several processes, all call alike: writing takes the same values everywhere, and reading gives
// them to all.
#pragma once
#include "runtime/exec.h"

World *program_world(const Program *p); // NULL: all ranks are here
// Elements of the whole array, and bytes. Leaf numbers are plan->leaves'.
int64_t leaf_elements(const PlanLeaf *l);
int64_t leaf_bytes(const PlanLeaf *l);

// values: leaf_elements(l) elements of the leaf's type. STATUS_RANGE, naming position and value, when an id lies
// outside what the input allows; then nothing is written.
Status program_write_leaf(Program *p, int leaf, const void *values);
// All zeros, padding too.
void program_zero_leaf(Program *p, int leaf);
// check: also compare the copies that different ranks hold, bit by bit: STATUS_COMM, naming ranks and position, when
// they differ (out_values is filled all the same).
Status program_read_leaf(Program *p, int leaf, bool check, void *out_values);
// The same for the process of rank 0 alone; others take part, and their out_values may be NULL.
Status program_collect_leaf(Program *p, int leaf, void *out_values);

// The leaf of that name; STATUS_INVALID, naming both, when type or element count are others.
Status program_find_leaf(const Program *p, PlanLeafKind kind, const char *name, PlanDType type, int64_t count,
                         int *out_leaf);
// The same by name, with type and element count checked against the plan.
Status program_set_input(Program *p, const char *name, PlanDType type, const void *values, int64_t count);
Status program_get_output(Program *p, const char *name, PlanDType type, void *out_values, int64_t count);
// Without effect when the model has no such input (`step` and `seed` are there only when something uses them).
Status program_set_optional(Program *p, const char *name, int32_t value);
Status program_get(Program *p, PlanLeafKind kind, const char *name, PlanDType type, void *out_values, int64_t count);
Status program_set(Program *p, PlanLeafKind kind, const char *name, PlanDType type, const void *values, int64_t count);
