// SPDX-License-Identifier: Apache-2.0
// The code of a model's kernels on one GPU: the cubin made for it; on newer chips the PTX, through the driver; else the
// source, through NVRTC and the cache.
#include "runtime/cuda_cache.h"
#include "runtime/device_cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Arch {
    int sm;
    char suffix; // 'a': this very chip; 'f': its family; 0: it and newer ones of its major version
} Arch;

static bool parse_arch(const char *text, Arch *out_arch) {
    int n = 0;
    *out_arch = (Arch){0};
    if (!text || sscanf(text, "sm_%d%n", &out_arch->sm, &n) != 1) return false;
    out_arch->suffix = text[n];
    return !text[n] || !text[n + 1];
}

static bool runs_on(Arch a, int sm) {
    if (a.suffix == 'a') return a.sm == sm;
    return a.sm / 10 == sm / 10 && a.sm <= sm;
}

static Status load_image(DeviceCuda *d, const char *image, const char *what) {
    char log[400] = "";
    int options[] = {CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)(sizeof log - 1)};
    CuResult r = d->api->cuModuleLoadDataEx(&d->module, image, 2, options, values);
    Status s = cuda_status(d->api, r, what);
    if (r != CU_OK && log[0]) s = status_make(s.code, "%.200s: %.280s", s.message, log);
    return s;
}

static Status load_source(DeviceCuda *d, const PlanCuda *p) {
    char arch[24];
    snprintf(arch, sizeof arch, "sm_%d", d->sm);
    if (!p->source_bytes)
        return status_make(STATUS_UNSUPPORTED,
                           "the model is compiled for %s; GPU %d (%s) is sm_%d, and the object has no source for it",
                           p->arch, d->ordinal, d->name, d->sm);
    CudaCode image;
    CudaText text = {.source = p->source, .source_bytes = p->source_bytes, .options = p->options, .arch = arch};
    Status s = cuda_code_make(&text, &image);
    if (status_failed(&s))
        return status_make(s.code, "the model is compiled for %s, GPU %d (%s) is sm_%d: %.380s", p->arch, d->ordinal,
                           d->name, d->sm, s.message);
    s = load_image(d, image.data, "the compiled kernels do not load");
    cuda_code_free(&image);
    return s;
}

static Status load_module(DeviceCuda *d, const PlanCuda *p) {
    Arch a;
    if (!parse_arch(p->arch, &a)) return status_make(STATUS_CORRUPT, "the object's code is for '%s'", p->arch);
    d->specific = a.suffix == 'a' && a.sm == d->sm;
    if (p->cubin_bytes && runs_on(a, d->sm)) return load_image(d, p->cubin, "the object's kernels do not load");
    if (p->ptx_bytes && d->sm > a.sm) return load_image(d, p->ptx, "the object's PTX does not load");
    return load_source(d, p);
}

// How many operands and scalars a kernel takes, as the plan's instructions call it.
static Status count_parameters(DeviceCuda *d) {
    const Plan *p = d->plan;
    int most = 1, maps = 1;
    for (int k = 0; k < p->nkernels; k++) {
        d->kernels[k].instr = -1;
        if (p->kernels[k].nmaps > maps) maps = p->kernels[k].nmaps;
    }
    for (int i = 0; i < p->ninstrs; i++) {
        const PlanInstr *in = &p->instrs[i];
        if (in->kind != INSTR_KERNEL) continue;
        CudaKernel *k = &d->kernels[in->kernel];
        if (k->instr >= 0 && (k->nargs != in->nargs || k->nscalars != in->nscalars))
            return status_make(STATUS_CORRUPT, "kernel '%s' is called with %d and with %d operands",
                               p->kernels[in->kernel].symbol, k->nargs, in->nargs);
        if (k->instr < 0) *k = (CudaKernel){.nargs = in->nargs, .nscalars = in->nscalars, .instr = i};
        if (in->nargs + in->nscalars > most) most = in->nargs + in->nscalars;
    }
    d->parameters = calloc((size_t)(most + maps), sizeof *d->parameters);
    d->maps = aligned_alloc(64, (size_t)maps * sizeof *d->maps);
    return d->parameters && d->maps ? status_ok() : status_make(STATUS_MEMORY, "no memory for kernels' parameters");
}

static Status find_kernel(DeviceCuda *d, const PlanKernel *k, CudaKernel *c) {
    char what[160];
    snprintf(what, sizeof what, "kernel '%.100s' is not in the model's code", k->symbol);
    CUDA_TRY(d->api, cuModuleGetFunction(&c->function, d->module, k->symbol), what);
    if (k->shared_bytes <= 48 << 10) return status_ok();
    int most = 0;
    CUDA_TRY(d->api, cuDeviceGetAttribute(&most, CU_ATTR_SHARED_OPTIN, d->number), "cuDeviceGetAttribute");
    if (k->shared_bytes > most)
        return status_make(STATUS_UNSUPPORTED,
                           "kernel '%s' needs %lld bytes of shared memory a block, GPU %d (%s) has %d: compile the "
                           "model for sm_%d",
                           k->symbol, (long long)k->shared_bytes, d->ordinal, d->name, most, d->sm);
    CUDA_TRY(d->api, cuFuncSetAttribute(c->function, CU_FUNC_SHARED, (int)k->shared_bytes), "cuFuncSetAttribute");
    return status_ok();
}

// Products of the library: it chooses its algorithms now, and takes nothing later.
static Status find_product(DeviceCuda *d, const PlanKernel *k, CudaKernel *c) {
    if (!d->cublaslt) STATUS_TRY(cublaslt_make((CuAddress)d->gemm_work, &d->cublaslt));
    Status s = gemm_make(d->cublaslt, k->gemm, &c->gemm);
    return status_failed(&s) ? status_make(s.code, "product '%.100s': %.380s", k->symbol, s.message) : s;
}

Status device_cuda_load(DeviceCuda *d, const PlanCuda *image) {
    d->kernels = calloc((size_t)d->plan->nkernels + 1, sizeof *d->kernels);
    if (!d->kernels) return status_make(STATUS_MEMORY, "no memory for %d kernels", d->plan->nkernels);
    STATUS_TRY(count_parameters(d));
    STATUS_TRY(load_module(d, image));
    for (int i = 0; i < d->plan->nkernels; i++)
        if (d->kernels[i].instr >= 0)
            STATUS_TRY(
                (d->plan->kernels[i].gemm ? find_product : find_kernel)(d, &d->plan->kernels[i], &d->kernels[i]));
    CuResult r = d->api->cuModuleGetFunction(&d->zero_rows, d->module, "tgf_zero_rows");
    if (r != CU_OK) d->zero_rows = NULL;
    for (int i = 0; i < d->plan->ninstrs && !d->zero_rows; i++)
        if (d->plan->instrs[i].kind == INSTR_COMM && d->plan->instrs[i].rows > 0)
            return status_make(STATUS_CORRUPT, "the model's code has no tgf_zero_rows, which its all_to_all needs");
    return status_ok();
}
