// SPDX-License-Identifier: Apache-2.0
// sim_image: what stands for a cubin and for PTX. A line of text, then the library of kernels, or the CUDA C text:
//   "cudasim cubin sm_90a 123456\n"   "cudasim ptx compute_80 4567\n"
#pragma once
#include "sim_build.h"

enum { SIM_IMAGE_HEAD = 64 };

// The library of the text, as the bytes of a cubin for `arch`; equal texts are compiled once. malloc'ed. NULL: out_log
// says why.
char *image_cubin(const char *text, size_t bytes, const char *arch, size_t *out_bytes, char *out_log, size_t log_bytes);
char *image_ptx(const char *text, size_t bytes, const char *arch, size_t *out_bytes);
// A CUresult. The library stays for the life of the process.
int image_load(const void *image, int sm, const SimLibrary **out_library, char *out_log, size_t log_bytes);
