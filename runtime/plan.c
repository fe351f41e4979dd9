// SPDX-License-Identifier: Apache-2.0
// plan: looking things up in a plan, and checking all that the executor relies on, so that it can run without looking.
#include "runtime/plan.h"
#include "base/checked.h"
#include "runtime/plan_tasks.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RANKS = 1 << 20, MAX_ARGS = 1024 };

// ---- looking things up ----------------------------------------------------------------------------------------------
const PlanProgram *plan_program(const Plan *p, const char *name) {
    for (int i = 0; i < p->nprograms; i++)
        if (!strcmp(p->programs[i].name, name)) return &p->programs[i];
    return NULL;
}

bool plan_runs(const Plan *p, const PlanProgram *program, int instr) {
    int func = 0;
    while (func < p->nfuncs && instr >= p->funcs[func].first + p->funcs[func].count) func++;
    for (int stage = 0; stage < p->nstages; stage++)
        for (int64_t i = 0; i < program->count[stage]; i++)
            if (program->steps[stage][i].kind == PLAN_STEP_RUN && program->steps[stage][i].what == func) return true;
    return false;
}

int plan_leaf(const Plan *p, PlanLeafKind kind, const char *name) {
    for (int i = 0; i < p->nleaves; i++)
        if (p->leaves[i].kind == kind && !strcmp(p->leaves[i].name, name)) return i;
    return -1;
}

int64_t plan_ways(const Plan *p, uint32_t mesh) {
    int64_t n = 1;
    for (int i = 0; i < p->nmesh; i++)
        if (mesh >> i & 1) n *= p->mesh[i].extent;
    return n;
}

int64_t plan_ranks(const Plan *p) { return plan_ways(p, ~0u); }

int64_t plan_coord(const Plan *p, uint32_t mesh, int64_t rank) {
    int64_t coord = 0, weight = 1;
    for (int i = p->nmesh - 1; i >= 0; i--) { // the last mesh axis is fastest
        if (mesh >> i & 1) {
            coord += rank % p->mesh[i].extent * weight;
            weight *= p->mesh[i].extent;
        }
        rank /= p->mesh[i].extent;
    }
    return coord;
}

int plan_stage(const Plan *p, int64_t rank) { return (int)plan_coord(p, p->stage_mesh, rank); }

int64_t plan_leaf_bytes(const Plan *p, const PlanLeaf *l, int variant) {
    return l->layered < 0 ? l->bytes : l->bytes * p->variants[variant].layers;
}

const char *plan_step_name(PlanStepKind kind) {
    static const char *const names[] = {"run", "send", "recv", "copy", "wait", "zero"};
    return (unsigned)kind < sizeof names / sizeof *names ? names[kind] : "unknown step";
}

int plan_dtype_bytes(PlanDType t) {
    static const int bytes[] = {1, 4, 4, 8, 2, 2};
    return (unsigned)t < sizeof bytes / sizeof *bytes ? bytes[t] : 0;
}

// ---- checking -------------------------------------------------------------------------------------------------------
#define BAD PLAN_BAD

static bool product(const int64_t *factors, int n, int64_t *out) {
    *out = 1;
    for (int i = 0; i < n; i++)
        if (!checked_mul(*out, factors[i], out)) return false;
    return true;
}

static Status check_mesh(const Plan *p) {
    if (p->nmesh < 0 || p->nmesh > PLAN_MESH) BAD("%d mesh axes; at most %d", p->nmesh, PLAN_MESH);
    int64_t ranks = 1;
    for (int i = 0; i < p->nmesh; i++) {
        if (!p->mesh[i].name || !*p->mesh[i].name) BAD("mesh axis %d has no name", i);
        for (int j = 0; j < i; j++)
            if (!strcmp(p->mesh[i].name, p->mesh[j].name)) BAD("mesh axis '%s' occurs twice", p->mesh[i].name);
        if (p->mesh[i].extent < 1) BAD("mesh axis '%s' has extent %lld", p->mesh[i].name, (long long)p->mesh[i].extent);
        if (!checked_mul(ranks, p->mesh[i].extent, &ranks) || ranks > MAX_RANKS) BAD("more than %d ranks", MAX_RANKS);
    }
    return status_ok();
}

