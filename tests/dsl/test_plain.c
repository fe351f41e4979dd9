// SPDX-License-Identifier: Apache-2.0
// examples/novel.tgf by the functions of dsl.h alone, as C++ and other languages call them: this file is C11 and C++17
// (plain.cmake compiles it as both). It prints what the twin made with macros prints.
#define TGF_DSL_PLAIN
#include "tests/dsl/twins.h"
#include <string.h>

static TgfSite at(int line) {
    TgfSite site = {__FILE__, line};
    return site;
}

static TgfArg axis(Axis a) { return tgf_arg_axis(a); }
static TgfArg tensor(Tensor x) { return tgf_arg_tensor(x); }
static TgfArg number(double x) { return tgf_arg_number(x); }
static TgfArg integer(int64_t x) { return tgf_arg_integer(x); }
static TgfArg word(const char *x) { return tgf_arg_text(x); }

static Tensor call1(int line, const char *callee, TgfArg a) { return tgf_call_at(at(line), callee, 1, &a); }

static Tensor call2(int line, const char *callee, TgfArg a, TgfArg b) {
    const TgfArg args[] = {a, b};
    return tgf_call_at(at(line), callee, 2, args);
}

static Tensor call3(int line, const char *callee, TgfArg a, TgfArg b, TgfArg c) {
    const TgfArg args[] = {a, b, c};
    return tgf_call_at(at(line), callee, 3, args);
}

static Tensor let(int line, TgfProgram *p, const char *name, Tensor value) {
    return tgf_let_at(at(line), p, name, tensor(value));
}

static Tensor normal(int line, TgfProgram *p, TgfArg deviation) {
    return call2(line, "normal", tgf_arg_program(p), deviation);
}

static Tensor norm(int line, Tensor x, Axis width, const char *stored) {
    return tgf_as_at(at(line), call2(line, "layernorm", tensor(x), axis(width)), stored);
}

typedef struct Axes {
    Axis batch, vocab, seq, layer, head, dim, width, hidden, qkv, key;
} Axes;

static Axes axes_declare(TgfProgram *p) {
    Axes a;
    a.vocab = tgf_axis_at(at(__LINE__), p, "vocab", integer(256));
    a.seq = tgf_axis_at(at(__LINE__), p, "seq", integer(128));
    a.layer = tgf_axis_at(at(__LINE__), p, "layer", integer(4));
    a.head = tgf_axis_at(at(__LINE__), p, "head", integer(6));
    a.dim = tgf_axis_at(at(__LINE__), p, "dim", integer(32));
    a.width = tgf_axis_at(at(__LINE__), p, "width", tensor(call2(__LINE__, "*", axis(a.head), axis(a.dim))));
    a.hidden = tgf_axis_at(at(__LINE__), p, "hidden", tensor(call2(__LINE__, "*", integer(4), axis(a.width))));
    a.qkv = tgf_axis_at(at(__LINE__), p, "qkv", integer(3));
    a.key = tgf_axis_at(at(__LINE__), p, "key", axis(a.seq));
    a.batch = tgf_axis_named_at(at(__LINE__), p, "batch");
    return a;
}

static Tensor depth_std(int line, const Axes *a) { // 0.02 / sqrt(2 * layer)
    Tensor root = call1(line, "sqrt", tensor(call2(line, "*", integer(2), axis(a->layer))));
    return call2(line, "/", number(0.02), tensor(root));
}

