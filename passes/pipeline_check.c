// SPDX-License-Identifier: Apache-2.0
// pipeline_check: proves step lists before anything trusts them, by doing them without data, all stages at once:
//
// - no stage waits for ever: what is received was sent, in the order in which it was sent, with the microbatch
// expected;
//   where all stages meet, all come to the same task. Within a stage, ranks do the same steps, so every communicator
//   sees one order;
// - a task finds in its slot what its own microbatch left there, and writes nothing that is still being sent;
// - every microbatch is added to every sum once; sums are cleared before that and not again; no task is done twice
//   for one.
//
// A list that fails is a mistake of this compiler, or of a schedule file, or of IR text written by hand, and is
// reported with the steps concerned.
#include "passes/pipeline.h"
#include <stdio.h>

typedef struct Uses { // of a function: numbers of SLOT buffers it reads and writes, of sums it adds to
    Vec(int) reads, writes, adds;
    bool adds_own; // adds to sums of the rank's own
} Uses;

typedef struct Wire { // a channel's messages, in order
    int64_t *sent;    // microbatches
    int64_t nsent, nreceived;
    int from, to;       // numbers of its buffers, or -1: not in slots
    int64_t *slot_sent; // by slot of the sender: number of the message + 1 that it lies in, or 0
    int next;           // the next wire from the same chunk, or -1
} Wire;

typedef struct Check {
    Unit *u;
    Pipeline *p;
    const StepList *list;
    Arena *a;
    Vec(Str) buffers, sums; // buffers: those in slots, and what goes from chunk to chunk in a buffer of the chunk
    Vec(bool) once;         // by buffer: the chunk has one
    Uses *uses;             // by func
    Wire *wire;             // by channel
    int *out;               // by chunk: its first wire, or -1
    int64_t **content;      // by chunk: by slot * buffers + buffer: microbatch + 1
    int64_t **added;        // by chunk: by sum
    bool *cleared;          // by chunk, then by stage: its sums, or the rank's own, are zero or begun
    bool **done;            // by func: by chunk * microbatches + microbatch; NULL: never run
    int64_t *at;            // by stage: its next step
    bool ok;
} Check;

static const char *const kinds[] = {"run", "send", "recv", "copy", "wait", "zero"};

static const char *step_text(const Check *c, const Step *s) {
    if (s->kind == STEP_ZERO) return arena_printf(c->a, "zero %d", s->chunk);
    if (s->kind == STEP_RUN)
        return arena_printf(c->a, "run %s, chunk %d, microbatch %lld, slot %lld", c->u->funcs.at[s->func]->name,
                            s->chunk, (long long)s->microbatch, (long long)s->slot);
    const Channel *ch = &c->p->channels[s->channel];
    return arena_printf(c->a, "%s %s from chunk %d to %d, microbatch %lld", kinds[s->kind], ch->from_buffer, ch->from,
                        ch->to, (long long)s->microbatch);
}

static bool fail(Check *c, int stage, const Step *s, const char *why) {
    if (c->ok)
        diag_internal(c->u->diag, "pipeline", step_text(c, s), "%s, stage %d, step %lld: %s", c->list->name, stage,
                      (long long)(s - c->list->steps[stage]), why);
    return c->ok = false;
}

// ---- what a task reads and writes
// ---------------------------------------------------------------------------------------

static int sum_number(Check *c, Str name) {
    for (int i = 0; i < c->sums.n; i++)
        if (c->sums.at[i] == name) return i;
    vec_push(c->a, &c->sums, name);
    return c->sums.n - 1;
}

static int buffer_number(Check *c, const Node *buffer) {
    for (int i = 0; i < c->buffers.n; i++)
        if (c->buffers.at[i] == buffer->attr.s) return i;
    vec_push(c->a, &c->buffers, buffer->attr.s);
    vec_push(c->a, &c->once, buffer->attr.i == SECTION_CHUNK);
    return c->buffers.n - 1;
}

