// SPDX-License-Identifier: Apache-2.0
// family_bert: BERT with its matrices and biases made by one helper, from the names they have in the hub's files.
#include "tests/dsl/family.h"
#include <stdarg.h>

static const char *named(char buffer[100], const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(buffer, 100, format, list);
    va_end(list);
    return buffer;
}

typedef struct Affine { // x W + b
    Tensor w, b;
    Axis from;
} Affine;

// Stored as `file`.weight, [to, from], and `file`.bias.
static Affine affine(TgfProgram *p, const char *w, const char *b, const char *file, Axis from, Axis to) {
    char buffer[100];
    Affine a = {.from = from};
    a.w = tgf_stored(tgf_param(p, w, tgf_normal(p, 0.02), from, to), named(buffer, "%s.weight", file), to, from);
    a.b = tgf_as(tgf_param(p, b, 0, to), named(buffer, "%s.bias", file));
    return a;
}

static Tensor apply(Affine a, Tensor x) { return tgf_add(tgf_dot(x, a.w, a.from), a.b); }

static Tensor norm(Tensor x, Axis axis, const char *file) {
    return tgf_as(tgf_call("layernorm", x, axis, tgf_key("eps", 1e-12)), file);
}

static void attention_declare(TgfProgram *p, Axis seq, Axis key, Axis width, Axis head, Axis dim) {
    const char *const parts[] = {"query", "key", "value"};
    Tensor qkv[3];
    Affine in[3];
    char buffer[100];
    tgf_block(p, "attention");
    Tensor x = tgf_formal(p, "x"), visible = tgf_formal(p, "visible");
    for (int i = 0; i < 3; i++) {
        in[i].from = width;
        in[i].w = tgf_param(p, named(buffer, "w%c", *parts[i]), tgf_normal(p, 0.02), width, head, dim);
        tgf_stored(in[i].w, named(buffer, "self.%s.weight", parts[i]), tgf_product(head, dim), width);
        in[i].b = tgf_param(p, named(buffer, "b%c", *parts[i]), 0, head, dim);
        tgf_stored(in[i].b, named(buffer, "self.%s.bias", parts[i]), tgf_product(head, dim));
    }
    Tensor wo = tgf_stored(tgf_param(p, "wo", tgf_normal(p, 0.02), head, dim, width), "output.dense.weight", width,
                           tgf_product(head, dim));
    Tensor bo = tgf_as(tgf_param(p, "bo", 0, width), "output.dense.bias");
    for (int i = 0; i < 3; i++) qkv[i] = tgf_let(p, named(buffer, "%c", *parts[i]), apply(in[i], x));
    TgfArg renamed = tgf_rename(seq, key);
    Tensor y = tgf_let(p, "y",
                       tgf_attend(qkv[0], tgf_view(qkv[1], renamed), tgf_view(qkv[2], renamed), dim, tgf_over(key),
                                  tgf_key("scale", tgf_div(1, tgf_sqrt(dim))), tgf_key("mask", visible)));
    tgf_return(p, norm(tgf_add(tgf_add(x, tgf_dot(y, wo, head, dim)), bo), width, "output.LayerNorm"));
    tgf_end(p);
}

static void feedforward_declare(TgfProgram *p, Axis width, Axis hidden) {
    tgf_block(p, "feedforward");
    Tensor x = tgf_formal(p, "x");
    Affine up = affine(p, "up", "ub", "intermediate.dense", width, hidden);
    Affine down = affine(p, "down", "db", "output.dense", hidden, width);
    Tensor y = tgf_let(p, "y", apply(down, tgf_call("gelu_erf", apply(up, x))));
    tgf_return(p, norm(tgf_add(x, y), width, "output.LayerNorm"));
    tgf_end(p);
}

static void head_declare(TgfProgram *p, Axis vocab, Axis width, Axis out) {
    tgf_block(p, "word_head");
    Tensor x = tgf_formal(p, "x"), words = tgf_formal(p, "words");
    Affine dense = affine(p, "w", "b", "transform.dense", width, out);
    Tensor c = tgf_as(tgf_param(p, "c", 0, vocab), "bias");
    Tensor y = tgf_let(p, "y", norm(tgf_call("gelu_erf", apply(dense, x)), out, "transform.LayerNorm"));
    tgf_return(p, tgf_add(tgf_dot(tgf_view(y, tgf_rename(out, width)), words, width), c));
    tgf_end(p);
}

static Tensor embedding(TgfProgram *p, const char *name, const char *file, Axis of, Axis width) {
    char buffer[100];
    return tgf_as(tgf_param(p, name, tgf_normal(p, 0.02), of, width),
                  named(buffer, "bert.embeddings.%s_embeddings.weight", file));
}

TgfProgram *bert_family(void) {
    TgfProgram *p = tgf_program_new();
    Axis batch = tgf_axis_named(p, "batch"), vocab = tgf_axis(p, "vocab", 30522), seq = tgf_axis(p, "seq", 512);
    Axis layer = tgf_axis(p, "layer", 12), head = tgf_axis(p, "head", 12), dim = tgf_axis(p, "dim", 64);
    Axis segment = tgf_axis(p, "segment", 2), width = tgf_axis(p, "width", tgf_mul(head, dim));
    Axis hidden = tgf_axis(p, "hidden", tgf_mul(4, width)), key = tgf_axis(p, "key", seq);
    Axis out = tgf_axis(p, "out", width);
    attention_declare(p, seq, key, width, head, dim);
    feedforward_declare(p, width, hidden);
    head_declare(p, vocab, width, out);

    tgf_model(p, "bert");
    enum { TOKENS, TYPES, LABELS, MASK };
    const char *const names[] = {"tokens", "types", "labels", "mask"};
    Tensor inputs[4];
    for (int i = 0; i < 4; i++) inputs[i] = tgf_input(p, names[i], "i32", batch, seq);
    Tensor words = embedding(p, "words", "word", vocab, width);
    Tensor positions = embedding(p, "positions", "position", seq, width);
    Tensor segments = embedding(p, "segments", "token_type", segment, width);
    Tensor visible = tgf_let(p, "visible", tgf_ne(tgf_view(inputs[MASK], tgf_rename(seq, key)), 0));
    Tensor x = tgf_add(tgf_take(words, inputs[TOKENS], vocab), positions);
    x = tgf_let(p, "x", tgf_add(x, tgf_take(segments, inputs[TYPES], segment)));
    x = tgf_let(p, "x", norm(x, width, "bert.embeddings.LayerNorm"));
    tgf_repeat(p, layer, "bert.encoder.layer.{layer}");
    x = tgf_let(p, "x", tgf_as(tgf_call("attention", x, visible), "attention"));
    x = tgf_let(p, "x", tgf_call("feedforward", x));
    tgf_end(p);
    Tensor logits = tgf_let(p, "logits", tgf_as(tgf_call("word_head", x, words), "cls.predictions"));
    tgf_let(p, "loss", tgf_call("cross_entropy", logits, inputs[LABELS], vocab));
    tgf_end(p);

    const Layout layouts[] = {{"tp", .tensor = 2}, {"dp_tp", .data = 2, .tensor = 2}};
    for (int i = 0; i < 2; i++) layout_write(p, &layouts[i], (Split){batch, seq, layer, {head, hidden, vocab}});
    recipe_write(p, (Recipe){"linear", 1e-4, 0, 10000, 1000000, 0.999, 1e-6, 0.01, 256, "train.bin"});
    return p;
}
