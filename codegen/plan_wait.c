// SPDX-License-Identifier: Apache-2.0
// plan_wait: collectives, and copies to the host and from it, become started ones. The instructions come in the order
// of the graph, each collective where its operand is ready; what it must have ended before follows from the addresses
// (plan_needs), so a wait stands as late as memory allows, in the next iteration or behind the loop where nothing of
// the loop needs it:
//
//   comm all_reduce ... w0 -> w0                  start all_reduce ... w0 -> w0
//   kernel 3 (...)                                kernel 3 (...)
//   kernel 4 (w0:64, ...)                         wait 7
//                                                 kernel 4 (w0:64, ...)
//
// A collective that is waited for before anything is computed stays what it was.
#include "codegen/plan.h"
#include <string.h>

typedef struct Needs {
    int n;
    PlanNeed *at; // by place, then collective
} Needs;

static bool find_needs(const Plan *p, const PlanFunc *f, Arena *a, Needs *out) {
    int n = plan_needs(p, f, NULL, 0);
    if (n < 0) return false;
    *out = (Needs){n, NEW_ARRAY(a, PlanNeed, n + 1)};
    return plan_needs(p, f, out->at, n) == n;
}

static bool is_moved(const PlanInstr *in) { // to the host or from it
    return in->kind == INSTR_COPY && plan_is_host(in->args[0].section) != plan_is_host(in->args[1].section);
}

// Is there only communication between the two? Then nothing is hidden.
static bool is_idle(const Plan *p, int from, int to) {
    if (to <= from) return false; // the next iteration
    for (int at = from + 1; at < to; at++)
        if (p->instrs[at].kind != INSTR_COMM && !is_moved(&p->instrs[at])) return false;
    return true;
}

static bool plan_func_waits(Plan *p, PlanFunc *f, Arena *a) {
    Needs needs;
    for (int i = f->first; i < f->first + f->count; i++)
        p->instrs[i].start =
            is_moved(&p->instrs[i]) || (p->instrs[i].kind == INSTR_COMM && plan_ways(p, p->instrs[i].mesh) > 1);
    if (!find_needs(p, f, a, &needs)) return false;
    bool *hides = NEW_ARRAY(a, bool, f->count + 1);
    for (int i = 0; i < needs.n; i++)
        if (!is_idle(p, needs.at[i].of, needs.at[i].at)) hides[needs.at[i].of - f->first] = true;
    for (int i = 0; i < f->count; i++) p->instrs[f->first + i].start &= hides[i];
    return true;
}

// The function's instructions with its waits between them, behind those at `out`. Loops and waits name new numbers.
static void insert_waits(const Plan *p, PlanFunc *f, const Needs *needs, PlanInstr *out, int *n, int *number) {
    int first = *n, next = 0;
    for (int at = f->first; at <= f->first + f->count; at++) {
        for (; next < needs->n && needs->at[next].at == at; next++) {
            const PlanInstr *of = &p->instrs[needs->at[next].of];
            out[(*n)++] = (PlanInstr){.kind = INSTR_WAIT,
                                      .of = needs->at[next].of, // renumbered below
                                      .op = of->op,
                                      .file = of->file,
                                      .line = of->line};
        }
        if (at == f->first + f->count) break;
        number[at] = *n;
        out[(*n)++] = p->instrs[at];
    }
    for (int i = first; i < *n; i++) {
        if (out[i].kind == INSTR_WAIT) out[i].of = number[out[i].of];
        if (out[i].kind == INSTR_LOOP) out[i].end = number[out[i].end];
    }
    f->first = first;
    f->count = *n - first;
}

// Neighbours over one mesh are one call, up to a bucket: many small calls cost latency, and one that is too large makes
// its first piece wait for its last. 25 MB is what DDP found (Li et al., VLDB 2020).
static void join_calls(Plan *p) {
    enum { BUCKET_BYTES = 25 * 1000 * 1000 };
    int64_t total = 0, send, receive;
    for (int i = 1; i < p->ninstrs; i++) {
        const PlanInstr *before = &p->instrs[i - 1];
        PlanInstr *in = &p->instrs[i];
        if (in->kind != INSTR_COMM || !in->start) continue;
        bool alike = before->kind == INSTR_COMM && before->start && before->mesh == in->mesh;
        if (alike && !before->joined) plan_comm_bytes(p, before, &send, &receive), total = send;
        plan_comm_bytes(p, in, &send, &receive);
        in->joined = alike && total + send <= BUCKET_BYTES;
        total += send;
    }
    for (int i = 0; i < p->nfuncs; i++) // no call is of two functions
        if (p->funcs[i].count) p->instrs[p->funcs[i].first].joined = false;
}

bool plan_waits(Plan *p, Arena *a) {
    Needs *needs = NEW_ARRAY(a, Needs, p->nfuncs + 1);
    int total = p->ninstrs, n = 0;
    for (int i = 0; i < p->nfuncs; i++) {
        if (!plan_func_waits(p, &p->funcs[i], a) || !find_needs(p, &p->funcs[i], a, &needs[i])) return false;
        total += needs[i].n;
    }
    PlanInstr *out = NEW_ARRAY(a, PlanInstr, total + 1);
    int *number = NEW_ARRAY(a, int, p->ninstrs + 1);
    for (int i = 0; i < p->nfuncs; i++) insert_waits(p, &p->funcs[i], &needs[i], out, &n, number);
    p->instrs = out;
    p->ninstrs = n;
    join_calls(p);
    return true;
}
