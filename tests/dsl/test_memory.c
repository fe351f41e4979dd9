// SPDX-License-Identifier: Apache-2.0
// Memory that ends at every place while a program is built, printed and checked: the program says so, and frees all it
// had. malloc, calloc, realloc, free and the streams are wrapped by the linker, and so is arena_alloc: an arena asks
// malloc for much at a time, and memory must be able to end at any allocation.
#define _GNU_SOURCE // fopencookie
#include "include/tgf/dsl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

// ---- wrapped (tests/dsl/dsl.cmake) ----

enum { LIVE_MAX = 1 << 12 };
static void *live[LIVE_MAX]; // blocks that were not freed
static long nlive, streams;  // how many; streams that are open
static long calls, fail_at;  // of what may fail; 0: none fails
static long arena_calls, arena_fail_at;

static void *note(void *block) {
    for (int i = 0; block && i < LIVE_MAX; i++)
        if (!live[i]) {
            live[i] = block;
            nlive++;
            return block;
        }
    return block;
}

static int fails(void) {
    if (++calls != fail_at) return 0;
    errno = ENOMEM;
    return 1;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
FILE *__real_fopencookie(void *cookie, const char *mode, cookie_io_functions_t functions);
FILE *__real_fopen(const char *path, const char *mode);
int __real_fclose(FILE *file);
void *__real_arena_alloc(void *arena, size_t bytes);
_Noreturn void arena_exhausted(void);

void __wrap_free(void *block) {
    for (int i = 0; block && i < LIVE_MAX; i++)
        if (live[i] == block) {
            live[i] = NULL;
            nlive--;
            break;
        }
    __real_free(block);
}
void *__wrap_malloc(size_t size) { return fails() ? NULL : note(__real_malloc(size)); }
void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : note(__real_calloc(n, size)); }
void *__wrap_realloc(void *block, size_t size) {
    if (fails()) return NULL;
    void *moved = __real_realloc(block, size);
    for (int i = 0; moved && block && i < LIVE_MAX; i++)
        if (live[i] == block) live[i] = moved;
    return block ? moved : note(moved);
}
FILE *__wrap_fopencookie(void *cookie, const char *mode, cookie_io_functions_t functions) {
    FILE *f = fails() ? NULL : __real_fopencookie(cookie, mode, functions);
    streams += f != NULL;
    return f;
}
FILE *__wrap_fopen(const char *path, const char *mode) {
    FILE *f = fails() ? NULL : __real_fopen(path, mode);
    streams += f != NULL;
    return f;
}
int __wrap_fclose(FILE *file) {
    streams--;
    return __real_fclose(file);
}
void *__wrap_arena_alloc(void *arena, size_t bytes) {
    if (++arena_calls == arena_fail_at) arena_exhausted();
    return __real_arena_alloc(arena, bytes);
}

// ---- what is built ----

static void attention(TgfProgram *p, Axis width, Axis head, Axis dim, Axis qkv, Axis seq, Axis key) {
    tgf_block(p, "attention");
    Tensor x = tgf_formal(p, "x"), q, k, v;
    Tensor w = tgf_stored(tgf_param(p, "w", tgf_call("normal", p, 0.02), width, qkv, head, dim), "c_attn.weight", width,
                          tgf_product(qkv, head, dim));
    Tensor o = tgf_as(tgf_param(p, "o", tgf_call("normal", p, 0.02), head, dim, width), "c_proj.weight");
    TGF_UNPACK3(p, tgf_unstack(tgf_dot(x, w, width), qkv), q, k, v);
    Tensor y = tgf_attend(q, tgf_view(k, tgf_rename(seq, key)), tgf_view(v, tgf_rename(seq, key)), dim, tgf_over(key),
                          tgf_key("scale", tgf_div(1, tgf_sqrt(dim))), tgf_causal(seq, key));
    tgf_return(p, tgf_dot(y, o, head, dim));
    tgf_end(p);
}

