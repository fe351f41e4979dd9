// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "runtime/device_cuda.h"
#include "base/checked.h"
#include "base/clock.h"
#include "runtime/comm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static CuAddress address(const void *p) { return (CuAddress)(uintptr_t)p; }

void device_cuda_enter(DeviceCuda *d) { d->api->cuCtxSetCurrent(d->context); }

bool device_cuda_did(DeviceCuda *d, CuResult r, const char *what) {
    if (r == CU_OK) return true;
    if (!status_failed(&d->failed)) {
        Status s = cuda_status(d->api, r, what);
        d->failed = status_make(s.code, "GPU %d: %.420s", d->ordinal, s.message);
    }
    return false;
}

static const char *const fault_names[CUDA_FAULT_KINDS] = {
    "none",       "missing_event", "missing_wait", "missing_edge", "wrong_stream", "other_count",
    "other_kind", "drop_comm",     "drop_send",    "early_send",   "reuse_send",   "early_receive"};
const char *cuda_fault_name(CudaFaultKind kind) { return fault_names[kind]; }

bool device_cuda_fails(const DeviceCuda *d, CudaFaultKind kind, int instr) {
    const CudaFault *f = &d->fault;
    return f->kind == kind && (f->rank < 0 || f->rank == d->rank) && (f->instr < 0 || instr < 0 || f->instr == instr);
}

// ---- waiting --------------------------------------------------------------------------------------------------------
static void put_word(DeviceCuda *d, CuStream s, CuAddress at, uint32_t value) {
    if (d->marks_by_memset) device_cuda_did(d, d->api->cuMemsetD32Async(at, value, 1, s), "cuMemsetD32Async");
    else device_cuda_did(d, d->api->cuStreamWriteValue32(s, at, value, 0), "cuStreamWriteValue32");
}

void device_cuda_mark(DeviceCuda *d, CuStream s, int word, int64_t op) {
    if (word >= CUDA_WORDS) return;
    CuAddress at = d->words_at + (CuAddress)((size_t)word * sizeof(CudaWord));
    if (op > 0) put_word(d, s, at, (uint32_t)(d->step + 1));
    put_word(d, s, at + sizeof(uint32_t), op < 0 ? 0 : (uint32_t)op);
}

static void step_text(const DeviceCuda *d, int64_t step, char *out, size_t size) {
    const PlanProgram *g = &d->plan->programs[d->program];
    int stage = plan_stage(d->plan, d->rank);
    *out = 0;
    if (d->program >= d->plan->nprograms || step < 0 || step >= g->count[stage]) return;
    const PlanStep *s = &g->steps[stage][step];
    const char *what = s->kind == PLAN_STEP_RUN    ? d->plan->funcs[s->what].name
                       : s->kind == PLAN_STEP_ZERO ? ""
                                                   : d->plan->leaves[d->plan->channels[s->what].from_leaf].name;
    snprintf(out, size, "step %lld (%s%s%.60s, microbatch %d)", (long long)step, plan_step_name(s->kind),
             *what ? " " : "", what, s->microbatch);
}

static void instr_text(const DeviceCuda *d, int at, char *out, size_t size) {
    const PlanInstr *in = &d->plan->instrs[at];
    char line[100] = "";
    if (in->file) snprintf(line, sizeof line, ", %.80s:%d", in->file, in->line);
    snprintf(out, size, "%s%s%.60s (instruction %d%s)", in->kind == INSTR_COMM ? comm_kind_name(in->comm) : "kernel",
             in->op ? " " : "", in->op ? in->op : "", at, line);
}