// A value of one microbatch: in a slot, or on its way in a buffer of the chunk.
static bool is_tracked(const Check *c, const Node *buffer) {
    if (buffer->attr.i == SECTION_SLOT) return true;
    bool travels = false;
    for (int i = 0; i < c->p->nchannels && buffer->attr.i == SECTION_CHUNK && !buffer->attr.flag; i++)
        travels |= c->p->channels[i].from_buffer == buffer->attr.s || c->p->channels[i].to_buffer == buffer->attr.s;
    return travels && type_split(&buffer->results[0]->type) & c->u->mesh.time;
}

static void look_at(Check *c, int func) {
    const Func *f = c->u->funcs.at[func];
    Uses *u = &c->uses[func];
    bool *read = NEW_ARRAY(c->a, bool, f->next_id);
    for (const Node *n = f->top->first; n; n = n->next)
        for (int i = n->op == OP_assign; i < n->nargs; i++) read[n->args[i]->id] = true;
    for (const Node *n = f->top->first; n; n = n->next) {
        bool assigns = n->op == OP_assign && n->args[0]->def->op == OP_buffer;
        const Node *buffer = assigns ? n->args[0]->def : n;
        if (buffer->op != OP_buffer) continue;
        bool in_slot = is_tracked(c, buffer);
        if (assigns && in_slot) vec_push(c->a, &u->writes, buffer_number(c, buffer));
        if (assigns && buffer->attr.flag && buffer->attr.i == SECTION_CHUNK && n->args[0]->type.sum & c->u->mesh.time)
            vec_push(c->a, &u->adds, sum_number(c, buffer->attr.s));
        if (assigns && buffer->attr.flag && buffer->attr.i == SECTION_RANK) u->adds_own = true;
        if (!assigns && in_slot && read[n->results[0]->id]) vec_push(c->a, &u->reads, buffer_number(c, buffer));
    }
}

// ---- doing a step
// -------------------------------------------------------------------------------------------------------

static int64_t *content(const Check *c, int chunk, int64_t slot, int buffer) {
    return &c->content[chunk][(c->once.at[buffer] ? 0 : slot) * c->buffers.n + buffer];
}

static bool being_sent(const Check *c, int chunk, int64_t slot, int buffer) {
    for (int i = c->out[chunk]; i >= 0; i = c->wire[i].next)
        if (c->wire[i].from == buffer && c->wire[i].slot_sent[c->once.at[buffer] ? 0 : slot]) return true;
    return false;
}

static bool lies_in(const Chunk *c, int64_t slot) { return slot < (c->slots ? c->slots : 1); }

// Do the step's numbers fit the pipeline? Text read back may say anything.
static bool is_possible(Check *c, int stage, const Step *s) {
    const Pipeline *p = c->p;
    if (s->kind == STEP_RUN || s->kind == STEP_ZERO) {
        if (s->kind == STEP_RUN && p->variant_of[s->func] != (s->chunk < 0 ? -1 : p->chunks[s->chunk].variant))
            return fail(c, stage, s, "the task is for other chunks");
        if (s->chunk < 0) return true;
        if (p->chunks[s->chunk].stage != stage) return fail(c, stage, s, "the chunk is on another stage");
        if (s->kind == STEP_RUN && !lies_in(&p->chunks[s->chunk], s->slot))
            return fail(c, stage, s, "the chunk has no such slot");
        return true;
    }
    const Chunk *from = &p->chunks[p->channels[s->channel].from], *to = &p->chunks[p->channels[s->channel].to];
    if ((s->kind == STEP_RECV ? to : from)->stage != stage || (s->kind == STEP_COPY && to->stage != stage))
        return fail(c, stage, s, "the chunk is on another stage");
    if ((s->kind != STEP_WAIT && !lies_in(s->kind == STEP_RECV ? to : from, s->slot)) ||
        (s->kind == STEP_COPY && !lies_in(to, s->to_slot)))
        return fail(c, stage, s, "the chunk has no such slot");
    return true;
}

