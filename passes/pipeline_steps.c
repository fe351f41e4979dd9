// SPDX-License-Identifier: Apache-2.0
// pipeline_steps: from a schedule and the tasks of a function to what each stage does, step by step. In front of a task
// what it needs from other chunks is received, behind it what others need is sent. A send does not wait; before its
// buffer is written again, the stage waits for the receiver.
//
//   stage 0: zero, run forward.0 m0, send act m0, run forward.0 m1, send act m1, recv grad m0, run backward.0 m0 ...
//   stage 1: zero, recv act m0, run forward.1 m0, run backward.1 m0, send grad m0, recv act m1 ...
#include "passes/pipeline.h"
#include "passes/schedule.h"

typedef struct Line { // a channel and when it is used
    int phase;
    bool slots; // its buffers are in SECTION_SLOT
} Line;

typedef struct Emit {
    Cut *c;
    Pipeline *p;
    int stage;
    Vec(Step) steps;
    const Line *line; // by channel
    int64_t **slot;   // by chunk: by microbatch
    int64_t **sent;   // by channel: by slot of the sender: microbatch + 1 not yet waited for, or 0
    int *out, *in;    // by chunk: its first channel in out_next / in_next, or -1
    int *out_next, *in_next;
} Emit;

static void emit(Emit *e, Step s) { vec_push(e->c->u->arena, &e->steps, s); }

static int task_func(const Cut *c, int variant, int phase) {
    for (int i = 0; i < c->tasks.n; i++)
        if (c->tasks.at[i]->variant == variant && c->tasks.at[i]->phase == phase) return c->first_func + i;
    return -1;
}

static bool here(const Emit *e, int chunk) { return e->p->chunks[chunk].stage == e->stage; }

static int64_t slot_at(const Emit *e, int channel, int chunk, int64_t m) {
    return e->line[channel].slots ? e->slot[chunk][m] : 0;
}

// What a chunk of this stage gives another, forward, is copied when it is needed: its slot is free from then on. Later
// it is copied when it is made: the slot is there, and the giver's may be another's soon.
static bool copies_late(const Emit *e, int channel) { return e->line[channel].phase == PHASE_FORWARD; }

static void copy_here(Emit *e, int channel, int64_t m) {
    const Channel *ch = &e->p->channels[channel];
    emit(e, (Step){.kind = STEP_COPY,
                   .channel = channel,
                   .microbatch = m,
                   .slot = slot_at(e, channel, ch->from, m),
                   .to_slot = slot_at(e, channel, ch->to, m)});
}

static void receive(Emit *e, int chunk, int phase, int64_t m) {
    for (int i = e->in[chunk]; i >= 0; i = e->in_next[i]) {
        const Channel *ch = &e->p->channels[i];
        if (e->line[i].phase != phase) continue;
        int64_t slot = slot_at(e, i, chunk, m);
        if (!here(e, ch->from)) emit(e, (Step){.kind = STEP_RECV, .channel = i, .microbatch = m, .slot = slot});
        else if (copies_late(e, i)) copy_here(e, i, m);
    }
}

static void wait_sent(Emit *e, int channel, int64_t slot) {
    int64_t *sent = &e->sent[channel][slot];
    if (*sent) emit(e, (Step){.kind = STEP_WAIT, .channel = channel, .microbatch = *sent - 1});
    *sent = 0;
}

static void wait_for_buffers(Emit *e, int chunk, int phase, int64_t m) {
    for (int i = e->out[chunk]; i >= 0; i = e->out_next[i])
        if (e->line[i].phase == phase) wait_sent(e, i, slot_at(e, i, chunk, m));
}

static void send(Emit *e, int chunk, int phase, int64_t m) {
    for (int i = e->out[chunk]; i >= 0; i = e->out_next[i]) {
        if (e->line[i].phase != phase) continue;
        if (here(e, e->p->channels[i].to)) {
            if (!copies_late(e, i)) copy_here(e, i, m);
            continue;
        }
        int64_t slot = slot_at(e, i, chunk, m);
        wait_sent(e, i, slot);
        emit(e, (Step){.kind = STEP_SEND, .channel = i, .microbatch = m, .slot = slot});
        e->sent[i][slot] = m + 1;
    }
}

