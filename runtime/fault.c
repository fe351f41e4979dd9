// SPDX-License-Identifier: Apache-2.0
#include "runtime/fault.h"

// What each kind is seeded into: an instruction or a step of this kind.
static const struct {
    const char *name;
    bool is_step;
    int of;
} kinds[FAULT_KINDS] = {
    [FAULT_DROP_COMM] = {"drop_comm", false, INSTR_COMM},
    [FAULT_STALE_COMM] = {"stale_comm", false, INSTR_COMM},
    [FAULT_WRONG_GROUP] = {"wrong_group", false, INSTR_COMM},
    [FAULT_WRONG_SCALE] = {"wrong_scale", false, INSTR_COMM},
    [FAULT_SWAP_PEER] = {"swap_peer", false, INSTR_COMM},
    [FAULT_SWAP_COMM] = {"swap_comm", false, INSTR_COMM},
    [FAULT_SKIP_KERNEL] = {"skip_kernel", false, INSTR_KERNEL},
    [FAULT_WRONG_PART] = {"wrong_part", false, INSTR_KERNEL},
    [FAULT_SKIP_ITERATION] = {"skip_iteration", false, INSTR_LOOP},
    [FAULT_SKIP_COPY] = {"skip_copy", false, INSTR_COPY},
    [FAULT_SKIP_ZERO] = {"skip_zero", false, INSTR_ZERO},
    [FAULT_SKIP_WAIT] = {"skip_wait", false, INSTR_WAIT},
    [FAULT_SKIP_RUN] = {"skip_run", true, PLAN_STEP_RUN},
    [FAULT_DOUBLE_RUN] = {"double_run", true, PLAN_STEP_RUN},
    [FAULT_EARLY_RUN] = {"early_run", true, PLAN_STEP_RUN},
    [FAULT_SWAP_MEETINGS] = {"swap_meetings", true, PLAN_STEP_RUN},
    [FAULT_DROP_SEND] = {"drop_send", true, PLAN_STEP_SEND},
    [FAULT_SWAP_SEND] = {"swap_send", true, PLAN_STEP_SEND},
    [FAULT_SEND_ASTRAY] = {"send_astray", true, PLAN_STEP_SEND},
    [FAULT_WRONG_SLOT] = {"wrong_slot", true, PLAN_STEP_SEND},
    [FAULT_MISSING_WAIT] = {"missing_wait", true, PLAN_STEP_WAIT},
    [FAULT_DROP_RECEIVE] = {"drop_receive", true, PLAN_STEP_RECV},
    [FAULT_DROP_COPY] = {"drop_copy", true, PLAN_STEP_COPY},
    [FAULT_SKIP_CLEAR] = {"skip_clear", true, PLAN_STEP_ZERO},
};

const char *fault_name(FaultKind kind) { return (unsigned)kind < FAULT_KINDS ? kinds[kind].name : "unknown fault"; }
bool fault_is_step(FaultKind kind) { return (unsigned)kind < FAULT_KINDS && kinds[kind].is_step; }
bool fault_swaps(FaultKind kind) { return kind == FAULT_EARLY_RUN || kind == FAULT_SWAP_MEETINGS; }

#define REFUSE(...) return status_make(STATUS_INVALID, "fault: " __VA_ARGS__)

// ---- steps ----------------------------------------------------------------------------------------------------------

static Status resolve_send(const Plan *p, const Fault *f, const PlanStep *steps, int64_t n) {
    const PlanStep *s = &steps[f->step];
    const PlanChannel *c = &p->channels[s->what];
    bool in_slot = p->leaves[c->from_leaf].section == PLAN_SLOT;
    if (f->kind == FAULT_WRONG_SLOT && (!in_slot || p->chunks[c->from].slots < 2))
        REFUSE("step %lld has no other slot to send", (long long)f->step);
    if (f->kind == FAULT_SEND_ASTRAY && plan_ranks(p) == 2) REFUSE("there is no other rank");
    if (f->kind == FAULT_SWAP_SEND) {
        int64_t next = f->step + 1;
        while (next < n && (steps[next].kind != PLAN_STEP_SEND || steps[next].what != s->what)) next++;
        if (next == n) REFUSE("step %lld is the last message on its channel", (long long)f->step);
    }
    return status_ok();
}