static void attention_declare(TgfProgram *p, const Axes *a) {
    const TgfArg width = axis(a->width), qkv = axis(a->qkv), head = axis(a->head), dim = axis(a->dim);
    const TgfArg none = tgf_arg_none(), zero = integer(0);
    tgf_block_at(at(__LINE__), p, "attention");
    Tensor x = tgf_formal_at(at(__LINE__), p, "x", none);

    const TgfArg w_axes[] = {width, qkv, head, dim};
    Tensor w = tgf_param_at(at(__LINE__), p, "w", tensor(normal(__LINE__, p, number(0.02))), 4, w_axes);
    const TgfArg w_stored[] = {width, tensor(call3(__LINE__, "*", qkv, head, dim))};
    tgf_stored_at(at(__LINE__), w, "attn.c_attn.weight", 2, w_stored);
    Tensor b = tgf_param_at(at(__LINE__), p, "b", zero, 3, w_axes + 1);
    const TgfArg b_stored[] = {tensor(call3(__LINE__, "*", qkv, head, dim))};
    tgf_stored_at(at(__LINE__), b, "attn.c_attn.bias", 1, b_stored);
    const TgfArg o_axes[] = {head, dim, width};
    Tensor o_std = normal(__LINE__, p, tensor(depth_std(__LINE__, a)));
    Tensor o = tgf_param_at(at(__LINE__), p, "o", tensor(o_std), 3, o_axes);
    const TgfArg o_stored[] = {tensor(call2(__LINE__, "*", head, dim)), width};
    tgf_stored_at(at(__LINE__), o, "attn.c_proj.weight", 2, o_stored);
    Tensor c = tgf_param_at(at(__LINE__), p, "c", zero, 1, &width);
    tgf_as_at(at(__LINE__), c, "attn.c_proj.bias");

    Tensor in = call2(__LINE__, "+", tensor(call3(__LINE__, "dot", tensor(x), tensor(w), width)), tensor(b));
    const char *const names[] = {"q", "k", "v"};
    Tensor q, k, v;
    Tensor *const parts[] = {&q, &k, &v};
    tgf_unpack_at(at(__LINE__), p, tensor(call2(__LINE__, "unstack", tensor(in), qkv)), 3, names, parts);
    const TgfArg renamed = tgf_rename(a->seq, a->key);
    k = tgf_view_at(at(__LINE__), k, 1, &renamed);
    v = tgf_view_at(at(__LINE__), v, 1, &renamed);
    Tensor scale = call2(__LINE__, "/", integer(1), tensor(call1(__LINE__, "sqrt", dim)));
    const TgfArg attend[] = {tensor(q),
                             tensor(k),
                             tensor(v),
                             dim,
                             tgf_over_of(axis(a->key)),
                             tgf_key_of("scale", tensor(scale)),
                             tensor(call2(__LINE__, "causal", axis(a->seq), axis(a->key)))};
    Tensor y = let(__LINE__, p, "y", tgf_call_at(at(__LINE__), "attend", 7, attend));
    const TgfArg out[] = {tensor(y), tensor(o), head, dim};
    const TgfArg result = tensor(call2(__LINE__, "+", tensor(tgf_call_at(at(__LINE__), "dot", 4, out)), tensor(c)));
    tgf_return_at(at(__LINE__), p, 1, &result);
    tgf_end_at(at(__LINE__), p);
}

static void model_declare(TgfProgram *p, const Axes *a) {
    const TgfArg vocab = axis(a->vocab), width = axis(a->width), seq = axis(a->seq);
    const TgfArg batch_seq[] = {axis(a->batch), seq}, vocab_width[] = {vocab, width}, seq_width[] = {seq, width};
    tgf_model_at(at(__LINE__), p, "novel");
    Tensor tokens = tgf_input_at(at(__LINE__), p, "tokens", "i32", 2, batch_seq);
    Tensor labels = tgf_input_at(at(__LINE__), p, "labels", "i32", 2, batch_seq);
    Tensor wte = tgf_param_at(at(__LINE__), p, "wte", tensor(normal(__LINE__, p, number(0.02))), 2, vocab_width);
    tgf_as_at(at(__LINE__), wte, "wte.weight");
    Tensor wpe = tgf_param_at(at(__LINE__), p, "wpe", tensor(normal(__LINE__, p, number(0.02))), 2, seq_width);
    tgf_as_at(at(__LINE__), wpe, "wpe.weight");
    Tensor taken = call3(__LINE__, "take", tensor(wte), tensor(tokens), vocab);
    Tensor x = let(__LINE__, p, "x", call2(__LINE__, "+", tensor(taken), tensor(wpe)));

    tgf_repeat_at(at(__LINE__), p, a->layer, "h.{layer}");
    Tensor y = call1(__LINE__, "attention", tensor(norm(__LINE__, x, a->width, "ln_1")));
    x = let(__LINE__, p, "x", call2(__LINE__, "+", tensor(x), tensor(y)));
    const TgfArg mlp[] = {tensor(norm(__LINE__, x, a->width, "ln_2")), width, axis(a->hidden),
                          tgf_key_of("out_std", tensor(depth_std(__LINE__, a)))};
    y = tgf_as_at(at(__LINE__), tgf_call_at(at(__LINE__), "mlp", 4, mlp), "mlp");
    x = let(__LINE__, p, "x", call2(__LINE__, "+", tensor(x), tensor(y)));
    tgf_end_at(at(__LINE__), p);

    y = norm(__LINE__, x, a->width, "ln_f");
    Tensor logits = let(__LINE__, p, "logits", call3(__LINE__, "dot", tensor(y), tensor(wte), width));
    let(__LINE__, p, "loss", call3(__LINE__, "cross_entropy", tensor(logits), tensor(labels), vocab));
    tgf_end_at(at(__LINE__), p);
}

static void line(int where, TgfProgram *p, const char *head, TgfArg a, TgfArg b, TgfArg c, TgfArg d) {
    const TgfArg args[] = {a, b, c, d};
    int n = 4;
    while (n > 0 && args[n - 1].kind == TGF_ARG_NONE) n--;
    tgf_line_at(at(where), p, head, n, args);
}

