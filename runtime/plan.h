// SPDX-License-Identifier: Apache-2.0
// plan: the contract between the compiler and the runtime: what a rank holds in its slab and what it does. Functions
// are tasks: instructions, the same on every rank; what differs between ranks is computed from the rank's mesh
// coordinates (PlanScalar). Programs ("train") are lists of steps, one a stage: which tasks a rank runs in which order,
// on which chunk and microbatch, and what it sends to other stages. Stages, chunks, slots and sections: ir/pipeline.h;
// a model without a pipeline is one stage with one chunk, its programs one step. A struct, and a text that prints and
// parses back (plan_print, plan_parse); an object file carries the text beside its kernels.
//
// The slab of a stage, every piece a multiple of PLAN_ALIGN bytes:
//   [ RANK | for each of its chunks: CHUNK, its slots of SLOT | WORK ]
//
// With `offload` a rank also has memory of its host (pinned for a GPU), which only copies reach:
//   [ for each of its chunks: HOST | STASH ]
#pragma once
#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

// PLAN_INTERFACE: TGF_ABI of include/tgf/tgf.h, which generated headers are made for.
enum { PLAN_ABI = 4, PLAN_INTERFACE = 1, PLAN_ALIGN = 64, PLAN_LOOPS = 4, PLAN_RANK = 12, PLAN_MESH = 8, PLAN_MAP_RANK = 5 };

// Every kernel generated for a CPU. buf: operand addresses; scalar: run-time integers; work: this thread's 64-byte
// aligned scratch; [begin, end): the tasks to do. Threads split [0, tasks); results do not depend on how.
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
    // Places on each rank, at coordinate * local. At least ceil(extent / ways); more where microbatches do not divide
    // it. Of the layered dimension: all.
    int64_t local;
} PlanDim;

typedef enum PlanSection {
    PLAN_RANK_OWN,
    PLAN_CHUNK,
    PLAN_SLOT,
    PLAN_WORK,
    PLAN_HOST,  // of the host: a chunk's
    PLAN_STASH, // of the host: the running function's
    PLAN_SECTIONS
} PlanSection;
static inline bool plan_is_host(PlanSection s) { return s == PLAN_HOST || s == PLAN_STASH; }
static inline bool plan_by_variant(PlanSection s) { return s == PLAN_CHUNK || s == PLAN_SLOT || s == PLAN_HOST; }
typedef enum PlanLeafKind { PLAN_PARAM, PLAN_STATE, PLAN_INPUT, PLAN_OUTPUT, PLAN_BUFFER } PlanLeafKind;

// A named thing in the slab. Parameters and states stay across calls; inputs are written before, outputs read after a
// call; buffers are what tasks leave for one another.
typedef struct PlanLeaf {
    PlanLeafKind kind;
    Str name;
    Str storage; // params: "FILE NAME [a, b*c]", see checkpoint.h; states: the parameter's name
    PlanDType dtype;
    int rank;
    PlanDim dim[PLAN_RANK];
    PlanSection section;
    int layered;     // the dimension of which each chunk holds its own layers only; -1: none
    int64_t *offset; // in the section. RANK_OWN, WORK: one. CHUNK, SLOT, HOST: by variant, -1: the variant lacks it
    int64_t bytes;   // of a chunk, row-major over local extents; of one layer when layered
    int64_t least, limit; // inputs of ids: allowed [least, limit); limit 0: anything
} PlanLeaf;

// An address: the section's base + offset + micro * microbatch + sum over enclosing loops of stride * iteration.
typedef struct PlanArg {
    PlanSection section;
    int64_t offset, micro;
    int64_t stride[PLAN_LOOPS];
    int64_t bytes; // KERNEL: how far the operand reaches from there, in any iteration; else the instruction says it
    bool reads;    // KERNEL: it is only read, so that a copy or a collective may read it at the same time
} PlanArg;