static bool mesh_is_known(const Plan *p, uint32_t mesh) { return (mesh >> p->nmesh) == 0; }

static Status check_leaf(const Plan *p, const PlanLeaf *l) {
    if (!l->name || !*l->name) BAD("a leaf has no name");
    if ((unsigned)l->kind > PLAN_BUFFER) BAD("leaf '%s' is of unknown kind %d", l->name, (int)l->kind);
    if (!plan_dtype_bytes(l->dtype)) BAD("leaf '%s' has unknown element type %d", l->name, (int)l->dtype);
    if (l->rank < 0 || l->rank > PLAN_RANK) BAD("leaf '%s' has %d dimensions; at most %d", l->name, l->rank, PLAN_RANK);
    int64_t bytes = plan_dtype_bytes(l->dtype), global = bytes;
    uint32_t used = 0;
    for (int i = 0; i < l->rank; i++) {
        const PlanDim *d = &l->dim[i];
        if (!d->axis || !*d->axis) BAD("leaf '%s', dimension %d has no axis", l->name, i);
        if (d->extent < 1) BAD("leaf '%s', axis '%s' has extent %lld", l->name, d->axis, (long long)d->extent);
        if (!mesh_is_known(p, d->split)) BAD("leaf '%s', axis '%s' is split over no mesh axis", l->name, d->axis);
        if (used & d->split) BAD("leaf '%s' is split twice over one mesh axis", l->name);
        used |= d->split;
        // A buffer holds what one microbatch leaves; a chunk its layers.
        bool whole = l->kind != PLAN_BUFFER, layered = i == l->layered;
        if (d->local < 1 || d->local - p->microbatches > d->extent ||
            (layered && (d->local != d->extent || d->split)) ||
            (whole && d->local < ceil_div(d->extent, plan_ways(p, d->split))))
            BAD("leaf '%s', axis '%s': %lld local places of %lld", l->name, d->axis, (long long)d->local,
                (long long)d->extent);
        for (int j = 0; j < i; j++)
            if (!strcmp(l->dim[j].axis, d->axis)) BAD("leaf '%s' has axis '%s' twice", l->name, d->axis);
        if ((!layered && !checked_mul(bytes, d->local, &bytes)) || !checked_mul(global, d->extent, &global))
            BAD("leaf '%s' is too large", l->name);
    }
    if (l->bytes < bytes) BAD("leaf '%s' needs %lld bytes, has %lld", l->name, (long long)bytes, (long long)l->bytes);
    STATUS_TRY(plan_check_leaf_place(p, l));
    if (l->least > l->limit && l->limit) BAD("leaf '%s' allows no value", l->name);
    return status_ok();
}

static int leaf_name_order(const void *a, const void *b) {
    const PlanLeaf *x = *(PlanLeaf *const *)a, *y = *(PlanLeaf *const *)b;
    return x->kind != y->kind ? (int)x->kind - (int)y->kind : strcmp(x->name, y->name);
}

static Status check_leaves(const Plan *p) {
    for (int i = 0; i < p->nleaves; i++) STATUS_TRY(check_leaf(p, &p->leaves[i]));
    PlanLeaf **order = calloc((size_t)p->nleaves + 1, sizeof *order);
    if (!order) return status_make(STATUS_MEMORY, "plan: no memory to check %d leaves", p->nleaves);
    Status s = status_ok();
    for (int i = 0; i < p->nleaves; i++) order[i] = &p->leaves[i];
    qsort(order, (size_t)p->nleaves, sizeof *order, leaf_name_order);
    for (int i = 1; i < p->nleaves && !status_failed(&s); i++)
        if (!leaf_name_order(&order[i - 1], &order[i]))
            s = status_make(STATUS_CORRUPT, "plan: leaf '%s' occurs twice", order[i]->name);
    free(order);
    return s;
}

