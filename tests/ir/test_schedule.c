// SPDX-License-Identifier: Apache-2.0
// Schedules of pipelines: what the generators make is right, takes as long and holds as much as their sources say; text
// comes back as it was; and an order that was broken is refused with the reason.
#include "ir/graph.h"
#include "ir/strategy.h"
#include "passes/schedule.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int failures, checked;

#define CHECK(good, ...)                                                                                               \
    do {                                                                                                               \
        checked++;                                                                                                     \
        if (!(good)) {                                                                                                 \
            failures++;                                                                                                \
            fprintf(stderr, "FAIL %s:%d: ", __FILE__, __LINE__);                                                       \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
        }                                                                                                              \
    } while (0)

typedef struct Bench { // an arena and what was said
    Arena *arena;
    StrTable *strs;
    char *said;
    size_t size;
    FILE *sink;
    Diag *diag;
    Loc at;
} Bench;

static void begin(Bench *b) {
    b->arena = arena_new();
    b->strs = strtable_new(b->arena);
    b->sink = open_memstream(&b->said, &b->size);
    if (!b->sink) abort();
    b->diag = diag_new(b->arena, b->sink, false);
    b->at = (Loc){str_intern(b->strs, "gpt.tgf"), 5, 9, 0};
}

static void end(Bench *b) {
    fclose(b->sink);
    free(b->said);
    arena_free(b->arena);
}

static const char *title(const Schedule *s) {
    static char text[100];
    snprintf(text, sizeof text, "%s p=%d v=%d m=%lld", schedule_name(s->name), s->stages, s->chunks / s->stages,
             (long long)s->microbatches);
    return text;
}

static char *text_of(const Schedule *s) {
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (!f) abort();
    schedule_print(s, f);
    fclose(f);
    return text;
}

static bool near(double a, double b) { return fabs(a - b) < 1e-9 * (1 + fabs(a) + fabs(b)); }

// ---- what the sources say, written here once more and independently of passes/schedule_time.c ----

static void check_time(const Schedule *s, Arena *a) {
    const double p = s->stages, v = s->chunks / s->stages, m = (double)s->microbatches;
    const ScheduleTime t = schedule_time(s, schedule_even_costs(s, a), 0, a);
    const double over = t.makespan / t.ideal - 1, bubble = 1 - t.ideal / t.makespan;
    CHECK(near(t.ideal, 3 * m), "%s: ideal %g", title(s), t.ideal);
    switch (s->name) {
    case PIPE_1F1B: CHECK(near(bubble, (p - 1) / (m + p - 1)), "%s: bubble %g", title(s), bubble); break;
    case PIPE_GPIPE:
        if (v == 1) CHECK(near(bubble, (p - 1) / (m + p - 1)), "%s: bubble %g", title(s), bubble);
        else if (m >= p) CHECK(near(over, (p - 1) / (v * m)), "%s: %g over the ideal", title(s), over);
        break;
    case PIPE_INTERLEAVED:
        if (m >= p) CHECK(near(over, (p - 1) / (v * m)), "%s: %g over the ideal", title(s), over);
        break;
    case PIPE_ZBH1:
        if (m >= p) CHECK(near(over, (p - 1) / m / 3), "%s: %g over the ideal", title(s), over);
        CHECK(over <= (p - 1) / m + 1e-9, "%s: longer than 1f1b: %g", title(s), over);
        break;
    case PIPE_ZBV: // no stage waits once it has begun; the last begins p-1 chunks' F later than the first
        if (m >= 2 * p - 1) {
            CHECK(near(t.longest, t.ideal), "%s: a stage takes %g, not %g", title(s), t.longest, t.ideal);
            CHECK(near(t.makespan, t.ideal + (p - 1) / 2), "%s: makespan %g", title(s), t.makespan);
        }
        break;
    case PIPE_FILE: break;
    }
    const char *text;
    double value;
    if (schedule_formula(s, &text, &value)) {
        double is = (s->name == PIPE_ZBV ? t.longest : t.makespan) / t.ideal - 1;
        CHECK(near(is, value), "%s: %s = %g, but it is %g", title(s), text, value, is);
    } else {
        CHECK(m < (s->name == PIPE_ZBV ? 2 * p - 1 : p), "%s: no formula", title(s));
    }
}

