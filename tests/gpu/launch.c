// SPDX-License-Identifier: Apache-2.0
// gpu_launch: kernels of a kit for bench/gpu_kernels.py, which measures them with PyTorch's events, on its stream, over
// its tensors. A shared library: what is launched lives in the context that is current.
#include "runtime/cuda_api.h"
#include "tests/gpu/kit.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BUFFERS = 16, MAPS = 4 };

typedef struct Launch {
    CuModule module;
    CuFunction function;
    int64_t blocks, shared;
    int threads, nbufs, nmaps;
    PlanMap maps[MAPS];
    CuMap encoded[MAPS]; // for the addresses of the last binding
    void *bufs[MOST_BUFFERS];
    char error[500];
} Launch;

// Every number this library takes is checked by its caller's `error` being empty.
const char *launch_open(const char *kit, int number, Launch **out_launch);
const char *launch_bind(Launch *l, void *const *bufs, int nbufs); // the addresses of the operands from now on
const char *launch_run(Launch *l, void *stream);
void launch_close(Launch *l);
// Without PyTorch: the device's memory, for a simulation of these very launches.
const char *launch_device(void);
const char *launch_allocate(size_t bytes, void **out_address);
const char *launch_copy(void *to, const void *from, size_t bytes, int to_device);

static const char *told(Status s) {
    static char text[600];
    if (!status_failed(&s)) return NULL;
    snprintf(text, sizeof text, "%s", s.message);
    return text;
}

static Status read_launch(Launch *l, const KitFile *f, int number) {
    if (number < 0 || number >= f->ncases) return status_make(STATUS_INVALID, "no case %d", number);
    if (sscanf(kit_text(f, number, "launch"), "%" SCNd64 " %d %" SCNd64 " %d %d", &l->blocks, &l->threads, &l->shared,
               &l->nbufs, &l->nmaps) != 5)
        return status_make(STATUS_CORRUPT, "no launch in case %d", number);
    KitRecord maps = kit_find(f, number, "maps");
    if (l->nmaps < 0 || l->nmaps > MAPS || l->nbufs > MOST_BUFFERS || maps.size != (size_t)l->nmaps * sizeof *l->maps)
        return status_make(STATUS_CORRUPT, "case %d has other maps than it says", number);
    memcpy(l->maps, maps.bytes, maps.size);
    return status_ok();
}

static Status load(Launch *l, const KitFile *f, int number) {
    const CudaApi *api;
    STATUS_TRY(cuda_api(&api));
    KitRecord cubin = kit_find(f, number, "cubin");
    void *image = aligned_alloc(64, (cubin.size + 64) / 64 * 64);
    if (!image) return status_make(STATUS_MEMORY, "no memory for an image");
    memcpy(image, cubin.bytes, cubin.size);
    CuResult r = api->cuModuleLoadDataEx(&l->module, image, 0, NULL, NULL);
    free(image);
    STATUS_TRY(cuda_status(api, r, "loading the image"));
    CUDA_TRY(api, cuModuleGetFunction(&l->function, l->module, kit_text(f, number, "symbol")), "finding the kernel");
    if (l->shared > 0)
        CUDA_TRY(api, cuFuncSetAttribute(l->function, CU_FUNC_SHARED, (int)l->shared), "asking for shared memory");
    return status_ok();
}

const char *launch_open(const char *path, int number, Launch **out) {
    KitFile f;
    Status s = kit_read(path, &f);
    if (status_failed(&s)) return told(s);
    Launch *l = aligned_alloc(64, (sizeof *l + 63) / 64 * 64);
    if (!l) s = status_make(STATUS_MEMORY, "no memory");
    else memset(l, 0, sizeof *l);
    if (l) s = read_launch(l, &f, number);
    if (!status_failed(&s)) s = load(l, &f, number);
    kit_free(&f);
    if (status_failed(&s)) free(l);
    else *out = l;
    return told(s);
}

