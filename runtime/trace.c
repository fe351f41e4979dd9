// SPDX-License-Identifier: Apache-2.0
#include "runtime/trace.h"
#include "runtime/comm.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Steps are counted behind the instructions: number ninstrs + kind of step.
enum { STEP_KINDS = PLAN_STEP_ZERO + 1 };

typedef struct Event {
    int instr, what; // what: of a step the function or channel
    int64_t microbatch, begin, end;
} Event;

typedef struct RankTrace {
    int64_t *calls, *ns; // by step
    Event *events;
    int64_t nevents;
} RankTrace;

struct Trace {
    const Plan *plan;
    int nranks;
    int64_t limit, start;
    RankTrace *ranks;
};

int64_t trace_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void trace_free(Trace *t) {
    if (!t) return;
    for (int r = 0; t->ranks && r < t->nranks; r++) {
        free(t->ranks[r].calls);
        free(t->ranks[r].ns);
        free(t->ranks[r].events);
    }
    free(t->ranks);
    free(t);
}

Status trace_make(const Plan *plan, int64_t events_per_rank, Trace **out_trace) {
    *out_trace = NULL;
    Trace *t = calloc(1, sizeof *t);
    bool ok = t != NULL;
    if (ok) {
        *t = (Trace){.plan = plan, .nranks = (int)plan_ranks(plan), .limit = events_per_rank};
        ok = (t->ranks = calloc((size_t)t->nranks, sizeof *t->ranks)) != NULL;
    }
    for (int r = 0; ok && r < t->nranks; r++) {
        RankTrace *k = &t->ranks[r];
        k->calls = calloc((size_t)plan->ninstrs + STEP_KINDS, sizeof *k->calls);
        k->ns = calloc((size_t)plan->ninstrs + STEP_KINDS, sizeof *k->ns);
        k->events = calloc((size_t)events_per_rank + 1, sizeof *k->events);
        ok = k->calls && k->ns && k->events;
    }
    if (!ok) {
        trace_free(t);
        return status_make(STATUS_MEMORY, "no memory for a trace of %lld events a rank", (long long)events_per_rank);
    }
    trace_reset(t);
    *out_trace = t;
    return status_ok();
}

void trace_reset(Trace *t) {
    t->start = trace_now();
    for (int r = 0; r < t->nranks; r++) {
        memset(t->ranks[r].calls, 0, sizeof(int64_t) * ((size_t)t->plan->ninstrs + STEP_KINDS));
        memset(t->ranks[r].ns, 0, sizeof(int64_t) * ((size_t)t->plan->ninstrs + STEP_KINDS));
        t->ranks[r].nevents = 0;
    }
}

static void record(Trace *t, int rank, Event e) {
    RankTrace *k = &t->ranks[rank];
    k->calls[e.instr]++;
    k->ns[e.instr] += e.end - e.begin;
    e.begin -= t->start;
    e.end -= t->start;
    if (k->nevents < t->limit) k->events[k->nevents++] = e;
}

void trace_record(Trace *t, int rank, int instr, int64_t microbatch, int64_t begin_ns, int64_t end_ns) {
    record(t, rank, (Event){instr, -1, microbatch, begin_ns, end_ns});
}

void trace_step(Trace *t, int rank, const PlanStep *step, int64_t begin_ns, int64_t end_ns) {
    if (t->plan->nchannels == 0 && t->plan->microbatches == 1) return; // the whole function: says nothing
    record(t, rank, (Event){t->plan->ninstrs + step->kind, step->what, step->microbatch, begin_ns, end_ns});
}

static const char *instr_name(const Plan *p, const PlanInstr *in) {
    switch (in->kind) {
    case INSTR_KERNEL: return p->kernels[in->kernel].symbol;
    case INSTR_COMM: return comm_kind_name(in->comm);
    case INSTR_COPY: return "copy";
    case INSTR_WAIT: return "wait for a collective";
    default: return "zero";
    }
}

static double instr_bytes(const Plan *p, const PlanInstr *in) {
    switch (in->kind) {
    case INSTR_KERNEL: return p->kernels[in->kernel].bytes;
    case INSTR_COMM: return (double)in->outer * (double)in->middle * (double)in->inner * plan_dtype_bytes(in->dtype);
    case INSTR_COPY: return 2.0 * (double)in->bytes;
    default: return (double)in->bytes;
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const TraceTotal *)a)->name, ((const TraceTotal *)b)->name);
}
static int by_time(const void *a, const void *b) {
    const TraceTotal *x = a, *y = b;
    return x->seconds > y->seconds ? -1 : x->seconds < y->seconds ? 1 : by_name(a, b);
}

