// SPDX-License-Identifier: Apache-2.0
#include "runtime/exec.h"
#include "base/checked.h"
#include "runtime/bind.h"
#include "runtime/comm_nccl.h"
#include "runtime/comm_wire.h"
#include "runtime/dtype.h"
#include "runtime/program.h"
#include "runtime/wait.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- one instruction ------------------------------------------------------------------------------------------------
typedef struct Task { // a function being run
    const Program *p;
    Rank *k;
    int rank;
    char *base[PLAN_SECTIONS];
    int64_t first, microbatch;
    int64_t iteration[PLAN_LOOPS];
    int depth;
} Task;

char *rank_chunk(const Program *p, int rank, int chunk) {
    return p->ranks[rank].device->slab + p->plan->chunks[chunk].base;
}

char *rank_chunk_host(const Program *p, int rank, int chunk) {
    Device *d = p->ranks[rank].device;
    return d->host ? d->host + p->plan->chunks[chunk].host_base : NULL;
}

static char *arg_address(const Task *t, const PlanArg *a) {
    int64_t at = a->offset + a->micro * t->microbatch;
    for (int i = 0; i < t->depth; i++) at += a->stride[i] * t->iteration[i];
    return t->base[a->section] + at;
}

// `of`: the rank whose part the kernel takes; its own.
static void do_kernel(const Task *t, int at, int of) {
    Rank *k = t->k;
    const PlanInstr *in = &t->p->plan->instrs[at];
    const int64_t *known = t->p->ranks[of].integers + t->p->scalar_at[at];
    for (int i = 0; i < in->nargs; i++) k->buf[i] = arg_address(t, &in->args[i]);
    for (int i = 0; i < in->nscalars; i++) {
        const PlanScalar *s = &in->scalars[i];
        k->scalar[i] = (s->kind == SCALAR_ITERATION ? t->iteration[s->loop] : known[i]) +
                       s->micro_factor * t->microbatch + s->first_factor * t->first;
    }
    k->device->v->launch(k->device, in->kernel, k->buf, k->scalar);
}

static CommCall comm_call(const Task *t, int at) {
    const PlanInstr *in = &t->p->plan->instrs[at];
    bool counted = in->rows > 0;
    return (CommCall){.kind = in->comm,
                      .reduce = in->reduce,
                      .dtype = in->dtype,
                      .mesh = in->mesh,
                      .outer = in->outer,
                      .middle = in->middle,
                      .inner = in->inner,
                      .rows = in->rows,
                      .row = in->row,
                      .send_counts = counted ? (int32_t *)arg_address(t, &in->args[2]) : NULL,
                      .receive_counts = counted ? (int32_t *)arg_address(t, &in->args[3]) : NULL,
                      .peer = in->peer,
                      .start = in->start,
                      .send = arg_address(t, &in->args[0]),
                      .receive = arg_address(t, &in->args[1]),
                      .pool = t->k->device->pool,
                      .step = at,
                      .op = in->op};
}

// ---- seeded faults --------------------------------------------------------------------------------------------------
static void swap_bytes(char *a, char *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        char t = a[i];
        a[i] = b[i];
        b[i] = t;
    }
}

// A group of one in the middle of the real one: what this rank would hold had the others not taken part.
static void comm_alone(const CommCall *c, int64_t ways, int64_t me) {
    int64_t place = c->inner * plan_dtype_bytes(c->dtype), row = c->middle * place;
    int64_t part = ceil_div(c->middle, ways) * place; // what a member has of the middle
    char *to = c->receive;
    const char *from = c->send;
    switch (c->kind) {
    case COMM_ALL_REDUCE:
    case COMM_SHIFT:
    case COMM_REVERSE:
    case COMM_BROADCAST: memmove(to, from, (size_t)(c->outer * row)); break;
    case COMM_ALL_GATHER:
        for (int64_t i = 0; i < c->outer; i++) memcpy(to + (i * ways + me) * row, from + i * row, (size_t)row);
        break;
    case COMM_REDUCE_SCATTER:
    case COMM_ALL_TO_ALL: // of what is received, [ways][outer, m, inner], only the rank's own block
        if (c->kind == COMM_ALL_TO_ALL) to += me * c->outer * part;
        for (int64_t i = 0; i < c->outer; i++) {
            int64_t there = row - me * part, has = there < 0 ? 0 : there < part ? there : part;
            if (has) memcpy(to + i * part, from + i * row + me * part, (size_t)has);
            memset(to + i * part + has, 0, (size_t)(part - has));
        }
        break;
    default: break;
    }
}

