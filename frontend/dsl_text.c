// SPDX-License-Identifier: Apache-2.0
// dsl_text: a program as .tgf text, and the checks of the text's compiler.
#include "frontend/dsl_core.h"
#include "frontend/fmt.h"
#include "frontend/frontend.h"
#include <stdlib.h>

static void print_plain(const Source *s, FILE *out) {
    const char *slash = strrchr(s->path, '/'); // the same wherever the program was built
    fprintf(out, "# Written by a program: %s\n", slash ? slash + 1 : s->path);
    for (int i = 0; i < s->decls.n; i++) {
        DeclKind kind = s->decls.at[i].kind;
        if (!i || kind != s->decls.at[i - 1].kind || kind > DECL_AXIS) fputc('\n', out);
        source_print(&(Source){.decls = {.at = &s->decls.at[i], .n = 1}}, out);
    }
}

static const char *text_of(TgfProgram *p) {
    const Source *s = dsl_source(p);
    if (!s) return NULL;
    Arena *a = arena_new();
    size_t size;
    print_plain(s, arena_stream(a));
    const char *text = arena_stream_text(a, &size);
    Diag *d = dsl_diag_begin(p, a);
    text = source_format("(the program's text)", text, size, a, p->strs, d, &size);
    if (text) text = arena_dup(p->arena, text, size + 1);
    dsl_diag_end(p, d);
    arena_free(a);
    return text;
}

TgfStatus tgf_program_text(TgfProgram *p, const char **out_text) {
    if (out_text) *out_text = NULL;
    size_t said = dsl_said(p);
    DSL_ENTER(p, dsl_status(p))
    const char *text = text_of(p);
    dsl_leave(p);
    if (out_text) *out_text = text;
    return dsl_result(p, text != NULL, said);
}

static bool check(TgfProgram *p, const TgfCompileOptions *given) {
    static const TgfCompileOptions none;
    const TgfCompileOptions *o = given ? given : &none;
    const Source *s = dsl_source(p);
    if (!s) return false;
    Arena *a = arena_new();
    FrontendDefine *defines = NEW_ARRAY(a, FrontendDefine, o->ndefines + 1);
    for (int i = 0; i < o->ndefines; i++) defines[i] = (FrontendDefine){o->defines[i].name, o->defines[i].value};
    FrontendOptions options = {.path = s->path,
                               .source = s,
                               .defines = defines,
                               .ndefines = o->ndefines,
                               .strategy = o->strategy,
                               .arena = a,
                               .scratch = a,
                               .strs = p->strs,
                               .diag = dsl_diag_begin(p, a)};
    FrontendResult result;
    bool ok = true;
    for (int i = 0; i < o->ndefines; i++) ok &= o->defines[i].name != NULL;
    if (ok) ok = frontend_load(&options, &result);
    else diag_error(options.diag, (Loc){0}, "a define without a name");
    dsl_diag_end(p, options.diag);
    arena_free(a);
    return ok;
}

TgfStatus tgf_program_check(TgfProgram *p, const TgfCompileOptions *options) {
    size_t said = dsl_said(p);
    DSL_ENTER(p, dsl_status(p))
    bool ok = check(p, options);
    dsl_leave(p);
    return dsl_result(p, ok, said);
}
