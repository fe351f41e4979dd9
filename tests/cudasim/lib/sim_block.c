// SPDX-License-Identifier: Apache-2.0
// Each fiber runs until it meets others (or ends) and then goes back to the scheduler, which picks the next among those
// that may go on: of the same warp for as long as it can, or any, as drawn for the block.
#include "sim_block.h"
#include "sim_fiber.h"
#include "sim_owner.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
void __asan_unpoison_memory_region(void const volatile *at, size_t bytes);
#else
#define __asan_unpoison_memory_region(at, bytes) ((void)0)
#endif

enum { STACK = 128 << 10, SHARED = 256 << 10, GUARD = 4 << 10, WARPS = SIM_MOST_THREADS / 32 };
static const uint64_t STACK_END = 0x7a6b5c4d3e2f1001u;

typedef struct Copy {
    char *to;
    const char *from;
    int size, bytes;
    int64_t group;
} Copy;

typedef struct Fiber {
    SimThread pub;
    void *sp;
    char *stack;
    int barrier; // waits there; -1: does not
    int ncopies, copies_cap;
    Copy *copies; // not performed yet
    int64_t groups;
} Fiber;

typedef struct Warp {
    uint32_t ready, done, arrived, blocked, asleep; // lanes: arrived at the warp's meeting, blocked at a barrier
    int barrier;                                    // where the blocked ones wait
    SimAction *action;
    const char *what;
    void *mine[32];
} Warp;

typedef struct Barrier {
    int count, threads;
    uint32_t waiting[WARPS];
} Barrier;

typedef struct Sim { // of one thread of the host
    const SimLaunch *launch;
    Fiber *fiber;
    Fiber *now; // NULL: the scheduler
    void *scheduler;
    char *stacks, *shared;
    SimOwners *owners; // of global memory, in this launch
    uint32_t block;
    uint64_t blocks;
    int threads, done;
    bool failed;
    char *error;
    uint64_t random;
    int at, from; // the warp that runs, and the lane that its turn begins with
    bool down;
    int stay; // 0: any warp each time; 1: mostly the same; 2, 3: the same while it can
    enum { COPY_LATE, COPY_EARLY, COPY_EITHER } copies;
    Warp warp[WARPS];
    Barrier barrier[SIM_BARRIERS];
} Sim;

static _Thread_local Sim *sim;
static pthread_key_t sim_key;
static pthread_once_t sim_once = PTHREAD_ONCE_INIT;

static void sim_free(void *p) {
    Sim *s = p;
    for (int i = 0; i < SIM_MOST_THREADS; i++) free(s->fiber[i].copies);
    owners_free(s->owners);
    munmap(s->stacks, (size_t)SIM_MOST_THREADS * STACK);
    munmap(s->shared, SHARED + 2 * GUARD);
    free(s->fiber);
    free(s);
}
static void sim_key_make(void) { pthread_key_create(&sim_key, sim_free); }

static bool sim_make(void) {
    if (sim) return true;
    pthread_once(&sim_once, sim_key_make);
    Sim *s = calloc(1, sizeof *s);
    if (!s) return false;
    s->fiber = calloc(SIM_MOST_THREADS, sizeof *s->fiber);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    s->stacks = mmap(NULL, (size_t)SIM_MOST_THREADS * STACK, PROT_READ | PROT_WRITE, flags, -1, 0);
    s->shared = mmap(NULL, SHARED + 2 * GUARD, PROT_READ | PROT_WRITE, flags, -1, 0);
    s->owners = owners_make();
    if (!s->fiber || !s->owners || s->stacks == MAP_FAILED || s->shared == MAP_FAILED) abort();
    for (int i = 0; i < SIM_MOST_THREADS; i++) {
        s->fiber[i].stack = s->stacks + (size_t)i * STACK;
        s->fiber[i].pub.number = i;
    }
    pthread_setspecific(sim_key, s);
    sim = s;
    return true;
}

// How far on from lane `from` the next ready one is.
static int pick_lane(uint32_t ready, int from, bool down) {
    uint32_t turned = from ? ready >> from | ready << (32 - from) : ready;
    int i = down ? 31 - __builtin_clz(turned) : __builtin_ctz(turned);
    return (i + from) & 31;
}

