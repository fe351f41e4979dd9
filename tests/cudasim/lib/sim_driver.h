// SPDX-License-Identifier: Apache-2.0
// sim_driver: what the parts of the driver's stand-in share: the calling thread's device, streams, captures.
#pragma once
#include "sim_world.h"

#define EXPORT __attribute__((visibility("default")))

typedef struct Node { // of a graph that is captured
    Work *work;
    int lane, stream; // lane: number of its stream among the captured ones
    int ndeps, deps_cap;
    int *deps; // nodes
} Node;

typedef struct Ends { // a set of nodes, sorted
    int count, cap;
    int *node;
} Ends;

typedef struct Capture {
    Stream *origin;
    int refs; // the stream's, and of events recorded in it
    bool invalid, ended;
    int mode;
    int nnodes, nodes_cap, nstreams;
    Node *nodes;
} Capture;

struct Stream {
    Context *context;
    int number, lane;
    bool blocking; // takes turns with the legacy stream
    Op *tail;      // the last op; NULL: none
    Capture *capture;
    int capture_lane;
    Ends ends;
    Stream *next;
};

typedef struct Event {
    Context *context;
    bool timed;
    Op *op; // NULL: never recorded
    Capture *capture;
    Ends ends;
} Event;

typedef struct Graph {
    int nnodes, nstreams;
    Node *nodes;
} Graph;

Context *current(void); // of the calling thread; NULL: none
Stream *stream_make(Context *c, bool blocking);
void streams_free(Context *c);   // all of them, without waiting
Stream *stream_of(void *handle); // NULL, 1 and 2 mean the legacy stream of the current context
// A call that may wait or allocate, by a thread that captures: invalidates the capture. SIM_OK: not capturing.
int capture_forbids(Context *c);
