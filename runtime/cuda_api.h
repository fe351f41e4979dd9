// SPDX-License-Identifier: Apache-2.0
// cuda_api: what is used of NVIDIA's libraries, declared in our own words and loaded when it is first asked for:
// nothing here is needed to build, and a program that never asks runs where none of them exist. One table a library; a
// line is X(result, name, symbol, parameters): `symbol` is what the library exports, with the version its ABI spells
// out.
//
// Where they are looked for: in the folder TGF_CUDA_LIBRARIES when that is set, and then only there; else where the
// loader looks, then in lib64 of CUDA_HOME, CUDA_PATH and /usr/local/cuda.
// tests/runtime/test_cuda_abi.c compares all numbers and layouts with the toolkit's headers where there are some.
#pragma once
#include "base/status.h"
#include <stddef.h>
#include <stdint.h>

// ---- the driver: libcuda.so.1 ---------------------------------------------------------------------------------------
typedef int CuResult, CuDevice;
typedef uint64_t CuAddress; // of device memory; under unified addressing the same as a pointer
typedef struct CuContextTag *CuContext;
typedef struct CuStreamTag *CuStream;
typedef struct CuEventTag *CuEvent;
typedef struct CuModuleTag *CuModule;
typedef struct CuFunctionTag *CuFunction;
typedef struct CuGraphTag *CuGraph;
typedef struct CuGraphExecTag *CuGraphExec;

enum {
    CU_OK = 0,
    CU_ERROR_INVALID_VALUE = 1,
    CU_ERROR_OUT_OF_MEMORY = 2,
    CU_ERROR_NO_DEVICE = 100,
    CU_ERROR_INVALID_IMAGE = 200,
    CU_ERROR_NO_BINARY = 209,
    CU_ERROR_NOT_FOUND = 500,
    CU_ERROR_NOT_READY = 600,
    CU_ERROR_CAPTURE_UNSUPPORTED = 900,
    CU_ERROR_CAPTURE_INVALIDATED = 901,
    CU_ERROR_UNKNOWN = 999
};
enum { // cuDeviceGetAttribute
    CU_ATTR_PROCESSORS = 16,
    CU_ATTR_UNIFIED_ADDRESSING = 41,
    CU_ATTR_MAJOR = 75,
    CU_ATTR_MINOR = 76,
    CU_ATTR_SHARED_OPTIN = 97, // dynamic shared memory that one block can be given
};
enum { CU_FUNC_SHARED = 8, CU_FUNC_LOCAL = 3, CU_FUNC_REGISTERS = 4 }; // cuFuncSetAttribute, cuFuncGetAttribute
enum { CU_STREAM_NONBLOCKING_FLAG = 1, CU_EVENT_NO_TIMING = 2, CU_CAPTURE_THREAD_LOCAL = 1 };
enum { CU_HOST_PORTABLE = 1, CU_HOST_MAPPED = 2 }; // cuMemHostAlloc
enum { CU_JIT_INFO_LOG = 3, CU_JIT_INFO_LOG_BYTES = 4, CU_JIT_ERROR_LOG = 5, CU_JIT_ERROR_LOG_BYTES = 6 };
enum { CU_CAPTURE_NONE = 0, CU_CAPTURE_ACTIVE = 1, CU_CAPTURE_INVALIDATED = 2 }; // cuStreamIsCapturing

enum { CU_MEMORY_HOST = 1, CU_MEMORY_DEVICE = 2 };
typedef struct CuCopy2D { // rows of `bytes` bytes, each pitch behind the other
    size_t from_x, from_y;
    int from_type;
    const void *from_host;
    CuAddress from_device;
    void *from_array;
    size_t from_pitch, to_x, to_y;
    int to_type;
    void *to_host;
    CuAddress to_device;
    void *to_array;
    size_t to_pitch, bytes, rows;
} CuCopy2D;