// Does an operand lie in sums that PLAN_STEP_ZERO clears?
static bool in_sums(const Plan *p, const PlanFunc *f, const PlanArg *a) {
    int64_t from = p->rank_zero_offset, bytes = p->rank_zero_bytes;
    if (a->section == PLAN_CHUNK && f->variant >= 0) {
        from = p->variants[f->variant].zero_offset;
        bytes = p->variants[f->variant].zero_bytes;
    } else if (a->section != PLAN_RANK_OWN) {
        return false;
    }
    return a->offset >= from && a->offset < from + bytes;
}

// Some tasks may be run twice without harm: not those that add to sums.
static bool adds(const Plan *p, const PlanFunc *f) {
    bool does = false;
    for (int i = f->first; i < f->first + f->count; i++) {
        const PlanInstr *in = &p->instrs[i];
        for (int k = 0; in->kind == INSTR_KERNEL && k < in->nargs; k++) does |= in_sums(p, f, &in->args[k]);
    }
    return does;
}

// Does the step bring a value to this task's chunk and microbatch?
static bool brings(const Plan *p, const PlanStep *from, const PlanStep *run) {
    return (from->kind == PLAN_STEP_RECV || from->kind == PLAN_STEP_COPY) && from->microbatch == run->microbatch &&
           p->channels[from->what].to == run->chunk;
}

static Status resolve_run(const Plan *p, Fault *f, const PlanStep *steps, int64_t n) {
    const PlanStep *s = &steps[f->step];
    int64_t other = f->step;
    if (f->kind == FAULT_DOUBLE_RUN && p->microbatches > 1 && (s->chunk < 0 || !adds(p, &p->funcs[s->what])))
        REFUSE("step %lld adds to no sum", (long long)f->step);
    if (f->kind == FAULT_EARLY_RUN) {
        while (--other >= 0 && !brings(p, &steps[other], s))
            if (steps[other].kind == PLAN_STEP_RUN) other = 0; // what came before an earlier task was for that one
        if (other < 0) REFUSE("step %lld needs no message", (long long)f->step);
    }
    if (f->kind == FAULT_SWAP_MEETINGS) {
        if (p->nstages < 2 || s->chunk >= 0) REFUSE("step %lld is no task at which stages meet", (long long)f->step);
        while (++other < n && (steps[other].kind != PLAN_STEP_RUN || steps[other].chunk >= 0)) {}
        if (other == n) REFUSE("step %lld is the last meeting", (long long)f->step);
    }
    f->other = other;
    return status_ok();
}

static Status resolve_step(const Plan *p, Fault *f) {
    if (f->program < 0 || f->program >= p->nprograms || f->stage < 0 || f->stage >= p->nstages || f->step < 0 ||
        f->step >= p->programs[f->program].count[f->stage])
        REFUSE("the plan has no such step");
    const PlanStep *steps = p->programs[f->program].steps[f->stage];
    PlanStepKind wanted = (PlanStepKind)kinds[f->kind].of;
    if (steps[f->step].kind != wanted) REFUSE("step %lld does not %s", (long long)f->step, plan_step_name(wanted));
    int64_t n = p->programs[f->program].count[f->stage];
    if (wanted == PLAN_STEP_SEND) return resolve_send(p, f, steps, n);
    return wanted == PLAN_STEP_RUN ? resolve_run(p, f, steps, n) : status_ok();
}

// ---- instructions ---------------------------------------------------------------------------------------------------

// A group of other ranks than `mesh` makes: one other axis, else the axis dropped from the set.
static uint32_t other_group(const Plan *p, uint32_t mesh) {
    for (int i = 0; i < p->nmesh; i++)
        if (!(mesh >> i & 1) && p->mesh[i].extent > 1) return 1u << i;
    for (int i = 0; i < p->nmesh; i++)
        if (mesh >> i & 1 && p->mesh[i].extent > 1 && plan_ways(p, mesh & ~(1u << i)) > 1) return mesh & ~(1u << i);
    return 0;
}

