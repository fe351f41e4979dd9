// SPDX-License-Identifier: Apache-2.0
#include "runtime/fault.h"

const char *fault_name(FaultKind kind) {
    static const char *const names[] = {"drop_comm", "stale_comm",  "wrong_group",   "wrong_scale",
                                        "swap_peer", "skip_kernel", "skip_iteration"};
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

Status fault_resolve(const Plan *p, Fault *f) {
    if ((unsigned)f->kind > FAULT_SKIP_ITERATION) REFUSE("unknown kind %d", (int)f->kind);
    if (f->instr < 0 || f->instr >= p->ninstrs) REFUSE("the plan has no step %d", f->instr);
    if (f->rank < -1 || f->rank >= plan_ranks(p)) REFUSE("the plan has no rank %d", f->rank);
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