static void run_loop_task(Emit *e, int chunk, int phase, int64_t m) {
    int func = task_func(e->c, e->p->chunks[chunk].variant, phase);
    receive(e, chunk, phase, m);
    if (func >= 0) {
        wait_for_buffers(e, chunk, phase, m);
        emit(e, (Step){.kind = STEP_RUN, .func = func, .chunk = chunk, .microbatch = m, .slot = e->slot[chunk][m]});
    }
    send(e, chunk, phase, m);
}

static int phase_of(WorkKind kind) {
    return kind == WORK_FORWARD ? PHASE_FORWARD : kind == WORK_WEIGHT_GRAD ? PHASE_WEIGHT : PHASE_BACKWARD;
}

// Microbatches go through the forward tasks in groups as many as there are stages, so that all stages work at once.
static void forward_only(Emit *e) {
    int64_t m = e->p->microbatches, group = e->p->nstages;
    for (int chunk = 0; chunk < e->p->nchunks && e->c->roomy; chunk++)
        if (e->p->chunks[chunk].slots < group) group = e->p->chunks[chunk].slots;
    for (int64_t from = 0; from < m; from += group)
        for (int chunk = 0; chunk < e->p->nchunks; chunk++)
            for (int64_t i = from; i < m && i < from + group && here(e, chunk); i++)
                run_loop_task(e, chunk, PHASE_FORWARD, i);
}

static void main_loop(Emit *e, const Schedule *s) {
    if (!s) {
        forward_only(e);
        return;
    }
    for (int64_t i = 0; i < s->count[e->stage]; i++) {
        const WorkItem *w = &s->items[e->stage][i];
        run_loop_task(e, w->chunk, phase_of(w->kind), w->microbatch);
    }
}

static void before(Emit *e) {
    for (int chunk = 0; chunk < e->p->nchunks; chunk++) {
        int prepare = task_func(e->c, e->p->chunks[chunk].variant, PHASE_PREPARE);
        int between = task_func(e->c, e->p->chunks[chunk].variant, PHASE_BETWEEN);
        if (!here(e, chunk)) continue;
        for (int64_t m = 0; m < e->p->microbatches && prepare >= 0; m++)
            emit(e, (Step){.kind = STEP_RUN, .func = prepare, .chunk = chunk, .microbatch = m});
        if (between >= 0) emit(e, (Step){.kind = STEP_RUN, .func = between, .chunk = chunk});
    }
}

static void after(Emit *e) {
    Pipeline *p = e->p;
    for (int chunk = 0; chunk < p->nchunks; chunk++)
        if (here(e, chunk)) send(e, chunk, PHASE_SUMS, 0);
    for (int chunk = 0; chunk < p->nchunks; chunk++)
        if (here(e, chunk)) receive(e, chunk, PHASE_SUMS, 0);
    for (int chunk = 0; chunk < p->nchunks; chunk++) // the sums may be overwritten from here on
        if (here(e, chunk)) wait_for_buffers(e, chunk, PHASE_SUMS, 0);
    for (int phase = PHASE_AFTER; phase < PHASE_AFTER + e->c->levels; phase++) {
        for (int chunk = 0; chunk < p->nchunks; chunk++) {
            int func = task_func(e->c, p->chunks[chunk].variant, phase);
            if (!here(e, chunk)) continue;
            if (func >= 0) emit(e, (Step){.kind = STEP_RUN, .func = func, .chunk = chunk});
            send(e, chunk, phase, 0);
        }
        for (int chunk = 0; chunk < p->nchunks; chunk++)
            if (here(e, chunk)) receive(e, chunk, phase, 0);
        int all = task_func(e->c, -1, phase);
        if (all >= 0) emit(e, (Step){.kind = STEP_RUN, .func = all, .chunk = -1});
    }
}

static void wait_all(Emit *e) {
    for (int i = 0; i < e->p->nchannels; i++)
        for (int64_t s = 0; s < (e->line[i].slots ? e->p->chunks[e->p->channels[i].from].slots : 1); s++)
            if (here(e, e->p->channels[i].from)) wait_sent(e, i, s);
}