// (p-1)(F+I+W) and (p-1)(F+I-W), as long as W is not longer than I (Qi et al. 2023, section 2.3).
static void check_lengths(void) {
    static const double lengths[][3] = {{1, 1.2, 0.9}, {1, 1, 0.5}, {1, 1.5, 1},
                                        {2, 2, 1},     {1.2, 1, 1}, {0.5, 1, 0.25}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int p = 1; p <= 8; p++)
            for (int64_t m = p; m <= 20; m += 5)
                for (int halves = 0; halves < 2; halves++) {
                    Bench b;
                    begin(&b);
                    const double f = lengths[i][0], g = lengths[i][1], w = lengths[i][2];
                    const Schedule *s = schedule_make(b.arena, halves ? PIPE_ZBH1 : PIPE_1F1B, p, 1, m);
                    ChunkCost *costs = NEW_ARRAY(b.arena, ChunkCost, p);
                    for (int c = 0; c < p; c++) costs[c] = (ChunkCost){f, g + w, g, w};
                    const ScheduleTime t = schedule_time(s, costs, 0, b.arena);
                    const double want = (p - 1) * (f + g + (halves ? -w : w)), is = t.makespan - t.ideal;
                    CHECK(near(is, want), "%s F=%g I=%g W=%g: bubble %g, expected %g", title(s), f, g, w, is, want);
                    end(&b);
                }
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void check_memory(const Schedule *s, Arena *a) {
    const int p = s->stages, v = s->chunks / p;
    const int64_t m = s->microbatches;
    const ScheduleMemory memory = schedule_memory(s, a);
    for (int i = 0; i < p; i++) {
        const int64_t n = memory.in_flight[i];
        switch (s->name) {
        case PIPE_GPIPE: CHECK(n == m * v, "%s: stage %d has %lld", title(s), i, (long long)n); break;
        case PIPE_1F1B: CHECK(n == least(m, p - i), "%s: stage %d has %lld", title(s), i, (long long)n); break;
        case PIPE_ZBH1: CHECK(n == least(m, p), "%s: stage %d has %lld", title(s), i, (long long)n); break;
        case PIPE_ZBV:
            CHECK(m < 2 * p - 1 ? n <= least(2 * p, 2 * m) : n == 2 * p, "%s: stage %d has %lld", title(s), i,
                  (long long)n);
            break;
        case PIPE_INTERLEAVED: // a multiple of p: what warms up and one more
            if (m % p == 0 && v > 1)
                CHECK(n == least(m * v, 2 * (p - 1 - i) + (v - 1) * p + 1), "%s: stage %d has %lld", title(s), i,
                      (long long)n);
            CHECK(n <= m * v, "%s: stage %d has %lld", title(s), i, (long long)n);
            break;
        case PIPE_FILE: break;
        }
    }
    // No two microbatches of a chunk share a slot at a time, and the slots are as few as can be.
    const WorkKind last = s->halves ? WORK_WEIGHT_GRAD : WORK_BACKWARD;
    int64_t *holder = NEW_ARRAY(a, int64_t, s->chunks * m), *now = NEW_ARRAY(a, int64_t, s->chunks),
            *most = NEW_ARRAY(a, int64_t, s->chunks);
    memset(holder, -1, sizeof *holder * (size_t)(s->chunks * m));
    for (int i = 0; i < p; i++)
        for (int64_t k = 0; k < s->count[i]; k++) {
            const WorkItem w = s->items[i][k];
            const int64_t slot = memory.slot[w.chunk * m + w.microbatch];
            CHECK(slot >= 0 && slot < memory.slots[w.chunk], "%s: slot %lld", title(s), (long long)slot);
            int64_t *h = &holder[w.chunk * m + slot];
            CHECK(*h == (w.kind == WORK_FORWARD ? -1 : w.microbatch), "%s: slot %lld of chunk %d is shared", title(s),
                  (long long)slot, w.chunk);
            if (w.kind == WORK_FORWARD) {
                for (const int64_t *lower = h - slot; lower < h; lower++)
                    CHECK(*lower >= 0, "%s: slot %lld is not the lowest free", title(s), (long long)slot);
                *h = w.microbatch;
                if (++now[w.chunk] > most[w.chunk]) most[w.chunk] = now[w.chunk];
            } else if (w.kind == last) {
                *h = -1;
                now[w.chunk]--;
            }
        }
    for (int c = 0; c < s->chunks; c++)
        CHECK(memory.slots[c] == most[c] && !now[c], "%s: chunk %d has %lld slots for %lld", title(s), c,
              (long long)memory.slots[c], (long long)most[c]);
}

static void check_text(Bench *b, const Schedule *s) {
    char *text = text_of(s);
    const Schedule *back = schedule_parse(b->arena, b->diag, str_intern(b->strs, "x.sched"), text, strlen(text));
    CHECK(back, "%s: its text is not read:\n%s", title(s), text);
    if (!back) return free(text);
    char *again = text_of(back);
    CHECK(!strcmp(text, again), "%s: its text changes", title(s));
    CHECK(back->halves == s->halves, "%s: halves", title(s));
    free(text);
    free(again);
}

static void check_made(void) {
    for (int name = 0; name < PIPE_FILE; name++)
        for (int p = 1; p <= 8; p++)
            for (int v = 1; v <= 4; v++)
                for (int64_t m = 1; m <= 17; m++) {
                    Bench b;
                    begin(&b);
                    const Schedule *s = schedule_make(b.arena, (ScheduleName)name, p, v, m);
                    const char *why = schedule_refuses((ScheduleName)name, p, v, m);
                    bool any = name == PIPE_GPIPE || name == PIPE_INTERLEAVED,
                         legal = any || v == 1 + (name == PIPE_ZBV);
                    CHECK(!s == !legal && !why == legal, "%s p=%d v=%d", schedule_name((ScheduleName)name), p, v);
                    if (s) {
                        bool good = schedule_check(s, b.arena, b.diag, b.at);
                        fflush(b.sink);
                        CHECK(good && !*b.said, "%s: %s", title(s), b.said);
                        if (good) {
                            check_time(s, b.arena);
                            check_memory(s, b.arena);
                            check_text(&b, s);
                        }
                    }
                    end(&b);
                }
}

// ---- broken orders ----

static WorkItem *find(Schedule *s, int stage, const char *item) {
    for (int64_t k = 0; k < s->count[stage]; k++) {
        char text[32];
        const WorkItem w = s->items[stage][k];
        snprintf(text, sizeof text, "%c%d.%lld", work_letter(w.kind), w.chunk, (long long)w.microbatch);
        if (!strcmp(text, item)) return &s->items[stage][k];
    }
    fprintf(stderr, "no %s on stage %d\n", item, stage);
    abort();
}

static void swap(Schedule *s, int stage, const char *a, const char *b) {
    WorkItem *x = find(s, stage, a), *y = find(s, stage, b), t = *x;
    *x = *y;
    *y = t;
}

static void drop(Schedule *s, int stage, const char *item) {
    WorkItem *w = find(s, stage, item), *last = &s->items[stage][--s->count[stage]];
    memmove(w, w + 1, (size_t)(last - w) * sizeof *w);
}

static void put(Bench *b, Schedule *s, int stage, WorkItem w) {
    WorkItem *items = NEW_ARRAY(b->arena, WorkItem, s->count[stage] + 1);
    memcpy(items, s->items[stage], (size_t)s->count[stage] * sizeof *items);
    items[s->count[stage]++] = w;
    s->items[stage] = items;
}

static void move(Schedule *s, int stage, const char *item, const char *before) {
    WorkItem *from = find(s, stage, item), *to = find(s, stage, before), w = *from;
    memmove(to + 1, to, (size_t)(from - to) * sizeof w);
    *to = w;
}

typedef void Breaker(Bench *b, Schedule *s);

static void refused(ScheduleName name, int p, int v, int64_t m, Breaker *breaker, const char *want) {
    Bench b;
    begin(&b);
    Schedule *s = schedule_make(b.arena, name, p, v, m);
    breaker(&b, s);
    bool good = schedule_check(s, b.arena, b.diag, b.at);
    fflush(b.sink);
    CHECK(!good && diag_errors(b.diag), "%s: not refused, expected '%s'", title(s), want);
    CHECK(strstr(b.said, want) && strstr(b.said, "gpt.tgf:5:9: error: schedule "), "%s: said '%s', expected '%s'",
          title(s), b.said, want);
    end(&b);
}

static void late_forward(Bench *b, Schedule *s) { (void)b, swap(s, 1, "F1.0", "B1.0"); }
static void dropped(Bench *b, Schedule *s) { (void)b, drop(s, 2, "B2.3"); }
static void dropped_half(Bench *b, Schedule *s) { (void)b, drop(s, 2, "W2.3"); }
static void twice(Bench *b, Schedule *s) { put(b, s, 1, (WorkItem){WORK_BACKWARD, 1, 3}); }
static void elsewhere(Bench *b, Schedule *s) {
    drop(s, 1, "B1.3");
    put(b, s, 0, (WorkItem){WORK_BACKWARD, 1, 3});
}
static void beyond(Bench *b, Schedule *s) { put(b, s, 0, (WorkItem){WORK_FORWARD, 0, 8}); }
static void mixed(Bench *b, Schedule *s) { put(b, s, 0, (WorkItem){WORK_WEIGHT_GRAD, 0, 0}); }
static void half_first(Bench *b, Schedule *s) { (void)b, swap(s, 3, "I3.0", "W3.0"); }
static void misplaced(Bench *b, Schedule *s) { (void)b, s->place[2] = 4; }
static void crowded(Bench *b, Schedule *s) { (void)b, s->place[2] = 1; }
static void none(Bench *b, Schedule *s) { (void)b, s->microbatches = 0; }
// Stage 1 takes microbatch 1 before 0, forward and backward, which stages 0 and 2 do not.
static void overtaking(Bench *b, Schedule *s) { (void)b, swap(s, 1, "F1.0", "F1.1"); }
static void overtaking_back(Bench *b, Schedule *s) { (void)b, swap(s, 0, "B0.6", "B0.7"); }
// Stage 0 wants a gradient before it has sent what stage 1 does before.
static void too_few_ahead(Bench *b, Schedule *s) { (void)b, move(s, 0, "B0.0", "F0.1"); }
static void interleaved_ahead(Bench *b, Schedule *s) { (void)b, move(s, 0, "B4.0", "F4.3"); }
static void interleaved_order(Bench *b, Schedule *s) { (void)b, swap(s, 1, "F5.0", "F5.1"); }
static void zbv_turn(Bench *b, Schedule *s) { (void)b, swap(s, 3, "F3.0", "F4.0"); }
static void zbv_ahead(Bench *b, Schedule *s) { (void)b, move(s, 0, "I0.0", "F0.6"); }
static void zbv_weight(Bench *b, Schedule *s) { (void)b, move(s, 1, "W6.2", "I6.2"); }
// Stage 0 wants what comes round all other stages first.
static void round_all(Bench *b, Schedule *s) { (void)b, swap(s, 0, "F0.0", "F16.0"); }

static void check_refused(void) {
    refused(PIPE_1F1B, 4, 1, 8, late_forward, "stage 1 does B1.0 before F1.0, which it needs");
    refused(PIPE_1F1B, 4, 1, 8, dropped, "stage 2 never does B2.3");
    refused(PIPE_ZBH1, 4, 1, 8, dropped_half, "stage 2 never does W2.3");
    refused(PIPE_GPIPE, 4, 1, 8, twice, "stage 1 does B1.3 twice");
    refused(PIPE_GPIPE, 4, 1, 8, elsewhere, "stage 0 does B1.3, but chunk 1 is on stage 1");
    refused(PIPE_1F1B, 4, 1, 8, beyond, "stage 0 does F0.8, but chunks are 0 to 3 and microbatches 0 to 7");
    refused(PIPE_1F1B, 4, 1, 8, mixed, "stage 0 does W0.0; a schedule has either B, or I and W");
    refused(PIPE_ZBH1, 4, 1, 8, half_first, "stage 3 does W3.0 before I3.0, which it needs");
    refused(PIPE_1F1B, 4, 1, 8, misplaced, "chunk 2 is placed on stage 4; stages are 0 to 3");
    refused(PIPE_1F1B, 4, 1, 8, crowded, "stage 1 has 2 chunks; every stage must have 1");
    refused(PIPE_1F1B, 4, 1, 8, none, "at least one stage, one chunk a stage and one microbatch");
    refused(PIPE_1F1B, 4, 1, 8, overtaking,
            "stage 1 does F1.1 where F0.0 comes next from stage 0: microbatches must go in the same order");
    refused(PIPE_GPIPE, 4, 1, 8, overtaking_back, "stage 0 does B0.7 where B1.6 comes next from stage 1");
    refused(PIPE_1F1B, 4, 1, 8, too_few_ahead,
            "deadlock: stage 0 waits for B1.0, which stage 1 does after F1.1, which waits for F0.1, which stage 0 does "
            "after B0.0");
    refused(PIPE_INTERLEAVED, 16, 2, 1, round_all,
            "deadlock: stage 0 waits for F15.0 of stage 15, which waits for F14.0 of stage 14, which waits for F13.0");
    refused(PIPE_INTERLEAVED, 16, 2, 1, round_all, "F8.0 of stage 8, and so on round 16 stages");
    refused(PIPE_INTERLEAVED, 4, 2, 8, interleaved_order, "stage 1 does F5.1 where F4.0 comes next from stage 0");
    refused(PIPE_INTERLEAVED, 4, 2, 8, interleaved_ahead,
            "deadlock: stage 0 waits for B5.0, which stage 1 does after F5.3, which waits for F4.3, which stage 0 does "
            "after B4.0");
    refused(PIPE_ZBV, 4, 2, 8, zbv_turn, "stage 3 does F4.0 before F3.0, which it needs");
    refused(PIPE_ZBV, 4, 2, 8, zbv_weight, "stage 1 does W6.2 before I6.2, which it needs");
    refused(PIPE_ZBV, 4, 2, 8, zbv_ahead,
            "deadlock: stage 0 waits for I1.0, which stage 1 does after I6.0, which waits for I7.0, which stage 0 does "
            "after I0.0");
}

// ---- orders at random: the checker against stages that really pass messages ----

typedef struct Queue { // one direction between two chunks
    int64_t *at, n, taken;
} Queue;

// Every stage does its items in order, taking what it needs from the front of a queue. True when all end, every message
// is the microbatch that the item wants, and every chunk did all its work.
static bool runs(const Schedule *s, Arena *a) {
    const int64_t m = s->microbatches, all = s->chunks * m;
    Queue *queues = NEW_ARRAY(a, Queue, 2 * (s->chunks + 1));
    for (int q = 0; q < 2 * (s->chunks + 1); q++) queues[q].at = NEW_ARRAY(a, int64_t, 4 * all);
    int64_t *next = NEW_ARRAY(a, int64_t, s->stages), *did[4];
    for (int kind = 0; kind < 4; kind++) did[kind] = NEW_ARRAY(a, int64_t, all);
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < s->stages; i++) {
            if (next[i] == s->count[i]) continue;
            const WorkItem w = s->items[i][next[i]];
            const int64_t at = w.chunk * m + w.microbatch;
            const bool forward = w.kind == WORK_FORWARD, weight = w.kind == WORK_WEIGHT_GRAD;
            if (s->place[w.chunk] != i || did[w.kind][at]) return false;
            if (weight ? !did[WORK_INPUT_GRAD][at] : !forward && !did[WORK_FORWARD][at])
                return false; // its own stage's
            if (!weight && (forward ? w.chunk > 0 : w.chunk + 1 < s->chunks)) {
                Queue *q = forward ? &queues[2 * w.chunk] : &queues[2 * w.chunk + 3];
                if (q->taken == q->n) continue; // waits
                if (q->at[q->taken++] != w.microbatch) return false;
            }
            if (!weight) {
                Queue *q = forward ? &queues[2 * w.chunk + 2] : &queues[2 * w.chunk + 1];
                q->at[q->n++] = w.microbatch;
            }
            did[w.kind][at] = 1;
            next[i]++;
            moved = true;
        }
    }
    for (int i = 0; i < s->stages; i++)
        if (next[i] < s->count[i]) return false;
    for (int64_t k = 0; k < all; k++)
        if (!did[0][k] || (s->halves ? !did[2][k] || !did[3][k] : !did[1][k])) return false;
    return true;
}

