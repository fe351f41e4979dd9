// SPDX-License-Identifier: Apache-2.0
// cuda_nest: a loop nest as a CUDA kernel: its sections, their points, the launch. See cuda_nest.h.
//
//   kernel k24_sub(b0 f32 written, b1 f32)                     extern "C" __global__ void k24_sub(char *b0, char *b1) {
//     parallel i0 in 524288                                        float *y0 = (float *)b0;
//       acc a0 (sum)                                               const float *x1 = (const float *)b1;
//       vector i1 in 768                                           u32 at = blockIdx.x * 8 + threadIdx.x / 32;
//         a0 <- b1[i0*768 + i1]                                    int lane = threadIdx.x % 32;
//       b0[i0] = a0                                                ...
#include "codegen/cuda_nest.h"
#include "base/checked.h"
#include <inttypes.h>
#include <string.h>

typedef struct Sections {
    NestSection *at;
    int n;
    bool too_many;
} Sections;

static bool is_loop(const KStmt *s, KLoopKind kind) { return s->kind == KSTMT_LOOP && s->loop == kind; }

static void find_sections(Sections *found, const KBody *body, const NestSection *chain) {
    bool parallel = body->stmts.n > 0, lanes = body->stmts.n == 1 && is_loop(body->stmts.at[0], KLOOP_VECTOR);
    for (int i = 0; i < body->stmts.n; i++) parallel &= is_loop(body->stmts.at[i], KLOOP_PARALLEL);
    if (parallel || lanes) {
        for (int i = 0; i < body->stmts.n; i++) {
            const KStmt *s = body->stmts.at[i];
            NestSection longer = *chain;
            if (longer.nvars == NEST_VARS) {
                found->too_many = true;
                return;
            }
            longer.var[longer.nvars++] = (NestVar){s->var, s->extent, s->chunk_var, s->total};
            longer.points *= s->extent;
            find_sections(found, &s->body, &longer);
        }
        return;
    }
    if (found->n == NEST_SECTIONS) {
        found->too_many = true;
        return;
    }
    found->at[found->n] = *chain;
    found->at[found->n++].body = body;
}

// ---- a section's points

static const char *wide_int(int64_t n) { return n > UINT32_MAX / 2 ? "i64" : "u32"; }

static void bind(NestEmit *e, const NestVar *v) { e->var[v->var] = arena_printf(e->arena, "i%d", v->var); }

void nest_decode(NestEmit *e, const NestVar *v, int count, const char *rest) {
    for (int i = count - 1; i >= 0; i--) {
        bind(e, &v[i]);
        const char *type = v[i].extent > INT32_MAX ? "i64" : "int";
        if (i) nest_line(e, "%s i%d = %s %% %" PRId64 ";", type, v[i].var, rest, v[i].extent);
        else nest_line(e, "%s i%d = %s;", type, v[i].var, rest);
        rest = arena_printf(e->arena, "%s / %" PRId64, rest, v[i].extent);
    }
    for (int i = 0; i < count; i++)
        if (v[i].chunk_var >= 0)
            nest_line(e, "if ((i64)%s * %" PRId64 " + i%d >= %" PRId64 ") return;", e->var[v[i].chunk_var], v[i].extent,
                      v[i].var, v[i].total);
}

