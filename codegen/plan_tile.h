// SPDX-License-Identifier: Apache-2.0
// plan_tile: dot and attend as the descriptors of the blocked kernels, from the places of their operands.
#pragma once
#include "codegen/jobs.h"
#include "ir/op.h"
#include "ir/storage.h"

// Buffers of all: the operands in the node's order, then the results. False after a diagnostic.
bool plan_dot(const Unit *u, const FuncStorage *places, const Node *n, TileMatmul *out);
// out_query: the dimension of q whose shard offset is scalar 0 (causal, split), or NULL.
bool plan_attend(const Unit *u, const FuncStorage *places, const Node *n, TileAttend *out, const Dim **out_query);
bool plan_attend_back(const Unit *u, const FuncStorage *places, const Node *n, TileAttendBack *out,
                      const Dim **out_query);