static Fiber *pick(Sim *s) { // NULL: nobody can go on
    uint64_t r = sim_random(&s->random);
    int warps = s->threads / 32;
    if (!s->stay) s->from = (int)(r & 31);
    if (!s->warp[s->at].ready || !s->stay || (s->stay == 1 && !(r >> 5 & 31))) {
        int first = (int)((r >> 32) % (uint64_t)warps), i = 0;
        while (i < warps && !s->warp[(first + i) % warps].ready) i++;
        if (i == warps) return NULL;
        s->at = (first + i) % warps;
    }
    return &s->fiber[s->at * 32 + pick_lane(s->warp[s->at].ready, s->from, s->down)];
}

// Goes on with whoever is next, or back to where the block was started from.
static void leave(Fiber *f) {
    Sim *s = sim;
    Fiber *next = s->failed ? NULL : pick(s);
    s->now = next;
    if (next != f) sim_fiber_switch(&f->sp, next ? next->sp : s->scheduler);
}

// "kernel k, block 3: WHAT"
static void set_error(const char *what) {
    if (sim->failed) return;
    const SimIndex *b = &sim->fiber[0].pub.block;
    char block[60];
    if (sim->launch->grid[1] > 1 || sim->launch->grid[2] > 1)
        snprintf(block, sizeof block, "(%u, %u, %u)", b->x, b->y, b->z);
    else snprintf(block, sizeof block, "%u", b->x);
    snprintf(sim->error, SIM_ERROR, "kernel %s, block %s: %s", sim->launch->kernel->name, block, what);
    sim->failed = true;
}

void sim_fail(const char *format, ...) {
    char what[400], text[450];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    snprintf(text, sizeof text, "thread %d: %s", sim->now->pub.number, what);
    set_error(text);
    leave(sim->now);
}

// "lanes 0-15, 17 of warp 2"
static void lanes_text(char *out, size_t size, uint32_t lanes, int warp) {
    size_t n = 0;
    const char *comma = lanes & (lanes - 1) ? "lanes " : "lane ";
    if (lanes == 0xffffffffu) {
        snprintf(out, size, "warp %d", warp);
        return;
    }
    for (int i = 0; i < 32 && n + 20 < size; i++) {
        if (!(lanes >> i & 1)) continue;
        int last = i;
        while (last < 31 && lanes >> (last + 1) & 1) last++;
        n += (size_t)snprintf(out + n, size - n, last > i ? "%s%d-%d" : "%s%d", comma, i, last);
        comma = ", ";
        i = last;
    }
    snprintf(out + n, size - n, " of warp %d", warp);
}

static void barrier_text(char *out, size_t size, int id) {
    if (id) snprintf(out, size, "sync_named(%d, %d)", id, sim->barrier[id].threads);
    else snprintf(out, size, "sync_block");
}

// Why the rest of this thread's warp cannot come to where it is; `where`: NULL when it returned.
static void check_warp(Fiber *f, Warp *w, const char *where, bool is_barrier, int id) {
    if (!w->done && !w->arrived && (!w->blocked || (is_barrier && w->barrier == id))) return;
    if (!w->done && !w->blocked && where && !is_barrier) return;
    int number = f->pub.number / 32;
    uint32_t me = 1u << f->pub.number % 32, others = 0;
    char lanes[200], at[60] = "have returned", mine[60];
    snprintf(mine, sizeof mine, where ? "is at %s" : "returns", where);
    if (w->done) others = w->done;
    else if (w->arrived && (is_barrier || !where)) others = w->arrived, snprintf(at, sizeof at, "wait at %s", w->what);
    else if (w->blocked)
        for (int l = 0; l < 32; l++) {
            int b = sim->fiber[number * 32 + l].barrier;
            if (!(w->blocked >> l & 1) || (is_barrier && b == id)) continue;
            char name[40];
            barrier_text(name, sizeof name, b);
            others |= 1u << l;
            snprintf(at, sizeof at, "wait at %s", name);
        }
    if (!others || (!where && w->done && !(w->arrived | w->blocked))) return;
    lanes_text(lanes, sizeof lanes, others & ~me, number);
    sim_fail("%s while %s %s", mine, lanes, at);
}

__attribute__((const)) static const SimThread *api_self(void) { return &sim->now->pub; }

static void api_fail(const char *what) { sim_fail("%s", what); }

