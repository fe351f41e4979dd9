// SPDX-License-Identifier: Apache-2.0
// The caller's NCCL communicator: which rank and GPU it is of, and how processes that share nothing else find each
// other: rank 0 tells where it listens by a broadcast, from then on they talk over TCP.
#define _GNU_SOURCE
#include "base/clock.h"
#include "runtime/comm_nccl.h"
#include "runtime/launch.h"
#include "runtime/program.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

typedef struct Address { // what rank 0 broadcasts
    char host[256], boot[40], nonce[40];
    int port; // 0: it cannot listen
} Address;

typedef struct Meeting {
    const CudaApi *cuda;
    const NcclApi *api;
    NcclComm comm;
    CuDevice device;
    CuContext context, before; // before: of the calling thread
    CuStream stream;
    CuAddress memory;
    int64_t timeout_ms;
    Address address;
    bool told;
    Status failed; // in the callback
} Meeting;

Status comm_nccl_look(void *handle, int *out_rank, int *out_ranks, int *out_gpu) {
    const NcclApi *api;
    STATUS_TRY(nccl_api(&api));
    NcclComm comm = handle;
    STATUS_TRY(nccl_status(api, comm, api->ncclCommUserRank(comm, out_rank), "the caller's communicator"));
    STATUS_TRY(nccl_status(api, comm, api->ncclCommCount(comm, out_ranks), "the caller's communicator"));
    return nccl_status(api, comm, api->ncclCommCuDevice(comm, out_gpu), "the caller's communicator");
}

Status program_choose_gpu(Program *p) {
    int rank, ranks;
    if (p->options.world) p->gpu = p->options.world->local;
    if (!p->options.nccl) return status_ok();
    if (!p->cuda)
        return status_make(STATUS_INVALID,
                           "the model '%s' is compiled for a CPU, where a communicator of NCCL is of "
                           "no use",
                           p->plan->model);
    return comm_nccl_look(p->options.nccl, &rank, &ranks, &p->gpu);
}

static void wait_a_moment(void) { nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL); }

static Status broadcast(Meeting *m) {
    int64_t until = now_ms() + m->timeout_ms;
    NcclResult result = m->api->ncclBroadcast((void *)(uintptr_t)m->memory, (void *)(uintptr_t)m->memory,
                                              sizeof(Address), NCCL_U8, 0, m->comm, m->stream);
    while (result == NCCL_IN_PROGRESS && now_ms() < until) {
        NcclResult asked = m->api->ncclCommGetAsyncError(m->comm, &result);
        if (asked != NCCL_OK) result = asked;
        if (result == NCCL_IN_PROGRESS) wait_a_moment();
    }
    if (result != NCCL_IN_PROGRESS) STATUS_TRY(nccl_status(m->api, m->comm, result, "ncclBroadcast"));
    CuResult done = m->cuda->cuStreamQuery(m->stream);
    for (; done == CU_ERROR_NOT_READY && now_ms() < until; done = m->cuda->cuStreamQuery(m->stream)) wait_a_moment();
    if (done == CU_ERROR_NOT_READY)
        return status_make(STATUS_COMM, "the other ranks of the caller's communicator did not come in %lld ms",
                           (long long)m->timeout_ms);
    return cuda_status(m->cuda, done, "ncclBroadcast");
}

static Status tell(Meeting *m, int port) {
    m->told = true;
    m->address.port = port;
    CUDA_TRY(m->cuda, cuMemcpyHtoDAsync(m->memory, &m->address, sizeof m->address, m->stream), "cuMemcpyHtoDAsync");
    return broadcast(m);
}

static void on_port(void *context, int port) {
    Meeting *m = context;
    m->failed = tell(m, port);
}

static Status hear(Meeting *m) {
    STATUS_TRY(broadcast(m));
    CUDA_TRY(m->cuda, cuMemcpyDtoHAsync(&m->address, m->memory, sizeof m->address, m->stream), "cuMemcpyDtoHAsync");
    CUDA_TRY(m->cuda, cuStreamSynchronize(m->stream), "cuStreamSynchronize");
    if (m->address.port) return status_ok();
    return status_make(STATUS_COMM, "rank 0 found no port to listen on");
}

static Status make_address(Address *a) {
    uint64_t secret[2];
    launch_boot(a->boot, sizeof a->boot);
    if (getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret) return status_errno("no random numbers", "");
    snprintf(a->nonce, sizeof a->nonce, "%016llx%016llx", (unsigned long long)secret[0], (unsigned long long)secret[1]);
    return gethostname(a->host, sizeof a->host - 1) ? status_errno("no name of this host", "") : status_ok();
}

static Status meet(Meeting *m, int rank, int ranks, World **out_world) {
    Launch here = {0};
    char boot[40];
    STATUS_TRY(launch_times(&here));
    m->timeout_ms = here.timeout_ms;
    if (rank == 0) STATUS_TRY(make_address(&m->address));
    else STATUS_TRY(hear(m));
    launch_boot(boot, sizeof boot);
    WorldTcpOptions o = {.rank = rank,
                         .size = ranks,
                         .local = -1,
                         .host = strcmp(boot, m->address.boot) ? m->address.host : "localhost",
                         .port = m->address.port,
                         .nonce = m->address.nonce,
                         .timeout_ms = here.timeout_ms};
    if (rank == 0) {
        o.on_port = on_port;
        o.context = m;
    }
    Status s = world_tcp_make(&o, out_world);
    if (rank == 0 && !m->told) tell(m, 0);
    if (status_failed(&m->failed)) s = m->failed;
    if (status_failed(&s)) {
        world_free(*out_world);
        *out_world = NULL;
        return s;
    }
    (*out_world)->timeout_ms = here.wait_ms;
    return launch_locals(&here, *out_world);
}

static Status open_gpu(Meeting *m, int gpu) {
    CUDA_TRY(m->cuda, cuCtxGetCurrent(&m->before), "cuCtxGetCurrent");
    CUDA_TRY(m->cuda, cuDeviceGet(&m->device, gpu), "cuDeviceGet");
    CUDA_TRY(m->cuda, cuDevicePrimaryCtxRetain(&m->context, m->device), "the GPU cannot be used");
    CUDA_TRY(m->cuda, cuCtxSetCurrent(m->context), "cuCtxSetCurrent");
    CUDA_TRY(m->cuda, cuStreamCreateWithPriority(&m->stream, CU_STREAM_NONBLOCKING_FLAG, 0), "cuStreamCreate");
    CUDA_TRY(m->cuda, cuMemAlloc(&m->memory, sizeof(Address)), "cuMemAlloc");
    return status_ok();
}

Status comm_nccl_world(void *handle, World **out_world) {
    int rank, ranks, gpu;
    *out_world = NULL;
    Meeting m = {.comm = handle};
    STATUS_TRY(cuda_api(&m.cuda));
    STATUS_TRY(nccl_api(&m.api));
    STATUS_TRY(comm_nccl_look(handle, &rank, &ranks, &gpu));
    if (ranks == 1) return status_ok();
    Status s = open_gpu(&m, gpu);
    if (!status_failed(&s)) s = meet(&m, rank, ranks, out_world);
    if (m.memory) m.cuda->cuMemFree(m.memory);
    if (m.stream) m.cuda->cuStreamDestroy(m.stream);
    if (m.context) {
        m.cuda->cuCtxSetCurrent(m.before);
        m.cuda->cuDevicePrimaryCtxRelease(m.device);
    }
    return s;
}