enum { CU_MAP_F16 = 6, CU_MAP_F32 = 7, CU_MAP_BF16 = 9 }; // element types of cuTensorMapEncodeTiled
enum { CU_MAP_SWIZZLE_NONE = 0, CU_MAP_SWIZZLE_32 = 1, CU_MAP_SWIZZLE_64 = 2, CU_MAP_SWIZZLE_128 = 3 };
enum { CU_MAP_INTERLEAVE_NONE = 0, CU_MAP_FILL_ZERO = 0, CU_MAP_L2_128 = 2 };
typedef struct CuMap { // CUtensorMap: aligned to 64 bytes
    _Alignas(64) uint64_t opaque[16];
} CuMap;

#define CUDA_SYMBOLS(X)                                                                                                \
    X(CuResult, cuInit, cuInit, (unsigned flags))                                                                      \
    X(CuResult, cuDriverGetVersion, cuDriverGetVersion, (int *out_version))                                            \
    X(CuResult, cuGetErrorName, cuGetErrorName, (CuResult error, const char **out_name))                               \
    X(CuResult, cuGetErrorString, cuGetErrorString, (CuResult error, const char **out_text))                           \
    X(CuResult, cuDeviceGetCount, cuDeviceGetCount, (int *out_count))                                                  \
    X(CuResult, cuDeviceGet, cuDeviceGet, (CuDevice * out_device, int ordinal))                                        \
    X(CuResult, cuDeviceGetName, cuDeviceGetName, (char *out_name, int size, CuDevice device))                         \
    X(CuResult, cuDeviceGetAttribute, cuDeviceGetAttribute, (int *out_value, int attribute, CuDevice device))          \
    X(CuResult, cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CuContext * out_context, CuDevice device))        \
    X(CuResult, cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (CuDevice device))                            \
    X(CuResult, cuCtxSetCurrent, cuCtxSetCurrent, (CuContext context))                                                 \
    X(CuResult, cuCtxGetCurrent, cuCtxGetCurrent, (CuContext * out_context))                                           \
    X(CuResult, cuCtxSynchronize, cuCtxSynchronize, (void))                                                            \
    X(CuResult, cuCtxGetStreamPriorityRange, cuCtxGetStreamPriorityRange, (int *out_least, int *out_greatest))         \
    X(CuResult, cuMemGetInfo, cuMemGetInfo_v2, (size_t * out_free, size_t * out_total))                                \
    X(CuResult, cuMemAlloc, cuMemAlloc_v2, (CuAddress * out_address, size_t bytes))                                    \
    X(CuResult, cuMemFree, cuMemFree_v2, (CuAddress address))                                                          \
    X(CuResult, cuMemHostAlloc, cuMemHostAlloc, (void **out_host, size_t bytes, unsigned flags))                       \
    X(CuResult, cuMemFreeHost, cuMemFreeHost, (void *host))                                                            \
    X(CuResult, cuMemHostGetDevicePointer, cuMemHostGetDevicePointer_v2,                                               \
      (CuAddress * out_address, void *host, unsigned flags))                                                           \
    X(CuResult, cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (CuAddress to, const void *from, size_t bytes, CuStream s))   \
    X(CuResult, cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void *to, CuAddress from, size_t bytes, CuStream s))         \
    X(CuResult, cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, (CuAddress to, CuAddress from, size_t bytes, CuStream s))     \
    X(CuResult, cuMemcpy2DAsync, cuMemcpy2DAsync_v2, (const CuCopy2D *copy, CuStream s))                               \
    X(CuResult, cuMemsetD8Async, cuMemsetD8Async, (CuAddress to, unsigned char value, size_t count, CuStream s))       \
    X(CuResult, cuMemsetD32Async, cuMemsetD32Async, (CuAddress to, unsigned value, size_t count, CuStream s))          \
    X(CuResult, cuMemsetD2D8Async, cuMemsetD2D8Async,                                                                  \
      (CuAddress to, size_t pitch, unsigned char value, size_t width, size_t rows, CuStream s))                        \
    X(CuResult, cuStreamCreateWithPriority, cuStreamCreateWithPriority,                                                \
      (CuStream * out_stream, unsigned flags, int priority))                                                           \
    X(CuResult, cuStreamDestroy, cuStreamDestroy_v2, (CuStream s))                                                     \
    X(CuResult, cuStreamSynchronize, cuStreamSynchronize, (CuStream s))                                                \
    X(CuResult, cuStreamQuery, cuStreamQuery, (CuStream s))                                                            \
    X(CuResult, cuStreamWaitEvent, cuStreamWaitEvent, (CuStream s, CuEvent event, unsigned flags))                     \
    X(CuResult, cuStreamWriteValue32, cuStreamWriteValue32_v2,                                                         \
      (CuStream s, CuAddress to, uint32_t value, unsigned flags))                                                      \
    X(CuResult, cuStreamBeginCapture, cuStreamBeginCapture_v2, (CuStream s, int mode))                                 \
    X(CuResult, cuStreamEndCapture, cuStreamEndCapture, (CuStream s, CuGraph * out_graph))                             \
    X(CuResult, cuStreamIsCapturing, cuStreamIsCapturing, (CuStream s, int *out_status))                               \
    X(CuResult, cuThreadExchangeStreamCaptureMode, cuThreadExchangeStreamCaptureMode, (int *mode))                     \
    X(CuResult, cuEventCreate, cuEventCreate, (CuEvent * out_event, unsigned flags))                                   \
    X(CuResult, cuEventDestroy, cuEventDestroy_v2, (CuEvent event))                                                    \
    X(CuResult, cuEventRecord, cuEventRecord, (CuEvent event, CuStream s))                                             \
    X(CuResult, cuEventQuery, cuEventQuery, (CuEvent event))                                                           \
    X(CuResult, cuEventSynchronize, cuEventSynchronize, (CuEvent event))                                               \
    X(CuResult, cuEventElapsedTime, cuEventElapsedTime, (float *out_ms, CuEvent from, CuEvent to))                     \
    X(CuResult, cuGraphInstantiate, cuGraphInstantiateWithFlags,                                                       \
      (CuGraphExec * out_exec, CuGraph graph, unsigned long long flags))                                               \
    X(CuResult, cuGraphUpload, cuGraphUpload, (CuGraphExec exec, CuStream s))                                          \
    X(CuResult, cuGraphLaunch, cuGraphLaunch, (CuGraphExec exec, CuStream s))                                          \
    X(CuResult, cuGraphDestroy, cuGraphDestroy, (CuGraph graph))                                                       \
    X(CuResult, cuGraphExecDestroy, cuGraphExecDestroy, (CuGraphExec exec))                                            \
    X(CuResult, cuModuleLoadDataEx, cuModuleLoadDataEx,                                                                \
      (CuModule * out_module, const void *image, unsigned noptions, int *options, void **values))                      \
    X(CuResult, cuModuleUnload, cuModuleUnload, (CuModule module))                                                     \
    X(CuResult, cuModuleGetFunction, cuModuleGetFunction,                                                              \
      (CuFunction * out_function, CuModule module, const char *name))                                                  \
    X(CuResult, cuFuncSetAttribute, cuFuncSetAttribute, (CuFunction f, int attribute, int value))                      \
    X(CuResult, cuFuncGetAttribute, cuFuncGetAttribute, (int *out_value, int attribute, CuFunction f))                 \
    X(CuResult, cuLaunchKernel, cuLaunchKernel,                                                                        \
      (CuFunction f, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,            \
       unsigned block_z, unsigned shared_bytes, CuStream s, void **parameters, void **extra))                          \
    X(CuResult, cuTensorMapEncodeTiled, cuTensorMapEncodeTiled,                                                        \
      (CuMap * out_map, int type, uint32_t rank, void *address, const uint64_t *extent, const uint64_t *stride,        \
       const uint32_t *box, const uint32_t *step, int interleave, int swizzle, int promotion, int fill))

