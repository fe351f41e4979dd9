// SPDX-License-Identifier: Apache-2.0
// frontend: the stages in order.
#include "frontend/frontend.h"
#include "frontend/front.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

static void run(Front *f) {
    const FrontendOptions *o = f->options;
    int before = diag_errors(f->diag);
#define STAGE(call)                                                                                                    \
    call;                                                                                                              \
    if (diag_errors(f->diag) > before) return
    STAGE(load_program(f));
    if (o->parse_only) return;
    STAGE(check_names(f));
    f->unit = unit_new(o->arena, o->scratch, o->strs, o->diag, f->model->name.str);
    STAGE(check_axes(f));
    STAGE((check_recipe(f), check_strategies(f)));
    STAGE(build_functions(f));
    STAGE((check_splits(f), check_no_decay(f)));
    f->unit->recipe = f->recipe;
#undef STAGE
}

bool frontend_load(const FrontendOptions *o, FrontendResult *out) {
    Front *f = NEW(o->arena, Front);
    int before = diag_errors(o->diag);
    *f = (Front){.options = o, .arena = o->arena, .strs = o->strs, .diag = o->diag};
    run(f);
    bool ok = diag_errors(o->diag) == before;
    *out = (FrontendResult){.unit = ok ? f->unit : NULL,
                            .nfiles = f->files.n,
                            .files = f->files.at,
                            .nstrategies = f->strategies.n,
                            .strategies = (const Strategy **)f->strategies.at,
                            .front = f};
    f->options = NULL; // they need not live on
    return ok;
}

void frontend_print_ast(const FrontendResult *r, FILE *out) {
    for (int i = 0; i < r->front->sources.n; i++) {
        fprintf(out, "%s# %s\n", i ? "\n" : "", r->front->sources.at[i]->path);
        source_print(r->front->sources.at[i], out);
    }
}

bool frontend_parse_define(const char *text, Arena *arena, FrontendDefine *out) {
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || !(isalpha((unsigned char)*text) || *text == '_')) return false;
    for (const char *p = text; p < equals; p++)
        if (!isalnum((unsigned char)*p) && *p != '_') return false;
    const char *digits = equals + 1;
    if (!*digits || strspn(digits, "0123456789") != strlen(digits)) return false;
    errno = 0;
    out->value = strtoll(digits, NULL, 10);
    out->name = arena_printf(arena, "%.*s", (int)(equals - text), text);
    return errno == 0;
}
