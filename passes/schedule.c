// SPDX-License-Identifier: Apache-2.0
#include "base/checked.h"
#include "passes/schedule_inside.h"

// Items of a whole schedule: 64 stages of 2 chunks with 512 microbatches have 2^17 of them.
enum { MOST_ITEMS = 1 << 26 };

static bool has_halves(ScheduleName name) { return name == PIPE_ZBH1 || name == PIPE_ZBV; }

const char *schedule_refuses(ScheduleName name, int stages, int chunks_per_stage, int64_t microbatches) {
    int64_t n;
    if (stages < 1 || chunks_per_stage < 1 || microbatches < 1)
        return "a pipeline has at least one stage, one chunk a stage and one microbatch";
    if (!checked_mul((int64_t)stages * PHASES, chunks_per_stage, &n) || !checked_mul(n, microbatches, &n) ||
        n > MOST_ITEMS)
        return "stages * chunks * microbatches is too large: a schedule has at most 67108864 items";
    switch (name) {
    case PIPE_GPIPE:
    case PIPE_INTERLEAVED: return NULL;
    case PIPE_1F1B:
        return chunks_per_stage == 1 ? NULL : "1f1b has one chunk a stage; with more, write schedule = interleaved";
    case PIPE_ZBH1: return chunks_per_stage == 1 ? NULL : "zbh1 has one chunk a stage; zbv has two";
    case PIPE_ZBV: return chunks_per_stage == 2 ? NULL : "zbv has two chunks a stage: write chunks = 2";
    case PIPE_FILE: break;
    }
    return "a schedule of a file is read, not made";
}

Schedule *schedule_make(Arena *a, ScheduleName name, int stages, int chunks_per_stage, int64_t microbatches) {
    if (schedule_refuses(name, stages, chunks_per_stage, microbatches)) return NULL;
    Schedule *s = NEW(a, Schedule);
    *s = (Schedule){.name = name,
                    .stages = stages,
                    .chunks = stages * chunks_per_stage,
                    .microbatches = microbatches,
                    .halves = has_halves(name)};
    s->place = NEW_ARRAY(a, int, s->chunks);
    for (int c = 0; c < s->chunks; c++) s->place[c] = name == PIPE_ZBV && c >= stages ? s->chunks - 1 - c : c % stages;
    s->count = NEW_ARRAY(a, int64_t, stages);
    s->items = NEW_ARRAY(a, WorkItem *, stages);
    for (int i = 0; i < stages; i++)
        s->items[i] = NEW_ARRAY(a, WorkItem, chunks_per_stage * microbatches * (s->halves ? 3 : 2));
    switch (name) {
    case PIPE_GPIPE: schedule_gpipe(s); break;
    case PIPE_1F1B: schedule_1f1b(s); break;
    case PIPE_INTERLEAVED:
        if (chunks_per_stage == 1) schedule_1f1b(s);
        else schedule_interleaved(s, a);
        break;
    case PIPE_ZBH1: schedule_zbh1(s); break;
    case PIPE_ZBV: schedule_zbv(s); break;
    case PIPE_FILE: break;
    }
    return s;
}
