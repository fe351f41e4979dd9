// SPDX-License-Identifier: Apache-2.0
// strategy: how a model is laid out, as the author wrote it and the frontend checked it. One Split per (axis, mesh
// axes) pair.
#pragma once
#include "ir/axis.h"
#include "ir/dtype.h"
#include "ir/mesh.h"
#include "ir/schedule.h"

// How attention goes over a split sequence (context parallelism). `gather`: each rank gathers all keys and values.
// `heads`: all places of a part of the heads on each rank (passes/heads.c). `ring`: blocks of keys and values go round
// (passes/ring.c); `zigzag`: so that causal attention is the same work on each rank.
typedef enum AttentionKind { ATTENTION_GATHER, ATTENTION_RING, ATTENTION_ZIGZAG, ATTENTION_HEADS } AttentionKind;
static inline const char *attention_name(AttentionKind kind) {
    static const char *const names[] = {"gather", "ring", "zigzag", "heads"};
    return names[kind];
}

typedef struct Split {
    const Axis *axis;
    MeshSet over;
    Loc loc;                 // of the axis name in the split line
    Loc over_loc;            // of the mesh axis
    bool between;            // `between blocks`: only in values that nothing else splits over these mesh axes (sequence
                             // parallelism)
    AttentionKind attention; // the keys' axis, split like the queries', has the same
    bool counted;            // `exchange = counted`: of slots that travel between ranks, only those in use
} Split;

// `shard optimizer | gradients | parameters over data`: ZeRO stages 1, 2, 3 (Rajbhandari et al., SC 2020). Each holds
// the one before.
typedef enum ShardLevel { SHARD_NOTHING, SHARD_OPTIMIZER, SHARD_GRADIENTS, SHARD_PARAMETERS } ShardLevel;
static inline const char *shard_name(ShardLevel level) {
    static const char *const names[] = {"nothing", "optimizer", "gradients", "parameters"};
    return names[level];
}

// `offload optimizer, activations to host`: what lies in the host's memory instead of the slab: the optimizer's states;
// what the forward half leaves in each iteration of a repeat for the backward half.
typedef unsigned OffloadSet;
enum { OFFLOAD_OPTIMIZER = 1, OFFLOAD_ACTIVATIONS = 2, OFFLOAD_END = 4 };
static inline const char *offload_name(OffloadSet one) {
    return one == OFFLOAD_OPTIMIZER ? "optimizer" : "activations";
}

// `recompute block` keeps only what enters each iteration of a repeat; `recompute attend, gelu` makes results of these
// ops, or of what these blocks compute, again in the backward half; `recompute auto` chooses what to keep so that the
// peak fits `memory`.
typedef enum RecomputeKind { RECOMPUTE_NOTHING, RECOMPUTE_BLOCK, RECOMPUTE_NAMES, RECOMPUTE_AUTO } RecomputeKind;

enum { SCALE_MAX = 1 << 24 };

struct Strategy {
    Str name;
    Mesh mesh;
    int nsplits;
    Split *splits;

    ShardLevel shard;
    MeshSet shard_over;
    Loc shard_loc;

    OffloadSet offload;
    Loc offload_loc;

    RecomputeKind recompute;
    int nrecompute; // RECOMPUTE_NAMES: names of ops or blocks
    Str *recompute_names;
    Loc recompute_loc;

    int64_t memory; // bytes a rank may use; 0: any
    Loc memory_loc;

    bool has_precision;            // without: everything in f32
    DType compute, master, reduce; // `precision bf16 master = f32, reduce = f32`
    bool tf32;                     // `dot = tf32`: f32 operands of products are rounded to tf32; GPUs only
    int64_t scale;                 // f16: what the loss is multiplied by at first, a power of two up to SCALE_MAX
    Loc precision_loc;

    int64_t microbatches; // parts a step's batch is done in, one after the other; 0 or 1: all at once. A pipeline for
                          // which none are asked for has as many as stages
    Loc microbatches_loc;

    // `split layer over pipe  schedule = 1f1b, microbatches = 8, chunks = 1, stages = 7, 8, 8, 7`
    const Axis *pipe_axis; // the axis of repeat that is cut into stages, or NULL: no pipeline
    int pipe;              // the mesh axis
    ScheduleName schedule;
    Str schedule_file; // PIPE_FILE: path as written
    int chunks;        // pieces of the model a stage has: 1; interleaved: v; zbv: 2; 0: as the schedule's file says
    int nstages;       // `stages`: layers of each chunk in the model's order, or 0: as even as can be
    int64_t *stages;
    Loc pipe_loc;

    Loc loc;
};