static void swap_parts(const CommCall *c, char *data, int64_t ways) {
    int64_t row = c->middle * c->inner * plan_dtype_bytes(c->dtype);
    if (c->kind == COMM_ALL_TO_ALL) { // of the received [ways][outer, m, inner]
        int64_t block = c->outer * ceil_div(c->middle, ways) * (row / c->middle);
        swap_bytes(data, data + block, block);
        return;
    }
    bool gathers = c->kind == COMM_ALL_GATHER;
    int64_t all = gathers ? row * ways : row, own = gathers ? c->middle : ceil_div(c->middle, ways);
    int64_t has = gathers || c->middle >= 2 * own ? own : c->middle - own; // of member 1: it may have less
    int64_t place = row / c->middle;
    for (int64_t i = 0; i < c->outer; i++) swap_bytes(data + i * all, data + i * all + own * place, has * place);
}

static void scale_floats(char *data, PlanDType type, int64_t n, double scale) {
    for (int64_t i = 0; i < n; i++) {
        double x;
        char *at = data + i * plan_dtype_bytes(type);
        dtype_convert(&x, PLAN_F64, at, type, 1);
        x *= scale;
        dtype_convert(at, type, &x, PLAN_F64, 1);
    }
}

static Status faulty_comm(const Program *p, int rank, const Fault *f, CommCall *c) {
    int64_t ways = plan_ways(p->plan, c->mesh), count = c->outer * c->middle * c->inner;
    switch (f->kind) {
    case FAULT_STALE_COMM: return status_ok();
    case FAULT_SWAP_COMM: return p->comm->v->call(p->comm, rank, c);
    case FAULT_DROP_COMM: comm_alone(c, ways, plan_coord(p->plan, c->mesh, rank)); return status_ok();
    case FAULT_WRONG_GROUP: c->mesh = f->mesh; return p->comm->v->call(p->comm, rank, c);
    case FAULT_WRONG_SCALE:
        STATUS_TRY(p->comm->v->call(p->comm, rank, c));
        if (c->kind == COMM_ALL_GATHER) count *= ways;
        if (c->kind == COMM_REDUCE_SCATTER) count = c->outer * ceil_div(c->middle, ways) * c->inner;
        if (c->kind == COMM_ALL_TO_ALL) count = ways * c->outer * ceil_div(c->middle, ways) * c->inner;
        scale_floats(c->receive, c->dtype, count, f->scale);
        return status_ok();
    default: // FAULT_SWAP_PEER
        if (c->kind == COMM_SHIFT) {
            c->peer = -c->peer;
            return p->comm->v->call(p->comm, rank, c);
        }
        if (c->kind == COMM_REDUCE_SCATTER) {
            swap_parts(c, (char *)c->send, ways); // const only for the communicator: the slab is ours
            STATUS_TRY(p->comm->v->call(p->comm, rank, c));
            swap_parts(c, (char *)c->send, ways);
            return status_ok();
        }
        STATUS_TRY(p->comm->v->call(p->comm, rank, c));
        swap_parts(c, c->receive, ways);
        return status_ok();
    }
}

// A rank of the same stage whose part of the kernel is another.
static int other_part(const Program *p, int at, int rank) {
    const PlanInstr *in = &p->plan->instrs[at];
    for (int r = 0; r < p->nranks; r++)
        for (int i = 0; i < in->nscalars && p->ranks[r].stage == p->ranks[rank].stage; i++)
            if (p->ranks[r].integers[p->scalar_at[at] + i] != p->ranks[rank].integers[p->scalar_at[at] + i]) return r;
    return rank;
}

static const Fault *fault_at(const Program *p, int at, int rank) {
    const Fault *f = p->fault_of ? p->fault_of[at] : NULL;
    return f && (f->rank < 0 || f->rank == rank) ? f : NULL;
}

// ---- a task on one rank ---------------------------------------------------------------------------------------------
static Status locate(const Program *p, int at, Status s) {
    const PlanInstr *in = &p->plan->instrs[at];
    char where[160] = "";
    if (in->file) snprintf(where, sizeof where, ", %.120s:%d", in->file, in->line);
    return status_make(s.code, "instruction %d%s%.80s%s%s: %s", at, in->op ? " (" : "", in->op ? in->op : "",
                       in->op ? ")" : "", where, s.message);
}

static Status do_call(Task *t, CommCall *call) {
    const Program *p = t->p;
    const Fault *fault = fault_at(p, call->step, t->rank);
    Status s = fault ? faulty_comm(p, t->rank, fault, call) : p->comm->v->call(p->comm, t->rank, call);
    return status_failed(&s) ? locate(p, call->step, s) : s;
}

// A started collective may run anywhere between its start and its wait: here at its start or, with options.late, at its
// wait. Results do not depend on it.
static Status do_comm(Task *t, int at, const Fault *fault) {
    bool swapped = fault && fault->kind == FAULT_SWAP_COMM;
    CommCall call = comm_call(t, !swapped ? at : at == fault->instr ? (int)fault->other : fault->instr);
    if (!t->k->late || !t->p->plan->instrs[at].start) return do_call(t, &call);
    t->k->late[t->k->nlate++] = call;
    return status_ok();
}

