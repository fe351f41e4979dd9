// SPDX-License-Identifier: Apache-2.0
// comm: how ranks exchange data. One vtable, one conformance suite (tests/comm) for every communicator.
//
// Layouts are PlanInstr's. What every communicator promises:
// - all members of a group get the same bits, and the same bits every time: sums run in the order of the members'
//   coordinates; bf16 and f16 are summed in f32 and rounded once; a maximum with a NaN is that NaN;
// - broadcast sends the value of the member with coordinate 0;
// - send and recv go to and come from the member whose coordinate along `mesh` is own + peer; beyond the group's ends
//   nothing happens (no wrap). A send may wait for its recv;
// - shift goes to own + peer and comes from own - peer, around the group; reverse exchanges with the member as far from
//   the group's end as this one is from its beginning. All members take part, as in any collective;
// - members of one group whose calls differ (kind, type, sizes, step) all get STATUS_COMM naming the two; ranks that
// wait for
//   each other for ever, or for a rank that has left, get STATUS_COMM, not a hang;
// - post hands a message over and returns at once; its bytes stay untouched until wait has returned. receive blocks
// until
//   the message is there and copies it; messages from one rank to another on one channel arrive in the order they were
//   posted, and one of another microbatch than the receiver expects is STATUS_COMM naming both sides. wait blocks until
//   the message was received. A rank that leaves without having waited gets STATUS_COMM from leave;
// - receive may be send itself for all_reduce and broadcast; otherwise the two do not overlap.
#pragma once
#include "runtime/plan.h"
#include "runtime/pool.h"

typedef struct CommCall {
    PlanCommKind kind;
    PlanReduce reduce;
    PlanDType dtype;
    uint32_t mesh;
    int64_t outer, middle, inner; // as in PlanInstr
    int64_t rows, row;
    const int32_t *send_counts, *receive_counts; // of rows, in members' padding arbitrary
    int64_t peer;
    bool start; // only begun: `finish` with the same step stands before anything depends on it
    const void *send;
    void *receive;
    Pool *pool;     // the rank's threads, to copy and add with; NULL: the caller's alone
    int step;       // plan step, for messages
    const char *op; // what the step stands for, or NULL
} CommCall;

// A message between two ranks, as the step lists of a pipeline send them.
typedef struct CommMessage {
    int peer;    // post, wait: receiver; receive: sender
    int channel; // of the plan
    int microbatch;
    const void *send; // post; NULL: nothing is copied, the receiver keeps what it has (a seeded fault)
    void *receive;    // receive
    int64_t bytes;
    int step; // of the rank's list, for messages
} CommMessage;

typedef struct CommOptions {
    int nmesh;
    int64_t extent[PLAN_MESH];
    const char *name[PLAN_MESH]; // for messages; must outlive the communicator
    bool spin;                   // waiting ranks may burn a core for a moment
    int64_t timeout_ms;          // a rank that waits longer aborts everyone; 0: never
    int64_t posts;               // messages of one rank that may be on their way at once
} CommOptions;

typedef struct Comm Comm;
typedef struct CommVtable {
    const char *name;
    void (*start)(Comm *c); // before the ranks run; no rank is inside the communicator. Forgets an earlier failure
    Status (*call)(Comm *c, int rank, const CommCall *call); // from the rank's driving thread
    // Where everything begun as `step` must have ended. NULL: calls end when they return.
    Status (*finish)(Comm *c, int rank, int step);
    Status (*post)(Comm *c, int rank, const CommMessage *m);
    Status (*receive)(Comm *c, int rank, const CommMessage *m);
    Status (*wait)(Comm *c, int rank, const CommMessage *m);
    Status (*leave)(Comm *c, int rank); // the rank will make no more calls until the next start
    // Everyone who waits now or calls later gets STATUS_COMM: COMM_STOPPED, the rank, and why it failed.
    void (*abort)(Comm *c, int rank, const Status *why);
    void (*free)(Comm *c);
} CommVtable;
#define COMM_STOPPED "stopped because"
struct Comm {
    const CommVtable *v;
};

const char *comm_kind_name(PlanCommKind kind);                       // "all_reduce"
Status comm_local_make(const CommOptions *options, Comm **out_comm); // ranks are threads of this process
