// SPDX-License-Identifier: Apache-2.0
// Products as cuBLASLt is told them: operands by rows or by columns, with gaps, in batches, added up. In the library's
// place is a small one that multiplies matrices stored column by column as its documentation says.
#define _GNU_SOURCE
#include "runtime/cublaslt.h"
#include "runtime/file.h"
#include "tests/runtime/check.h"
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char folder[] = "/tmp/tgf-cublaslt-XXXXXX";

static const char library[] =
    "#include <stdlib.h>\n#include <string.h>\n#include <stdint.h>\n"
    "typedef struct L { int type; uint64_t rows, columns; int64_t lead, stride; int32_t count; } L;\n"
    "typedef struct O { int32_t t[2]; } O;\n"
    "typedef struct F { uint64_t algo[8]; size_t work; int state; float waves; int reserved[4]; } F;\n"
    "size_t cublasLtGetVersion(void) { return 130000; }\n"
    "const char *cublasLtGetStatusString(int r) { return r ? \"not supported\" : \"ok\"; }\n"
    "int cublasLtCreate(void **h) { *h = malloc(1); return 0; }\n"
    "int cublasLtDestroy(void *h) { free(h); return 0; }\n"
    "int cublasLtMatmulDescCreate(O **o, int c, int s) { *o = calloc(1, sizeof **o); return c != 68 || s; }\n"
    "int cublasLtMatmulDescDestroy(O *o) { free(o); return 0; }\n"
    "int cublasLtMatmulDescSetAttribute(O *o, int a, const void *v, size_t n) {\n"
    "  if ((a != 3 && a != 4) || n != 4) return 7; memcpy(&o->t[a - 3], v, 4); return 0; }\n"
    "int cublasLtMatrixLayoutCreate(L **l, int t, uint64_t r, uint64_t c, int64_t ld) {\n"
    "  if (ld < (int64_t)r) return 7; *l = calloc(1, sizeof **l); **l = (L){t, r, c, ld, 0, 1}; return 0; }\n"
    "int cublasLtMatrixLayoutDestroy(L *l) { free(l); return 0; }\n"
    "int cublasLtMatrixLayoutSetAttribute(L *l, int a, const void *v, size_t n) {\n"
    "  if (a == 5 && n == 4) memcpy(&l->count, v, 4); else if (a == 6 && n == 8) memcpy(&l->stride, v, 8);\n"
    "  else return 7; return 0; }\n"
    "int cublasLtMatmulPreferenceCreate(void **p) { *p = malloc(1); return 0; }\n"
    "int cublasLtMatmulPreferenceDestroy(void *p) { free(p); return 0; }\n"
    "int cublasLtMatmulPreferenceSetAttribute(void *p, int a, const void *v, size_t n) {\n"
    "  return a == 1 ? n != 8 : a < 5 || a > 8 || n != 4; }\n"
    "int cublasLtMatmulAlgoGetHeuristic(void *h, O *o, L *a, L *b, L *c, L *d, void *p, int most, F *f, int *n) {\n"
    "  if (a->columns == 31 || b->columns == 31) { *n = 0; return 15; }\n"
    "  memset(f, 0, sizeof *f); f->algo[0] = 42; f->work = 4096; *n = 1; return 0; }\n"
    "int cublasLtMatmul(void *h, O *o, const float *alpha, const float *a, L *la, const float *b, L *lb,\n"
    "    const float *beta, const float *c, L *lc, float *d, L *ld, const uint64_t *algo, void *w, size_t nw, void *s) "
    "{\n"
    "  uint64_t m = o->t[0] ? la->columns : la->rows, k = o->t[0] ? la->rows : la->columns;\n"
    "  uint64_t k2 = o->t[1] ? lb->columns : lb->rows, n = o->t[1] ? lb->rows : lb->columns;\n"
    "  if (algo[0] != 42 || k != k2 || lc->rows != m || lc->columns != n || nw != 4096) return 7;\n"
    "  for (int z = 0; z < lc->count; z++)\n"
    "    for (uint64_t i = 0; i < m; i++) for (uint64_t j = 0; j < n; j++) {\n"
    "      float sum = 0;\n"
    "      for (uint64_t x = 0; x < k; x++)\n"
    "        sum += a[z * la->stride + (o->t[0] ? x + i * la->lead : i + x * la->lead)] *\n"
    "               b[z * lb->stride + (o->t[1] ? j + x * lb->lead : x + j * lb->lead)];\n"
    "      float *at = &d[z * ld->stride + i + j * ld->lead];\n"
    "      *at = *alpha * sum + (*beta ? *beta * c[z * lc->stride + i + j * lc->lead] : 0); }\n"
    "  return 0; }\n";

