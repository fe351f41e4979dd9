// SPDX-License-Identifier: Apache-2.0
// pipeline_text: a unit's pipeline as text, behind its functions, and back.
//
//   pipeline microbatches 2 stages 2
//       variant layers 3 over layer.0 first                 by number: 0, 1 ...
//       variant layers 3 over layer.1 last
//       chunk on 0 variant 0 first 0 layers 3 slots 2       by number
//       chunk on 1 variant 1 first 3 layers 3 slots 1
//       channel from 0 "x" to 1 "x.in"                      by number
//       task train.f0 variant 0                             functions of a variant; the others are the rank's own
//       schedule 1f1b chunks 2                              what train's steps were made from: place, then by stage
//           place 0 1
//           F0.0 F0.1 B0.0 B0.1
//           F1.0 B1.0 F1.1 B1.1
//       steps train                                         by stage
//           zero 0, run train.f0 0 m0 slot 0, send 0 m0 slot 0, wait 0 m0 ...
//           recv 0 m0 slot 0, run train.f1 1 m0 slot 0, copy 1 m0 slot 0 to 1 ...
#include "ir/pipeline.h"
#include "ir/parse_core.h"
#include "ir/schedule.h"
#include "ir/text.h"
#include <inttypes.h>

enum { COUNT_MAX = 1 << 24 };

static const char *const steps[] = {"run", "send", "recv", "copy", "wait", "zero"};
static const char letters[] = "FBIW";

// ---- out ----

static void print_variants(const Unit *u, FILE *out) {
    const Pipeline *p = u->pipeline;
    for (int i = 0; i < p->nvariants; i++) {
        const Variant *v = &p->variants[i];
        fprintf(out, "    variant layers %" PRId64, v->layers);
        if (v->axis) fprintf(out, " over %s", v->axis->name);
        fprintf(out, "%s%s\n", v->first ? " first" : "", v->last ? " last" : "");
    }
    for (int i = 0; i < p->nchunks; i++) {
        const Chunk *c = &p->chunks[i];
        fprintf(out, "    chunk on %d variant %d first %" PRId64 " layers %" PRId64 " slots %" PRId64 "\n", c->stage,
                c->variant, c->first, c->layers, c->slots);
    }
    for (int i = 0; i < p->nchannels; i++) {
        const Channel *c = &p->channels[i];
        fprintf(out, "    channel from %d ", c->from);
        string_print(c->from_buffer, out);
        fprintf(out, " to %d ", c->to);
        string_print(c->to_buffer, out);
        fputc('\n', out);
    }
    for (int i = 0; i < u->funcs.n; i++)
        if (p->variant_of[i] >= 0) fprintf(out, "    task %s variant %d\n", u->funcs.at[i]->name, p->variant_of[i]);
}

static void print_schedule(const Schedule *s, FILE *out) {
    fprintf(out, "    schedule %s chunks %d%s\n        place", schedule_name(s->name), s->chunks,
            s->halves ? " halves" : "");
    for (int c = 0; c < s->chunks; c++) fprintf(out, " %d", s->place[c]);
    for (int i = 0; i < s->stages; i++)
        for (int64_t k = 0; k < s->count[i]; k++) {
            const WorkItem *w = &s->items[i][k];
            fprintf(out, "%s%c%d.%" PRId64, k ? " " : "\n        ", letters[w->kind], w->chunk, w->microbatch);
        }
    fputc('\n', out);
}

static void print_step(const Unit *u, const Step *s, FILE *out) {
    fputs(steps[s->kind], out);
    switch (s->kind) {
    case STEP_ZERO: fprintf(out, " %d", s->chunk); return;
    case STEP_RUN: fprintf(out, " %s %d", u->funcs.at[s->func]->name, s->chunk); break;
    default: fprintf(out, " %d", s->channel);
    }
    fprintf(out, " m%" PRId64, s->microbatch);
    if (s->kind != STEP_WAIT) fprintf(out, " slot %" PRId64, s->slot);
    if (s->kind == STEP_COPY) fprintf(out, " to %" PRId64, s->to_slot);
}

