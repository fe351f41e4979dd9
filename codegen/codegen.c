// SPDX-License-Identifier: Apache-2.0
// codegen: see codegen.h.
#include "codegen/codegen.h"
#include "codegen/build.h"
#include "codegen/jit.h"
#include "codegen/plan.h"
#include "ir/strategy.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static Status no_memory(void) { return status_make(STATUS_MEMORY, "out of memory"); }

Status build_start(Unit *u, const CodegenOptions *options, Build *b) {
    memset(b, 0, sizeof *b);
    if (!u->storage) return status_make(STATUS_INTERNAL, "code generation needs the memory pass");
    STATUS_TRY(target_make(options ? options->mcpu : NULL, &b->target));
    b->arena = arena_new();
    b->jobs.arena = b->arena;
    if (options && options->cuda) {
        STATUS_TRY(cuda_target_make(options->cuda, &b->cuda));
        b->jobs.cuda = &b->cuda;
        b->jobs.gemm = options->gemm;
    }
    b->jobs.tf32 = u->strategy && u->strategy->tf32;
    if (b->jobs.tf32 && !b->jobs.cuda) {
        diag_error(u->diag, u->strategy->precision_loc, "dot = tf32 needs a GPU: --target=cuda:ARCH");
        return status_make(STATUS_INVALID, "no code was made for '%s'", u->name);
    }
    b->plan = plan_build(u, b->arena, &b->jobs);
    if (!b->plan) return status_make(STATUS_INVALID, "no code was made for '%s'", u->name);
    if (!options) return status_ok();
    b->plan->hash = options->hash;
    size_t length = options->folder ? strlen(options->folder) : 0;
    for (int i = 0; length && i < b->plan->ninstrs; i++) {
        PlanInstr *in = &b->plan->instrs[i];
        if (in->file && !strncmp(in->file, options->folder, length)) in->file = str_intern(u->strs, in->file + length);
    }
    return status_ok();
}

void build_end(Build *b) {
    target_free(&b->target);
    if (b->arena) arena_free(b->arena);
    memset(b, 0, sizeof *b);
}

Val build_kernel_table(Build *b, Irb *irb, int from, int to, const char *name) {
    Val *at = calloc((size_t)(to - from) + 1, sizeof *at);
    if (!at) return NULL;
    for (int i = from; i < to; i++) at[i - from] = irb_function_find(irb, b->jobs.list.at[i].name);
    Val table = LLVMAddGlobal(irb->module, LLVMArrayType2(irb->ptr, (uint64_t)(to - from)), name);
    LLVMSetInitializer(table, LLVMConstArray2(irb->ptr, at, (uint64_t)(to - from)));
    LLVMSetGlobalConstant(table, true);
    free(at);
    return table;
}

// Fills the module. What LLVM made stays the caller's when memory runs out.
static Status render(Build *b, Irb *irb, int from, int to, BuildFinish *finish, void *user) {
    ArenaCatch caught;
    if (ARENA_CAUGHT(&caught)) return no_memory();
    Status s = jobs_render(&b->jobs, irb, from, to);
    if (!status_failed(&s)) s = finish(b, irb, from, to, user);
    arena_catch_end(&caught);
    return s;
}

Status build_module(Build *b, const CpuTarget *target, int from, int to, BuildFinish *finish, void *user,
                    BuildModule *out) {
    out->context = LLVMContextCreate();
    out->module = LLVMModuleCreateWithNameInContext("tgf", out->context);
    target_adopt(target, out->module);
    Irb irb;
    irb_init(&irb, target, out->module);
    Status s = render(b, &irb, from, to, finish, user);
    irb_drop(&irb);
    if (!status_failed(&s)) s = target_optimise(target, out->module);
    if (status_failed(&s)) build_module_free(out);
    return s;
}

void build_module_free(BuildModule *m) {
    if (m->module) LLVMDisposeModule(m->module);
    if (m->context) LLVMContextDispose(m->context);
    memset(m, 0, sizeof *m);
}

// ---- in memory

