// SPDX-License-Identifier: Apache-2.0
// sim_world: devices whose work is a graph of ops. Submitting runs nothing; an op may run once all it depends on has
// ended; somebody who waits runs ops of that device until what he waits for has ended, picking at random. The driver's
// stand-in (sim_driver.c, sim_stream.c) turns streams, events and graphs into ops, the collectives' (sim_nccl.c) adds
// ops that end together on several devices.
//
// Races: every op has a place (lane, stamp) and knows for each lane up to which stamp ops are ordered before it; memory
// knows which ops touched it last (sim_memory.c).
#pragma once
#include "sim_block.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIM_DEVICES = 64, SIM_LANES = 128, SIM_REPORT = 1000, SIM_LABEL = 100 };
enum { // CUresult
    SIM_OK = 0,
    SIM_INVALID_VALUE = 1,
    SIM_OUT_OF_MEMORY = 2,
    SIM_NOT_INITIALIZED = 3,
    SIM_NO_DEVICE = 100,
    SIM_INVALID_DEVICE = 101,
    SIM_INVALID_IMAGE = 200,
    SIM_INVALID_CONTEXT = 201,
    SIM_NO_BINARY = 209,
    SIM_INVALID_PTX = 218,
    SIM_INVALID_HANDLE = 400,
    SIM_NOT_FOUND = 500,
    SIM_NOT_READY = 600,
    SIM_OUT_OF_RESOURCES = 701,
    SIM_FAULT = 710, // CUDA_ERROR_ASSERT: what the simulation reports
    SIM_NOT_SUPPORTED = 801,
    SIM_CAPTURE_UNSUPPORTED = 900,
    SIM_CAPTURE_INVALIDATED = 901,
    SIM_CAPTURE_MERGE = 902,
    SIM_CAPTURE_UNMATCHED = 903,
    SIM_CAPTURE_UNJOINED = 904,
    SIM_CAPTURE_ISOLATION = 905,
    SIM_CAPTURE_IMPLICIT = 906,
    SIM_CAPTURED_EVENT = 907,
    SIM_CAPTURE_WRONG_THREAD = 908,
};

typedef struct Op Op;
typedef struct Context Context;

// What several devices do together. All are called with the world locked.
typedef struct External {
    void (*begin)(Op *op); // submitted: takes its place in the order of its kind
    bool (*ready)(Op *op); // op's dependencies have ended: can it be run now?
    void (*run)(Op *op);   // ends it and all that end with it (op_finish)
    void (*fail)(Op *op, const char *why);
    void (*describe)(Op *op, char *out, size_t size);
    int (*missing)(Op *op, Context **out, int most); // devices that it waits for, each once
    void (*release)(void *data);                     // of the work
    void (*forget)(Op *op);                          // its device is reset
} External;

typedef struct Work { // what an op does; shared by all launches of a graph; never changed
    enum { WORK_NOTHING, WORK_COPY, WORK_SET, WORK_KERNEL, WORK_EXTERNAL } kind;
    int refs;
    char label[SIM_LABEL];
    char *to, *from; // COPY, SET: rows of `bytes` bytes
    size_t to_pitch, from_pitch, bytes, rows;
    uint32_t value; // SET: of `unit` bytes
    int unit;
    char *own; // COPY: what `from` held when it was submitted
    const SimKernel *kernel;
    void **params;
    unsigned grid[3], block[3];
    size_t shared_bytes;
    const External *external;
    void *data;
} Work;

struct Op {
    Context *context;
    Work *work;
    int lane, stream; // stream: number, for messages
    uint32_t stamp;
    uint32_t after[SIM_LANES]; // by lane: ops up to this stamp are ordered before
    int waits_for;             // dependencies that have not ended
    int nnext, next_cap;
    Op **next; // ops that wait for this one
    int refs;
    bool done, submitted, failed; // failed: an external that never ends
    void *state;                  // of an external; freed with the op
    double time;                  // seconds, when it ended
};

typedef struct Place {
    uint32_t stamp;
    char label[SIM_LABEL + 24];
} Place;
enum { SIM_PLACES = 256 };

typedef struct Lane {
    bool used;
    uint32_t stamp;
    Place *places; // the last SIM_PLACES ops
} Lane;

typedef struct Allocation Allocation;
typedef struct Stream Stream;

struct Context {
    int device, retained;
    bool made;
    int error; // sticky
    uint64_t random;
    Lane lane[SIM_LANES];
    uint32_t host[SIM_LANES]; // what the host has seen end
    Op **ready;
    int nready, ready_cap;
    int pending; // ops submitted and not ended
    bool running;
    int waiters;
    double polled;           // when somebody asked last without anything submitted since; 0: never
    Allocation **allocation; // by address
    int nallocations, allocations_cap, last_allocation;
    size_t used;
    Stream *legacy, *streams;
    int nstreams; // ever made
};

// ---- the world
void world_lock(void);
void world_unlock(void);
Context *world_device(int device);
int world_devices(void);
int world_number(const char *name, int otherwise); // of the environment
double world_now(void);
// Prints it and keeps it as what cuGetErrorString(SIM_FAULT) says.
void world_report(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *world_last_report(void);

// ---- ops; the world is locked
Work *work_make(int kind, const char *label);
void work_release(Work *w);
Op *op_make(Context *c, Work *work, int lane, int stream); // takes a reference to the work
void op_depend(Op *op, Op *on, bool ordered);              // not ordered: waits, but races are not excused by it
void op_submit(Op *op);
void op_finish(Op *op);
void op_release(Op *op); // NULL is fine
static inline Op *op_keep(Op *op) {
    if (op) op->refs++;
    return op;
}
void context_saw(Context *c, const Op *op); // the host knows that it has ended
int context_lane(Context *c);               // -1: none left
void context_settle(Context *c);            // until nobody runs an op of it
void context_reset(Context *c);
void context_fault(Context *c, const char *why);
// Runs ops until `ended` has (all, if NULL) or the context has an error, which is returned.
int context_wait(Context *c, const Op *ended);
// Runs up to `most` ops if any can.
void context_advance(Context *c, int most);
// Somebody asks without waiting: runs none, one or two ops.
void context_poll(Context *c);
const char *lane_label(Context *c, int lane, uint32_t stamp);

// ---- memory
struct Allocation {
    uintptr_t at;
    size_t bytes;
    bool host;
    Context *context;
    struct Granule *shadow;
};
char *memory_make(Context *c, size_t bytes, bool host); // NULL: no memory
bool memory_free(Context *c, uintptr_t at, bool host);
const Allocation *memory_find(const Context *c, uintptr_t at); // NULL: none holds this address
// Host memory made by any context.
bool memory_is_pinned(uintptr_t at, size_t bytes);
// The op reads or writes [at, at + bytes): of its context, and in order.
bool memory_touch(Op *op, uintptr_t at, size_t bytes, bool write, char *out_why, size_t size);

// ---- streams, for the collectives
bool stream_is_capturing(Stream *s);
Context *stream_context(Stream *s);
int stream_number(Stream *s);
// Puts the work at the stream's end, or into the graph that is captured from it.
int stream_submit(Stream *s, Work *work, Op **out_op);