// A run-time integer: base + factor * (rank's coordinate along mesh axes `mesh`) + micro_factor * microbatch +
// first_factor * (the chunk's first layer), or the iteration of enclosing loop `loop` + first_factor * first layer.
typedef struct PlanScalar {
    enum { SCALAR_AFFINE, SCALAR_ITERATION } kind;
    int64_t base, factor, micro_factor, first_factor;
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
    COMM_RECV,
    COMM_SHIFT,
    COMM_REVERSE
} PlanCommKind;
typedef enum PlanReduce { REDUCE_SUM, REDUCE_MAX } PlanReduce;

// A tile of an operand as the bulk copy engine of a GPU reads it (cuTensorMapEncodeTiled): the kernel gets one
// 128-byte descriptor for it, made for the operand's address at that call.
typedef struct PlanMap {
    int arg;                                              // operand
    int64_t first;                                        // bytes from the operand's address
    PlanDType dtype;                                      // F32, BF16, F16
    int rank;                                             // 1 to PLAN_MAP_RANK, innermost dimension first
    int64_t extent[PLAN_MAP_RANK], stride[PLAN_MAP_RANK]; // stride: bytes; [0] is the element's own
    int box[PLAN_MAP_RANK];                               // elements of one copy, at most 256 along each
    int swizzle;                                          // bytes: 0, 32, 64, 128
} PlanMap;

// A product that a library of the GPU's maker does (cuBLASLt) instead of a generated kernel:
// C[batch, m, n] = sum over k of A[batch, m, k] * B[batch, k, n], + C when accumulating. Sums in f32, rounded once.
// An operand [batch, row, column]: strides in elements, one of row's and column's is 1. Extents are the product's.
typedef struct PlanGemmOperand {
    int arg;       // operand of the call
    int align;     // bytes that its address is a multiple of, at least the element's
    int64_t first; // elements from the operand's address
    int64_t batch, row, column;
} PlanGemmOperand;

typedef struct PlanGemm {
    int64_t batch, m, n, k;
    PlanDType type, out; // of A and B; of C: the same, or F32
    PlanGemmOperand a, b, c;
    bool tf32; // F32 operands are rounded to tf32
    bool accumulate;
} PlanGemm;

typedef struct PlanKernel {
    Str symbol;
    int64_t tasks, work_bytes; // CPU; work_bytes: scratch per thread. GPU: tasks blocks make the grid
    double flops, bytes;       // of one call
    int threads;               // GPU: of a block; 0: a CPU's kernel
    int64_t shared_bytes;      // GPU: dynamic shared memory of a block
    int nmaps;                 // GPU
    PlanMap *maps;
    const PlanGemm *gemm; // GPU: the library does it, and the image has no function for it; NULL: it has
} PlanKernel;

typedef struct PlanInstr {
    enum { INSTR_KERNEL, INSTR_COMM, INSTR_COPY, INSTR_ZERO, INSTR_LOOP, INSTR_END, INSTR_WAIT } kind;
    int kernel;          // KERNEL: number in plan->kernels
    int nargs, nscalars; // KERNEL
    PlanArg *args;       // KERNEL: operands; COMM: send, receive; COPY: to, from; ZERO: to
    PlanScalar *scalars; // KERNEL
    PlanCommKind comm;   // COMM
    PlanReduce reduce;
    PlanDType dtype;
    uint32_t mesh; // COMM: the group is the ranks that differ only along these mesh axes
    // COMM: only begun here, on the stream of collectives, which goes through them in the order they were begun and
    // sees what was computed before; a WAIT that names it stands before anything depends on its end. Not begun: done
    // when the instruction is.
    // COPY between the host's memory and the slab: the same, on the stream of copies of its direction.
    bool start;
    bool ahead;  // COPY: for the next iteration of the innermost loop, whose address it has; the last one does nothing
    bool joined; // COMM, started: one call with the COMM in front of it, started too and over the same mesh: a bucket
    int of;      // WAIT: number in plan->instrs of a started COMM or COPY; every time it was begun so far has ended
                 // afterwards
    // COMM: the local send value as [outer, middle, inner] elements. all_reduce, broadcast, send, recv, shift, reverse:
    // outer*middle*inner elements. all_gather concatenates along middle: receive is [outer, ways*middle, inner];
    // reduce_scatter the reverse: each receives m = ceil(middle / ways) of middle, zero beyond it; all_to_all: places
    // [j * m, j * m + m) of middle go to member j, and receive is [ways][outer, m, inner] (member-major), zero beyond
    // middle.
    int64_t outer, middle, inner;
    // all_to_all that is counted: inner is [pieces, rows, row], and of the rows of each (outer, middle, piece) only the
    // first ones hold something: as many as args[2] says, i32[outer, middle, pieces], at most `rows`. Only they travel;
    // the others are zero where they are received. args[3] says the same of what is received.
    int64_t rows, row; // 0: not counted
    int64_t peer;      // SEND, RECV, SHIFT: the peer's coordinate relative to this rank's, along mesh
    int64_t bytes;     // COPY, ZERO
    int64_t count;     // LOOP: iterations
    bool reverse;      // LOOP: from count-1 down to 0
    int end;           // LOOP: index of its END
    Str op;            // the IR op and value it comes from, for messages and traces
    Str file;          // .tgf position, or NULL
    int line;
} PlanInstr;

