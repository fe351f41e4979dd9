// SPDX-License-Identifier: Apache-2.0
// wait: a word threads wait on until it changes: spin a while, then sleep in the kernel. Used by the pool and the local
// communicator.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct WaitWord {
    _Alignas(64) _Atomic uint32_t value;
    _Atomic uint32_t sleepers;
} WaitWord;

enum { WAIT_SPINS = 2000 }; // some 50 microseconds; only where every thread has a core

// Returns true once value differs from `seen`; false when timeout_ms (0: none) passes first.
bool wait_changed(WaitWord *w, uint32_t seen, int spins, int64_t timeout_ms);
void wait_advance(WaitWord *w); // value + 1, and wakes everyone (publishes what the caller wrote before)
int wait_cores(void);           // processors this process may run on