// As do_comm. last: this is the last iteration of the innermost loop.
static void do_copy_instr(Task *t, int at, bool last) {
    const PlanInstr *in = &t->p->plan->instrs[at];
    Rank *k = t->k;
    Device *d = k->device;
    bool stash = plan_is_host(in->args[0].section), fetch = plan_is_host(in->args[1].section);
    if (in->ahead && last) return;
    char *to = arg_address(t, &in->args[0]), *from = arg_address(t, &in->args[1]);
    if (in->start && k->late_copies) k->late_copies[k->nlate_copies++] = (LateCopy){at, to, from, in->bytes};
    else if (stash && d->v->stash) d->v->stash(d, at, in->start, to, from, in->bytes);
    else if (fetch && d->v->fetch) d->v->fetch(d, at, in->start, to, from, in->bytes);
    else d->v->copy(d, to, from, in->bytes);
}

static void do_wait_copy(Task *t, int of) {
    Rank *k = t->k;
    int left = 0;
    for (int i = 0; i < k->nlate_copies; i++) {
        const LateCopy c = k->late_copies[i];
        if (c.step == of) k->device->v->copy(k->device, c.to, c.from, c.bytes);
        else k->late_copies[left++] = c;
    }
    k->nlate_copies = left;
    if (k->device->v->finish) k->device->v->finish(k->device, of);
}

static Status do_wait(Task *t, int of) {
    Rank *k = t->k;
    int left = 0;
    if (t->p->plan->instrs[of].kind == INSTR_COPY) {
        do_wait_copy(t, of);
        return status_ok();
    }
    for (int i = 0; i < k->nlate; i++)
        if (k->late[i].step == of) STATUS_TRY(do_call(t, &k->late[i]));
        else k->late[left++] = k->late[i];
    k->nlate = left;
    if (!t->p->comm->v->finish) return status_ok();
    Status s = t->p->comm->v->finish(t->p->comm, t->rank, of);
    return status_failed(&s) ? locate(t->p, of, s) : s;
}

static Status run_func(Task *t, const PlanFunc *f) {
    const Program *p = t->p;
    Rank *k = t->k;
    const PlanInstr *instrs = p->plan->instrs;
    int64_t left[PLAN_LOOPS];
    int loops[PLAN_LOOPS];
    t->depth = k->nlate = k->nlate_copies = 0;
    for (int at = f->first; at < f->first + f->count; at++) {
        const PlanInstr *in = &instrs[at];
        const Fault *fault = fault_at(p, at, t->rank);
        int64_t begin = p->trace ? trace_now() : 0;
        Status s = status_ok();
        switch (in->kind) {
        case INSTR_KERNEL:
            if (!fault) do_kernel(t, at, t->rank);
            else if (fault->kind == FAULT_WRONG_PART) do_kernel(t, at, other_part(p, at, t->rank));
            break;
        case INSTR_COMM: s = do_comm(t, at, fault); break;
        case INSTR_WAIT:
            if (!fault) s = do_wait(t, in->of);
            break;
        case INSTR_COPY:
            if (!fault) do_copy_instr(t, at, t->depth && left[t->depth - 1] == 1);
            break;
        case INSTR_ZERO:
            if (!fault) k->device->v->zero(k->device, arg_address(t, &in->args[0]), in->bytes);
            break;
        case INSTR_LOOP:
            if (fault && in->count == 1) { // the only iteration is the last
                at = in->end;
                continue;
            }
            loops[t->depth] = at;
            left[t->depth] = in->count - (fault != NULL);
            t->iteration[t->depth++] = in->reverse ? in->count - 1 : 0;
            continue;
        case INSTR_END:
            if (--left[t->depth - 1] > 0) {
                t->iteration[t->depth - 1] += instrs[loops[t->depth - 1]].reverse ? -1 : 1;
                at = loops[t->depth - 1];
            } else {
                t->depth--;
            }
            continue;
        }
        if (status_failed(&s)) return s;
        if (p->trace) trace_record(p->trace, t->rank, at, t->microbatch, begin, trace_now());
    }
    return status_ok();
}

