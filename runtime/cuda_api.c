// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "runtime/cuda_api.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Library {
    const char *what;        // "CUDA driver"
    const char *const *file; // names to try, ends with NULL
    void *handle;
    char path[256];
} Library;

// dlopen's own words are kept for a file that is there and cannot be loaded.
static bool open_file(Library *l, const char *folder, const char *file, char *why, size_t size) {
    char path[512];
    int n = folder ? snprintf(path, sizeof path, "%s/%s", folder, file) : snprintf(path, sizeof path, "%s", file);
    if (n < 0 || (size_t)n >= sizeof path) return false;
    l->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (l->handle) {
        snprintf(l->path, sizeof l->path, "%.255s", path);
        return true;
    }
    const char *error = dlerror();
    if (error && !strstr(error, "No such file")) snprintf(why, size, "; %s", error);
    return false;
}

static Status library_open(Library *l) {
    const char *only = getenv("TGF_CUDA_LIBRARIES"),
               *toolkit[] = {getenv("CUDA_HOME"), getenv("CUDA_PATH"), "/usr/local/cuda"};
    char why[200] = "", folder[400];
    for (int i = 0; l->file[i]; i++)
        if (open_file(l, only, l->file[i], why, sizeof why)) return status_ok();
    for (size_t k = 0; !only && k < sizeof toolkit / sizeof *toolkit; k++) {
        if (!toolkit[k] || !*toolkit[k]) continue;
        snprintf(folder, sizeof folder, "%.380s/lib64", toolkit[k]);
        for (int i = 0; l->file[i]; i++)
            if (open_file(l, folder, l->file[i], why, sizeof why)) return status_ok();
    }
    return status_make(STATUS_UNSUPPORTED, "no %s on this machine: %s is not found%s%.200s%s", l->what, l->file[0],
                       only ? " in " : " by the loader, nor in /usr/local/cuda/lib64", only ? only : "", why);
}

// Symbols of a library that lacks one belong to a version that is too old.
static Status library_symbol(const Library *l, const char *name, void *out_function) {
    void *at = dlsym(l->handle, name);
    if (!at)
        return status_make(STATUS_UNSUPPORTED, "the %s of this machine is too old: %s has no %s", l->what, l->path,
                           name);
    memcpy(out_function, &at, sizeof at);
    return status_ok();
}

#define LOAD(result, name, symbol, parameters) STATUS_TRY(library_symbol(&l, #symbol, &api->name));

static Status load_cuda(CudaApi *api) {
    static const char *const files[] = {"libcuda.so.1", NULL};
    Library l = {.what = "CUDA driver", .file = files};
    STATUS_TRY(library_open(&l));
    CUDA_SYMBOLS(LOAD)
    memcpy(api->path, l.path, sizeof api->path);
    CuResult r = api->cuInit(0);
    int count = 0;
    if (r == CU_OK) r = api->cuDeviceGetCount(&count);
    if (r == CU_ERROR_NO_DEVICE || (r == CU_OK && !count))
        return status_make(STATUS_UNSUPPORTED, "no GPU on this machine: the CUDA driver is there and finds none");
    Status s = cuda_status(api, r, "the CUDA driver does not start");
    if (status_failed(&s)) s.code = STATUS_UNSUPPORTED;
    return s;
}

static Status load_nvrtc(NvrtcApi *api) {
    static const char *const files[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", NULL};
    Library l = {.what = "compiler of CUDA C", .file = files};
    STATUS_TRY(library_open(&l));
    NVRTC_SYMBOLS(LOAD)
    memcpy(api->path, l.path, sizeof api->path);
    return nvrtc_status(api, api->nvrtcVersion(&api->major, &api->minor), "nvrtcVersion");
}

static Status load_nccl(NcclApi *api) {
    static const char *const files[] = {"libnccl.so.2", NULL};
    Library l = {.what = "NCCL", .file = files};
    STATUS_TRY(library_open(&l));
    NCCL_SYMBOLS(LOAD)
    memcpy(api->path, l.path, sizeof api->path);
    STATUS_TRY(nccl_status(api, NULL, api->ncclGetVersion(&api->version), "ncclGetVersion"));
    if (api->version < NCCL_VERSION_LEAST)
        return status_make(STATUS_UNSUPPORTED,
                           "the NCCL of this machine is too old: %s is version %d, not 2.18 or newer", l.path,
                           api->version);
    return status_ok();
}

static Status load_cublas(CublasApi *api) {
    static const char *const files[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};
    Library l = {.what = "cuBLASLt", .file = files};
    STATUS_TRY(library_open(&l));
    CUBLASLT_SYMBOLS(LOAD)
    memcpy(api->path, l.path, sizeof api->path);
    return status_ok();
}

// ---- once -----------------------------------------------------------------------------------------------------------
#define LOADED_ONCE(function, Api, load)                                                                               \
    static Api load##_api;                                                                                             \
    static Status load##_status;                                                                                       \
    static void load##_once(void) { load##_status = load(&load##_api); }                                               \
    Status function(const Api **out_api) {                                                                             \
        static pthread_once_t once = PTHREAD_ONCE_INIT;                                                                \
        pthread_once(&once, load##_once);                                                                              \
        *out_api = status_failed(&load##_status) ? NULL : &load##_api;                                                 \
        return load##_status;                                                                                          \
    }
LOADED_ONCE(cuda_api, CudaApi, load_cuda)
LOADED_ONCE(nvrtc_api, NvrtcApi, load_nvrtc)
LOADED_ONCE(nccl_api, NcclApi, load_nccl)
LOADED_ONCE(cublas_api, CublasApi, load_cublas)

// ---- errors ---------------------------------------------------------------------------------------------------------
Status cuda_status(const CudaApi *api, CuResult r, const char *what) {
    if (r == CU_OK) return status_ok();
    const char *name = NULL, *text = NULL;
    api->cuGetErrorName(r, &name);
    api->cuGetErrorString(r, &text);
    return status_make(r == CU_ERROR_OUT_OF_MEMORY ? STATUS_MEMORY : STATUS_INTERNAL, "%s: %s (%s)", what,
                       text ? text : "unknown error", name ? name : "no name");
}

Status nvrtc_status(const NvrtcApi *api, NvrtcResult r, const char *what) {
    if (r == NVRTC_OK) return status_ok();
    const char *text = api->nvrtcGetErrorString(r);
    return status_make(STATUS_INTERNAL, "%s: %s", what, text ? text : "unknown error");
}

Status nccl_status(const NcclApi *api, NcclComm comm, NcclResult r, const char *what) {
    if (r == NCCL_OK) return status_ok();
    const char *text = api->ncclGetErrorString(r), *last = api->ncclGetLastError(comm);
    bool more = last && *last && (!text || strcmp(last, text));
    return status_make(STATUS_COMM, "%s: %s%s%.200s", what, text ? text : "unknown error", more ? ": " : "",
                       more ? last : "");
}

Status cublas_status(const CublasApi *api, CublasResult r, const char *what) {
    if (r == CUBLAS_OK) return status_ok();
    const char *text = api->cublasLtGetStatusString(r);
    return status_make(STATUS_INTERNAL, "%s: %s", what, text ? text : "unknown error");
}
