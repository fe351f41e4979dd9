// SPDX-License-Identifier: Apache-2.0
// pipeline: a unit whose functions are cut into tasks. The pass `pipeline` (passes/pipeline.c) makes it when a strategy
// has microbatches or stages; memory, codegen and the runtime follow it. Without one (unit->pipeline == NULL) each
// function runs once, as a whole.
//
// The layers (the axis of the pipelined repeat) are cut into chunks 0 .. nchunks-1, in the model's order; a chunk lives
// on one stage (a coordinate of the mesh axis in mesh.stages). Without a mesh axis of stages there is one chunk, of all
// layers. Chunk 0 also has what comes before the layers, the last chunk what comes behind them. Chunks with the same
// number of layers and the same place in the model (first, middle, last) are one `variant`: they share functions and
// the layout of their memory.
//
// A task is a Func of the unit. It sees memory through four sections, whose bases the step that runs it gives:
//
//   SECTION_RANK    what the rank has once: numbers that all stages know (step, loss, the gradients' norm)
//   SECTION_CHUNK   parameters, states, inputs, outputs and summed gradients of one chunk
//   SECTION_SLOT    what one microbatch leaves in a chunk for later: one of chunk.slots alike pieces
//   SECTION_WORK    activations of the running task, the same bytes for all tasks of a rank
//
// and, with `offload`, memory of the host that belongs to the rank, which only copies touch, through two more:
//
//   SECTION_HOST    states of one chunk
//   SECTION_STASH   what the running task puts aside
//
// What one task leaves for another is an OP_buffer leaf, written by OP_assign: attr.s its name, attr.i its Section
// (RANK, CHUNK or SLOT), attr.flag: zero when the function begins (a sum over microbatches, or over chunks). A buffer's
// type may be pending: a gradient not yet reduced over `data`. A task's types have no mesh axis of stages: the layers
// of a chunk are an Axis of its own ("layer.0" for variant 0, Axis.whole says of what).
//
//   chunk    0        1        2        3                   train, 1f1b, 2 stages, 2 microbatches:
//   stage    0        1        0        1                   0: zero 0 . run f0 0 m0 slot 0 . send act m0 . run f0 0 m1
//   slot 1 ... layers   0-2      3-5      6-8      9-11                1: zero 1 . recv act m0 slot 0 . run f1 1 m0
//   slot 0 . run b1 1 m0 slot 0 ... variant  first    middle   middle   last
#pragma once
#include "ir/graph.h"

typedef enum Section {
    SECTION_RANK,
    SECTION_CHUNK,
    SECTION_SLOT,
    SECTION_WORK,
    SECTION_HOST,
    SECTION_STASH,
    SECTIONS
} Section;
static inline bool section_is_host(Section s) { return s == SECTION_HOST || s == SECTION_STASH; }
// Is what lies there each chunk's, at an offset that its variant decides?
static inline bool section_by_variant(Section s) {
    return s == SECTION_CHUNK || s == SECTION_SLOT || s == SECTION_HOST;
}

typedef struct Chunk {
    int stage, variant;
    int64_t first, layers; // [first, first + layers) of the pipelined axis; 0, 0 without one
    int64_t slots;         // microbatches in flight: pieces of SECTION_SLOT
} Chunk;

typedef struct Variant {
    bool first, last;
    int64_t layers;
    const Axis *axis; // the pipelined axis within the variant, extent `layers`; NULL without one
} Variant;

// A value that one chunk's task leaves in buffer `from_buffer` and another's finds in `to_buffer`: equal types. On one
// stage it is copied, else sent.
typedef struct Channel {
    int from, to; // chunks
    Str from_buffer, to_buffer;
} Channel;

typedef enum StepKind {
    STEP_RUN,  // func; chunk (-1: the rank's own task), microbatch, slot
    STEP_SEND, // channel, microbatch, slot of chunk `from`. Returns at once: the buffer is not to be written until
               // STEP_WAIT
    STEP_RECV, // channel, microbatch, slot of chunk `to`. Waits until the value is there
    STEP_COPY, // channel, microbatch, slot of `from`, to_slot of `to`: both chunks are on this stage
    STEP_WAIT, // channel, microbatch: until that send has been received
    STEP_ZERO  // chunk (-1: SECTION_RANK): its buffers with `flag`
} StepKind;

typedef struct Step {
    StepKind kind;
    int func;  // in unit->funcs
    int chunk; // RUN, ZERO
    int channel;
    int64_t microbatch, slot, to_slot;
} Step;

// What a function of the model does: by stage, the steps in order.
typedef struct StepList {
    Str name; // "init", "train", "eval", "predict"
    int64_t *count;
    Step **steps;
} StepList;

typedef struct Pipeline {
    int64_t microbatches;
    int nstages, nchunks, nvariants, nchannels, nlists;
    Chunk *chunks;
    Variant *variants;
    Channel *channels;
    StepList *lists;
    int *variant_of;           // by func: the variant it is for, or -1: the rank's own (its leaves are in SECTION_RANK)
    struct Schedule *schedule; // what train's list was made from; NULL without stages
} Pipeline;

// In which section a leaf lies: buffers as their attr.i says. param: CHUNK. state: CHUNK, but one of no parameter (s2
// empty) RANK. input, output: RANK when a scalar, else CHUNK.
Section section_of(const Node *leaf);