// ---- a program on one rank ------------------------------------------------------------------------------------------
static Status do_run(const Program *p, int rank, const PlanStep *s) {
    const Plan *plan = p->plan;
    Task t = {.p = p, .k = &p->ranks[rank], .rank = rank, .microbatch = s->microbatch};
    char *slab = t.k->device->slab;
    t.base[PLAN_RANK_OWN] = slab;
    t.base[PLAN_WORK] = slab + plan->stages[t.k->stage].work_base;
    if (t.k->device->host) t.base[PLAN_STASH] = t.k->device->host + plan->stages[t.k->stage].stash_base;
    if (s->chunk >= 0) {
        const PlanChunk *c = &plan->chunks[s->chunk];
        t.first = c->first;
        t.base[PLAN_CHUNK] = slab + c->base;
        t.base[PLAN_HOST] = rank_chunk_host(p, rank, s->chunk);
        t.base[PLAN_SLOT] = slab + c->slot_base + s->slot * plan->variants[c->variant].slot_bytes;
    }
    return run_func(&t, &plan->funcs[s->what]);
}

static char *buffer_address(const Program *p, int rank, int chunk, int leaf, int64_t slot) {
    const PlanChunk *c = &p->plan->chunks[chunk];
    const PlanLeaf *l = &p->plan->leaves[leaf];
    char *at = rank_chunk(p, rank, chunk) + l->offset[c->variant];
    if (l->section == PLAN_CHUNK) return at;
    return at - c->base + c->slot_base + slot * p->plan->variants[c->variant].slot_bytes;
}

// The rank with the same coordinates but another stage.
static int rank_at_stage(const Program *p, int rank, int stage) {
    for (int r = 0; r < p->nranks; r++)
        if (p->ranks[r].stage == stage &&
            plan_coord(p->plan, ~p->plan->stage_mesh, r) == plan_coord(p->plan, ~p->plan->stage_mesh, rank))
            return r;
    return rank;
}

static const PlanStep *next_send(const PlanProgram *g, int stage, int64_t at) {
    const PlanStep *steps = g->steps[stage];
    for (int64_t i = at + 1; i < g->count[stage]; i++)
        if (steps[i].kind == PLAN_STEP_SEND && steps[i].what == steps[at].what) return &steps[i];
    return NULL;
}

static Status do_message(const Program *p, int rank, const PlanProgram *g, int64_t at, const Fault *fault) {
    const Plan *plan = p->plan;
    int stage = p->ranks[rank].stage;
    const PlanStep *s = &g->steps[stage][at];
    const PlanChannel *c = &plan->channels[s->what];
    bool receives = s->kind == PLAN_STEP_RECV;
    CommMessage m = {.channel = s->what, .microbatch = s->microbatch, .step = (int)at};
    m.peer = rank_at_stage(p, rank, plan->chunks[receives ? c->from : c->to].stage);
    m.bytes = plan_leaf_bytes(plan, &plan->leaves[c->from_leaf], plan->chunks[c->from].variant);
    if (s->kind == PLAN_STEP_WAIT) return fault ? status_ok() : p->comm->v->wait(p->comm, rank, &m);
    if (receives) {
        if (fault) return status_ok();
        m.receive = buffer_address(p, rank, c->to, c->to_leaf, s->slot);
        return p->comm->v->receive(p->comm, rank, &m);
    }
    int64_t slot = s->slot;
    if (fault && fault->kind == FAULT_WRONG_SLOT) slot = (slot + 1) % plan->chunks[c->from].slots;
    m.send = buffer_address(p, rank, c->from, c->from_leaf, slot);
    if (fault && fault->kind == FAULT_DROP_SEND) m.send = NULL;
    if (fault && fault->kind == FAULT_SWAP_SEND) m.microbatch = next_send(g, stage, at)->microbatch;
    if (fault && fault->kind == FAULT_SEND_ASTRAY)
        for (int right = m.peer; m.peer == right || m.peer == rank;) m.peer = (m.peer + 1) % p->nranks;
    return p->comm->v->post(p->comm, rank, &m);
}

static Status do_copy(const Program *p, int rank, const PlanStep *s) {
    const Plan *plan = p->plan;
    const PlanChannel *c = &plan->channels[s->what];
    Device *d = p->ranks[rank].device;
    d->v->copy(d, buffer_address(p, rank, c->to, c->to_leaf, s->to_slot),
               buffer_address(p, rank, c->from, c->from_leaf, s->slot),
               plan_leaf_bytes(plan, &plan->leaves[c->from_leaf], plan->chunks[c->from].variant));
    return status_ok();
}

static Status do_zero(const Program *p, int rank, const PlanStep *s) {
    const Plan *plan = p->plan;
    Device *d = p->ranks[rank].device;
    if (s->chunk < 0) {
        d->v->zero(d, d->slab + plan->rank_zero_offset, plan->rank_zero_bytes);
        return status_ok();
    }
    const PlanVariant *v = &plan->variants[plan->chunks[s->chunk].variant];
    d->v->zero(d, rank_chunk(p, rank, s->chunk) + v->zero_offset, v->zero_bytes);
    return status_ok();
}

