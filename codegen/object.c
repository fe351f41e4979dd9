// SPDX-License-Identifier: Apache-2.0
// object: a unit as a relocatable object file: its kernels, its plan as text, and one exported symbol that holds them
// together. Links into any program with the runtime; needs no LLVM there.
#include "codegen/build.h"
#include "codegen/object_header.h"
#include "codegen/plan.h"
#include <stdlib.h>
#include <string.h>

static char *symbol_of(const Build *b) {
    return arena_printf(b->arena, "tgf_model_%s", object_word(b->arena, b->name));
}

static Val hidden_text(Irb *irb, const char *text, size_t bytes, const char *name) {
    Val data = LLVMConstStringInContext2(irb->context, text, bytes, false);
    Val global = LLVMAddGlobal(irb->module, LLVMTypeOf(data), name);
    LLVMSetInitializer(global, data);
    LLVMSetGlobalConstant(global, true);
    LLVMSetLinkage(global, LLVMInternalLinkage);
    return global;
}

static Val text_of(Irb *irb, const char *text, const char *name) {
    return hidden_text(irb, text, strlen(text) + 1, name);
}

// struct PlanCuda, member by member.
static Val cuda_code(Build *b, Irb *irb) {
    const PlanCuda *c = &b->image.code;
    Val members[] = {text_of(irb, c->arch, "cuda_arch"),
                     hidden_text(irb, c->cubin, c->cubin_bytes, "cuda_cubin"),
                     hidden_text(irb, c->ptx, c->ptx_bytes, "cuda_ptx"),
                     hidden_text(irb, c->source, c->source_bytes, "cuda_source"),
                     irb_int(irb, (int64_t)c->cubin_bytes),
                     irb_int(irb, (int64_t)c->ptx_bytes),
                     irb_int(irb, (int64_t)c->source_bytes),
                     text_of(irb, c->options, "cuda_options")};
    LLVMSetAlignment(members[1], 64); // an image is read in place
    Val data = LLVMConstStructInContext(irb->context, members, 8, false);
    Val global = LLVMAddGlobal(irb->module, LLVMTypeOf(data), "cuda");
    LLVMSetInitializer(global, data);
    LLVMSetGlobalConstant(global, true);
    LLVMSetLinkage(global, LLVMInternalLinkage);
    LLVMSetAlignment(global, 8);
    return global;
}

// struct PlanModule, member by member.
static Status export_model(Build *b, Irb *irb, int from, int to, void *user) {
    (void)user;
    plan_finish(b->plan, &b->jobs);
    STATUS_TRY(plan_check(b->plan));
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    if (!f) return status_make(STATUS_MEMORY, "out of memory");
    plan_print(b->plan, f);
    fclose(f);
    bool cuda = b->jobs.cuda != NULL;
    Val table = cuda ? LLVMConstNull(irb->ptr) : build_kernel_table(b, irb, from, to, "kernels");
    if (!table) return free(text), status_make(STATUS_MEMORY, "out of memory");
    if (!cuda) LLVMSetLinkage(table, LLVMInternalLinkage);
    Val members[] = {irb_const_int(irb, irb->i32, PLAN_ABI),
                     hidden_text(irb, text, bytes, "plan"),
                     irb_int(irb, (int64_t)bytes),
                     table,
                     irb_const_int(irb, irb->i32, b->jobs.list.n),
                     cuda ? cuda_code(b, irb) : LLVMConstNull(irb->ptr)};
    free(text);
    Val data = LLVMConstStructInContext(irb->context, members, 6, false);
    Val model = LLVMAddGlobal(irb->module, LLVMTypeOf(data), symbol_of(b));
    LLVMSetInitializer(model, data);
    LLVMSetGlobalConstant(model, true);
    LLVMSetAlignment(model, 8);
    return status_ok();
}

// The stream is the caller's, also when memory runs out here: then false.
static bool print_header(Build *b, const Unit *u, FILE *f) {
    ArenaCatch caught;
    if (ARENA_CAUGHT(&caught)) return false;
    object_header_print(f, b->arena, u, b->plan, b->name);
    arena_catch_end(&caught);
    return true;
}

static Status object_fill(Build *b, const Unit *u, CodegenObject *out) {
    BuildModule m = {0};
    if (b->jobs.cuda) STATUS_TRY(cuda_image_make(&b->jobs, true, &b->image));
    STATUS_TRY(build_module(b, &b->target, 0, b->jobs.cuda ? 0 : b->jobs.list.n, export_model, NULL, &m));
    LLVMMemoryBufferRef object = NULL;
    Status s = target_emit_object(&b->target, m.module, &object);
    build_module_free(&m);
    STATUS_TRY(s);
    out->size = LLVMGetBufferSize(object);
    out->bytes = malloc(out->size);
    if (out->bytes) memcpy(out->bytes, LLVMGetBufferStart(object), out->size);
    LLVMDisposeMemoryBuffer(object);
    size_t bytes;
    FILE *f = out->bytes ? open_memstream(&out->header, &bytes) : NULL;
    bool ok = f && print_header(b, u, f);
    if (f && fclose(f)) ok = false;
    return ok ? status_ok() : status_make(STATUS_MEMORY, "out of memory");
}

static Status object_try(Unit *u, const CodegenOptions *options, Build *b, CodegenObject *out) {
    ArenaCatch caught;
    if (ARENA_CAUGHT(&caught)) return b->arena = NULL, status_make(STATUS_MEMORY, "out of memory");
    Status s = build_start(u, options, b);
    if (!status_failed(&s)) b->name = options && options->name ? options->name : b->plan->model;
    if (!status_failed(&s)) s = object_fill(b, u, out);
    arena_catch_end(&caught);
    return s;
}

Status codegen_object(Unit *u, const CodegenOptions *options, CodegenObject *out) {
    memset(out, 0, sizeof *out);
    Build b = {0};
    Status s = object_try(u, options, &b, out);
    build_end(&b);
    if (status_failed(&s)) codegen_object_free(out);
    return s;
}

void codegen_object_free(CodegenObject *o) {
    free(o->bytes);
    free(o->header);
    memset(o, 0, sizeof *o);
}
