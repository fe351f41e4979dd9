// SPDX-License-Identifier: Apache-2.0
// dsl_compile: the part of dsl.h that needs the whole compiler: IR, objects, and a model that runs in this process.
//
//     use_begin      frontend: a Unit of the program's source, in arenas of its own
//     use_lower      passes
//     codegen_object to files, or codegen_jit and tgf_open
//     use_end
//
// Nothing prints or exits: messages become the program's, failures a TgfStatus. When memory runs out the innermost
// catch frees the arenas; what is no arena is never held where one may grow (base/arena.h).
#include "codegen/codegen.h"
#include "frontend/dsl.h"
#include "frontend/frontend.h"
#include "passes/pass_try.h"
#include "tools/common_machine.h"
#include "tools/common_output.h"
#include "tools/common_places.h"
#include "tools/common_stats.h"
#include <string.h>

_Static_assert((int)TGF_INTERNAL == (int)STATUS_INTERNAL && (int)TGF_MEMORY == (int)STATUS_MEMORY, "codes");
_Static_assert(sizeof(FrontendDefine) == sizeof(TgfDefine), "a define is copied as it is");

static const TgfStatus no_memory = {TGF_MEMORY, "out of memory"};

typedef struct Use { // one compilation of the program's source
    TgfProgram *program;
    size_t said;  // bytes of messages there were before
    bool is_told; // the failure is in them
    Arena *arena, *scratch;
    Diag *diag;
    Unit *unit;
    Machine machine;
    CodegenOptions options;
} Use;

typedef struct Running { // in its own arena
    Arena *arena, *scratch;
    const Unit *unit;
    CodegenJit *jit;
    TgfModel *model;
} Running;

static TgfStatus give(const Status *s) {
    TgfStatus out = {(TgfCode)s->code, ""};
    _Static_assert(sizeof out.message == sizeof s->message, "room for every message");
    memcpy(out.message, s->message, sizeof out.message);
    return out;
}

static Status no_such(const char *what) { return status_make(STATUS_INVALID, "%s", what); }

// ---- one compilation ------------------------------------------------------------------------------------------------
// What is not in the messages yet is added there; what only they say becomes the status': its first line.
static Status use_status(Use *u, Status s) {
    if (!status_failed(&s) || u->is_told) return s;
    if (!diag_errors(u->diag)) {
        diag_error(u->diag, (Loc){0}, "%s", s.message);
        return s;
    }
    const char *said = tgf_program_messages(u->program) + u->said;
    return status_make(diag_had_internal(u->diag) ? STATUS_INTERNAL : s.code, "%.*s", (int)strcspn(said, "\n"), said);
}

static Status use_load(Use *u, const TgfCompileOptions *o) {
    const Source *source = dsl_source(u->program);
    if (!source) { // its own mistakes, or something is open: that is in the messages
        TgfStatus s = dsl_status(u->program);
        u->is_told = true;
        return status_make(STATUS_INVALID, "%s", s.message);
    }
    Arena *a = u->arena;
    FrontendDefine *defines = NEW_ARRAY(a, FrontendDefine, o->ndefines);
    for (int i = 0; i < o->ndefines; i++)
        defines[i] = (FrontendDefine){arena_printf(a, "%s", o->defines[i].name), o->defines[i].value};
    FrontendOptions front = {.source = source,
                             .defines = defines,
                             .ndefines = o->ndefines,
                             .strategy = o->strategy,
                             .arena = a,
                             .scratch = u->scratch,
                             .strs = dsl_strs(u->program),
                             .diag = u->diag};
    FrontendResult result = {0};
    if (!frontend_load(&front, &result)) return no_such("the model does not compile");
    u->unit = result.unit;
    return status_ok();
}

static Status use_begin(TgfProgram *p, const TgfCompileOptions *o, Use *u) {
    *u = (Use){.program = p, .said = dsl_said(p), .arena = arena_new(), .scratch = arena_new()};
    u->diag = dsl_diag_begin(p, u->arena);
    return use_load(u, o ? o : &(TgfCompileOptions){0});
}

static void use_end(Use *u) {
    dsl_diag_end(u->program, u->diag);
    arena_free(u->scratch);
    arena_free(u->arena);
}

static Status use_lower(Use *u, const char *last) {
    PassOptions o = {.last = last};
#ifndef NDEBUG
    o.check_text = true;
#endif
    return passes_run(u->unit, &o) ? status_ok() : no_such("the model does not compile");
}

static Status use_target(Use *u, const TgfCompileOptions *o) {
    if (o) u->machine = (Machine){.target = o->target, .mcpu = o->cpu};
    STATUS_TRY(machine_choose(&u->machine, &u->options));
    u->options.folder = places_folder(u->unit);
    u->options.hash = places_hash(u->unit, u->options.folder, TGF_VERSION);
    return status_ok();
}

// ---- IR -------------------------------------------------------------------------------------------------------------
static Status print_ir(Use *u, const char *pass, bool locations, const char **out_text) {
    if (pass && !pass_known(pass)) return status_make(STATUS_INVALID, "there is no pass '%s'", pass);
    if (pass) STATUS_TRY(use_lower(u, pass));
    size_t size;
    *out_text = unit_text(u->unit, locations, dsl_arena(u->program), &size);
    return *out_text ? status_ok() : status_make(STATUS_MEMORY, "%s", no_memory.message);
}

