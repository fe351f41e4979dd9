// SPDX-License-Identifier: Apache-2.0
// standin: the libraries' stand-ins as tests of them call them, loaded as the runtime does. standin_make compiles
// kernels and loads them on the calling thread's device.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STANDIN_CUDA(X)                                                                                                \
    X(cuInit, unsigned)                                                                                                \
    X(cuGetErrorString, int, const char **)                                                                            \
    X(cuDevicePrimaryCtxRetain, void **, int)                                                                          \
    X(cuDevicePrimaryCtxRelease_v2, int)                                                                               \
    X(cuCtxSetCurrent, void *)                                                                                         \
    X(cuCtxSynchronize, void)                                                                                          \
    X(cuMemAlloc_v2, uint64_t *, size_t)                                                                               \
    X(cuMemFree_v2, uint64_t)                                                                                          \
    X(cuMemHostAlloc, void **, size_t, unsigned)                                                                       \
    X(cuMemFreeHost, void *)                                                                                           \
    X(cuMemcpyHtoDAsync_v2, uint64_t, const void *, size_t, void *)                                                    \
    X(cuMemcpyDtoHAsync_v2, void *, uint64_t, size_t, void *)                                                          \
    X(cuMemcpyDtoDAsync_v2, uint64_t, uint64_t, size_t, void *)                                                        \
    X(cuMemsetD32Async, uint64_t, unsigned, size_t, void *)                                                            \
    X(cuMemsetD2D8Async, uint64_t, size_t, unsigned char, size_t, size_t, void *)                                      \
    X(cuStreamCreateWithPriority, void **, unsigned, int)                                                              \
    X(cuStreamDestroy_v2, void *)                                                                                      \
    X(cuStreamSynchronize, void *)                                                                                     \
    X(cuStreamQuery, void *)                                                                                           \
    X(cuStreamWaitEvent, void *, void *, unsigned)                                                                     \
    X(cuStreamBeginCapture_v2, void *, int)                                                                            \
    X(cuStreamEndCapture, void *, void **)                                                                             \
    X(cuEventCreate, void **, unsigned)                                                                                \
    X(cuEventDestroy_v2, void *)                                                                                       \
    X(cuEventRecord, void *, void *)                                                                                   \
    X(cuEventQuery, void *)                                                                                            \
    X(cuEventSynchronize, void *)                                                                                      \
    X(cuEventElapsedTime, float *, void *, void *)                                                                     \
    X(cuGraphInstantiateWithFlags, void **, void *, unsigned long long)                                                \
    X(cuGraphLaunch, void *, void *)                                                                                   \
    X(cuGraphDestroy, void *)                                                                                          \
    X(cuGraphExecDestroy, void *)                                                                                      \
    X(cuModuleLoadDataEx, void **, const void *, unsigned, int *, void **)                                             \
    X(cuModuleUnload, void *)                                                                                          \
    X(cuModuleGetFunction, void **, void *, const char *)                                                              \
    X(cuFuncSetAttribute, void *, int, int)                                                                            \
    X(cuLaunchKernel, void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **,   \
      void **)
#define STANDIN_NVRTC(X)                                                                                               \
    X(nvrtcCreateProgram, void **, const char *, const char *, int, const char *const *, const char *const *)          \
    X(nvrtcCompileProgram, void *, int, const char *const *)                                                           \
    X(nvrtcGetCUBINSize, void *, size_t *)                                                                             \
    X(nvrtcGetCUBIN, void *, char *)                                                                                   \
    X(nvrtcGetPTXSize, void *, size_t *)                                                                               \
    X(nvrtcGetPTX, void *, char *)                                                                                     \
    X(nvrtcGetProgramLogSize, void *, size_t *)                                                                        \
    X(nvrtcGetProgramLog, void *, char *)                                                                              \
    X(nvrtcDestroyProgram, void **)
typedef struct StandinId {
    char bytes[128];
} StandinId;
#define STANDIN_NCCL(X)                                                                                                \
    X(ncclGetVersion, int *)                                                                                           \
    X(ncclGetUniqueId, StandinId *)                                                                                    \
    X(ncclCommInitRankConfig, void **, int, StandinId, int, void *)                                                    \
    X(ncclCommSplit, void *, int, int, void **, void *)                                                                \
    X(ncclCommFinalize, void *)                                                                                        \
    X(ncclCommDestroy, void *)                                                                                         \
    X(ncclCommAbort, void *)                                                                                           \
    X(ncclCommGetAsyncError, void *, int *)                                                                            \
    X(ncclAllReduce, const void *, void *, size_t, int, int, void *, void *)                                           \
    X(ncclAllGather, const void *, void *, size_t, int, void *, void *)                                                \
    X(ncclReduceScatter, const void *, void *, size_t, int, int, void *, void *)                                       \
    X(ncclBroadcast, const void *, void *, size_t, int, int, void *, void *)                                           \
    X(ncclSend, const void *, size_t, int, int, void *, void *)                                                        \
    X(ncclRecv, void *, size_t, int, int, void *, void *)                                                              \
    X(ncclGroupStart, void)                                                                                            \
    X(ncclGroupEnd, void)

#define STANDIN_FIELD(name, ...) int (*name)(__VA_ARGS__);
typedef struct Standin {
    STANDIN_CUDA(STANDIN_FIELD)
    STANDIN_NVRTC(STANDIN_FIELD)
    STANDIN_NCCL(STANDIN_FIELD)
    const char *(*ncclGetLastError)(void *comm);
} Standin;
extern Standin cu;

bool standin_load(void); // false: prints what is missing
// A cubin for sm_90a of codegen/cuda_prelude.cuh and these kernels; malloc'ed. NULL: prints the compiler's log.
char *standin_cubin(const char *kernels, bool ptx);
