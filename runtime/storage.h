// SPDX-License-Identifier: Apache-2.0
// storage: how a parameter lies in a file, from PlanLeaf.storage: `NAME [a, b*c]`.
//
// NAME is the file's tensor name. `{layer}` in it stands for an index of the leaf's axis `layer`: one tensor for each.
// The bracket gives the tensor's dimensions in order, each an axis or a product of axes (row-major, the first
// slowest); together they are the leaf's axes without those in braces, in any order. Without a bracket: those axes as
// they stand in the leaf.
#pragma once
#include "runtime/plan.h"

typedef struct StoredAs {
    const char *name; // within PlanLeaf.storage, name_length long
    int name_length;
    int nindexed, indexed[PLAN_RANK]; // dimensions of the leaf that are in braces, in the order they occur there
    int norder, order[PLAN_RANK];     // the other dimensions, in the file's order
    int rank;                         // of the tensor
    int64_t shape[PLAN_RANK];
    int64_t count, elements; // tensors, and elements of each
} StoredAs;

Status stored_as(const PlanLeaf *l, StoredAs *out_stored);
// Tensor number i of count (row-major over the indexed axes). False when the name does not fit.
bool stored_name(const PlanLeaf *l, const StoredAs *s, int64_t i, char *out_name, size_t size);
// Copies tensor i out of, or into, the leaf's whole array (elements of `element` bytes).
void stored_take(const PlanLeaf *l, const StoredAs *s, int64_t i, const void *whole, int element, void *out_tensor);
void stored_put(const PlanLeaf *l, const StoredAs *s, int64_t i, void *whole, int element, const void *tensor);
