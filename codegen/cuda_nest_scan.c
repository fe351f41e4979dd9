// SPDX-License-Identifier: Apache-2.0
// cuda_nest_scan: running sums, of which each place of a line is the one before it and a number:
//
//   parallel lines ...
//     y[first] = x[first]
//     serial v in n - 1:  y[v + 1] = y[v] + x[v + 1]
//
// A thread a line would wait for memory at every place: where lines are too few to hide that, a warp takes 32 places at
// once, adds within itself, and carries the last sum on. The sums come in an order of their own, the same each time.
#include "base/checked.h"
#include "codegen/cuda_nest.h"
#include <inttypes.h>
#include <string.h>

enum { THREADS = 256 };

typedef struct Scan {
    const KStmt *loop, *store;
    const KExpr *x;
    DType type;
} Scan;

// Is `before` what `at` is one step of the variable earlier? without: and not an address over the variable.
static bool is_before(const KIndex *before, const KIndex *at, int var, bool without) {
    int64_t step = kindex_stride(at, var);
    if (at->ndyn || before->ndyn || !step || before->base != at->base - step) return false;
    int n = 0;
    for (int i = 0; i < at->nvars; i++) {
        if (without && at->vars[i].var == var) continue;
        if (n == before->nvars || before->vars[n].var != at->vars[i].var ||
            before->vars[n].stride != at->vars[i].stride)
            return false;
        n++;
    }
    return n == before->nvars;
}

static bool match(const NestSection *s, Scan *out) {
    const KBody *body = s->body;
    if (body->stmts.n != 2 || body->stmts.at[0]->kind != KSTMT_STORE || body->stmts.at[1]->kind != KSTMT_LOOP)
        return false;
    const KStmt *first = body->stmts.at[0], *loop = body->stmts.at[1];
    if (loop->chunk_var >= 0 || loop->body.stmts.n != 1 || loop->body.stmts.at[0]->kind != KSTMT_STORE) return false;
    const KStmt *store = loop->body.stmts.at[0];
    const KExpr *sum = kexpr_bare(store->value), *start = kexpr_bare(first->value);
    if (sum->op != K_ADD || start->op != K_LOAD || first->buf != store->buf ||
        !is_before(&first->index, &store->index, loop->var, true))
        return false;
    for (int side = 0; side < 2; side++) {
        const KExpr *y = kexpr_bare(sum->args[side]), *x = kexpr_bare(sum->args[1 - side]);
        if (y->op != K_LOAD || x->op != K_LOAD || y->buf != store->buf || x->buf != start->buf ||
            !is_before(&y->index, &store->index, loop->var, false) ||
            !is_before(&start->index, &x->index, loop->var, true))
            continue;
        *out = (Scan){loop, store, sum->args[1 - side], sum->type};
        return sum->type == DT_F32 || sum->type == DT_I32;
    }
    return false;
}

bool nest_map_scan(const CudaTarget *target, const NestSection *s, NestMap *m) {
    Scan x;
    if (!match(s, &x) || s->points >= (int64_t)target->processors * 1024) return false;
    for (int i = 0; i < s->nvars; i++)
        if (s->var[i].chunk_var >= 0) return false;
    memset(m, 0, sizeof *m);
    m->way = NEST_SCAN;
    m->group = m->width = 1;
    m->threads = THREADS;
    m->across = THREADS / 32;
    m->blocks = ceil_div(s->points, m->across);
    return true;
}

void nest_scan_points(NestEmit *e, const NestSection *s, const char *block) {
    Scan x = {0};
    match(s, &x);
    int var = x.loop->var;
    const char *type = nest_type(x.type, false), *zero = x.type == DT_I32 ? "0" : "0.0f";
    nest_line(e, "int lane = threadIdx.x %% 32;");
    nest_line(e, "u32 at = %s * %d + threadIdx.x / 32;", block, e->map->across);
    nest_line(e, "if (at >= %" PRId64 ") return;", s->points);
    nest_decode(e, s->var, s->nvars, "at");
    nest_line(e, "%s carry = %s;", type, zero);
    nest_open(e, "for (int i%d = lane - 1; i%d - lane < %" PRId64 "; i%d += 32)", var, var, x.loop->extent, var);
    e->var[var] = arena_printf(e->arena, "i%d", var);
    nest_line(e, "%s sum = %s;", type, zero);
    int mark = e->log.n;
    nest_open(e, "if (i%d < %" PRId64 ")", var, x.loop->extent);
    const char *value = nest_value(e, x.x);
    nest_line(e, "sum = %s;", value);
    nest_undo(e, mark);
    nest_close(e);
    nest_line(e, "sum = Sum::of(carry, scan_lanes(sum));");
    const char *text = "sum", *at = nest_address(e, x.store->buf, &x.store->index);
    DType stored = e->k->bufs.at[x.store->buf].type;
    if (dtype_is_half(stored)) text = stored == DT_BF16 ? "to_bf16(sum)" : "to_f16(sum)";
    nest_line(e, "if (i%d < %" PRId64 ") gstore(%s, %s);", var, x.loop->extent, at, text);
    nest_line(e, "carry = of_lane(sum, 31);");
    e->var[var] = NULL;
    nest_close(e);
}