// "rank 3, stage 1, step 17 (run backward.1, microbatch 4), ..."
static Status locate_step(const Program *p, int rank, const PlanProgram *g, int64_t at, Status s) {
    const Plan *plan = p->plan;
    int stage = p->ranks[rank].stage;
    const PlanStep *step = &g->steps[stage][at];
    char what[120] = "", where[40] = "";
    if (step->kind == PLAN_STEP_RUN) snprintf(what, sizeof what, " %.60s", plan->funcs[step->what].name);
    else if (step->kind != PLAN_STEP_ZERO)
        snprintf(what, sizeof what, " %.60s", plan->leaves[plan->channels[step->what].from_leaf].name);
    if (plan->nstages > 1) snprintf(where, sizeof where, ", stage %d", stage);
    if (plan->microbatches > 1) {
        size_t n = strlen(what);
        snprintf(what + n, sizeof what - n, ", microbatch %d", step->microbatch);
    }
    return status_make(s.code, "rank %d%s, step %lld (%s%s), %s", rank, where, (long long)at,
                       plan_step_name(step->kind), what, s.message);
}

static const Fault *fault_at_step(const Program *p, int rank, const PlanProgram *g, int64_t at) {
    for (int i = 0; i < p->options.nfaults; i++) {
        const Fault *f = &p->faults[i];
        if (fault_is_step(f->kind) && &p->plan->programs[f->program] == g && f->stage == p->ranks[rank].stage &&
            f->step == at && (f->rank < 0 || f->rank == rank))
            return f;
    }
    return NULL;
}

// The step that is done as number `at`: another when the two are exchanged by a seeded fault.
static int64_t step_at(const Program *p, int rank, const PlanProgram *g, int64_t at) {
    for (int i = 0; i < p->options.nfaults; i++) {
        const Fault *f = &p->faults[i];
        if (!fault_swaps(f->kind) || &p->plan->programs[f->program] != g || f->stage != p->ranks[rank].stage ||
            (f->rank >= 0 && f->rank != rank))
            continue;
        if (f->step == at) return f->other;
        if (f->other == at) return f->step;
    }
    return at;
}

static Status rank_run(Program *p, int rank, const PlanProgram *g) {
    int stage = p->ranks[rank].stage;
    for (int64_t place = 0; place < g->count[stage]; place++) {
        int64_t at = p->options.nfaults ? step_at(p, rank, g, place) : place;
        const PlanStep *step = &g->steps[stage][at];
        const Fault *fault = p->options.nfaults ? fault_at_step(p, rank, g, at) : NULL;
        int64_t begin = p->trace ? trace_now() : 0;
        Device *d = p->ranks[rank].device;
        if (d->v->step) d->v->step(d, at);
        Status s = status_ok();
        switch ((PlanStepKind)step->kind) {
        case PLAN_STEP_RUN:
            if (fault && fault->kind == FAULT_SKIP_RUN) break;
            s = do_run(p, rank, step);
            if (fault && fault->kind == FAULT_DOUBLE_RUN && !status_failed(&s)) s = do_run(p, rank, step);
            break;
        case PLAN_STEP_COPY:
            if (!fault) s = do_copy(p, rank, step);
            break;
        case PLAN_STEP_ZERO:
            if (!fault) s = do_zero(p, rank, step);
            break;
        default: s = do_message(p, rank, g, at, fault);
        }
        if (status_failed(&s)) return locate_step(p, rank, g, at, s);
        if (p->trace) trace_step(p->trace, rank, step, begin, trace_now());
    }
    return status_ok();
}

static Status rank_program(Program *p, int rank) {
    Device *d = p->ranks[rank].device;
    int number = (int)(p->running - p->plan->programs);
    bool done = false;
    if (d->v->begin) STATUS_TRY(d->v->begin(d, number, &done));
    if (!done) STATUS_TRY(rank_run(p, rank, p->running));
    return d->v->end ? d->v->end(d, number) : status_ok();
}

static void drive_rank(void *context, int thread, int64_t begin, int64_t end) {
    Program *p = context;
    int rank = p->first + (int)begin;
    (void)thread, (void)end; // as many tasks as threads: one each
    Status s = rank_program(p, rank);
    if (status_failed(&s)) p->comm->v->abort(p->comm, rank, &s);
    Status left = p->comm->v->leave(p->comm, rank);
    p->ranks[rank].status = status_failed(&s) ? s : left;
}

static Status check_ready(const Program *p, const PlanProgram *f, bool init) {
    for (int i = 0; i < f->ninputs; i++) {
        const PlanLeaf *l = &p->plan->leaves[f->inputs[i]];
        if (l->kind == PLAN_INPUT && !p->is_set[f->inputs[i]])
            return status_make(STATUS_INVALID, "'%s' reads input '%s', which is not set", f->name, l->name);
    }
    for (int i = 0; i < p->plan->nleaves && !init; i++)
        if (p->plan->leaves[i].kind == PLAN_PARAM && !p->is_set[i])
            return status_make(STATUS_INVALID, "parameter '%s' has no value: run \"init\" or load a checkpoint",
                               p->plan->leaves[i].name);
    return status_ok();
}