static int64_t draw(uint64_t *seed, int64_t below) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((*seed >> 33) % (uint64_t)below);
}

static void check_random(void) {
    uint64_t seed = 1;
    int legal = 0, count = 6000;
    for (int n = 0; n < count; n++) {
        Bench b;
        begin(&b);
        const ScheduleName name = (ScheduleName)draw(&seed, PIPE_FILE);
        const int v = name == PIPE_ZBV                                 ? 2
                      : name == PIPE_GPIPE || name == PIPE_INTERLEAVED ? 1 + (int)draw(&seed, 3)
                                                                       : 1;
        Schedule *s = schedule_make(b.arena, name, 1 + (int)draw(&seed, 4), v, 1 + draw(&seed, 5));
        for (int k = 1 + (int)draw(&seed, 2); k > 0; k--) { // items moved or replaced by another
            const int i = (int)draw(&seed, s->stages), j = draw(&seed, 8) ? i : (int)draw(&seed, s->stages);
            const int64_t from = draw(&seed, s->count[i]), near = draw(&seed, 4);
            int64_t to = draw(&seed, 2) ? draw(&seed, s->count[j]) : from + near;
            if (to >= s->count[j]) to = s->count[j] - 1;
            const WorkItem w = s->items[i][from];
            if (draw(&seed, 16)) s->items[i][from] = s->items[j][to];
            s->items[j][to] = w;
        }
        const bool said = schedule_check(s, b.arena, b.diag, b.at), is = runs(s, b.arena);
        fflush(b.sink);
        char *text = said == is ? NULL : text_of(s);
        CHECK(said == is, "%s: the check says %d %s, running it says %d\n%s", title(s), said, b.said, is, text);
        free(text);
        legal += is;
        end(&b);
    }
    CHECK(legal > count / 20 && legal < count / 2, "%d of %d orders are legal: too few of one kind", legal, count);
    printf("%d orders changed at random, %d of them still legal\n", count, legal);
}

