// SPDX-License-Identifier: Apache-2.0
// plan: see plan.h. Each node of a function becomes a kernel call, a collective or nothing; a repeat becomes a loop
// whose operands' addresses advance.
#include "codegen/plan.h"
#include "codegen/lower.h"
#include "codegen/plan_tile.h"
#include "ir/strategy.h"
#include <string.h>

typedef struct Planner {
    Unit *unit;
    const FuncStorage *places;
    int variant; // of the function at hand
    Arena *arena;
    Jobs *jobs;
    LowerMachine machine;
    Plan *plan;
    Vec(PlanInstr) instrs;
    const Block *loop[PLAN_LOOPS]; // bodies of the repeats being filled, outermost first
    int depth;
    bool failed;
} Planner;

static int64_t local_bytes(const Planner *p, const Type *t) {
    int64_t n = 0;
    type_local_elements(t, &p->unit->mesh, &n);
    return n * dtype_bytes(t->dtype);
}

static const Place *place_of(const Planner *p, const Value *v) { return &p->places->of[v->id]; }

static bool fail(Planner *p, const Node *n, const char *why) {
    diag_internal(p->unit->diag, "plan", op_info(n->op)->name, "%s:%d: %s", n->loc.file ? n->loc.file : "?",
                  n->loc.line, why);
    p->failed = true;
    return false;
}

static PlanArg arg_of(const Place *at) {
    PlanArg a = {.section = (PlanSection)at->section, .offset = at->offset, .micro = at->micro};
    for (int i = 0; i < PLAN_LOOPS && i < LOOP_MAX; i++) a.stride[i] = at->loop_stride[i];
    return a;
}

// Bytes from the first element of a value to behind its last.
static int64_t span_with(const Planner *p, const Type *t, const int64_t *stride) {
    int64_t last = 0;
    for (int d = 0; d < t->rank; d++) last += (dim_local(&t->dim[d], &p->unit->mesh) - 1) * stride[d];
    return (last + 1) * dtype_bytes(t->dtype);
}

static int64_t span_of(const Planner *p, const Value *v) { return span_with(p, &v->type, place_of(p, v)->dim_stride); }

static bool same_arg(const PlanArg *a, const PlanArg *b) {
    return a->section == b->section && a->offset == b->offset && a->micro == b->micro &&
           !memcmp(a->stride, b->stride, sizeof a->stride);
}

static PlanInstr *instr_add(Planner *p, int kind, const Node *n, const Value *v) {
    PlanInstr in = {.kind = kind, .file = n->loc.file, .line = n->loc.line};
    if (v && v->name) in.op = str_internf(p->unit->strs, "%s %s", op_info(n->op)->name, v->name);
    else in.op = str_intern(p->unit->strs, op_info(n->op)->name);
    vec_push(p->arena, &p->instrs, in);
    return &p->instrs.at[p->instrs.n - 1];
}

// Microbatches are the innermost coordinate: of all coordinates along `mesh`, neighbours differ in the microbatch.
static PlanScalar affine(const Planner *p, const LowerScalar *s) {
    const Mesh *mesh = &p->unit->mesh;
    PlanScalar out = {.kind = SCALAR_AFFINE, .factor = s->factor, .mesh = s->mesh, .first_factor = s->first};
    if (!(s->mesh & mesh->time)) return out;
    out.mesh &= ~mesh->time;
    out.micro_factor = s->factor;
    out.factor = out.mesh ? s->factor * mesh_extent(mesh, mesh->time) : 0;
    return out;
}

static void call(Planner *p, const Node *n, int job, const Value *const *bufs, int nbufs, const LowerScalar *scalars,
                 int nscalars) {
    PlanInstr *in = instr_add(p, INSTR_KERNEL, n, n->nresults ? n->results[0] : NULL);
    in->kernel = job;
    in->nargs = nbufs;
    in->args = NEW_ARRAY(p->arena, PlanArg, nbufs + 1);
    for (int i = 0; i < nbufs; i++) {
        in->args[i] = arg_of(place_of(p, bufs[i]));
        in->args[i].bytes = span_of(p, bufs[i]);
        in->args[i].reads = bufs[i]->def != n; // what is made in place is a result beside the operand
    }
    in->nscalars = nscalars;
    in->scalars = NEW_ARRAY(p->arena, PlanScalar, nscalars + 1);
    for (int i = 0; i < nscalars; i++) {
        PlanScalar *s = &in->scalars[i];
        if (!scalars[i].iteration) {
            *s = affine(p, &scalars[i]);
            continue;
        }
        const Axis *axis = scalars[i].iteration->block->owner->attr.axes.at[0];
        *s = (PlanScalar){.kind = SCALAR_ITERATION, .loop = -1, .first_factor = axis->whole ? 1 : 0};
        for (int d = 0; d < p->depth; d++)
            if (p->loop[d] == scalars[i].iteration->block) s->loop = d;
        if (s->loop < 0) fail(p, n, "reads the iteration of a repeat it is not in");
    }
}