// Whether arg + [0, bytes) stays in its section for every microbatch and iteration of the enclosing loops.
static bool arg_inside(const Plan *p, const PlanFunc *f, const PlanArg *arg, const int64_t *counts, int depth,
                       int64_t bytes) {
    int64_t low = arg->offset, high = arg->offset;
    for (int i = -1; i < PLAN_LOOPS; i++) {
        int64_t stride = i < 0 ? arg->micro : arg->stride[i], count = i < 0 ? p->microbatches : counts[i], span;
        if (i >= depth) {
            if (stride) return false;
            continue;
        }
        if (!checked_mul(stride, count - 1, &span)) return false;
        if (!checked_add(span < 0 ? low : high, span, span < 0 ? &low : &high)) return false;
    }
    return low >= 0 && bytes >= 0 && checked_add(high, bytes, &high) && high <= plan_section_bytes(p, f, arg->section);
}

static Status check_comm(const Plan *p, const PlanFunc *f, const PlanInstr *in, int at, const int64_t *counts,
                         int depth) {
    if ((unsigned)in->comm > COMM_REVERSE) BAD("step %d: unknown collective %d", at, (int)in->comm);
    if ((unsigned)in->reduce > REDUCE_MAX) BAD("step %d: unknown reduction %d", at, (int)in->reduce);
    if (!plan_dtype_bytes(in->dtype)) BAD("step %d: unknown element type %d", at, (int)in->dtype);
    if (!mesh_is_known(p, in->mesh)) BAD("step %d: a collective over unknown mesh axes", at);
    if (in->outer < 1 || in->middle < 1 || in->inner < 1) BAD("step %d: a collective of nothing", at);
    bool reduces = in->comm == COMM_ALL_REDUCE || in->comm == COMM_REDUCE_SCATTER;
    if (reduces && in->dtype == PLAN_BOOL && in->reduce == REDUCE_SUM) BAD("step %d: a sum of bool", at);
    int64_t ways = plan_ways(p, in->mesh), bytes = plan_dtype_bytes(in->dtype), send, receive;
    if (!product((int64_t[]){in->outer, in->middle, in->inner, bytes}, 4, &send)) BAD("step %d: size overflows", at);
    receive = send;
    if (in->comm == COMM_ALL_GATHER && !checked_mul(send, ways, &receive)) BAD("step %d: size overflows", at);
    if (in->comm == COMM_REDUCE_SCATTER) receive = send / in->middle * ceil_div(in->middle, ways);
    if (in->comm == COMM_ALL_TO_ALL && !checked_mul(send / in->middle * ceil_div(in->middle, ways), ways, &receive))
        BAD("step %d: size overflows", at);
    if (in->rows || in->row) {
        int64_t unit, all = in->outer * in->middle * in->inner, part;
        if (in->comm != COMM_ALL_TO_ALL || in->rows < 1 || in->row < 1 || !checked_mul(in->rows, in->row, &unit) ||
            in->inner % unit)
            BAD("step %d: rows that do not make up what is moved", at);
        part = all / unit / in->middle * ceil_div(in->middle, ways) * ways;
        if (!arg_inside(p, f, &in->args[2], counts, depth, all / unit * 4) ||
            !arg_inside(p, f, &in->args[3], counts, depth, part * 4))
            BAD("step %d: counts of rows lie outside the slab", at);
    }
    for (int i = 0; i < (in->rows ? 4 : 2); i++)
        if (plan_is_host(in->args[i].section)) BAD("step %d: a collective of what lies on the host", at);
    if (!arg_inside(p, f, &in->args[0], counts, depth, in->comm == COMM_RECV ? 0 : send))
        BAD("step %d: what is sent lies outside the slab", at);
    if (!arg_inside(p, f, &in->args[1], counts, depth, in->comm == COMM_SEND ? 0 : receive))
        BAD("step %d: what is received lies outside the slab", at);
    return status_ok();
}