// The rank that failed by itself tells more than those it stopped.
static Status first_failure(const Program *p) {
    const Status *first = NULL;
    for (int r = p->first; r < p->first + p->nlocal; r++) {
        const Status *s = &p->ranks[r].status;
        if (status_failed(s) && (!first || (strstr(first->message, COMM_STOPPED) && !strstr(s->message, COMM_STOPPED))))
            first = s;
    }
    return first ? *first : status_ok();
}

Status program_run(Program *p, const char *func) {
    const PlanProgram *f = plan_program(p->plan, func);
    if (!f) return status_make(STATUS_INVALID, "the model '%s' has no function '%s'", p->plan->model, func);
    bool init = !strcmp(func, "init");
    STATUS_TRY(check_ready(p, f, init));
    for (int i = 0; i < p->plan->nleaves && init; i++) {
        const PlanLeaf *l = &p->plan->leaves[i];
        if (l->kind == PLAN_STATE) program_zero_leaf(p, i);
        if (l->kind <= PLAN_STATE) p->is_set[i] = true;
    }
    p->running = f;
    p->comm->v->start(p->comm);
    pool_run(p->drivers, p->nlocal, drive_rank, p);
    return first_failure(p);
}

// ---- making ---------------------------------------------------------------------------------------------------------
static Status check_kernels(const Plan *plan, PlanKernelFn *const *kernels) {
    for (int i = 0; i < plan->nkernels; i++)
        if (!kernels[i]) return status_make(STATUS_INVALID, "kernel '%s' has no code", plan->kernels[i].symbol);
    return status_ok();
}

// A slab that cannot be there is refused now, not when its pages run out.
static Status check_memory(int64_t rank_bytes, int64_t nranks) {
    int64_t total, have = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
    if (!checked_mul(rank_bytes, nranks, &total) || (have > 0 && total > have))
        return status_make(STATUS_MEMORY, "%lld ranks of %.3f GB each do not fit this machine's %.3f GB",
                           (long long)nranks, 1e-9 * (double)rank_bytes, 1e-9 * (double)have);
    return status_ok();
}

static int64_t work_bytes(const Plan *plan) {
    int64_t most = 0;
    for (int i = 0; i < plan->nkernels; i++)
        if (plan->kernels[i].work_bytes > most) most = plan->kernels[i].work_bytes;
    return most;
}

// Where the ranks are decides how they talk.
static Status make_comm(Program *p, const CommOptions *c) {
    if (p->cuda) {
        CommNcclOptions o = {.plan = p->plan,
                             .timeout_ms = c->timeout_ms,
                             .posts = c->posts,
                             .first = p->first,
                             .nlocal = p->nlocal,
                             .world = p->options.world,
                             .handed = p->options.nccl};
        return comm_nccl_make(&o, &p->comm);
    }
    if (p->options.world) return comm_wire_make(c, p->options.world, &p->comm);
    return comm_local_make(c, &p->comm);
}

static Status make_device(const Program *p, const DeviceOptions *o, Device **out_device) {
    return p->cuda ? device_cuda_make(o, out_device) : device_cpu_make(o, out_device);
}

static void setup_rank(void *context, int thread, int64_t begin, int64_t end) {
    Program *p = context;
    int rank = p->first + (int)begin;
    Rank *k = &p->ranks[rank];
    (void)thread, (void)end;
    DeviceOptions o = {.threads = p->threads,
                       .spin = p->spin,
                       .slab_bytes = p->plan->stages[k->stage].slab_bytes,
                       .host_bytes = p->plan->stages[k->stage].host_bytes,
                       .work_bytes = work_bytes(p->plan),
                       .slab = p->slabs ? p->slabs[rank] : NULL,
                       .poison = p->options.poison,
                       .kernels = p->kernels,
                       .cuda = p->cuda,
                       .plan = p->plan,
                       .rank = rank,
                       .ordinal = p->gpu + rank - p->first,
                       .eager = p->options.eager || p->options.nfaults > 0,
                       .timed = p->options.trace,
                       .timeout_ms = p->options.comm_timeout_ms,
                       .cuda_fault = p->options.cuda_fault};
    k->status = make_device(p, &o, &k->device);
}

// Communicators of GPUs are made by all ranks together, when all have their devices.
static void attach_rank(void *context, int thread, int64_t begin, int64_t end) {
    Program *p = context;
    int rank = p->first + (int)begin;
    (void)thread, (void)end;
    p->ranks[rank].status = comm_nccl_attach(p->comm, rank, p->ranks[rank].device);
}