struct CodegenJit {
    Build build;
    Jit *jit;
    PlanKernelFn **kernels;
    char *text;
    size_t text_bytes;
    PlanModule module;
};

// A share of the kernels, compiled by a thread of its own with LLVM objects of its own.
typedef struct Share {
    Build *build;
    const char *mcpu;
    int number, from, to;
    LLVMMemoryBufferRef object;
    Status status;
    pthread_t thread;
    bool is_started;
} Share;

static Status export_table(Build *b, Irb *irb, int from, int to, void *user) {
    return build_kernel_table(b, irb, from, to, user) ? status_ok() : no_memory();
}

static Status compile_share(Share *s) {
    CpuTarget target;
    STATUS_TRY(target_make(s->mcpu, &target));
    char name[40];
    snprintf(name, sizeof name, "tgf_share_%d", s->number);
    BuildModule m = {0};
    Status status = build_module(s->build, &target, s->from, s->to, export_table, name, &m);
    if (!status_failed(&status)) status = target_emit_object(&target, m.module, &s->object);
    build_module_free(&m);
    target_free(&target);
    return status;
}

static void *share_main(void *share) {
    Share *s = share;
    s->status = compile_share(s);
    return NULL;
}

static Status link_share(CodegenJit *jit, Share *s) {
    STATUS_TRY(s->status);
    if (s->from == s->to) return status_ok(); // functions that only copy
    LLVMMemoryBufferRef object = s->object;
    s->object = NULL;
    STATUS_TRY(jit_add_object(jit->jit, object));
    char name[40];
    snprintf(name, sizeof name, "tgf_share_%d", s->number);
    void *table = NULL;
    STATUS_TRY(jit_lookup(jit->jit, name, &table));
    memcpy(&jit->kernels[s->from], table, sizeof *jit->kernels * (size_t)(s->to - s->from));
    return status_ok();
}

static Status fill_module(CodegenJit *jit) {
    Build *b = &jit->build;
    plan_finish(b->plan, &b->jobs);
    FILE *f = open_memstream(&jit->text, &jit->text_bytes);
    if (!f) return no_memory();
    plan_print(b->plan, f);
    fclose(f);
    jit->module = (PlanModule){.abi = PLAN_ABI,
                               .plan = jit->text,
                               .plan_bytes = jit->text_bytes,
                               .kernels = jit->kernels,
                               .nkernels = b->jobs.list.n,
                               .cuda = b->jobs.cuda ? &b->image.code : NULL};
    return plan_check(b->plan);
}

static Status fill_cuda(CodegenJit *jit) {
    STATUS_TRY(cuda_image_make(&jit->build.jobs, false, &jit->build.image));
    return fill_module(jit);
}

static Status jit_fill(CodegenJit *jit, Unit *u, const CodegenOptions *options) {
    STATUS_TRY(build_start(u, options, &jit->build));
    Build *b = &jit->build;
    if (b->jobs.cuda) return fill_cuda(jit);
    if (!target_runs_here(&b->target))
        return status_make(STATUS_UNSUPPORTED, "code for '%s' does not run on this processor", b->target.cpu);
    STATUS_TRY(jit_make(&jit->jit));
    int n = b->jobs.list.n, threads = options ? options->threads : 0;
    if (threads <= 0) threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (threads > 16) threads = 16;
    if (threads > (n + 3) / 4) threads = n ? (n + 3) / 4 : 1;
    jit->kernels = NEW_ARRAY(b->arena, PlanKernelFn *, n + 1);
    Share shares[16] = {0};
    for (int i = 0; i < threads; i++) {
        shares[i] = (Share){.build = b, .mcpu = options ? options->mcpu : NULL, .number = i};
        shares[i].from = (int)((int64_t)n * i / threads);
        shares[i].to = (int)((int64_t)n * (i + 1) / threads);
        shares[i].is_started = i && !pthread_create(&shares[i].thread, NULL, share_main, &shares[i]);
    }
    for (int i = 0; i < threads; i++)
        if (!shares[i].is_started) share_main(&shares[i]);
    for (int i = 0; i < threads; i++)
        if (shares[i].is_started) pthread_join(shares[i].thread, NULL);
    Status s = status_ok();
    for (int i = 0; i < threads; i++) {
        if (!status_failed(&s)) s = link_share(jit, &shares[i]);
        if (shares[i].object) LLVMDisposeMemoryBuffer(shares[i].object);
    }
    STATUS_TRY(s);
    return fill_module(jit);
}

