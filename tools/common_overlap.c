// SPDX-License-Identifier: Apache-2.0
// The plan's two streams on a machine of stated rates: a kernel takes the longer of its FLOPs and its bytes of memory,
// a collective the bytes that a ring moves over the link (all_reduce 2 (n-1)/n of the value, gathering, scattering and
// exchanging (n-1)/n of the larger side); at a wait the first stream stands still until the second is as far. Of a
// collective's bytes the share is hidden that the other stream did not stand still for. Latency, messages between
// stages and what two links could do at once are left out.
#include "tools/common_overlap.h"
#include "base/bytes.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// Of one device: half of an H100's dense bf16 peak, its memory at four fifths, and a 400 Gb/s port.
static const double flop_rate = 500e12, memory_rate = 2.7e12, link_rate = 50e9;

typedef struct Streams {
    const Plan *p;
    double compute, comm; // seconds, how far each is
    double *end;          // by instruction: when its last start has ended
    double stood, busy;   // seconds the first stood still, the second worked
    double bytes;
} Streams;

static double moved_bytes(const Plan *p, const PlanInstr *in) {
    int64_t send, receive;
    double ways = (double)plan_ways(p, in->mesh);
    plan_comm_bytes(p, in, &send, &receive);
    if (in->comm == COMM_ALL_REDUCE) return 2 * (ways - 1) / ways * (double)send;
    bool permutes = in->comm == COMM_SHIFT || in->comm == COMM_REVERSE;
    return permutes ? (double)send : (ways - 1) / ways * (double)(send > receive ? send : receive);
}

static void stand_until(Streams *s, double time) {
    if (time <= s->compute) return;
    s->stood += time - s->compute;
    s->compute = time;
}

static void pass_instr(Streams *s, int at) {
    const PlanInstr *in = &s->p->instrs[at];
    double bytes;
    switch (in->kind) {
    case INSTR_KERNEL: {
        const PlanKernel *k = &s->p->kernels[in->kernel];
        s->compute += k->flops / flop_rate > k->bytes / memory_rate ? k->flops / flop_rate : k->bytes / memory_rate;
        break;
    }
    case INSTR_COPY: s->compute += 2 * (double)in->bytes / memory_rate; break;
    case INSTR_ZERO: s->compute += (double)in->bytes / memory_rate; break;
    case INSTR_COMM:
        bytes = moved_bytes(s->p, in);
        if (s->comm < s->compute) s->comm = s->compute;
        s->comm += bytes / link_rate;
        s->busy += bytes / link_rate;
        s->bytes += bytes;
        s->end[at] = s->comm;
        if (!in->start) stand_until(s, s->comm);
        break;
    case INSTR_WAIT: stand_until(s, s->end[in->of]); break;
    default: break;
    }
}

static void pass_range(Streams *s, int from, int to) {
    for (int at = from; at < to; at++) {
        const PlanInstr *in = &s->p->instrs[at];
        pass_instr(s, at);
        for (int64_t i = 0; in->kind == INSTR_LOOP && i < in->count; i++) pass_range(s, at + 1, in->end);
        if (in->kind == INSTR_LOOP) at = in->end;
    }
}

static void print_program(const Plan *p, const PlanProgram *g, double *end, FILE *out) {
    Streams all = {0};
    for (int stage = 0; stage < p->nstages; stage++) {
        Streams s = {.p = p, .end = end};
        for (int64_t i = 0; i < g->count[stage]; i++) {
            const PlanStep *step = &g->steps[stage][i];
            if (step->kind != PLAN_STEP_RUN) continue;
            const PlanFunc *f = &p->funcs[step->what];
            pass_range(&s, f->first, f->first + f->count);
        }
        all.bytes += s.bytes;
        all.busy += s.busy;
        all.stood += s.stood;
    }
    if (!(all.bytes > 0)) return;
    double share = 1 - all.stood / all.busy;
    char hidden[40], total[40];
    fprintf(out,
            "  %s of %s that a rank's link moves are hidden behind computation (%.0f%%), at %.0f TFLOP/s, %.1f TB/s of "
            "memory and %.0f GB/s of link\n",
            bytes_print(share * all.bytes / p->nstages, hidden, sizeof hidden),
            bytes_print(all.bytes / p->nstages, total, sizeof total), share * 100, flop_rate * 1e-12,
            memory_rate * 1e-12, link_rate * 1e-9);
}

Status overlap_print(Unit *u, const CodegenOptions *options, FILE *out) {
    char *text = NULL;
    size_t size = 0;
    Plan *p = NULL;
    FILE *f = open_memstream(&text, &size);
    if (!f) return status_make(STATUS_MEMORY, "no memory for a plan's text");
    Arena *a = arena_new();
    Status s = codegen_print(u, options, CODEGEN_PLAN, f);
    fclose(f);
    if (!status_failed(&s)) s = plan_parse(a, strtable_new(a), text, size, &p);
    double *end = p ? calloc((size_t)p->ninstrs + 1, sizeof *end) : NULL;
    if (p && !end) s = status_make(STATUS_MEMORY, "no memory for %d instructions", p->ninstrs);
    const PlanProgram *g = !end ? NULL : plan_program(p, "train") ? plan_program(p, "train") : plan_program(p, "eval");
    if (g) print_program(p, g, end, out);
    free(end);
    free(text);
    arena_free(a);
    return s;
}
