// SPDX-License-Identifier: Apache-2.0
// device_cuda: one rank's GPU, as its device and its communicator see it.
//
// Kernels, copies and clearings go to one stream, `compute`, in order. The communicator has streams of its own
// (comm_nccl.h) and ties them to it with events. The first time that a program runs it is told to the GPU step by step;
// the second time what is told is captured as one graph (all streams), from then on the graph is launched: one call a
// run. What differs between ranks about this is decided from the plan alone, since NCCL wants all members of a
// collective to do it the same way.
//
// Where everything stands is seen in pinned words of the host that the streams write as they go on (CudaWord): so a
// run that does not end can say in what it is stuck.
#pragma once
#include "runtime/cuda_api.h"
#include "runtime/cublaslt.h"
#include "runtime/cuda_fault.h"
#include "runtime/device.h"

enum { CUDA_WORDS = 512, CUDA_TIMEOUT_MS = 600000, CUDA_GRAPH_MOST = 250000 };

// One a stream: 0 `compute`, 1 collectives, the others messages. Written by the stream, read by the host.
typedef struct CudaWord {
    volatile uint32_t step; // number in the program's list, + 1
    volatile uint32_t op;   // collectives: instruction + 1 while it runs; messages: channel + 1; 0: none
} CudaWord;

typedef struct CudaKernel {
    CuFunction function;
    Gemm *gemm;                 // instead of the function: a library's product
    int nargs, nscalars, instr; // instr: one that launches it, for messages; -1: none
} CudaKernel;

typedef struct CudaProgram {
    int runs;         // begun so far
    bool large;       // more than a graph should hold
    CuGraphExec exec; // NULL: not captured
} CudaProgram;

typedef struct DeviceCuda {
    Device device;
    const CudaApi *api;
    const Plan *plan;
    int rank, ordinal, sm, processors; // sm: 90
    bool specific;                     // the image is for this very architecture (sm_90a)
    char name[64];
    CuDevice number;
    CuContext context;
    CuStream compute;
    CuModule module;
    Cublaslt *cublaslt;   // NULL: the plan asks for none of its products
    char *gemm_work;      // device memory for it, behind the slab
    CudaKernel *kernels;  // by kernel of the plan
    CuFunction zero_rows; // codegen/cuda_rows.cuh; NULL: the image has none
    CuAddress memory;
    char *staging, *bounce; // device memory behind the slab; staging: plan_staging_bytes; bounce: CUDA_BOUNCE_BYTES
    char *pinned;           // 2 parts of CUDA_PIN_BYTES
    CuEvent pin_free[2], moment;
    CudaWord *words;
    CuAddress words_at;   // the same, as the GPU writes them
    bool marks_by_memset; // how
    int64_t step;         // of the list, being told
    int program;          // its number, of step
    bool eager, timed;
    bool capturing, launched; // launched: as a graph
    CudaProgram *programs;
    void **parameters; // room for one launch
    CuMap *maps;
    Status failed; // the first one since begin
    int64_t timeout_ms;
    CudaFault fault;
    struct CudaHost *host; // memory of the host beside the slab; NULL: none
    CuStream other;        // the stream of collectives, for a seeded fault
    // The communicator's: asked again and again while the host waits, and before a capture ends. NULL: none.
    Status (*watch)(void *context, struct DeviceCuda *d);
    void *watch_context;
} DeviceCuda;

enum { CUDA_PIN_BYTES = 4 << 20, CUDA_BOUNCE_BYTES = 4 << 20 };

// options->ordinal: the GPU. No driver, no such GPU, no code for it, no memory: each one line.
Status device_cuda_make(const DeviceOptions *options, Device **out_device);
int device_cuda_count(const CudaApi *api); // GPUs of this machine

// ---- for the communicator, on the rank's own thread -----------------------------------------------------------------
void device_cuda_enter(DeviceCuda *d); // this thread's calls are for this GPU
// Remembers the first failure; returns whether the call went well.
bool device_cuda_did(DeviceCuda *d, CuResult r, const char *what);
void device_cuda_mark(DeviceCuda *d, CuStream s, int word, int64_t op);     // op -1: nothing runs any more
bool device_cuda_fails(const DeviceCuda *d, CudaFaultKind kind, int instr); // is that fault seeded here?
void device_cuda_drop_graphs(DeviceCuda *d); // NCCL's communicators do not end before the graphs that use them
// Waits for the stream, watching; a wait without progress ends after the timeout and says what is stuck.
Status device_cuda_wait(DeviceCuda *d, CuStream s);
// device_cuda_module.c: loads the code that fits, and finds the plan's kernels in it.
Status device_cuda_load(DeviceCuda *d, const PlanCuda *image);
// device_cuda_host.c: memory of the host beside the slab. Nothing to do for 0 bytes.
Status device_cuda_open_host(DeviceCuda *d, int64_t bytes, bool poison);
void device_cuda_close_host(DeviceCuda *d);
void device_cuda_begin_host(DeviceCuda *d); // of a program
void device_cuda_fetch(Device *d, int step, bool start, char *to, const char *from, int64_t bytes);
void device_cuda_stash(Device *d, int step, bool start, char *to, const char *from, int64_t bytes);
void device_cuda_finish(Device *d, int step);
// "step 17 (run backward.1): all_reduce %g3 (instruction 331, gpt2.tgf:27) has begun and not ended". Empty: nothing.
void device_cuda_where(const DeviceCuda *d, char *out, size_t size);
