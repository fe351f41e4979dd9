// SPDX-License-Identifier: Apache-2.0
// storage: where every materialised value lies in the slab. Made by the memory pass, read by codegen.
//
// A place is an offset from the beginning of a section (ir/pipeline.h); the step that runs a task says where the
// sections lie. The slab of a stage, every piece aligned:
//
//   [ RANK leaves | for each chunk of the stage: its CHUNK leaves, its slots of SLOT leaves | WORK ]
//
// Beside it, with `offload`, lies memory of the host, which holds no operand of a kernel or a collective:
//
//   [ for each chunk of the stage: its HOST leaves | STASH ]
//
// WORK is the most that a task run on this stage needs. A unit without a pipeline is one stage with one chunk, each
// function one task. There, an output that only one function has lies among that function's activations, undisturbed
// until the next call.
//
// Values may share memory; codegen copies where places differ and does nothing where they are equal:
//   view (rename, slice, expand)   lies in its operand when strides can say so, else in memory of its own
//   stop                           a copy the memory pass wants
//   repeat's beginning             each initial value to the place of its carry (body parameter, result: one place)
//   end of an iteration            stacked values to their slices, then yielded values to their carries; a yielded
//   value
//                                  never lies in another carry's place
//   assign, output                 the value to the leaf's place
//   stop of what is on the host    a fetch
//   stacked operand on the host    each iteration's slice to the place of the body's parameter, by way of its `ahead`,
//                                  where the next iteration's is fetched meanwhile
// A result of a map or fused node may lie exactly over an operand that is read element by element: an element must be
// loaded, once in a phase, before what depends on it is stored. all_reduce may be in place. Collectives' operands and
// results are dense; behind an all_gather of an axis the mesh does not divide, rows are as long as all parts together.
#pragma once
#include "ir/pipeline.h"

enum { LOOP_MAX = 4, SLAB_ALIGN = 64 };

typedef struct Place {
    bool placed;                   // false: never in memory (inlined, or a repeat's iteration number)
    Section section;               // where the offset counts from
    int64_t offset;                // bytes
    int64_t micro;                 // bytes added for each microbatch
    int64_t ahead;                 // a slice that is fetched from the host: offset in WORK; else -1
    int64_t loop_stride[LOOP_MAX]; // bytes added for each iteration of enclosing repeat 0 (outermost), 1, ...
    int64_t
        dim_stride[RANK_MAX]; // elements between neighbours, per dimension of the value's type (views may be strided)
} Place;

typedef struct FuncStorage {
    Place *of; // by value id
    int64_t activation_bytes, stash_bytes;
} FuncStorage;

// A named persistent thing: parameter, state, input, output or what tasks leave for one another.
typedef enum LeafKind { LEAF_PARAM, LEAF_STATE, LEAF_INPUT, LEAF_OUTPUT, LEAF_BUFFER, LEAF_KINDS } LeafKind;
typedef struct Leaf {
    LeafKind kind;
    Str name, storage;       // storage: s2 of the node
    Type type;               // of the whole: chunks' axes are the whole axis, no dimension is split over microbatches
                             // but a buffer's
    int64_t local[RANK_MAX]; // places on each rank, of all its microbatches
    int layered;             // the dimension of the chunks' layers: each chunk holds its own; -1: none
    Section section;
    int64_t *offset;      // RANK, WORK: one. CHUNK, SLOT, HOST: by variant, -1: the variant lacks it
    int64_t bytes;        // of a rank; of one layer of it when layered
    bool zero;            // a buffer that STEP_ZERO clears
    int64_t least, limit; // inputs
} Leaf;

typedef struct VariantStorage {
    int64_t chunk_bytes, slot_bytes, host_bytes;
    int64_t zero_offset, zero_bytes; // of the chunk's buffers that begin as zero
    int64_t kind_bytes[LEAF_KINDS];  // of chunk_bytes, what leaves of each kind take
} VariantStorage;

typedef struct ChunkStorage {
    int64_t base, slot_base, host_base;
} ChunkStorage;

typedef struct StageStorage {
    int64_t work_base, slab_bytes, stash_base, host_bytes;
} StageStorage;

typedef struct Storage {
    const Pipeline *pipeline; // the unit's, or one of one stage and chunk; never NULL
    int nleaves;
    Leaf *leaves;
    FuncStorage *funcs; // in the order of unit->funcs
    VariantStorage *variants;
    ChunkStorage *chunks;
    StageStorage *stages;
    int64_t rank_bytes, rank_zero_offset, rank_zero_bytes;
    // Of the stage that needs most, summing to its slab_bytes. buffers: summed gradients and slots.
    int64_t param_bytes, state_bytes, io_bytes, buffer_bytes, activation_bytes, slab_bytes;
    int64_t host_bytes; // of the stage that needs most of the host's memory
} Storage;

// The pipeline of a unit that has none: every function is one task of variant 0, run once.
const Pipeline *pipeline_of_one(const Unit *u, Arena *a);
Leaf *storage_leaf(const Storage *s, LeafKind kind, Str name);            // NULL: absent
int64_t storage_leaf_bytes(const Storage *s, const Leaf *l, int variant); // in one chunk of this variant
// Where a task of `variant` finds the leaf, which it knows as type t.
Place storage_leaf_place(const Mesh *mesh, const Leaf *l, int variant, const Type *t);