// ---- the compiler of CUDA C: libnvrtc.so.13, .12, or .so
// --------------------------------------------------------------
typedef int NvrtcResult;
typedef struct NvrtcProgramTag *NvrtcProgram;
enum { NVRTC_OK = 0, NVRTC_FAILED_COMPILATION = 6 };

#define NVRTC_SYMBOLS(X)                                                                                               \
    X(const char *, nvrtcGetErrorString, nvrtcGetErrorString, (NvrtcResult result))                                    \
    X(NvrtcResult, nvrtcVersion, nvrtcVersion, (int *out_major, int *out_minor))                                       \
    X(NvrtcResult, nvrtcGetNumSupportedArchs, nvrtcGetNumSupportedArchs, (int *out_count))                             \
    X(NvrtcResult, nvrtcGetSupportedArchs, nvrtcGetSupportedArchs, (int *out_archs))                                   \
    X(NvrtcResult, nvrtcCreateProgram, nvrtcCreateProgram,                                                             \
      (NvrtcProgram * out_program, const char *source, const char *name, int nheaders, const char *const *headers,     \
       const char *const *names))                                                                                      \
    X(NvrtcResult, nvrtcDestroyProgram, nvrtcDestroyProgram, (NvrtcProgram * program))                                 \
    X(NvrtcResult, nvrtcCompileProgram, nvrtcCompileProgram,                                                           \
      (NvrtcProgram program, int noptions, const char *const *options))                                                \
    X(NvrtcResult, nvrtcGetCUBINSize, nvrtcGetCUBINSize, (NvrtcProgram program, size_t * out_bytes))                   \
    X(NvrtcResult, nvrtcGetCUBIN, nvrtcGetCUBIN, (NvrtcProgram program, char *out_cubin))                              \
    X(NvrtcResult, nvrtcGetPTXSize, nvrtcGetPTXSize, (NvrtcProgram program, size_t * out_bytes))                       \
    X(NvrtcResult, nvrtcGetPTX, nvrtcGetPTX, (NvrtcProgram program, char *out_ptx))                                    \
    X(NvrtcResult, nvrtcGetProgramLogSize, nvrtcGetProgramLogSize, (NvrtcProgram program, size_t * out_bytes))         \
    X(NvrtcResult, nvrtcGetProgramLog, nvrtcGetProgramLog, (NvrtcProgram program, char *out_log))

