// SPDX-License-Identifier: Apache-2.0
// tile_attend: attention over blocks of queries and keys, forward and backward, each as one kernel of the KernelFn ABI
// (jit.h).
//   y[o, s, :] = sum over t of softmax over t of (scale q[o, s, :] . k[o, t, :]) v[o, t, :]
//   lse[o, s]  = log of the sum over t of exp(scale q . k)
// o runs over the outer axes (batch, heads); every operand has its own stride along each, so that grouped-query
// attention is a zero stride of k and v along the group axis. Scores exist for one block at a time only. A key takes
// part when the mask (if any) is not 0 there and, when causal, its position is not after the query's, or not after the
// last key given for this o; a query with no key gets y = 0, lse = -inf.
#pragma once
#include "codegen/tile_matmul.h"

// An operand [o, row, column]: rows are queries or keys, columns the head's dimension. Strides and `first` in elements.
typedef struct TileRows {
    int buf;
    int64_t first;
    int64_t outer[TILE_AXES];
    int64_t row, column;
} TileRows;

typedef struct TileAttend {
    int outer_count;
    int64_t outer[TILE_AXES]; // extents, outermost first
    int64_t queries, keys;
    int64_t q_columns, v_columns;
    float scale;
    bool causal;
    int query_position, key_position; // numbers of the scalars holding the positions of the first query and key; -1: 0
    bool masked;                      // mask below is given
    bool bounded;                     // last below is given: query i sees keys t <= last, or t <= last + i when
                                      // causal, by positions
    IrbReal type;                     // of q, k, v, y and, backward, their gradients; scores and sums are in f32
    TileRows q, k, v, y;
    TileRows lse;  // f32, column unused
    TileRows mask; // u8, row: query, column: key
    TileRows last; // i32, neither row nor column
} TileAttend;

// Tasks are panels of queries of one o.
Status tile_attend(Irb *b, const char *name, const TileAttend *attend, TilePlan *out_plan);

typedef struct TileAttendBack {
    TileAttend forward;      // y and lse are read
    TileRows dy, dq, dk, dv; // dq, dk, dv are overwritten
} TileAttendBack;

// An outer axis along which dk and dv both have stride 0 is a group: their gradients are summed over it, in order.
// Tasks are the other outer indices, so no two of them write the same element. STATUS_INVALID where only one of dk, dv
// has stride 0.
Status tile_attend_back(Irb *b, const char *name, const TileAttendBack *attend, TilePlan *out_plan);