int trace_totals(const Trace *t, TraceTotal *out_totals, int limit) {
    const Plan *p = t->plan;
    TraceTotal *all = calloc((size_t)p->ninstrs + STEP_KINDS, sizeof *all);
    int n = 0, merged = 0;
    if (!all) return 0;
    for (int i = 0; i < p->ninstrs + STEP_KINDS; i++) {
        const PlanInstr *in = i < p->ninstrs ? &p->instrs[i] : NULL;
        if (i == p->ninstrs + PLAN_STEP_RUN) continue; // its instructions say it
        TraceTotal x = {.name = in ? instr_name(p, in) : plan_step_name((PlanStepKind)(i - p->ninstrs))};
        for (int r = 0; r < t->nranks; r++) {
            x.calls += t->ranks[r].calls[i];
            x.seconds += 1e-9 * (double)t->ranks[r].ns[i];
        }
        if (in) x.bytes = instr_bytes(p, in) * (double)x.calls;
        if (in && in->kind == INSTR_KERNEL) x.flops = p->kernels[in->kernel].flops * (double)x.calls;
        if (x.calls) all[n++] = x;
    }
    qsort(all, (size_t)n, sizeof *all, by_name);
    for (int i = 0; i < n; i++) {
        if (merged && !strcmp(all[merged - 1].name, all[i].name)) {
            TraceTotal *into = &all[merged - 1];
            into->calls += all[i].calls;
            into->seconds += all[i].seconds;
            into->flops += all[i].flops;
            into->bytes += all[i].bytes;
        } else {
            all[merged++] = all[i];
        }
    }
    qsort(all, (size_t)merged, sizeof *all, by_time);
    for (int i = 0; i < merged && i < limit; i++) out_totals[i] = all[i];
    free(all);
    return merged;
}

void trace_report(const Trace *t, FILE *out) {
    int n = trace_totals(t, NULL, 0);
    TraceTotal *all = calloc((size_t)n + 1, sizeof *all);
    if (!all) return;
    n = trace_totals(t, all, n);
    double sum = 0;
    for (int i = 0; i < n; i++) sum += all[i].seconds;
    fprintf(out, "%9s %6s %8s %9s %8s  %s\n", "ms", "%", "calls", "GFLOP/s", "GB/s", "step");
    for (int i = 0; i < n; i++) {
        double s = all[i].seconds > 0 ? all[i].seconds : 1e-12;
        fprintf(out, "%9.3f %6.2f %8" PRId64 " %9.1f %8.2f  %s\n", 1e3 * all[i].seconds,
                sum > 0 ? 100 * all[i].seconds / sum : 0, all[i].calls, 1e-9 * all[i].flops / s,
                1e-9 * all[i].bytes / s, all[i].name);
    }
    free(all);
}

static void put_json_string(FILE *out, const char *s) {
    fputc('"', out);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') fputc('\\', out);
        if ((unsigned char)*s < 32) fprintf(out, "\\u%04x", (unsigned)*s);
        else fputc(*s, out);
    }
    fputc('"', out);
}

Status trace_chrome(const Trace *t, FILE *out) {
    const char *sep = "\n";
    fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[", out);
    for (int r = 0; r < t->nranks; r++)
        for (int64_t i = 0; i < t->ranks[r].nevents; i++) {
            const Event *e = &t->ranks[r].events[i];
            const Plan *p = t->plan;
            bool step = e->instr >= p->ninstrs;
            const PlanInstr *in = step ? NULL : &p->instrs[e->instr];
            PlanStepKind kind = (PlanStepKind)(e->instr - p->ninstrs);
            const char *name = in                      ? instr_name(p, in)
                               : kind == PLAN_STEP_RUN ? p->funcs[e->what].name
                                                       : plan_step_name(kind);
            fprintf(out, "%s{\"ph\":\"X\",\"pid\":0,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,\"name\":", sep, r,
                    1e-3 * (double)e->begin, 1e-3 * (double)(e->end - e->begin));
            put_json_string(out, name);
            fprintf(out, ",\"args\":{\"microbatch\":%" PRId64, e->microbatch);
            if (in) {
                fprintf(out, ",\"step\":%d,\"op\":", e->instr);
                put_json_string(out, in->op ? in->op : "");
                fputs(",\"line\":", out);
                put_json_string(out, in->file ? in->file : "");
                fprintf(out, ",\"at\":%d", in->line);
            }
            fputs("}}", out);
            sep = ",\n";
        }
    fputs("\n]}\n", out);
    return ferror(out) ? status_make(STATUS_IO, "cannot write the trace") : status_ok();
}
