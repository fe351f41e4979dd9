// SPDX-License-Identifier: Apache-2.0
// device_cuda_host: memory of the host beside the slab, pinned, and the copies between the two. Two streams, one a
// direction (a link carries both at once); a copy that is begun comes behind what `compute` was told before, by an
// event, and `compute` waits for another event of it where the plan says so. Of one instruction begun several times the
// last event covers all: its stream goes in order. Captured in a graph with the rest: whatever is begun is waited for
// before a function ends, so both streams are joined again.
#include "runtime/device_cuda.h"
#include <stdlib.h>
#include <string.h>

static CuAddress address(const void *p) { return (CuAddress)(uintptr_t)p; }

struct CudaHost {
    CuStream fetches, stashes;
    CuEvent ready; // recorded and waited for at each beginning
    CuEvent *done; // by instruction; NULL: none is begun
    bool *begun;   // by instruction, since the program began
};

Status device_cuda_open_host(DeviceCuda *d, int64_t bytes, bool poison) {
    if (!bytes) return status_ok();
    const CudaApi *a = d->api;
    int n = d->plan->ninstrs;
    if (!(d->host = calloc(1, sizeof *d->host)) || !(d->host->done = calloc((size_t)n + 1, sizeof(CuEvent))) ||
        !(d->host->begun = calloc((size_t)n + 1, sizeof(bool))))
        return status_make(STATUS_MEMORY, "no memory for %d events", n);
    void *at;
    CuResult r = a->cuMemHostAlloc(&at, (size_t)bytes, CU_HOST_PORTABLE);
    if (r == CU_ERROR_OUT_OF_MEMORY)
        return status_make(STATUS_MEMORY, "rank %d offloads %.3f GB to its host, which has no pinned memory for it",
                           d->rank, 1e-9 * (double)bytes);
    STATUS_TRY(cuda_status(a, r, "cuMemHostAlloc"));
    d->device.host = at;
    d->device.host_bytes = bytes;
    memset(at, poison ? 0xff : 0, (size_t)bytes);
    int least = 0, greatest = 0;
    CUDA_TRY(a, cuCtxGetStreamPriorityRange(&least, &greatest), "cuCtxGetStreamPriorityRange");
    CUDA_TRY(a, cuStreamCreateWithPriority(&d->host->fetches, CU_STREAM_NONBLOCKING_FLAG, least), "cuStreamCreate");
    CUDA_TRY(a, cuStreamCreateWithPriority(&d->host->stashes, CU_STREAM_NONBLOCKING_FLAG, least), "cuStreamCreate");
    CUDA_TRY(a, cuEventCreate(&d->host->ready, CU_EVENT_NO_TIMING), "cuEventCreate");
    for (int i = 0; i < n; i++)
        if (d->plan->instrs[i].kind == INSTR_COPY && d->plan->instrs[i].start)
            CUDA_TRY(a, cuEventCreate(&d->host->done[i], CU_EVENT_NO_TIMING), "cuEventCreate");
    return status_ok();
}

void device_cuda_close_host(DeviceCuda *d) {
    const CudaApi *a = d->api;
    if (!d->host) return;
    for (int i = 0; d->host->done && i < d->plan->ninstrs; i++)
        if (d->host->done[i]) a->cuEventDestroy(d->host->done[i]);
    if (d->host->ready) a->cuEventDestroy(d->host->ready);
    if (d->host->fetches) a->cuStreamDestroy(d->host->fetches);
    if (d->host->stashes) a->cuStreamDestroy(d->host->stashes);
    if (d->device.host) a->cuMemFreeHost(d->device.host);
    free(d->host->done);
    free(d->host->begun);
    free(d->host);
    d->host = NULL;
}

void device_cuda_begin_host(DeviceCuda *d) {
    if (d->host) memset(d->host->begun, 0, (size_t)d->plan->ninstrs * sizeof(bool));
}

static bool wait_for(DeviceCuda *d, CuStream s, CuEvent e) {
    return device_cuda_did(d, d->api->cuStreamWaitEvent(s, e, 0), "cuStreamWaitEvent");
}

static bool record(DeviceCuda *d, CuEvent e, CuStream s) {
    return device_cuda_did(d, d->api->cuEventRecord(e, s), "cuEventRecord");
}

static void move(DeviceCuda *d, int step, bool start, bool fetch, char *to, const char *from, int64_t bytes) {
    if (bytes <= 0 || status_failed(&d->failed)) return;
    start = start && !d->timed;
    CuStream s = !start ? d->compute : fetch ? d->host->fetches : d->host->stashes;
    if (start && !device_cuda_fails(d, CUDA_FAULT_MISSING_EVENT, step) &&
        (!record(d, d->host->ready, d->compute) || !wait_for(d, s, d->host->ready)))
        return;
    CuResult r = fetch ? d->api->cuMemcpyHtoDAsync(address(to), from, (size_t)bytes, s)
                       : d->api->cuMemcpyDtoHAsync(to, address(from), (size_t)bytes, s);
    if (!device_cuda_did(d, r, fetch ? "a fetch from the host" : "a stash to the host") || !start) return;
    d->host->begun[step] = record(d, d->host->done[step], s);
}

void device_cuda_fetch(Device *device, int step, bool start, char *to, const char *from, int64_t bytes) {
    move((DeviceCuda *)device, step, start, true, to, from, bytes);
}

void device_cuda_stash(Device *device, int step, bool start, char *to, const char *from, int64_t bytes) {
    move((DeviceCuda *)device, step, start, false, to, from, bytes);
}

void device_cuda_finish(Device *device, int step) {
    DeviceCuda *d = (DeviceCuda *)device;
    if (!d->host || !d->host->begun[step] || status_failed(&d->failed)) return;
    if (!device_cuda_fails(d, CUDA_FAULT_MISSING_WAIT, step)) wait_for(d, d->compute, d->host->done[step]);
}
