// SPDX-License-Identifier: Apache-2.0
#include "runtime/fault.h"

const char *fault_name(FaultKind kind) {
    static const char *const names[] = {"drop_comm",   "stale_comm",     "wrong_group", "wrong_scale", "swap_peer",
                                        "skip_kernel", "skip_iteration", "skip_run",    "drop_send",   "swap_send",
                                        "send_astray", "wrong_slot",     "missing_wait"};
    return (unsigned)kind < sizeof names / sizeof *names ? names[kind] : "unknown fault";
}

#define REFUSE(...) return status_make(STATUS_INVALID, "fault: " __VA_ARGS__)

// A group of other ranks than `mesh` makes: one other axis, else the axis dropped from the set.
static uint32_t other_group(const Plan *p, uint32_t mesh) {
    for (int i = 0; i < p->nmesh; i++)
        if (!(mesh >> i & 1) && p->mesh[i].extent > 1) return 1u << i;
    for (int i = 0; i < p->nmesh; i++)
        if (mesh >> i & 1 && p->mesh[i].extent > 1 && plan_ways(p, mesh & ~(1u << i)) > 1) return mesh & ~(1u << i);
    return 0;
}

bool fault_is_step(FaultKind kind) { return kind >= FAULT_SKIP_RUN && kind < FAULT_KINDS; }

static Status resolve_step(const Plan *p, const Fault *f) {
    if (f->program < 0 || f->program >= p->nprograms || f->stage < 0 || f->stage >= p->nstages || f->step < 0 ||
        f->step >= p->programs[f->program].count[f->stage])
        REFUSE("the plan has no such step");
    const PlanStep *steps = p->programs[f->program].steps[f->stage], *s = &steps[f->step];
    PlanStepKind wanted = f->kind == FAULT_SKIP_RUN       ? PLAN_STEP_RUN
                          : f->kind == FAULT_MISSING_WAIT ? PLAN_STEP_WAIT
                                                          : PLAN_STEP_SEND;
    if (s->kind != wanted) REFUSE("step %lld does not %s", (long long)f->step, plan_step_name(wanted));
    if (wanted == PLAN_STEP_RUN) return status_ok();
    const PlanChannel *c = &p->channels[s->what];
    bool in_slot = p->leaves[c->from_leaf].section == PLAN_SLOT;
    if (f->kind == FAULT_WRONG_SLOT && (!in_slot || p->chunks[c->from].slots < 2))
        REFUSE("step %lld has no other slot to send", (long long)f->step);
    if (f->kind == FAULT_SEND_ASTRAY && plan_ranks(p) == 2) REFUSE("there is no other rank");
    if (f->kind == FAULT_SWAP_SEND) {
        int64_t next = f->step + 1, n = p->programs[f->program].count[f->stage];
        while (next < n && (steps[next].kind != PLAN_STEP_SEND || steps[next].what != s->what)) next++;
        if (next == n) REFUSE("step %lld is the last message on its channel", (long long)f->step);
    }
    return status_ok();
}

Status fault_resolve(const Plan *p, Fault *f) {
    if ((unsigned)f->kind >= FAULT_KINDS) REFUSE("unknown kind %d", (int)f->kind);
    if (f->rank < -1 || f->rank >= plan_ranks(p)) REFUSE("the plan has no rank %d", f->rank);
    if (fault_is_step(f->kind)) return resolve_step(p, f);
    if (f->instr < 0 || f->instr >= p->ninstrs) REFUSE("the plan has no step %d", f->instr);
    const PlanInstr *in = &p->instrs[f->instr];
    if (f->kind == FAULT_SKIP_KERNEL) {
        if (in->kind != INSTR_KERNEL) REFUSE("step %d is no kernel", f->instr);
        return status_ok();
    }
    if (f->kind == FAULT_SKIP_ITERATION) {
        if (in->kind != INSTR_LOOP) REFUSE("step %d is no loop", f->instr);
        return status_ok();
    }
    if (in->kind != INSTR_COMM) REFUSE("step %d is no collective", f->instr);
    bool parts = in->comm == COMM_ALL_GATHER || in->comm == COMM_ALL_TO_ALL || in->comm == COMM_REDUCE_SCATTER;
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
        if (!parts || plan_ways(p, in->mesh) < 2) REFUSE("step %d has no parts to swap", f->instr);
        return status_ok();
    default: return status_ok();
    }
}
