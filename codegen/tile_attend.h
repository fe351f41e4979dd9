// SPDX-License-Identifier: Apache-2.0
// tile_attend: attention over blocks of queries and keys, forward and backward, each as one kernel of the KernelFn ABI
// (jit.h).
// Descriptions and what they mean: tile.h.
#pragma once
#include "codegen/tile_matmul.h"

// Tasks are panels of queries of one o.
Status tile_attend(Irb *b, const char *name, const TileAttend *attend, TilePlan *out_plan);

// An outer axis along which dk and dv both have stride 0 is a group: their gradients are summed over it, in order.
// Tasks are the other outer indices, so no two of them write the same element. STATUS_INVALID where only one of dk, dv
// has stride 0.
Status tile_attend_back(Irb *b, const char *name, const TileAttendBack *attend, TilePlan *out_plan);
