// SPDX-License-Identifier: Apache-2.0
// world: the processes of one run and what they say to each other. One vtable: TCP (world_tcp.c), MPI (mpi/, a library
// of its own). Memory of the host only. One thread uses a World at a time.
//
// Two lanes between any two processes, each in order, apart from each other:
// - notes: at most WORLD_NOTE bytes, sent without waiting, copied; the receiver's listener is called with each as it
//   comes, whatever else is being waited for;
// - transfers: bytes between two buffers. The n-th that one process sends to another meets the n-th that the other
//   receives from it; both say the same size. Who receives knows from a note what comes.
// Nothing moves but inside a call: whoever waits calls progress until what it waits for is there.
//
// When a process ends or fails, all others' calls fail with a message that names its rank, at most a few seconds later;
// from then on every call fails with the same message and no buffer is touched any more.
#pragma once
#include "base/status.h"
#include <stdbool.h>
#include <stdint.h>

enum { WORLD_NOTE = 8192, WORLD_HEAD = 8, WORLD_CHANNELS = 16, WORLD_RANKS = 4096 };

typedef struct World World;

typedef struct WorldTransfer { // the caller's until done
    int peer;                  // another process
    bool sends;
    void *data; // sent: only read
    int64_t bytes;
    bool done;
    struct WorldTransfer *next; // the world's
    int64_t moved;
    void *request;
} WorldTransfer;

// May send notes and begin transfers; must not call progress. note: aligned for int64_t, valid during the call.
typedef void WorldNoteFn(void *context, int from, const void *note, int bytes);

typedef struct WorldVtable {
    const char *name;
    void (*note)(World *w, int to, const void *data, int bytes); // lost once the world has failed
    void (*begin)(World *w, WorldTransfer *t);
    // Of a receive whose sender will not begin it, and those begun after it neither; done afterwards.
    void (*cancel)(World *w, WorldTransfer *t);
    // Moves what can be moved; sleeps up to wait_ms when that is nothing. out_moved: whether anything was.
    Status (*progress)(World *w, int64_t wait_ms, bool *out_moved);
    // The notes sent so far reach the others if they live. clean: all others end too; else they may still be at it.
    void (*free)(World *w, bool clean);
} WorldVtable;

// What every kind of world has; the functions below are written on it.
struct World {
    const WorldVtable *v;
    int rank, size;
    int local;          // number among the processes of this host: which GPU is its own
    int locals;         // processes of this host, or 0: unknown
    int64_t timeout_ms; // of a wait in the functions below and in communicators that say none; 0: none
    Status why;         // once failed
    struct {
        int channel; // 0: free
        WorldNoteFn *fn;
        void *context;
    } listener[WORLD_CHANNELS];
    int channels;             // handed out so far
    struct WorldParts *parts; // world.c's
};

// ---- what all processes call alike, in the same order --------------------------------------------------------------
Status world_barrier(World *w);
Status world_broadcast(World *w, int root, void *data, int64_t bytes);
// bytes_of: by rank; rank r's part begins in out_all where those before it end. own may lie at its place in out_all.
// root -1: everyone gets all. Others' out_all may be NULL.
Status world_gather(World *w, int root, const void *own, const int64_t *bytes_of, void *out_all);
// The same status for all: the first failure by rank, with the rank's number before its message, or success.
Status world_agree(World *w, Status own);
// Whether the last thing done together was to agree on a failure: then nobody needs world_abort, whose note could
// overtake the failure itself.
bool world_all_know(const World *w);
// Whether any process says so; the same answer for all.
Status world_any(World *w, bool own, bool *out_any);
// A channel for notes of one user, the same number in every process, never used again. From when it has returned, notes
// may be sent. world_close is for each process alone: what still arrives is dropped.
Status world_open(World *w, WorldNoteFn *fn, void *context, int *out_channel);
void world_close(World *w, int channel);

// ---- alone ----------------------------------------------------------------------------------------------------------
void world_note(World *w, int channel, int to, const void *data, int bytes); // bytes <= WORLD_NOTE - WORLD_HEAD
Status world_progress(World *w, int64_t wait_ms, bool *out_moved);           // v->progress; out_moved may be NULL
// For waits outside of this file: STATUS_COMM when the process has left in order and so will not answer.
Status world_expect(World *w, int rank);
bool world_has_left(const World *w, int rank);
// Tells all others, whose calls fail with `rank N: why` from now on, and fails this process's calls too.
void world_abort(World *w, const Status *why);
// NULL is fine. Waits a moment for the others where nothing has failed, so that nobody takes the end for a failure.
void world_free(World *w);

// ---- for the kinds of world -----------------------------------------------------------------------------------------
Status world_init(World *w, const WorldVtable *v, int rank, int size, int local, int locals);
void world_end(World *w);                                                // frees what init made
void world_deliver(World *w, int from, const void *data, int64_t bytes); // a note has come
// Tells the others too. The first reason stays; returns it.
Status world_fail(World *w, Status why);

// ---- kinds of world -------------------------------------------------------------------------------------------------
typedef struct WorldTcpOptions {
    int rank, size, local, locals;
    const char *host;   // where rank 0 is to be found
    int port;           // where it listens; rank 0 with 0: any free one, see on_port
    const char *nonce;  // the run's secret: who does not know it is not let in; at most 128 bytes, "" is fine
    int64_t timeout_ms; // for everyone to come; 0: 60 s
    void (*on_port)(void *context, int port); // rank 0: told the port before it waits; may be NULL
    void *context;
} WorldTcpOptions;
Status world_tcp_make(const WorldTcpOptions *options, World **out_world);