static Status check_kernel_call(const Plan *p, const PlanFunc *f, const PlanInstr *in, int at, const int64_t *counts,
                                int depth) {
    if (in->kernel < 0 || in->kernel >= p->nkernels) BAD("step %d: kernel %d of %d", at, in->kernel, p->nkernels);
    const PlanGemm *g = p->kernels[in->kernel].gemm;
    if (g && (g->a.arg >= in->nargs || g->b.arg >= in->nargs || g->c.arg >= in->nargs))
        BAD("step %d: a product of an operand it lacks", at);
    for (int m = 0; m < p->kernels[in->kernel].nmaps; m++)
        if (p->kernels[in->kernel].maps[m].arg >= in->nargs) BAD("step %d: a map of an operand it lacks", at);
    if (in->nargs < 0 || in->nargs > MAX_ARGS || in->nscalars < 0 || in->nscalars > MAX_ARGS)
        BAD("step %d: a kernel with %d operands and %d integers", at, in->nargs, in->nscalars);
    for (int i = 0; i < in->nargs; i++)
        if (plan_is_host(in->args[i].section)) BAD("step %d: operand %d of a kernel lies on the host", at, i);
    for (int i = 0; i < in->nargs; i++)
        if (!arg_inside(p, f, &in->args[i], counts, depth, in->args[i].bytes))
            BAD("step %d: operand %d lies outside the slab", at, i);
    for (int i = 0; i < in->nscalars; i++) {
        const PlanScalar *s = &in->scalars[i];
        int64_t t;
        if (s->kind == SCALAR_ITERATION) {
            if (s->loop < 0 || s->loop >= depth)
                BAD("step %d: integer %d asks for loop %d of %d", at, i, s->loop, depth);
        } else if (s->kind == SCALAR_AFFINE) {
            if (!mesh_is_known(p, s->mesh)) BAD("step %d: integer %d asks for unknown mesh axes", at, i);
            if (!checked_mul(s->factor, plan_ways(p, s->mesh) - 1, &t) || !checked_add(t, s->base, &t) ||
                !checked_mul(s->micro_factor, p->microbatches, &t) || !checked_add(t, s->base, &t))
                BAD("step %d: integer %d overflows", at, i);
        } else {
            BAD("step %d: integer %d is of unknown kind %d", at, i, (int)s->kind);
        }
    }
    return status_ok();
}

// What is copied ahead lies one iteration further than the loop's; the last iteration does not copy it. `loop`: the
// innermost.
static Status check_copy(const Plan *p, const PlanFunc *f, const PlanInstr *in, int at, const int64_t *counts,
                         int depth, const PlanInstr *loop) {
    bool to = plan_is_host(in->args[0].section), from = plan_is_host(in->args[1].section);
    PlanArg args[2] = {in->args[0], in->args[1]};
    int64_t times[PLAN_LOOPS];
    if (in->bytes < 0) BAD("step %d: a copy of %lld bytes", at, (long long)in->bytes);
    if (to && from) BAD("step %d: a copy from the host to the host", at);
    if (in->start && !to && !from) BAD("step %d: a copy within the slab is not begun, but done", at);
    memcpy(times, counts, sizeof times);
    if (in->ahead) {
        if (!loop) BAD("step %d: a copy ahead in no loop", at);
        times[depth - 1]--;
        for (int i = 0; i < 2 && loop->reverse; i++) // done in iterations 1 and up
            if (!checked_add(args[i].offset, args[i].stride[depth - 1], &args[i].offset))
                BAD("step %d: a copy outside the slab", at);
        if (!times[depth - 1]) return status_ok();
    }
    for (int i = 0; i < 2; i++)
        if (!arg_inside(p, f, &args[i], times, depth, in->bytes)) BAD("step %d: a copy outside the slab", at);
    return status_ok();
}

