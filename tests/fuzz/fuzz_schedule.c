// SPDX-License-Identifier: Apache-2.0
// Any text: reading ends; a schedule that passes its checks comes to its end, has a slot for every microbatch, and
// prints to a text that reads as the same.
//   FUZZ_EXTRA="$(echo passes/schedule*.c)" tests/fuzz/fuzz schedule
#include "passes/schedule.h"
#include <stdlib.h>
#include <string.h>

static char *print(const Schedule *s, size_t *size) {
    char *text = NULL;
    FILE *f = open_memstream(&text, size);
    if (!f) abort();
    schedule_print(s, f);
    fclose(f);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena *a = arena_new();
    char *said = NULL;
    size_t length;
    FILE *sink = open_memstream(&said, &length);
    if (!sink) abort();
    Diag *diag = diag_new(a, sink, false);
    Str name = "fuzz.sched";
    const Schedule *s = schedule_parse(a, diag, name, (const char *)data, size);
    if (!s != (diag_errors(diag) > 0)) abort();
    if (s && schedule_check(s, a, diag, (Loc){name, 1, 1, 0})) {
        const ScheduleTime t = schedule_time(s, schedule_even_costs(s, a), 0, a);
        const ScheduleMemory m = schedule_memory(s, a);
        if (!(t.ideal <= t.makespan * (1 + 1e-9))) abort();
        for (int c = 0; c < s->chunks; c++)
            for (int64_t k = 0; k < s->microbatches; k++)
                if (m.slot[c * s->microbatches + k] >= m.slots[c]) abort();
        size_t n, again_n;
        char *text = print(s, &n);
        const Schedule *again = schedule_parse(a, diag, name, text, n);
        if (!again) abort();
        char *twice = print(again, &again_n);
        if (n != again_n || memcmp(text, twice, n)) abort();
        free(text);
        free(twice);
    }
    fclose(sink);
    free(said);
    arena_free(a);
    return 0;
}
