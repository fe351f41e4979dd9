// SPDX-License-Identifier: Apache-2.0
// cuda_attend_back: attention's backward kernel for GPUs; how it works is in cuda_prelude_attend_back.cuh, here is
// chosen in which blocks.
#include "codegen/cuda_attend_parts.h"
#include "base/checked.h"
#include <string.h>

typedef struct Blocks {
    int threads;
    int keys_m, s_block;    // blocks of keys: 16 keys_m of them a warp; queries at a time
    int queries_m, t_block; // blocks of queries: 16 queries_m of them a warp; keys at a time
    int stages;             // of what is gone through in shared memory: 2, one being copied while one is used; or 1
} Blocks;

static int64_t the_larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t shared_bytes(const TileAttend *d, const Blocks *b) {
    int64_t keys = b->threads / 2 * b->keys_m, queries = b->threads / 2 * b->queries_m;
    int64_t v_pitch = attend_pitch(d, d->v_columns);
    int64_t by_keys =
        attend_tiles(d, keys) + 8 * b->s_block + b->stages * (attend_tiles(d, b->s_block) + b->s_block * (v_pitch + 4));
    int64_t by_queries = attend_tiles(d, queries) + 8 * queries +
                         the_larger(b->stages * attend_tiles(d, b->t_block), queries * (v_pitch + 4));
    return the_larger(by_keys, by_queries);
}

// Accumulators of both dk and dv of a warp, keys_m (widths) / 2 registers, are too many.
static bool is_apart(const TileAttend *d) { return attend_width(d->q_columns) + attend_width(d->v_columns) > 256; }

static bool choose_blocks(const CudaTarget *target, const TileAttend *d, Blocks *out) {
    static const Blocks all[] = {
        {128, 1, 32, 2, 32, 2}, {128, 1, 32, 1, 32, 2}, {128, 1, 16, 1, 16, 2}, {128, 1, 16, 1, 16, 1},
        {64, 1, 16, 1, 16, 2},  {64, 1, 16, 1, 16, 1},  {32, 1, 16, 1, 16, 1},
    };
    // 32 queries a warp halve what is read from shared memory, if there are enough for every multiprocessor.
    bool many = d->type != REAL_F32 && !d->masked && !is_apart(d) && d->queries > 64 &&
                ceil_div(d->queries, 128) * attend_outers(d) >= target->processors;
    for (int fit = 2; fit >= 1; fit--)
        for (size_t i = many ? 0 : 1; i < (fit == 2 ? 3 : sizeof all / sizeof *all); i++) {
            *out = all[i];
            if (fit * shared_bytes(d, out) <= target->shared_bytes) return true;
        }
    return false;
}

// Which outer axes make a head, and which a group that dk and dv are summed over.
typedef struct Groups {
    bool summed[TILE_AXES];
    int64_t heads, groups;
    bool same_keys; // k and v are the same all over the group
} Groups;

static Status choose_groups(const char *name, const TileAttendBack *back, Groups *g) {
    const TileAttend *d = &back->forward;
    *g = (Groups){.heads = 1, .groups = 1, .same_keys = true};
    for (int i = 0; i < d->outer_count; i++) {
        bool k_summed = back->dk.outer[i] == 0, v_summed = back->dv.outer[i] == 0;
        if (d->outer[i] != 1 && k_summed != v_summed)
            return status_make(STATUS_INVALID, "attention '%s': outer axis %d is summed in one of dk, dv only", name,
                               i);
        g->summed[i] = k_summed && v_summed;
        *(g->summed[i] ? &g->groups : &g->heads) *= d->outer[i];
        if (g->summed[i] && d->outer[i] != 1 && (d->k.outer[i] || d->v.outer[i])) g->same_keys = false;
    }
    return status_ok();
}

