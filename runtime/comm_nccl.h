// SPDX-License-Identifier: Apache-2.0
// comm_nccl: the communicator of ranks on GPUs. NCCL does the collectives, each rank its own calls, on streams of its
// own beside the device's `compute`: one for all collectives, which goes through them in the order they are begun, and
// one a lane for the messages of a pipeline. A lane is an ordered pair of stages, or one channel of it where messages
// of several channels are taken in another order than they were sent; it has a communicator of its own, so what waits
// for one neighbour holds up nobody else.
//
// What differs from comm.h's promises: sums run in NCCL's order and, for bf16 and f16, in its precision; a maximum
// ignores NaNs; calls that do not match are not compared: they end in NCCL's own error or in a wait that times out.
// After a failure the communicators are gone: all later calls fail.
//
// One rank needs no NCCL: groups of one are copies on the device.
#pragma once
#include "runtime/comm.h"
#include "runtime/device_cuda.h"
#include <pthread.h>
#include <stdatomic.h>

typedef struct World World;

typedef struct CommNcclOptions {
    const Plan *plan; // groups, channels and staging are its; outlives the communicator
    int64_t timeout_ms, posts;
    int first, nlocal; // ranks of this process
    World *world;      // the other processes, or NULL
    void *handed;      // the caller's ncclComm_t of this process's rank, from which all are split; NULL: none
} CommNcclOptions;

// Of the caller's ncclComm_t.
Status comm_nccl_look(void *handle, int *out_rank, int *out_ranks, int *out_gpu);
// The processes of its ranks; NULL: it has one. All of them call this.
Status comm_nccl_world(void *handle, World **out_world);

Status comm_nccl_make(const CommNcclOptions *options, Comm **out_comm);
// From the rank's own thread, all ranks at the same time, after the devices are made: the communicators are set up.
Status comm_nccl_attach(Comm *comm, int rank, Device *device);

// ---- inside ---------------------------------------------------------------------------------------------------------
typedef struct NcclLane {
    int from, to; // stages
    int channel;  // -1: all channels of the pair
} NcclLane;

typedef struct NcclPost { // a message that was sent and not waited for
    bool open;
    int peer, channel, microbatch, step;
    CuEvent sent;
} NcclPost;

typedef struct NcclRank {
    DeviceCuda *d; // NULL: in another process
    int rank, stage;
    NcclComm world, *group, *lane; // group: by group; lane: by lane, NULL where the rank is not in it
    CuStream collectives, *lane_stream;
    CuEvent ready, done, *ended; // ended: by instruction, of those that are only begun
    bool *begun;                 // by instruction
    NcclPost *posts;
    int bucket; // instruction of the last call in the open group of calls; -1: none is open
    bool aborted;
} NcclRank;

typedef struct CommNccl {
    Comm comm;
    const CudaApi *cuda;
    const NcclApi *api; // NULL: one rank
    const Plan *plan;
    CommNcclOptions options;
    int nranks, ngroups, nlanes;
    uint32_t full, *groups; // full: mesh axes of more than one rank; groups: sets of them
    NcclLane *lanes;
    int *lane_of; // by channel, -1: within a stage
    NcclRank *ranks;
    NcclId id;
    pthread_mutex_t lock;
    atomic_bool stopped;
    int stopper;
    Status why; // of the stopper
} CommNccl;

// comm_nccl_group.c
Status nccl_plan_groups(CommNccl *c); // groups, lanes, lane_of
Status nccl_open(CommNccl *c, NcclRank *r);
void nccl_close(CommNccl *c);
void nccl_abort_rank(CommNccl *c, NcclRank *r);
Status nccl_stopped(const CommNccl *c);
// Until the communicator has taken in what it was told, with the rank's timeout.
Status nccl_taken(CommNccl *c, NcclRank *r, NcclComm comm, NcclResult result, const char *what);
Status nccl_watch(void *context, DeviceCuda *d);
// comm_nccl_layout.c: one collective over `comm` (of `ways` ranks, this one's number is `me`), on r->collectives.
Status nccl_collective(CommNccl *c, NcclRank *r, const CommCall *call, NcclComm comm, int64_t ways, int64_t me);
bool nccl_is_direct(const CommCall *call, int64_t ways);           // NCCL's own call and nothing else
Status nccl_alone(CommNccl *c, NcclRank *r, const CommCall *call); // a group of one, on `compute`
int nccl_type(PlanDType t);
