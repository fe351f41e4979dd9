// SPDX-License-Identifier: Apache-2.0
// A stand-in for cuBLASLt: products of matrices stored column by column, done by a kernel of its own on the simulated
// GPU, so that order, races and bounds are watched as for any other. What it refuses: a leading dimension that is too
// short, extents that do not match, operands that are less aligned than the preference said when the algorithm was
// chosen.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { OK = 0, INVALID = 7, NOT_SUPPORTED = 15 };
enum { F32 = 0, F16 = 2, BF16 = 14 };

int nvrtcCreateProgram(void **, const char *, const char *, int, const char *const *, const char *const *);
int nvrtcCompileProgram(void *, int, const char *const *);
int nvrtcGetCUBINSize(void *, size_t *);
int nvrtcGetCUBIN(void *, char *);
int nvrtcDestroyProgram(void **);
int cuModuleLoadDataEx(void **, const void *, unsigned, int *, void **);
int cuModuleGetFunction(void **, void *, const char *);
int cuModuleUnload(void *);
int cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **,
                   void **);

// One thread an element of D. s0 m, s1 n, s2 k, s3 to s8: strides of A's, B's and D's rows and columns, s9 to s11: of
// their batches, s12 types (8 bits each: of A and B, of D), s13 whether C (which is D) is added.
static const char source[] =
    "#include \"" TGF_CUDASIM_PRELUDE "\"\n"
    "static inline float load(char *p, i64 at, int type) {\n"
    "    if (type == 0) return gload((float *)p + at);\n"
    "    u16 x = gload((u16 *)p + at);\n"
    "    return type == 2 ? from_f16(x) : from_bf16(x);\n"
    "}\n"
    "extern \"C\" __global__ void __launch_bounds__(64) gemm(char *b0, char *b1, char *b2, i64 s0, i64 s1, i64 s2, i64 "
    "s3,\n"
    "        i64 s4, i64 s5, i64 s6, i64 s7, i64 s8, i64 s9, i64 s10, i64 s11, i64 s12, i64 s13) {\n"
    "    i64 at = (i64)blockIdx.x * 64 + threadIdx.x;\n"
    "    i64 i = at % s0, j = at / s0 % s1, z = at / s0 / s1;\n"
    "    int in = (int)(s12 & 255), out = (int)(s12 >> 8 & 255);\n"
    "    if (z >= (s12 >> 16)) return;\n"
    "    float sum = 0;\n"
    "    for (i64 x = 0; x < s2; x++)\n"
    "        sum += load(b0, z * s9 + i * s3 + x * s4, in) * load(b1, z * s10 + x * s5 + j * s6, in);\n"
    "    i64 to = z * s11 + i * s7 + j * s8;\n"
    "    if (s13) sum += load(b2, to, out);\n"
    "    if (out == 0) gstore((float *)b2 + to, sum);\n"
    "    else gstore((u16 *)b2 + to, out == 2 ? to_f16(sum) : to_bf16(sum));\n"
    "}\n";

typedef struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t lead, stride;
    int32_t count;
} Layout;
typedef struct Op {
    int compute;
    int32_t transposed[2];
} Op;
typedef struct Choice {
    uint64_t work;
    uint32_t align[4]; // of A, B, C and D
} Choice;
typedef struct Found { // cublasLtMatmulHeuristicResult_t
    uint64_t algo[8];
    size_t work;
    int state;
    float waves;
    int reserved[4];
} Found;
typedef struct Handle {
    void *module, *gemm;
} Handle;
enum { ALGO = 0x67656d6d };

static void *new_of(size_t bytes) {
    void *p = calloc(1, bytes);
    if (!p) abort();
    return p;
}

static int load_kernel(Handle *h) {
    void *program = NULL;
    char *cubin = NULL;
    size_t n = 0;
    const char *const options[] = {"--gpu-architecture=sm_90"};
    int bad = nvrtcCreateProgram(&program, source, "gemm.cu", 0, NULL, NULL);
    if (!bad) bad = nvrtcCompileProgram(program, 1, options);
    if (!bad) bad = nvrtcGetCUBINSize(program, &n);
    if (!bad) bad = nvrtcGetCUBIN(program, cubin = new_of(n));
    if (!bad) bad = cuModuleLoadDataEx(&h->module, cubin, 0, NULL, NULL);
    if (!bad) bad = cuModuleGetFunction(&h->gemm, h->module, "gemm");
    if (program) nvrtcDestroyProgram(&program);
    free(cubin);
    return bad;
}

