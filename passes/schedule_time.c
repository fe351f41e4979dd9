// SPDX-License-Identifier: Apache-2.0
// When each item of a schedule begins and ends, and what the sources say of the whole.
#include "passes/schedule_inside.h"

typedef struct Clock {
    const Schedule *s;
    const ChunkCost *costs;
    double send;
    double *ended; // by work_index
    double *free;  // by stage: the end of its last item
    double *busy;  // by stage
    ScheduleTime t;
} Clock;

static double cost_of(const ChunkCost *c, WorkKind kind) {
    switch (kind) {
    case WORK_FORWARD: return c->forward;
    case WORK_BACKWARD: return c->backward;
    case WORK_INPUT_GRAD: return c->input_grad;
    case WORK_WEIGHT_GRAD: return c->weight_grad;
    }
    return 0;
}

static void tick(void *context, int stage, int64_t i) {
    Clock *c = context;
    const Schedule *s = c->s;
    const WorkItem w = s->items[stage][i];
    double start = c->free[stage], length = cost_of(&c->costs[w.chunk], w.kind);
    WorkItem needs[2];
    for (int k = work_needs(s, w, needs); k-- > 0;) {
        double there = c->ended[work_index(s, needs[k])] + (s->place[needs[k].chunk] != stage ? c->send : 0);
        if (there > start) start = there;
    }
    c->t.start[stage][i] = start;
    c->t.end[stage][i] = c->free[stage] = c->ended[work_index(s, w)] = start + length;
    c->busy[stage] += length;
}

ScheduleTime schedule_time(const Schedule *s, const ChunkCost *costs, double send, Arena *a) {
    Clock c = {.s = s, .costs = costs, .send = send};
    c.ended = NEW_ARRAY(a, double, work_indices(s));
    c.free = NEW_ARRAY(a, double, s->stages);
    c.busy = NEW_ARRAY(a, double, s->stages);
    c.t.start = NEW_ARRAY(a, double *, s->stages);
    c.t.end = NEW_ARRAY(a, double *, s->stages);
    for (int i = 0; i < s->stages; i++) {
        c.t.start[i] = NEW_ARRAY(a, double, s->count[i]);
        c.t.end[i] = NEW_ARRAY(a, double, s->count[i]);
    }
    schedule_run(s, a, tick, &c, NEW_ARRAY(a, int64_t, s->stages));
    for (int i = 0; i < s->stages; i++) {
        double span = s->count[i] ? c.free[i] - c.t.start[i][0] : 0;
        if (c.free[i] > c.t.makespan) c.t.makespan = c.free[i];
        if (span > c.t.longest) c.t.longest = span;
        if (c.busy[i] > c.t.ideal) c.t.ideal = c.busy[i];
    }
    return c.t;
}

ChunkCost *schedule_even_costs(const Schedule *s, Arena *a) {
    const double unit = (double)s->stages / s->chunks;
    ChunkCost *costs = NEW_ARRAY(a, ChunkCost, s->chunks);
    for (int c = 0; c < s->chunks; c++) costs[c] = (ChunkCost){unit, 2 * unit, unit, unit};
    return costs;
}

bool schedule_formula(const Schedule *s, const char **out_text, double *out_value) {
    const double p = s->stages, v = (double)s->chunks / p, m = (double)s->microbatches;
    const char *text = NULL;
    double value = (p - 1) / m;
    switch (s->name) {
    case PIPE_GPIPE:
    case PIPE_INTERLEAVED:
        if (v > 1 && m < p) break;
        text = v > 1 ? "(p-1)/(v m)" : "(p-1)/m";
        value /= v;
        break;
    case PIPE_1F1B: text = "(p-1)/m"; break;
    case PIPE_ZBH1:
        if (m < p) break;
        text = "(p-1)/(3 m)";
        value /= 3;
        break;
    case PIPE_ZBV:
        if (m < 2 * p - 1) break;
        text = "0";
        value = 0;
        break;
    case PIPE_FILE: break;
    }
    *out_text = text;
    *out_value = text ? value : 0;
    return text != NULL;
}
