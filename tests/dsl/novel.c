// SPDX-License-Identifier: Apache-2.0
// novel: examples/novel.tgf in C.
#include "tests/dsl/twins.h"

TgfProgram *novel_program(void) {
    TgfProgram *p = tgf_program_new();
    Axis TGF_AXIS(p, vocab, 256), TGF_AXIS(p, seq, 128), TGF_AXIS(p, layer, 4), TGF_AXIS(p, head, 6),
        TGF_AXIS(p, dim, 32);
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

    TGF_MODEL(p, "novel") {
        Tensor TGF_INPUT(p, tokens, "i32", batch, seq), TGF_INPUT(p, labels, "i32", batch, seq);
        Tensor TGF_PARAM(p, wte, tgf_normal(p, 0.02), vocab, width);
        tgf_as(wte, "wte.weight");
        Tensor TGF_PARAM(p, wpe, tgf_normal(p, 0.02), seq, width);
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

    TGF_STRATEGY(p, "tensor2") {
        tgf_line(p, "mesh", tgf_key("tensor", 2));
        tgf_line(p, "split", head, hidden, vocab, tgf_over("tensor"));
    }

    TGF_STRATEGY(p, "bf16") { // products and attention in bf16; parameters and sums stay f32
        tgf_line(p, "precision", "bf16");
    }

    TGF_STRATEGY(p, "bf16_data2") {
        tgf_line(p, "mesh", tgf_key("data", 2));
        tgf_line(p, "split", batch, tgf_over("data"));
        // gradients cross the mesh in bf16
        tgf_line(p, "precision", "bf16", tgf_key("master", "f32"), tgf_key("reduce", "bf16"));
    }

    TGF_STRATEGY(p, "f16") { // the loss is scaled; steps that overflow are skipped and counted
        tgf_line(p, "precision", "f16", tgf_key("scale", 65536));
    }

    TGF_STRATEGY(p, "data2") {
        tgf_line(p, "mesh", tgf_key("data", 2));
        tgf_line(p, "split", batch, tgf_over("data"));
    }

    TGF_STRATEGY(p, "all3") { // data x pipeline x tensor, ZeRO-1, layers computed again
        tgf_line(p, "mesh", tgf_key("data", 2), tgf_key("pipe", 2), tgf_key("tensor", 2));
        tgf_line(p, "split", batch, tgf_over("data"));
        tgf_line(p, "split", layer, tgf_over("pipe"), tgf_key("schedule", "1f1b"), tgf_key("microbatches", 4));
        tgf_line(p, "split", head, hidden, vocab, tgf_over("tensor"));
        tgf_line(p, "shard", "optimizer", tgf_over("data"));
        tgf_line(p, "recompute", "block");
    }

    TGF_STRATEGY(p, "fits") { // one rank, with what must go computed again
        tgf_line(p, "recompute", "auto", tgf_key("memory", "130MB"));
    }

    TGF_TRAIN(p) {
        tgf_line(p, "optimizer", "adamw",
                 tgf_key("lr", tgf_call("cosine", p, 2e-3, tgf_key("warmup", 50), tgf_key("steps", 700),
                                        tgf_key("floor", 0.1))),
                 tgf_key("betas", tgf_list(0.9, 0.95)), tgf_key("decay", 0.1));
        tgf_setting(p, "batch", 32);
        tgf_setting(p, "clip", 1.0);
        tgf_line(p, "data", tgf_quoted("novels.txt"));
    }
    return p;
}
