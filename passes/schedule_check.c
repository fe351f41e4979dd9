// SPDX-License-Identifier: Apache-2.0
// The proof that a schedule can be trusted: each item once and where its chunk is, in an order that comes to its end.
#include "passes/schedule_inside.h"
#include <stdarg.h>
#include <string.h>

enum { MOST_ERRORS = 8, MOST_HOPS = 8 };

typedef struct Check {
    const Schedule *s;
    Arena *arena;
    Diag *diag;
    Loc at;
    int errors;
    int64_t *position; // by work_index: in its stage's list, or -1
} Check;

static void say(Check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(Check *c, const char *format, ...) {
    if (++c->errors > MOST_ERRORS) return;
    char text[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    diag_error(c->diag, c->at, "schedule %s: %s", schedule_name(c->s->name), text);
    if (c->errors == MOST_ERRORS) diag_note(c->diag, c->at, "more errors of this schedule are not shown");
}

#define ITEM "%c%d.%lld"
#define SHOW(w) work_letter((w).kind), (w).chunk, (long long)(w).microbatch

static void check_place(Check *c) {
    const Schedule *s = c->s;
    if (s->stages < 1 || s->chunks % s->stages) {
        say(c, "%d chunks on %d stages: chunks must be a multiple of stages", s->chunks, s->stages);
        return;
    }
    const char *why = schedule_refuses(PIPE_GPIPE, s->stages, s->chunks / s->stages, s->microbatches);
    if (why) {
        say(c, "%s", why);
        return;
    }
    int *has = NEW_ARRAY(c->arena, int, s->stages);
    for (int i = 0; i < s->chunks; i++) {
        if (s->place[i] < 0 || s->place[i] >= s->stages)
            say(c, "chunk %d is placed on stage %d; stages are 0 to %d", i, s->place[i], s->stages - 1);
        else has[s->place[i]]++;
    }
    for (int i = 0; i < s->stages && !c->errors; i++)
        if (has[i] != s->chunks / s->stages)
            say(c, "stage %d has %d chunks; every stage must have %d", i, has[i], s->chunks / s->stages);
}

static void check_items(Check *c) {
    const Schedule *s = c->s;
    for (int i = 0; i < s->stages; i++)
        for (int64_t k = 0; k < s->count[i]; k++) {
            const WorkItem w = s->items[i][k];
            const bool half = w.kind == WORK_INPUT_GRAD || w.kind == WORK_WEIGHT_GRAD;
            if (w.chunk < 0 || w.chunk >= s->chunks || w.microbatch < 0 || w.microbatch >= s->microbatches) {
                say(c, "stage %d does " ITEM ", but chunks are 0 to %d and microbatches 0 to %lld", i, SHOW(w),
                    s->chunks - 1, (long long)s->microbatches - 1);
                continue;
            }
            if (w.kind != WORK_FORWARD && half != s->halves) {
                say(c, "stage %d does " ITEM "; a schedule has either B, or I and W", i, SHOW(w));
                continue;
            }
            int64_t *position = &c->position[work_index(s, w)];
            if (s->place[w.chunk] != i)
                say(c, "stage %d does " ITEM ", but chunk %d is on stage %d", i, SHOW(w), w.chunk, s->place[w.chunk]);
            else if (*position >= 0) say(c, "stage %d does " ITEM " twice", i, SHOW(w));
            else *position = k;
        }
}

static void check_missing(Check *c) {
    static const WorkKind whole[] = {WORK_FORWARD, WORK_BACKWARD},
                          halves[] = {WORK_FORWARD, WORK_INPUT_GRAD, WORK_WEIGHT_GRAD};
    const Schedule *s = c->s;
    const WorkKind *kinds = s->halves ? halves : whole;
    for (int chunk = 0; chunk < s->chunks; chunk++)
        for (int64_t m = 0; m < s->microbatches; m++)
            for (int k = 0; k < (s->halves ? 3 : 2); k++) {
                const WorkItem w = {kinds[k], chunk, m};
                if (c->position[work_index(s, w)] < 0) say(c, "stage %d never does " ITEM, s->place[chunk], SHOW(w));
            }
}

// Within a stage: nothing before what it needs of the same stage.
static void check_order(Check *c) {
    const Schedule *s = c->s;
    for (int i = 0; i < s->stages; i++)
        for (int64_t k = 0; k < s->count[i]; k++) {
            WorkItem needs[2];
            for (int n = work_needs(s, s->items[i][k], needs); n-- > 0;)
                if (s->place[needs[n].chunk] == i && c->position[work_index(s, needs[n])] > k)
                    say(c, "stage %d does " ITEM " before " ITEM ", which it needs", i, SHOW(s->items[i][k]),
                        SHOW(needs[n]));
        }
}

// Between neighbours: what chunk `from` sends k-th, chunk `to` takes k-th.
static void check_channels(Check *c) {
    const Schedule *s = c->s;
    const int64_t m = s->microbatches;
    int64_t *order[2], *n = NEW_ARRAY(c->arena, int64_t, 2 * s->chunks);
    for (int back = 0; back < 2; back++) order[back] = NEW_ARRAY(c->arena, int64_t, s->chunks * m);
    for (int i = 0; i < s->stages; i++)
        for (int64_t k = 0; k < s->count[i]; k++) {
            const WorkItem w = s->items[i][k];
            if (w.kind == WORK_WEIGHT_GRAD) continue;
            const int back = w.kind != WORK_FORWARD;
            order[back][w.chunk * m + n[2 * w.chunk + back]++] = w.microbatch;
        }
    for (int chunk = 0; chunk + 1 < s->chunks; chunk++)
        for (int back = 0; back < 2; back++) {
            const int from = back ? chunk + 1 : chunk, to = back ? chunk : chunk + 1;
            const char letter = !back ? 'F' : s->halves ? 'I' : 'B';
            const int64_t *sent = order[back] + from * m, *taken = order[back] + to * m;
            int64_t k = 0;
            while (k < m && sent[k] == taken[k]) k++;
            if (k < m)
                say(c,
                    "stage %d does %c%d.%lld where %c%d.%lld comes next from stage %d: microbatches must go in the "
                    "same "
                    "order on both sides",
                    s->place[to], letter, to, (long long)taken[k], letter, from, (long long)sent[k], s->place[from]);
        }
}

// The first of what `w` needs that its stage has not come to.
static WorkItem missing_need(const Check *c, const int64_t *at, WorkItem w) {
    WorkItem needs[2];
    int n = work_needs(c->s, w, needs);
    for (int k = 0; k < n; k++)
        if (c->position[work_index(c->s, needs[k])] >= at[c->s->place[needs[k].chunk]]) return needs[k];
    return w;
}

static void check_deadlock(Check *c) {
    const Schedule *s = c->s;
    int64_t *at = NEW_ARRAY(c->arena, int64_t, s->stages);
    if (schedule_run(s, c->arena, NULL, NULL, at)) return;
    // Every stage that stands still waits for another that does: follow it until a stage comes again.
    int *seen = NEW_ARRAY(c->arena, int, s->stages), stage = 0, length = 0;
    while (at[stage] == s->count[stage]) stage++;
    while (seen[stage]++ < 1) stage = s->place[missing_need(c, at, s->items[stage][at[stage]]).chunk];
    const int first = stage;
    char *text = arena_printf(c->arena, "deadlock: stage %d", stage);
    do {
        const WorkItem now = s->items[stage][at[stage]], need = missing_need(c, at, now);
        const int other = s->place[need.chunk];
        const WorkItem before = s->items[other][at[other]];
        if (length < MOST_HOPS) {
            text = arena_printf(c->arena, "%s%s waits for " ITEM, text, length ? ", which" : "", SHOW(need));
            text = work_index(s, need) == work_index(s, before)
                       ? arena_printf(c->arena, "%s of stage %d", text, other)
                       : arena_printf(c->arena, "%s, which stage %d does after " ITEM, text, other, SHOW(before));
        }
        length++;
        stage = other;
    } while (stage != first);
    if (length > MOST_HOPS) text = arena_printf(c->arena, "%s, and so on round %d stages", text, length);
    say(c, "%s", text);
}

bool schedule_check(const Schedule *s, Arena *scratch, Diag *diag, Loc at) {
    Check c = {.s = s, .arena = scratch, .diag = diag, .at = at};
    check_place(&c);
    if (c.errors) return false;
    c.position = NEW_ARRAY(scratch, int64_t, work_indices(s));
    memset(c.position, -1, sizeof *c.position * (size_t)work_indices(s));
    check_items(&c);
    if (!c.errors) check_missing(&c);
    if (!c.errors) check_order(&c);
    if (!c.errors) check_channels(&c);
    if (!c.errors) check_deadlock(&c);
    return !c.errors;
}
