// SPDX-License-Identifier: Apache-2.0
#include "runtime/cublaslt.h"
#include <stdlib.h>

struct Cublaslt {
    const CublasApi *api;
    Cublas handle;
    CuAddress work;
};

// The library's matrices are column by column. A row-major C is to it the transpose, n by m: there first and second
// operand change places.
struct Gemm {
    Cublaslt *c;
    PlanGemm spec;
    PlanGemmOperand first, second;
    CublasOp op;
    CublasLayout first_layout, second_layout, c_layout;
    CublasAlgo algo;
    size_t work_bytes;
};

static int element_type(PlanDType t) { return t == PLAN_F32 ? CUBLAS_F32 : t == PLAN_BF16 ? CUBLAS_BF16 : CUBLAS_F16; }

Status cublaslt_make(CuAddress work, Cublaslt **out_cublaslt) {
    *out_cublaslt = NULL;
    const CublasApi *api;
    STATUS_TRY(cublas_api(&api));
    Cublaslt *c = calloc(1, sizeof *c);
    if (!c) return status_make(STATUS_MEMORY, "no memory for cuBLASLt");
    c->api = api;
    c->work = work;
    Status s = cublas_status(api, api->cublasLtCreate(&c->handle), "cublasLtCreate");
    if (status_failed(&s)) free(c);
    else *out_cublaslt = c;
    return s;
}

void cublaslt_free(Cublaslt *c) {
    if (!c) return;
    c->api->cublasLtDestroy(c->handle);
    free(c);
}

#define CUBLAS_TRY(call, what) STATUS_TRY(cublas_status(a, a->call, what))

// A matrix of `rows` by `columns` as the product takes it, in memory with `row` and `column` as strides: when the
// elements of a column do not lie side by side it is stored transposed. *out_transposed says so.
static Status make_layout(const CublasApi *a, int type, int64_t rows, int64_t columns, int64_t row, int64_t column,
                          const PlanGemm *s, int64_t batch_stride, int32_t *out_transposed, CublasLayout *out_layout) {
    bool plain = row == 1 && (column >= rows || columns == 1);
    int64_t lead = plain ? column : row, least = plain ? rows : columns;
    int32_t count = (int32_t)s->batch;
    *out_transposed = plain ? CUBLAS_PLAIN : CUBLAS_TRANSPOSED;
    if (lead < least) lead = least; // of a single row or column the stride means nothing
    CUBLAS_TRY(cublasLtMatrixLayoutCreate(out_layout, type, (uint64_t)(plain ? rows : columns),
                                          (uint64_t)(plain ? columns : rows), lead),
               "cublasLtMatrixLayoutCreate");
    if (count == 1) return status_ok();
    CUBLAS_TRY(cublasLtMatrixLayoutSetAttribute(*out_layout, CUBLAS_LAYOUT_BATCH, &count, sizeof count), "layout");
    CUBLAS_TRY(
        cublasLtMatrixLayoutSetAttribute(*out_layout, CUBLAS_LAYOUT_BATCH_STRIDE, &batch_stride, sizeof batch_stride),
        "layout");
    return status_ok();
}

static Status choose(Gemm *g, CublasChoice choice) {
    const CublasApi *a = g->c->api;
    uint64_t most = CUBLASLT_WORK_BYTES;
    CublasFound found;
    int n = 0;
    CUBLAS_TRY(cublasLtMatmulPreferenceSetAttribute(choice, CUBLAS_CHOICE_WORK_BYTES, &most, sizeof most),
               "preference");
    const uint32_t align[] = {(uint32_t)g->first.align, (uint32_t)g->second.align, (uint32_t)g->spec.c.align,
                              (uint32_t)g->spec.c.align};
    for (int i = 0; i < 4; i++) // of A, B, C and D
        CUBLAS_TRY(cublasLtMatmulPreferenceSetAttribute(choice, CUBLAS_CHOICE_ALIGN_A + i, &align[i], sizeof align[i]),
                   "preference");
    CublasResult r = a->cublasLtMatmulAlgoGetHeuristic(g->c->handle, g->op, g->first_layout, g->second_layout,
                                                       g->c_layout, g->c_layout, choice, 1, &found, &n);
    if (r != CUBLAS_OK || n < 1 || found.state != CUBLAS_OK)
        return status_make(STATUS_UNSUPPORTED, "cuBLASLt has no product of %lld by %lld by %lld, %lld times: %s",
                           (long long)g->spec.m, (long long)g->spec.n, (long long)g->spec.k, (long long)g->spec.batch,
                           a->cublasLtGetStatusString(r != CUBLAS_OK ? r : found.state));
    g->algo = found.algo;
    g->work_bytes = found.work_bytes;
    return status_ok();
}

