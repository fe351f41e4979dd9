// SPDX-License-Identifier: Apache-2.0
// tile_cases: see tile_cases.h.
#include "tests/codegen/tile_cases.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int checks_done, checks_failed;

void check(bool ok, const char *format, ...) {
    checks_done++;
    if (ok) return;
    checks_failed++;
    va_list args;
    va_start(args, format);
    printf("FAILED: ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

void must(Status s) {
    if (!status_failed(&s)) return;
    printf("FAILED: %s: %s\n", status_name(s.code), s.message);
    exit(1);
}

void module_open(TestModule *t, const CpuTarget *target) {
    *t = (TestModule){.target = target, .context = LLVMContextCreate()};
    t->module = LLVMModuleCreateWithNameInContext("test", t->context);
    target_adopt(target, t->module);
    irb_init(&t->b, target, t->module);
}

void module_link(TestModule *t) {
    must(target_optimise(t->target, t->module));
    must(jit_make(&t->jit));
    must(jit_add_module(t->jit, t->target, t->module));
}

void *module_address(TestModule *t, const char *name) {
    void *address;
    must(jit_lookup(t->jit, name, &address));
    return address;
}

void module_close(TestModule *t) {
    irb_drop(&t->b);
    jit_free(t->jit);
    LLVMDisposeModule(t->module);
    LLVMContextDispose(t->context);
}

static uint32_t random_bits(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    uint32_t x = *seed;
    x ^= x >> 16;
    x *= 0x7feb352du;
    return x ^ x >> 15;
}
double random_unit(uint32_t *seed) { return (double)random_bits(seed) / 2147483648.0 - 1.0; }
int random_int(uint32_t *seed, int from, int to) { return from + (int)(random_bits(seed) % (uint32_t)(to - from + 1)); }
float *random_floats(int64_t n, uint32_t *seed) {
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)random_unit(seed);
    return x;
}

void run_split(KernelFn f, char *const *buf, const int64_t *scalar, TilePlan plan, int parts, uint32_t *seed) {
    size_t bytes = ((size_t)plan.work_bytes + 63) / 64 * 64 + 64;
    int64_t end = plan.tasks;
    for (int p = parts - 1; p >= 0; p--) {
        int64_t begin = p && end ? random_int(seed, 0, (int)end) : 0;
        char *work = aligned_alloc(64, bytes);
        memset(work, 0xff, bytes); // NaNs
        f(buf, scalar, work, begin, end);
        for (size_t i = (size_t)plan.work_bytes; i < bytes; i++)
            if ((unsigned char)work[i] != 0xff) {
                check(false, "scratch overrun by %zu bytes", i + 1 - (size_t)plan.work_bytes);
                break;
            }
        free(work);
        end = begin;
    }
}

int on_every_target(void (*test)(const CpuTarget *, int, uint32_t), int count) {
    static const char *const names[] = {"native", "x86-64-v3", "x86-64"};
    for (int i = 0; i < 3; i++) {
        CpuTarget target;
        must(target_make(names[i], &target));
        if (target_runs_here(&target)) {
            test(&target, count, 11 + (uint32_t)i);
            printf("%s: %d lanes, %d checks so far, %d failed\n", names[i], target.lanes, checks_done, checks_failed);
        } else {
            printf("%s: not on this processor\n", names[i]);
        }
        target_free(&target);
    }
    return checks_failed != 0;
}