static void call_lowered(Planner *p, const Node *n, Lowered *l, const char *stem) {
    Work work = node_work(p->unit, n);
    int job = jobs_add_nest(p->jobs, l->kernel, stem, work.flops, work.bytes);
    call(p, n, job, l->bufs.at, l->bufs.n, l->scalars.at, l->scalars.n);
}

static const char *stem_of(const Planner *p, const Node *n) {
    const Node *at = n;
    if (n->op == OP_fused && block_yield(n->body)->nargs) {
        const Value *v = block_yield(n->body)->args[0];
        if (v->def) at = v->def;
    }
    const char *name = n->nresults ? n->results[0]->name : NULL;
    return name ? arena_printf(p->arena, "%s_%s", op_info(at->op)->name, name) : op_info(at->op)->name;
}

// ---- copies

static bool has_strides(const Planner *p, const Type *t, const int64_t *stride, const int64_t *want) {
    for (int d = 0; d < t->rank; d++)
        if (dim_local(&t->dim[d], &p->unit->mesh) > 1 && stride[d] != want[d]) return false;
    return true;
}

static void dense_strides(const Planner *p, const Type *t, int64_t *out) {
    int64_t stride = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        out[d] = stride;
        stride *= dim_local(&t->dim[d], &p->unit->mesh);
    }
}

static bool is_dense(const Planner *p, const Value *v) {
    int64_t want[RANK_MAX];
    dense_strides(p, &v->type, want);
    return has_strides(p, &v->type, place_of(p, v)->dim_stride, want);
}

static bool same_address(const Place *a, const Place *b) {
    return a->section == b->section && a->offset == b->offset && a->micro == b->micro &&
           !memcmp(a->loop_stride, b->loop_stride, sizeof a->loop_stride);
}

static bool same_layout(const Planner *p, const Value *a, const Value *b) {
    return has_strides(p, &a->type, place_of(p, a)->dim_stride, place_of(p, b)->dim_stride);
}

// Copies a value of type t; nothing when it already lies there.
static void copy(Planner *p, const Node *n, const Value *v, PlanArg to, const int64_t *to_stride, PlanArg from,
                 const int64_t *from_stride) {
    const Type *t = &v->type;
    int64_t dense[RANK_MAX];
    dense_strides(p, t, dense);
    bool alike = has_strides(p, t, to_stride, from_stride);
    if (alike && same_arg(&to, &from)) return;
    bool is_bytes = alike && has_strides(p, t, to_stride, dense);
    int job = 0;
    if (!is_bytes)
        job = jobs_add_nest(p->jobs, lower_copy(p->unit, t, to_stride, from_stride, p->machine, p->arena), "copy", 0,
                            2 * (double)local_bytes(p, t));
    PlanInstr *in = instr_add(p, is_bytes ? INSTR_COPY : INSTR_KERNEL, n, v);
    in->args = NEW_ARRAY(p->arena, PlanArg, 2);
    in->args[0] = to;
    in->args[1] = from;
    in->args[0].bytes = is_bytes ? 0 : span_with(p, t, to_stride);
    in->args[1].bytes = is_bytes ? 0 : span_with(p, t, from_stride);
    in->args[1].reads = !is_bytes;
    if (is_bytes) in->bytes = local_bytes(p, t);
    else in->kernel = job, in->nargs = 2;
}

static void copy_value(Planner *p, const Node *n, const Value *to, const Value *from) {
    const Place *a = place_of(p, to), *b = place_of(p, from);
    copy(p, n, from, arg_of(a), a->dim_stride, arg_of(b), b->dim_stride);
}

