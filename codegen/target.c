// SPDX-License-Identifier: Apache-2.0
// target: see target.h.
#include "codegen/target.h"
#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The few vector levels code is made for. A processor name stands for a level; "native" finds its own from its
// features.
typedef enum Level { LEVEL_SSE2, LEVEL_AVX2, LEVEL_AVX512 } Level;
static const struct {
    const char *name;
    Level level;
} processors[] = {
    {"x86-64", LEVEL_SSE2},           {"x86-64-v2", LEVEL_SSE2},       {"x86-64-v3", LEVEL_AVX2},
    {"x86-64-v4", LEVEL_AVX512},      {"nehalem", LEVEL_SSE2},         {"westmere", LEVEL_SSE2},
    {"sandybridge", LEVEL_SSE2},      {"ivybridge", LEVEL_SSE2},       {"haswell", LEVEL_AVX2},
    {"broadwell", LEVEL_AVX2},        {"skylake", LEVEL_AVX2},         {"alderlake", LEVEL_AVX2},
    {"raptorlake", LEVEL_AVX2},       {"meteorlake", LEVEL_AVX2},      {"skylake-avx512", LEVEL_AVX512},
    {"cascadelake", LEVEL_AVX512},    {"cooperlake", LEVEL_AVX512},    {"icelake-client", LEVEL_AVX512},
    {"tigerlake", LEVEL_AVX512},      {"rocketlake", LEVEL_AVX512},    {"icelake-server", LEVEL_AVX512},
    {"sapphirerapids", LEVEL_AVX512}, {"emeraldrapids", LEVEL_AVX512}, {"graniterapids", LEVEL_AVX512},
    {"znver1", LEVEL_AVX2},           {"znver2", LEVEL_AVX2},          {"znver3", LEVEL_AVX2},
    {"znver4", LEVEL_AVX512},
};

