// SPDX-License-Identifier: Apache-2.0
// A model built here, trained in this process, and compiled to an object: built NAME.o NAME.h
#include <stdio.h>
#include <tgf/dsl.h>

enum { VOCAB = 32, SEQ = 16, BATCH = 4 };

static void build(TgfProgram *p) {
    Axis TGF_AXIS(p, vocab, VOCAB), TGF_AXIS(p, seq, SEQ), TGF_AXIS(p, width, 16), batch = tgf_axis_named(p, "batch");
    tgf_model(p, "built");
    Tensor tokens = tgf_input(p, "tokens", "i32", batch, seq), labels = tgf_input(p, "labels", "i32", batch, seq);
    Tensor wte = tgf_param(p, "wte", tgf_call("normal", p, 0.02), vocab, width);
    Tensor out = tgf_param(p, "out", tgf_call("normal", p, 0.02), vocab, width);
    Tensor logits = tgf_dot(tgf_take(wte, tokens, vocab), out, width);
    tgf_let(p, "loss", tgf_call("cross_entropy", logits, labels, vocab));
    tgf_end(p);
    tgf_train(p);
    tgf_line(p, "optimizer", "adamw", tgf_key("lr", 1e-2));
    tgf_setting(p, "batch", BATCH);
    tgf_end(p);
}

int main(int argc, char **argv) {
    int32_t tokens[BATCH * SEQ], labels[BATCH * SEQ];
    for (int i = 0; i < BATCH * SEQ; i++) {
        tokens[i] = i % 8;
        labels[i] = (i + 1) % 8;
    }
    TgfProgram *p = tgf_program_new();
    if (!p) return 1;
    build(p);
    float loss = 0, first = 0;
    TgfStatus s = tgf_program_start(p, NULL, NULL);
    for (int i = 0; i < 20 && s.code == TGF_OK; i++) {
        s = tgf_program_step(p, tokens, labels, &loss);
        if (!i) first = loss;
    }
    if (s.code == TGF_OK && argc == 3) s = tgf_compile(p, NULL, argv[1], argv[2]);
    if (s.code != TGF_OK) fputs(tgf_program_messages(p), stderr);
    else printf("built: loss %.4f\n", (double)loss);
    tgf_program_free(p);
    return s.code != TGF_OK || !(loss < first - 0.5f);
}
