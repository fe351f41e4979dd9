// SPDX-License-Identifier: Apache-2.0
// How the plan's collectives (comm.h: [outer, middle, inner]) become NCCL's, whose parts lie one behind the other.
//
//   all_gather      outer 1: as it is. Else gathered member by member into the staging memory, then woven
//   reduce_scatter  outer 1 and even: as it is. Else parts are unravelled, zeros behind the last, then reduced
//   all_to_all      the same before sends and receives of all pairs; what counts leave out is cleared afterwards
#include "base/checked.h"
#include "runtime/comm_nccl.h"

static CuAddress address(const void *p) { return (CuAddress)(uintptr_t)p; }

int nccl_type(PlanDType t) {
    static const int types[] = {NCCL_U8, NCCL_I32, NCCL_F32, NCCL_F64, NCCL_BF16, NCCL_F16};
    return types[t];
}

// Rows of `bytes` bytes from every `from_pitch` to every `to_pitch`.
static bool copy_rows(const CommNccl *c, NcclRank *r, char *to, int64_t to_pitch, const char *from, int64_t from_pitch,
                      int64_t bytes, int64_t rows) {
    if (!bytes || !rows) return true;
    if (rows == 1 || (to_pitch == bytes && from_pitch == bytes))
        return device_cuda_did(
            r->d, c->cuda->cuMemcpyDtoDAsync(address(to), address(from), (size_t)(bytes * rows), r->collectives),
            "a collective's copy");
    CuCopy2D copy = {.from_type = CU_MEMORY_DEVICE,
                     .from_device = address(from),
                     .from_pitch = (size_t)from_pitch,
                     .to_type = CU_MEMORY_DEVICE,
                     .to_device = address(to),
                     .to_pitch = (size_t)to_pitch,
                     .bytes = (size_t)bytes,
                     .rows = (size_t)rows};
    return device_cuda_did(r->d, c->cuda->cuMemcpy2DAsync(&copy, r->collectives), "a collective's copy");
}

static bool clear_rows(const CommNccl *c, NcclRank *r, char *to, int64_t pitch, int64_t bytes, int64_t rows) {
    if (!bytes || !rows) return true;
    CuResult result =
        rows == 1 || pitch == bytes
            ? c->cuda->cuMemsetD8Async(address(to), 0, (size_t)(bytes * rows), r->collectives)
            : c->cuda->cuMemsetD2D8Async(address(to), (size_t)pitch, 0, (size_t)bytes, (size_t)rows, r->collectives);
    return device_cuda_did(r->d, result, "a collective's padding");
}

// [outer, middle, inner] to [ways][outer, own, inner] in the staging memory, zeros where middle ends.
static void unravel(const CommNccl *c, NcclRank *r, const CommCall *call, int64_t ways, int64_t own) {
    int64_t place = call->inner * plan_dtype_bytes(call->dtype), row = call->middle * place, part = own * place;
    for (int64_t m = 0; m < ways; m++) {
        int64_t there = call->middle - m * own, has = there < 0 ? 0 : there < own ? there : own;
        char *to = r->d->staging + m * call->outer * part;
        copy_rows(c, r, to, part, (const char *)call->send + m * part, row, has * place, call->outer);
        clear_rows(c, r, to + has * place, part, part - has * place, call->outer);
    }
}

static void clear_uncounted(const CommNccl *c, NcclRank *r, const CommCall *call, int64_t pieces, CuStream s) {
    void *to = call->receive, *counts = (void *)call->receive_counts;
    int64_t rows = call->rows, row_bytes = call->row * plan_dtype_bytes(call->dtype);
    void *parameters[] = {&to, &counts, &pieces, &rows, &row_bytes};
    int64_t blocks = pieces < 8 * r->d->processors ? pieces : 8 * r->d->processors;
    if (blocks)
        device_cuda_did(
            r->d, c->cuda->cuLaunchKernel(r->d->zero_rows, (unsigned)blocks, 1, 1, 256, 1, 1, 0, s, parameters, NULL),
            "tgf_zero_rows");
}

Status nccl_alone(CommNccl *c, NcclRank *r, const CommCall *call) {
    int64_t count = call->outer * call->middle * call->inner;
    if (call->kind == COMM_SEND || call->kind == COMM_RECV) return status_ok();
    r->d->device.v->copy(&r->d->device, call->receive, call->send, count * plan_dtype_bytes(call->dtype));
    if (call->rows) clear_uncounted(c, r, call, count / (call->rows * call->row), r->d->compute);
    return r->d->failed;
}

bool nccl_is_direct(const CommCall *call, int64_t ways) {
    if (call->kind == COMM_ALL_REDUCE || call->kind == COMM_BROADCAST) return true;
    if (call->kind == COMM_ALL_GATHER) return call->outer == 1;
    return call->kind == COMM_REDUCE_SCATTER && call->outer == 1 && call->middle % ways == 0;
}

#define NCCL_TAKEN(result, what) STATUS_TRY(nccl_taken(c, r, comm, result, what))