// The next collective that is done whenever this one is; -1: none.
static int next_comm(const Plan *p, int at) {
    int end = p->ninstrs;
    for (int i = 0; i < p->nfuncs; i++)
        if (at >= p->funcs[i].first && at < p->funcs[i].first + p->funcs[i].count)
            end = p->funcs[i].first + p->funcs[i].count;
    for (int i = at + 1; i < end && p->instrs[i].kind != INSTR_END; i++) {
        if (p->instrs[i].kind == INSTR_COMM && plan_ways(p, p->instrs[i].mesh) > 1) return i;
        if (p->instrs[i].kind == INSTR_LOOP) i = p->instrs[i].end;
    }
    return -1;
}

// The first rank that does the instruction.
static int rank_of(const Plan *p, int at) {
    for (int i = 0; i < p->nfuncs; i++)
        for (int c = 0; at >= p->funcs[i].first && at < p->funcs[i].first + p->funcs[i].count && c < p->nchunks; c++)
            for (int r = 0; p->chunks[c].variant == p->funcs[i].variant && r < plan_ranks(p); r++)
                if (plan_stage(p, r) == p->chunks[c].stage) return r;
    return 0;
}

static Status resolve_comm(const Plan *p, Fault *f) {
    const PlanInstr *in = &p->instrs[f->instr];
    bool parts = in->comm == COMM_ALL_GATHER || in->comm == COMM_ALL_TO_ALL || in->comm == COMM_REDUCE_SCATTER;
    int64_t ways = plan_ways(p, in->mesh);
    switch (f->kind) {
    case FAULT_WRONG_GROUP:
        if (in->comm != COMM_ALL_REDUCE && in->comm != COMM_BROADCAST)
            REFUSE("step %d keeps its sizes only in its own group", f->instr);
        if (!f->mesh) f->mesh = other_group(p, in->mesh);
        if (!f->mesh || f->mesh == in->mesh || f->mesh >> p->nmesh)
            REFUSE("step %d: there is no other group", f->instr);
        return status_ok();
    case FAULT_WRONG_SCALE:
        if (in->dtype < PLAN_F32) REFUSE("step %d moves no floats", f->instr);
        if (f->scale == 0) f->scale = 2;
        return status_ok();
    case FAULT_SWAP_PEER:
        if (in->comm == COMM_SHIFT && 2 * in->peer % ways != 0) return status_ok();
        if (!parts || ways < 2) REFUSE("step %d has no parts to swap", f->instr);
        return status_ok();
    case FAULT_SWAP_COMM:
        if (ways < 2 || (f->other = next_comm(p, f->instr)) < 0) REFUSE("no collective follows step %d", f->instr);
        if (f->rank < 0) f->rank = rank_of(p, f->instr);
        return status_ok();
    default: return status_ok();
    }
}

// Do the ranks take different parts here?
static bool takes_part(const Plan *p, const PlanInstr *in) {
    bool does = false;
    for (int i = 0; i < in->nscalars; i++)
        does |= in->scalars[i].kind == SCALAR_AFFINE && in->scalars[i].factor && plan_ways(p, in->scalars[i].mesh) > 1;
    return does;
}

static Status resolve_instr(const Plan *p, Fault *f) {
    static const char *const what[] = {"kernel", "collective", "copy", "clearing", "loop", "end", "wait"};
    if (f->instr < 0 || f->instr >= p->ninstrs) REFUSE("the plan has no step %d", f->instr);
    const PlanInstr *in = &p->instrs[f->instr];
    if ((int)in->kind != kinds[f->kind].of) REFUSE("step %d is no %s", f->instr, what[kinds[f->kind].of]);
    if (f->kind == FAULT_WRONG_PART && !takes_part(p, in)) REFUSE("step %d takes the same part on all ranks", f->instr);
    return in->kind == INSTR_COMM ? resolve_comm(p, f) : status_ok();
}

Status fault_resolve(const Plan *p, Fault *f) {
    if ((unsigned)f->kind >= FAULT_KINDS) REFUSE("unknown kind %d", (int)f->kind);
    if (f->rank < -1 || f->rank >= plan_ranks(p)) REFUSE("the plan has no rank %d", f->rank);
    return fault_is_step(f->kind) ? resolve_step(p, f) : resolve_instr(p, f);
}