// One stage may go backward in any order: slots come free out of order.
static void check_slots(void) {
    Bench b;
    begin(&b);
    Schedule *s = schedule_make(b.arena, PIPE_GPIPE, 1, 1, 40);
    s->name = PIPE_FILE;
    WorkItem *back = s->items[0] + 20; // behind 20 forward: these backward in another order, then 20 more forward
    for (int k = 0; k < 20; k++) back[k] = (WorkItem){WORK_BACKWARD, 0, (k * 7 + 3) % 20};
    for (int k = 20; k < 40; k++) back[k] = (WorkItem){WORK_FORWARD, 0, k};
    CHECK(schedule_check(s, b.arena, b.diag, b.at), "backward in any order");
    check_memory(s, b.arena);
    const int64_t slots = schedule_memory(s, b.arena).slots[0];
    CHECK(slots == 20, "20 in flight, but %lld slots", (long long)slots);
    end(&b);
}

// ---- text ----

static void unread(const char *text, const char *want) {
    Bench b;
    begin(&b);
    const Schedule *s = schedule_parse(b.arena, b.diag, str_intern(b.strs, "x.sched"), text, strlen(text));
    fflush(b.sink);
    CHECK(!s && strstr(b.said, want), "read '%s': said '%s', expected '%s'", text, b.said, want);
    end(&b);
}