static Status jit_try(CodegenJit *jit, Unit *u, const CodegenOptions *options) {
    ArenaCatch caught;
    if (ARENA_CAUGHT(&caught)) return jit->build.arena = NULL, no_memory();
    Status s = jit_fill(jit, u, options);
    arena_catch_end(&caught);
    return s;
}

Status codegen_jit(Unit *u, const CodegenOptions *options, CodegenJit **out_jit) {
    *out_jit = NULL;
    CodegenJit *jit = calloc(1, sizeof *jit);
    if (!jit) return no_memory();
    Status s = jit_try(jit, u, options);
    if (status_failed(&s)) codegen_jit_free(jit);
    else *out_jit = jit;
    return s;
}

void codegen_jit_free(CodegenJit *jit) {
    if (!jit) return;
    jit_free(jit->jit);
    build_end(&jit->build);
    free(jit->text);
    free(jit);
}

const Plan *codegen_jit_plan(const CodegenJit *jit) { return jit->build.plan; }
PlanKernelFn *const *codegen_jit_kernels(const CodegenJit *jit) { return jit->kernels; }
const PlanModule *codegen_jit_module(const CodegenJit *jit) { return &jit->module; }

// ---- text

static Status print_module(Build *b, CodegenText what, FILE *out) {
    BuildModule m = {0};
    char name[] = "tgf_kernels";
    STATUS_TRY(build_module(b, &b->target, 0, b->jobs.list.n, export_table, name, &m));
    plan_finish(b->plan, &b->jobs);
    Status s = status_ok();
    LLVMMemoryBufferRef text = NULL;
    if (what == CODEGEN_PLAN) {
        plan_print(b->plan, out);
    } else if (what == CODEGEN_LLVM) {
        char *ir = LLVMPrintModuleToString(m.module);
        fputs(ir, out);
        LLVMDisposeMessage(ir);
    } else {
        s = target_emit_assembly(&b->target, m.module, &text);
        if (!status_failed(&s)) fwrite(LLVMGetBufferStart(text), 1, LLVMGetBufferSize(text), out);
        if (text) LLVMDisposeMemoryBuffer(text);
    }
    build_module_free(&m);
    return s;
}

static Status print_cuda(Build *b, CodegenText what, bool use, FILE *out) {
    if (what == CODEGEN_LLVM) return status_make(STATUS_INVALID, "kernels of a GPU do not go through LLVM");
    if (what == CODEGEN_ASM || use) STATUS_TRY(cuda_image_make(&b->jobs, what == CODEGEN_ASM, &b->image));
    if (what == CODEGEN_KERNELS) STATUS_TRY(jobs_render_cuda(&b->jobs, out));
    if (what == CODEGEN_KERNELS && use) cuda_image_print(&b->jobs, &b->image, out);
    if (what == CODEGEN_ASM) fwrite(b->image.code.ptx, 1, strlen(b->image.code.ptx), out);
    if (what != CODEGEN_PLAN) return status_ok();
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);
    if (!f) return no_memory();
    Status s = jobs_render_cuda(&b->jobs, f);
    fclose(f);
    free(text);
    STATUS_TRY(s);
    plan_finish(b->plan, &b->jobs);
    plan_print(b->plan, out);
    return s;
}

Status codegen_print(Unit *u, const CodegenOptions *options, CodegenText what, FILE *out) {
    Build b;
    Status s = build_start(u, options, &b);
    if (!status_failed(&s) && b.jobs.cuda) s = print_cuda(&b, what, options->use, out);
    else if (!status_failed(&s) && what == CODEGEN_KERNELS) jobs_print(&b.jobs, out);
    else if (!status_failed(&s)) s = print_module(&b, what, out);
    build_end(&b);
    return s;
}
