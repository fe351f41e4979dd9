// SPDX-License-Identifier: Apache-2.0
// plan: the contract between the compiler and the runtime: what a rank holds in its slab and which steps it does, the
// same list on every rank; what differs between ranks is computed from the rank's mesh coordinates (PlanScalar). A
// struct, and a text that prints and parses back (plan_print, plan_parse); an object file carries the text beside its
// kernels.
#pragma once
#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { PLAN_ABI = 1, PLAN_LOOPS = 4, PLAN_RANK = 12, PLAN_MESH = 8 };

// Every generated kernel. buf: operand addresses; scalar: run-time integers; work: this thread's 64-byte aligned
// scratch; [begin, end): the tasks to do. Threads split [0, tasks); results do not depend on how.
typedef void PlanKernelFn(char *const *buf, const int64_t *scalar, char *work, int64_t begin, int64_t end);

typedef enum PlanDType {
    PLAN_BOOL,
    PLAN_I32,
    PLAN_F32,
    PLAN_F64,
    PLAN_BF16,
    PLAN_F16
} PlanDType; // the order of ir/dtype.h

typedef struct PlanDim {
    Str axis;
    int64_t extent; // global
    uint32_t split; // mesh axes
    int64_t local;  // places on each rank: ceil(extent / ways)
} PlanDim;

typedef enum PlanLeafKind { PLAN_PARAM, PLAN_STATE, PLAN_INPUT, PLAN_OUTPUT } PlanLeafKind;

// A named thing in the slab. Parameters and states stay across calls; inputs are written before, outputs read after a
// call.
typedef struct PlanLeaf {
    PlanLeafKind kind;
    Str name;
    Str storage; // params: "FILE NAME [a, b*c]", see checkpoint.h; states: the parameter's name
    PlanDType dtype;
    int rank;
    PlanDim dim[PLAN_RANK];
    int64_t offset, bytes; // in the slab, row-major over local extents
    int64_t least, limit;  // inputs of ids: allowed [least, limit); limit 0: anything
} PlanLeaf;

// An address in the slab: offset + sum over enclosing loops of stride * iteration.
typedef struct PlanArg {
    int64_t offset;
    int64_t stride[PLAN_LOOPS];
} PlanArg;

// A run-time integer: base + factor * (rank's coordinate along mesh axes `mesh`), or the iteration of enclosing loop
// `loop`.
typedef struct PlanScalar {
    enum { SCALAR_AFFINE, SCALAR_ITERATION } kind;
    int64_t base, factor;
    uint32_t mesh;
    int loop;
} PlanScalar;

typedef enum PlanCommKind {
    COMM_ALL_REDUCE,
    COMM_ALL_GATHER,
    COMM_REDUCE_SCATTER,
    COMM_ALL_TO_ALL,
    COMM_BROADCAST,
    COMM_SEND,
    COMM_RECV
} PlanCommKind;
typedef enum PlanReduce { REDUCE_SUM, REDUCE_MAX } PlanReduce;

typedef struct PlanKernel {
    Str symbol;
    int64_t tasks, work_bytes; // work_bytes: scratch per thread
    double flops, bytes;       // of one call
} PlanKernel;

typedef struct PlanInstr {
    enum { INSTR_KERNEL, INSTR_COMM, INSTR_COPY, INSTR_ZERO, INSTR_LOOP, INSTR_END } kind;
    int kernel;          // KERNEL: number in plan->kernels
    int nargs, nscalars; // KERNEL
    PlanArg *args;       // KERNEL: operands; COMM: send, receive; COPY: to, from; ZERO: to
    PlanScalar *scalars; // KERNEL
    PlanCommKind comm;   // COMM
    PlanReduce reduce;
    PlanDType dtype;
    uint32_t mesh; // COMM: the group is the ranks that differ only along these mesh axes
    // COMM: the local send value as [outer, middle, inner] elements. all_reduce, broadcast, send, recv:
    // outer*middle*inner elements. all_gather concatenates along middle: receive is [outer, ways*middle, inner];
    // reduce_scatter the reverse: each receives m = ceil(middle / ways) of middle, zero beyond it; all_to_all: places
    // [j * m, j * m + m) of middle go to member j, and receive is [ways][outer, m, inner] (member-major), zero beyond
    // middle.
    int64_t outer, middle, inner;
    int64_t peer;  // SEND, RECV: the peer's coordinate relative to this rank's, along mesh
    int64_t bytes; // COPY, ZERO
    int64_t count; // LOOP: iterations
    bool reverse;  // LOOP: from count-1 down to 0
    int end;       // LOOP: index of its END
    Str op;        // the IR op and value it comes from, for messages and traces
    Str file;      // .tgf position, or NULL
    int line;
} PlanInstr;

typedef struct PlanFunc {
    Str name;         // "init" "train" "eval" "predict"
    int first, count; // instructions
    int noutputs, ninputs;
    int *outputs, *inputs; // leaf numbers it writes or reads
} PlanFunc;

typedef struct Plan {
    int abi;
    Str model, strategy;
    uint64_t hash; // of source text, strategy, options: checkpoints do not depend on it, objects state it
    int nmesh;
    struct {
        Str name;
        int64_t extent;
    } mesh[PLAN_MESH];
    int nleaves, nkernels, ninstrs, nfuncs;
    PlanLeaf *leaves;
    PlanKernel *kernels;
    PlanInstr *instrs;
    PlanFunc *funcs;
    int64_t slab_bytes, param_bytes, state_bytes, io_bytes, activation_bytes;
} Plan;

void plan_print(const Plan *p, FILE *out);
Status plan_parse(Arena *a, StrTable *strs, const char *text, size_t size, Plan **out_plan);
// Everything the executor relies on: offsets inside the slab, loops closed, mesh and kernel numbers in range, sizes not
// overflowing.
Status plan_check(const Plan *p);
const PlanFunc *plan_func(const Plan *p, const char *name);        // NULL: absent
int plan_leaf(const Plan *p, PlanLeafKind kind, const char *name); // -1: absent
int64_t plan_ranks(const Plan *p);
int64_t plan_coord(const Plan *p, uint32_t mesh, int64_t rank);
int64_t plan_ways(const Plan *p, uint32_t mesh);
int plan_dtype_bytes(PlanDType t);

// What an object file exports as `tgf_model_NAME`, and what the JIT makes in memory.
typedef struct PlanModule {
    int abi;
    const char *plan; // text, plan_bytes long
    size_t plan_bytes;
    PlanKernelFn *const *kernels; // in the order of plan->kernels
    int nkernels;
} PlanModule;