static void thread_points(NestEmit *e, const NestSection *s, const char *block) {
    const NestMap *m = e->map;
    const char *type = wide_int(s->points), *cast = type[0] == 'i' ? "(i64)" : "";
    bool loops = m->width > 1 || m->blocks < ceil_div(s->points, m->threads);
    const char *first = arena_printf(e->arena, "%s%s * %d + threadIdx.x", cast, block, m->threads);
    if (loops) {
        const char *count = arena_printf(e->arena, m->width > 1 ? "%" PRId64 " / V" : "%" PRId64, s->points);
        nest_open(e, "for (%s at = %s; at < %s; at += %" PRId64 ")", type, first, count, m->blocks * m->threads);
    } else {
        nest_line(e, "%s at = %s;", type, first);
        if (s->points % m->threads) nest_line(e, "if (at >= %" PRId64 ") return;", s->points);
    }
    const NestVar *last = s->nvars ? &s->var[s->nvars - 1] : NULL;
    if (m->width > 1) {
        bind(e, last);
        e->lane_var = last->var;
        const char *vtype = last->extent > INT32_MAX ? "i64" : "int";
        if (s->nvars == 1) nest_line(e, "%s i%d = at * V;", vtype, last->var);
        else nest_line(e, "%s i%d = at %% (%" PRId64 " / V) * V;", vtype, last->var, last->extent);
        nest_decode(e, s->var, s->nvars - 1, arena_printf(e->arena, "at / (%" PRId64 " / V)", last->extent));
    } else {
        nest_decode(e, s->var, s->nvars, "at");
    }
    nest_body(e, s->body);
    if (loops) nest_close(e);
}

static void strip_points(NestEmit *e, const NestSection *s, const char *block) {
    const NestMap *m = e->map;
    const NestVar *last = &s->var[s->nvars - 1];
    int64_t strips = ceil_div(last->extent, m->across);
    const char *times = m->width > 1 ? " * V" : "";
    nest_line(e, "u32 at = %s;", block);
    nest_line(e, "int first = at %% %" PRId64 " * %d;", strips, m->across);
    nest_decode(e, s->var, s->nvars - 1, arena_printf(e->arena, "at / %" PRId64, strips));
    nest_hoist(e, s->body);
    nest_line(e, "int end = min_of(first + %d, %" PRId64 ");", m->across, last->extent);
    nest_open(e, "for (int i%d = first + threadIdx.x%s; i%d < end; i%d += %d%s)", last->var, times, last->var,
              last->var, m->threads, times);
    bind(e, last);
    if (m->width > 1) e->lane_var = last->var;
    int mark = e->log.n;
    nest_body(e, s->body);
    nest_undo(e, mark);
    nest_close(e);
}

static void row_points(NestEmit *e, const NestSection *s, const char *block) {
    const NestMap *m = e->map;
    bool loops = m->blocks < ceil_div(s->points, m->across);
    const char *first =
        m->across == 1 ? block : arena_printf(e->arena, "%s * %d + threadIdx.x / %d", block, m->across, m->group);
    nest_line(e, m->across == 1 ? "int lane = threadIdx.x;" : "int lane = threadIdx.x %% %d;", m->group);
    if (loops)
        nest_open(e, "for (u32 at = %s; at < %" PRId64 "; at += %" PRId64 ")", first, s->points, m->blocks * m->across);
    else if (s->nvars || m->across > 1) nest_line(e, "u32 at = %s;", first);
    if (m->group < 32 && s->points % (32 / m->group)) { // a warp's threads stay together
        nest_line(e, "bool live = at < %" PRId64 ";", s->points);
        nest_line(e, "if (!live) at = %" PRId64 ";", s->points - 1);
        e->live = "live";
    } else if (!loops && s->points % m->across) {
        nest_line(e, "if (at >= %" PRId64 ") return;", s->points);
    }
    nest_decode(e, s->var, s->nvars, "at");
    nest_body(e, s->body);
    if (loops) nest_close(e);
}