void pipeline_print(const Unit *u, FILE *out) {
    const Pipeline *p = u->pipeline;
    fprintf(out, "\npipeline microbatches %" PRId64 " stages %d\n", p->microbatches, p->nstages);
    print_variants(u, out);
    if (p->schedule) print_schedule(p->schedule, out);
    for (int l = 0; l < p->nlists; l++) {
        const StepList *list = &p->lists[l];
        fprintf(out, "    steps %s\n", list->name);
        for (int i = 0; i < p->nstages; i++) {
            fprintf(out, "        %" PRId64 ":", list->count[i]);
            for (int64_t k = 0; k < list->count[i]; k++) {
                fputs(k ? ", " : " ", out);
                print_step(u, &list->steps[i][k], out);
            }
            fputc('\n', out);
        }
    }
}

// ---- in ----

static void need(Parser *s, const char *key) {
    if (!accept_word(s, key)) fail(s, "expected '%s'", key);
}

static int64_t after(Parser *s, const char *key, int64_t least, int64_t most) {
    need(s, key);
    return bounded(s, least, most);
}

static int func_index(Parser *s) {
    Str name = dotted(s);
    for (int i = 0; i < s->u->funcs.n; i++)
        if (s->u->funcs.at[i]->name == name) return i;
    fail(s, "unknown func '%s'", name);
}

static void parse_variants(Parser *s, Pipeline *p) {
    Vec(Variant) variants = {0};
    Vec(Chunk) chunks = {0};
    Vec(Channel) channels = {0};
    Arena *a = s->u->arena;
    for (; accept_word(s, "variant"); newline(s)) {
        Variant v = {.layers = after(s, "layers", 0, INT32_MAX)};
        if (accept_word(s, "over")) {
            Str name = dotted(s);
            if (!(v.axis = unit_axis(s->u, name))) fail(s, "unknown axis '%s'", name);
        }
        v.first = accept_word(s, "first");
        v.last = accept_word(s, "last");
        vec_push(a, &variants, v);
    }
    for (; accept_word(s, "chunk"); newline(s)) {
        Chunk c = {.stage = (int)after(s, "on", 0, p->nstages - 1)};
        c.variant = (int)after(s, "variant", 0, variants.n - 1);
        c.first = after(s, "first", 0, INT32_MAX);
        c.layers = after(s, "layers", 0, INT32_MAX);
        c.slots = after(s, "slots", 0, INT32_MAX);
        vec_push(a, &chunks, c);
    }
    for (; accept_word(s, "channel"); newline(s)) {
        Channel c = {.from = (int)after(s, "from", 0, chunks.n - 1)};
        c.from_buffer = string(s);
        c.to = (int)after(s, "to", 0, chunks.n - 1);
        c.to_buffer = string(s);
        vec_push(a, &channels, c);
    }
    p->variants = variants.at, p->nvariants = variants.n;
    p->chunks = chunks.at, p->nchunks = chunks.n;
    p->channels = channels.at, p->nchannels = channels.n;
    p->variant_of = NEW_ARRAY(a, int, s->u->funcs.n + 1);
    for (int i = 0; i < s->u->funcs.n; i++) p->variant_of[i] = -1;
    for (; accept_word(s, "task"); newline(s)) {
        int func = func_index(s);
        p->variant_of[func] = (int)after(s, "variant", 0, variants.n - 1);
    }
}

static WorkItem parse_item(Parser *s, const Pipeline *p) {
    blanks(s);
    const char *letter = peek(s) ? strchr(letters, peek(s)) : NULL;
    if (!letter) fail(s, "expected an item: F, B, I or W, chunk, '.', microbatch");
    s->p++;
    WorkItem w = {.kind = (WorkKind)(letter - letters), .chunk = (int)bounded(s, 0, p->nchunks - 1)};
    if (!accept(s, '.')) fail(s, "expected '.'");
    w.microbatch = bounded(s, 0, p->microbatches - 1);
    return w;
}