// Copies that happen at once: one whose target is another's source comes after that one.
typedef struct Move {
    const Value *to, *from;
} Move;

static bool overlap(const Planner *p, const Value *a, const Value *b) {
    int64_t x = place_of(p, a)->offset, y = place_of(p, b)->offset;
    if (place_of(p, a)->section != place_of(p, b)->section) return false;
    return x < y + local_bytes(p, &b->type) && y < x + local_bytes(p, &a->type);
}

static void move_all(Planner *p, const Node *n, Move *moves, int count) {
    while (count) {
        int next = -1;
        for (int i = 0; i < count && next < 0; i++) {
            bool blocked = false;
            for (int j = 0; j < count && !blocked; j++) blocked = j != i && overlap(p, moves[i].to, moves[j].from);
            if (!blocked) next = i;
        }
        if (next < 0) {
            fail(p, n, "carried values exchange places");
            return;
        }
        copy_value(p, n, moves[next].to, moves[next].from);
        moves[next] = moves[--count];
    }
}

static bool needs_move(const Planner *p, const Value *to, const Value *from) {
    return !(same_layout(p, to, from) && same_address(place_of(p, to), place_of(p, from)));
}

// ---- nodes

static void plan_block(Planner *p, const Block *b);

// ---- slices on the host
//
// Copies are put where what they need is there; plan_waits lets them begin there and end where it matters.
//
//   fetch ahead <- host, the first slice
//   loop { copy param <- ahead . fetch ahead <- host, the next slice . ... . stash host <- a yielded value ... }

// The slice of stacked operand i of the repeat n, in the iteration `later` iterations further.
static PlanArg host_slice(const Planner *p, const Node *n, int i, int depth, int later) {
    const Place *outer = place_of(p, n->args[i]);
    PlanArg at = arg_of(outer);
    int64_t stride = outer->dim_stride[0] * dtype_bytes(n->args[i]->type.dtype);
    at.stride[depth] = stride;
    at.offset += later * (n->attr.flag ? -stride : stride);
    return at;
}

static PlanArg ahead_of(const Planner *p, const Value *param) {
    return (PlanArg){.section = PLAN_WORK, .offset = place_of(p, param)->ahead};
}

static void fetch_first(Planner *p, const Node *n) {
    for (int i = repeat_carries(n); i < n->nargs; i++) {
        const Value *param = n->body->params[1 + i];
        if (!place_of(p, param)->placed || place_of(p, param)->ahead < 0) continue;
        PlanArg from = host_slice(p, n, i, p->depth, 0);
        if (n->attr.flag) from.offset += from.stride[p->depth] * (n->attr.axes.at[0]->extent - 1);
        from.stride[p->depth] = 0;
        copy(p, n, param, ahead_of(p, param), place_of(p, param)->dim_stride, from,
             place_of(p, n->args[i])->dim_stride + 1);
    }
}

static void fetch_slices(Planner *p, const Node *n) {
    for (int next = 0; next < 2; next++)
        for (int i = repeat_carries(n); i < n->nargs; i++) {
            const Value *param = n->body->params[1 + i];
            const int64_t *stride = place_of(p, param)->dim_stride;
            if (!place_of(p, param)->placed || place_of(p, param)->ahead < 0) continue;
            if (!next) {
                copy(p, n, param, arg_of(place_of(p, param)), stride, ahead_of(p, param), stride);
            } else if (n->attr.axes.at[0]->extent > 1) {
                copy(p, n, param, ahead_of(p, param), stride, host_slice(p, n, i, p->depth - 1, 1),
                     place_of(p, n->args[i])->dim_stride + 1);
                p->instrs.at[p->instrs.n - 1].ahead = true;
            }
        }
}

// What the body's node n has just made goes to the host where the repeat yields it to there.
static void stash_results(Planner *p, const Node *n) {
    const Node *repeat = n->parent->owner, *yield = repeat ? block_yield(n->parent) : NULL;
    for (int k = repeat && repeat->op == OP_repeat ? repeat_carries(repeat) : n->nresults; yield && k < yield->nargs;
         k++) {
        const Value *inner = yield->args[k], *outer = repeat->results[k];
        if (inner->def != n || !place_of(p, outer)->placed || !section_is_host(place_of(p, outer)->section)) continue;
        PlanArg to = arg_of(place_of(p, outer));
        to.stride[p->depth - 1] = place_of(p, outer)->dim_stride[0] * dtype_bytes(outer->type.dtype);
        copy(p, n, inner, to, place_of(p, outer)->dim_stride + 1, arg_of(place_of(p, inner)),
             place_of(p, inner)->dim_stride);
    }
}