static void column_points(NestEmit *e, const NestSection *s, const char *block) {
    const NestMap *m = e->map;
    const NestVar *last = &s->var[s->nvars - 1];
    bool wide = m->width > 1;
    int64_t outer = s->points / last->extent;
    const char *columns = arena_printf(e->arena, wide ? "(%d * V)" : "%d", m->across), *times = wide ? " * V" : "";
    nest_line(e, "int tx = threadIdx.x %% %d;", m->across);
    nest_line(e, "int ty = threadIdx.x / %d;", m->across);
    const char *tiles = arena_printf(e->arena, "%" PRId64, ceil_div(last->extent, m->across));
    if (wide) {
        nest_line(e, "const u32 tiles = (%" PRId64 " + %d * V - 1) / (%d * V);", last->extent, m->across, m->across);
        tiles = "tiles";
    }
    bool loops = wide || m->blocks < outer * ceil_div(last->extent, m->across);
    if (loops)
        nest_open(e, "for (u32 at = %s; at < %" PRId64 " * %s; at += %" PRId64 ")", block, outer, tiles, m->blocks);
    else nest_line(e, "u32 at = %s;", block);
    bind(e, last);
    nest_line(e, s->nvars > 1 ? "int i%d = at %% %s * %s + tx%s;" : "int i%d = at%.0s * %s + tx%s;", last->var, tiles,
              columns, times);
    if (last->extent % ((int64_t)m->across * m->width)) {
        nest_line(e, "bool live = i%d < %" PRId64 ";", last->var, last->extent);
        nest_line(e, wide ? "if (!live) i%d = %" PRId64 " - V;" : "if (!live) i%d = %" PRId64 ";", last->var,
                  last->extent - !wide);
        e->live = "live";
    }
    if (wide) e->lane_var = last->var;
    nest_decode(e, s->var, s->nvars - 1, arena_printf(e->arena, "at / %s", tiles));
    nest_body(e, s->body);
    if (loops) nest_close(e);
}

static void emit_points(NestEmit *e, const NestSection *s, const NestMap *m, const char *block) {
    e->map = m;
    e->width = m->width;
    e->lane_var = -1;
    e->live = NULL;
    e->is_split = e->is_unsettled = false;
    e->vector_bufs = 0;
    for (int i = 0; i < e->k->nexprs; i++) e->varies[i] = -1;
    nest_forget(e);
    uint64_t used = nest_bufs(e, s->body);
    for (int i = 0; i < e->k->bufs.n; i++) {
        const KBuf *b = &e->k->bufs.at[i];
        if (!(used & nest_bit(i))) continue;
        const char *type = nest_type(b->type, true);
        if (b->written) nest_line(e, "%s *y%d = (%s *)b%d;", type, i, type, i);
        else nest_line(e, "const %s *x%d = (const %s *)b%d;", type, i, type, i);
    }
    switch (m->way) {
    case NEST_THREAD: thread_points(e, s, block); break;
    case NEST_STRIP: strip_points(e, s, block); break;
    case NEST_ROW: row_points(e, s, block); break;
    case NEST_COLUMN: column_points(e, s, block); break;
    case NEST_SCATTER: nest_scatter_points(e, s, block); break;
    case NEST_SCAN: nest_scan_points(e, s, block); break;
    }
    for (int i = 0; i < s->nvars; i++) e->var[s->var[i].var] = NULL;
}

// ---- the kernel

static void parameters(NestEmit *e, bool block) {
    if (!block) {
        cuda_parameters(e->out, e->k->bufs.n, e->k->nscalars, 0);
        return;
    }
    fputs("(u32 block", e->out);
    for (int i = 0; i < e->k->bufs.n; i++) fprintf(e->out, ", char *b%d", i);
    for (int i = 0; i < e->k->nscalars; i++) fprintf(e->out, ", i64 s%d", i);
    fputc(')', e->out);
}

static const char *call(NestEmit *e, int section, const NestMap *m, int width, int64_t first) {
    const char *c = arena_printf(e->arena, "%s_%d", e->k->name, section);
    if (m->width > 1) c = arena_printf(e->arena, "%s<%d>", c, width);
    if (first) c = arena_printf(e->arena, "%s(blockIdx.x - %" PRId64, c, first);
    else c = arena_printf(e->arena, "%s(blockIdx.x", c);
    for (int i = 0; i < e->k->bufs.n; i++) c = arena_printf(e->arena, "%s, b%d", c, i);
    for (int i = 0; i < e->k->nscalars; i++) c = arena_printf(e->arena, "%s, s%d", c, i);
    return arena_printf(e->arena, "%s);", c);
}

