// SPDX-License-Identifier: Apache-2.0
// cuda_nest: what the files that render loop nests as CUDA C share.
//
// A nest is cut into sections, each a chain of loops whose iterations are independent (the points) around a body. A
// section is mapped onto threads in one of three ways (NestWay) and is a device function of its own where there are
// several of them or where neighbours are computed together.
//
// Together: V neighbours along one variable, loaded and stored as one. The function is a template over V and has the
// instance 1 besides, for operands that do not lie aligned. A value that differs between neighbours is an array of V.
#pragma once
#include "codegen/cuda.h"

enum { NEST_VARS = 16, NEST_SECTIONS = 64 };

typedef struct NestVar {
    int var;
    int64_t extent;
    int chunk_var; // as in KStmt
    int64_t total;
} NestVar;

typedef struct NestSection {
    NestVar var[NEST_VARS]; // outermost first
    int nvars;
    const KBody *body;
    int64_t points;
} NestSection;

typedef enum NestWay {
    NEST_THREAD,  // a thread a point, neighbouring threads at neighbouring points
    NEST_ROW,     // `group` neighbouring threads a point, which share the loops of its body
    NEST_COLUMN,  // the same, but neighbouring threads are at neighbouring points: `across` of them, then the next row
    NEST_STRIP,   // a block `across` neighbouring points, several a thread, so that what is the same for all of them,
                  // being made of the other variables, is computed once a thread
    NEST_SCATTER, // cuda_nest_scatter.c
    NEST_SCAN,    // cuda_nest_scan.c
} NestWay;

typedef struct NestMap {
    NestWay way;
    int group;  // threads of a point
    int across; // points of a block
    int width;  // V
    int threads;
    int64_t parts; // SCATTER: of the rows
    int64_t blocks, shared_bytes;
} NestMap;

typedef struct NestName {
    const char *text;
    bool is_array, is_byte; // is_byte: a bool as memory has it
} NestName;

typedef struct NestAcc {
    bool is_final, is_array, is_shared; // is_shared: threads of the point have each a part
    KReduce reduce;
    DType type;
} NestAcc;

typedef struct NestEmit {
    Arena *arena;
    FILE *out;
    const Kernel *k;
    int depth, names;
    int64_t *extent;  // by variable
    const char **var; // by variable: its name while bound
    int width;        // V, of the kernel at hand
    int lane_var;     // the variable whose neighbours are computed together, -1: none
    bool in_lanes;    // within the loop over them
    int8_t *varies;   // by expression: between neighbours; -1: not yet known
    int *uses;        // by expression
    uint64_t *reads;  // by expression: buffers that it depends on (bit 63: some buffer beyond)
    NestName *memo;   // by expression
    Vec(int) log;     // expressions given a name, in order
    NestAcc *acc;
    const NestMap *map;
    bool is_split;     // what is being written is one thread's share
    bool is_unsettled; // some thread has touched memory since the point's threads met
    const char *live;  // a condition for stores, NULL: none
    uint64_t vector_bufs;
    Status status;
} NestEmit;

static inline uint64_t nest_bit(int buf) { return UINT64_C(1) << (buf < 63 ? buf : 63); }

// cuda_nest_map.c
void nest_map(const CudaTarget *target, const Kernel *k, const NestSection *s, int threads_most, NestMap *out_map);
// The loop and those that are all of its body and one another's, where their iterations may run in any order; 0: they
// may not. At most 8.
int nest_free_chain(const KStmt *loop, const KStmt **out_loops);
bool nest_is_vector(const KIndex *x, int lane_var, int64_t width); // addresses neighbours by one aligned access?
bool nest_is_plain(const KBody *body);                             // stores and updates only
bool nest_steps(const KStmt *loop, const NestMap *map);            // does a ROW's loop take V places at once?

// cuda_nest_scatter.c, cuda_nest_scan.c: false where the section is no such thing.
bool nest_map_scatter(const CudaTarget *target, const Kernel *k, const NestSection *s, NestMap *out_map);
void nest_scatter_points(NestEmit *e, const NestSection *s, const char *block);
bool nest_map_scan(const CudaTarget *target, const NestSection *s, NestMap *out_map);
void nest_scan_points(NestEmit *e, const NestSection *s, const char *block);

// cuda_nest.c
void nest_decode(NestEmit *e, const NestVar *vars, int count,
                 const char *point); // binds the vars of point's coordinates

// cuda_nest_body.c, cuda_nest_value.c
void nest_emit_start(NestEmit *e, Arena *arena, FILE *out, const Kernel *k);
void nest_line(NestEmit *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
void nest_open(NestEmit *e, const char *format, ...) __attribute__((format(printf, 2, 3))); // with a brace
void nest_close(NestEmit *e);
const char *nest_name(NestEmit *e, const char *stem);
const char *nest_value(NestEmit *e, const KExpr *x); // as an operand; statements it needs are written in front
const char *nest_address(NestEmit *e, int buf, const KIndex *x);
const char *nest_type(DType t, bool in_memory);
void nest_body(NestEmit *e, const KBody *body);
void nest_hoist(NestEmit *e, const KBody *body);          // makes what can be made in front of it
uint64_t nest_bufs(const NestEmit *e, const KBody *body); // that it reads or writes
// Forgets all names; those given since the log was `mark` long.
void nest_forget(NestEmit *e);
void nest_undo(NestEmit *e, int mark);
