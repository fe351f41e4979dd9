// SPDX-License-Identifier: Apache-2.0
// cuda_attend: attention's forward kernel for GPUs; how it works is in cuda_prelude_attend.cuh, here is chosen in which
// blocks.
#include "codegen/cuda_attend_parts.h"
#include "base/checked.h"
#include <string.h>

enum { THREADS = 128 };

typedef struct Blocks {
    int m;       // a warp has 16 m queries, a block four warps
    int t_block; // keys at a time
    int stages;  // blocks of keys in shared memory: 2, one being copied while one is used; or 1
} Blocks;

static int64_t shared_bytes(const TileAttend *d, const Blocks *b) {
    int64_t rows = 64 * b->m;
    return rows * attend_pitch(d, d->q_columns) + b->stages * attend_tiles(d, b->t_block);
}

// The first that two blocks of a multiprocessor have the shared memory for, else the first that one has. More would
// spill registers: the output of a warp takes m widths / 2 of them, scores m t_block / 2.
static bool choose_blocks(const CudaTarget *target, const TileAttend *d, Blocks *out) {
    static const Blocks narrow[] = {{2, 64, 2}, {2, 48, 2}, {2, 32, 2}},
                        half[] = {{1, 64, 2}, {1, 32, 2}, {1, 16, 2}, {1, 16, 1}};
    int widest = attend_width(d->q_columns > d->v_columns ? d->q_columns : d->v_columns);
    // 32 queries a warp halve what is read from shared memory, if there are enough for every multiprocessor.
    bool many = d->queries > 64 && ceil_div(d->queries, 128) * attend_outers(d) >= target->processors;
    for (int fit = 2; fit >= 1; fit--) {
        for (int i = (widest > 96) + (d->masked || d->bounded); i < 3 && d->type != REAL_F32 && widest <= 128 && many;
             i++) {
            *out = narrow[i];
            if (fit * shared_bytes(d, out) <= target->shared_bytes) return true;
        }
        for (int i = widest > 128 || (d->type == REAL_F32 && widest > 64); i < 4; i++) {
            *out = half[i];
            if (fit * shared_bytes(d, out) <= target->shared_bytes) return true;
        }
    }
    return false;
}

Status cuda_attend(FILE *out, const CudaTarget *target, const char *name, const TileAttend *d, CudaLaunch *launch) {
    STATUS_TRY(attend_check_cuda(name, d));
    Blocks blocks;
    if (!choose_blocks(target, d, &blocks))
        return status_make(STATUS_UNSUPPORTED, "attention '%s' needs more shared memory than %s has", name,
                           target->arch);
    int64_t per_outer = ceil_div(d->queries, 64 * blocks.m);
    AttendParameters p = attend_parameters(d);
    fprintf(out, "struct %s_shape {\n", name);
    attend_write_shape(out, d, THREADS);
    fprintf(out, "    static constexpr int blocks = %lld, m = %d, t_block = %d, stages = %d, hold_q = %d;\n};\n",
            (long long)(per_outer ? per_outer : 1), blocks.m, blocks.t_block, blocks.stages, d->q_columns <= 64);
    fprintf(out, "extern \"C\" __global__ void __launch_bounds__(%d, 2) %s", THREADS, name);
    cuda_parameters(out, p.bufs, p.scalars, 0);
    fputs(" {\n    AttendForward a;\n", out);
    attend_write_operands(out, d, "a.");
    fprintf(out, "    attend_forward<%s_shape>(a);\n}\n", name);
    memset(launch, 0, sizeof *launch);
    launch->blocks = per_outer * attend_outers(d);
    launch->threads = THREADS;
    launch->shared_bytes = shared_bytes(d, &blocks);
    return status_ok();
}