static bool make_library(void) {
    char source[100], path[100];
    snprintf(source, sizeof source, "%s/fake.c", folder);
    snprintf(path, sizeof path, "%s/libcublasLt.so.13", folder);
    CHECK_OK(file_write_whole(source, library, sizeof library - 1));
    char *arguments[] = {"cc", "-w", "-O1", "-std=gnu11", "-shared", "-fPIC", "-o", path, source, NULL};
    pid_t child;
    int status = 1;
    CHECK(!posix_spawnp(&child, "cc", NULL, NULL, arguments, environ));
    waitpid(child, &status, 0);
    CHECK(!status);
    return !status;
}

// Rows side by side with `gap` unused elements, or columns.
static PlanGemmOperand operand(int arg, int64_t rows, int64_t columns, bool by_columns, int64_t gap) {
    int64_t lead = (by_columns ? rows : columns) + gap;
    return (PlanGemmOperand){.arg = arg,
                             .first = gap,
                             .batch = lead * (by_columns ? columns : rows) + gap,
                             .row = by_columns ? 1 : lead,
                             .column = by_columns ? lead : 1};
}

static void test_product(Cublaslt *c, int64_t m, int64_t n, int64_t k, int64_t batch, int form, bool accumulate) {
    enum { ROOM = 4096 };
    static float memory[3][ROOM], want[ROOM];
    int64_t gap = form & 8 ? 3 : 0;
    PlanGemm s = {.batch = batch,
                  .m = m,
                  .n = n,
                  .k = k,
                  .type = PLAN_F32,
                  .out = PLAN_F32,
                  .a = operand(2, m, k, form & 1, gap),
                  .b = operand(0, k, n, form & 2, 2 * gap),
                  .c = operand(1, m, n, form & 4, gap),
                  .accumulate = accumulate};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < ROOM; j++) memory[i][j] = (float)((j * 7 + i * 5) % 11 - 5);
    memcpy(want, memory[1], sizeof want);
    for (int64_t z = 0; z < batch; z++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                float sum = 0;
                for (int64_t x = 0; x < k; x++)
                    sum += memory[2][s.a.first + z * s.a.batch + i * s.a.row + x * s.a.column] *
                           memory[0][s.b.first + z * s.b.batch + x * s.b.row + j * s.b.column];
                float *at = &want[s.c.first + z * s.c.batch + i * s.c.row + j * s.c.column];
                *at = accumulate ? *at + sum : sum;
            }
    Gemm *g = NULL;
    CHECK(plan_gemm_fits(&s));
    CHECK_OK(gemm_make(c, &s, &g));
    char *buf[] = {(char *)memory[0], (char *)memory[1], (char *)memory[2]};
    if (g) CHECK_OK(gemm_run(g, buf, NULL));
    if (memcmp(want, memory[1], sizeof want) && !check_failures++)
        printf("%lld by %lld by %lld, %lld times, form %d is wrong\n", (long long)m, (long long)n, (long long)k,
               (long long)batch, form);
    gemm_free(g);
}

int main(void) {
    CHECK(mkdtemp(folder));
    setenv("TGF_CUDA_LIBRARIES", folder, 1);
    Cublaslt *c = NULL;
    if (make_library()) CHECK_OK(cublaslt_make(256, &c));
    static const int64_t sizes[][4] = {{3, 4, 5, 1}, {5, 3, 2, 4}, {1, 7, 3, 2},
                                       {6, 1, 4, 3}, {2, 5, 1, 2}, {1, 1, 1, 1}};
    for (size_t i = 0; c && i < sizeof sizes / sizeof *sizes; i++)
        for (int form = 0; form < 16; form++)
            for (int add = 0; add < 2; add++)
                test_product(c, sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], form, add);
    PlanGemm s = {.batch = 1, .m = 31, .n = 31, .k = 31, .type = PLAN_BF16, .out = PLAN_BF16};
    s.a = s.b = s.c = operand(0, 31, 31, false, 0);
    Gemm *g;
    if (c)
        CHECK_FAILS(gemm_make(c, &s, &g), STATUS_UNSUPPORTED, "no product of 31 by 31 by 31, 1 times: not supported");
    s.a.column = 2;
    CHECK(!plan_gemm_fits(&s));
    s.a.column = 1, s.a.row = 30; // rows overlap
    CHECK(!plan_gemm_fits(&s));
    s.a.row = 31, s.type = PLAN_F64;
    CHECK(!plan_gemm_fits(&s));
    cublaslt_free(c);
    static const char *const files[] = {"fake.c", "libcublasLt.so.13"};
    for (int i = 0; i < 2; i++) {
        char path[100];
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
    return check_report("cublaslt");
}