static void strategies_write(TgfProgram *p, const Axes *a) {
    const TgfArg none = tgf_arg_none(), batch = axis(a->batch), head = axis(a->head), hidden = axis(a->hidden);
    const TgfArg vocab = axis(a->vocab), over_data = tgf_over_of(word("data")),
                 over_tensor = tgf_over_of(word("tensor"));
    const TgfArg data2 = tgf_key_of("data", integer(2)), tensor2 = tgf_key_of("tensor", integer(2));
    const TgfArg f32_master = tgf_key_of("master", word("f32"));

    tgf_strategy_at(at(__LINE__), p, "tensor2");
    line(__LINE__, p, "mesh", tensor2, none, none, none);
    line(__LINE__, p, "split", head, hidden, vocab, over_tensor);
    tgf_end_at(at(__LINE__), p);

    tgf_strategy_at(at(__LINE__), p, "bf16");
    line(__LINE__, p, "precision", word("bf16"), none, none, none);
    tgf_end_at(at(__LINE__), p);

    tgf_strategy_at(at(__LINE__), p, "bf16_data2");
    line(__LINE__, p, "mesh", data2, none, none, none);
    line(__LINE__, p, "split", batch, over_data, none, none);
    line(__LINE__, p, "precision", word("bf16"), f32_master, tgf_key_of("reduce", word("bf16")), none);
    tgf_end_at(at(__LINE__), p);

    tgf_strategy_at(at(__LINE__), p, "f16");
    line(__LINE__, p, "precision", word("f16"), tgf_key_of("scale", integer(65536)), none, none);
    tgf_end_at(at(__LINE__), p);

    tgf_strategy_at(at(__LINE__), p, "data2");
    line(__LINE__, p, "mesh", data2, none, none, none);
    line(__LINE__, p, "split", batch, over_data, none, none);
    tgf_end_at(at(__LINE__), p);

    tgf_strategy_at(at(__LINE__), p, "all3");
    line(__LINE__, p, "mesh", data2, tgf_key_of("pipe", integer(2)), tensor2, none);
    line(__LINE__, p, "split", batch, over_data, none, none);
    line(__LINE__, p, "split", axis(a->layer), tgf_over_of(word("pipe")), tgf_key_of("schedule", word("1f1b")),
         tgf_key_of("microbatches", integer(4)));
    line(__LINE__, p, "split", head, hidden, vocab, over_tensor);
    line(__LINE__, p, "shard", word("optimizer"), over_data, none, none);
    line(__LINE__, p, "recompute", word("block"), none, none, none);
    tgf_end_at(at(__LINE__), p);

    tgf_strategy_at(at(__LINE__), p, "fits");
    line(__LINE__, p, "recompute", word("auto"), tgf_key_of("memory", word("130MB")), none, none);
    tgf_end_at(at(__LINE__), p);
}

static void recipe_write(TgfProgram *p) {
    const TgfArg cosine[] = {tgf_arg_program(p), number(2e-3), tgf_key_of("warmup", integer(50)),
                             tgf_key_of("steps", integer(700)), tgf_key_of("floor", number(0.1))};
    const double betas[] = {0.9, 0.95};
    tgf_train_at(at(__LINE__), p);
    line(__LINE__, p, "optimizer", word("adamw"),
         tgf_key_of("lr", tensor(tgf_call_at(at(__LINE__), "cosine", 5, cosine))),
         tgf_key_of("betas", tgf_list_of(2, betas)), tgf_key_of("decay", number(0.1)));
    tgf_setting_at(at(__LINE__), p, "batch", integer(32));
    tgf_setting_at(at(__LINE__), p, "clip", number(1.0));
    line(__LINE__, p, "data", tgf_quoted("novels.txt"), tgf_arg_none(), tgf_arg_none(), tgf_arg_none());
    tgf_end_at(at(__LINE__), p);
}

int main(void) {
    TgfProgram *plain = tgf_program_new(), *twin = novel_program();
    Axes a = axes_declare(plain);
    attention_declare(plain, &a);
    model_declare(plain, &a);
    strategies_write(plain, &a);
    recipe_write(plain);
    const char *got = "", *wanted = "";
    int ok = tgf_program_text(plain, &got).code == TGF_OK && tgf_program_text(twin, &wanted).code == TGF_OK;
    ok = ok && !strcmp(got + strcspn(got, "\n"), wanted + strcspn(wanted, "\n")); // the first line may name the C file
    ok = ok && strlen(got) > 1000;
    if (!ok)
        printf("%s%s\n%s\n---- is not\n%s\n", tgf_program_messages(plain), tgf_program_messages(twin), got, wanted);
    tgf_program_free(plain);
    tgf_program_free(twin);
    return ok ? 0 : 1;
}
