// SPDX-License-Identifier: Apache-2.0
// pool: one rank's threads. The caller is thread 0; the others wait for work. Tasks are cut into contiguous ranges, the
// same way every time; which thread does which range depends on who is free: on a busy machine threads run at different
// speeds. A thread that wakes late, or never, costs nothing: the others do its share.
#pragma once
#include "base/status.h"
#include <stdint.h>

typedef struct Pool Pool;
typedef void PoolFn(void *context, int thread, int64_t begin, int64_t end);

// threads >= 1, the caller included. spin: whether waiting threads may burn a core for a moment before they sleep.
Status pool_make(int threads, bool spin, Pool **out_pool);
void pool_free(Pool *p); // NULL is fine
int pool_threads(const Pool *p);
// Calls fn for ranges that make up [0, tasks), up to three a thread; returns when all is done. `thread` (0 is the
// caller) runs one range at a time. No more tasks than threads: each is a range of its own, and all may run at once.
// One caller at a time; not from within fn. NULL: all on the caller.
void pool_run(Pool *p, int64_t tasks, PoolFn *fn, void *context);
