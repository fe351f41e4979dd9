// SPDX-License-Identifier: Apache-2.0
#include "tools/common_machine.h"
#include "codegen/cuda.h"
#include "runtime/cuda_api.h"
#include <string.h>

// The first GPU's: "sm_90a" where wgmma is, else "sm_89".
static Status find_arch(char *out, size_t size) {
    const CudaApi *api;
    STATUS_TRY(cuda_api(&api));
    CuDevice device;
    int major, minor;
    CUDA_TRY(api, cuDeviceGet(&device, 0), "the first GPU");
    CUDA_TRY(api, cuDeviceGetAttribute(&major, CU_ATTR_MAJOR, device), "the first GPU");
    CUDA_TRY(api, cuDeviceGetAttribute(&minor, CU_ATTR_MINOR, device), "the first GPU");
    snprintf(out, size, "sm_%d%d%s", major, minor, major == 9 ? "a" : "");
    return status_ok();
}

static Status read_gemm(const Machine *m, CodegenOptions *out) {
    static const char *const words[] = {"generated", "cublaslt", "auto"};
    for (int i = 0; m->gemm && i < 3; i++)
        if (!strcmp(m->gemm, words[i])) return out->gemm = (GemmChoice)i, status_ok();
    return m->gemm ? status_make(STATUS_INVALID, "--gemm is generated, cublaslt or auto, not '%s'", m->gemm)
                   : status_ok();
}

Status machine_choose(Machine *m, CodegenOptions *out) {
    out->mcpu = m->mcpu;
    STATUS_TRY(read_gemm(m, out));
    const char *t = m->target;
    if (!t || !strcmp(t, "cpu"))
        return m->gemm ? status_make(STATUS_INVALID, "--gemm is for GPUs: --target=cuda") : status_ok();
    if (strcmp(t, "cuda") && strncmp(t, "cuda:", 5))
        return status_make(STATUS_INVALID, "--target is cpu, cuda or cuda:ARCH, not '%s'", t);
    if (m->mcpu) return status_make(STATUS_INVALID, "-mcpu names a processor, --target=%s a GPU", t);
    if (t[4]) snprintf(m->arch, sizeof m->arch, "%s", t + 5);
    else STATUS_TRY(find_arch(m->arch, sizeof m->arch));
    CudaTarget known;
    STATUS_TRY(cuda_target_make(t[4] ? t + 5 : m->arch, &known));
    out->cuda = m->arch;
    return status_ok();
}

bool machine_read(Machine *m, const char *tool, CodegenOptions *out) {
    Status s = machine_choose(m, out);
    if (status_failed(&s)) fprintf(stderr, "%s: %s\n", tool, s.message);
    return !status_failed(&s);
}
