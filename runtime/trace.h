// SPDX-License-Identifier: Apache-2.0
// trace: where the time of a run goes, step by step. Totals cover everything since the last reset; single events are
// kept up to a limit set at the start, then only counted.
#pragma once
#include "runtime/plan.h"

typedef struct Trace Trace;

// plan must outlive the trace. events_per_rank: how many single events to keep for the Chrome trace (0: totals only).
Status trace_make(const Plan *plan, int64_t events_per_rank, Trace **out_trace);
void trace_free(Trace *t); // NULL is fine
void trace_reset(Trace *t);
int64_t trace_now(void); // nanoseconds, monotonic
// From the rank's driving thread: an instruction; a step of its program. Totals have messages and clearings beside the
// instructions; a run's time is its instructions'.
void trace_record(Trace *t, int rank, int instr, int64_t microbatch, int64_t begin_ns, int64_t end_ns);
void trace_step(Trace *t, int rank, const PlanStep *step, int64_t begin_ns, int64_t end_ns);

typedef struct TraceTotal {
    const char *name;    // kernel symbol, collective with its mesh axes, "copy", "zero", "send", "recv" or "wait"
    int64_t calls;       // over all ranks
    double seconds;      // summed over ranks
    double flops, bytes; // of all calls; collectives: bytes sent
} TraceTotal;
// By falling time. At most `limit` of them; returns how many there are.
int trace_totals(const Trace *t, TraceTotal *out_totals, int limit);
void trace_report(const Trace *t, FILE *out);   // a table for people
Status trace_chrome(const Trace *t, FILE *out); // JSON for chrome://tracing or ui.perfetto.dev; a thread per rank
