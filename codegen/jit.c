// SPDX-License-Identifier: Apache-2.0
// jit: see jit.h.
#include "codegen/jit.h"
#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <stdlib.h>

struct Jit {
    LLVMOrcLLJITRef lljit;
};

static Status take_error(const char *what, LLVMErrorRef error) {
    char *message = LLVMGetErrorMessage(error);
    Status s = status_make(STATUS_INTERNAL, "%s: %.400s", what, message);
    LLVMDisposeErrorMessage(message);
    return s;
}

Status jit_make(Jit **out_jit) {
    STATUS_TRY(target_initialise());
    Jit *jit = calloc(1, sizeof *jit);
    if (!jit) return status_make(STATUS_MEMORY, "out of memory");
    LLVMErrorRef error = LLVMOrcCreateLLJIT(&jit->lljit, NULL);
    if (error) {
        free(jit);
        return take_error("starting the JIT", error);
    }
    // What generated code may call of the process: memset, memcpy and the mathematics of libm.
    LLVMOrcDefinitionGeneratorRef process;
    error = LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, LLVMOrcLLJITGetGlobalPrefix(jit->lljit),
                                                                 NULL, NULL);
    if (error) {
        jit_free(jit);
        return take_error("searching the process for symbols", error);
    }
    LLVMOrcJITDylibAddGenerator(LLVMOrcLLJITGetMainJITDylib(jit->lljit), process);
    *out_jit = jit;
    return status_ok();
}

void jit_free(Jit *jit) {
    if (!jit) return;
    LLVMErrorRef error = LLVMOrcDisposeLLJIT(jit->lljit);
    if (error) LLVMConsumeError(error);
    free(jit);
}

Status jit_add_object(Jit *jit, LLVMMemoryBufferRef object) {
    LLVMErrorRef error = LLVMOrcLLJITAddObjectFile(jit->lljit, LLVMOrcLLJITGetMainJITDylib(jit->lljit), object);
    return error ? take_error("linking", error) : status_ok();
}

Status jit_add_module(Jit *jit, const CpuTarget *target, LLVMModuleRef module) {
    LLVMMemoryBufferRef object = NULL;
    STATUS_TRY(target_emit_object(target, module, &object));
    return jit_add_object(jit, object);
}

Status jit_lookup(Jit *jit, const char *name, void **out_address) {
    LLVMOrcExecutorAddress address = 0;
    LLVMErrorRef error = LLVMOrcLLJITLookup(jit->lljit, &address, name);
    if (error) return take_error("looking up a kernel", error);
    *out_address = (void *)(uintptr_t)address;
    return status_ok();
}