void device_cuda_where(const DeviceCuda *d, char *out, size_t size) {
    char step[120], what[240] = "";
    *out = 0;
    for (int i = 1; i < CUDA_WORDS; i++) {
        uint32_t op = d->words[i].op;
        if (!op || (i == 1 && op > (uint32_t)d->plan->ninstrs) || (i > 1 && op > (uint32_t)d->plan->nchannels))
            continue;
        step_text(d, (int64_t)d->words[i].step - 1, step, sizeof step);
        if (i == 1) instr_text(d, (int)op - 1, what, sizeof what);
        else
            snprintf(what, sizeof what, "the message on channel %u (%.60s)", op - 1,
                     d->plan->leaves[d->plan->channels[op - 1].from_leaf].name);
        snprintf(out, size, "%s%s%s has begun and does not end", step, *step ? ": " : "", what);
        if (i == 1) return; // a collective tells more than a message that waits for it
    }
    if (*out) return;
    step_text(d, (int64_t)d->words[0].step - 1, step, sizeof step);
    if (*step) snprintf(out, size, "%s has begun and does not end", step);
}

static uint64_t progress(const DeviceCuda *d) {
    uint64_t sum = 0;
    for (int i = 0; i < CUDA_WORDS; i++) sum = sum * 31 + d->words[i].step * 7ull + d->words[i].op;
    return sum;
}

static Status stuck(const DeviceCuda *d, int64_t ms) {
    char where[400];
    device_cuda_where(d, where, sizeof where);
    return status_make(STATUS_COMM, "rank %d waited %lld ms for GPU %d: %s", d->rank, (long long)ms, d->ordinal,
                       *where ? where : "nothing moves");
}

// A failed run's message says where its GPU was.
static Status failed_where(const DeviceCuda *d, Status s) {
    char where[300];
    device_cuda_where(d, where, sizeof where);
    return status_make(s.code, "rank %d: %.280s%s%.150s", d->rank, s.message, *where ? "; " : "", where);
}

Status device_cuda_wait(DeviceCuda *d, CuStream s) {
    int64_t begin = now_ms(), last = begin;
    uint64_t seen = progress(d);
    for (int64_t turn = 0;; turn++) {
        CuResult r = d->api->cuStreamQuery(s);
        if (r == CU_OK) return status_ok();
        if (r != CU_ERROR_NOT_READY) {
            Status told = d->watch ? d->watch(d->watch_context, d) : status_ok();
            if (strstr(told.message, COMM_STOPPED)) return told; // by another rank, and this is what came of it
            return failed_where(d, cuda_status(d->api, r, "the GPU stopped"));
        }
        if (turn < 200) continue; // short waits end here
        if (d->watch && turn % 16 == 0) STATUS_TRY(d->watch(d->watch_context, d));
        int64_t now = now_ms();
        if (now - last >= 100 || now - last >= d->timeout_ms) {
            uint64_t sum = progress(d);
            if (sum != seen) seen = sum, begin = now;
            else if (now - begin >= d->timeout_ms) return stuck(d, now - begin);
            last = now;
        }
        struct timespec t = {0, turn < 20000 ? 20000 : 200000};
        nanosleep(&t, NULL);
    }
}

// ---- what a rank asks for -------------------------------------------------------------------------------------------
static void timed_wait(DeviceCuda *d, const char *what) {
    if (!d->timed || status_failed(&d->failed)) return;
    Status s = device_cuda_wait(d, d->compute);
    if (status_failed(&s)) d->failed = status_make(s.code, "%.100s: %.390s", what, s.message);
}

static void encode_map(DeviceCuda *d, const PlanMap *m, const char *base, CuMap *out_map) {
    uint64_t extent[PLAN_MAP_RANK], stride[PLAN_MAP_RANK] = {0};
    uint32_t box[PLAN_MAP_RANK], step[PLAN_MAP_RANK];
    for (int i = 0; i < m->rank; i++) {
        extent[i] = (uint64_t)m->extent[i];
        box[i] = (uint32_t)m->box[i];
        step[i] = 1;
        if (i) stride[i - 1] = (uint64_t)m->stride[i];
    }
    int type = m->dtype == PLAN_F32 ? CU_MAP_F32 : m->dtype == PLAN_BF16 ? CU_MAP_BF16 : CU_MAP_F16;
    int swizzle = m->swizzle == 128  ? CU_MAP_SWIZZLE_128
                  : m->swizzle == 64 ? CU_MAP_SWIZZLE_64
                  : m->swizzle == 32 ? CU_MAP_SWIZZLE_32
                                     : CU_MAP_SWIZZLE_NONE;
    device_cuda_did(d,
                    d->api->cuTensorMapEncodeTiled(out_map, type, (uint32_t)m->rank, (void *)(base + m->first), extent,
                                                   stride, box, step, CU_MAP_INTERLEAVE_NONE, swizzle, CU_MAP_L2_128,
                                                   CU_MAP_FILL_ZERO),
                    "a tile of an operand cannot be described");
}

