// SPDX-License-Identifier: Apache-2.0
// tile: what the hand-blocked kernels compute, described for every machine: products of strided operands and attention.
// tile_matmul.h and tile_attend.h make them for CPUs, cuda_matmul.h and cuda_attend.h for GPUs. Descriptions are plain
// data; those of one unit are compared byte by byte, so unused bytes are zero.
#pragma once
#include <stdbool.h>
#include <stdint.h>

// Element types of operands in memory. Sums, scores and all arithmetic are in f32, rounded once when stored.
typedef enum Real { REAL_F32, REAL_BF16, REAL_F16 } Real;
static inline int real_bytes(Real r) { return r == REAL_F32 ? 4 : 2; }

enum { TILE_AXES = 4 };

typedef struct TileAxis {
    int64_t extent;
    int64_t a, b, c; // strides in elements; a group's foreign operand (n in A, m in B, k in C) is ignored
} TileAxis;

typedef struct TileGroup {
    int count; // 0: the group is a single index
    TileAxis axis[TILE_AXES];
} TileGroup;

// C[batch, m, n] = sum over k of A[batch, m, k] * B[batch, k, n]  (+ C[batch, m, n] when accumulating)
// Every index is a group of axes, outermost first, and every operand has its own stride along each axis, so transposes,
// head splits and broadcasts (stride 0) need no copies. Extents and strides are known when the kernel is made.
// C must overlap no other operand: partial sums (f32: of C) pass through it.
typedef struct TileMatmul {
    TileGroup batch, m, n, k;
    Real type;                         // of A, B and C
    int a, b, c;                       // operand numbers: buf[a] is A's element (0, .., 0)
    int64_t a_first, b_first, c_first; // in elements, added to the base
    bool accumulate;                   // C += instead of C =; f32 only
    // What the addresses of A, B and C are multiples of in every call, in bytes; 0: of an element. A GPU's copies are
    // as wide as this (16 is as good as more) and the strides allow.
    int align[3];
} TileMatmul;

// Attention over blocks of queries and keys; scores exist for one block at a time only:
//   y[o, s, :] = sum over t of softmax over t of (scale q[o, s, :] . k[o, t, :]) v[o, t, :]
//   lse[o, s]  = log of the sum over t of exp(scale q . k)
// o runs over the outer axes (batch, heads); every operand has its own stride along each, so that grouped-query
// attention is a zero stride of k and v along the group axis. Scores exist for one block at a time only. A key takes
// part when the mask (if any) is not 0 there and, when causal, its position is not after the query's, or not after the
// last key given for this o; a query with no key gets y = 0, lse = -inf.
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
    Real type;                        // of q, k, v, y and, backward, their gradients; scores and sums are in f32
    TileRows q, k, v, y;
    TileRows lse;  // f32, column unused
    TileRows mask; // u8, row: query, column: key
    TileRows last; // i32, neither row nor column
} TileAttend;

// Gradients of q, k and v. An outer axis along which dk and dv both have stride 0 is a group: their gradients are
// summed over it, in order; only one of them with stride 0 is STATUS_INVALID.
typedef struct TileAttendBack {
    TileAttend forward;      // y and lse are read
    TileRows dy, dq, dk, dv; // dq, dk, dv are overwritten
} TileAttendBack;
