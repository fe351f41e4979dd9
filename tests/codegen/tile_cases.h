// SPDX-License-Identifier: Apache-2.0
// tile_cases: what the tests of codegen/tile_* share: a module under test, random data, running a kernel in pieces, and
// counting.
#pragma once
#include "codegen/jit.h"
#include "codegen/tile_matmul.h"

typedef struct TestModule {
    const CpuTarget *target;
    LLVMContextRef context;
    LLVMModuleRef module;
    Irb b;
    Jit *jit;
} TestModule;

extern int checks_done, checks_failed;
void check(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));
void must(Status s); // the test cannot go on without it

void module_open(TestModule *t, const CpuTarget *target);
void module_link(TestModule *t); // after this: only module_address
void *module_address(TestModule *t, const char *name);
void module_close(TestModule *t);

double random_unit(uint32_t *seed);               // in [-1, 1)
int random_int(uint32_t *seed, int from, int to); // inclusive
float *random_floats(int64_t n, uint32_t *seed);

// Runs all tasks in `parts` contiguous pieces of random sizes, last piece first, each with fresh dirty scratch.
void run_split(KernelFn f, char *const *buf, const int64_t *scalar, TilePlan plan, int parts, uint32_t *seed);

// Runs test on each vector level this processor has; the result is main's. count: how many random cases.
int on_every_target(void (*test)(const CpuTarget *target, int count, uint32_t seed), int count);