static Schedule *parse_schedule(Parser *s, const Pipeline *p) {
    Arena *a = s->u->arena;
    Schedule *out = NEW(a, Schedule);
    *out = (Schedule){.name = PIPE_FILE, .stages = p->nstages, .microbatches = p->microbatches};
    if (!accept_word(s, "file") && !schedule_find(word(s), &out->name)) fail(s, "unknown schedule");
    out->chunks = (int)after(s, "chunks", p->nchunks, p->nchunks);
    out->halves = accept_word(s, "halves");
    newline(s);
    need(s, "place");
    out->place = NEW_ARRAY(a, int, p->nchunks + 1);
    out->count = NEW_ARRAY(a, int64_t, p->nstages);
    out->items = NEW_ARRAY(a, WorkItem *, p->nstages);
    for (int c = 0; c < p->nchunks; c++) out->place[c] = (int)bounded(s, 0, p->nstages - 1);
    newline(s);
    for (int i = 0; i < p->nstages; i++) {
        Vec(WorkItem) items = {0};
        do {
            vec_push(a, &items, parse_item(s, p));
            blanks(s);
        } while (s->p < s->end && *s->p != '\n');
        newline(s);
        out->items[i] = items.at;
        out->count[i] = items.n;
    }
    return out;
}

static Step parse_step(Parser *s, const Pipeline *p) {
    Step step = {.kind = STEP_RUN};
    while (!accept_word(s, steps[step.kind]))
        if (step.kind++ == STEP_ZERO) fail(s, "expected run, send, recv, copy, wait or zero");
    if (step.kind == STEP_RUN) step.func = func_index(s);
    if (step.kind == STEP_RUN || step.kind == STEP_ZERO) step.chunk = (int)bounded(s, -1, p->nchunks - 1);
    else step.channel = (int)bounded(s, 0, p->nchannels - 1);
    if (step.kind == STEP_ZERO) return step;
    if (!accept(s, 'm')) fail(s, "expected m and a microbatch");
    step.microbatch = bounded(s, 0, p->microbatches - 1);
    if (step.kind != STEP_WAIT) step.slot = after(s, "slot", 0, INT32_MAX);
    if (step.kind == STEP_COPY) step.to_slot = after(s, "to", 0, INT32_MAX);
    return step;
}

static StepList parse_list(Parser *s, const Pipeline *p) {
    Arena *a = s->u->arena;
    StepList list = {.name = word(s)};
    list.count = NEW_ARRAY(a, int64_t, p->nstages);
    list.steps = NEW_ARRAY(a, Step *, p->nstages);
    newline(s);
    for (int i = 0; i < p->nstages; i++) {
        int64_t count = bounded(s, 0, COUNT_MAX);
        if (!accept(s, ':')) fail(s, "expected ':'");
        Vec(Step) all = {0};
        for (int64_t k = 0; k < count; k++) {
            if (k && !accept(s, ',')) fail(s, "expected ','");
            vec_push(a, &all, parse_step(s, p));
        }
        newline(s);
        list.count[i] = count;
        list.steps[i] = all.at;
    }
    return list;
}

void pipeline_parse(Parser *s) {
    Pipeline *p = NEW(s->u->arena, Pipeline);
    p->microbatches = after(s, "microbatches", 1, COUNT_MAX);
    p->nstages = (int)after(s, "stages", 1, COUNT_MAX);
    newline(s);
    parse_variants(s, p);
    if (accept_word(s, "schedule")) p->schedule = parse_schedule(s, p);
    Vec(StepList) lists = {0};
    while (accept_word(s, "steps")) vec_push(s->u->arena, &lists, parse_list(s, p));
    p->lists = lists.at;
    p->nlists = lists.n;
    s->u->pipeline = p;
}
