// SPDX-License-Identifier: Apache-2.0
// wire: the inside of comm_wire, shared by its files: comm_wire.c (calls and messages), wire_wait.c (waiting, failures,
// deadlocks) and wire_exchange.c (what collectives move).
//
// Each collective begins with a note from every member to every other saying what it calls; when they agree, parts
// travel as transfers, or came with the notes if they are small. Messages of a pipeline are a note and, unless small, a
// transfer that the receiver takes at once, into its place or a buffer of the heap.
#pragma once
#include "runtime/comm_call.h"
#include "runtime/comm_wire.h"

enum {
    WIRE_RANKS = 512,
    WIRE_INLINE = 4096, // most bytes that travel with a note
    WIRE_SIZES = 8,     // transfers whose sizes a sender remembers
    WIRE_IDLE_MS = 50,  // a wait so long is told to the others: they may all wait
    WIRE_SLICE_MS = 200,
    WIRE_GRACE_MS = 3000 // after a failure, to end what is under way
};

typedef enum WireKind { WIRE_CALL, WIRE_POST, WIRE_TAKEN, WIRE_STATE, WIRE_ASK, WIRE_ABORT, WIRE_END } WireKind;

typedef struct CallNote {
    int32_t kind, comm, reduce, dtype, step;
    uint32_t epoch, mesh, inlined; // inlined: bytes of data
    int64_t outer, middle, inner, rows, row, peer;
    int64_t part; // bytes for the receiver of the note
    char data[WIRE_INLINE];
} CallNote;

typedef struct PostNote {
    int32_t kind, channel, microbatch, step, empty;
    uint32_t epoch;
    int64_t bytes, number; // number: of the transfer; -1: inline
    char data[WIRE_INLINE];
} PostNote;

typedef struct TakenNote {
    int32_t kind, channel, microbatch;
    uint32_t epoch;
} TakenNote;

typedef struct StateNote {
    int32_t kind, left; // left, else waits
    uint32_t epoch, wave;
    char text[160];
    uint32_t counts[2 * WIRE_RANKS]; // notes sent to each rank, and received from each
} StateNote;

typedef struct AskNote {
    int32_t kind;
    uint32_t epoch, wave;
} AskNote;

typedef struct AbortNote {
    int32_t kind, code;
    uint32_t epoch;
    char message[500];
} AbortNote;

typedef struct EndNote { // a rank's part in an epoch that failed is over
    int32_t kind;
    uint32_t epoch;
    int64_t number, size[WIRE_SIZES]; // transfers begun so far, and the sizes of the last, by number % WIRE_SIZES
    Status why;
} EndNote;

typedef struct Head { // a call of another rank, not yet answered
    struct Head *next;
    uint32_t epoch;
    CommCall call;
    int64_t part;
    char data[]; // inline
} Head;

typedef struct Letter { // a message from another rank, not yet received
    struct Letter *next;
    uint32_t epoch;
    CommMessage message;
    bool empty, begun, dropped;
    int64_t number; // of its transfer; -1: it is there
    char *data;     // the letter's own
    WorldTransfer transfer;
} Letter;

typedef struct Post { // an own message that has not been waited for
    bool used, taken;
    CommMessage message;
    WorldTransfer transfer;
} Post;

typedef struct WirePeer {
    Head *heads;
    Letter *letters;
    int64_t sends, receives; // transfers begun
    int64_t size[WIRE_SIZES];
    uint32_t sent, received; // notes of this epoch that can end a wait
    // what it has told
    bool waits, left, ended; // in state_epoch
    uint32_t state_epoch, wave;
    uint32_t *counts;
    char text[160];
} WirePeer;

typedef struct WireWait {
    const CommCall *call;
    const CommMessage *message;
    bool receives;
} WireWait;

typedef struct Wire {
    Comm comm;
    CommOptions options;
    World *world;
    int channel, rank, n;
    int *member[1 << PLAN_MESH]; // of the rank's group over each set of mesh axes, in order
    int ways[1 << PLAN_MESH], me[1 << PLAN_MESH];
    WirePeer *peers;
    uint32_t epoch;
    bool failed, gone; // gone: left this epoch
    Status why;
    uint32_t abort_epoch; // an abort of an epoch that this rank has not begun yet
    Status abort_why;
    Post *posts;
    WireWait waits;
    uint32_t wave;
    bool asking;
    uint64_t asked; // what all had told when they were asked again
    // of the collective being done
    WorldTransfer *moves;
    int nmoves;
    const char **out;
    char **in;
    const void **sources;
    int64_t *out_bytes, *in_bytes;
    char *stage;
    int64_t stage_bytes;
} Wire;

// ---- wire_wait.c ----------------------------------------------------------------------------------------------------
void wire_note(void *context, int from, const void *note, int bytes); // WorldNoteFn
void wire_count(Wire *c, int to, const void *note, int bytes);        // sends a note that can end a wait
// This rank's failure, or a failure of all that it has found: tells the others. The first stays; returns it.
Status wire_fail(Wire *c, Status why);
typedef bool WireReadyFn(Wire *c, const void *context);
Status wire_wait(Wire *c, WireWait waits, WireReadyFn *ready, const void *context);
void wire_send(Wire *c, int to, const void *data, int64_t bytes, WorldTransfer *t); // bytes > 0
void wire_receive(Wire *c, int from, void *data, int64_t bytes, WorldTransfer *t);
// Until c->moves are done; after a failure they may be under way until wire_end.
Status wire_settle(Wire *c, const CommCall *call);
void wire_tell_left(Wire *c);
void wire_end(Wire *c); // after a failure: until nothing is under way any more
void wire_begin(Wire *c);
void wire_forget(Wire *c); // frees what has come

// Tells a rank what this one calls; `part`: bytes for it, that come with the note (data) or, NULL, as a transfer.
void wire_tell_call(Wire *c, int to, const CommCall *call, const void *data, int64_t part);

// ---- wire_exchange.c ------------------------------------------------------------------------------------------------
Status wire_collective(Wire *c, const CommCall *call);