static bool run(Check *c, int stage, const Step *s) {
    const Uses *u = &c->uses[s->func];
    int64_t m = c->p->microbatches, place = s->chunk * m + s->microbatch;
    if (!c->done[s->func]) c->done[s->func] = NEW_ARRAY(c->a, bool, c->p->nchunks *m);
    if (c->done[s->func][place]) return fail(c, stage, s, "the task was done before for this microbatch");
    c->done[s->func][place] = true;
    for (int i = 0; i < u->reads.n; i++)
        if (*content(c, s->chunk, s->slot, u->reads.at[i]) != s->microbatch + 1)
            return fail(c, stage, s,
                        arena_printf(c->a, "buffer '%s' does not hold this microbatch", c->buffers.at[u->reads.at[i]]));
    for (int i = 0; i < u->writes.n; i++) {
        if (being_sent(c, s->chunk, s->slot, u->writes.at[i]))
            return fail(c, stage, s,
                        arena_printf(c->a, "buffer '%s' is still being sent", c->buffers.at[u->writes.at[i]]));
        *content(c, s->chunk, s->slot, u->writes.at[i]) = s->microbatch + 1;
    }
    if ((u->adds.n && !c->cleared[s->chunk]) || (u->adds_own && !c->cleared[c->p->nchunks + stage]))
        return fail(c, stage, s, "adds to sums that were not cleared");
    for (int i = 0; i < u->adds.n; i++) c->added[s->chunk][u->adds.at[i]]++;
    return true;
}

static bool clear(Check *c, int stage, const Step *s) {
    bool *cleared = &c->cleared[s->chunk < 0 ? c->p->nchunks + stage : s->chunk];
    if (*cleared) return fail(c, stage, s, "clears sums that may have begun");
    return *cleared = true;
}

static bool post(Check *c, int stage, const Step *s) {
    Wire *w = &c->wire[s->channel];
    int chunk = c->p->channels[s->channel].from;
    if (w->from >= 0 && *content(c, chunk, s->slot, w->from) != s->microbatch + 1)
        return fail(c, stage, s, "the buffer does not hold this microbatch");
    if (w->slot_sent[s->slot]) return fail(c, stage, s, "the buffer is still being sent");
    if (w->nsent == c->p->microbatches) return fail(c, stage, s, "every microbatch was sent before");
    w->sent[w->nsent++] = s->microbatch;
    w->slot_sent[s->slot] = w->nsent;
    return true;
}

static bool take(Check *c, int stage, const Step *s) {
    Wire *w = &c->wire[s->channel];
    if (w->sent[w->nreceived++] != s->microbatch) return fail(c, stage, s, "another microbatch was sent");
    if (w->to >= 0) *content(c, c->p->channels[s->channel].to, s->slot, w->to) = s->microbatch + 1;
    return true;
}

static bool copy(Check *c, int stage, const Step *s) {
    const Wire *w = &c->wire[s->channel];
    const Channel *ch = &c->p->channels[s->channel];
    if (w->from >= 0 && *content(c, ch->from, s->slot, w->from) != s->microbatch + 1)
        return fail(c, stage, s, "the buffer does not hold this microbatch");
    if (w->to >= 0) *content(c, ch->to, s->to_slot, w->to) = s->microbatch + 1;
    return true;
}

// The slot of the channel's sender that a wait is about, or -1: nothing is being sent from any.
static int64_t waited_slot(const Check *c, const Step *s) {
    const Wire *w = &c->wire[s->channel];
    int64_t slots = c->p->chunks[c->p->channels[s->channel].from].slots;
    for (int64_t i = 0; i < slots; i++)
        if (w->slot_sent[i] && w->sent[w->slot_sent[i] - 1] == s->microbatch) return i;
    return -1;
}

// Does the next step of the stage, if it can be done now.
static bool advance(Check *c, int stage, bool *out_moved) {
    const Step *s = &c->list->steps[stage][c->at[stage]];
    Wire *w = s->kind == STEP_RUN || s->kind == STEP_ZERO ? NULL : &c->wire[s->channel];
    int64_t slot;
    if (!is_possible(c, stage, s)) return false;
    switch (s->kind) {
    case STEP_RUN:
        if (s->chunk < 0) return true; // together with the others
        if (!run(c, stage, s)) return false;
        break;
    case STEP_SEND:
        if (!post(c, stage, s)) return false;
        break;
    case STEP_RECV:
        if (w->nreceived == w->nsent) return true;
        if (!take(c, stage, s)) return false;
        break;
    case STEP_COPY:
        if (!copy(c, stage, s)) return false;
        break;
    case STEP_WAIT:
        if ((slot = waited_slot(c, s)) < 0) return fail(c, stage, s, "nothing was sent");
        if (w->slot_sent[slot] > w->nreceived) return true;
        w->slot_sent[slot] = 0;
        break;
    case STEP_ZERO:
        if (!clear(c, stage, s)) return false;
        break;
    }
    c->at[stage]++;
    return *out_moved = true;
}

