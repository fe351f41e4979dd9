// SPDX-License-Identifier: Apache-2.0
// cuda_cache: kernels of a GPU that an object has no code for: compiled from their source when the program is made, by
// NVRTC, and kept from run to run.
//
// Where: tgf/ in XDG_CACHE_HOME or ~/.cache, mode 0700; a folder or file of another user is refused. A file is named by
// a hash of what decides its contents (source, options, architecture, version of NVRTC) and holds all of that beside
// the code: what does not match, or is damaged, is made again. Files appear whole or not at all, so programs may share
// the folder. Where no folder can be made (no home, nothing writable) code is compiled each time.
#pragma once
#include "base/status.h"
#include <stddef.h>

typedef struct CudaText {
    const char *source;
    size_t source_bytes;
    const char *options; // of NVRTC, separated by spaces; NULL: none
    const char *arch;    // "sm_90"
} CudaText;

typedef struct CudaCode {
    char *data; // a cubin; free with cuda_code_free
    size_t bytes;
    bool found; // in the cache
    void *memory;
} CudaCode;

Status cuda_code_make(const CudaText *text, CudaCode *out_image); // from the cache or compiled
void cuda_code_free(CudaCode *image);                             // of zeros is fine
// The compiler alone. What it has to say about the source is in the message of STATUS_INVALID, from its first error on.
Status cuda_compile(const CudaText *text, CudaCode *out_image);