static bool has_zeroed(const Cut *c, int variant, bool rank) {
    for (int i = 0; i < c->tasks.n; i++)
        for (const Node *n = c->tasks.at[i]->func->top->first; n; n = n->next)
            if (n->op == OP_buffer && n->attr.flag && (n->attr.i == SECTION_RANK) == rank &&
                (rank || c->tasks.at[i]->variant == variant))
                return true;
    return false;
}

static void emit_stage(Emit *e, const Schedule *s) {
    Pipeline *p = e->p;
    if (has_zeroed(e->c, -1, true)) emit(e, (Step){.kind = STEP_ZERO, .chunk = -1});
    for (int chunk = 0; chunk < p->nchunks; chunk++)
        if (here(e, chunk) && has_zeroed(e->c, p->chunks[chunk].variant, false))
            emit(e, (Step){.kind = STEP_ZERO, .chunk = chunk});
    before(e);
    main_loop(e, s);
    after(e);
    wait_all(e);
}

// ---- channels
// -----------------------------------------------------------------------------------------------------------

static bool in_slots(const Cut *c, Str buffer) {
    for (int i = 0; i < c->tasks.n; i++)
        for (const Node *n = c->tasks.at[i]->func->top->first; n; n = n->next)
            if (n->op == OP_buffer && n->attr.s == buffer) return n->attr.i == SECTION_SLOT;
    return false;
}

static void add_channel(Channel *channels, Line *lines, int *n, int from, int to, const Route *r, bool slots) {
    channels[*n] = (Channel){from, to, r->from_buffer, r->to_buffer};
    lines[(*n)++] = (Line){r->phase, slots};
}

static const Line *make_channels(Cut *c) {
    Pipeline *p = c->p;
    int most = p->nchannels + c->routes.n * p->nchunks + 1;
    Channel *channels = NEW_ARRAY(c->u->arena, Channel, most);
    Line *lines = NEW_ARRAY(c->a, Line, most);
    int n = p->nchannels; // those of other functions
    if (n) memcpy(channels, p->channels, sizeof *channels * (size_t)n);
    for (int i = 0; i < c->routes.n; i++) {
        const Route *r = &c->routes.at[i];
        bool slots = in_slots(c, r->from_buffer);
        for (int k = 0; k < p->nchunks; k++) {
            if (r->way == WAY_NEXT && k + 1 < p->nchunks) add_channel(channels, lines, &n, k, k + 1, r, slots);
            if (r->way == WAY_PREVIOUS && k > 0) add_channel(channels, lines, &n, k, k - 1, r, slots);
            if (r->way < WAY_FIRST || !(chunk_roles(p, k) & r->to)) continue;
            add_channel(channels, lines, &n, r->way == WAY_FIRST ? 0 : p->nchunks - 1, k, r, slots);
        }
    }
    p->channels = channels;
    p->nchannels = n;
    return lines;
}

static void list_channels(Emit *e) {
    Pipeline *p = e->p;
    e->out = NEW_ARRAY(e->c->a, int, p->nchunks);
    e->in = NEW_ARRAY(e->c->a, int, p->nchunks);
    e->out_next = NEW_ARRAY(e->c->a, int, p->nchannels + 1);
    e->in_next = NEW_ARRAY(e->c->a, int, p->nchannels + 1);
    for (int k = 0; k < p->nchunks; k++) e->out[k] = e->in[k] = -1;
    for (int i = p->nchannels - 1; i >= 0; i--) {
        if (!e->line[i].phase) continue; // of another function
        e->out_next[i] = e->out[p->channels[i].from];
        e->out[p->channels[i].from] = i;
        e->in_next[i] = e->in[p->channels[i].to];
        e->in[p->channels[i].to] = i;
    }
}

// Train's schedule says how many microbatches are in flight; what only goes forward makes do with that many.
static void give_slots(Emit *e, const Schedule *s) {
    Pipeline *p = e->p;
    const ScheduleMemory m = s ? schedule_memory(s, e->c->a) : (ScheduleMemory){0};
    e->slot = NEW_ARRAY(e->c->a, int64_t *, p->nchunks);
    for (int k = 0; k < p->nchunks; k++) {
        Chunk *chunk = &p->chunks[k];
        if (s && m.slots[k] > chunk->slots) chunk->slots = m.slots[k];
        if (!chunk->slots) chunk->slots = p->nchunks > 1 && p->microbatches > 1 ? 2 : 1;
        e->slot[k] = NEW_ARRAY(e->c->a, int64_t, p->microbatches);
        for (int64_t i = 0; i < p->microbatches; i++)
            e->slot[k][i] = s ? m.slot[k * p->microbatches + i] : i % chunk->slots;
    }
}