static void gpu_launch(Device *device, int kernel, char *const *buf, const int64_t *scalar) {
    DeviceCuda *d = (DeviceCuda *)device;
    const PlanKernel *k = &d->plan->kernels[kernel];
    const CudaKernel *c = &d->kernels[kernel];
    if (k->tasks <= 0 || status_failed(&d->failed)) return;
    int n = 0;
    char what[160];
    for (int i = 0; i < c->nargs; i++) d->parameters[n++] = (void *)&buf[i];
    for (int i = 0; i < c->nscalars; i++) d->parameters[n++] = (void *)&scalar[i];
    for (int i = 0; i < k->nmaps; i++) {
        encode_map(d, &k->maps[i], buf[k->maps[i].arg], &d->maps[i]);
        d->parameters[n++] = &d->maps[i];
    }
    snprintf(what, sizeof what, "kernel '%.120s'", k->symbol);
    if (c->gemm) {
        Status s = gemm_run(c->gemm, buf, d->compute);
        if (status_failed(&s)) d->failed = status_make(s.code, "%.100s: %.390s", what, s.message);
        timed_wait(d, what);
        return;
    }
    device_cuda_did(d,
                    d->api->cuLaunchKernel(c->function, (unsigned)k->tasks, 1, 1, (unsigned)k->threads, 1, 1,
                                           (unsigned)k->shared_bytes, d->compute, d->parameters, NULL),
                    what);
    timed_wait(d, what);
}

static CuStream copy_stream(const DeviceCuda *d) {
    return d->other && device_cuda_fails(d, CUDA_FAULT_WRONG_STREAM, -1) ? d->other : d->compute;
}

// Pieces that overlap go through a part of the memory of their own, in the order in which none is lost.
static void copy_overlapping(DeviceCuda *d, char *to, const char *from, int64_t bytes) {
    for (int64_t done = 0; done < bytes; done += CUDA_BOUNCE_BYTES) {
        int64_t n = bytes - done < CUDA_BOUNCE_BYTES ? bytes - done : CUDA_BOUNCE_BYTES;
        int64_t at = to < from ? done : bytes - done - n;
        device_cuda_did(d, d->api->cuMemcpyDtoDAsync(address(d->bounce), address(from + at), (size_t)n, d->compute),
                        "a copy");
        device_cuda_did(d, d->api->cuMemcpyDtoDAsync(address(to + at), address(d->bounce), (size_t)n, d->compute),
                        "a copy");
    }
}

static void gpu_copy(Device *device, char *to, const char *from, int64_t bytes) {
    DeviceCuda *d = (DeviceCuda *)device;
    if (bytes <= 0 || to == from || status_failed(&d->failed)) return;
    if (from < to + bytes && to < from + bytes) copy_overlapping(d, to, from, bytes);
    else
        device_cuda_did(d, d->api->cuMemcpyDtoDAsync(address(to), address(from), (size_t)bytes, copy_stream(d)),
                        "a copy");
    timed_wait(d, "a copy");
}

static void gpu_zero(Device *device, char *to, int64_t bytes) {
    DeviceCuda *d = (DeviceCuda *)device;
    if (bytes <= 0 || status_failed(&d->failed)) return;
    bool words = !((uintptr_t)to % 4) && !(bytes % 4);
    device_cuda_did(d,
                    words ? d->api->cuMemsetD32Async(address(to), 0, (size_t)bytes / 4, copy_stream(d))
                          : d->api->cuMemsetD8Async(address(to), 0, (size_t)bytes, copy_stream(d)),
                    "a clearing");
    timed_wait(d, "a clearing");
}