#define HEAD "schedule 1f1b stages 2 chunks 2 microbatches 3\n"
#define PLACE "place 0 1\n"

static void check_reading(void) {
    Bench b;
    begin(&b);
    const char *text = "# by hand\n\n  schedule file stages 2 chunks 2 microbatches 3 # of three\n" PLACE
                       "0: F0.0 F0.1 B0.0\n1: F1.0 B1.0 F1.1\n0:F0.2 B0.1\tB0.2\r\n1: B1.1 F1.2 B1.2";
    const Schedule *s = schedule_parse(b.arena, b.diag, str_intern(b.strs, "x.sched"), text, strlen(text));
    CHECK(s && schedule_check(s, b.arena, b.diag, b.at) && s->name == PIPE_FILE, "a file by hand is not read");
    end(&b);
    unread("", "x.sched:1:1: error: the file has no schedule");
    unread("# nothing\n", "the file has no schedule");
    unread("pipeline 1f1b\n", "x.sched:1:1: error: expected 'schedule NAME");
    unread("schedule 2f2b stages 2 chunks 2 microbatches 3\n" PLACE, "x.sched:1:10: error: '2f2b' is no schedule");
    unread("schedule 1f1b stages 2 pieces 2 microbatches 3\n", "x.sched:1:24: error: expected 'chunks', not 'pieces'");
    unread("schedule 1f1b stages two chunks 2 microbatches 3\n", "expected stages, a number, not 'two'");
    unread("schedule 1f1b stages 2 chunks 3 microbatches 3\n", "chunks (3) must be a multiple of stages (2)");
    unread("schedule 1f1b stages 0 chunks 0 microbatches 3\n", "must be a multiple of stages (0)");
    unread("schedule 1f1b stages 2 chunks 2 microbatches 0\n", "at least one");
    unread("schedule 1f1b stages 2 chunks 2 microbatches 999999999\n", "too large");
    unread("schedule 1f1b stages 2 chunks 2 microbatches 99999999999999999999\n", "a number");
    unread(HEAD, "expected 'place'");
    unread(HEAD "place 0\n", "x.sched:2:8: error: expected a chunk's stage, a number, not ''");
    unread(HEAD "place 0 2\n", "x.sched:2:9: error: a chunk's stage is 2, more than 1");
    unread(HEAD "place 0 1 0\n", "x.sched:2:11: error: expected the end of the line");
    unread(HEAD PLACE "2: F0.0\n", "x.sched:3:1: error: stages are 0 to 1");
    unread(HEAD PLACE "F0.0\n", "x.sched:3:1: error: expected 'STAGE: items', not 'F0.0'");
    unread(HEAD PLACE "0: F0.0 G0.1\n", "x.sched:3:9: error: expected an item");
    unread(HEAD PLACE "0: F0.\n", "x.sched:3:4: error: expected an item");
    unread(HEAD PLACE "0: F0.0.0\n", "x.sched:3:4: error: expected an item");
    unread(HEAD PLACE "0: F2.0\n", "x.sched:3:4: error: 'F2.0': chunks are 0 to 1");
    unread(HEAD PLACE "0: F0.3\n", "x.sched:3:4: error: 'F0.3': microbatches are 0 to 2");
}

