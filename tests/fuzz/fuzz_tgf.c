// SPDX-License-Identifier: Apache-2.0
// fuzz_tgf: any bytes as a .tgf program: parsed, checked, built, verified, printed and parsed again. Nothing may crash;
// what loads must be well formed, and its printed text must load too.
#include "frontend/frontend.h"
#include "ir/verify.h"
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool load(const char *text, size_t size, bool parse_only, FILE *sink, char **out_text) {
    Arena *arena = arena_new(), *scratch = arena_new();
    FrontendOptions o = {.path = "fuzz.tgf", .text = text, .size = size, .no_disk = true, .parse_only = parse_only};
    o.arena = arena;
    o.scratch = scratch;
    o.strs = strtable_new(arena);
    o.diag = diag_new(arena, sink, false);
    FrontendResult r;
    bool ok = frontend_load(&o, &r);
    if (diag_had_internal(o.diag)) abort();
    if (ok && !parse_only && !unit_verify(r.unit, "frontend")) abort();
    if (ok && out_text) {
        size_t n;
        FILE *f = open_memstream(out_text, &n);
        frontend_print_ast(&r, f);
        fclose(f);
    }
    arena_free(arena);
    arena_free(scratch);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static FILE *sink;
    if (!sink && !(sink = fopen("/dev/null", "w"))) abort();
    char *printed = NULL;
    if (load((const char *)data, size, true, sink, &printed)) {
        bool loads = load((const char *)data, size, false, sink, NULL);
        if (loads != load(printed, strlen(printed), false, sink, NULL)) abort();
    }
    free(printed);
    return 0;
}
