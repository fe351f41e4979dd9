// SPDX-License-Identifier: Apache-2.0
#include "codegen/cuda.h"
#include <string.h>

// Shared memory a block can be given and multiprocessors: CUDA C++ Programming Guide, "Technical Specifications per
// Compute Capability", and the data sheets of A100, A10, L4, H100, B200, RTX 50.
static const struct {
    const char *arch;
    int sm;
    int shared_kib, processors;
} known[] = {
    {"sm_80", 80, 163, 108},    {"sm_86", 86, 99, 72},     {"sm_89", 89, 99, 58},      {"sm_90", 90, 227, 132},
    {"sm_90a", 90, 227, 132},   {"sm_100", 100, 227, 148}, {"sm_100a", 100, 227, 148}, {"sm_103", 103, 227, 148},
    {"sm_103a", 103, 227, 148}, {"sm_120", 120, 99, 170},  {"sm_120a", 120, 99, 170},  {"sm_121", 121, 99, 48},
};
enum { KNOWN = sizeof known / sizeof *known };

Status cuda_target_make(const char *name, CudaTarget *out) {
    memset(out, 0, sizeof *out);
    for (int i = 0; i < KNOWN; i++) {
        if (strcmp(name, known[i].arch)) continue;
        snprintf(out->arch, sizeof out->arch, "%s", name);
        out->sm = known[i].sm;
        out->specific = name[strlen(name) - 1] == 'a';
        out->shared_bytes = (int64_t)known[i].shared_kib << 10;
        out->processors = known[i].processors;
        return status_ok();
    }
    char list[200] = "";
    for (int i = 0; i < KNOWN; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", known[i].arch);
    return status_make(STATUS_INVALID, "no GPU '%s' is known: %s", name, list);
}

void cuda_parameters(FILE *out, int nbufs, int nscalars, int nmaps) {
    const char *comma = "";
    fputc('(', out);
    for (int i = 0; i < nbufs; i++, comma = ", ") fprintf(out, "%schar *b%d", comma, i);
    for (int i = 0; i < nscalars; i++, comma = ", ") fprintf(out, "%si64 s%d", comma, i);
    for (int i = 0; i < nmaps; i++, comma = ", ") fprintf(out, "%sconst __grid_constant__ Map m%d", comma, i);
    fputc(')', out);
}