static void plan_repeat(Planner *p, const Node *n) {
    const Block *body = n->body;
    const Node *yield = block_yield(body);
    int carries = repeat_carries(n), stacked = repeat_stacked(n), count = 0;
    if (p->depth == PLAN_LOOPS) {
        fail(p, n, "repeats nest too deeply");
        return;
    }
    Move *moves = NEW_ARRAY(p->arena, Move, carries + 1);
    for (int i = 0; i < carries; i++) // where the first iteration finds them
        if (needs_move(p, body->params[1 + i], n->args[i])) moves[count++] = (Move){body->params[1 + i], n->args[i]};
    move_all(p, n, moves, count);
    // What is sliced is read where it lies; a parameter that the memory pass placed elsewhere is copied each time.
    fetch_first(p, n);
    int begin = p->instrs.n;
    PlanInstr *loop = instr_add(p, INSTR_LOOP, n, NULL);
    loop->count = n->attr.axes.at[0]->extent;
    loop->reverse = n->attr.flag;
    p->loop[p->depth++] = body;
    fetch_slices(p, n);
    for (int i = carries; i < n->nargs; i++) {
        const Value *outer = n->args[i], *inner = body->params[1 + i];
        if (place_of(p, inner)->ahead >= 0) continue;
        PlanArg at = arg_of(place_of(p, outer)), own = arg_of(place_of(p, inner));
        if (!place_of(p, inner)->placed) continue;
        if (i < carries + stacked)
            at.stride[p->depth - 1] = place_of(p, outer)->dim_stride[0] * dtype_bytes(outer->type.dtype);
        const int64_t *stride = place_of(p, outer)->dim_stride + (i < carries + stacked);
        copy(p, n, inner, own, place_of(p, inner)->dim_stride, at, stride);
    }
    plan_block(p, body);
    for (int i = carries; i < yield->nargs; i++) { // stacked results first: what they are copied from may lie
                                                   // where a carry is about to be written
        const Value *inner = yield->args[i], *outer = n->results[i];
        if (!place_of(p, outer)->placed || (section_is_host(place_of(p, outer)->section) && inner->def)) continue;
        PlanArg to = arg_of(place_of(p, outer)), from = arg_of(place_of(p, inner));
        to.stride[p->depth - 1] = place_of(p, outer)->dim_stride[0] * dtype_bytes(outer->type.dtype);
        copy(p, yield, inner, to, place_of(p, outer)->dim_stride + 1, from, place_of(p, inner)->dim_stride);
    }
    count = 0;
    for (int i = 0; i < carries; i++)
        if (needs_move(p, body->params[1 + i], yield->args[i]))
            moves[count++] = (Move){body->params[1 + i], yield->args[i]};
    move_all(p, yield, moves, count);
    p->depth--;
    int end = p->instrs.n;
    instr_add(p, INSTR_END, n, NULL);
    p->instrs.at[begin].end = end;
    count = 0;
    for (int i = 0; i < carries; i++)
        if (place_of(p, n->results[i])->placed && needs_move(p, n->results[i], body->params[1 + i]))
            moves[count++] = (Move){n->results[i], body->params[1 + i]};
    move_all(p, n, moves, count);
}

// A counted all_to_all: the counts' dimensions come first, in their order, then the rows.
static void comm_rows(Planner *p, const Node *n, PlanInstr *in) {
    const Type *x = &n->args[0]->type, *counts = &n->args[1]->type;
    int rows = type_find(x, n->attr.axes.at[2]);
    bool fits = rows == counts->rank && is_dense(p, n->args[1]) && is_dense(p, n->args[2]) &&
                type_same_dims(counts, &n->args[2]->type);
    for (int d = 0; d < counts->rank; d++) fits &= counts->dim[d].axis == x->dim[d].axis;
    if (!fits) {
        fail(p, n, "the counts' dimensions are not the first ones, in this order");
        return;
    }
    in->rows = dim_local(&x->dim[rows], &p->unit->mesh);
    in->row = 1;
    for (int d = rows + 1; d < x->rank; d++) in->row *= dim_local(&x->dim[d], &p->unit->mesh);
    for (int i = 0; i < 2; i++) in->args[2 + i] = arg_of(place_of(p, n->args[1 + i]));
}

