// SPDX-License-Identifier: Apache-2.0
// What makes schedules (ir/schedule.h), reads and prints them, proves them and measures them. One generator a file,
// schedule_NAME.c; everything trusts a schedule only after schedule_check.
#pragma once
#include "ir/schedule.h"

// ---- making ----

// Why there is no such schedule, in the author's terms, or NULL: 1f1b and zbh1 have one chunk a stage, zbv two; gpipe
// and interleaved any number. Never of PIPE_FILE.
const char *schedule_refuses(ScheduleName name, int stages, int chunks_per_stage, int64_t microbatches);
// Any number of microbatches, also less than stages. NULL when schedule_refuses says why.
Schedule *schedule_make(Arena *a, ScheduleName name, int stages, int chunks_per_stage, int64_t microbatches);

// The text of ir/schedule.h; `#` begins a comment, a stage may have several lines. NULL after located errors. Only the
// form is checked here: schedule_check is due. `file` is interned; the name in the first line may be `file`.
Schedule *schedule_parse(Arena *a, Diag *diag, Str file, const char *text, size_t size);
void schedule_print(const Schedule *s, FILE *out);
char work_letter(WorkKind kind); // F B I W

// The schedule that a strategy asks for, made or read, and checked. A file's path is relative to the folder of the file
// that names it; its stages, its microbatches and, when the strategy says them, its chunks must be the strategy's.
// Without a pipe axis there is one stage: microbatches one after the other. NULL after located errors.
struct Strategy;
Schedule *schedule_of_strategy(const struct Strategy *strategy, Arena *a, Arena *scratch, Diag *diag);
// A file's whole schedule, checked; NULL after errors, those of the form at its lines, the others at `at`.
Schedule *schedule_read(const char *path, Str name, Arena *a, Arena *scratch, Diag *diag, Loc at);

// ---- proving ----

// Every chunk has each microbatch's items once, on its stage; a stage does them in an order that their dependencies
// allow; microbatches enter and leave a chunk in the order in which its neighbours send them (channels are first in,
// first out); and all stages, each doing its items in order, come to the end. False after errors at `at`; a deadlock
// names the stages that wait for one another.
bool schedule_check(const Schedule *s, Arena *scratch, Diag *diag, Loc at);

// ---- memory: what lives from a microbatch's F until its B, or its W with halves ----

typedef struct ScheduleMemory {
    int64_t *slots;     // by chunk: microbatches in flight at most
    int64_t *slot;      // by chunk * microbatches + microbatch: the lowest that was free
    int64_t *in_flight; // by stage: over all its chunks at once, at most
} ScheduleMemory;

ScheduleMemory schedule_memory(const Schedule *s, Arena *a);

// ---- time ----

typedef struct ChunkCost {
    double forward, backward, input_grad, weight_grad;
} ChunkCost;

typedef struct ScheduleTime {
    double **start, **end; // by stage, by item
    double makespan;       // from 0 until the last item of all ends
    double longest;        // of a stage: from its first item's start to its last one's end
    double ideal;          // the work of the stage that has most
} ScheduleTime;

// Every stage does its items in order, each as soon as what it needs is there; from one stage to another takes `send`.
// costs: by chunk. The schedule was checked.
ScheduleTime schedule_time(const Schedule *s, const ChunkCost *costs, double send, Arena *a);
// The same for each chunk: F, I and W take 1/chunks_per_stage, B twice that; so a microbatch is 3 units of a stage's
// work.
ChunkCost *schedule_even_costs(const Schedule *s, Arena *a);

// What the schedule's source says of (makespan - ideal) / ideal, or for zbv of (longest - ideal) / ideal, with even
// costs and no time for sending: *out_text the formula, *out_value its value. False when it says nothing (a file, or
// fewer microbatches than it assumes).
bool schedule_formula(const Schedule *s, const char **out_text, double *out_value);

// ---- drawing ----

// `unit`: what one unit of time is, for the axis.
void schedule_svg(const Schedule *s, const ScheduleTime *t, const char *unit, Arena *scratch, FILE *out);
// Trace events of chrome://tracing and Perfetto, a process a stage; `microseconds`: of one unit of time.
void schedule_chrome(const Schedule *s, const ScheduleTime *t, double microseconds, FILE *out);
