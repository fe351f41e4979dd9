// SPDX-License-Identifier: Apache-2.0
#include "tools/common_compile.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/pass.h"
#include "passes/pipeline.h"
#include "tools/common_output.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

char *read_whole(Arena *a, const char *path, size_t *out_size) {
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    size_t size = 0, cap = 1 << 16;
    char *buffer = f ? malloc(cap) : NULL;
    while (buffer) {
        size += fread(buffer + size, 1, cap - size, f);
        if (size < cap) break;
        char *larger = realloc(buffer, cap *= 2);
        if (!larger) free(buffer);
        buffer = larger;
    }
    if (!f || !buffer || ferror(f)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno ? errno : ENOMEM));
    } else {
        text = arena_alloc(a, size + 1);
        memcpy(text, buffer, size);
        *out_size = size;
    }
    free(buffer);
    if (f) fclose(f);
    return text;
}

bool write_whole(const char *path, const void *data, size_t size) {
    Status s = output_write(path, data, size);
    if (status_failed(&s)) fprintf(stderr, "%s\n", s.message);
    return !status_failed(&s);
}

bool compile_load(const CompileRequest *r, Compilation *c) { return compile_load_to(r, stderr, c); }

bool compile_load_to(const CompileRequest *r, FILE *messages, Compilation *c) {
    memset(c, 0, sizeof *c);
    c->arena = arena_new();
    c->scratch = arena_new();
    c->strs = strtable_new(c->arena);
    c->diag = diag_new(c->arena, messages, messages == stderr && diag_wants_colour(stderr));
    if (r->from_ir) {
        size_t size;
        char *text = read_whole(c->arena, r->from_ir, &size);
        if (!text) return false;
        c->unit = unit_parse(c->arena, c->scratch, c->strs, c->diag, str_intern(c->strs, r->from_ir), text, size);
        if (!c->unit || !unit_verify(c->unit, "read")) return false;
        for (int i = 0; c->unit->pipeline && i < c->unit->pipeline->nlists; i++)
            if (!pipeline_check(c->unit, &c->unit->pipeline->lists[i])) return false;
        return true;
    }
    FrontendOptions o = {.path = r->path,
                         .text = r->text,
                         .size = r->text ? strlen(r->text) : 0,
                         .strategy = r->strategy,
                         .extra = r->extra,
                         .arena = c->arena,
                         .scratch = c->scratch,
                         .strs = c->strs,
                         .diag = c->diag};
    int n = r->defines ? r->defines->n : 0;
    FrontendDefine *defines = NEW_ARRAY(c->arena, FrontendDefine, n);
    for (int i = 0; i < n; i++)
        if (!frontend_parse_define(r->defines->at[i], c->arena, &defines[i])) {
            fprintf(stderr, "-D %s: expected AXIS=N\n", r->defines->at[i]);
            return false;
        }
    o.defines = defines;
    o.ndefines = n;
    if (!frontend_load(&o, &c->front)) return false;
    c->unit = c->front.unit;
    return c->unit != NULL;
}

bool compile_passes(const CompileRequest *r, Compilation *c) {
    c->unit->keep_gradients |= r->keep_gradients;
    c->unit->probe |= r->probe;
    c->unit->perturb |= r->perturb;
    PassOptions o = {.last = r->last,
                     .dump_before = r->dump_before,
                     .dump_after = r->dump_after,
                     .dump = r->dump,
                     .keep_gradients = r->keep_gradients};
#ifndef NDEBUG
    o.check_text = true;
#endif
    return passes_run(c->unit, &o);
}

int compile_status(const Compilation *c) { return c->diag && diag_had_internal(c->diag) ? 2 : 1; }

void compile_end(Compilation *c) {
    arena_free(c->scratch);
    arena_free(c->arena);
    memset(c, 0, sizeof *c);
}