static void plan_comm(Planner *p, const Node *n) {
    const Value *x = n->args[0], *y = n->results[0];
    const Mesh *mesh = &p->unit->mesh;
    int64_t ways = mesh_extent(mesh, n->attr.mesh);
    if (ways == 1) {
        copy_value(p, n, y, x);
        return;
    }
    bool gathers = n->op == OP_all_gather;
    int64_t want[RANK_MAX];
    dense_strides(p, &y->type, want);
    int at = n->op == OP_all_reduce || n->op == OP_permute ? -1 : type_find(&x->type, n->attr.axes.at[0]);
    // What is gathered has each rank's padding between the parts: only the axis's own places are ever looked at.
    for (int d = at - 1; gathers && d >= 0; d--) {
        int64_t places = d + 1 == at ? ways * dim_local(&x->type.dim[at], mesh) : dim_local(&y->type.dim[d + 1], mesh);
        want[d] = want[d + 1] * places;
    }
    if (!is_dense(p, x) || !has_strides(p, &y->type, place_of(p, y)->dim_stride, want)) {
        fail(p, n, "a collective needs dense values");
        return;
    }
    PlanInstr *in = instr_add(p, INSTR_COMM, n, y);
    in->args = NEW_ARRAY(p->arena, PlanArg, 4);
    in->args[0] = arg_of(place_of(p, x));
    in->args[1] = arg_of(place_of(p, y));
    in->dtype = (PlanDType)x->type.dtype;
    in->mesh = n->attr.mesh;
    in->reduce = n->op == OP_all_reduce && n->attr.flag ? REDUCE_MAX : REDUCE_SUM;
    in->outer = in->middle = in->inner = 1;
    if (n->op == OP_all_reduce) {
        in->comm = COMM_ALL_REDUCE;
        in->middle = local_bytes(p, &x->type) / dtype_bytes(x->type.dtype);
        return;
    }
    if (n->op == OP_permute) {
        in->comm = n->attr.flag ? COMM_REVERSE : COMM_SHIFT;
        in->peer = n->attr.flag ? 0 : 1;
        in->middle = local_bytes(p, &x->type) / dtype_bytes(x->type.dtype);
        return;
    }
    in->comm = gathers ? COMM_ALL_GATHER : COMM_REDUCE_SCATTER;
    if (n->op == OP_all_to_all) { // what each member sends lies in one piece of the joined axis: it comes first
        in->comm = COMM_ALL_TO_ALL;
        for (int d = 0; d < at; d++)
            if (dim_local(&x->type.dim[d], mesh) > 1) fail(p, n, "the joined axis is not the first");
        at = type_find(&x->type, n->attr.axes.at[1]);
        if (n->nargs == 3) comm_rows(p, n, in);
    }
    for (int d = 0; d < x->type.rank; d++) {
        int64_t extent = dim_local(&x->type.dim[d], mesh);
        *(d < at ? &in->outer : d == at ? &in->middle : &in->inner) *= extent;
    }
}

