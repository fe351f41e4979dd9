// SPDX-License-Identifier: Apache-2.0
// cuda_later: emitters that do not exist yet refuse; each definition elsewhere takes its place.
#include "codegen/cuda.h"

#define LATER __attribute__((weak))
static Status later(const char *what) {
    return status_make(STATUS_UNSUPPORTED, "%s has no kernels on a GPU yet", what);
}

LATER Status cuda_nest(FILE *out, const CudaTarget *t, const Kernel *k, CudaLaunch *l) {
    (void)out, (void)t, (void)k, (void)l;
    return later("a loop nest");
}