static Status all_to_all(CommNccl *c, NcclRank *r, const CommCall *call, NcclComm comm, int64_t ways) {
    const NcclApi *a = c->api;
    int64_t own = ceil_div(call->middle, ways), count = call->outer * own * call->inner;
    int64_t block = count * plan_dtype_bytes(call->dtype);
    const char *from = call->send;
    if (call->outer > 1 || call->middle % ways) {
        unravel(c, r, call, ways, own);
        from = r->d->staging;
    }
    int type = nccl_type(call->dtype);
    NcclResult first = a->ncclGroupStart();
    for (int64_t m = 0; m < ways && first == NCCL_OK; m++) {
        first = a->ncclSend(from + m * block, (size_t)count, type, (int)m, comm, r->collectives);
        if (first == NCCL_OK)
            first = a->ncclRecv((char *)call->receive + m * block, (size_t)count, type, (int)m, comm, r->collectives);
    }
    NcclResult last = a->ncclGroupEnd();
    NCCL_TAKEN(first == NCCL_OK ? last : first, "all_to_all");
    if (call->rows)
        clear_uncounted(c, r, call, ways * call->outer * own * call->inner / (call->rows * call->row), r->collectives);
    return r->d->failed;
}

// One message to and one from another member, -1: none.
static Status exchange(CommNccl *c, NcclRank *r, const CommCall *call, NcclComm comm, int64_t to, int64_t from) {
    const NcclApi *a = c->api;
    size_t count = (size_t)(call->outer * call->middle * call->inner);
    int type = nccl_type(call->dtype);
    NcclResult first = a->ncclGroupStart();
    if (first == NCCL_OK && to >= 0) first = a->ncclSend(call->send, count, type, (int)to, comm, r->collectives);
    if (first == NCCL_OK && from >= 0) first = a->ncclRecv(call->receive, count, type, (int)from, comm, r->collectives);
    NcclResult last = a->ncclGroupEnd();
    return nccl_taken(c, r, comm, first == NCCL_OK ? last : first, comm_kind_name(call->kind));
}

Status nccl_collective(CommNccl *c, NcclRank *r, const CommCall *call, NcclComm comm, int64_t ways, int64_t me) {
    const NcclApi *a = c->api;
    int64_t count = call->outer * call->middle * call->inner, bytes = plan_dtype_bytes(call->dtype);
    int64_t own = ceil_div(call->middle, ways);
    int type = nccl_type(call->dtype), reduce = call->reduce == REDUCE_MAX ? NCCL_MAX : NCCL_SUM;
    const char *what = comm_kind_name(call->kind);
    PlanCommKind kind = call->kind;
    CuStream s = r->collectives;
    if (device_cuda_fails(r->d, CUDA_FAULT_OTHER_COUNT, call->step)) count--;
    if (device_cuda_fails(r->d, CUDA_FAULT_OTHER_KIND, call->step) && kind == COMM_ALL_REDUCE) kind = COMM_BROADCAST;
    else if (device_cuda_fails(r->d, CUDA_FAULT_OTHER_KIND, call->step) && kind == COMM_BROADCAST)
        kind = COMM_ALL_REDUCE;
    switch (kind) {
    case COMM_ALL_REDUCE:
        NCCL_TAKEN(a->ncclAllReduce(call->send, call->receive, (size_t)count, type, reduce, comm, s), what);
        break;
    case COMM_BROADCAST:
        NCCL_TAKEN(a->ncclBroadcast(call->send, call->receive, (size_t)count, type, 0, comm, s), what);
        break;
    case COMM_ALL_GATHER: {
        bool direct = call->outer == 1;
        int64_t row = call->middle * call->inner * bytes;
        NCCL_TAKEN(a->ncclAllGather(call->send, direct ? call->receive : r->d->staging, (size_t)count, type, comm, s),
                   what);
        for (int64_t m = 0; m < ways && !direct; m++)
            copy_rows(c, r, (char *)call->receive + m * row, ways * row, r->d->staging + m * call->outer * row, row,
                      row, call->outer);
        break;
    }
    case COMM_REDUCE_SCATTER: {
        bool direct = nccl_is_direct(call, ways);
        if (!direct) unravel(c, r, call, ways, own);
        size_t part = (size_t)(call->outer * own * call->inner - (count != call->outer * call->middle * call->inner));
        NCCL_TAKEN(
            a->ncclReduceScatter(direct ? call->send : r->d->staging, call->receive, part, type, reduce, comm, s),
            what);
        break;
    }
    case COMM_ALL_TO_ALL: return all_to_all(c, r, call, comm, ways);
    case COMM_SHIFT: {
        int64_t by = (call->peer % ways + ways) % ways;
        return exchange(c, r, call, comm, (me + by) % ways, (me - by + ways) % ways);
    }
    case COMM_REVERSE: return exchange(c, r, call, comm, ways - 1 - me, ways - 1 - me);
    case COMM_SEND:
    case COMM_RECV: {
        int64_t peer = me + call->peer;
        if (peer < 0 || peer >= ways) return status_ok();
        return exchange(c, r, call, comm, kind == COMM_SEND ? peer : -1, kind == COMM_RECV ? peer : -1);
    }
    }
    return r->d->failed;
}