// Sends of one list that are on their way at once.
static int64_t most_posts(const Plan *plan) {
    int64_t most = 0;
    for (int i = 0; i < plan->nprograms; i++)
        for (int stage = 0; stage < plan->nstages; stage++) {
            int64_t open = 0;
            for (int64_t k = 0; k < plan->programs[i].count[stage]; k++) {
                PlanStepKind kind = plan->programs[i].steps[stage][k].kind;
                open += (kind == PLAN_STEP_SEND) - (kind == PLAN_STEP_WAIT);
                if (open > most) most = open;
            }
        }
    return most;
}

// Started collectives and copies of one function that may be under way at once: each as often as it is begun.
static int64_t most_late(const Plan *plan) {
    int64_t most = 0;
    for (int i = 0; i < plan->nfuncs; i++) {
        int64_t total = 0, times[PLAN_LOOPS + 1] = {1};
        int depth = 0;
        for (int at = plan->funcs[i].first; at < plan->funcs[i].first + plan->funcs[i].count; at++) {
            const PlanInstr *in = &plan->instrs[at];
            if (in->kind == INSTR_END) depth--;
            if (in->start && !checked_add(total, times[depth], &total)) return -1;
            if (in->kind != INSTR_LOOP) continue;
            if (!checked_mul(times[depth], in->count, &times[depth + 1])) return -1;
            depth++;
        }
        if (total > most) most = total;
    }
    return most;
}

static bool make_tables(Program *p) {
    const Plan *plan = p->plan;
    int most_args = 0, most_scalars = 0, total = 0;
    if (!(p->scalar_at = calloc((size_t)plan->ninstrs + 1, sizeof *p->scalar_at))) return false;
    if (!(p->is_set = calloc((size_t)plan->nleaves + 1, sizeof *p->is_set))) return false;
    for (int i = 0; i < plan->ninstrs; i++) {
        const PlanInstr *in = &plan->instrs[i];
        p->scalar_at[i] = total;
        if (in->kind != INSTR_KERNEL) continue;
        total += in->nscalars;
        if (in->nargs > most_args) most_args = in->nargs;
        if (in->nscalars > most_scalars) most_scalars = in->nscalars;
    }
    for (int r = 0; r < p->nranks; r++) {
        Rank *k = &p->ranks[r];
        k->stage = plan_stage(plan, r);
        k->integers = calloc((size_t)total + 1, sizeof *k->integers);
        k->buf = calloc((size_t)most_args + 1, sizeof *k->buf);
        k->scalar = calloc((size_t)most_scalars + 1, sizeof *k->scalar);
        if (p->options.late) {
            int64_t late = most_late(plan);
            if (late < 0 || late > INT32_MAX) return false;
            k->late = calloc((size_t)late + 1, sizeof *k->late);
            k->late_copies = calloc((size_t)late + 1, sizeof *k->late_copies);
            if (!k->late || !k->late_copies) return false;
        }
        if (!k->integers || !k->buf || !k->scalar) return false;
        for (int i = 0; i < plan->ninstrs; i++) {
            const PlanInstr *in = &plan->instrs[i];
            for (int j = 0; in->kind == INSTR_KERNEL && j < in->nscalars; j++)
                if (in->scalars[j].kind == SCALAR_AFFINE)
                    k->integers[p->scalar_at[i] + j] =
                        in->scalars[j].base + in->scalars[j].factor * plan_coord(plan, in->scalars[j].mesh, r);
        }
    }
    return true;
}

static Status seed_faults(Program *p) {
    int n = p->options.nfaults;
    if (!n) return status_ok();
    p->faults = calloc((size_t)n, sizeof *p->faults);
    p->fault_of = calloc((size_t)p->plan->ninstrs + 1, sizeof *p->fault_of);
    if (!p->faults || !p->fault_of) return status_make(STATUS_MEMORY, "no memory for %d faults", n);
    for (int i = 0; i < n; i++) {
        p->faults[i] = p->options.faults[i];
        STATUS_TRY(fault_resolve(p->plan, &p->faults[i]));
        if (fault_is_step(p->faults[i].kind)) continue;
        if (p->fault_of[p->faults[i].instr])
            return status_make(STATUS_INVALID, "fault: instruction %d has two", p->faults[i].instr);
        p->fault_of[p->faults[i].instr] = &p->faults[i];
        if (p->faults[i].kind == FAULT_SWAP_COMM) p->fault_of[p->faults[i].other] = &p->faults[i];
    }
    return status_ok();
}