// ---- collectives: libnccl.so.2, 2.18 or newer -----------------------------------------------------------------------
typedef int NcclResult;
typedef struct NcclCommTag *NcclComm;
typedef struct NcclId { // ncclUniqueId
    char bytes[128];
} NcclId;
enum { NCCL_OK = 0, NCCL_CUDA_ERROR = 1, NCCL_SYSTEM_ERROR = 2, NCCL_REMOTE_ERROR = 6, NCCL_IN_PROGRESS = 7 };
enum { NCCL_U8 = 1, NCCL_I32 = 2, NCCL_F16 = 6, NCCL_F32 = 7, NCCL_F64 = 8, NCCL_BF16 = 9 };
enum { NCCL_SUM = 0, NCCL_MAX = 2 };
enum { NCCL_VERSION_LEAST = 21800, NCCL_NO_COLOR = -1 }; // no color: a rank that is in none of the new communicators

typedef struct NcclConfig { // ncclConfig_t as of 2.18: newer libraries take the rest from their defaults
    size_t size;
    unsigned magic, version;
    int blocking, cga_cluster, least_blocks, most_blocks;
    const char *net;
    int split_share;
} NcclConfig;
enum { NCCL_DEFAULT = (int)0x80000000 };
#define NCCL_CONFIG                                                                                                    \
    ((NcclConfig){sizeof(NcclConfig), 0xcafebeef, NCCL_VERSION_LEAST, 1, NCCL_DEFAULT, NCCL_DEFAULT, NCCL_DEFAULT,     \
                  NULL, NCCL_DEFAULT})

