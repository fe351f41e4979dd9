// SPDX-License-Identifier: Apache-2.0
// What a trainer may put in the runtime's place: memory, data, messages, the loop's stops. Every call is counted.
//   hooks TEXT STEPS FOLDER
#include "expect.h"
#include "novel.h"
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

// ---- memory: each slab ends where a page begins that nobody may touch ----------------------------------------------
typedef struct Slabs {
    int taken, given, refuse; // refuse: the rank that gets none; -1: all get theirs
    int64_t bytes[NOVEL_RANKS];
    char *map[NOVEL_RANKS];
    int shift; // makes the address wrong
} Slabs;

enum { PAGE = 4096 };

static size_t room(int64_t bytes) { return ((size_t)bytes + PAGE - 1) / PAGE * PAGE; }

static void *take(void *user, int64_t bytes, int64_t alignment, int rank) {
    Slabs *s = (Slabs *)user;
    if (rank == s->refuse) return NULL;
    CHECK(rank == s->taken && rank < NOVEL_RANKS && alignment >= 16 && bytes % alignment == 0);
    char *map = (char *)mmap(NULL, room(bytes) + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mprotect(map + room(bytes), PAGE, PROT_NONE) == 0);
    memset(map, 0xff, room(bytes)); // the runtime clears what it uses
    s->taken++;
    s->bytes[rank] = bytes;
    s->map[rank] = map;
    return map + room(bytes) - bytes + s->shift;
}

static void give(void *user, void *memory, int64_t bytes, int rank) {
    Slabs *s = (Slabs *)user;
    CHECK(bytes == s->bytes[rank] && (char *)memory == s->map[rank] + room(bytes) - bytes + s->shift);
    munmap(s->map[rank], room(bytes) + PAGE);
    s->given++;
}

// ---- messages -------------------------------------------------------------------------------------------------------
typedef struct Log {
    int notes, steps, warnings;
    char all[8192];
} Log;

static void note(void *user, TgfLevel level, const char *message) {
    Log *log = (Log *)user;
    log->notes += level == TGF_NOTE;
    log->steps += level == TGF_STEP;
    log->warnings += level == TGF_WARNING;
    CHECK(!strchr(message, '\n') && *message);
    if (strlen(log->all) + strlen(message) + 2 < sizeof log->all) strcat(strcat(log->all, message), "\n");
}

// ---- data and stops -------------------------------------------------------------------------------------------------
typedef struct Trainer {
    TgfData *data;
    int batches, reports, saves;
    int64_t end, stop, fail; // no batch from step `end` on; stops after, fails in step `stop`, `fail`; -1: never
    int32_t tokens[NOVEL_TOKENS_COUNT], labels[NOVEL_LABELS_COUNT];
    float loss[64], lr[64], norm[64];
} Trainer;

static TgfStatus status(TgfCode code, const char *message) {
    TgfStatus s;
    s.code = code;
    snprintf(s.message, sizeof s.message, "%s", message);
    return s;
}

static TgfStatus next(void *user, TgfModel *model, int64_t step, int *out_stop) {
    Trainer *t = (Trainer *)user;
    novel_model m = {model};
    CHECK(step == tgf_steps(model));
    if (step == t->end) return *out_stop = 1, status(TGF_OK, "");
    if (step == t->fail) return status(TGF_IO, "the tape is torn");
    t->batches++;
    TgfStatus s = tgf_data_batch(t->data, 1, step, NOVEL_BATCH, NOVEL_SEQ, t->tokens, t->labels);
    return s.code == TGF_OK ? novel_set(m, t->tokens, t->labels) : s;
}

static TgfStatus report(void *user, TgfModel *model, const TgfProgress *p, int *out_stop) {
    Trainer *t = (Trainer *)user;
    novel_model m = {model};
    float loss = 0;
    t->reports++;
    CHECK(p->step == tgf_steps(model) && p->step < 64 && p->seconds > 0 && p->tokens_per_second > 0);
    CHECK(p->slab_bytes == NOVEL_SLAB_BYTES && p->skipped == 0);
    t->loss[p->step] = (float)p->loss;
    t->lr[p->step] = (float)p->lr;
    t->norm[p->step] = (float)p->grad_norm;
    if (p->step == t->stop) *out_stop = 1;
    return p->step % 2 ? status(TGF_OK, "") : novel_eval(m, t->tokens, t->labels, &loss);
}

static Trainer trainer_of(TgfData *data) {
    Trainer t;
    memset(&t, 0, sizeof t);
    t.data = data;
    t.end = t.stop = t.fail = -1;
    return t;
}