static Status encode(const CudaApi *api, Launch *l, int i) {
    const PlanMap *m = &l->maps[i];
    uint64_t extent[PLAN_MAP_RANK], stride[PLAN_MAP_RANK];
    uint32_t box[PLAN_MAP_RANK], step[PLAN_MAP_RANK];
    for (int d = 0; d < m->rank; d++) {
        extent[d] = (uint64_t)m->extent[d];
        if (d) stride[d - 1] = (uint64_t)m->stride[d];
        box[d] = (uint32_t)m->box[d];
        step[d] = 1;
    }
    int type = m->dtype == PLAN_BF16 ? CU_MAP_BF16 : m->dtype == PLAN_F16 ? CU_MAP_F16 : CU_MAP_F32;
    int swizzle = m->swizzle == 128  ? CU_MAP_SWIZZLE_128
                  : m->swizzle == 64 ? CU_MAP_SWIZZLE_64
                  : m->swizzle == 32 ? CU_MAP_SWIZZLE_32
                                     : CU_MAP_SWIZZLE_NONE;
    CUDA_TRY(api,
             cuTensorMapEncodeTiled(&l->encoded[i], type, (uint32_t)m->rank, (char *)l->bufs[m->arg] + m->first, extent,
                                    stride, box, step, CU_MAP_INTERLEAVE_NONE, swizzle, CU_MAP_L2_128,
                                    CU_MAP_FILL_ZERO),
             "describing an operand to the copy engine");
    return status_ok();
}

const char *launch_bind(Launch *l, void *const *bufs, int nbufs) {
    const CudaApi *api;
    Status s = cuda_api(&api);
    if (nbufs != l->nbufs) s = status_make(STATUS_INVALID, "the kernel has %d operands, not %d", l->nbufs, nbufs);
    for (int i = 0; i < nbufs && !status_failed(&s); i++) l->bufs[i] = bufs[i];
    for (int i = 0; i < l->nmaps && !status_failed(&s); i++) s = encode(api, l, i);
    return told(s);
}

const char *launch_run(Launch *l, void *stream) {
    const CudaApi *api;
    Status s = cuda_api(&api);
    if (status_failed(&s)) return told(s);
    void *parameters[MOST_BUFFERS + MAPS];
    for (int i = 0; i < l->nbufs; i++) parameters[i] = &l->bufs[i];
    for (int i = 0; i < l->nmaps; i++) parameters[l->nbufs + i] = &l->encoded[i];
    CuResult r = api->cuLaunchKernel(l->function, (unsigned)l->blocks, 1, 1, (unsigned)l->threads, 1, 1,
                                     (unsigned)l->shared, stream, parameters, NULL);
    return r ? told(cuda_status(api, r, "launching")) : NULL;
}

void launch_close(Launch *l) {
    const CudaApi *api;
    Status s = cuda_api(&api);
    if (!status_failed(&s)) api->cuModuleUnload(l->module);
    free(l);
}

static Status enter(void) {
    const CudaApi *api;
    CuDevice device;
    CuContext context;
    STATUS_TRY(cuda_api(&api));
    CUDA_TRY(api, cuDeviceGet(&device, 0), "the first GPU");
    CUDA_TRY(api, cuDevicePrimaryCtxRetain(&context, device), "the first GPU's context");
    CUDA_TRY(api, cuCtxSetCurrent(context), "the first GPU's context");
    return status_ok();
}

const char *launch_device(void) { return told(enter()); }

static Status allocate(size_t bytes, void **out) {
    const CudaApi *api;
    CuAddress at;
    STATUS_TRY(cuda_api(&api));
    CUDA_TRY(api, cuMemAlloc(&at, bytes), "allocating");
    *out = (void *)(uintptr_t)at;
    return status_ok();
}

const char *launch_allocate(size_t bytes, void **out) { return told(allocate(bytes, out)); }

static Status copy(void *to, const void *from, size_t bytes, bool to_device) {
    const CudaApi *api;
    STATUS_TRY(cuda_api(&api));
    if (to_device) CUDA_TRY(api, cuMemcpyHtoDAsync((CuAddress)(uintptr_t)to, from, bytes, NULL), "copying");
    else CUDA_TRY(api, cuMemcpyDtoHAsync(to, (CuAddress)(uintptr_t)from, bytes, NULL), "copying");
    CUDA_TRY(api, cuCtxSynchronize(), "running the kernel");
    return status_ok();
}

const char *launch_copy(void *to, const void *from, size_t bytes, int to_device) {
    return told(copy(to, from, bytes, to_device != 0));
}
