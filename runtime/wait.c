// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "runtime/wait.h"
#include "base/clock.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

bool wait_changed(WaitWord *w, uint32_t seen, int spins, int64_t timeout_ms) {
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(&w->value, memory_order_acquire) != seen) return true;
        relax();
    }
    int64_t deadline = timeout_ms > 0 ? now_ms() + timeout_ms : 0;
    bool changed = true;
    atomic_fetch_add(&w->sleepers, 1);
    while (atomic_load(&w->value) == seen) {
        struct timespec left, *limit = NULL;
        if (deadline) {
            int64_t ms = deadline - now_ms();
            if (ms <= 0) {
                changed = false;
                break;
            }
            left = (struct timespec){ms / 1000, ms % 1000 * 1000000};
            limit = &left;
        }
        syscall(SYS_futex, &w->value, FUTEX_WAIT_PRIVATE, seen, limit, NULL, 0);
    }
    atomic_fetch_sub(&w->sleepers, 1);
    return changed;
}

void wait_advance(WaitWord *w) {
    atomic_fetch_add(&w->value, 1);
    if (atomic_load(&w->sleepers)) syscall(SYS_futex, &w->value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

int wait_cores(void) {
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}