static Status make_inside(Gemm *g) {
    const PlanGemm *s = &g->spec;
    const CublasApi *a = g->c->api;
    int type = element_type(s->type), out = element_type(s->out);
    bool rows = s->c.column == 1 && (s->c.row >= s->n || s->m == 1); // C is row-major
    g->first = rows ? s->b : s->a;
    g->second = rows ? s->a : s->b;
    int32_t transposed[3];
    int compute = s->type == PLAN_F32 && s->tf32 ? CUBLAS_COMPUTE_TF32 : CUBLAS_COMPUTE_F32;
    CUBLAS_TRY(cublasLtMatmulDescCreate(&g->op, compute, CUBLAS_F32), "cublasLtMatmulDescCreate");
    if (rows) { // C' [n, m] = B' [n, k] A' [k, m]
        STATUS_TRY(
            make_layout(a, type, s->n, s->k, s->b.column, s->b.row, s, s->b.batch, &transposed[0], &g->first_layout));
        STATUS_TRY(
            make_layout(a, type, s->k, s->m, s->a.column, s->a.row, s, s->a.batch, &transposed[1], &g->second_layout));
        STATUS_TRY(make_layout(a, out, s->n, s->m, 1, s->c.row, s, s->c.batch, &transposed[2], &g->c_layout));
    } else {
        STATUS_TRY(
            make_layout(a, type, s->m, s->k, s->a.row, s->a.column, s, s->a.batch, &transposed[0], &g->first_layout));
        STATUS_TRY(
            make_layout(a, type, s->k, s->n, s->b.row, s->b.column, s, s->b.batch, &transposed[1], &g->second_layout));
        STATUS_TRY(make_layout(a, out, s->m, s->n, 1, s->c.column, s, s->c.batch, &transposed[2], &g->c_layout));
    }
    CUBLAS_TRY(cublasLtMatmulDescSetAttribute(g->op, CUBLAS_OP_TRANSPOSE_A, &transposed[0], sizeof *transposed), "op");
    CUBLAS_TRY(cublasLtMatmulDescSetAttribute(g->op, CUBLAS_OP_TRANSPOSE_B, &transposed[1], sizeof *transposed), "op");
    CublasChoice choice;
    CUBLAS_TRY(cublasLtMatmulPreferenceCreate(&choice), "cublasLtMatmulPreferenceCreate");
    Status chosen = choose(g, choice);
    a->cublasLtMatmulPreferenceDestroy(choice);
    return chosen;
}

Status gemm_make(Cublaslt *c, const PlanGemm *spec, Gemm **out_gemm) {
    *out_gemm = NULL;
    if (!plan_gemm_fits(spec)) return status_make(STATUS_UNSUPPORTED, "cuBLASLt has no product of such strides");
    Gemm *g = calloc(1, sizeof *g);
    if (!g) return status_make(STATUS_MEMORY, "no memory for a product");
    g->c = c;
    g->spec = *spec;
    Status s = make_inside(g);
    if (status_failed(&s)) gemm_free(g);
    else *out_gemm = g;
    return s;
}

void gemm_free(Gemm *g) {
    if (!g) return;
    const CublasApi *a = g->c->api;
    if (g->first_layout) a->cublasLtMatrixLayoutDestroy(g->first_layout);
    if (g->second_layout) a->cublasLtMatrixLayoutDestroy(g->second_layout);
    if (g->c_layout) a->cublasLtMatrixLayoutDestroy(g->c_layout);
    if (g->op) a->cublasLtMatmulDescDestroy(g->op);
    free(g);
}

Status gemm_run(const Gemm *g, char *const *buf, CuStream stream) {
    const CublasApi *a = g->c->api;
    const PlanGemm *s = &g->spec;
    const float one = 1, kept = s->accumulate ? 1 : 0;
    int64_t bytes = plan_dtype_bytes(s->type);
    char *first = buf[g->first.arg] + g->first.first * bytes, *second = buf[g->second.arg] + g->second.first * bytes;
    char *out = buf[s->c.arg] + s->c.first * plan_dtype_bytes(s->out);
    return cublas_status(a,
                         a->cublasLtMatmul(g->c->handle, g->op, &one, first, g->first_layout, second, g->second_layout,
                                           &kept, out, g->c_layout, out, g->c_layout, &g->algo,
                                           (void *)(uintptr_t)g->c->work, g->work_bytes, stream),
                         "a product by cuBLASLt");
}
