// SPDX-License-Identifier: Apache-2.0
// pool: one rank's threads. The caller is thread 0; the others wait for work. A range of tasks is split into contiguous
// parts, the same way every time.
#pragma once
#include "base/status.h"
#include <stdint.h>

typedef struct Pool Pool;
typedef void PoolFn(void *context, int thread, int64_t begin, int64_t end);

// threads >= 1, the caller included. spin: whether waiting threads may burn a core for a moment before they sleep.
Status pool_make(int threads, bool spin, Pool **out_pool);
void pool_free(Pool *p); // NULL is fine
int pool_threads(const Pool *p);
// Runs fn over [0, tasks); returns when all is done. One caller at a time; not from within fn. NULL: all on the caller.
void pool_run(Pool *p, int64_t tasks, PoolFn *fn, void *context);