EXPORT size_t cublasLtGetVersion(void) { return 130000; }
EXPORT const char *cublasLtGetStatusString(int r) {
    return r == OK        ? "CUBLAS_STATUS_SUCCESS"
           : r == INVALID ? "CUBLAS_STATUS_INVALID_VALUE"
                          : "CUBLAS_STATUS_NOT_SUPPORTED";
}
EXPORT int cublasLtCreate(Handle **out) {
    *out = new_of(sizeof **out);
    if (load_kernel(*out)) return NOT_SUPPORTED;
    return OK;
}
EXPORT int cublasLtDestroy(Handle *h) {
    if (h->module) cuModuleUnload(h->module);
    free(h);
    return OK;
}
EXPORT int cublasLtMatmulDescCreate(Op **out, int compute, int scale) {
    *out = new_of(sizeof **out);
    (*out)->compute = compute;
    return (compute == 68 || compute == 77) && scale == F32 ? OK : NOT_SUPPORTED;
}
EXPORT int cublasLtMatmulDescDestroy(Op *o) { return free(o), OK; }
EXPORT int cublasLtMatmulDescSetAttribute(Op *o, int attribute, const void *value, size_t bytes) {
    if ((attribute != 3 && attribute != 4) || bytes != 4) return INVALID;
    memcpy(&o->transposed[attribute - 3], value, 4);
    return OK;
}
EXPORT int cublasLtMatrixLayoutCreate(Layout **out, int type, uint64_t rows, uint64_t columns, int64_t lead) {
    *out = new_of(sizeof **out);
    **out = (Layout){type, rows, columns, lead, 0, 1};
    return rows && columns && lead >= (int64_t)rows && (type == F32 || type == F16 || type == BF16) ? OK : INVALID;
}
EXPORT int cublasLtMatrixLayoutDestroy(Layout *l) { return free(l), OK; }
EXPORT int cublasLtMatrixLayoutSetAttribute(Layout *l, int attribute, const void *value, size_t bytes) {
    if (attribute == 5 && bytes == 4) memcpy(&l->count, value, 4);
    else if (attribute == 6 && bytes == 8) memcpy(&l->stride, value, 8);
    else return INVALID;
    return OK;
}
EXPORT int cublasLtMatmulPreferenceCreate(Choice **out) {
    *out = new_of(sizeof **out);
    for (int i = 0; i < 4; i++) (*out)->align[i] = 256;
    return OK;
}
EXPORT int cublasLtMatmulPreferenceDestroy(Choice *c) { return free(c), OK; }
EXPORT int cublasLtMatmulPreferenceSetAttribute(Choice *c, int attribute, const void *value, size_t bytes) {
    if (attribute == 1 && bytes == 8) memcpy(&c->work, value, 8);
    else if (attribute >= 5 && attribute <= 8 && bytes == 4) memcpy(&c->align[attribute - 5], value, 4);
    else return INVALID;
    return OK;
}

static bool matches(const Op *o, const Layout *a, const Layout *b, const Layout *d) {
    uint64_t m = o->transposed[0] ? a->columns : a->rows, k = o->transposed[0] ? a->rows : a->columns;
    uint64_t k2 = o->transposed[1] ? b->columns : b->rows, n = o->transposed[1] ? b->rows : b->columns;
    return k == k2 && d->rows == m && d->columns == n && a->count == d->count && b->count == d->count &&
           a->type == b->type && (d->type == a->type || d->type == F32);
}

EXPORT int cublasLtMatmulAlgoGetHeuristic(Handle *h, Op *o, Layout *a, Layout *b, Layout *c, Layout *d, Choice *choice,
                                          int most, Found *out, int *out_count) {
    *out_count = 0;
    if (!h->gemm || most < 1 || !matches(o, a, b, d) || memcmp(c, d, sizeof *c)) return INVALID;
    memset(out, 0, sizeof *out);
    out->algo[0] = ALGO;
    for (int i = 0; i < 4; i++) out->algo[1 + i] = choice->align[i];
    *out_count = 1;
    return OK;
}

EXPORT int cublasLtMatmul(Handle *h, Op *o, const float *alpha, const char *a, Layout *la, const char *b, Layout *lb,
                          const float *beta, const char *c, Layout *lc, char *d, Layout *ld, const uint64_t *algo,
                          void *work, size_t work_bytes, void *stream) {
    (void)work, (void)work_bytes;
    if (!algo || algo[0] != ALGO || *alpha != 1 || (*beta != 0 && *beta != 1) || c != d || memcmp(lc, ld, sizeof *lc) ||
        !matches(o, la, lb, ld))
        return INVALID;
    const char *at[] = {a, b, c, d};
    for (int i = 0; i < 4; i++)
        if ((uintptr_t)at[i] % algo[1 + i]) {
            fprintf(stderr, "cudasim: cuBLASLt: operand %c at %p was said to be aligned to %d bytes\n", "ABCD"[i],
                    (void *)at[i], (int)algo[1 + i]);
            return INVALID;
        }
    int64_t k = (int64_t)(o->transposed[0] ? la->rows : la->columns), m = (int64_t)ld->rows, n = (int64_t)ld->columns;
    int64_t s[14] = {m, n, k};
    s[3 + !!o->transposed[0]] = 1, s[4 - !!o->transposed[0]] = la->lead;
    s[5 + !!o->transposed[1]] = 1, s[6 - !!o->transposed[1]] = lb->lead;
    s[7] = 1, s[8] = ld->lead;
    s[9] = la->stride, s[10] = lb->stride, s[11] = ld->stride;
    s[12] = la->type | ld->type << 8 | (int64_t)ld->count << 16;
    s[13] = *beta == 1;
    void *params[17] = {&a, &b, &d};
    for (int i = 0; i < 14; i++) params[3 + i] = &s[i];
    int64_t blocks = (m * n * ld->count + 63) / 64;
    return cuLaunchKernel(h->gemm, (unsigned)blocks, 1, 1, 64, 1, 1, 0, stream, params, NULL) ? INVALID : OK;
}