#define NCCL_SYMBOLS(X)                                                                                                \
    X(const char *, ncclGetErrorString, ncclGetErrorString, (NcclResult result))                                       \
    X(const char *, ncclGetLastError, ncclGetLastError, (NcclComm comm))                                               \
    X(NcclResult, ncclGetVersion, ncclGetVersion, (int *out_version))                                                  \
    X(NcclResult, ncclGetUniqueId, ncclGetUniqueId, (NcclId * out_id))                                                 \
    X(NcclResult, ncclCommInitRankConfig, ncclCommInitRankConfig,                                                      \
      (NcclComm * out_comm, int nranks, NcclId id, int rank, NcclConfig *config))                                      \
    X(NcclResult, ncclCommCount, ncclCommCount, (NcclComm comm, int *out_count))                                       \
    X(NcclResult, ncclCommUserRank, ncclCommUserRank, (NcclComm comm, int *out_rank))                                  \
    X(NcclResult, ncclCommCuDevice, ncclCommCuDevice, (NcclComm comm, int *out_device))                                \
    X(NcclResult, ncclCommSplit, ncclCommSplit,                                                                        \
      (NcclComm comm, int color, int key, NcclComm *out_comm, NcclConfig *config))                                     \
    X(NcclResult, ncclCommFinalize, ncclCommFinalize, (NcclComm comm))                                                 \
    X(NcclResult, ncclCommDestroy, ncclCommDestroy, (NcclComm comm))                                                   \
    X(NcclResult, ncclCommAbort, ncclCommAbort, (NcclComm comm))                                                       \
    X(NcclResult, ncclCommGetAsyncError, ncclCommGetAsyncError, (NcclComm comm, NcclResult * out_error))               \
    X(NcclResult, ncclAllReduce, ncclAllReduce,                                                                        \
      (const void *send, void *receive, size_t count, int type, int reduce, NcclComm comm, CuStream s))                \
    X(NcclResult, ncclAllGather, ncclAllGather,                                                                        \
      (const void *send, void *receive, size_t count, int type, NcclComm comm, CuStream s))                            \
    X(NcclResult, ncclReduceScatter, ncclReduceScatter,                                                                \
      (const void *send, void *receive, size_t count, int type, int reduce, NcclComm comm, CuStream s))                \
    X(NcclResult, ncclBroadcast, ncclBroadcast,                                                                        \
      (const void *send, void *receive, size_t count, int type, int root, NcclComm comm, CuStream s))                  \
    X(NcclResult, ncclSend, ncclSend, (const void *send, size_t count, int type, int peer, NcclComm comm, CuStream s)) \
    X(NcclResult, ncclRecv, ncclRecv, (void *receive, size_t count, int type, int peer, NcclComm comm, CuStream s))    \
    X(NcclResult, ncclGroupStart, ncclGroupStart, (void))                                                              \
    X(NcclResult, ncclGroupEnd, ncclGroupEnd, (void))

// ---- matrix products: libcublasLt.so.13 or .12 ----------------------------------------------------------------------
typedef int CublasResult;
typedef struct CublasTag *Cublas;
typedef struct CublasOpTag *CublasOp;
typedef struct CublasLayoutTag *CublasLayout;
typedef struct CublasChoiceTag *CublasChoice;
typedef struct CublasAlgo {
    uint64_t data[8];
} CublasAlgo;
typedef struct CublasFound { // cublasLtMatmulHeuristicResult_t
    CublasAlgo algo;
    size_t work_bytes;
    CublasResult state;
    float waves;
    int reserved[4];
} CublasFound;
enum { CUBLAS_OK = 0 };
enum { CUBLAS_F32 = 0, CUBLAS_F16 = 2, CUBLAS_BF16 = 14 };     // cudaDataType
enum { CUBLAS_COMPUTE_F32 = 68, CUBLAS_COMPUTE_TF32 = 77 };    // cublasComputeType_t
enum { CUBLAS_OP_TRANSPOSE_A = 3, CUBLAS_OP_TRANSPOSE_B = 4 }; // cublasLtMatmulDescAttributes_t
enum { CUBLAS_PLAIN = 0, CUBLAS_TRANSPOSED = 1 };              // cublasOperation_t, int32
enum {
    CUBLAS_LAYOUT_BATCH = 5,
    CUBLAS_LAYOUT_BATCH_STRIDE = 6,
    CUBLAS_CHOICE_WORK_BYTES = 1,
    CUBLAS_CHOICE_ALIGN_A = 5
};