static const Step *next_step(const Check *c, int stage) {
    return c->at[stage] < c->list->count[stage] ? &c->list->steps[stage][c->at[stage]] : NULL;
}

// All stages stand before their own task: it must be the same.
static bool meet(Check *c, bool *out_moved) {
    const Step *first = next_step(c, 0);
    if (!first || first->kind != STEP_RUN || first->chunk >= 0) return true;
    for (int i = 1; i < c->p->nstages; i++) {
        const Step *s = next_step(c, i);
        if (!s || s->kind != STEP_RUN || s->chunk >= 0) return true;
        if (s->func != first->func) return fail(c, i, s, "other stages meet in another task");
    }
    for (int i = 0; i < c->p->nstages; i++) c->at[i]++;
    return *out_moved = true;
}

static bool stuck(Check *c) {
    for (int i = 0; i < c->p->nstages; i++) {
        const Step *s = next_step(c, i);
        if (s) return fail(c, i, s, "waits for ever");
    }
    return true;
}

static bool all_added(Check *c) {
    for (int k = 0; k < c->p->nchunks; k++)
        for (int i = 0; i < c->sums.n; i++)
            if (c->added[k][i] && c->added[k][i] != c->p->microbatches) {
                diag_internal(c->u->diag, "pipeline", c->sums.at[i], "%s: chunk %d adds %lld of %lld microbatches",
                              c->list->name, k, (long long)c->added[k][i], (long long)c->p->microbatches);
                return c->ok = false;
            }
    return true;
}

static void begin(Check *c) {
    Pipeline *p = c->p;
    c->uses = NEW_ARRAY(c->a, Uses, c->u->funcs.n);
    for (int i = 0; i < c->u->funcs.n; i++) look_at(c, i);
    c->wire = NEW_ARRAY(c->a, Wire, p->nchannels + 1);
    c->out = NEW_ARRAY(c->a, int, p->nchunks);
    for (int k = 0; k < p->nchunks; k++) c->out[k] = -1;
    for (int i = 0; i < p->nchannels; i++) {
        Wire *w = &c->wire[i];
        w->from = w->to = -1;
        w->next = c->out[p->channels[i].from];
        c->out[p->channels[i].from] = i;
        for (int b = 0; b < c->buffers.n; b++) {
            if (c->buffers.at[b] == p->channels[i].from_buffer) w->from = b;
            if (c->buffers.at[b] == p->channels[i].to_buffer) w->to = b;
        }
        w->sent = NEW_ARRAY(c->a, int64_t, p->microbatches + 1);
        w->slot_sent = NEW_ARRAY(c->a, int64_t, p->chunks[p->channels[i].from].slots + 1);
    }
    c->content = NEW_ARRAY(c->a, int64_t *, p->nchunks);
    c->added = NEW_ARRAY(c->a, int64_t *, p->nchunks);
    for (int k = 0; k < p->nchunks; k++) {
        c->content[k] = NEW_ARRAY(c->a, int64_t, (p->chunks[k].slots + 1) * c->buffers.n);
        c->added[k] = NEW_ARRAY(c->a, int64_t, c->sums.n + 1);
    }
    c->cleared = NEW_ARRAY(c->a, bool, p->nchunks + p->nstages);
    c->done = NEW_ARRAY(c->a, bool *, c->u->funcs.n);
    c->at = NEW_ARRAY(c->a, int64_t, p->nstages);
}

bool pipeline_check(Unit *u, const StepList *list) {
    Check c = {.u = u, .p = u->pipeline, .list = list, .a = u->scratch, .ok = true};
    begin(&c);
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < c.p->nstages; i++)
            for (bool more = true; more && next_step(&c, i);) {
                more = false;
                if (!advance(&c, i, &more)) return false;
                moved |= more;
            }
        if (!meet(&c, &moved)) return false;
    }
    return stuck(&c) && all_added(&c);
}
