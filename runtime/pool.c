// SPDX-License-Identifier: Apache-2.0
#include "runtime/pool.h"
#include "runtime/wait.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { RANGES = 3 }; // a thread has at most

struct Pool {
    WaitWord start;  // advanced for each job
    WaitWord finish; // advanced by whoever does a job's last range
    // The job's number (high half) and its ranges nobody has taken yet. Whoever takes one keeps the job, and so what
    // describes it, from ending.
    _Alignas(64) _Atomic uint64_t open;
    _Alignas(64) _Atomic int undone; // ranges
    int threads, spins, started;
    _Atomic bool quit;
    PoolFn *fn;
    void *context;
    int ranges;
    int64_t *bound; // range i is [bound[i], bound[i + 1])
    struct Helper {
        Pool *pool;
        int thread;
        pthread_t handle;
    } * helpers;
};

// The end of part i (from 1) of a whole cut in n.
static int64_t share(int64_t whole, int i, int n) { return whole / n * i + whole % n * i / n; }

// Takes ranges until none is left, in order. True: did the job's last one.
static bool do_ranges(Pool *p, int thread) {
    for (uint64_t open = atomic_load(&p->open);;) {
        if (!(uint32_t)open) return false;
        if (!atomic_compare_exchange_weak(&p->open, &open, open - 1)) continue;
        int i = p->ranges - (int)(uint32_t)open;
        p->fn(p->context, thread, p->bound[i], p->bound[i + 1]);
        if (atomic_fetch_sub(&p->undone, 1) == 1) return true;
        open = atomic_load(&p->open);
    }
}

static void *helper_main(void *argument) {
    struct Helper *h = argument;
    Pool *p = h->pool;
    for (uint32_t seen = 0;;) {
        wait_changed(&p->start, seen, p->spins, 0);
        seen = atomic_load(&p->start.value);
        if (p->quit) return NULL;
        if (do_ranges(p, h->thread)) wait_advance(&p->finish);
    }
}

// Large ranges first, one a thread, then small ones, which even out what the first took.
static void cut_tasks(Pool *p, int64_t tasks) {
    int64_t large = tasks - tasks / 4, at = 0;
    int small = p->threads * 2;
    p->ranges = 0;
    for (int i = 1; i <= p->threads + small; i++) {
        int64_t to =
            i <= p->threads ? share(large, i, p->threads) : large + share(tasks - large, i - p->threads, small);
        if (to == at) continue;
        p->bound[p->ranges++] = at;
        at = to;
    }
    p->bound[p->ranges] = tasks;
}

Status pool_make(int threads, bool spin, Pool **out_pool) {
    *out_pool = NULL;
    if (threads < 1 || threads > 4096) return status_make(STATUS_INVALID, "a pool of %d threads", threads);
    Pool *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
    if (!p) return status_make(STATUS_MEMORY, "no memory for a pool of %d threads", threads);
    memset(p, 0, sizeof *p);
    p->threads = threads;
    p->spins = spin ? WAIT_SPINS : 0;
    p->helpers = calloc((size_t)threads, sizeof *p->helpers);
    p->bound = calloc((size_t)threads * RANGES + 1, sizeof *p->bound);
    if (!p->helpers || !p->bound) {
        free(p->helpers);
        free(p->bound);
        free(p);
        return status_make(STATUS_MEMORY, "no memory for a pool of %d threads", threads);
    }
    for (int i = 1; i < threads; i++) {
        struct Helper *h = &p->helpers[i];
        *h = (struct Helper){.pool = p, .thread = i};
        int error = pthread_create(&h->handle, NULL, helper_main, h);
        if (error) {
            pool_free(p);
            return status_make(STATUS_IO, "cannot start thread %d of %d: %s", i, threads, strerror(error));
        }
        p->started++;
    }
    *out_pool = p;
    return status_ok();
}

void pool_free(Pool *p) {
    if (!p) return;
    p->quit = true;
    wait_advance(&p->start);
    for (int i = 1; i <= p->started; i++) pthread_join(p->helpers[i].handle, NULL);
    free(p->helpers);
    free(p->bound);
    free(p);
}

int pool_threads(const Pool *p) { return p ? p->threads : 1; }

void pool_run(Pool *p, int64_t tasks, PoolFn *fn, void *context) {
    if (!p || p->threads == 1 || tasks <= 1) {
        if (tasks > 0) fn(context, 0, 0, tasks);
        return;
    }
    uint64_t job = (atomic_load(&p->open) >> 32) + 1;
    p->fn = fn;
    p->context = context;
    cut_tasks(p, tasks);
    atomic_store(&p->undone, p->ranges);
    uint32_t seen = atomic_load(&p->finish.value);
    atomic_store(&p->open, job << 32 | (uint32_t)p->ranges);
    wait_advance(&p->start);
    if (!do_ranges(p, 0)) wait_changed(&p->finish, seen, p->spins, 0);
}
