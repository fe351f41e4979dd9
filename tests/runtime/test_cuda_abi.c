// SPDX-License-Identifier: Apache-2.0
// The numbers and layouts of runtime/cuda_api.h beside those of NVIDIA's headers. Where there are none, nothing is
// said.
#include "runtime/cuda_api.h"
#include <stdio.h>
#if __has_include("/usr/local/cuda/include/cuda.h") && __has_include("/usr/local/cuda/include/cuda_runtime_api.h")
#include "/usr/local/cuda/include/cuda.h"
#define HAVE_CUDA 1

#define SAME(ours, theirs) _Static_assert((long long)(ours) == (long long)(theirs), #ours)
#define SAME_FIELD(Ours, ours, Theirs, theirs)                                                                         \
    SAME(offsetof(Ours, ours), offsetof(Theirs, theirs));                                                              \
    SAME(sizeof(((Ours *)0)->ours), sizeof(((Theirs *)0)->theirs))
#pragma GCC diagnostic ignored "-Wenum-compare"

SAME(CU_OK, CUDA_SUCCESS);
SAME(CU_ERROR_INVALID_VALUE, CUDA_ERROR_INVALID_VALUE);
SAME(CU_ERROR_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY);
SAME(CU_ERROR_NO_DEVICE, CUDA_ERROR_NO_DEVICE);
SAME(CU_ERROR_INVALID_IMAGE, CUDA_ERROR_INVALID_IMAGE);
SAME(CU_ERROR_NO_BINARY, CUDA_ERROR_NO_BINARY_FOR_GPU);
SAME(CU_ERROR_NOT_FOUND, CUDA_ERROR_NOT_FOUND);
SAME(CU_ERROR_NOT_READY, CUDA_ERROR_NOT_READY);
SAME(CU_ERROR_CAPTURE_UNSUPPORTED, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
SAME(CU_ERROR_CAPTURE_INVALIDATED, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
SAME(CU_ERROR_UNKNOWN, CUDA_ERROR_UNKNOWN);
SAME(CU_ATTR_PROCESSORS, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
SAME(CU_ATTR_UNIFIED_ADDRESSING, CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING);
SAME(CU_ATTR_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
SAME(CU_ATTR_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
SAME(CU_ATTR_SHARED_OPTIN, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
SAME(CU_FUNC_SHARED, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
SAME(CU_FUNC_LOCAL, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES);
SAME(CU_FUNC_REGISTERS, CU_FUNC_ATTRIBUTE_NUM_REGS);
SAME(CU_STREAM_NONBLOCKING_FLAG, CU_STREAM_NON_BLOCKING);
SAME(CU_EVENT_NO_TIMING, CU_EVENT_DISABLE_TIMING);
SAME(CU_CAPTURE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
SAME(CU_HOST_PORTABLE, CU_MEMHOSTALLOC_PORTABLE);
SAME(CU_HOST_MAPPED, CU_MEMHOSTALLOC_DEVICEMAP);
SAME(CU_JIT_INFO_LOG, CU_JIT_INFO_LOG_BUFFER);
SAME(CU_JIT_INFO_LOG_BYTES, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES);
SAME(CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_BUFFER);
SAME(CU_JIT_ERROR_LOG_BYTES, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
SAME(CU_CAPTURE_NONE, CU_STREAM_CAPTURE_STATUS_NONE);
SAME(CU_CAPTURE_ACTIVE, CU_STREAM_CAPTURE_STATUS_ACTIVE);
SAME(CU_CAPTURE_INVALIDATED, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
SAME(CU_MEMORY_HOST, CU_MEMORYTYPE_HOST);
SAME(CU_MEMORY_DEVICE, CU_MEMORYTYPE_DEVICE);
SAME(sizeof(CuCopy2D), sizeof(CUDA_MEMCPY2D));
SAME_FIELD(CuCopy2D, from_x, CUDA_MEMCPY2D, srcXInBytes);
SAME_FIELD(CuCopy2D, from_type, CUDA_MEMCPY2D, srcMemoryType);
SAME_FIELD(CuCopy2D, from_host, CUDA_MEMCPY2D, srcHost);
SAME_FIELD(CuCopy2D, from_device, CUDA_MEMCPY2D, srcDevice);
SAME_FIELD(CuCopy2D, from_pitch, CUDA_MEMCPY2D, srcPitch);
SAME_FIELD(CuCopy2D, to_x, CUDA_MEMCPY2D, dstXInBytes);
SAME_FIELD(CuCopy2D, to_type, CUDA_MEMCPY2D, dstMemoryType);
SAME_FIELD(CuCopy2D, to_host, CUDA_MEMCPY2D, dstHost);
SAME_FIELD(CuCopy2D, to_device, CUDA_MEMCPY2D, dstDevice);
SAME_FIELD(CuCopy2D, to_pitch, CUDA_MEMCPY2D, dstPitch);
SAME_FIELD(CuCopy2D, bytes, CUDA_MEMCPY2D, WidthInBytes);
SAME_FIELD(CuCopy2D, rows, CUDA_MEMCPY2D, Height);
SAME(sizeof(CuAddress), sizeof(CUdeviceptr));
SAME(sizeof(CuDevice), sizeof(CUdevice));
SAME(sizeof(CuResult), sizeof(CUresult));
SAME(sizeof(CuMap), sizeof(CUtensorMap));
SAME(CU_MAP_F16, CU_TENSOR_MAP_DATA_TYPE_FLOAT16);
SAME(CU_MAP_F32, CU_TENSOR_MAP_DATA_TYPE_FLOAT32);
SAME(CU_MAP_BF16, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16);
SAME(CU_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE);
SAME(CU_MAP_SWIZZLE_32, CU_TENSOR_MAP_SWIZZLE_32B);
SAME(CU_MAP_SWIZZLE_64, CU_TENSOR_MAP_SWIZZLE_64B);
SAME(CU_MAP_SWIZZLE_128, CU_TENSOR_MAP_SWIZZLE_128B);
SAME(CU_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_INTERLEAVE_NONE);
SAME(CU_MAP_FILL_ZERO, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
SAME(CU_MAP_L2_128, CU_TENSOR_MAP_L2_PROMOTION_L2_128B);

// The versions that the plain names stand for today are the ones in the table.
#define STRING(x) STRING_OF(x)
#define STRING_OF(x) #x
#define NAMED(name) {STRING(name), #name},
static const char *const versions[][2] = {
    NAMED(cuMemAlloc) NAMED(cuMemFree) NAMED(cuMemGetInfo) NAMED(cuMemHostGetDevicePointer) NAMED(cuMemcpyHtoDAsync)
        NAMED(cuMemcpyDtoHAsync) NAMED(cuMemcpyDtoDAsync) NAMED(cuMemcpy2DAsync) NAMED(cuStreamDestroy)
            NAMED(cuStreamWriteValue32) NAMED(cuStreamBeginCapture) NAMED(cuEventDestroy) NAMED(cuGraphInstantiate)
                NAMED(cuDevicePrimaryCtxRelease)};

#if __has_include("/usr/local/cuda/include/nvrtc.h")
#include "/usr/local/cuda/include/nvrtc.h"
SAME(NVRTC_OK, NVRTC_SUCCESS);
SAME(NVRTC_FAILED_COMPILATION, NVRTC_ERROR_COMPILATION);
#endif

#if __has_include("/usr/local/cuda/include/nccl.h")
#include "/usr/local/cuda/include/nccl.h"
SAME(NCCL_OK, ncclSuccess);
SAME(NCCL_CUDA_ERROR, ncclUnhandledCudaError);
SAME(NCCL_SYSTEM_ERROR, ncclSystemError);
SAME(NCCL_REMOTE_ERROR, ncclRemoteError);
SAME(NCCL_IN_PROGRESS, ncclInProgress);
SAME(NCCL_U8, ncclUint8);
SAME(NCCL_I32, ncclInt32);
SAME(NCCL_F16, ncclFloat16);
SAME(NCCL_F32, ncclFloat32);
SAME(NCCL_F64, ncclFloat64);
SAME(NCCL_BF16, ncclBfloat16);
SAME(NCCL_SUM, ncclSum);
SAME(NCCL_MAX, ncclMax);
SAME(NCCL_NO_COLOR, NCCL_SPLIT_NOCOLOR);
SAME(NCCL_DEFAULT, NCCL_CONFIG_UNDEF_INT);
SAME(NCCL_VERSION_LEAST, NCCL_VERSION(2, 18, 0));
SAME(sizeof(NcclId), sizeof(ncclUniqueId));
SAME_FIELD(NcclConfig, magic, ncclConfig_t, magic);
SAME_FIELD(NcclConfig, version, ncclConfig_t, version);
SAME_FIELD(NcclConfig, blocking, ncclConfig_t, blocking);
SAME_FIELD(NcclConfig, cga_cluster, ncclConfig_t, cgaClusterSize);
SAME_FIELD(NcclConfig, most_blocks, ncclConfig_t, maxCTAs);
SAME_FIELD(NcclConfig, net, ncclConfig_t, netName);
SAME_FIELD(NcclConfig, split_share, ncclConfig_t, splitShare);
#endif

#if __has_include("/usr/local/cuda/include/cublasLt.h")
#include "/usr/local/cuda/include/cublasLt.h"
SAME(CUBLAS_OK, CUBLAS_STATUS_SUCCESS);
SAME(CUBLAS_F32, CUDA_R_32F);
SAME(CUBLAS_F16, CUDA_R_16F);
SAME(CUBLAS_BF16, CUDA_R_16BF);
SAME(CUBLAS_COMPUTE_F32, CUBLAS_COMPUTE_32F);
SAME(CUBLAS_COMPUTE_TF32, CUBLAS_COMPUTE_32F_FAST_TF32);
SAME(CUBLAS_OP_TRANSPOSE_A, CUBLASLT_MATMUL_DESC_TRANSA);
SAME(CUBLAS_OP_TRANSPOSE_B, CUBLASLT_MATMUL_DESC_TRANSB);
SAME(CUBLAS_PLAIN, CUBLAS_OP_N);
SAME(CUBLAS_TRANSPOSED, CUBLAS_OP_T);
SAME(CUBLAS_LAYOUT_BATCH, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
SAME(CUBLAS_LAYOUT_BATCH_STRIDE, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
SAME(CUBLAS_CHOICE_WORK_BYTES, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(CUBLAS_CHOICE_ALIGN_A, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
SAME(sizeof(CublasAlgo), sizeof(cublasLtMatmulAlgo_t));
SAME(sizeof(CublasFound), sizeof(cublasLtMatmulHeuristicResult_t));
SAME_FIELD(CublasFound, work_bytes, cublasLtMatmulHeuristicResult_t, workspaceSize);
SAME_FIELD(CublasFound, state, cublasLtMatmulHeuristicResult_t, state);
#endif
#endif
#include "tests/runtime/check.h"

int main(void) {
#ifdef HAVE_CUDA
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        bool found = false;
#define LOOK(result, name, symbol, parameters)                                                                         \
    if (!strcmp(STRING_OF(symbol), versions[i][0])) found = true;
        CUDA_SYMBOLS(LOOK)
        if (!found && !check_failures++) printf("%s is %s in the headers\n", versions[i][1], versions[i][0]);
    }
#else
    printf("skipped: no CUDA headers in /usr/local/cuda/include\n");
#endif
    return check_report("cuda_abi");
}