static Status check_instrs(const Plan *p, const PlanFunc *f) {
    int64_t counts[PLAN_LOOPS] = {0};
    int ends[PLAN_LOOPS], opens[PLAN_LOOPS], depth = 0;
    for (int at = f->first; at < f->first + f->count; at++) {
        const PlanInstr *in = &p->instrs[at];
        switch (in->kind) {
        case INSTR_KERNEL: STATUS_TRY(check_kernel_call(p, f, in, at, counts, depth)); break;
        case INSTR_COMM:
            if (in->joined &&
                (at == f->first || in[-1].kind != INSTR_COMM || !in[-1].start || !in->start || in[-1].mesh != in->mesh))
                BAD("step %d: one call with what is no started collective of the same group", at);
            STATUS_TRY(check_comm(p, f, in, at, counts, depth));
            break;
        case INSTR_COPY:
            STATUS_TRY(check_copy(p, f, in, at, counts, depth, depth ? &p->instrs[opens[depth - 1]] : NULL));
            break;
        case INSTR_ZERO:
            if (plan_is_host(in->args[0].section)) BAD("step %d: a clearing on the host", at);
            if (in->bytes < 0 || !arg_inside(p, f, &in->args[0], counts, depth, in->bytes))
                BAD("step %d: a clearing outside the slab", at);
            break;
        case INSTR_LOOP:
            if (depth == PLAN_LOOPS) BAD("step %d: more than %d loops nested", at, PLAN_LOOPS);
            if (in->count < 1) BAD("step %d: a loop of %lld iterations", at, (long long)in->count);
            if (in->end <= at || in->end >= f->first + f->count || p->instrs[in->end].kind != INSTR_END)
                BAD("step %d: a loop that does not end", at);
            counts[depth] = in->count;
            opens[depth] = at;
            ends[depth++] = in->end;
            break;
        case INSTR_END:
            if (!depth || ends[depth - 1] != at) BAD("step %d: an end of no loop", at);
            depth--;
            break;
        case INSTR_WAIT:
            if (in->of < f->first || in->of >= f->first + f->count || !p->instrs[in->of].start ||
                (p->instrs[in->of].kind != INSTR_COMM && p->instrs[in->of].kind != INSTR_COPY))
                BAD("step %d: waits for %d, which begins no collective or copy of this function", at, in->of);
            break;
        default: BAD("step %d: unknown kind %d", at, (int)in->kind);
        }
    }
    if (depth) BAD("function '%s': a loop that does not end", f->name);
    return status_ok();
}

static Status check_func(const Plan *p, const PlanFunc *f, int expected_first) {
    if (!f->name || !*f->name) BAD("a function has no name");
    if (f->variant < -1 || f->variant >= p->nvariants) BAD("function '%s' is for no variant", f->name);
    if (f->work_bytes < 0) BAD("function '%s' needs %lld bytes", f->name, (long long)f->work_bytes);
    if (f->first != expected_first || f->count < 0 || f->count > p->ninstrs - f->first)
        BAD("function '%s' does not follow the one before it", f->name);
    STATUS_TRY(check_instrs(p, f));
    return plan_check_order(p, f);
}

static bool operand_fits(const PlanGemmOperand *o, int64_t rows, int64_t columns) {
    if (o->first < 0 || o->batch < 0 || o->row < 0 || o->column < 0) return false;
    if (o->column == 1) return o->row >= columns || rows == 1;
    return o->row == 1 && (o->column >= rows || columns == 1);
}

bool plan_gemm_fits(const PlanGemm *s) {
    bool real = s->type == PLAN_F32 || s->type == PLAN_BF16 || s->type == PLAN_F16;
    return real && (s->out == s->type || s->out == PLAN_F32) && s->batch >= 1 && s->batch <= INT32_MAX && s->m >= 1 &&
           s->n >= 1 && s->k >= 1 && operand_fits(&s->a, s->m, s->k) && operand_fits(&s->b, s->k, s->n) &&
           operand_fits(&s->c, s->m, s->n) && (s->batch == 1 || s->c.batch >= 1);
}