// Is the value only another way to look at where its operand lies?
static bool is_alias(const Planner *p, const Node *n) {
    const Place *x = place_of(p, n->args[0]), *y = place_of(p, n->results[0]);
    const Type *from = &n->args[0]->type, *to = &n->results[0]->type;
    const Axes *a = &n->attr.axes, *b = &n->attr.to;
    if (n->op == OP_stop) return same_address(x, y) && same_layout(p, n->args[0], n->results[0]);
    if (n->op != OP_rename && n->op != OP_slice && n->op != OP_expand) return false;
    Place want = *x;
    int count = 0;
    int at = n->op == OP_expand ? -1 : type_find(from, a->at[0]);
    if (n->op == OP_expand) {
        for (int d = 0; d < to->rank; d++) {
            int s = type_find(from, to->dim[d].axis);
            want.dim_stride[d] = s < 0 ? 0 : x->dim_stride[s];
        }
        count = to->rank;
    }
    for (int d = 0; d < from->rank && n->op != OP_expand; d++) {
        if (d != at) {
            want.dim_stride[count++] = x->dim_stride[d];
        } else if (n->op == OP_slice) {
            want.offset += n->attr.i * x->dim_stride[d] * dtype_bytes(from->dtype);
            if (b->n) want.dim_stride[count++] = x->dim_stride[d];
        } else if (a->n == 1) {
            int64_t stride = x->dim_stride[d];
            for (int i = b->n - 1; i >= 0; i--) {
                want.dim_stride[count + i] = stride;
                stride *= dim_local(&to->dim[count + i], &p->unit->mesh);
            }
            count += b->n;
        } else {
            for (int i = 1; i < a->n; i++)
                if (x->dim_stride[d + i - 1] != x->dim_stride[d + i] * dim_local(&from->dim[d + i], &p->unit->mesh))
                    return false;
            d += a->n - 1;
            want.dim_stride[count++] = x->dim_stride[d];
        }
    }
    if (!same_address(&want, y)) return false;
    for (int d = 0; d < to->rank; d++)
        if (dim_local(&to->dim[d], &p->unit->mesh) > 1 && want.dim_stride[d] != y->dim_stride[d]) return false;
    return true;
}

static const Value **operands(Planner *p, const Node *n) {
    const Value **v = NEW_ARRAY(p->arena, const Value *, n->nargs + n->nresults + 1);
    for (int i = 0; i < n->nargs; i++) v[i] = n->args[i];
    for (int i = 0; i < n->nresults; i++) v[n->nargs + i] = n->results[i];
    return v;
}

// A power of two up to PLAN_ALIGN that divides the value's address in every iteration and microbatch.
static int alignment(const Planner *p, const Value *v) {
    PlanArg a = arg_of(place_of(p, v));
    int64_t bits = PLAN_ALIGN | a.offset | a.micro;
    for (int i = 0; i < PLAN_LOOPS; i++) bits |= a.stride[i];
    return (int)(bits & -bits);
}

static void plan_tile(Planner *p, const Node *n) {
    Work work = node_work(p->unit, n);
    const Dim *query = NULL;
    int job = -1;
    TileMatmul m;
    TileAttend a;
    TileAttendBack back;
    const char *stem = stem_of(p, n);
    if (n->op == OP_dot && plan_dot(p->unit, p->places, n, &m)) {
        for (int i = 0; i < 3 && p->jobs->cuda; i++) m.align[i] = alignment(p, i < 2 ? n->args[i] : n->results[0]);
        job = jobs_add_matmul(p->jobs, &m, stem, work.flops, work.bytes);
    }
    if (n->op == OP_attend && plan_attend(p->unit, p->places, n, &a, &query))
        job = jobs_add_attend(p->jobs, &a, stem, work.flops, work.bytes);
    if (n->op == OP_attend_grad && plan_attend_back(p->unit, p->places, n, &back, &query))
        job = jobs_add_attend_back(p->jobs, &back, stem, work.flops, work.bytes);
    if (job < 0) {
        p->failed = true;
        return;
    }
    LowerScalar s = {0};
    if (query) s = (LowerScalar){.factor = dim_local(query, &p->unit->mesh), .mesh = query->split};
    call(p, n, job, operands(p, n), n->nargs + n->nresults, &s, query != NULL);
}