// Which ranks run here, and with how many threads. Processes of one host share its processors, unless whoever started
// them gave each its own.
static void place_ranks(Program *p) {
    const World *w = p->options.world;
    int cores = wait_cores(), wanted = p->options.threads;
    p->nranks = (int)plan_ranks(p->plan);
    p->first = w ? w->rank : 0;
    p->nlocal = w ? 1 : p->nranks;
    if (w && w->locals > 1 && cores == (int)sysconf(_SC_NPROCESSORS_ONLN)) cores /= w->locals;
    if (wanted > 0) p->threads = wanted / p->nranks;
    else p->threads = cores / p->nlocal;
    if (p->threads < 1) p->threads = 1;
    p->spin = (int64_t)p->threads * p->nlocal <= cores;
}

static Status make_inside(Program *p) {
    const Plan *plan = p->plan;
    place_ranks(p);
    CommOptions c = {.nmesh = plan->nmesh, .spin = p->spin, .timeout_ms = p->options.comm_timeout_ms};
    for (int i = 0; i < plan->nmesh; i++) {
        c.extent[i] = plan->mesh[i].extent;
        c.name[i] = plan->mesh[i].name;
    }
    STATUS_TRY(program_choose_gpu(p));
    if (!c.timeout_ms && p->options.world) c.timeout_ms = p->options.world->timeout_ms;
    c.posts = most_posts(plan);
    STATUS_TRY(make_comm(p, &c)); // refuses more ranks than one process can have
    if (!p->cuda) STATUS_TRY(check_memory(plan->slab_bytes + plan->host_bytes, p->nlocal));
    if (!(p->ranks = calloc((size_t)p->nranks, sizeof *p->ranks)) || !make_tables(p))
        return status_make(STATUS_MEMORY, "no memory for a program of %d instructions", plan->ninstrs);
    STATUS_TRY(seed_faults(p));
    STATUS_TRY(program_take_slabs(p));
    if (p->options.trace) STATUS_TRY(trace_make(plan, p->options.trace_events, &p->trace));
    STATUS_TRY(pool_make(p->nlocal, p->spin, &p->drivers));
    pool_run(p->drivers, p->nlocal, setup_rank, p);
    for (int r = p->first; r < p->first + p->nlocal; r++) STATUS_TRY(p->ranks[r].status);
    if (p->cuda) pool_run(p->drivers, p->nlocal, attach_rank, p);
    return first_failure(p);
}

Status program_make_from_plan(const Plan *plan, const PlanModule *module, const ProgramOptions *options,
                              Program **out_program) {
    *out_program = NULL;
    STATUS_TRY(plan_check(plan));
    if (plan->target && !module->cuda)
        return status_make(STATUS_INVALID, "the plan is for %s, and there is no code for it", plan->target);
    if (!plan->target) STATUS_TRY(check_kernels(plan, module->kernels));
    Program *p = calloc(1, sizeof *p);
    if (!p) return status_make(STATUS_MEMORY, "no memory for a program");
    p->plan = plan;
    p->kernels = module->kernels;
    p->cuda = plan->target ? module->cuda : NULL;
    if (options) p->options = *options;
    Status s = make_inside(p);
    if (status_failed(&s)) {
        program_free(p);
        return s;
    }
    *out_program = p;
    return s;
}

Status program_make(const PlanModule *m, const ProgramOptions *options, Program **out_program) {
    *out_program = NULL;
    if (m->abi != PLAN_ABI)
        return status_make(STATUS_INVALID, "the module was made for version %d of the plan, this runtime has %d",
                           m->abi, PLAN_ABI);
    Arena *arena;
    Plan *plan;
    STATUS_TRY(plan_read(m, &arena, &plan));
    Status s = status_ok();
    if (plan->nkernels != m->nkernels)
        s = status_make(STATUS_CORRUPT, "the module has %d kernels, its plan %d", m->nkernels, plan->nkernels);
    if (!status_failed(&s)) s = program_make_from_plan(plan, m, options, out_program);
    if (status_failed(&s)) arena_free(arena);
    else (*out_program)->arena = arena;
    return s;
}

void program_free(Program *p) {
    if (!p) return;
    if (p->comm) p->comm->v->free(p->comm); // it may hold what belongs to the devices
    for (int r = 0; p->ranks && r < p->nranks; r++) {
        Rank *k = &p->ranks[r];
        if (k->device) k->device->v->free(k->device);
        free(k->integers);
        free(k->buf);
        free(k->scalar);
        free(k->late);
        free(k->late_copies);
    }
    program_give_slabs(p);
    pool_free(p->drivers);
    trace_free(p->trace);
    free(p->ranks);
    free(p->scalar_at);
    free(p->is_set);
    free(p->faults);
    free(p->fault_of);
    if (p->arena) arena_free(p->arena);
    free(p);
}

const Plan *program_plan(const Program *p) { return p->plan; }
Trace *program_trace(Program *p) { return p->trace; }
int program_threads(const Program *p) { return p->threads; }