static void build(TgfProgram *p, int wrong) {
    tgf_use(p, "tests/dsl/used.tgf");
    Axis TGF_AXIS(p, vocab, 64), TGF_AXIS(p, seq, 8), TGF_AXIS(p, layer, 2), TGF_AXIS(p, head, 2), TGF_AXIS(p, dim, 4);
    Axis TGF_AXIS(p, width, tgf_mul(head, dim)), TGF_AXIS(p, hidden, tgf_mul(4, width)), TGF_AXIS(p, qkv, 3);
    Axis TGF_AXIS(p, key, seq), batch = tgf_axis_named(p, "batch");
    attention(p, width, head, dim, qkv, seq, key);
    tgf_model(p, "tiny");
    Tensor tokens = tgf_input(p, "tokens", "i32", batch, seq), labels = tgf_input(p, "labels", "i32", batch, seq);
    Tensor wte = tgf_as(tgf_param(p, "wte", tgf_call("normal", p, 0.02), vocab, width), "wte.weight");
    Tensor TGF_LET(p, x, tgf_take(wte, tokens, vocab));
    Tensor half = tgf_call("halved", x);
    tgf_repeat(p, layer, "h.{layer}");
    TGF_LET(p, x, tgf_add(x, tgf_call("attention", tgf_as(tgf_call("layernorm", x, width), "ln_1"))));
    TGF_LET(p, x, tgf_add(x, tgf_as(tgf_call("mlp", x, wrong ? key : width, hidden), "mlp")));
    tgf_end(p);
    Tensor logits = tgf_dot(tgf_as(tgf_call("layernorm", tgf_add(x, half), width), "ln_f"), wte, width);
    tgf_let(p, "loss", tgf_call("cross_entropy", logits, labels, vocab));
    tgf_end(p);
    tgf_strategy(p, "cut");
    tgf_line(p, "mesh", tgf_key("tensor", 2), tgf_key("pipe", 2));
    tgf_line(p, "split", head, hidden, vocab, tgf_over("tensor"));
    tgf_line(p, "split", layer, tgf_over("pipe"), tgf_key("schedule", "1f1b"), tgf_key("stages", tgf_list(1, 1)));
    tgf_end(p);
    tgf_train(p);
    tgf_line(p, "optimizer", "adamw", tgf_key("lr", tgf_call("cosine", p, 6e-4, tgf_key("steps", 20))),
             tgf_key("betas", tgf_list(0.9, 0.95)));
    tgf_setting(p, "batch", wrong == 2 ? 0 : 4);
    tgf_line(p, "data", tgf_quoted("train.bin"));
    tgf_end(p);
}

static int failures;

// Builds, prints and checks; all is freed. What the last call said.
static TgfCode run(int wrong, const char *what, long at) {
    long had = nlive, open = streams;
    TgfCode code = TGF_MEMORY;
    TgfProgram *p = tgf_program_new();
    if (p) {
        const char *text = NULL;
        build(p, wrong);
        code = tgf_program_text(p, &text).code;
        if ((code == TGF_OK) != (text != NULL)) {
            printf("%s %ld: %s, and %s text\n", what, at, tgf_code_name(code), text ? "a" : "no");
            failures++;
        }
        if (code == TGF_OK) code = tgf_program_check(p, &(TgfCompileOptions){.strategy = "cut"}).code;
        if (code != tgf_program_status(p).code) printf("%s %ld: status differs\n", what, at), failures++;
        if (!tgf_program_messages(p)) printf("%s %ld: messages\n", what, at), failures++;
    }
    tgf_program_free(p);
    if (nlive != had || streams != open) {
        printf("%s %ld: %ld blocks and %ld streams are left\n", what, at, nlive - had, streams - open);
        failures++;
    }
    return code;
}

static void every(int wrong, TgfCode without) {
    calls = arena_calls = 0;
    TgfCode code = run(wrong, "whole", 0);
    if (code != without) printf("whole: %s\n", tgf_code_name(code)), failures++;
    long n = calls, arenas = arena_calls;
    for (fail_at = 1; fail_at <= n; fail_at++) {
        calls = 0;
        code = run(wrong, "allocation", fail_at);
        if (code != TGF_MEMORY) printf("allocation %ld: %s\n", fail_at, tgf_code_name(code)), failures++;
    }
    fail_at = 0;
    for (arena_fail_at = 1; arena_fail_at <= arenas; arena_fail_at++) {
        arena_calls = 0;
        code = run(wrong, "arena", arena_fail_at);
        if (code != TGF_MEMORY) printf("arena %ld: %s\n", arena_fail_at, tgf_code_name(code)), failures++;
    }
    arena_fail_at = 0;
    printf("program %d: %ld allocations, %ld of arenas\n", wrong, n, arenas);
}

int main(void) {
    every(0, TGF_OK);
    every(1, TGF_INVALID);
    return failures != 0;
}