static void check_memory(void) {
    static Slabs slabs;
    novel_model m;
    TgfOptions o = tgf_options();
    o.allocate = take;
    FAILS(novel_open(&o, &m), TGF_INVALID, "allocate and release come together");
    o.release = give;
    o.memory_user = &slabs;
    slabs.refuse = NOVEL_RANKS - 1;
    FAILS(novel_open(&o, &m), TGF_MEMORY, "the caller's allocator has no ");
    CHECK(!m.model && slabs.taken == NOVEL_RANKS - 1 && slabs.given == slabs.taken);
    slabs.refuse = -1;
    slabs.taken = slabs.given = 0;
    slabs.shift = -8;
    FAILS(novel_open(&o, &m), TGF_INVALID, "not at a multiple of 64");
    CHECK(slabs.given == slabs.taken);
}

static void check_loop(TgfData *data, int steps, const char *folder) {
    static Slabs slabs;
    static Log log;
    static Trainer t;
    novel_model m;
    TgfOptions o = tgf_options();
    TgfLoop l = tgf_training();
    slabs.refuse = -1;
    o.seed = 1;
    o.threads = 2;
    o.allocate = take;
    o.release = give;
    o.memory_user = &slabs;
    o.log = note;
    o.log_user = &log;
    t = trainer_of(data);
    OK(novel_open(&o, &m));
    CHECK(slabs.taken == NOVEL_RANKS && strstr(log.all, "novel: opened, "));
    for (int r = 0; r < NOVEL_RANKS; r++) {
        TgfMemory memory;
        OK(tgf_memory(m.model, r, &memory));
        CHECK(memory.planned == slabs.bytes[r] && memory.slab == slabs.bytes[r]);
        printf("slab %d %lld\n", r, (long long)slabs.bytes[r]);
    }
    l.steps = steps;
    l.batch = next;
    l.on_step = report;
    l.user = &t;
    FAILS(novel_loop(m, &l), TGF_INVALID, "has no value");
    CHECK(t.batches == 1 && t.reports == 0);
    OK(novel_init(m));
    t.stop = 2; // the caller stops, goes on, has no more data, fails, and goes on
    OK(novel_loop(m, &l));
    CHECK(novel_steps(m) == 2 && t.reports == 2);
    t.end = 3;
    OK(novel_loop(m, &l));
    CHECK(novel_steps(m) == 3 && t.reports == 3);
    t.end = -1;
    t.fail = 4;
    FAILS(novel_loop(m, &l), TGF_IO, "the tape is torn");
    CHECK(novel_steps(m) == 4);
    t.fail = -1;
    l.save = folder;
    l.save_every = 5;
    OK(novel_loop(m, &l));
    CHECK(novel_steps(m) == steps && t.reports == steps && t.batches == steps + 1 && log.steps == steps);
    OK(novel_loop(m, &l)); // all done: nothing but the save
    CHECK(t.reports == steps && strstr(log.all, "saved step 5 to ") && tgf_has_checkpoint(folder));
    for (int i = 1; i <= steps; i++)
        printf("step %d %.9g %.9g %.9g\n", i, (double)t.loss[i], (double)t.lr[i], (double)t.norm[i]);
    novel_close(m);
    CHECK(slabs.given == NOVEL_RANKS && strstr(log.all, "novel: closed after step ") && !log.warnings);
    CHECK(log.notes >= 5); // opened, initialised, saved three times, closed
}

// Without callbacks: a file's batches, and bound arrays read again and again.
static void check_sources(TgfData *data, int steps) {
    static Trainer t;
    novel_model m;
    TgfOptions o = tgf_options();
    TgfLoop l = tgf_training();
    o.seed = 1;
    t = trainer_of(data);
    OK(novel_open(&o, &m));
    OK(novel_init(m));
    l.steps = steps;
    FAILS(novel_loop(m, &l), TGF_INVALID, "which is not set");
    l.data = data;
    l.on_step = report;
    l.user = &t;
    OK(novel_loop(m, &l));
    printf("data %.9g\n", (double)t.loss[steps]);
    l.batch = next;
    FAILS(novel_loop(m, &l), TGF_INVALID, "not from both");
    l.batch = NULL;
    l.data = NULL;
    l.steps = steps + 3;
    OK(novel_bind(m, t.tokens, t.labels));
    memset(t.tokens, 0, sizeof t.tokens);
    memset(t.labels, 0, sizeof t.labels);
    OK(novel_loop(m, &l));
    CHECK(t.loss[steps + 3] < t.loss[steps + 1] && t.batches == 0);
    l.size = 8;
    FAILS(novel_loop(m, &l), TGF_INVALID, "begin with tgf_training()");
    FAILS(novel_loop(m, NULL), TGF_INVALID, "loop is NULL");
    novel_close(m);
}

int main(int argc, char **argv) {
    TgfData *data;
    if (argc != 4) return 2;
    OK(tgf_data_open(argv[1], &data));
    check_memory();
    check_loop(data, atoi(argv[2]), argv[3]);
    check_sources(data, atoi(argv[2]));
    tgf_data_close(data);
    if (!expect_failures) printf("ok\n");
    return expect_failures != 0;
}
