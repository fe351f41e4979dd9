// SPDX-License-Identifier: Apache-2.0
// storage: where every materialised value lies in the slab. Made by the memory pass, read by codegen.
// The slab of a rank: [ parameters | optimizer states | inputs and outputs | activations (shared by the functions) ].
// An output that only one function has lies among that function's activations, undisturbed until the next call.
//
// Values may share memory; codegen copies where places differ and does nothing where they are equal:
//   view (rename, slice, expand)   lies in its operand when strides can say so, else in memory of its own
//   stop                           a copy the memory pass wants
//   repeat's beginning             each initial value to the place of its carry (body parameter, result: one place)
//   end of an iteration            stacked values to their slices, then yielded values to their carries; a yielded value
//                                  never lies in another carry's place
//   assign, output                 the value to the leaf's place
// A result of a map or fused node may lie exactly over an operand that is read element by element: an element must be
// loaded, once in a phase, before what depends on it is stored. all_reduce may be in place. Collectives' operands and
// results are dense; behind an all_gather of an axis the mesh does not divide, rows are as long as all parts together.
#pragma once
#include "ir/graph.h"

enum { LOOP_MAX = 4, SLAB_ALIGN = 64 };

typedef struct Place {
    bool placed;                   // false: never in memory (inlined, or a repeat's iteration number)
    int64_t offset;                // bytes from the slab's start
    int64_t loop_stride[LOOP_MAX]; // bytes added for each iteration of enclosing repeat 0 (outermost), 1, ...
    int64_t
        dim_stride[RANK_MAX]; // elements between neighbours, per dimension of the value's type (views may be strided)
} Place;

typedef struct FuncStorage {
    Place *of; // by value id
    int64_t activation_bytes, workspace_offset;
} FuncStorage;

// A named persistent thing: parameter, state, input or output.
typedef enum LeafKind { LEAF_PARAM, LEAF_STATE, LEAF_INPUT, LEAF_OUTPUT } LeafKind;
typedef struct Leaf {
    LeafKind kind;
    Str name, storage; // storage: s2 of the node
    Type type;
    int64_t offset, bytes;
    int64_t least, limit; // inputs
} Leaf;

typedef struct Storage {
    int nleaves;
    Leaf *leaves;
    FuncStorage *funcs; // in the order of unit->funcs
    int64_t param_bytes, state_bytes, io_bytes, activation_bytes,
        slab_bytes; // per rank; slab_bytes is their aligned sum
} Storage;
