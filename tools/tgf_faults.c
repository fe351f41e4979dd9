// SPDX-License-Identifier: Apache-2.0
// Where tgf verify can seed faults, how they are asked for, and how they are described.
#include "runtime/comm.h"
#include "tools/tgf_verify.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char wasted[] = "wasted_memory";
const char *fault_text(FaultKind kind) { return kind == FAULT_WASTED_MEMORY ? wasted : fault_name(kind); }

static const char *step_object(const Plan *p, const PlanStep *s) {
    if (s->kind == PLAN_STEP_ZERO) return "sums";
    return s->kind == PLAN_STEP_RUN ? p->funcs[s->what].name : p->leaves[p->channels[s->what].from_leaf].name;
}

void fault_describe(const Plan *p, const Fault *f, char *text, size_t size) {
    if (f->kind == FAULT_WASTED_MEMORY) {
        snprintf(text, size, "the slab");
    } else if (fault_is_step(f->kind)) {
        const PlanStep *s = &p->programs[f->program].steps[f->stage][f->step];
        snprintf(text, size, "stage %d, step %" PRId64 ", %s %s, microbatch %d", f->stage, f->step,
                 plan_step_name((PlanStepKind)s->kind), step_object(p, s), s->microbatch);
    } else {
        // A collective's op says it.
        static const char *const kinds[] = {"kernel ", "", "copy ", "clearing ", "loop ", "", "wait for "};
        const PlanInstr *n = &p->instrs[f->instr];
        snprintf(text, size, "step %d, %s%s%s%s at %s:%d", f->instr, kinds[n->kind],
                 n->kind == INSTR_COMM ? comm_kind_name(n->comm) : "", n->kind == INSTR_COMM ? " of " : "",
                 n->op ? n->op : "", n->file ? n->file : "-", n->line);
    }
}

FaultList faults_of(Arena *a, const Plan *p, FaultKind kind) {
    const PlanProgram *g = plan_program(p, "train");
    FaultList list = {0};
    if (!fault_is_step(kind))
        for (int i = 0; i < p->ninstrs; i++) {
            Fault f = {.kind = kind, .instr = i, .rank = -1};
            Status s = fault_resolve(p, &f);
            if (!status_failed(&s) && plan_runs(p, g, i)) vec_push(a, &list, f);
        }
    for (int stage = 0; stage < p->nstages && fault_is_step(kind); stage++)
        for (int64_t i = 0; i < g->count[stage]; i++) {
            Fault f = {.kind = kind, .rank = -1, .program = (int)(g - p->programs), .stage = stage, .step = i};
            Status s = fault_resolve(p, &f);
            if (!status_failed(&s)) vec_push(a, &list, f);
        }
    return list;
}

// The whole number behind the last `mark` of the text, which is cut off there; `absent` without one.
static int take_number(char *text, char mark, int absent) {
    char *at = strrchr(text, mark), *end;
    long n = at ? strtol(at + 1, &end, 10) : 0;
    if (!at || end == at + 1 || *end || n < 0 || n > 1 << 20) return absent;
    *at = 0;
    return (int)n;
}

bool fault_wanted(Arena *a, const Plan *p, const char *spec, Fault *out) {
    char *name = arena_printf(a, "%s", spec), *text = strchr(name, '=');
    *text++ = 0;
    int rank = take_number(text, '@', -1), nth = take_number(text, '#', 0);
    FaultKind kind = 0;
    while (kind <= FAULT_WASTED_MEMORY && strcmp(fault_text(kind), name)) kind++;
    if (kind == FAULT_WASTED_MEMORY) {
        *out = (Fault){.kind = kind, .rank = -1};
        return true;
    }
    FaultList list = {0};
    if (kind < FAULT_KINDS) list = faults_of(a, p, kind);
    for (int i = 0, seen = 0; i < list.n; i++) {
        char where[300];
        fault_describe(p, &list.at[i], where, sizeof where);
        if (!strstr(where, text) || seen++ < nth) continue;
        *out = list.at[i];
        if (rank >= 0) out->rank = rank;
        return true;
    }
    fprintf(stderr, "--fault %s: there is no such %s\n", spec, kind < FAULT_KINDS ? "place" : "kind of fault");
    for (int i = 0; i < list.n; i++) {
        char where[300];
        fault_describe(p, &list.at[i], where, sizeof where);
        fprintf(stderr, "  %s\n", where);
    }
    return false;
}

const Plan *plan_wasteful(Arena *a, const Plan *p) {
    Plan *more = arena_dup(a, p, sizeof *p);
    more->stages = arena_dup(a, p->stages, sizeof *p->stages * (size_t)p->nstages);
    for (int i = 0; i < p->nstages; i++) more->stages[i].slab_bytes += PLAN_ALIGN;
    more->slab_bytes += PLAN_ALIGN;
    more->activation_bytes += PLAN_ALIGN;
    return more;
}
