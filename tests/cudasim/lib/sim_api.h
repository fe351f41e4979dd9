// SPDX-License-Identifier: Apache-2.0
// sim_api: between a compiled kernel (C++, cudasim_device.h) and what runs its blocks (sim_block.c). A kernel library
// is given the table once, at load, so that it needs no symbol of whoever loads it.
#pragma once
#ifdef __cplusplus
extern "C" {
#endif

typedef struct SimIndex {
    unsigned x, y, z;
} SimIndex;

typedef struct SimThread { // of the running thread; the same address for all of the thread's life
    SimIndex thread, block, block_dim, grid_dim;
    int number;                // in the block
    unsigned long long serial; // of the block's run: no other, of any kernel, has the same
    char *shared;              // 1024-byte aligned
    long long shared_bytes;
} SimThread;

// What the 32 threads of a warp do together: lanes[i] is what lane i brought. Runs once, when all are there.
typedef void SimAction(void **lanes);

typedef struct SimApi {
    const SimThread *(*self)(void)__attribute__((const));
    // Global memory: reports what is not registered, misaligned or racing, and then does not return.
    void (*touch)(const void *at, long long bytes, long long align, int write);
    void (*touch_shared)(const void *at, long long bytes, long long align);
    void (*meet_warp)(const char *what, SimAction *action, void *mine);
    // id 0 with threads 0: of the whole block. waits 0: arrives only.
    void (*barrier)(int id, int threads, int waits);
    void (*copy_async)(char *to, const char *from, int size, int bytes);
    void (*copy_commit)(void);
    void (*copy_wait)(int groups);
    void (*fail)(const char *what); // does not return
    void (*sleep)(void);            // until somebody calls wake
    void (*wake)(void);             // all that sleep may go on, in any order
    // Each lane brings an array of pointers: see sim_warp.c.
    SimAction *mma_bf16, *mma_f16, *mma_tf32; // {float *d, const unsigned *a, const unsigned *b}
    SimAction *ldmatrix, *ldmatrix_t;         // {unsigned *r, const char *row}
} SimApi;

// What a kernel library exports as `tgf_sim_kernels`, ended by a NULL name, and as `tgf_sim_bind(const SimApi *)`.
typedef struct SimKernel {
    const char *name;
    int most_threads; // __launch_bounds__
    int nparams;
    const int *param_bytes;
    void (*call)(void *const *params);
} SimKernel;

// What lies in a descriptor of the bulk copy engine (CUtensorMap, 128 bytes).
enum { SIM_MAP_MAGIC = 0x7367616d };
typedef struct SimMap {
    int magic, element, rank, swizzle; // bytes
    unsigned long long address;
    unsigned long long stride[5]; // bytes; innermost first
    unsigned extent[5];
    unsigned short box[5];
} SimMap;

#ifdef __cplusplus
}
#endif
