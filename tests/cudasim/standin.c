// SPDX-License-Identifier: Apache-2.0
#include "standin.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Standin cu;

static void *library_symbol(void *library, const char *name) {
    void *p = library ? dlsym(library, name) : NULL;
    if (!p) printf("%s is missing\n", name);
    return p;
}

bool standin_load(void) {
    void *driver = dlopen(TGF_CUDASIM_LIBRARIES "/libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    void *nvrtc = dlopen(TGF_CUDASIM_LIBRARIES "/libnvrtc.so.13", RTLD_NOW | RTLD_LOCAL);
    void *nccl = dlopen(TGF_CUDASIM_LIBRARIES "/libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    bool ok = true;
#define LOAD_CUDA(name, ...) ok = (*(void **)&cu.name = library_symbol(driver, #name)) && ok;
#define LOAD_NVRTC(name, ...) ok = (*(void **)&cu.name = library_symbol(nvrtc, #name)) && ok;
#define LOAD_NCCL(name, ...) ok = (*(void **)&cu.name = library_symbol(nccl, #name)) && ok;
    STANDIN_CUDA(LOAD_CUDA)
    STANDIN_NVRTC(LOAD_NVRTC)
    if (nccl) {
        STANDIN_NCCL(LOAD_NCCL)
        LOAD_NCCL(ncclGetLastError)
    }
    return ok && !cu.cuInit(0);
}

char *standin_cubin(const char *kernels, bool ptx) {
    FILE *f = fopen(TGF_CUDASIM_PRELUDE, "r");
    size_t n = 0;
    char *text = NULL;
    FILE *all = open_memstream(&text, &n);
    for (int c; f && (c = fgetc(f)) != EOF;) fputc(c, all);
    if (f) fclose(f);
    fprintf(all, "\n%s", kernels);
    fclose(all);
    void *program = NULL;
    const char *options[] = {"--gpu-architecture=sm_90a"};
    char *image = NULL;
    if (!cu.nvrtcCreateProgram(&program, text, "test", 0, NULL, NULL) && !cu.nvrtcCompileProgram(program, 1, options) &&
        !(ptx ? cu.nvrtcGetPTXSize : cu.nvrtcGetCUBINSize)(program, &n) && (image = malloc(n)))
        (ptx ? cu.nvrtcGetPTX : cu.nvrtcGetCUBIN)(program, image);
    if (!image && !cu.nvrtcGetProgramLogSize(program, &n)) {
        char *log = malloc(n);
        cu.nvrtcGetProgramLog(program, log);
        printf("%s\n", log);
        free(log);
    }
    cu.nvrtcDestroyProgram(&program);
    free(text);
    return image;
}
