// SPDX-License-Identifier: Apache-2.0
// gpu_kit: makes what tests/gpu/run takes along. Needs the compiler and NVRTC, no GPU. tests/gpu/prepare calls it.
//   gpu_kit ops ARCH OUT [PART PARTS]               every op: modules, inputs, what the reference says
//   gpu_kit step ARCH OUT NAME FILE PRECISION [AXIS=N ...]   a model's step, and objects for CPUs beside OUT
//   gpu_kit model ARCH OUT NAME FILE PRECISION [AXIS=N ...]  a model's step, to be timed
//   gpu_kit products|attention ARCH OUT [small]     kernels alone
#include "tests/gpu/kit_make.h"
#include <stdlib.h>
#include <string.h>

static int usage(void) {
    fputs("usage: gpu_kit ops|step|model|products|attention ARCH OUT ...; see the head of tests/gpu/kit.c\n", stderr);
    return 2;
}

static int model(FILE *f, const char *out, bool step, const char *arch, int argc, char **argv) {
    if (argc < 3) return usage();
    char cpu[4096];
    snprintf(cpu, sizeof cpu, "%s.o", out);
    KitModel m = {.arch = arch,
                  .name = argv[0],
                  .path = argv[1],
                  .precision = argv[2],
                  .defines = (const char *const *)argv + 3,
                  .ndefines = argc - 3,
                  .cpu = step ? cpu : NULL};
    return kit_model(f, &m);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 4) return usage();
    const char *what = argv[1], *arch = argv[2], *path = argv[3];
    FILE *out = fopen(path, "wb");
    if (!out) {
        perror(path);
        return 1;
    }
    argc -= 4, argv += 4;
    bool small = argc && !strcmp(argv[0], "small");
    int rc = 2;
    if (!strcmp(what, "ops")) rc = kit_ops(out, arch, argc > 1 ? atoi(argv[0]) : 0, argc > 1 ? atoi(argv[1]) : 1);
    else if (!strcmp(what, "step") || !strcmp(what, "model"))
        rc = model(out, path, !strcmp(what, "step"), arch, argc, argv);
    else if (!strcmp(what, "products")) rc = kit_products(out, arch, small);
    else if (!strcmp(what, "attention")) rc = kit_attention(out, arch, small);
    else usage();
    if (fclose(out)) {
        perror(path);
        rc = 1;
    }
    return rc;
}
