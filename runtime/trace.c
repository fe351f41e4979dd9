// SPDX-License-Identifier: Apache-2.0
#include "runtime/trace.h"
#include "runtime/comm.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct Event {
    int instr;
    int64_t begin, end;
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
        k->calls = calloc((size_t)plan->ninstrs + 1, sizeof *k->calls);
        k->ns = calloc((size_t)plan->ninstrs + 1, sizeof *k->ns);
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
        memset(t->ranks[r].calls, 0, sizeof(int64_t) * (size_t)t->plan->ninstrs);
        memset(t->ranks[r].ns, 0, sizeof(int64_t) * (size_t)t->plan->ninstrs);
        t->ranks[r].nevents = 0;
    }
}

void trace_record(Trace *t, int rank, int instr, int64_t begin_ns, int64_t end_ns) {
    RankTrace *k = &t->ranks[rank];
    k->calls[instr]++;
    k->ns[instr] += end_ns - begin_ns;
    if (k->nevents < t->limit) k->events[k->nevents++] = (Event){instr, begin_ns - t->start, end_ns - t->start};
}

static const char *instr_name(const Plan *p, const PlanInstr *in) {
    switch (in->kind) {
    case INSTR_KERNEL: return p->kernels[in->kernel].symbol;
    case INSTR_COMM: return comm_kind_name(in->comm);
    case INSTR_COPY: return "copy";
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
    TraceTotal *all = calloc((size_t)p->ninstrs + 1, sizeof *all);
    int n = 0, merged = 0;
    if (!all) return 0;
    for (int i = 0; i < p->ninstrs; i++) {
        TraceTotal x = {.name = instr_name(p, &p->instrs[i])};
        for (int r = 0; r < t->nranks; r++) {
            x.calls += t->ranks[r].calls[i];
            x.seconds += 1e-9 * (double)t->ranks[r].ns[i];
        }
        x.bytes = instr_bytes(p, &p->instrs[i]) * (double)x.calls;
        if (p->instrs[i].kind == INSTR_KERNEL) x.flops = p->kernels[p->instrs[i].kernel].flops * (double)x.calls;
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
            const PlanInstr *in = &t->plan->instrs[e->instr];
            fprintf(out, "%s{\"ph\":\"X\",\"pid\":0,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,\"name\":", sep, r,
                    1e-3 * (double)e->begin, 1e-3 * (double)(e->end - e->begin));
            put_json_string(out, instr_name(t->plan, in));
            fprintf(out, ",\"args\":{\"step\":%d,\"op\":", e->instr);
            put_json_string(out, in->op ? in->op : "");
            fputs(",\"line\":", out);
            put_json_string(out, in->file ? in->file : "");
            fprintf(out, ",\"at\":%d}}", in->line);
            sep = ",\n";
        }
    fputs("\n]}\n", out);
    return ferror(out) ? status_make(STATUS_IO, "cannot write the trace") : status_ok();
}
