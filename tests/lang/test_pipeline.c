// SPDX-License-Identifier: Apache-2.0
// The pipeline pass: GPT-2 cut into tasks by every schedule, for many numbers of stages, chunks and microbatches. What
// is sent over each boundary is counted; step lists that are broken on purpose (a message dropped, swapped, of another
// microbatch, a task skipped, done twice or in another slot, a wait left out) are each refused by pipeline_check.
#include "ir/pipeline.h"
#include "passes/pipeline.h"
#include "world.h"
#include <stdlib.h>
#include <string.h>

static int failures, cuts, faults;

#define CHECK(condition, ...)                                                                                          \
    ((condition) ? (void)0 : (printf("FAIL %s: ", #condition), printf(__VA_ARGS__), (void)failures++))

static World *compile(const char *lines) {
    FrontendDefine defines[] = {{"layer", 8}, {"head", 2}, {"dim", 4}, {"seq", 8}, {"vocab", 19}, {"batch", 24}};
    return world_make(lines, defines, sizeof defines / sizeof *defines, "pipeline");
}

static StepList *list_of(const Unit *u, const char *name) {
    for (int i = 0; i < u->pipeline->nlists; i++)
        if (!strcmp(u->pipeline->lists[i].name, name)) return &u->pipeline->lists[i];
    return NULL;
}

// ---- every schedule -------------------------------------------------------------------------------------------------

// Of messages that carry what the layers carry: each microbatch crosses each boundary between chunks once forward and
// once backward; boundaries within a stage are copies.
static void check_messages(const Unit *u, const char *lines) {
    const Pipeline *p = u->pipeline;
    const StepList *train = list_of(u, "train");
    int64_t moved = 0;
    for (int i = 0; i < p->nstages; i++)
        for (int64_t k = 0; k < train->count[i]; k++) {
            const Step *s = &train->steps[i][k];
            if (s->kind != STEP_SEND && s->kind != STEP_COPY) continue;
            const char *name = p->channels[s->channel].from_buffer;
            moved += strstr(name, ".act") || strstr(name, ".grad");
        }
    int64_t want = 2 * (p->nchunks - 1) * p->microbatches;
    CHECK(moved == want, "%s: %lld messages, expected %lld\n", lines, (long long)moved, (long long)want);
}

static void check_layers(const Unit *u, const char *lines) {
    const Pipeline *p = u->pipeline;
    int64_t at = 0;
    for (int i = 0; i < p->nchunks; i++) {
        CHECK(p->chunks[i].first == at && p->chunks[i].layers > 0, "%s: chunk %d\n", lines, i);
        at += p->chunks[i].layers;
    }
    CHECK(at == 8, "%s: %lld layers of 8\n", lines, (long long)at);
}

static void try_schedule(const char *name, int stages, int chunks, int microbatches) {
    Arena *a = arena_new();
    const char *lines =
        arena_printf(a, "mesh pipe = %d\n split layer over pipe schedule = %s, microbatches = %d, chunks = %d", stages,
                     name, microbatches, chunks);
    World *w = compile(lines);
    CHECK(w->u != NULL, "%s\n%s\n", lines, w->said);
    if (w->u && stages > 1) {
        check_messages(w->u, lines);
        check_layers(w->u, lines);
        cuts++;
    }
    world_end(w);
    arena_free(a);
}

static void try_schedules(void) {
    static const int counts[] = {1, 2, 3, 5, 8};
    for (int stages = 2; stages <= 4; stages++)
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            try_schedule("1f1b", stages, 1, counts[k]);
            try_schedule("gpipe", stages, 1, counts[k]);
            try_schedule("zbh1", stages, 1, counts[k]);
            try_schedule("zbv", stages, 2, counts[k]);
            try_schedule("interleaved", stages, 2, counts[k]);
        }
}

// ---- broken lists ---------------------------------------------------------------------------------------------------

static int64_t find(const StepList *l, int stage, StepKind kind, int64_t nth) {
    for (int64_t k = 0; k < l->count[stage]; k++)
        if (l->steps[stage][k].kind == kind && nth-- == 0) return k;
    return -1;
}

static void drop(StepList *l, int stage, int64_t at) {
    memmove(&l->steps[stage][at], &l->steps[stage][at + 1], sizeof(Step) * (size_t)(l->count[stage] - at - 1));
    l->count[stage]--;
}

static void swap(Step *x, Step *y) {
    Step t = *x;
    *x = *y;
    *y = t;
}

// A wait in front of a send that uses the same buffer again.
static int64_t find_needed_wait(const StepList *l, int stage) {
    for (int64_t k = 0; k < l->count[stage]; k++)
        for (int64_t j = k + 1; l->steps[stage][k].kind == STEP_WAIT && j < l->count[stage]; j++)
            if (l->steps[stage][j].kind == STEP_SEND && l->steps[stage][j].channel == l->steps[stage][k].channel)
                return k;
    return -1;
}

typedef enum Fault {
    DROP_SEND,
    DROP_RECV,
    SWAP_RECVS,
    WRONG_MICROBATCH,
    WRONG_SLOT,
    SKIP_TASK,
    DOUBLE_TASK,
    DROP_WAIT,
    SWAP_MEETINGS,
    EARLY_TASK,
    FAULTS
} Fault;

static bool seed(StepList *l, Fault f, Arena *a) {
    int64_t x, y;
    switch (f) {
    case DROP_SEND:
        if ((x = find(l, 0, STEP_SEND, 1)) >= 0) drop(l, 0, x);
        return x >= 0;
    case DROP_RECV:
        if ((x = find(l, 1, STEP_RECV, 1)) >= 0) drop(l, 1, x);
        return x >= 0;
    case SWAP_RECVS:
        x = find(l, 1, STEP_RECV, 0);
        y = find(l, 1, STEP_RECV, 1);
        if (x >= 0 && y >= 0) swap(&l->steps[1][x], &l->steps[1][y]);
        return x >= 0 && y >= 0;
    case WRONG_MICROBATCH:
        if ((x = find(l, 0, STEP_SEND, 0)) >= 0) l->steps[0][x].microbatch++;
        return x >= 0;
    case WRONG_SLOT:
        for (x = 0; x < l->count[0]; x++)
            if (l->steps[0][x].kind == STEP_RUN && l->steps[0][x].slot > 0) {
                l->steps[0][x].slot--;
                return true;
            }
        return false;
    case SKIP_TASK:
    case DOUBLE_TASK:
        for (x = l->count[1] - 1; x >= 0; x--) // of the main loop: microbatches above 0
            if (l->steps[1][x].kind == STEP_RUN && l->steps[1][x].microbatch > 0) break;
        if (x < 0) return false;
        if (f == SKIP_TASK) {
            drop(l, 1, x);
            return true;
        }
        Step *longer = NEW_ARRAY(a, Step, l->count[1] + 1);
        memcpy(longer, l->steps[1], sizeof(Step) * (size_t)(x + 1));
        memcpy(longer + x + 1, l->steps[1] + x, sizeof(Step) * (size_t)(l->count[1] - x));
        l->steps[1] = longer;
        l->count[1]++;
        return true;
    case DROP_WAIT:
        if ((x = find_needed_wait(l, 0)) >= 0) drop(l, 0, x);
        return x >= 0;
    case SWAP_MEETINGS:
        x = y = -1;
        for (int64_t k = 0; k < l->count[0]; k++)
            if (l->steps[0][k].kind == STEP_RUN && l->steps[0][k].chunk < 0) x = y, y = k;
        if (x >= 0) swap(&l->steps[0][x], &l->steps[0][y]);
        return x >= 0;
    case EARLY_TASK: // a task in front of the message it needs
        x = find(l, 1, STEP_RECV, 1);
        if (x < 0 || l->steps[1][x + 1].kind != STEP_RUN) return false;
        swap(&l->steps[1][x], &l->steps[1][x + 1]);
        return true;
    case FAULTS: break;
    }
    return false;
}

static const char *const fault_names[] = {"drop_send", "drop_recv",   "swap_recvs", "wrong_microbatch", "wrong_slot",
                                          "skip_task", "double_task", "drop_wait",  "swap_meetings",    "early_task"};

static void try_faults(const char *schedule) {
    for (Fault f = 0; f < FAULTS; f++) {
        Arena *a = arena_new();
        World *w =
            compile(arena_printf(a, "mesh pipe = 2\n split layer over pipe schedule = %s, microbatches = 6", schedule));
        StepList *train = w->u ? list_of(w->u, "train") : NULL;
        CHECK(train && pipeline_check(w->u, train), "%s: %s\n", schedule, w->said);
        if (train && seed(train, f, a)) {
            faults++;
            CHECK(!pipeline_check(w->u, train), "%s, %s: not caught\n", schedule, fault_names[f]);
        } else {
            CHECK(f == SWAP_RECVS || f == DROP_WAIT || f == EARLY_TASK || f == WRONG_SLOT || f == DROP_SEND,
                  "%s: no place for %s\n", schedule, fault_names[f]);
        }
        world_end(w);
        arena_free(a);
    }
}

int main(void) {
    try_schedules();
    static const char *const all[] = {"1f1b", "gpipe", "interleaved", "zbh1", "zbv"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) try_faults(all[i]);
    printf("%d cuts, %d faults in step lists, %d failures\n", cuts, faults, failures);
    return failures != 0;
}
