// SPDX-License-Identifier: Apache-2.0
// cuda_gemm: see cuda_gemm.h.
#include "codegen/cuda_gemm.h"
#include "codegen/tile_group.h"
#include <string.h>

// The stride of a group that is one axis in memory; 0 for a single index.
static bool one_stride(const TileGroup *g, TileSide side, int64_t *out_stride) {
    TileGroup merged = tile_group_merge(g, 1, &side);
    *out_stride = merged.count ? tile_stride_of(&merged.axis[0], side) : 0;
    return merged.count <= 1;
}

static bool describe_operand(const TileMatmul *d, TileSide side, const TileGroup *row, const TileGroup *column,
                             PlanGemmOperand *out) {
    out->arg = side == TILE_A ? d->a : side == TILE_B ? d->b : d->c;
    out->first = side == TILE_A ? d->a_first : side == TILE_B ? d->b_first : d->c_first;
    out->align = d->align[side] ? d->align[side] : real_bytes(d->type);
    if (!one_stride(&d->batch, side, &out->batch) || !one_stride(row, side, &out->row) ||
        !one_stride(column, side, &out->column))
        return false;
    int64_t rows, columns;
    if (!tile_group_extent(row, &rows) || !tile_group_extent(column, &columns)) return false;
    if (rows == 1 && out->column == 1) out->row = columns; // of a single row any stride will do
    if (columns == 1 && out->row == 1) out->column = rows;
    return true;
}

bool cuda_gemm_describe(const TileMatmul *d, bool tf32, PlanGemm *out) {
    static const PlanDType types[] = {PLAN_F32, PLAN_BF16, PLAN_F16};
    memset(out, 0, sizeof *out);
    out->type = out->out = types[d->type];
    out->tf32 = tf32 && d->type == REAL_F32;
    out->accumulate = d->accumulate;
    return tile_group_extent(&d->batch, &out->batch) && tile_group_extent(&d->m, &out->m) &&
           tile_group_extent(&d->n, &out->n) && tile_group_extent(&d->k, &out->k) &&
           describe_operand(d, TILE_A, &d->m, &d->k, &out->a) && describe_operand(d, TILE_B, &d->k, &d->n, &out->b) &&
           describe_operand(d, TILE_C, &d->m, &d->n, &out->c) && plan_gemm_fits(out);
}

// ---- measured

typedef struct Faster {
    const char *arch, *type;
    int64_t m, n, k, batch;
} Faster;
#define FASTER(arch, type, m, n, k, batch) {#arch, #type, m, n, k, batch},
static const Faster faster[] = {
#include "codegen/gemm_table.def"
    {NULL, NULL, 0, 0, 0, 0}};
#undef FASTER

static bool is_near(int64_t x, int64_t measured) { return x <= measured && 2 * x > measured; }

bool cuda_gemm_picks(const CudaTarget *target, GemmChoice choice, const PlanGemm *g) {
    static const char *const names[] = {"bool", "i32", "f32", "f64", "bf16", "f16"};
    if (choice != GEMM_AUTO) return choice == GEMM_CUBLASLT;
    for (const Faster *f = faster; f->arch; f++)
        if (!strcmp(f->arch, target->arch) && !strcmp(f->type, g->tf32 ? "tf32" : names[g->type]) &&
            is_near(g->m, f->m) && is_near(g->n, f->n) && is_near(g->k, f->k) && is_near(g->batch, f->batch))
            return true;
    return false;
}
