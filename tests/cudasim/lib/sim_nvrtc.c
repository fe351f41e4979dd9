// SPDX-License-Identifier: Apache-2.0
// The compiler's stand-in: libnvrtc.so.13. Programs are codegen/cuda_prelude.cuh with kernels behind it; options other
// than the architecture mean nothing here.
#include "sim_image.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { OK, OUT_OF_MEMORY, CREATION_FAILURE, INVALID_INPUT, INVALID_PROGRAM, INVALID_OPTION, COMPILATION };

typedef struct Program {
    char *text, *cubin, *ptx;
    size_t bytes, cubin_bytes, ptx_bytes;
    char log[SIM_LOG];
} Program;

EXPORT const char *nvrtcGetErrorString(int result) {
    static const char *const texts[] = {"NVRTC_SUCCESS",
                                        "NVRTC_ERROR_OUT_OF_MEMORY",
                                        "NVRTC_ERROR_PROGRAM_CREATION_FAILURE",
                                        "NVRTC_ERROR_INVALID_INPUT",
                                        "NVRTC_ERROR_INVALID_PROGRAM",
                                        "NVRTC_ERROR_INVALID_OPTION",
                                        "NVRTC_ERROR_COMPILATION"};
    return result >= 0 && result <= COMPILATION ? texts[result] : "NVRTC_ERROR unknown";
}
EXPORT int nvrtcVersion(int *out_major, int *out_minor) {
    *out_major = 13;
    *out_minor = 0;
    return OK;
}
static const int archs[] = {75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121};
EXPORT int nvrtcGetNumSupportedArchs(int *out_count) {
    *out_count = sizeof archs / sizeof *archs;
    return OK;
}
EXPORT int nvrtcGetSupportedArchs(int *out_archs) {
    memcpy(out_archs, archs, sizeof archs);
    return OK;
}

EXPORT int nvrtcCreateProgram(Program **out, const char *source, const char *name, int nheaders,
                              const char *const *headers, const char *const *names) {
    (void)name, (void)headers, (void)names;
    if (!source || nheaders) return INVALID_INPUT;
    Program *p = calloc(1, sizeof *p);
    if (p) p->text = strdup(source);
    if (!p || !p->text) return OUT_OF_MEMORY;
    p->bytes = strlen(source);
    *out = p;
    return OK;
}

EXPORT int nvrtcDestroyProgram(Program **program) {
    if (!program || !*program) return INVALID_PROGRAM;
    free((*program)->text), free((*program)->cubin), free((*program)->ptx);
    free(*program);
    *program = NULL;
    return OK;
}

EXPORT int nvrtcCompileProgram(Program *p, int noptions, const char *const *options) {
    const char *arch = "compute_75";
    if (!p) return INVALID_PROGRAM;
    for (int i = 0; i < noptions; i++) {
        const char *o = options[i];
        if (!strncmp(o, "--gpu-architecture=", 19)) arch = o + 19;
        else if (!strncmp(o, "-arch=", 6)) arch = o + 6;
        else if (!strcmp(o, "-arch") && i + 1 < noptions) arch = options[++i];
    }
    bool is_real = !strncmp(arch, "sm_", 3), known = false;
    int number = atoi(arch + (is_real ? 3 : 8));
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) known = known || archs[i] == number;
    if (!known || (!is_real && strncmp(arch, "compute_", 8))) {
        snprintf(p->log, sizeof p->log, "nvrtc: error: invalid value for --gpu-architecture (-arch): %s\n", arch);
        return INVALID_OPTION;
    }
    char virtual_arch[32];
    snprintf(virtual_arch, sizeof virtual_arch, "compute_%s", arch + (is_real ? 3 : 8));
    free(p->cubin), free(p->ptx);
    p->ptx = NULL;
    // Compiled in any case, for what the compiler says.
    p->cubin = image_cubin(p->text, p->bytes, arch, &p->cubin_bytes, p->log, sizeof p->log);
    if (!p->cubin) return COMPILATION;
    p->ptx = image_ptx(p->text, p->bytes, virtual_arch, &p->ptx_bytes);
    if (!is_real) p->cubin_bytes = 0;
    return p->ptx ? OK : OUT_OF_MEMORY;
}

EXPORT int nvrtcGetCUBINSize(Program *p, size_t *out) {
    if (!p || !p->ptx) return INVALID_PROGRAM;
    *out = p->cubin_bytes;
    return OK;
}
EXPORT int nvrtcGetCUBIN(Program *p, char *out) {
    if (!p || !p->ptx) return INVALID_PROGRAM;
    memcpy(out, p->cubin, p->cubin_bytes);
    return OK;
}
EXPORT int nvrtcGetPTXSize(Program *p, size_t *out) {
    if (!p || !p->ptx) return INVALID_PROGRAM;
    *out = p->ptx_bytes;
    return OK;
}
EXPORT int nvrtcGetPTX(Program *p, char *out) {
    if (!p || !p->ptx) return INVALID_PROGRAM;
    memcpy(out, p->ptx, p->ptx_bytes);
    return OK;
}
EXPORT int nvrtcGetProgramLogSize(Program *p, size_t *out) {
    if (!p) return INVALID_PROGRAM;
    *out = strlen(p->log) + 1;
    return OK;
}
EXPORT int nvrtcGetProgramLog(Program *p, char *out) {
    if (!p) return INVALID_PROGRAM;
    memcpy(out, p->log, strlen(p->log) + 1);
    return OK;
}