// ---- one buffer a chunk
// F0.1 overwrites what F0.0 sent: stage 1 must have come to F1.0, which takes it.

static WorkItem onward(WorkItem w) {
    w.chunk += w.kind == WORK_FORWARD ? 1 : -1;
    return w;
}

bool cut_single_buffers(const Schedule *s, Arena *a) {
    int64_t kinds = WORK_WEIGHT_GRAD + 1, per = (int64_t)s->chunks * s->microbatches;
    int64_t *place_of = NEW_ARRAY(a, int64_t, kinds * per), *at = NEW_ARRAY(a, int64_t, s->stages);
    int64_t *last = NEW_ARRAY(a, int64_t, kinds * s->chunks); // microbatch + 1 that a chunk sent last
    for (int i = 0; i < s->stages; i++)
        for (int64_t k = 0; k < s->count[i]; k++) {
            WorkItem w = s->items[i][k];
            place_of[w.kind * per + w.chunk * s->microbatches + w.microbatch] = k;
        }
    WorkKind back = s->halves ? WORK_INPUT_GRAD : WORK_BACKWARD;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < s->stages; i++)
            for (bool more = true; more && at[i] < s->count[i];) {
                WorkItem w = s->items[i][at[i]], needs[2];
                int64_t *sent = &last[w.kind * s->chunks + w.chunk];
                int nneeds = 0;
                if (w.kind == WORK_FORWARD && w.chunk > 0)
                    needs[nneeds++] = (WorkItem){w.kind, w.chunk - 1, w.microbatch};
                if (w.kind == back) {
                    needs[nneeds++] = (WorkItem){WORK_FORWARD, w.chunk, w.microbatch};
                    if (w.chunk + 1 < s->chunks) needs[nneeds++] = (WorkItem){back, w.chunk + 1, w.microbatch};
                }
                more = true;
                for (int k = 0; k < nneeds; k++)
                    more &= at[s->place[needs[k].chunk]] >
                            place_of[needs[k].kind * per + needs[k].chunk * s->microbatches + needs[k].microbatch];
                WorkItem taker = onward((WorkItem){w.kind, w.chunk, *sent - 1});
                bool sends = w.kind != WORK_WEIGHT_GRAD && taker.chunk >= 0 && taker.chunk < s->chunks;
                if (sends && *sent) { // on the same stage it is copied: then it must have been used
                    int64_t place = place_of[taker.kind * per + taker.chunk * s->microbatches + taker.microbatch];
                    int64_t there = at[s->place[taker.chunk]];
                    more &= s->place[taker.chunk] == i ? there > place : there >= place;
                }
                if (!more) break;
                if (sends) *sent = w.microbatch + 1;
                at[i]++;
                moved = true;
            }
    }
    for (int i = 0; i < s->stages; i++)
        if (at[i] < s->count[i]) return false;
    return true;
}

bool cut_steps(Cut *c, const Schedule *schedule, StepList *out_list) {
    Pipeline *p = c->p;
    Emit e = {.c = c, .p = p, .line = make_channels(c)};
    list_channels(&e);
    give_slots(&e, schedule);
    e.sent = NEW_ARRAY(c->a, int64_t *, p->nchannels + 1);
    for (int i = 0; i < p->nchannels; i++) e.sent[i] = NEW_ARRAY(c->a, int64_t, p->chunks[p->channels[i].from].slots);
    *out_list = (StepList){c->from->name, NEW_ARRAY(c->u->arena, int64_t, p->nstages),
                           NEW_ARRAY(c->u->arena, Step *, p->nstages)};
    for (e.stage = 0; e.stage < p->nstages; e.stage++) {
        e.steps.at = NULL;
        e.steps.n = e.steps.cap = 0;
        emit_stage(&e, schedule);
        out_list->count[e.stage] = e.steps.n;
        out_list->steps[e.stage] = e.steps.at;
    }
    return c->ok;
}