static Status check_map(const PlanKernel *k, const PlanMap *m) {
    bool type = m->dtype == PLAN_F32 || m->dtype == PLAN_BF16 || m->dtype == PLAN_F16;
    bool fits = type && m->arg >= 0 && m->first >= 0 && m->rank >= 1 && m->rank <= PLAN_MAP_RANK &&
                m->stride[0] == plan_dtype_bytes(m->dtype);
    for (int d = 0; fits && d < m->rank; d++)
        fits = m->extent[d] > 0 && m->extent[d] <= UINT32_MAX && m->box[d] > 0 && m->box[d] <= 256 &&
               (!d || (m->stride[d] > 0 && m->stride[d] % 16 == 0));
    if (!fits || (m->swizzle && m->swizzle != 32 && m->swizzle != 64 && m->swizzle != 128))
        BAD("kernel '%s' has a map that cannot be", k->symbol);
    return status_ok();
}

int64_t plan_staging_bytes(const Plan *p) {
    int64_t most = 0;
    for (int i = 0; i < p->ninstrs; i++) {
        const PlanInstr *in = &p->instrs[i];
        if (in->kind != INSTR_COMM) continue;
        int64_t send = 0, receive = 0, ways = plan_ways(p, in->mesh), bytes = 0;
        plan_comm_bytes(p, in, &send, &receive);
        bool whole = in->outer == 1; // parts of the middle lie side by side
        if (in->comm == COMM_ALL_GATHER && !whole) bytes = receive;
        if (in->comm == COMM_REDUCE_SCATTER && (!whole || in->middle % ways)) bytes = receive * ways;
        if (in->comm == COMM_ALL_TO_ALL && (!whole || in->middle % ways)) bytes = receive;
        if (bytes > most) most = bytes;
    }
    return (most + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
}

Status plan_check(const Plan *p) {
    if (p->abi != PLAN_ABI) BAD("made for version %d of the plan, this runtime has %d", p->abi, PLAN_ABI);
    if (!p->model) BAD("no model name");
    STATUS_TRY(check_mesh(p));
    STATUS_TRY(plan_check_layout(p));
    STATUS_TRY(check_leaves(p));
    for (int i = 0; i < p->nkernels; i++) {
        const PlanKernel *k = &p->kernels[i];
        if (!k->symbol || !*k->symbol) BAD("kernel %d has no name", i);
        if (k->tasks < 0 || k->work_bytes < 0 || k->work_bytes > INT64_MAX / MAX_RANKS)
            BAD("kernel '%s' has %lld tasks and %lld bytes of scratch", k->symbol, (long long)k->tasks,
                (long long)k->work_bytes);
        if (!isfinite(k->flops) || !isfinite(k->bytes) || k->flops < 0 || k->bytes < 0)
            BAD("kernel '%s' has no finite cost", k->symbol);
        if ((p->target != NULL) != (k->threads > 0 || k->gemm))
            BAD("kernel '%s' is for another machine than the plan", k->symbol);
        if (k->threads < 0 || k->threads > 1024 || k->threads % 32 || k->shared_bytes < 0 ||
            k->shared_bytes > 1 << 20 || (k->threads && k->tasks > INT32_MAX))
            BAD("kernel '%s' cannot be launched", k->symbol);
        for (int m = 0; m < k->nmaps; m++) STATUS_TRY(check_map(k, &k->maps[m]));
        if (k->gemm && (k->threads || !plan_gemm_fits(k->gemm)))
            BAD("kernel '%s' is no product of the library", k->symbol);
    }
    int next = 0;
    for (int i = 0; i < p->nfuncs; i++) {
        STATUS_TRY(check_func(p, &p->funcs[i], next));
        next = p->funcs[i].first + p->funcs[i].count;
        for (int j = 0; j < i; j++)
            if (!strcmp(p->funcs[i].name, p->funcs[j].name)) BAD("function '%s' occurs twice", p->funcs[i].name);
    }
    if (next != p->ninstrs) BAD("%d steps belong to no function", p->ninstrs - next);
    return plan_check_programs(p);
}