static void api_touch(const void *at, long long bytes, long long align, int write) {
    char why[300];
    if ((uintptr_t)at % (uintptr_t)align)
        sim_fail("%s of %lld bytes at %p, which is not aligned to them", write ? "write" : "read", bytes, at);
    if (!sim->launch->access(sim->launch->context, (uintptr_t)at, (size_t)bytes, write, why, sizeof why))
        sim_fail("%s of %lld bytes at %p: %s", write ? "write" : "read", bytes, at, why);
    int64_t other;
    if (sim->blocks == 1 || owners_touch(sim->owners, (uintptr_t)at, (size_t)bytes, write, sim->block, &other)) return;
    if (other < 0) snprintf(why, sizeof why, "other blocks read");
    else snprintf(why, sizeof why, "block %lld touches", (long long)other);
    sim_fail("%s of %lld bytes at %p, which %s too: blocks run in no order", write ? "write" : "read", bytes, at, why);
}

static void api_touch_shared(const void *at, long long bytes, long long align) {
    uintptr_t base = (uintptr_t)sim->now->pub.shared, p = (uintptr_t)at;
    if (p % (uintptr_t)align) sim_fail("shared address %p is not aligned to %lld bytes", at, align);
    if (p < base || p + (uintptr_t)bytes > base + sim->launch->shared_bytes)
        sim_fail("address %p is outside the block's shared memory (%lld bytes past its start, which has %zu)", at,
                 (long long)(p - base), sim->launch->shared_bytes);
}

static void api_meet_warp(const char *what, SimAction *action, void *mine) {
    Fiber *f = sim->now;
    Warp *w = &sim->warp[f->pub.number / 32];
    int lane = f->pub.number % 32;
    check_warp(f, w, what, false, 0);
    if (w->arrived && (w->action != action || (w->what != what && strcmp(w->what, what)))) {
        char lanes[200];
        lanes_text(lanes, sizeof lanes, w->arrived, f->pub.number / 32);
        sim_fail("is at %s while %s wait at %s", what, lanes, w->what);
    }
    w->action = action;
    w->what = what;
    w->mine[lane] = mine;
    w->arrived |= 1u << lane;
    w->ready &= ~(1u << lane);
    if (w->arrived == 0xffffffffu) {
        w->arrived = 0;
        action(w->mine);
        w->ready = 0xffffffffu;
    }
    leave(f);
}

static void api_barrier(int id, int threads, int waits) {
    Fiber *f = sim->now;
    int number = f->pub.number / 32, lane = f->pub.number % 32;
    Warp *w = &sim->warp[number];
    Barrier *b = &sim->barrier[id];
    if (!id) threads = sim->threads;
    if (b->count && b->threads != threads)
        sim_fail("sync_named(%d, %d) while others wait there for %d threads", id, threads, b->threads);
    b->threads = threads;
    if (w->done || w->arrived || (w->blocked && w->barrier != id)) {
        char name[40];
        barrier_text(name, sizeof name, id);
        check_warp(f, w, name, true, id);
    }
    if (!id && sim->done) sim_fail("is at sync_block, and %d threads of the block have returned", sim->done);
    b->count++;
    if (waits) {
        b->waiting[number] |= 1u << lane;
        w->blocked |= 1u << lane;
        w->ready &= ~(1u << lane);
        f->barrier = w->barrier = id;
    }
    if (b->count == threads) {
        for (int i = 0; i < sim->threads / 32; i++) {
            uint32_t there = b->waiting[i];
            if (!there) continue;
            if (there != 0xffffffffu) {
                char name[40], lanes[200];
                barrier_text(name, sizeof name, id);
                lanes_text(lanes, sizeof lanes, there, i);
                sim_fail("%s is full with %s only: a warp reaches a barrier as a whole", name, lanes);
            }
            for (int l = 0; l < 32; l++) sim->fiber[i * 32 + l].barrier = -1;
            sim->warp[i].blocked = 0;
            sim->warp[i].ready = 0xffffffffu;
        }
        memset(b, 0, sizeof *b);
    }
    if (waits) leave(f);
}

static void copy_perform(const Copy *c) {
    memcpy(c->to, c->from, (size_t)c->bytes);
    memset(c->to + c->bytes, 0, (size_t)(c->size - c->bytes));
}

