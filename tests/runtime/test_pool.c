// SPDX-License-Identifier: Apache-2.0
// The pool: every task once, the same split every time, many short jobs in a row.
#include "check.h"
#include "runtime/pool.h"

typedef struct Seen {
    int count[1000];
    int by[1000];
} Seen;

static void mark(void *context, int thread, int64_t begin, int64_t end) {
    Seen *s = context;
    for (int64_t i = begin; i < end; i++) {
        s->count[i]++;
        s->by[i] = thread;
    }
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
                for (int i = 0; i < 1000; i++) CHECK(s.count[i] == (i < tasks) && s.by[i] == again.by[i]);
                for (int i = 1; i < tasks; i++) CHECK(s.by[i] >= s.by[i - 1]);
            }
            Seen many = {0};
            for (int i = 0; i < 500; i++) pool_run(p, 10, mark, &many);
            for (int i = 0; i < 10; i++) CHECK(many.count[i] == 500);
            pool_free(p);
        }
    Pool *p;
    CHECK_FAILS(pool_make(0, false, &p), STATUS_INVALID, "0 threads");
    pool_run(NULL, 3, mark, &(Seen){0});
    pool_free(NULL);
    return check_report("pool");
}
