// SPDX-License-Identifier: Apache-2.0
// llama: examples/llama.tgf in C.
#include "tests/dsl/twins.h"

TgfProgram *llama_program(void) {
    TgfProgram *p = tgf_program_new();
    Axis TGF_AXIS(p, vocab, 32000), TGF_AXIS(p, seq, 2048), TGF_AXIS(p, layer, 22);
    // `group` query heads share a key and value head
    Axis TGF_AXIS(p, head, 32), TGF_AXIS(p, kvhead, 4), TGF_AXIS(p, group, tgf_div(head, kvhead)), TGF_AXIS(p, dim, 64);
    Axis TGF_AXIS(p, width, tgf_mul(head, dim)), TGF_AXIS(p, hidden, 5632);
    Axis TGF_AXIS(p, rot, 2), TGF_AXIS(p, half, tgf_div(dim, 2)), TGF_AXIS(p, key, seq);
    Axis batch = tgf_axis_named(p, "batch");

    TGF_BLOCK(p, "attention") {
        Tensor TGF_FORMAL(p, x);
        Tensor TGF_PARAM(p, wq, tgf_normal(p, 0.02), width, kvhead, group, dim);
        tgf_stored(wq, "q_proj.weight", tgf_product(kvhead, group, dim), width);
        Tensor TGF_PARAM(p, wk, tgf_normal(p, 0.02), width, kvhead, dim);
        tgf_stored(wk, "k_proj.weight", tgf_product(kvhead, dim), width);
        Tensor TGF_PARAM(p, wv, tgf_normal(p, 0.02), width, kvhead, dim);
        tgf_stored(wv, "v_proj.weight", tgf_product(kvhead, dim), width);
        Tensor TGF_PARAM(p, wo, tgf_normal(p, tgf_div(0.02, tgf_sqrt(tgf_mul(2, layer)))), kvhead, group, dim, width);
        tgf_stored(wo, "o_proj.weight", width, tgf_product(kvhead, group, dim));
        Tensor TGF_LET(p, q, tgf_call("rope", tgf_dot(x, wq, width), seq, dim, rot, half));
        Tensor TGF_LET(p, k, tgf_call("rope", tgf_dot(x, wk, width), seq, dim, rot, half));
        Tensor TGF_LET(p, v, tgf_dot(x, wv, width));
        Tensor TGF_LET(p, y,
                       tgf_attend(q, tgf_view(k, tgf_rename(seq, key)), tgf_view(v, tgf_rename(seq, key)), dim,
                                  tgf_over(key), tgf_key("scale", tgf_div(1, tgf_sqrt(dim))), tgf_causal(seq, key)));
        tgf_return(p, tgf_dot(y, wo, kvhead, group, dim));
    }

    TGF_MODEL(p, "llama") {
        Tensor TGF_INPUT(p, tokens, "i32", batch, seq), TGF_INPUT(p, labels, "i32", batch, seq);
        Tensor TGF_PARAM(p, embed, tgf_normal(p, 0.02), vocab, width);
        tgf_as(embed, "model.embed_tokens.weight");
        Tensor TGF_PARAM(p, head_, tgf_normal(p, 0.02), vocab, width);
        tgf_as(head_, "lm_head.weight");
        Tensor TGF_LET(p, x, tgf_take(embed, tokens, vocab));
        TGF_REPEAT(p, layer, "model.layers.{layer}") {
            Tensor n = tgf_as(tgf_call("rmsnorm", x, width), "input_layernorm");
            TGF_LET(p, x, tgf_add(x, tgf_as(tgf_call("attention", n), "self_attn")));
            n = tgf_as(tgf_call("rmsnorm", x, width), "post_attention_layernorm");
            TGF_LET(p, x, tgf_add(x, tgf_as(tgf_call("swiglu", n, width, hidden), "mlp")));
        }
        Tensor TGF_LET(p, logits, tgf_dot(tgf_as(tgf_call("rmsnorm", x, width), "model.norm"), head_, width));
        tgf_let(p, "loss", tgf_call("cross_entropy", logits, labels, vocab));
    }

    TGF_STRATEGY(p, "tp") { // heads, hidden units and words over the tensor ranks
        tgf_line(p, "mesh", tgf_key("tensor", 4));
        tgf_line(p, "split", kvhead, hidden, vocab, tgf_over("tensor"));
    }

    TGF_STRATEGY(p, "dp") {
        tgf_line(p, "mesh", tgf_key("data", 2));
        tgf_line(p, "split", batch, tgf_over("data"));
    }

    TGF_STRATEGY(p, "dp_tp") {
        tgf_line(p, "mesh", tgf_key("data", 2), tgf_key("tensor", 4));
        tgf_line(p, "split", batch, tgf_over("data"));
        tgf_line(p, "split", kvhead, hidden, vocab, tgf_over("tensor"));
    }

    TGF_STRATEGY(p, "fsdp") { // fully sharded data parallelism: nothing is stored twice
        tgf_line(p, "mesh", tgf_key("data", 4));
        tgf_line(p, "split", batch, tgf_over("data"));
        tgf_line(p, "shard", "parameters", tgf_over("data"));
    }

    TGF_STRATEGY(p, "hsdp") { // hybrid: parameters in parts inside a node, gradients summed over nodes
        tgf_line(p, "mesh", tgf_key("node", 2), tgf_key("data", 2));
        tgf_line(p, "split", batch, tgf_over("node"), tgf_over("data"));
        tgf_line(p, "shard", "parameters", tgf_over("data"));
    }

    TGF_STRATEGY(p, "f16") { // products in f16, the loss scaled; states in parts over the data ranks
        tgf_line(p, "mesh", tgf_key("data", 2), tgf_key("tensor", 2));
        tgf_line(p, "split", batch, tgf_over("data"));
        tgf_line(p, "split", kvhead, hidden, vocab, tgf_over("tensor"));
        tgf_line(p, "shard", "optimizer", tgf_over("data"));
        tgf_line(p, "precision", "f16");
    }

    TGF_STRATEGY(p, "megatron_sp") { // what lies between the blocks split over tokens (Korthikanti et al. 2022)
        tgf_line(p, "mesh", tgf_key("data", 2), tgf_key("tensor", 4));
        tgf_line(p, "split", batch, tgf_over("data"));
        tgf_line(p, "split", kvhead, hidden, vocab, tgf_over("tensor"));
        tgf_line(p, "split", seq, tgf_over("tensor"), tgf_words("between", "blocks"));
    }

    TGF_STRATEGY(p, "cp") { // long sequences: keys and values go round a ring (Llama 3's training)
        tgf_line(p, "mesh", tgf_key("context", 2), tgf_key("tensor", 4));
        tgf_line(p, "split", seq, tgf_over("context"), tgf_key("attention", "zigzag"));
        tgf_line(p, "split", kvhead, hidden, vocab, tgf_over("tensor"));
    }

    TGF_TRAIN(p) {
        tgf_line(p, "optimizer", "adamw",
                 tgf_key("lr", tgf_call("cosine", p, 4e-4, tgf_key("warmup", 2000), tgf_key("steps", 715000),
                                        tgf_key("floor", 0.1))),
                 tgf_key("betas", tgf_list(0.9, 0.95)), tgf_key("decay", 0.1));
        tgf_setting(p, "batch", 1024);
        tgf_setting(p, "clip", 1.0);
        tgf_line(p, "data", tgf_quoted("train.bin"));
    }
    return p;
}