#define CUBLASLT_SYMBOLS(X)                                                                                            \
    X(size_t, cublasLtGetVersion, cublasLtGetVersion, (void))                                                          \
    X(const char *, cublasLtGetStatusString, cublasLtGetStatusString, (CublasResult status))                           \
    X(CublasResult, cublasLtCreate, cublasLtCreate, (Cublas * out_handle))                                             \
    X(CublasResult, cublasLtDestroy, cublasLtDestroy, (Cublas handle))                                                 \
    X(CublasResult, cublasLtMatmulDescCreate, cublasLtMatmulDescCreate, (CublasOp * out_op, int compute, int scale))   \
    X(CublasResult, cublasLtMatmulDescDestroy, cublasLtMatmulDescDestroy, (CublasOp op))                               \
    X(CublasResult, cublasLtMatmulDescSetAttribute, cublasLtMatmulDescSetAttribute,                                    \
      (CublasOp op, int attribute, const void *value, size_t bytes))                                                   \
    X(CublasResult, cublasLtMatrixLayoutCreate, cublasLtMatrixLayoutCreate,                                            \
      (CublasLayout * out_layout, int type, uint64_t rows, uint64_t columns, int64_t stride))                          \
    X(CublasResult, cublasLtMatrixLayoutDestroy, cublasLtMatrixLayoutDestroy, (CublasLayout layout))                   \
    X(CublasResult, cublasLtMatrixLayoutSetAttribute, cublasLtMatrixLayoutSetAttribute,                                \
      (CublasLayout layout, int attribute, const void *value, size_t bytes))                                           \
    X(CublasResult, cublasLtMatmulPreferenceCreate, cublasLtMatmulPreferenceCreate, (CublasChoice * out_choice))       \
    X(CublasResult, cublasLtMatmulPreferenceDestroy, cublasLtMatmulPreferenceDestroy, (CublasChoice choice))           \
    X(CublasResult, cublasLtMatmulPreferenceSetAttribute, cublasLtMatmulPreferenceSetAttribute,                        \
      (CublasChoice choice, int attribute, const void *value, size_t bytes))                                           \
    X(CublasResult, cublasLtMatmulAlgoGetHeuristic, cublasLtMatmulAlgoGetHeuristic,                                    \
      (Cublas handle, CublasOp op, CublasLayout a, CublasLayout b, CublasLayout c, CublasLayout d,                     \
       CublasChoice choice, int most, CublasFound *out_found, int *out_count))                                         \
    X(CublasResult, cublasLtMatmul, cublasLtMatmul,                                                                    \
      (Cublas handle, CublasOp op, const void *alpha, const void *a, CublasLayout a_layout, const void *b,             \
       CublasLayout b_layout, const void *beta, const void *c, CublasLayout c_layout, void *d, CublasLayout d_layout,  \
       const CublasAlgo *algo, void *work, size_t work_bytes, CuStream s))

// ---- loaded ---------------------------------------------------------------------------------------------------------
#define CUDA_API_FIELD(result, name, symbol, parameters) result(*name) parameters;
typedef struct CudaApi {
    CUDA_SYMBOLS(CUDA_API_FIELD)
    char path[256]; // the file it was loaded from
} CudaApi;
typedef struct NvrtcApi {
    NVRTC_SYMBOLS(CUDA_API_FIELD)
    char path[256];
    int major, minor;
} NvrtcApi;
typedef struct NcclApi {
    NCCL_SYMBOLS(CUDA_API_FIELD)
    char path[256];
    int version; // 22809
} NcclApi;
typedef struct CublasApi {
    CUBLASLT_SYMBOLS(CUDA_API_FIELD)
    char path[256];
} CublasApi;

// Loads the library on the first call, from whichever thread; later calls answer the same. Absent, or without one of
// the symbols: STATUS_UNSUPPORTED, one line that says what is missing and where it was looked for. The driver is also
// initialised: a machine without a GPU is STATUS_UNSUPPORTED too.
Status cuda_api(const CudaApi **out_api);
Status nvrtc_api(const NvrtcApi **out_api);
Status nccl_api(const NcclApi **out_api);
Status cublas_api(const CublasApi **out_api);

// "WHAT: the library's own words". OK for the libraries' zero.
Status cuda_status(const CudaApi *api, CuResult result, const char *what);
Status nvrtc_status(const NvrtcApi *api, NvrtcResult result, const char *what);
Status nccl_status(const NcclApi *api, NcclComm comm, NcclResult result, const char *what); // comm: NULL is fine
Status cublas_status(const CublasApi *api, CublasResult result, const char *what);

#define CUDA_TRY(api, call, what)                                                                                      \
    do {                                                                                                               \
        CuResult cuda_try_ = (api)->call;                                                                              \
        if (cuda_try_ != CU_OK) return cuda_status(api, cuda_try_, what);                                              \
    } while (0)