static void api_copy_async(char *to, const char *from, int size, int bytes) {
    Fiber *f = sim->now;
    if (bytes < 0 || bytes > size) sim_fail("copy_async%d of %d bytes", size, bytes);
    api_touch_shared(to, size, size);
    if (bytes) {
        if ((uintptr_t)from % (uintptr_t)size)
            sim_fail("copy_async%d from %p, which is not aligned", size, (void *)from);
        api_touch(from, bytes, 1, 0);
    }
    Copy c = {to, from, size, bytes, f->groups};
    if (sim->copies == COPY_EARLY || (sim->copies == COPY_EITHER && (sim_random(&sim->random) & 1))) {
        copy_perform(&c);
        return;
    }
    if (f->ncopies == f->copies_cap) {
        f->copies_cap = f->copies_cap ? 2 * f->copies_cap : 16;
        f->copies = realloc(f->copies, (size_t)f->copies_cap * sizeof *f->copies);
        if (!f->copies) abort();
    }
    f->copies[f->ncopies++] = c;
}

static void api_copy_commit(void) { sim->now->groups++; }

static void api_copy_wait(int groups) {
    Fiber *f = sim->now;
    int kept = 0;
    for (int i = 0; i < f->ncopies; i++)
        if (f->copies[i].group < f->groups - groups) copy_perform(&f->copies[i]);
        else f->copies[kept++] = f->copies[i];
    f->ncopies = kept;
}

static void api_sleep(void) {
    Fiber *f = sim->now;
    Warp *w = &sim->warp[f->pub.number / 32];
    w->ready &= ~(1u << f->pub.number % 32);
    w->asleep |= 1u << f->pub.number % 32;
    leave(f);
}

static void api_wake(void) {
    for (int i = 0; i < sim->threads / 32; i++) {
        sim->warp[i].ready |= sim->warp[i].asleep;
        sim->warp[i].asleep = 0;
    }
}

const SimApi sim_api_table = {
    api_self, api_touch, api_touch_shared, api_meet_warp, api_barrier, api_copy_async, api_copy_commit, api_copy_wait,
    api_fail, api_sleep, api_wake,         sim_mma_bf16,  sim_mma_f16, sim_mma_tf32,   sim_ldmatrix,    sim_ldmatrix_t};

static void fiber_main(void) {
    sim->launch->kernel->call(sim->launch->params);
    Fiber *f = sim->now;
    Warp *w = &sim->warp[f->pub.number / 32];
    check_warp(f, w, NULL, false, 0);
    if (sim->barrier[0].count)
        sim_fail("returns while %d threads of the block wait at sync_block", sim->barrier[0].count);
    w->done |= 1u << f->pub.number % 32;
    w->ready &= ~(1u << f->pub.number % 32);
    sim->done++;
    leave(f);
    abort();
}

// Nobody can go on, or the block ended with arrivals left at a barrier: who waits where.
static void stuck(void) {
    char text[400] = "";
    size_t n = (size_t)snprintf(text, sizeof text, sim->done == sim->threads ? "ended, but" : "nobody can go on:");
    for (int i = 0; i < SIM_BARRIERS; i++) {
        const Barrier *b = &sim->barrier[i];
        if (!b->count || n + 100 > sizeof text) continue;
        char name[40];
        barrier_text(name, sizeof name, i);
        n +=
            (size_t)snprintf(text + n, sizeof text - n, " %d of %d threads arrived at %s,", b->count, b->threads, name);
    }
    for (int i = 0; i < sim->threads / 32 && n + 120 < sizeof text; i++) {
        const Warp *w = &sim->warp[i];
        char lanes[200];
        if (w->asleep) {
            lanes_text(lanes, sizeof lanes, w->asleep, i);
            n += (size_t)snprintf(text + n, sizeof text - n, " %.60s at barrier_wait,", lanes);
        }
        if (!w->arrived) continue;
        lanes_text(lanes, sizeof lanes, w->arrived, i);
        n += (size_t)snprintf(text + n, sizeof text - n, " %.60s at %s,", lanes, w->what);
    }
    snprintf(text + n, sizeof text - n, " %d threads have returned", sim->done);
    set_error(text);
}

static unsigned long long serials;