// Host and GPU each work on one half of the pinned memory.
static void gpu_write(Device *device, char *to, const void *host, int64_t bytes) {
    DeviceCuda *d = (DeviceCuda *)device;
    device_cuda_enter(d);
    for (int64_t at = 0, i = 0; at < bytes; at += CUDA_PIN_BYTES, i++) {
        int64_t n = bytes - at < CUDA_PIN_BYTES ? bytes - at : CUDA_PIN_BYTES;
        char *half = d->pinned + i % 2 * CUDA_PIN_BYTES;
        if (i >= 2 && !device_cuda_did(d, d->api->cuEventSynchronize(d->pin_free[i % 2]), "writing")) return;
        memcpy(half, (const char *)host + at, (size_t)n);
        if (!device_cuda_did(d, d->api->cuMemcpyHtoDAsync(address(to + at), half, (size_t)n, d->compute), "writing") ||
            !device_cuda_did(d, d->api->cuEventRecord(d->pin_free[i % 2], d->compute), "writing"))
            return;
    }
    device_cuda_did(d, d->api->cuStreamSynchronize(d->compute), "writing");
}

static void gpu_read(Device *device, void *host, const char *from, int64_t bytes) {
    DeviceCuda *d = (DeviceCuda *)device;
    device_cuda_enter(d);
    for (int64_t at = -CUDA_PIN_BYTES, i = -1; at < bytes; at += CUDA_PIN_BYTES, i++) {
        int64_t next = at + CUDA_PIN_BYTES, n = bytes - next < CUDA_PIN_BYTES ? bytes - next : CUDA_PIN_BYTES;
        if (n > 0) {
            char *half = d->pinned + (i + 1) % 2 * CUDA_PIN_BYTES;
            if (!device_cuda_did(d, d->api->cuMemcpyDtoHAsync(half, address(from + next), (size_t)n, d->compute),
                                 "reading") ||
                !device_cuda_did(d, d->api->cuEventRecord(d->pin_free[(i + 1) % 2], d->compute), "reading"))
                return;
        }
        if (at < 0) continue;
        if (!device_cuda_did(d, d->api->cuEventSynchronize(d->pin_free[i % 2]), "reading")) return;
        n = bytes - at < CUDA_PIN_BYTES ? bytes - at : CUDA_PIN_BYTES;
        memcpy((char *)host + at, d->pinned + i % 2 * CUDA_PIN_BYTES, (size_t)n);
    }
}

// ---- programs -------------------------------------------------------------------------------------------------------
// What a graph of the program would hold, over all stages, so that all ranks decide alike.
static int64_t function_size(const Plan *p, const PlanFunc *f) {
    int64_t total = 0, times[PLAN_LOOPS + 1] = {1};
    int depth = 0;
    for (int at = f->first; at < f->first + f->count; at++) {
        const PlanInstr *in = &p->instrs[at];
        if (in->kind == INSTR_END) depth--;
        else if (in->kind == INSTR_LOOP) {
            if (!checked_mul(times[depth], in->count, &times[depth + 1])) return INT64_MAX;
            depth++;
        } else if (!checked_add(total, times[depth], &total)) return INT64_MAX;
    }
    return total;
}

static bool too_large(const Plan *p, const PlanProgram *g) {
    for (int stage = 0; stage < p->nstages; stage++) {
        int64_t total = 0;
        for (int64_t i = 0; i < g->count[stage]; i++) {
            const PlanStep *s = &g->steps[stage][i];
            int64_t n = s->kind == PLAN_STEP_RUN ? function_size(p, &p->funcs[s->what]) : 1;
            if (n > CUDA_GRAPH_MOST || (total += n) > CUDA_GRAPH_MOST) return true;
        }
    }
    return false;
}

