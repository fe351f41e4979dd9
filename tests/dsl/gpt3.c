// SPDX-License-Identifier: Apache-2.0
// gpt3: examples/gpt3.tgf in C.
#include "tests/dsl/twins.h"

TgfProgram *gpt3_program(void) {
    TgfProgram *p = tgf_program_new();
    Axis TGF_AXIS(p, vocab, 50257), TGF_AXIS(p, seq, 2048), TGF_AXIS(p, layer, 96), TGF_AXIS(p, head, 96),
        TGF_AXIS(p, dim, 128);
    Axis TGF_AXIS(p, width, tgf_mul(head, dim)), TGF_AXIS(p, hidden, tgf_mul(4, width)), TGF_AXIS(p, qkv, 3);
    Axis TGF_AXIS(p, key, seq);
    Axis batch = tgf_axis_named(p, "batch");

    TGF_BLOCK(p, "attention") {
        Tensor TGF_FORMAL(p, x);
        Tensor TGF_PARAM(p, w, tgf_normal(p, 0.02), width, qkv, head, dim);
        tgf_stored(w, "attn.c_attn.weight", width, tgf_product(qkv, head, dim));
        Tensor TGF_PARAM(p, b, 0, qkv, head, dim);
        tgf_stored(b, "attn.c_attn.bias", tgf_product(qkv, head, dim));
        Tensor TGF_PARAM(p, o, tgf_normal(p, tgf_div(0.02, tgf_sqrt(tgf_mul(2, layer)))), head, dim, width);
        tgf_stored(o, "attn.c_proj.weight", tgf_product(head, dim), width);
        Tensor TGF_PARAM(p, c, 0, width);
        tgf_as(c, "attn.c_proj.bias");
        Tensor q, k, v;
        TGF_UNPACK3(p, tgf_unstack(tgf_add(tgf_dot(x, w, width), b), qkv), q, k, v);
        Tensor TGF_LET(p, y,
                       tgf_attend(q, tgf_view(k, tgf_rename(seq, key)), tgf_view(v, tgf_rename(seq, key)), dim,
                                  tgf_over(key), tgf_key("scale", tgf_div(1, tgf_sqrt(dim))), tgf_causal(seq, key)));
        tgf_return(p, tgf_add(tgf_dot(y, o, head, dim), c));
    }

    TGF_MODEL(p, "gpt3") {
        Tensor TGF_INPUT(p, tokens, "i32", batch, seq), TGF_INPUT(p, labels, "i32", batch, seq);
        Tensor TGF_PARAM(p, wte, tgf_normal(p, 0.02), vocab, width);
        tgf_as(wte, "wte.weight");
        Tensor TGF_PARAM(p, wpe, tgf_normal(p, 0.01), seq, width);
        tgf_as(wpe, "wpe.weight");
        Tensor TGF_LET(p, x, tgf_add(tgf_take(wte, tokens, vocab), wpe));
        TGF_REPEAT(p, layer, "h.{layer}") {
            Tensor std = tgf_div(0.02, tgf_sqrt(tgf_mul(2, layer)));
            TGF_LET(p, x, tgf_add(x, tgf_call("attention", tgf_as(tgf_call("layernorm", x, width), "ln_1"))));
            Tensor n = tgf_as(tgf_call("layernorm", x, width), "ln_2");
            TGF_LET(p, x, tgf_add(x, tgf_as(tgf_call("mlp", n, width, hidden, tgf_key("out_std", std)), "mlp")));
        }
        Tensor TGF_LET(p, logits, tgf_dot(tgf_as(tgf_call("layernorm", x, width), "ln_f"), wte, width));
        tgf_let(p, "loss", tgf_call("cross_entropy", logits, labels, vocab));
    }

    TGF_STRATEGY(p, "dp_tp") {
        tgf_line(p, "mesh", tgf_key("data", 16), tgf_key("tensor", 8));
        tgf_line(p, "split", batch, tgf_over("data"));
        tgf_line(p, "split", head, hidden, vocab, tgf_over("tensor"));
    }

    TGF_TRAIN(p) {
        tgf_line(p, "optimizer", "adamw",
                 tgf_key("lr", tgf_call("cosine", p, 0.6e-4, tgf_key("warmup", 119), tgf_key("steps", 95368),
                                        tgf_key("floor", 0.1))),
                 tgf_key("betas", tgf_list(0.9, 0.95)), tgf_key("decay", 0.1));
        tgf_setting(p, "batch", 1536); // 3.1 million tokens a step
        tgf_setting(p, "clip", 1.0);
        tgf_line(p, "data", tgf_quoted("train.bin"));
    }
    return p;
}