typedef struct PlanFunc { // a task
    Str name;             // "forward.1"; without a pipeline "init" "train" "eval" "predict"
    int variant;          // of the chunks it is for; -1: the rank's own
    int first, count;     // instructions
    int64_t work_bytes;   // it needs of PLAN_WORK
    int64_t stash_bytes;  // it needs of PLAN_STASH
} PlanFunc;

typedef struct PlanVariant {
    int64_t layers, chunk_bytes, slot_bytes, host_bytes;
    int64_t zero_offset, zero_bytes; // of PLAN_CHUNK: what PLAN_STEP_ZERO clears
} PlanVariant;

typedef struct PlanChunk {
    int stage, variant;
    int64_t first, slots, base, slot_base, host_base; // holds layers [first, first + variant's layers)
} PlanChunk;

typedef struct PlanStage {
    int64_t work_base, slab_bytes;
    int64_t stash_base, host_bytes; // of the host's memory
} PlanStage;

typedef struct PlanChannel { // a buffer of one chunk becomes one of another: equal bytes
    int from, to;            // chunks
    int from_leaf, to_leaf;
} PlanChannel;

typedef enum PlanStepKind { // as StepKind of ir/pipeline.h
    PLAN_STEP_RUN,
    PLAN_STEP_SEND,
    PLAN_STEP_RECV,
    PLAN_STEP_COPY,
    PLAN_STEP_WAIT, // every send is waited for before the list ends
    PLAN_STEP_ZERO
} PlanStepKind;

typedef struct PlanStep { // small: there can be a million
    uint8_t kind;
    int16_t chunk;      // RUN, ZERO; -1: the rank's own
    int32_t what;       // RUN: function; SEND, RECV, COPY, WAIT: channel
    int32_t microbatch; // all but ZERO
    int32_t slot;       // RUN; SEND, COPY: of the sending chunk; RECV: of the receiving one
    int32_t to_slot;    // COPY: of the receiving chunk
} PlanStep;

typedef struct PlanProgram {
    Str name; // "init" "train" "eval" "predict"
    int noutputs, ninputs;
    int *outputs, *inputs; // leaf numbers it writes or reads
    int64_t *count;        // by stage: steps
    PlanStep **steps;
} PlanProgram;

typedef struct Plan {
    int abi;
    Str model, strategy;
    Str target;    // what the kernels are for: NULL: a CPU; "cuda:sm_90a"
    uint64_t hash; // of source text, strategy, options: checkpoints do not depend on it, objects state it
    int nmesh;
    struct {
        Str name;
        int64_t extent;
    } mesh[PLAN_MESH];
    uint32_t stage_mesh; // a rank's coordinate along it is its stage
    int64_t microbatches;
    int nstages, nchunks, nvariants, nchannels;
    PlanStage *stages;
    PlanChunk *chunks;
    PlanVariant *variants;
    PlanChannel *channels;
    int64_t rank_bytes, rank_zero_offset, rank_zero_bytes;
    int nleaves, nkernels, ninstrs, nfuncs, nprograms;
    PlanLeaf *leaves;
    PlanKernel *kernels;
    PlanInstr *instrs;
    PlanFunc *funcs;
    PlanProgram *programs;
    // The largest stage's slab and what it is made of.
    int64_t slab_bytes, param_bytes, state_bytes, io_bytes, buffer_bytes, activation_bytes;
    int64_t host_bytes; // the most that a stage has of its host
} Plan;