static Status gpu_begin(Device *device, int program, bool *out_done) {
    DeviceCuda *d = (DeviceCuda *)device;
    CudaProgram *g = &d->programs[program];
    device_cuda_enter(d);
    *out_done = d->launched = d->capturing = false;
    if (status_failed(&d->failed)) return failed_where(d, d->failed);
    d->program = program;
    d->step = 0;
    device_cuda_begin_host(d);
    for (int i = 0; i < CUDA_WORDS; i++) d->words[i].step = d->words[i].op = 0;
    if (g->exec) {
        *out_done = d->launched = true;
        device_cuda_did(d, d->api->cuGraphLaunch(g->exec, d->compute), "cuGraphLaunch");
        return d->failed;
    }
    bool init = !strcmp(d->plan->programs[program].name, "init");
    d->capturing = g->runs++ > 0 && !d->eager && !d->timed && !g->large && !init;
    if (d->capturing &&
        !device_cuda_did(d, d->api->cuStreamBeginCapture(d->compute, CU_CAPTURE_THREAD_LOCAL), "cuStreamBeginCapture"))
        d->capturing = false;
    return d->failed;
}

static void gpu_step(Device *device, int64_t at) {
    DeviceCuda *d = (DeviceCuda *)device;
    d->step = at;
    if (!status_failed(&d->failed)) put_word(d, d->compute, d->words_at, (uint32_t)(at + 1));
}

static Status capture_end(DeviceCuda *d) {
    CuGraph graph = NULL;
    CudaProgram *g = &d->programs[d->program];
    d->capturing = false;
    CuResult r = d->api->cuStreamEndCapture(d->compute, &graph);
    device_cuda_did(d, r, "the program cannot be captured as a graph");
    if (!status_failed(&d->failed))
        device_cuda_did(d, d->api->cuGraphInstantiate(&g->exec, graph, 0), "cuGraphInstantiate");
    if (graph) d->api->cuGraphDestroy(graph);
    if (!status_failed(&d->failed)) device_cuda_did(d, d->api->cuGraphLaunch(g->exec, d->compute), "cuGraphLaunch");
    d->launched = true;
    return d->failed;
}

static Status gpu_end(Device *device, int program) {
    DeviceCuda *d = (DeviceCuda *)device;
    (void)program;
    if (d->capturing) capture_end(d);
    if (status_failed(&d->failed)) return failed_where(d, d->failed);
    Status s = device_cuda_wait(d, d->compute);
    if (status_failed(&s)) d->failed = s;
    return s;
}

void device_cuda_drop_graphs(DeviceCuda *d) {
    for (int i = 0; d->programs && i < d->plan->nprograms; i++) {
        if (d->programs[i].exec) d->api->cuGraphExecDestroy(d->programs[i].exec);
        d->programs[i].exec = NULL;
    }
}

enum { FREE_MS = 10000 };

// ---- making ---------------------------------------------------------------------------------------------------------
static void gpu_free(Device *device) {
    DeviceCuda *d = (DeviceCuda *)device;
    const CudaApi *a = d->api;
    if (d->context) {
        device_cuda_enter(d);
        d->watch = NULL;
        d->timeout_ms = FREE_MS;
        Status idle = d->words ? device_cuda_wait(d, d->compute) : status_ok();
        if (idle.code == STATUS_COMM) return; // it hangs, and so would everything below: left to the process's end
        device_cuda_drop_graphs(d);
        device_cuda_close_host(d);
        for (int i = 0; d->kernels && i < d->plan->nkernels; i++) gemm_free(d->kernels[i].gemm);
        cublaslt_free(d->cublaslt);
        if (d->module) a->cuModuleUnload(d->module);
        if (d->memory) a->cuMemFree(d->memory);
        if (d->pinned) a->cuMemFreeHost(d->pinned);
        if (d->words) a->cuMemFreeHost(d->words);
        for (int i = 0; i < 2; i++)
            if (d->pin_free[i]) a->cuEventDestroy(d->pin_free[i]);
        if (d->compute) a->cuStreamDestroy(d->compute);
        a->cuCtxSetCurrent(NULL);
        a->cuDevicePrimaryCtxRelease(d->number);
    }
    free(d->kernels);
    free(d->programs);
    free(d->parameters);
    free(d->maps);
    free(d);
}