static Status program_ir(TgfProgram *p, const TgfCompileOptions *o, const char *pass, int locations,
                         const char **out_text) {
    Use u;
    Status s = use_begin(p, o, &u);
    if (!status_failed(&s)) s = print_ir(&u, pass, locations, out_text);
    s = use_status(&u, s);
    use_end(&u);
    return s;
}

TgfStatus tgf_program_ir(TgfProgram *p, const TgfCompileOptions *options, const char *pass, int locations,
                         const char **out_text) {
    *out_text = NULL;
    DSL_ENTER(p, no_memory)
    Status s = program_ir(p, options, pass, locations, out_text);
    dsl_leave(p);
    return give(&s);
}

// ---- to files -------------------------------------------------------------------------------------------------------
static Status write_object(Use *u, const TgfCompileOptions *o, const char *path, const char *header) {
    STATUS_TRY(use_lower(u, NULL));
    STATUS_TRY(use_target(u, o));
    CodegenObject object;
    STATUS_TRY(codegen_object(u->unit, &u->options, &object));
    // A file of that name, not standard output.
    if (!strcmp(path, "-")) path = "./-";
    if (header && !strcmp(header, "-")) header = "./-";
    Status s = output_object(&object, path, header);
    codegen_object_free(&object);
    return s;
}

static Status compile(TgfProgram *p, const TgfCompileOptions *o, const char *object, const char *header) {
    Use u;
    Status s = use_begin(p, o, &u);
    if (!status_failed(&s))
        s = object ? write_object(&u, o, object, header) : no_such("no file to write the object to");
    s = use_status(&u, s);
    use_end(&u);
    return s;
}

TgfStatus tgf_compile(TgfProgram *p, const TgfCompileOptions *options, const char *object, const char *header) {
    DSL_ENTER(p, no_memory)
    Status s = compile(p, options, object, header);
    dsl_leave(p);
    return give(&s);
}

// ---- in memory ------------------------------------------------------------------------------------------------------
static void running_close(void *running) {
    Running *r = running;
    tgf_close(r->model);
    codegen_jit_free(r->jit);
    arena_free(r->scratch);
    arena_free(r->arena);
}

static Status open_model(Running *r, const TgfOptions *run) {
    TgfStatus s = tgf_open(codegen_jit_module(r->jit), run, &r->model);
    if (s.code == TGF_OK) s = tgf_init(r->model);
    if (s.code == TGF_OK) return status_ok();
    tgf_close(r->model);
    return status_make((StatusCode)s.code, "%s", s.message);
}

static Status build(Use *u, const TgfCompileOptions *o, const TgfOptions *run, Running *r) {
    STATUS_TRY(use_lower(u, NULL));
    STATUS_TRY(use_target(u, o));
    STATUS_TRY(codegen_jit(u->unit, &u->options, &r->jit));
    r->unit = u->unit;
    Status s = open_model(r, run);
    if (status_failed(&s)) codegen_jit_free(r->jit);
    return s;
}

static Status start(TgfProgram *p, const TgfCompileOptions *o, const TgfOptions *run) {
    dsl_set_running(p, NULL, NULL);
    Use u;
    Status s = use_begin(p, o, &u);
    Running *r = NEW(u.arena, Running);
    *r = (Running){.arena = u.arena, .scratch = u.scratch};
    if (!status_failed(&s)) s = build(&u, o, run, r);
    s = use_status(&u, s);
    if (status_failed(&s)) use_end(&u);
    else dsl_set_running(p, r, running_close);
    return s;
}

TgfStatus tgf_program_start(TgfProgram *p, const TgfCompileOptions *options, const TgfOptions *run) {
    DSL_ENTER(p, no_memory)
    Status s = start(p, options, run);
    dsl_leave(p);
    return give(&s);
}

TgfModel *tgf_program_model(TgfProgram *p) {
    const Running *r = p ? dsl_running(p) : NULL;
    return r ? r->model : NULL;
}

static TgfStatus not_running(void) { return (TgfStatus){TGF_INVALID, "no model runs: tgf_program_start comes first"}; }

// A failure at run time is no mistake of the program: it is in the messages, and not counted.
static TgfStatus tell(TgfProgram *p, TgfStatus s) {
    if (s.code == TGF_OK) return s;
    DSL_ENTER(p, no_memory)
    Arena *a = arena_new();
    diag_error(dsl_diag_begin(p, a), (Loc){0}, "%s", s.message);
    arena_free(a);
    dsl_leave(p);
    return s;
}

TgfStatus tgf_program_step(TgfProgram *p, const int32_t *tokens, const int32_t *labels, float *out_loss) {
    TgfModel *m = tgf_program_model(p);
    return tell(p, m ? tgf_step(m, tokens, labels, out_loss) : not_running());
}

TgfStatus tgf_program_flops(TgfProgram *p, const char *function, double *out_flops) {
    const Running *r = p ? dsl_running(p) : NULL;
    *out_flops = 0;
    if (!r) return tell(p, not_running());
    if (!plan_program(codegen_jit_plan(r->jit), function)) {
        Status s = status_make(STATUS_INVALID, "the model has no function '%s'", function);
        return tell(p, give(&s));
    }
    *out_flops = func_flops(r->unit, function) * (double)plan_ranks(codegen_jit_plan(r->jit));
    return (TgfStatus){TGF_OK, ""};
}
