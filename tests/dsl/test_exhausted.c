// SPDX-License-Identifier: Apache-2.0
// Memory that ends while a program is compiled and started, in passes, code generation and on the threads that fill
// LLVM's modules: the call says so, leaves no file and no block (the address sanitizer looks), and the next one works
// or says the same. arena_alloc is wrapped by the linker (tests/dsl/dsl.cmake).
#include "include/tgf/dsl.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long calls, fail_at; // 0: none fails

void *__real_arena_alloc(void *arena, size_t bytes);
_Noreturn void arena_exhausted(void);
void *__wrap_arena_alloc(void *arena, size_t bytes) {
    if (atomic_fetch_add(&calls, 1) + 1 == atomic_load(&fail_at)) arena_exhausted();
    return __real_arena_alloc(arena, bytes);
}

enum { BATCH = 2, SEQ = 4, VOCAB = 16, PLACES = 60 };
static int failures;
typedef enum Way { COMPILES, STARTS, TRIES, WAYS } Way; // TRIES: recomputation is chosen by trial compilations
static const char *const way_names[] = {"compiled", "started", "compiled within a budget"};
static char object[] = "/tmp/tgf_exhausted_XXXXXX.o";

static TgfProgram *tiny(void) {
    TgfProgram *p = tgf_program_new();
    Axis TGF_AXIS(p, vocab, VOCAB), TGF_AXIS(p, seq, SEQ), TGF_AXIS(p, width, 4), batch = tgf_axis_named(p, "batch");
    tgf_model(p, "tiny");
    Tensor tokens = tgf_input(p, "tokens", "i32", batch, seq), labels = tgf_input(p, "labels", "i32", batch, seq);
    Tensor wte = tgf_param(p, "wte", tgf_call("normal", p, 0.02), vocab, width);
    Tensor logits = tgf_dot(tgf_take(wte, tokens, vocab), wte, width);
    tgf_let(p, "loss", tgf_call("cross_entropy", logits, labels, vocab));
    tgf_end(p);
    tgf_strategy(p, "two");
    tgf_line(p, "mesh", tgf_key("data", 2));
    tgf_line(p, "split", batch, tgf_over("data"));
    tgf_end(p);
    tgf_strategy(p, "fits");
    tgf_line(p, "recompute", "auto", tgf_key("memory", "1MB"));
    tgf_end(p);
    tgf_train(p);
    tgf_line(p, "optimizer", "adamw", tgf_key("lr", 1e-2));
    tgf_setting(p, "batch", BATCH);
    tgf_end(p);
    return p;
}

static TgfStatus use(TgfProgram *p, Way way) {
    TgfCompileOptions o = {.strategy = way == TRIES ? "fits" : "two"};
    TgfOptions run = tgf_options();
    run.threads = 2;
    return way == STARTS ? tgf_program_start(p, &o, &run) : tgf_compile(p, &o, object, NULL);
}

// Fails at `at`, counted from the call on; then again without a failure.
static TgfCode one(Way way, long at) {
    TgfProgram *p = tiny();
    atomic_store(&calls, 0);
    atomic_store(&fail_at, at);
    TgfStatus s = use(p, way);
    atomic_store(&fail_at, 0);
    if (at && s.code == TGF_MEMORY && !access(object, F_OK))
        printf("%s, %ld: a file\n", way_names[way], at), failures++;
    if (at && s.code == TGF_MEMORY && tgf_program_model(p))
        printf("%s, %ld: a model\n", way_names[way], at), failures++;
    if (at) {
        TgfCode again = use(p, way).code;
        if (again != TGF_OK && again != TGF_MEMORY) printf("%s, %ld: then %d\n", way_names[way], at, again), failures++;
    }
    tgf_program_free(p);
    unlink(object);
    return s.code;
}

int main(void) {
    int file = mkstemps(object, 2);
    if (file < 0) return perror(object), 1;
    close(file);
    unlink(object);
    for (Way way = 0; way < WAYS; way++) {
        if (one(way, 0) != TGF_OK) printf("%s: it does not work at all\n", way_names[way]), failures++;
        long n = atomic_load(&calls), step = n / PLACES + 1;
        for (long at = 1; at <= n - n / 50; at += step) { // threads share the count: the last few may not come
            TgfCode code = one(way, at);
            if (code != TGF_MEMORY)
                printf("%s, allocation %ld of %ld: %s\n", way_names[way], at, n, tgf_code_name(code)), failures++;
        }
        printf("%s: %ld allocations\n", way_names[way], n);
    }
    return failures != 0;
}