static bool has_feature(const char *features, const char *name) {
    size_t n = strlen(name);
    for (const char *p = features; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (p[0] == '+' && !strncmp(p + 1, name, n) && (p[n + 1] == ',' || p[n + 1] == 0)) return true;
    return false;
}

static Level level_of_features(const char *features) {
    if (has_feature(features, "avx512f") && has_feature(features, "avx512vl") && has_feature(features, "avx512dq") &&
        has_feature(features, "avx512bw"))
        return LEVEL_AVX512;
    return has_feature(features, "avx2") && has_feature(features, "fma") ? LEVEL_AVX2 : LEVEL_SSE2;
}

static Level level_here(void) {
    char *features = LLVMGetHostCPUFeatures();
    Level level = level_of_features(features);
    LLVMDisposeMessage(features);
    return level;
}

static Status unknown_processor(const char *name) {
    char known[400];
    size_t used = 0;
    known[0] = 0;
    for (size_t i = 0; i < sizeof processors / sizeof *processors && used + 20 < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", processors[i].name);
    return status_make(STATUS_INVALID, "unknown processor '%s'; known: native, %s", name, known);
}

// LLVM's list of targets is the process', and is not guarded.
static bool is_initialised;
static void initialise(void) {
    is_initialised =
        !LLVMInitializeNativeTarget() && !LLVMInitializeNativeAsmPrinter() && !LLVMInitializeNativeAsmParser();
}

Status target_initialise(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, initialise);
    if (is_initialised) return status_ok();
    return status_make(STATUS_UNSUPPORTED, "this LLVM cannot make code for the processor it runs on");
}

Status target_make(const char *name, CpuTarget *out_target) {
    memset(out_target, 0, sizeof *out_target);
    STATUS_TRY(target_initialise());
    bool native = !name || !strcmp(name, "native");
    CpuTarget t = {0};
    Level level = LEVEL_SSE2;
    if (native) {
        char *cpu = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
        level = level_of_features(features);
        size_t size = strlen(features) + 32;
        t.cpu = strdup(cpu);
        t.features = malloc(size);
        // 512-bit vectors are asked for explicitly; LLVM's tuning would otherwise split them on some names.
        if (t.features) snprintf(t.features, size, "%s%s", features, level == LEVEL_AVX512 ? ",-prefer-256-bit" : "");
        LLVMDisposeMessage(cpu);
        LLVMDisposeMessage(features);
    } else {
        size_t i = 0, count = sizeof processors / sizeof *processors;
        while (i < count && strcmp(processors[i].name, name)) i++;
        if (i == count) return unknown_processor(name);
        level = processors[i].level;
        t.cpu = strdup(name);
        t.features = strdup(level == LEVEL_AVX512 ? "-prefer-256-bit" : "");
    }
    char *triple = LLVMGetDefaultTargetTriple();
    t.triple = strdup(triple);
    LLVMDisposeMessage(triple);
    if (!t.cpu || !t.features || !t.triple) {
        target_free(&t);
        return status_make(STATUS_MEMORY, "out of memory");
    }
    t.lanes = level == LEVEL_AVX512 ? 16 : level == LEVEL_AVX2 ? 8 : 4;
    t.registers = level == LEVEL_AVX512 ? 32 : 16;
    t.has_fma = level != LEVEL_SSE2;
    t.l1_bytes = 32 << 10;
    t.l2_bytes = level == LEVEL_AVX512 ? 1 << 20 : 512 << 10;

    LLVMTargetRef backend;
    char *error = NULL;
    if (LLVMGetTargetFromTriple(t.triple, &backend, &error)) {
        Status s = status_make(STATUS_UNSUPPORTED, "no code generator for %s: %s", t.triple, error);
        LLVMDisposeMessage(error);
        target_free(&t);
        return s;
    }
    if (strcmp(LLVMGetTargetName(backend), "x86-64")) {
        Status s = status_make(STATUS_UNSUPPORTED, "code is made for x86-64 only, not for %s", t.triple);
        target_free(&t);
        return s;
    }
    t.machine = LLVMCreateTargetMachine(backend, t.triple, t.cpu, t.features, LLVMCodeGenLevelDefault, LLVMRelocPIC,
                                        LLVMCodeModelDefault);
    if (!t.machine) {
        target_free(&t);
        return status_make(STATUS_INTERNAL, "LLVM made no target machine");
    }
    *out_target = t;
    return status_ok();
}

void target_free(CpuTarget *t) {
    if (t->machine) LLVMDisposeTargetMachine(t->machine);
    free(t->triple);
    free(t->cpu);
    free(t->features);
    memset(t, 0, sizeof *t);
}

bool target_runs_here(const CpuTarget *t) {
    Level needed = t->lanes == 16 ? LEVEL_AVX512 : t->lanes == 8 ? LEVEL_AVX2 : LEVEL_SSE2;
    return needed <= level_here();
}

void target_adopt(const CpuTarget *t, LLVMModuleRef module) {
    LLVMSetTarget(module, t->triple);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(t->machine);
    LLVMSetModuleDataLayout(module, layout);
    LLVMDisposeTargetData(layout);
}

Status target_optimise(const CpuTarget *t, LLVMModuleRef module) {
    char *error = NULL;
    if (LLVMVerifyModule(module, LLVMReturnStatusAction, &error)) {
        Status s = status_make(STATUS_INTERNAL, "generated module does not verify: %.400s", error);
        LLVMDisposeMessage(error);
        return s;
    }
    LLVMDisposeMessage(error);
    // Emitters vectorise, unroll and block by themselves: what is left is registers, common subexpressions and
    // hoisting.
    static const char pipeline[] = "function(sroa,early-cse,instcombine<no-verify-fixpoint>,simplifycfg,"
                                   "loop-mssa(licm),early-cse<memssa>,instcombine<no-verify-fixpoint>),globaldce";
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef failed = LLVMRunPasses(module, pipeline, t->machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (!failed) return status_ok();
    char *message = LLVMGetErrorMessage(failed);
    Status s = status_make(STATUS_INTERNAL, "pass pipeline: %.400s", message);
    LLVMDisposeErrorMessage(message);
    return s;
}

static Status emit(const CpuTarget *t, LLVMModuleRef module, LLVMCodeGenFileType type, LLVMMemoryBufferRef *out) {
    char *error = NULL;
    if (!LLVMTargetMachineEmitToMemoryBuffer(t->machine, module, type, &error, out)) return status_ok();
    Status s = status_make(STATUS_INTERNAL, "code generation: %.400s", error ? error : "no message");
    LLVMDisposeMessage(error);
    return s;
}
Status target_emit_object(const CpuTarget *t, LLVMModuleRef module, LLVMMemoryBufferRef *out_object) {
    return emit(t, module, LLVMObjectFile, out_object);
}
Status target_emit_assembly(const CpuTarget *t, LLVMModuleRef module, LLVMMemoryBufferRef *out_text) {
    return emit(t, module, LLVMAssemblyFile, out_text);
}
