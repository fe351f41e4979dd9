// SPDX-License-Identifier: Apache-2.0
#include "runtime/pool.h"
#include "runtime/wait.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct Pool {
    WaitWord start;                   // advanced for each job
    WaitWord finish;                  // advanced by the last helper to finish
    _Alignas(64) _Atomic int running; // helpers not yet done
    int threads, spins, started;
    bool quit;
    PoolFn *fn;
    void *context;
    int64_t tasks;
    struct Helper {
        Pool *pool;
        int thread;
        pthread_t handle;
    } * helpers;
};

static void do_part(Pool *p, int thread) {
    int64_t each = p->tasks / p->threads, extra = p->tasks % p->threads;
    int64_t begin = each * thread + (thread < extra ? thread : extra);
    int64_t end = begin + each + (thread < extra);
    if (begin < end) p->fn(p->context, thread, begin, end);
}

static void *helper_main(void *argument) {
    struct Helper *h = argument;
    Pool *p = h->pool;
    for (uint32_t seen = 0;; seen++) {
        wait_changed(&p->start, seen, p->spins, 0);
        if (p->quit) return NULL;
        do_part(p, h->thread);
        if (atomic_fetch_sub(&p->running, 1) == 1) wait_advance(&p->finish);
    }
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
    if (!p->helpers) {
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
    free(p);
}

int pool_threads(const Pool *p) { return p ? p->threads : 1; }

void pool_run(Pool *p, int64_t tasks, PoolFn *fn, void *context) {
    if (!p || p->threads == 1 || tasks <= 1) {
        if (tasks > 0) fn(context, 0, 0, tasks);
        return;
    }
    p->fn = fn;
    p->context = context;
    p->tasks = tasks;
    atomic_store(&p->running, p->threads - 1);
    uint32_t seen = atomic_load(&p->finish.value);
    wait_advance(&p->start);
    do_part(p, 0);
    wait_changed(&p->finish, seen, p->spins, 0);
}