static void block_run(char *shared) {
    Sim *s = sim;
    int warps = s->threads / 32;
    uint64_t draw = sim_random(&s->random);
    s->at = 0;
    s->from = (int)(draw & 31);
    s->down = draw >> 5 & 1;
    s->stay = (int)(draw >> 6 & 3);
    memset(s->warp, 0, sizeof s->warp);
    memset(s->barrier, 0, sizeof s->barrier);
    s->done = 0;
    memset(shared, 0xff, s->launch->shared_bytes);
    unsigned long long serial = __atomic_add_fetch(&serials, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < s->threads; i++) {
        Fiber *f = &s->fiber[i];
        f->pub.serial = serial;
        f->sp = sim_fiber_make(f->stack, STACK, fiber_main);
        f->barrier = -1;
        f->ncopies = 0;
        f->groups = 0;
    }
    for (int i = 0; i < warps; i++) s->warp[i].ready = 0xffffffffu;
    s->now = pick(s);
    sim_fiber_switch(&s->scheduler, s->now->sp);
    if (s->failed) return;
    if (s->done < s->threads) {
        stuck();
        return;
    }
    for (int i = 0; i < SIM_BARRIERS; i++)
        if (s->barrier[i].count) stuck();
}

static void check_edges(const char *shared) {
    size_t tail = SHARED - sim->launch->shared_bytes;
    if (tail > GUARD) tail = GUARD;
    for (size_t i = 0; i < tail; i++)
        if (shared[sim->launch->shared_bytes + i] != 0x5a) {
            char text[100];
            snprintf(text, sizeof text, "wrote %zu bytes behind its %zu bytes of shared memory", i,
                     sim->launch->shared_bytes);
            set_error(text);
            return;
        }
    for (int i = 0; i < sim->threads; i++)
        if (memcmp(sim->fiber[i].stack, &STACK_END, sizeof STACK_END)) set_error("a thread needs too large a stack");
}

static bool is_prime_to(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t r = a % b;
        a = b;
        b = r;
    }
    return a == 1;
}

bool sim_run(const SimLaunch *l, char *out_error) {
    size_t threads = (size_t)l->block[0] * l->block[1] * l->block[2];
    uint64_t blocks = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
    *out_error = 0;
    if (!threads || threads > SIM_MOST_THREADS || threads % 32 || threads > (size_t)l->kernel->most_threads) {
        snprintf(out_error, SIM_ERROR, "kernel %s: blocks of %zu threads; it is made for at most %d, in whole warps",
                 l->kernel->name, threads, l->kernel->most_threads);
        return false;
    }
    if (l->shared_bytes > 227 << 10) {
        snprintf(out_error, SIM_ERROR, "kernel %s: %zu bytes of shared memory", l->kernel->name, l->shared_bytes);
        return false;
    }
    if (!sim_make()) {
        snprintf(out_error, SIM_ERROR, "kernel %s: out of memory", l->kernel->name);
        return false;
    }
    Sim *s = sim;
    char *shared = s->shared + GUARD;
    s->launch = l;
    s->threads = (int)threads;
    s->failed = false;
    s->error = out_error;
    s->blocks = blocks;
    if (blocks > 1) owners_forget(s->owners);
    s->random = l->seed;
    memset(shared, 0x5a, SHARED);
    __asan_unpoison_memory_region(s->stacks, threads * STACK); // frames that were given up
    for (size_t i = 0; i < threads; i++) {
        SimThread *p = &s->fiber[i].pub;
        unsigned n = (unsigned)i;
        p->thread = (SimIndex){n % l->block[0], n / l->block[0] % l->block[1], n / l->block[0] / l->block[1]};
        p->block_dim = (SimIndex){l->block[0], l->block[1], l->block[2]};
        p->grid_dim = (SimIndex){l->grid[0], l->grid[1], l->grid[2]};
        p->shared = shared;
        p->shared_bytes = (long long)l->shared_bytes;
        memcpy(s->fiber[i].stack, &STACK_END, sizeof STACK_END);
    }
    uint64_t first = blocks ? sim_random(&s->random) % blocks : 0, step = blocks ? sim_random(&s->random) % blocks : 1;
    while (!is_prime_to(step, blocks)) step++;
    for (uint64_t i = 0; i < blocks && !s->failed; i++) {
        uint64_t n = (first + (uint64_t)((unsigned __int128)i * step % blocks)) % blocks;
        for (size_t t = 0; t < threads; t++)
            s->fiber[t].pub.block = (SimIndex){(unsigned)(n % l->grid[0]), (unsigned)(n / l->grid[0] % l->grid[1]),
                                               (unsigned)(n / l->grid[0] / l->grid[1])};
        s->block = (uint32_t)n;
        s->copies = i ? (int)(sim_random(&s->random) & 3) : COPY_LATE;
        if (s->copies == 3) s->copies = COPY_LATE;
        block_run(shared);
        s->now = NULL;
        if (!s->failed) check_edges(shared);
    }
    return !s->failed;
}