static const DeviceVtable gpu_vtable = {.name = "cuda",
                                        .launch = gpu_launch,
                                        .copy = gpu_copy,
                                        .fetch = device_cuda_fetch,
                                        .stash = device_cuda_stash,
                                        .finish = device_cuda_finish,
                                        .zero = gpu_zero,
                                        .write = gpu_write,
                                        .read = gpu_read,
                                        .begin = gpu_begin,
                                        .step = gpu_step,
                                        .end = gpu_end,
                                        .free = gpu_free};

int device_cuda_count(const CudaApi *api) {
    int count = 0;
    return api->cuDeviceGetCount(&count) == CU_OK ? count : 0;
}

static Status open_gpu(DeviceCuda *d) {
    int major = 0, minor = 0, count = device_cuda_count(d->api), least = 0, greatest = 0;
    if (d->ordinal >= count)
        return status_make(STATUS_UNSUPPORTED,
                           "rank %d is to run on GPU %d of this machine, which has %d: at most one rank a GPU", d->rank,
                           d->ordinal, count);
    const CudaApi *a = d->api;
    CUDA_TRY(a, cuDeviceGet(&d->number, d->ordinal), "cuDeviceGet");
    CUDA_TRY(a, cuDeviceGetName(d->name, sizeof d->name, d->number), "cuDeviceGetName");
    CUDA_TRY(a, cuDeviceGetAttribute(&major, CU_ATTR_MAJOR, d->number), "cuDeviceGetAttribute");
    CUDA_TRY(a, cuDeviceGetAttribute(&minor, CU_ATTR_MINOR, d->number), "cuDeviceGetAttribute");
    CUDA_TRY(a, cuDeviceGetAttribute(&d->processors, CU_ATTR_PROCESSORS, d->number), "cuDeviceGetAttribute");
    d->sm = major * 10 + minor;
    CUDA_TRY(a, cuDevicePrimaryCtxRetain(&d->context, d->number), "the GPU cannot be used");
    CUDA_TRY(a, cuCtxSetCurrent(d->context), "cuCtxSetCurrent");
    CUDA_TRY(a, cuCtxGetStreamPriorityRange(&least, &greatest), "cuCtxGetStreamPriorityRange");
    CUDA_TRY(a, cuStreamCreateWithPriority(&d->compute, CU_STREAM_NONBLOCKING_FLAG, least), "cuStreamCreate");
    for (int i = 0; i < 2; i++) CUDA_TRY(a, cuEventCreate(&d->pin_free[i], CU_EVENT_NO_TIMING), "cuEventCreate");
    return status_ok();
}

