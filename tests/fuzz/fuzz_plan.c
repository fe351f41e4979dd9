// SPDX-License-Identifier: Apache-2.0
// Any text: parsing ends; what parses passes the checks and prints to a text that parses to the same print.
//   clang-19 -g -O1 -I. -fsanitize=fuzzer,address,undefined tests/fuzz/fuzz_plan.c runtime/*.c base/*.c -lm -lpthread
#include "runtime/plan.h"
#include <stdlib.h>
#include <string.h>

static char *print(const Plan *p, size_t *size) {
    char *text = NULL;
    FILE *f = open_memstream(&text, size);
    plan_print(p, f);
    fclose(f);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena *a = arena_new();
    Plan *p, *again;
    Status s = plan_parse(a, strtable_new(a), (const char *)data, size, &p);
    if (!status_failed(&s)) {
        size_t n, m;
        char *text = print(p, &n), *twice = NULL;
        s = plan_parse(a, strtable_new(a), text, n, &again);
        if (status_failed(&s)) abort();
        twice = print(again, &m);
        if (n != m || memcmp(text, twice, n)) abort();
        free(text);
        free(twice);
    }
    arena_free(a);
    return 0;
}