static void plan_node(Planner *p, const Node *n) {
    switch (n->op) {
    case OP_param:
    case OP_state:
    case OP_input:
    case OP_buffer:
    case OP_yield: return;
    case OP_dot:
    case OP_attend:
    case OP_attend_grad: plan_tile(p, n); return;
    case OP_repeat: plan_repeat(p, n); return;
    case OP_all_reduce:
    case OP_all_gather:
    case OP_reduce_scatter:
    case OP_all_to_all:
    case OP_permute: plan_comm(p, n); return;
    case OP_assign: copy_value(p, n, n->args[0], n->args[1]); return;
    case OP_stop:
        if (!section_is_host(place_of(p, n->args[0])->section)) break;
        copy_value(p, n, n->results[0], n->args[0]);
        return;
    case OP_output: {
        const Storage *s = p->unit->storage;
        const Leaf *leaf = storage_leaf(s, LEAF_OUTPUT, n->attr.s);
        const Place *from = place_of(p, n->args[0]);
        Place to = storage_leaf_place(&p->unit->mesh, leaf, p->variant, &n->args[0]->type);
        copy(p, n, n->args[0], arg_of(&to), to.dim_stride, arg_of(from), from->dim_stride);
        return;
    }
    default: break;
    }
    Lowered l;
    const char *stem = stem_of(p, n);
    if (lower_scatter_of(n)) {
        if (lower_scatter(p->unit, p->places, n, p->machine, p->arena, "", &l)) call_lowered(p, n, &l, stem);
        else p->failed = true;
        return;
    }
    if (n->op == OP_cumsum) {
        if (lower_scan(p->unit, p->places, n, p->machine, p->arena, "", &l)) call_lowered(p, n, &l, stem);
        else p->failed = true;
        return;
    }
    if (n->op != OP_fused) {
        if (!op_is_fusable(n->op)) {
            fail(p, n, "no code for this op");
            return;
        }
        if (!place_of(p, n->results[0])->placed || is_alias(p, n)) return;
    }
    if (lower_fused(p->unit, p->places, n, p->machine, p->arena, "", &l)) call_lowered(p, n, &l, stem);
    else p->failed = true;
}

static void plan_block(Planner *p, const Block *b) {
    for (const Node *n = b->first; n && !p->failed; n = n->next) {
        plan_node(p, n);
        if (b->owner) stash_results(p, n);
    }
}

// ---- the whole

Plan *plan_build(Unit *u, Arena *arena, Jobs *jobs) {
    const Storage *s = u->storage;
    Plan *plan = NEW(arena, Plan);
    Planner p = {.unit = u, .arena = arena, .jobs = jobs, .machine = jobs->cuda ? LOWER_GPU : LOWER_CPU, .plan = plan};
    plan->abi = PLAN_ABI;
    plan->model = u->name;
    if (jobs->cuda) plan->target = str_internf(u->strs, "cuda:%s", jobs->cuda->arch);
    plan->strategy = u->strategy ? u->strategy->name : str_intern(u->strs, "");
    plan->nfuncs = u->funcs.n;
    plan->funcs = NEW_ARRAY(arena, PlanFunc, u->funcs.n + 1);
    for (int i = 0; i < u->funcs.n; i++) {
        const Func *f = u->funcs.at[i];
        p.places = &s->funcs[i];
        p.variant = s->pipeline->variant_of[i];
        plan->funcs[i] = (PlanFunc){.name = f->name,
                                    .variant = p.variant,
                                    .first = p.instrs.n,
                                    .work_bytes = s->funcs[i].activation_bytes,
                                    .stash_bytes = s->funcs[i].stash_bytes};
        plan_block(&p, f->top);
        plan->funcs[i].count = p.instrs.n - plan->funcs[i].first;
    }
    plan->instrs = p.instrs.at;
    plan->ninstrs = p.instrs.n;
    if (!p.failed)
        p.failed = !plan_layout(u, arena, plan) || !plan_programs(u, arena, plan) || !plan_waits(plan, arena);
    return p.failed ? NULL : plan;
}

void plan_finish(Plan *plan, const Jobs *jobs) {
    plan->nkernels = jobs->list.n;
    plan->kernels = NEW_ARRAY(jobs->arena, PlanKernel, jobs->list.n + 1);
    for (int i = 0; i < jobs->list.n; i++) {
        const Job *j = &jobs->list.at[i];
        plan->kernels[i] = (PlanKernel){.symbol = j->name,
                                        .tasks = j->tasks,
                                        .work_bytes = j->work_bytes,
                                        .flops = j->flops,
                                        .bytes = j->bytes,
                                        .threads = j->launch.threads,
                                        .shared_bytes = j->launch.shared_bytes,
                                        .nmaps = j->launch.nmaps,
                                        .gemm = j->gemm};
        if (!j->launch.nmaps) continue;
        plan->kernels[i].maps = NEW_ARRAY(jobs->arena, PlanMap, j->launch.nmaps);
        memcpy(plan->kernels[i].maps, j->launch.maps, sizeof *j->launch.maps * (size_t)j->launch.nmaps);
    }
}