// ---- of a strategy ----

static Strategy strategy(Bench *b, ScheduleName name, int64_t stages, int chunks, int64_t microbatches) {
    Strategy s = {.name = "pp",
                  .pipe = 1,
                  .schedule = name,
                  .chunks = chunks,
                  .microbatches = microbatches,
                  .pipe_loc = {str_intern(b->strs, "gpt.tgf"), 5, 9, 0}};
    Axis *layer = NEW(b->arena, Axis);
    *layer = (Axis){.name = "layer", .extent = 12};
    s.pipe_axis = layer;
    s.mesh.n = 2;
    s.mesh.axis[0].extent = 2;
    s.mesh.axis[1].extent = stages;
    return s;
}

static void check_strategy(void) {
    Bench b;
    begin(&b);
    Strategy st = strategy(&b, PIPE_INTERLEAVED, 4, 2, 6);
    const Schedule *s = schedule_of_strategy(&st, b.arena, b.arena, b.diag);
    CHECK(s && s->name == PIPE_INTERLEAVED && s->stages == 4 && s->chunks == 8 && s->microbatches == 6, "interleaved");
    st.pipe_axis = NULL; // gradient accumulation
    st.schedule = PIPE_1F1B;
    st.chunks = 0;
    s = schedule_of_strategy(&st, b.arena, b.arena, b.diag);
    CHECK(s && s->stages == 1 && s->count[0] == 12 && schedule_memory(s, b.arena).slots[0] == 1, "accumulation");
    st = strategy(&b, PIPE_ZBV, 4, 1, 6);
    s = schedule_of_strategy(&st, b.arena, b.arena, b.diag);
    fflush(b.sink);
    CHECK(!s && strstr(b.said, "gpt.tgf:5:9: error: zbv has two chunks a stage: write chunks = 2"), "said %s", b.said);

    char folder[] = "/tmp/tgf-schedule-XXXXXX", path[64], model[64];
    CHECK(mkdtemp(folder), "no folder");
    snprintf(path, sizeof path, "%s/own.sched", folder);
    snprintf(model, sizeof model, "%s/gpt.tgf", folder);
    FILE *f = fopen(path, "w");
    if (!f) abort();
    fputs("schedule file stages 2 chunks 2 microbatches 2\nplace 1 0\n1: F0.0 F0.1 B0.0 B0.1\n0: F1.0 B1.0 F1.1 B1.1\n",
          f);
    fclose(f);
    st = strategy(&b, PIPE_FILE, 2, 1, 2);
    st.schedule_file = "own.sched"; // beside the model
    st.pipe_loc.file = str_intern(b.strs, model);
    s = schedule_of_strategy(&st, b.arena, b.arena, b.diag);
    fflush(b.sink);
    CHECK(s && s->name == PIPE_FILE && s->place[0] == 1, "a file: %s", b.said);
    st.chunks = 0; // as the file says
    CHECK(schedule_of_strategy(&st, b.arena, b.arena, b.diag), "chunks as the file says");
    st.nstages = 3;
    s = schedule_of_strategy(&st, b.arena, b.arena, b.diag);
    fflush(b.sink);
    CHECK(!s && strstr(b.said, "'stages' has 3 numbers; schedule"), "%s", b.said);
    st.nstages = 0;
    st.chunks = 1;
    st.microbatches = 3;
    s = schedule_of_strategy(&st, b.arena, b.arena, b.diag);
    fflush(b.sink);
    CHECK(!s &&
              strstr(b.said, "is of 2 stages, 2 chunks and 2 microbatches; the strategy has 2 stages, 2 chunks and 3"),
          "%s", b.said);
    f = fopen(path, "w");
    if (!f) abort();
    fputs("schedule file stages 2 chunks 2 microbatches 2\nplace 1 0\n1: F0.0 F0.1 B0.0\n0: F1.0 B1.0 F1.1 B1.1\n", f);
    fclose(f);
    s = schedule_of_strategy(&st, b.arena, b.arena, b.diag);
    fflush(b.sink);
    CHECK(!s && strstr(b.said, "gpt.tgf:5:9: error: schedule file: stage 1 never does B0.1"), "%s", b.said);
    unlink(path);
    s = schedule_of_strategy(&st, b.arena, b.arena, b.diag);
    fflush(b.sink);
    CHECK(!s && strstr(b.said, "own.sched': No such file or directory"), "%s", b.said);
    rmdir(folder);
    end(&b);
}

// A trillion parameters' pipeline: made, checked and measured in a moment (processor time; the limit is loose).
static void check_scale(void) {
    Bench b;
    begin(&b);
    clock_t began = clock();
    const Schedule *s = schedule_make(b.arena, PIPE_INTERLEAVED, 64, 2, 512);
    bool good = s && schedule_check(s, b.arena, b.diag, b.at);
    double took = (double)(clock() - began) / CLOCKS_PER_SEC;
    CHECK(good, "64 stages, 2 chunks, 512 microbatches");
    if (good) {
        check_time(s, b.arena);
        check_memory(s, b.arena);
    }
    CHECK(took < 0.5, "made and checked in %g s", took);
    printf("64 stages, 2 chunks, 512 microbatches: made and checked in %.1f ms\n", 1e3 * took);
    end(&b);
}

int main(void) {
    check_made();
    check_lengths();
    check_refused();
    check_random();
    check_slots();
    check_reading();
    check_strategy();
    check_scale();
    printf("%d checks, %d failures\n", checked, failures);
    return failures ? 1 : 0;
}