static void emit_call(NestEmit *e, int section, const NestMap *m, int64_t first, uint64_t vector_bufs) {
    if (m->width == 1) {
        nest_line(e, "%s", call(e, section, m, 1, first));
        return;
    }
    int bytes = 1;
    const char *all = "";
    for (int i = 0; i < e->k->bufs.n; i++) {
        if (!(vector_bufs & nest_bit(i))) continue;
        int own = m->width * (int)dtype_bytes(e->k->bufs.at[i].type);
        bytes = own > bytes ? own : bytes;
        all = arena_printf(e->arena, "%s%s(u64)b%d", all, *all ? " | " : "", i);
    }
    if (!*all) {
        nest_line(e, "%s", call(e, section, m, m->width, first));
        return;
    }
    nest_line(e, "if (((%s) %% %d) == 0) %s", all, bytes < 16 ? bytes : 16, call(e, section, m, m->width, first));
    nest_line(e, "else %s", call(e, section, m, 1, first));
}

static void emit_kernel(NestEmit *e, const Sections *found, const NestMap *maps, CudaLaunch *launch) {
    const Kernel *k = e->k;
    bool inlined = found->n == 1 && maps[0].width == 1;
    uint64_t *vectors = NEW_ARRAY(e->arena, uint64_t, found->n + 1);
    for (int i = 0; i < found->n && !inlined; i++) {
        if (maps[i].width > 1) fprintf(e->out, "template <int V> ");
        fprintf(e->out, "TGF_DEVICE void %s_%d", k->name, i);
        parameters(e, true);
        fputs(" {\n", e->out);
        e->depth = 1;
        e->names = 0;
        emit_points(e, &found->at[i], &maps[i], "block");
        vectors[i] = e->vector_bufs;
        nest_close(e);
    }
    fprintf(e->out, "extern \"C\" __global__ void __launch_bounds__(%d) %s", launch->threads, k->name);
    parameters(e, false);
    fputs(" {\n", e->out);
    e->depth = 1;
    int64_t first = 0;
    for (int i = 0; i < found->n; i++) {
        if (inlined) {
            emit_points(e, &found->at[i], &maps[i], "blockIdx.x");
            break;
        }
        if (found->n > 1 && i + 1 < found->n)
            nest_open(e, "%sif (blockIdx.x < %" PRId64 ")", i ? "else " : "", first + maps[i].blocks);
        else if (found->n > 1) nest_open(e, "else");
        emit_call(e, i, &maps[i], first, vectors[i]);
        if (found->n > 1) nest_close(e);
        first += maps[i].blocks;
    }
    nest_close(e);
}

static Status check_types(const Kernel *k) {
    for (int i = 0; i < k->bufs.n; i++)
        if (k->bufs.at[i].type == DT_F64)
            return status_make(STATUS_UNSUPPORTED, "%s: f64 values have no kernels on a GPU", k->name);
    return status_ok();
}

Status cuda_nest(FILE *out, const CudaTarget *target, const Kernel *k, CudaLaunch *launch) {
    memset(launch, 0, sizeof *launch);
    STATUS_TRY(check_types(k));
    Arena *a = arena_new();
    Sections found = {.at = NEW_ARRAY(a, NestSection, NEST_SECTIONS)};
    find_sections(&found, &k->body, &(NestSection){.points = 1});
    NestMap *maps = NEW_ARRAY(a, NestMap, found.n + 1);
    launch->threads = 32;
    for (int i = 0; i < found.n; i++) {
        nest_map(target, k, &found.at[i], found.n > 1 ? 256 : 1024, &maps[i]);
        launch->blocks += maps[i].blocks;
        if (maps[i].threads > launch->threads) launch->threads = maps[i].threads;
        if (maps[i].shared_bytes > launch->shared_bytes) launch->shared_bytes = maps[i].shared_bytes;
    }
    NestEmit e;
    nest_emit_start(&e, a, out, k);
    Status s = e.status;
    if (found.too_many) s = status_make(STATUS_UNSUPPORTED, "%s: too many pieces for a GPU's kernel", k->name);
    if (launch->blocks > INT32_MAX) s = status_make(STATUS_UNSUPPORTED, "%s: too many blocks for a GPU", k->name);
    if (!status_failed(&s)) {
        emit_kernel(&e, &found, maps, launch);
        s = e.status;
    }
    arena_free(a);
    return s;
}
