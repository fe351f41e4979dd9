// SPDX-License-Identifier: Apache-2.0
// The driver's stand-in, libcuda.so.1: devices, contexts, memory, modules, launches. Streams: sim_stream.c.
#include "sim_driver.h"
#include "sim_image.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local Context *thread_context;
static bool initialized;

Context *current(void) { return thread_context; }
static int device_sm(void) { return world_number("TGF_CUDASIM_SM", 90); }

// ---- errors

static const struct {
    int code;
    const char *name, *text;
} errors[] = {
    {SIM_OK, "CUDA_SUCCESS", "no error"},
    {SIM_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {SIM_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {SIM_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {SIM_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {SIM_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {SIM_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {SIM_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {SIM_NO_BINARY, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {SIM_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {SIM_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {SIM_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {SIM_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {SIM_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {SIM_FAULT, "CUDA_ERROR_ASSERT", ""},
    {SIM_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {SIM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {SIM_CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "operation failed due to a previous error during capture"},
    {SIM_CAPTURE_MERGE, "CUDA_ERROR_STREAM_CAPTURE_MERGE",
     "operation would result in a merge of separate capture sequences"},
    {SIM_CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
     "capture was not ended in the same stream as it began"},
    {SIM_CAPTURE_UNJOINED, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {SIM_CAPTURE_ISOLATION, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
     "dependency created on uncaptured work in another stream"},
    {SIM_CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {SIM_CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT",
     "operation not permitted on an event last recorded in a capturing stream"},
    {SIM_CAPTURE_WRONG_THREAD, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
     "attempt to terminate a thread-local capture sequence from another thread"},
};

static int error_find(int code) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == code) return (int)i;
    return -1;
}
EXPORT int cuGetErrorName(int code, const char **out) {
    int i = error_find(code);
    *out = i < 0 ? NULL : errors[i].name;
    return i < 0 ? SIM_INVALID_VALUE : SIM_OK;
}
EXPORT int cuGetErrorString(int code, const char **out) {
    int i = error_find(code);
    *out = i < 0 ? NULL : code == SIM_FAULT ? world_last_report() : errors[i].text;
    return i < 0 ? SIM_INVALID_VALUE : SIM_OK;
}

// ---- devices and contexts

EXPORT int cuInit(unsigned flags) {
    if (flags) return SIM_INVALID_VALUE;
    if (!world_devices()) return SIM_NO_DEVICE;
    initialized = true;
    return SIM_OK;
}
EXPORT int cuDriverGetVersion(int *out) {
    *out = 13000;
    return SIM_OK;
}
EXPORT int cuDeviceGetCount(int *out) {
    *out = world_devices();
    return initialized ? SIM_OK : SIM_NOT_INITIALIZED;
}
EXPORT int cuDeviceGet(int *out, int ordinal) {
    if (!initialized) return SIM_NOT_INITIALIZED;
    *out = ordinal;
    return ordinal >= 0 && ordinal < world_devices() ? SIM_OK : SIM_INVALID_DEVICE;
}
EXPORT int cuDeviceGetName(char *out, int size, int device) {
    snprintf(out, (size_t)size, "cudasim %d", device);
    return SIM_OK;
}
EXPORT int cuDeviceGetAttribute(int *out, int attribute, int device) {
    static const struct {
        int attribute, value;
    } values[] = {{1, 1024},  {2, 1024},  {3, 1024}, {4, 64},      {5, 0x7fffffff}, {6, 65535},
                  {7, 65535}, {8, 49152}, {10, 32},  {12, 65536},  {16, 4},         {31, 1},
                  {39, 2048}, {40, 1},    {41, 1},   {81, 232448}, {82, 65536},     {97, 232448}};
    int sm = device_sm();
    if (device < 0 || device >= world_devices()) return SIM_INVALID_DEVICE;
    if (attribute == 75 || attribute == 76) {
        *out = attribute == 75 ? sm / 10 : sm % 10;
        return SIM_OK;
    }
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (values[i].attribute == attribute) {
            *out = values[i].value;
            return SIM_OK;
        }
    return SIM_INVALID_VALUE;
}
EXPORT int cuDeviceTotalMem_v2(size_t *out, int device) {
    *out = (size_t)world_number("TGF_CUDASIM_MEMORY_MIB", 16384) << 20;
    return device >= 0 && device < world_devices() ? SIM_OK : SIM_INVALID_DEVICE;
}

EXPORT int cuDevicePrimaryCtxRetain(Context **out, int device) {
    if (!initialized) return SIM_NOT_INITIALIZED;
    world_lock();
    Context *c = world_device(device);
    if (c) c->retained++;
    world_unlock();
    *out = c;
    return c ? SIM_OK : SIM_INVALID_DEVICE;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int device) {
    world_lock();
    Context *c = world_device(device);
    int bad = !c || !c->retained ? SIM_INVALID_CONTEXT : SIM_OK;
    if (!bad && !--c->retained) {
        context_reset(c);
        streams_free(c);
        while (c->nallocations) memory_free(c, c->allocation[0]->at, c->allocation[0]->host);
    }
    world_unlock();
    return bad;
}
EXPORT int cuCtxSetCurrent(Context *c) {
    thread_context = c;
    return SIM_OK;
}
EXPORT int cuCtxGetCurrent(Context **out) {
    *out = thread_context;
    return SIM_OK;
}
EXPORT int cuCtxGetDevice(int *out) {
    if (thread_context) *out = thread_context->device;
    return thread_context ? SIM_OK : SIM_INVALID_CONTEXT;
}
EXPORT int cuCtxGetStreamPriorityRange(int *out_least, int *out_greatest) {
    *out_least = 0;
    *out_greatest = -5;
    return SIM_OK;
}

// ---- memory

static int make_memory(void **out, size_t bytes, bool host) {
    Context *c = thread_context;
    *out = NULL;
    if (!c) return SIM_INVALID_CONTEXT;
    if (!bytes) return SIM_INVALID_VALUE;
    world_lock();
    int bad = c->error ? c->error : capture_forbids(c);
    context_settle(c);
    if (!bad && !(*out = memory_make(c, bytes, host))) bad = SIM_OUT_OF_MEMORY;
    world_unlock();
    return bad;
}
static int free_memory(uintptr_t at, bool host) {
    Context *c = thread_context;
    if (!c) return SIM_INVALID_CONTEXT;
    if (!at) return SIM_OK;
    world_lock();
    int bad = capture_forbids(c);
    bool found = false;
    context_settle(c);
    if (!bad) found = memory_free(c, at, host);
    for (int d = 0; !bad && host && !found && d < world_devices(); d++) {
        context_settle(world_device(d));
        found = memory_free(world_device(d), at, host);
    }
    world_unlock();
    return bad ? bad : found ? SIM_OK : SIM_INVALID_VALUE;
}
EXPORT int cuMemAlloc_v2(uint64_t *out, size_t bytes) {
    void *p;
    int bad = make_memory(&p, bytes, false);
    *out = (uintptr_t)p;
    return bad;
}
EXPORT int cuMemFree_v2(uint64_t address) { return free_memory((uintptr_t)address, false); }
EXPORT int cuMemHostAlloc(void **out, size_t bytes, unsigned flags) {
    return flags > 7 ? SIM_INVALID_VALUE : make_memory(out, bytes, true);
}
EXPORT int cuMemAllocHost_v2(void **out, size_t bytes) { return make_memory(out, bytes, true); }
EXPORT int cuMemFreeHost(void *host) { return free_memory((uintptr_t)host, true); }
EXPORT int cuMemHostGetDevicePointer_v2(uint64_t *out, void *host, unsigned flags) {
    *out = (uintptr_t)host;
    world_lock();
    bool pinned = memory_is_pinned((uintptr_t)host, 1);
    world_unlock();
    return flags || !pinned ? SIM_INVALID_VALUE : SIM_OK;
}
EXPORT int cuMemGetInfo_v2(size_t *out_free, size_t *out_total) {
    if (!thread_context) return SIM_INVALID_CONTEXT;
    *out_total = (size_t)world_number("TGF_CUDASIM_MEMORY_MIB", 16384) << 20;
    world_lock();
    *out_free = *out_total - thread_context->used;
    world_unlock();
    return SIM_OK;
}

typedef struct Rows {
    char *at;
    size_t pitch;
    bool host; // as the call says
} Rows;

// Pageable memory of the host is read at the call and written before it returns, as the driver does; in a capture it is
// used when the graph runs.
static int copy_rows(const char *label, Rows to, Rows from, size_t bytes, size_t rows, void *handle, bool wait) {
    world_lock();
    Stream *s = stream_of(handle);
    int bad = s ? SIM_OK : SIM_INVALID_CONTEXT;
    if (bad || !bytes || !rows) {
        world_unlock();
        return bad;
    }
    Context *c = stream_context(s);
    size_t to_bytes = (rows - 1) * to.pitch + bytes, from_bytes = (rows - 1) * from.pitch + bytes;
    bool to_pageable = to.host && !memory_is_pinned((uintptr_t)to.at, to_bytes);
    bool from_pageable = from.host && !memory_is_pinned((uintptr_t)from.at, from_bytes);
    if ((to_pageable || from_pageable) && stream_is_capturing(s)) bad = SIM_CAPTURE_UNSUPPORTED;
    Op *op = NULL;
    char *landing = NULL;
    if (!bad) {
        Work *w = work_make(WORK_COPY, label);
        w->to = to.at, w->to_pitch = to.pitch, w->from = from.at, w->from_pitch = from.pitch;
        w->bytes = bytes, w->rows = rows;
        if (from_pageable) {
            w->own = malloc(from_bytes);
            if (!w->own) abort();
            memcpy(w->own, from.at, from_bytes);
        }
        context_settle(c);
        if (to_pageable) w->to = landing = memory_make(c, to_bytes, true);
        bad = stream_submit(s, w, &op);
        if (!bad && (to_pageable || wait)) bad = context_wait(c, op_keep(op));
        for (size_t i = 0; landing && !bad && i < rows; i++)
            memcpy(to.at + i * to.pitch, landing + i * to.pitch, bytes);
        if (landing) {
            context_settle(c);
            memory_free(c, (uintptr_t)landing, true);
        }
        if (!landing && !wait) op = NULL;
        op_release(op);
        work_release(w);
    }
    world_unlock();
    return bad;
}

EXPORT int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *s) {
    return copy_rows("copy from host", (Rows){(char *)(uintptr_t)to, 0, false}, (Rows){(char *)from, 0, true}, bytes, 1,
                     s, false);
}
EXPORT int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *s) {
    return copy_rows("copy to host", (Rows){to, 0, true}, (Rows){(char *)(uintptr_t)from, 0, false}, bytes, 1, s,
                     false);
}
EXPORT int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *s) {
    return copy_rows("copy", (Rows){(char *)(uintptr_t)to, 0, false}, (Rows){(char *)(uintptr_t)from, 0, false}, bytes,
                     1, s, false);
}
EXPORT int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) {
    return copy_rows("copy from host", (Rows){(char *)(uintptr_t)to, 0, false}, (Rows){(char *)from, 0, true}, bytes, 1,
                     NULL, true);
}
EXPORT int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) {
    return copy_rows("copy to host", (Rows){to, 0, true}, (Rows){(char *)(uintptr_t)from, 0, false}, bytes, 1, NULL,
                     true);
}

typedef struct Copy2D { // CUDA_MEMCPY2D
    size_t from_x, from_y;
    int from_type;
    const void *from_host;
    uint64_t from_device;
    void *from_array;
    size_t from_pitch, to_x, to_y;
    int to_type;
    void *to_host;
    uint64_t to_device;
    void *to_array;
    size_t to_pitch, bytes, rows;
} Copy2D;

EXPORT int cuMemcpy2DAsync_v2(const Copy2D *c, void *s) {
    enum { HOST = 1, DEVICE = 2 };
    if ((c->from_type != HOST && c->from_type != DEVICE) || (c->to_type != HOST && c->to_type != DEVICE))
        return SIM_INVALID_VALUE;
    if (c->rows > 1 && (c->bytes + c->from_x > c->from_pitch || c->bytes + c->to_x > c->to_pitch))
        return SIM_INVALID_VALUE;
    char *from = c->from_type == HOST ? (char *)c->from_host : (char *)(uintptr_t)c->from_device;
    char *to = c->to_type == HOST ? c->to_host : (char *)(uintptr_t)c->to_device;
    return copy_rows("copy of rows", (Rows){to + c->to_y * c->to_pitch + c->to_x, c->to_pitch, c->to_type == HOST},
                     (Rows){from + c->from_y * c->from_pitch + c->from_x, c->from_pitch, c->from_type == HOST},
                     c->bytes, c->rows, s, false);
}

static int set_rows(uint64_t to, size_t pitch, uint32_t value, int unit, size_t bytes, size_t rows, void *handle) {
    if (to % (uint64_t)unit) return SIM_INVALID_VALUE;
    world_lock();
    Stream *s = stream_of(handle);
    int bad = s ? SIM_OK : SIM_INVALID_CONTEXT;
    if (!bad && bytes && rows) {
        Work *w = work_make(WORK_SET, "memset");
        w->to = (char *)(uintptr_t)to, w->to_pitch = pitch, w->bytes = bytes, w->rows = rows;
        w->value = value, w->unit = unit;
        bad = stream_submit(s, w, NULL);
        work_release(w);
    }
    world_unlock();
    return bad;
}
EXPORT int cuMemsetD8Async(uint64_t to, unsigned char value, size_t count, void *s) {
    return set_rows(to, 0, value, 1, count, 1, s);
}
EXPORT int cuMemsetD32Async(uint64_t to, unsigned value, size_t count, void *s) {
    return set_rows(to, 0, value, 4, 4 * count, 1, s);
}
EXPORT int cuMemsetD2D8Async(uint64_t to, size_t pitch, unsigned char value, size_t width, size_t rows, void *s) {
    return rows > 1 && pitch < width ? SIM_INVALID_VALUE : set_rows(to, pitch, value, 1, width, rows, s);
}
EXPORT int cuMemsetD2D8Async_v2(uint64_t to, size_t pitch, unsigned char value, size_t width, size_t rows, void *s) {
    return cuMemsetD2D8Async(to, pitch, value, width, rows, s);
}
EXPORT int cuStreamWriteValue32_v2(void *s, uint64_t to, uint32_t value, unsigned flags) {
    return flags > 1 ? SIM_INVALID_VALUE : set_rows(to, 0, value, 4, 4, 1, s);
}

// ---- modules

typedef struct Function {
    const SimKernel *kernel;
    int shared; // dynamic shared memory it may be given
    struct Function *next;
} Function;
typedef struct Module {
    const SimLibrary *library;
    Function *functions;
} Module;

EXPORT int cuModuleLoadDataEx(Module **out, const void *image, unsigned noptions, int *options, void **values) {
    enum { ERROR_LOG = 5, ERROR_LOG_BYTES = 6 };
    char log[SIM_LOG], *log_to = NULL;
    size_t log_bytes = 0;
    if (!thread_context) return SIM_INVALID_CONTEXT;
    for (unsigned i = 0; i < noptions; i++) {
        if (options[i] == ERROR_LOG) log_to = values[i];
        if (options[i] == ERROR_LOG_BYTES) log_bytes = (size_t)(uintptr_t)values[i];
    }
    Module *m = calloc(1, sizeof *m);
    if (!m) return SIM_OUT_OF_MEMORY;
    int bad = image_load(image, device_sm(), &m->library, log, sizeof log);
    if (log_to && log_bytes) snprintf(log_to, log_bytes, "%s", bad ? log : "");
    if (bad) free(m);
    else *out = m;
    return bad;
}
EXPORT int cuModuleLoadData(Module **out, const void *image) { return cuModuleLoadDataEx(out, image, 0, NULL, NULL); }
EXPORT int cuModuleUnload(Module *m) {
    if (!m) return SIM_INVALID_HANDLE;
    while (m->functions) {
        Function *next = m->functions->next;
        free(m->functions);
        m->functions = next;
    }
    free(m);
    return SIM_OK;
}
EXPORT int cuModuleGetFunction(Function **out, Module *m, const char *name) {
    const SimKernel *k = m ? sim_kernel(m->library, name) : NULL;
    if (!k) return m ? SIM_NOT_FOUND : SIM_INVALID_HANDLE;
    world_lock();
    Function *f = m->functions;
    while (f && f->kernel != k) f = f->next;
    if (!f && (f = calloc(1, sizeof *f))) {
        *f = (Function){k, 49152, m->functions};
        m->functions = f;
    }
    world_unlock();
    *out = f;
    return f ? SIM_OK : SIM_OUT_OF_MEMORY;
}
enum {
    FUNC_MOST_THREADS = 0,
    FUNC_STATIC = 1,
    FUNC_CONST = 2,
    FUNC_LOCAL = 3,
    FUNC_REGISTERS = 4,
    FUNC_SHARED = 8,
    FUNC_CARVEOUT = 9
};
EXPORT int cuFuncSetAttribute(Function *f, int attribute, int value) {
    if (!f || (attribute != FUNC_SHARED && attribute != FUNC_CARVEOUT)) return SIM_INVALID_VALUE;
    if (attribute == FUNC_CARVEOUT) return SIM_OK;
    if (value < 0 || value > 232448) return SIM_INVALID_VALUE;
    f->shared = value;
    return SIM_OK;
}
EXPORT int cuFuncGetAttribute(int *out, int attribute, Function *f) {
    if (!f) return SIM_INVALID_HANDLE;
    switch (attribute) {
    case FUNC_MOST_THREADS: *out = f->kernel->most_threads; return SIM_OK;
    case FUNC_SHARED: *out = f->shared; return SIM_OK;
    case FUNC_REGISTERS: *out = 32; return SIM_OK;
    case FUNC_STATIC:
    case FUNC_CONST:
    case FUNC_LOCAL: *out = 0; return SIM_OK;
    default: return SIM_INVALID_VALUE;
    }
}

EXPORT int cuLaunchKernel(Function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                          unsigned shared, void *handle, void **params, void **extra) {
    if (!f || extra) return SIM_INVALID_VALUE;
    const SimKernel *k = f->kernel;
    if (!gx || !gy || !gz || gy > 65535 || gz > 65535 || gx > 0x7fffffff || (uint64_t)bx * by * bz == 0)
        return SIM_INVALID_VALUE;
    if ((uint64_t)bx * by * bz > (uint64_t)k->most_threads) return SIM_INVALID_VALUE;
    if ((int)shared > f->shared) return SIM_INVALID_VALUE;
    world_lock();
    Stream *s = stream_of(handle);
    int bad = s ? SIM_OK : SIM_INVALID_CONTEXT;
    if (!bad) {
        char label[SIM_LABEL];
        snprintf(label, sizeof label, "kernel %s", k->name);
        Work *w = work_make(WORK_KERNEL, label);
        w->kernel = k;
        w->shared_bytes = shared;
        memcpy(w->grid, (unsigned[3]){gx, gy, gz}, sizeof w->grid);
        memcpy(w->block, (unsigned[3]){bx, by, bz}, sizeof w->block);
        w->params = calloc((size_t)k->nparams + 1, sizeof *w->params);
        for (int i = 0; w->params && i < k->nparams; i++) { // 64 bytes: what a Map is aligned to
            size_t bytes = ((size_t)k->param_bytes[i] + 63) / 64 * 64;
            w->params[i] = aligned_alloc(64, bytes);
            if (!w->params[i]) abort();
            memcpy(w->params[i], params[i], (size_t)k->param_bytes[i]);
        }
        if (!w->params) abort();
        bad = stream_submit(s, w, NULL);
        work_release(w);
    }
    world_unlock();
    return bad;
}

// ---- descriptors of the bulk copy engine: SimMap

EXPORT int cuTensorMapEncodeTiled(void *out, int type, uint32_t rank, void *address, const uint64_t *extent,
                                  const uint64_t *stride, const uint32_t *box, const uint32_t *step, int interleave,
                                  int swizzle, int promotion, int fill) {
    static const int element[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4}, swizzled[] = {0, 32, 64, 128};
    (void)promotion;
    if (type < 0 || type > 12 || rank < 1 || rank > 5 || swizzle < 0 || swizzle > 3) return SIM_INVALID_VALUE;
    int bytes = element[type];
    if (interleave || fill) return SIM_NOT_SUPPORTED;
    if ((uintptr_t)out % 64 || (uintptr_t)address % 16 || box[0] * (uint32_t)bytes % 16) return SIM_INVALID_VALUE;
    if (swizzle && (int)box[0] * bytes > swizzled[swizzle]) return SIM_INVALID_VALUE;
    SimMap m = {SIM_MAP_MAGIC, bytes, (int)rank, swizzled[swizzle], (uintptr_t)address, {0}, {0}, {0}};
    for (uint32_t i = 0; i < rank; i++) {
        if (!extent[i] || extent[i] > 1ull << 32 || !box[i] || box[i] > 256 || step[i] != 1) return SIM_INVALID_VALUE;
        if (i && (stride[i - 1] % 16 || stride[i - 1] >= 1ull << 40)) return SIM_INVALID_VALUE;
        m.extent[i] = (unsigned)(extent[i] == 1ull << 32 ? 0xffffffffu : extent[i]);
        m.stride[i] = i ? stride[i - 1] : (uint64_t)bytes;
        m.box[i] = (unsigned short)box[i];
    }
    memset(out, 0, 128);
    memcpy(out, &m, sizeof m);
    return SIM_OK;
}