void plan_print(const Plan *p, FILE *out);
Status plan_parse(Arena *a, StrTable *strs, const char *text, size_t size, Plan **out_plan);
// Everything the executor relies on: offsets inside the slab, loops closed, mesh and kernel numbers in range, sizes not
// overflowing.
Status plan_check(const Plan *p);
// The part of it that looks at the order of what runs at the same time (plan_order.c): a function waits for each
// collective and copy it has begun before it ends, and before anything else touches what the collective writes or
// writes what it reads, in whatever iteration. Needs everything else to be in order.
Status plan_check_order(const Plan *p, const PlanFunc *f);
typedef struct PlanNeed {
    int at, of; // a wait for `of` in front of instruction `at` (the function's end: first + count)
} PlanNeed;
// The waits that the function lacks, as late as they can be, each once; at most `most` of them are written. Returns how
// many; -1: no memory.
int plan_needs(const Plan *p, const PlanFunc *f, PlanNeed *out, int most);
void plan_comm_bytes(const Plan *p, const PlanInstr *in, int64_t *out_send, int64_t *out_receive); // as it was checked
const PlanProgram *plan_program(const Plan *p, const char *name);                                  // NULL: absent
bool plan_runs(const Plan *p, const PlanProgram *program, int instr); // is it of a task that the program runs?
int plan_leaf(const Plan *p, PlanLeafKind kind, const char *name);    // -1: absent
int64_t plan_ranks(const Plan *p);
int64_t plan_coord(const Plan *p, uint32_t mesh, int64_t rank);
int64_t plan_ways(const Plan *p, uint32_t mesh);
int plan_dtype_bytes(PlanDType t);
int plan_stage(const Plan *p, int64_t rank);
int64_t plan_leaf_bytes(const Plan *p, const PlanLeaf *l, int variant); // in one chunk
typedef struct PlanPlace { // of a leaf on the ranks of one stage
    int64_t bytes;                // 0: it is on other stages
    int64_t local[PLAN_RANK];     // places along each dimension
    uint32_t split[PLAN_RANK];    // mesh axes; of the layered dimension: the stages'
    uint32_t replicated;          // mesh axes along which ranks hold equal copies
} PlanPlace;
void plan_place(const Plan *p, const PlanLeaf *l, int stage, PlanPlace *out_place);
// The highest byte of the slab, rounded up as it is laid out, that the stage's leaves and steps touch: what the
// instructions say, not what the layout promises.
int64_t plan_used_bytes(const Plan *p, int stage);
const char *plan_step_name(PlanStepKind kind); // "run", "send"
bool plan_gemm_fits(const PlanGemm *g);        // strides and types that the library has
// Bytes a communicator of contiguous parts (NCCL) needs beside the slab to put the parts of the plan's collectives in
// order: one collective at a time uses them.
int64_t plan_staging_bytes(const Plan *p);

// The kernels of a GPU, all in one image. Each is a function named by PlanKernel.symbol with parameters: one pointer
// for each operand, one int64 for each scalar, one 128-byte descriptor for each map.
typedef struct PlanCuda {
    const char *arch;                 // "sm_90a": what cubin is for
    const char *cubin, *ptx, *source; // ptx: of the least feature set, for newer chips; source: CUDA C, for others
    size_t cubin_bytes, ptx_bytes, source_bytes; // source: without a terminating zero
    const char *options;                         // the options the source is compiled with, apart from the arch
} PlanCuda;

// What an object file exports as `tgf_model_NAME`, and what the JIT makes in memory.
typedef struct PlanModule {
    int abi;
    const char *plan; // text, plan_bytes long
    size_t plan_bytes;
    PlanKernelFn *const *kernels; // in the order of plan->kernels; NULL for a GPU
    int nkernels;
    const PlanCuda *cuda; // NULL for a CPU
} PlanModule;

// The module's plan, in an arena of its own.
Status plan_read(const PlanModule *m, Arena **out_arena, Plan **out_plan);
