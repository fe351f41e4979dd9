// SPDX-License-Identifier: Apache-2.0
// The pool: every task once, in ranges that are the same every time and balance; a thread is in one range at a time; a
// thread held up leaves its share to the others; many short jobs in a row.
#include "check.h"
#include "runtime/pool.h"
#include <sched.h>
#include <stdatomic.h>

enum { TASKS = 1000 };

typedef struct Seen {
    int count[TASKS];
    int64_t begin[TASKS]; // of the range the task was in
    _Atomic int inside[16];
    _Atomic int bad;
} Seen;

static void mark(void *context, int thread, int64_t begin, int64_t end) {
    Seen *s = context;
    if (atomic_fetch_add(&s->inside[thread], 1) || begin >= end) s->bad = 1;
    for (int64_t i = begin; i < end; i++) {
        s->count[i]++;
        s->begin[i] = begin;
    }
    atomic_fetch_sub(&s->inside[thread], 1);
}

// The first range lasts until all others are done.
typedef struct Held {
    _Atomic int64_t done;
    int64_t tasks;
} Held;

static void hold(void *context, int thread, int64_t begin, int64_t end) {
    Held *h = context;
    (void)thread;
    if (begin == 0)
        while (atomic_load(&h->done) < h->tasks - end) sched_yield();
    atomic_fetch_add(&h->done, end - begin);
}

int main(void) {
    for (int threads = 1; threads <= 9; threads += 2)
        for (int spin = 0; spin < 2; spin++) {
            Pool *p = NULL;
            CHECK_OK(pool_make(threads, spin, &p));
            CHECK(pool_threads(p) == threads);
            for (int tasks = 0; tasks <= 1000; tasks += tasks < 20 ? 1 : 245) {
                Seen s = {0}, again = {0};
                pool_run(p, tasks, mark, &s);
                pool_run(p, tasks, mark, &again);
                for (int i = 0; i < TASKS; i++) CHECK(s.count[i] == (i < tasks) && s.begin[i] == again.begin[i]);
                for (int i = 0; i < tasks && tasks <= threads; i++) CHECK(s.begin[i] == (threads > 1 ? i : 0));
                CHECK(!s.bad && !again.bad);
                int64_t first = 0; // the ranges everyone starts with are a fair share at most
                for (int i = 0; i < tasks; i++) first += s.begin[i] == 0;
                CHECK(threads == 1 || first <= tasks / threads + 1);
                Held held = {0, tasks};
                if (threads > 1) {
                    pool_run(p, tasks, hold, &held);
                    CHECK(held.done == tasks);
                }
            }
            Seen many = {0};
            for (int i = 0; i < 20000; i++) pool_run(p, 1 + i % 10, mark, &many);
            for (int i = 0; i < 10; i++) CHECK(many.count[i] == 20000 / 10 * (10 - i));
            pool_free(p);
        }
    Pool *p;
    CHECK_FAILS(pool_make(0, false, &p), STATUS_INVALID, "0 threads");
    Seen alone = {0};
    pool_run(NULL, 3, mark, &alone);
    CHECK(alone.count[0] == 1 && alone.count[2] == 1);
    pool_free(NULL);
    return check_report("pool");
}
