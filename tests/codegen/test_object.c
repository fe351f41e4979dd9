// SPDX-License-Identifier: Apache-2.0
// The object file: the same bytes each time, loads beside the runtime, exports its PlanModule, and gives the numbers
// that the kernels in memory give.
#include "codegen/codegen.h"
#include "codegen/jit.h"
#include "ir/text.h"
#include "passes/pass.h"
#include "runtime/bind.h"
#include <llvm-c/Core.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;
#define CHECK(cond, ...)                                                                                               \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                            \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

static void must(Status s) {
    if (!status_failed(&s)) return;
    fprintf(stderr, "%s\n", s.message);
    exit(1);
}

static const char model[] = "unit \"two-layer model\"\n"
                            "axis a=5\n"
                            "axis b=40\n"
                            "axis c=7\n"
                            "\n"
                            "func train\n"
                            "    %x: f32[a=5, b=40] = input \"x\"\n"
                            "    %w: f32[b=40, c=7] = param \"w\" \"\"\n"
                            "    %y: f32[a=5, c=7] = dot %x, %w over b\n"
                            "    %t: f32[a=5, c=7] = tanh %y\n"
                            "    %m: f32[a=5] = max %t over c\n"
                            "    %d: f32[a=5, c=7] = sub %t, %m\n"
                            "    %e: f32[a=5, c=7] = exp %d\n"
                            "    output %e \"e\"\n"
                            "    %s: f32[] = sum %e over a, c\n"
                            "    output %s \"loss\"\n";

static void run(const PlanModule *module, float *out) {
    Program *p;
    must(program_make(module, &(ProgramOptions){.threads = 2}, &p));
    float x[200], w[280];
    for (int i = 0; i < 200; i++) x[i] = (float)(i * 37 % 19) / 19 - 0.5f;
    for (int i = 0; i < 280; i++) w[i] = (float)(i * 23 % 17) / 17 - 0.5f;
    must(program_set_input(p, "x", PLAN_F32, x, 200));
    must(program_set(p, PLAN_PARAM, "w", PLAN_F32, w, 280));
    must(program_run(p, "train"));
    must(program_get_output(p, "e", PLAN_F32, out, 35));
    must(program_get_output(p, "loss", PLAN_F32, out + 35, 1));
    program_free(p);
}

int main(void) {
    Arena *arena = arena_new(), *scratch = arena_new();
    StrTable *strs = strtable_new(arena);
    Diag *diag = diag_new(arena, stderr, false);
    Unit *u = unit_parse(arena, scratch, strs, diag, "test", model, sizeof model - 1);
    if (!u || !passes_run(u, &(PassOptions){.first = "shard"})) return 1;

    CodegenObject first, second;
    must(codegen_object(u, NULL, &first));
    must(codegen_object(u, &(CodegenOptions){.threads = 3}, &second));
    CHECK(first.size == second.size && !memcmp(first.bytes, second.bytes, first.size), "objects differ");
    CHECK(!strcmp(first.header, second.header), "headers differ");
    CHECK(strstr(first.header, "extern const TgfModule tgf_model_two_layer_model;"), "header: %s", first.header);
    CHECK(strstr(first.header, "f32[b=40, c=7]"), "header: %s", first.header);

    Jit *jit;
    void *symbol = NULL;
    must(jit_make(&jit));
    must(jit_add_object(jit, LLVMCreateMemoryBufferWithMemoryRangeCopy(first.bytes, first.size, "model.o")));
    must(jit_lookup(jit, "tgf_model_two_layer_model", &symbol));
    float from_object[36], from_memory[36];
    run(symbol, from_object);

    CodegenJit *made;
    must(codegen_jit(u, NULL, &made));
    run(codegen_jit_module(made), from_memory);
    CHECK(!memcmp(from_object, from_memory, sizeof from_memory), "the object and the kernels in memory differ");
    float sum = 0;
    for (int i = 0; i < 35; i++) sum += from_memory[i];
    CHECK(sum > 1 && sum - from_memory[35] < 1e-4f && from_memory[35] - sum < 1e-4f, "loss %g, not %g",
          (double)from_memory[35], (double)sum);

    static const struct {
        CodegenText what;
        const char *holds;
    } texts[] = {{CODEGEN_KERNELS, "matmul k"},
                 {CODEGEN_PLAN, "func \"train\""},
                 {CODEGEN_LLVM, "define internal"},
                 {CODEGEN_ASM, ".text"}};
    for (int i = 0; i < 4; i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);
        must(codegen_print(u, NULL, texts[i].what, f));
        fclose(f);
        CHECK(strstr(text, texts[i].holds), "text %d lacks '%s'", i, texts[i].holds);
        free(text);
    }
    Status s = codegen_jit(u, &(CodegenOptions){.mcpu = "pentium"}, &(CodegenJit *){NULL});
    CHECK(s.code == STATUS_INVALID && strstr(s.message, "pentium"), "an unknown processor: %s", s.message);
    codegen_jit_free(made);
    jit_free(jit);
    codegen_object_free(&first);
    codegen_object_free(&second);
    arena_free(scratch);
    arena_free(arena);
    return failures != 0;
}
