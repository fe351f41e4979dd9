// SPDX-License-Identifier: Apache-2.0
// sim_nccl: communicators between devices of this process. A communicator's ranks share a Clique, where calls meet: the
// k-th collective of each rank is one operation, the k-th send of a rank to another and the k-th receive there are one.
// Calls of a group are one op of the device; it ends when all it meets can run with it.
#pragma once
#include "sim_driver.h"

enum { // ncclResult_t
    NCCL_OK = 0,
    NCCL_CUDA_ERROR = 1,
    NCCL_SYSTEM_ERROR = 2,
    NCCL_INTERNAL_ERROR = 3,
    NCCL_INVALID_ARGUMENT = 4,
    NCCL_INVALID_USAGE = 5,
    NCCL_REMOTE_ERROR = 6,
    NCCL_IN_PROGRESS = 7
};
enum { SIM_RANKS = SIM_DEVICES };

typedef enum CallKind {
    CALL_ALL_REDUCE,
    CALL_ALL_GATHER,
    CALL_REDUCE_SCATTER,
    CALL_BROADCAST,
    CALL_SEND,
    CALL_RECV
} CallKind;

typedef struct Call {
    CallKind kind;
    const char *send;
    char *receive;
    size_t count;
    int type, reduce, peer; // peer: of SEND, RECV; the root of BROADCAST
} Call;

typedef struct Entry { // a call of an op
    Op *op;            // NULL: not yet, or ended
    int call;
} Entry;

typedef struct Meeting { // one collective
    int arrived;
    Entry entry[SIM_RANKS];
    Call first; // of the rank that came first
    int first_rank;
} Meeting;

typedef struct Entries {
    int count, cap;
    Entry *entry;
} Entries;

typedef struct Comm Comm;
typedef struct Clique {
    int number, nranks, joined, refs;
    uint64_t id; // 0: made by a split
    bool failed;
    int code;
    char why[SIM_REPORT];
    Comm *comm[SIM_RANKS];
    int nmeetings, meetings_cap;
    Meeting **meeting;         // by number; NULL: ended
    Entries *sends, *receives; // [from * nranks + to]
    int turn;                  // who comes first in a sum
    struct Split *splits;      // not complete yet
    struct Clique *next;
} Clique;

typedef struct Split { // the k-th of a communicator
    int number, arrived;
    Comm *child[SIM_RANKS];
    int color[SIM_RANKS], key[SIM_RANKS];
    struct Split *next;
} Split;

struct Comm {
    Clique *clique; // NULL: a split is not complete
    Clique *parent; // of that split
    Context *context;
    int rank, refs;
    bool blocking, aborted, destroyed, finalizing;
    int busy; // polls that still say "in progress"
    int ncollectives, nsplits;
    Op *last;
};

typedef struct Calls { // of one op: what its work holds
    Comm *comm;
    int count;
    Call call[];
} Calls;

const char *call_name(CallKind kind);
void call_text(const Call *c, char *out, size_t size);
int type_bytes(int type); // 0: unknown
void clique_fail(Clique *q, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
void comm_release(Comm *comm);
extern const External nccl_external; // sim_nccl_meet.c
// receive[r] = sum (or what `reduce` says) over ranks of send[rank][r], each `count` elements.
void nccl_reduce(int n, const char *const *send, char *to, size_t count, int type, int reduce, int turn);