static Status open_memory(DeviceCuda *d, const DeviceOptions *o) {
    const CudaApi *a = d->api;
    int64_t slab, staging, total, gemm = 0;
    for (int i = 0; i < o->plan->nkernels; i++)
        if (o->plan->kernels[i].gemm) gemm = CUBLASLT_WORK_BYTES;
    if (!checked_round_up(o->slab_bytes + !o->slab_bytes, 4096, &slab) ||
        !checked_round_up(plan_staging_bytes(o->plan), 4096, &staging) || !checked_add(slab, staging, &total) ||
        !checked_add(total, CUDA_BOUNCE_BYTES, &total) || !checked_add(total, gemm, &total))
        return status_make(STATUS_MEMORY, "a slab of %lld bytes is too large", (long long)o->slab_bytes);
    CuResult r = a->cuMemAlloc(&d->memory, (size_t)total);
    if (r == CU_ERROR_OUT_OF_MEMORY) {
        size_t left = 0, all = 0;
        a->cuMemGetInfo(&left, &all);
        return status_make(STATUS_MEMORY, "rank %d needs %.3f GB, GPU %d (%s) has %.3f of %.3f GB left", o->rank,
                           1e-9 * (double)total, d->ordinal, d->name, 1e-9 * (double)left, 1e-9 * (double)all);
    }
    STATUS_TRY(cuda_status(a, r, "cuMemAlloc"));
    d->device.slab = (char *)(uintptr_t)d->memory;
    d->device.slab_bytes = slab;
    d->device.scratch_bytes = total - slab;
    d->gemm_work = d->device.slab + slab;
    d->bounce = d->gemm_work + gemm;
    d->staging = d->bounce + CUDA_BOUNCE_BYTES;
    CUDA_TRY(a, cuMemsetD8Async(d->memory, o->poison ? 0xff : 0, (size_t)total, d->compute), "cuMemsetD8Async");
    void *host;
    CUDA_TRY(a, cuMemHostAlloc(&host, 2 * CUDA_PIN_BYTES, CU_HOST_PORTABLE), "no pinned memory");
    d->pinned = host;
    CUDA_TRY(a, cuMemHostAlloc(&host, CUDA_WORDS * sizeof *d->words, CU_HOST_PORTABLE | CU_HOST_MAPPED),
             "no pinned memory");
    d->words = host;
    memset(host, 0, CUDA_WORDS * sizeof *d->words);
    CUDA_TRY(a, cuMemHostGetDevicePointer(&d->words_at, host, 0), "cuMemHostGetDevicePointer");
    CUDA_TRY(a, cuStreamSynchronize(d->compute), "clearing the slab");
    return status_ok();
}

// Not every driver takes writes of a stream into a graph; clearings it does.
static void probe_marks(DeviceCuda *d) {
    CuGraph graph = NULL;
    CuGraphExec exec = NULL;
    if (d->api->cuStreamBeginCapture(d->compute, CU_CAPTURE_THREAD_LOCAL) != CU_OK) return;
    CuResult r = d->api->cuStreamWriteValue32(d->compute, d->words_at, 0, 0);
    CuResult ended = d->api->cuStreamEndCapture(d->compute, &graph);
    if (r == CU_OK) r = ended;
    if (r == CU_OK) r = d->api->cuGraphInstantiate(&exec, graph, 0);
    d->marks_by_memset = r != CU_OK;
    if (exec) d->api->cuGraphExecDestroy(exec);
    if (graph) d->api->cuGraphDestroy(graph);
}

static Status make_inside(DeviceCuda *d, const DeviceOptions *o) {
    STATUS_TRY(open_gpu(d));
    STATUS_TRY(device_cuda_load(d, o->cuda));
    STATUS_TRY(open_memory(d, o));
    probe_marks(d);
    STATUS_TRY(device_cuda_open_host(d, o->host_bytes, o->poison));
    if (!(d->programs = calloc((size_t)d->plan->nprograms + 1, sizeof *d->programs)))
        return status_make(STATUS_MEMORY, "no memory for %d programs", d->plan->nprograms);
    for (int i = 0; i < d->plan->nprograms; i++) d->programs[i].large = too_large(d->plan, &d->plan->programs[i]);
    return status_ok();
}

Status device_cuda_make(const DeviceOptions *o, Device **out_device) {
    *out_device = NULL;
    const CudaApi *api;
    STATUS_TRY(cuda_api(&api));
    DeviceCuda *d = calloc(1, sizeof *d);
    if (!d) return status_make(STATUS_MEMORY, "no memory for a device");
    d->device.v = &gpu_vtable;
    d->api = api;
    d->plan = o->plan;
    d->rank = o->rank;
    d->ordinal = o->ordinal;
    d->eager = o->eager;
    d->timed = o->timed;
    d->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : CUDA_TIMEOUT_MS;
    if (o->cuda_fault) d->fault = *o->cuda_fault;
    Status s = make_inside(d, o);
    if (status_failed(&s)) {
        gpu_free(&d->device);
        return s;
    }
    *out_device = &d->device;
    return s;
}