// outer(head, group): the outer index that the two stand for.
static void write_outer(FILE *out, const TileAttend *d, const Groups *g) {
    int64_t inner = attend_outers(d), heads = g->heads, groups = g->groups;
    fputs("    TGF_DEVICE int outer(int head, int group) { return ", out);
    const char *plus = "";
    for (int i = 0; i < d->outer_count; i++) {
        if (d->outer[i] <= 1) continue;
        int64_t *rest = g->summed[i] ? &groups : &heads, before = *rest;
        inner /= d->outer[i], *rest /= d->outer[i];
        fprintf(out, "%s%s", plus, g->summed[i] ? "group" : "head");
        if (*rest != 1) fprintf(out, " / %lld", (long long)*rest);
        if (before != (g->summed[i] ? g->groups : g->heads)) fprintf(out, " %% %lld", (long long)d->outer[i]);
        if (inner != 1) fprintf(out, " * %lld", (long long)inner);
        plus = " + ";
    }
    fprintf(out, "%s; }\n", *plus ? "" : "head + group");
}

static void write_shape(FILE *out, const char *name, const TileAttendBack *back, const Groups *g, const Blocks *b,
                        int64_t key_blocks, int64_t query_blocks) {
    const TileAttend *d = &back->forward;
    fprintf(out, "struct %s_shape {\n", name);
    attend_write_shape(out, d, b->threads);
    attend_write_rows(out, "dy", d, &back->dy);
    attend_write_rows(out, "dq", d, &back->dq);
    attend_write_rows(out, "dk", d, &back->dk);
    attend_write_rows(out, "dv", d, &back->dv);
    write_outer(out, d, g);
    fprintf(out, "    static constexpr int heads = %lld, groups = %lld, key_blocks = %lld, query_blocks = %lld;\n",
            (long long)the_larger(g->heads, 1), (long long)g->groups, (long long)key_blocks, (long long)query_blocks);
    fprintf(out, "    static constexpr int keys_m = %d, s_block = %d, queries_m = %d, t_block = %d, stages = %d;\n",
            b->keys_m, b->s_block, b->queries_m, b->t_block, b->stages);
    fprintf(out, "    static constexpr bool same_keys = %d, apart = %d;\n};\n", g->same_keys, is_apart(d));
}

Status cuda_attend_back(FILE *out, const CudaTarget *target, const char *name, const TileAttendBack *back,
                        CudaLaunch *launch) {
    const TileAttend *d = &back->forward;
    Groups groups;
    Blocks blocks;
    STATUS_TRY(attend_check_cuda(name, d));
    STATUS_TRY(choose_groups(name, back, &groups));
    if (!choose_blocks(target, d, &blocks))
        return status_make(STATUS_UNSUPPORTED, "attention '%s' needs more shared memory than %s has", name,
                           target->arch);
    int64_t key_blocks = ceil_div(d->keys, blocks.threads / 2 * blocks.keys_m);
    int64_t query_blocks = ceil_div(d->queries, blocks.threads / 2 * blocks.queries_m);
    write_shape(out, name, back, &groups, &blocks, key_blocks, query_blocks);
    AttendParameters p = attend_parameters(d);
    attend_count(&p, &back->dy);
    attend_count(&p, &back->dq);
    attend_count(&p, &back->dk);
    attend_count(&p, &back->dv);
    fprintf(out, "extern \"C\" __global__ void __launch_bounds__(%d, 2) %s", blocks.threads, name);
    cuda_parameters(out, p.bufs, p.scalars, 0);
    fputs(" {\n    AttendBack a;\n", out);
    attend_write_operands(out, d, "a.forward.");
    int bytes = real_bytes(d->type);
    attend_write_operand(out, "a.", "dy", &back->dy, bytes);
    attend_write_operand(out, "a.", "dq", &back->dq, bytes);
    attend_write_operand(out, "a.", "dk", &back->dk, bytes);
    attend_write_operand(out, "a.", "dv", &back->dv, bytes);
    fprintf(out, "    attend_back<%s_shape>(a);\n}\n", name);
    memset(launch, 0, sizeof *launch);
    launch->blocks = key_blocks * groups.heads * (is_apart(d) ? 2 : 1) + query_blocks * attend_outers(d);
    launch->threads = blocks.threads;
    launch->shared_bytes = shared_bytes(d, &blocks);
    return status_ok();
}
