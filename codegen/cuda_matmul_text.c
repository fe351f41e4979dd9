// SPDX-License-Identifier: Apache-2.0
// cuda_matmul_text: a product's Shape, see cuda_prelude_matmul.cuh.
#include "codegen/cuda_matmul.h"

// The byte offset of linear index i: each axis's own index by division with constants, times its stride.
static void offset_text(FILE *out, const TileGroup *g, TileSide side, int size) {
    if (!g->count) {
        fputs("0", out);
        return;
    }
    int64_t inner = 1;
    for (int a = g->count - 1; a >= 0; a--) {
        const TileAxis *x = &g->axis[a];
        if (a < g->count - 1) fputs(" + ", out);
        fputs("(i64)(i", out);
        if (inner > 1) fprintf(out, " / %ldu", (long)inner);
        if (a) fprintf(out, " %% %ldu", (long)x->extent);
        fprintf(out, ") * %ld", (long)(tile_stride_of(x, side) * size));
        inner *= x->extent;
    }
}

static void function_text(FILE *out, const char *name, const TileGroup *g, TileSide side, int size) {
    fprintf(out, "        TGF_DEVICE i64 %s(u32 i) { return ", name);
    offset_text(out, g, side, size);
    fputs("; }\n", out);
}

static int64_t linear_stride(const TileGroup *g, TileSide side, int size) {
    return g->count == 1 ? tile_stride_of(&g->axis[0], side) * size : 0;
}

static void operand_text(FILE *out, const char *name, const CudaSide *s, int size) {
    static const char *const bools[] = {"false", "true"};
    fprintf(out,
            "    struct %s {\n"
            "        static const bool along_k = %s, linear = %s, depth_linear = %s;\n"
            "        static const int width = %d;\n"
            "        static const i64 row_stride = %ld, depth_stride = %ld;\n",
            name, bools[s->along_rest], bools[s->row.count <= 1], bools[s->rest.count <= 1], s->width,
            (long)linear_stride(&s->row, s->side, size), (long)linear_stride(&s->rest, s->side, size));
    function_text(out, "batch", &s->batch, s->side, size);
    function_text(out, "row", &s->row, s->side, size);
    function_text(out, "depth", &s->rest, s->side, size);
    fputs("    };\n", out);
}

void cuda_shape_text(FILE *out, const CudaProduct *p, const CudaTiling *t) {
    const char *real = p->d.type == REAL_BF16  ? "MatmulBf16"
                       : p->d.type == REAL_F16 ? "MatmulF16"
                       : p->tf32               ? "MatmulTf32"
                                               : "MatmulF32";
    fprintf(out,
            "struct %s_shape {\n"
            "    typedef %s Real;\n"
            "    static const u32 M = %ld, N = %ld, K = %ld, batches = %ld;\n"
            "    static const int tile_m = %d, tile_n = %d, tile_k = %d;\n"
            "    static const int warps_m = %d, warps_n = %d, warps_k = %d, stages = %d;\n"
            "    static const bool accumulate = %s;\n",
            p->name, real, (long)p->m, (long)p->n, (long)p->k, (long)p->batches, t->m, t->n, t->k_bytes / p->size,
            t->warps_m, t->warps_n, t->warps_k, t->stages, p->d.accumulate ? "true" : "false");
    operand_text(out, "A", &p->a, p->size);
    operand_text(out, "B", &p->b, p->size);
    fprintf(out, "    struct C {\n        static const int width = %d;\n", p->c.width);
    function_text(out, "batch", &p->c.batch, TILE_C, p->size);
    function_text(out, "row", &p->c.row, TILE_C, p->size);
    function_text(out, "column", &p->c.rest, TILE_C, p->size);
    fputs("    };\n};\n", out);
}

void cuda_head_text(FILE *out, const CudaProduct *p, int threads, int nmaps) {
    int most = p->d.a > p->d.b ? p->d.a : p->d.b;
    if (p->d.c > most) most = p->d.c;
    // Registers rather than blocks on a multiprocessor: left to itself the assembler spills some for a third block.
    fprintf(out, "extern \"C\" __global__ void __launch_bounds__(%d, 1) %s", threads, p->name);
    cuda_parameters(out, most + 1, 0, nmaps);
}

void cuda_bases_text(FILE *out, const CudaProduct *p) {
    const CudaSide *sides[] = {&p->a, &p->b, &p->c};
    for (int i = 0; i < 3; i++) {
        fprintf(out, "%sb%d", i ? ", " : "", sides[i]->operand);
        if (sides[i]->first) fprintf(out, " + %ld", (long)sides[i]->first);
    }
}
