// SPDX-License-Identifier: Apache-2.0
// moe: examples/moe.tgf in C.
#include "tests/dsl/twins.h"

TgfProgram *moe_program(void) {
    TgfProgram *p = tgf_program_new();
    Axis TGF_AXIS(p, vocab, 32000), TGF_AXIS(p, seq, 1024), TGF_AXIS(p, layer, 12);
    // `group` query heads share a key and value head
    Axis TGF_AXIS(p, head, 12), TGF_AXIS(p, kvhead, 4), TGF_AXIS(p, group, tgf_div(head, kvhead)), TGF_AXIS(p, dim, 64);
    Axis TGF_AXIS(p, width, tgf_mul(head, dim)), TGF_AXIS(p, hidden, 2048);
    Axis TGF_AXIS(p, expert, 8), TGF_AXIS(p, choice, expert); // `choice`: the experts as the router sees them
    // capacity factor 5 / 4, two experts a token
    Axis TGF_AXIS(p, slot, tgf_div(tgf_mul(5 * 2, seq), tgf_mul(4, expert)));
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

    // the mixture's result, and what it adds to the loss
    TGF_BLOCK(p, "experts") {
        Tensor TGF_FORMAL(p, x);
        Tensor TGF_PARAM(p, router, tgf_normal(p, 0.02), width, choice);
        tgf_stored(router, "gate.weight", choice, width);
        Tensor TGF_LET(p, logits, tgf_dot(x, router, width));
        Tensor gate, place;
        TGF_UNPACK2(p, tgf_call("route_top_k", logits, choice, seq, 2), gate, place);
        Tensor std = tgf_div(0.02, tgf_sqrt(tgf_mul(2, layer)));
        Tensor TGF_LET(p, y,
                       tgf_call("expert_swiglu", x, gate, place, choice, expert, seq, slot, width, hidden,
                                tgf_key("out_std", std)));
        tgf_return(p, y,
                   tgf_add(tgf_mul(0.02, tgf_call("load_balancing_loss", logits, choice, seq, 2)),
                           tgf_mul(0.001, tgf_call("router_z_loss", logits, choice))));
    }

    TGF_MODEL(p, "moe") {
        Tensor TGF_INPUT(p, tokens, "i32", batch, seq), TGF_INPUT(p, labels, "i32", batch, seq);
        Tensor TGF_PARAM(p, embed, tgf_normal(p, 0.02), vocab, width);
        tgf_as(embed, "model.embed_tokens.weight");
        Tensor TGF_PARAM(p, head_, tgf_normal(p, 0.02), vocab, width);
        tgf_as(head_, "lm_head.weight");
        Tensor TGF_LET(p, x, tgf_take(embed, tokens, vocab));
        Tensor TGF_LET(p, routing, tgf_call("cast", p, 0, "f32"));
        TGF_REPEAT(p, layer, "model.layers.{layer}") {
            Tensor n = tgf_as(tgf_call("rmsnorm", x, width), "input_layernorm");
            TGF_LET(p, x, tgf_add(x, tgf_as(tgf_call("attention", n), "self_attn")));
            n = tgf_as(tgf_call("rmsnorm", x, width), "post_attention_layernorm");
            Tensor y, added;
            TGF_UNPACK2(p, tgf_as(tgf_call("experts", n), "mlp"), y, added);
            TGF_LET(p, x, tgf_add(x, y));
            TGF_LET(p, routing, tgf_add(routing, added));
        }
        Tensor TGF_LET(p, logits, tgf_dot(tgf_as(tgf_call("rmsnorm", x, width), "model.norm"), head_, width));
        tgf_let(p, "loss", tgf_add(tgf_call("cross_entropy", logits, labels, vocab), tgf_div(routing, layer)));
    }

    TGF_STRATEGY(p, "dp") {
        tgf_line(p, "mesh", tgf_key("data", 2));
        tgf_line(p, "split", batch, tgf_over("data"));
    }

    TGF_STRATEGY(p, "tp") { // heads, the hidden units of every expert, words
        tgf_line(p, "mesh", tgf_key("tensor", 4));
        tgf_line(p, "split", kvhead, hidden, vocab, tgf_over("tensor"));
    }

    TGF_STRATEGY(p, "ep") { // whole experts, each rank two; one all_reduce joins their results
        tgf_line(p, "mesh", tgf_key("experts", 4));
        tgf_line(p, "split", expert, tgf_over("experts"));
    }

    TGF_STRATEGY(p, "dp_ep") {
        tgf_line(p, "mesh", tgf_key("data", 2), tgf_key("experts", 2));
        tgf_line(p, "split", batch, tgf_over("data"));
        tgf_line(p, "split", expert, tgf_over("experts"));
    }

    TGF_STRATEGY(p, "ep_a2a") { // experts on the ranks that split the batch: tokens travel to them and back
        tgf_line(p, "mesh", tgf_key("data", 4));
        tgf_line(p, "split", batch, expert, tgf_over("data"));
    }

    TGF_STRATEGY(p, "ep_counted") { // the same, but only slots in use travel: for dropless routing (-D slot=1024)
        tgf_line(p, "mesh", tgf_key("data", 4));
        tgf_line(p, "split", batch, expert, tgf_over("data"), tgf_key("exchange", "counted"));
    }

    TGF_STRATEGY(p, "ep_a2a_nodes") { // the same over two levels: inside a node first, then between nodes
        tgf_line(p, "mesh", tgf_key("node", 2), tgf_key("data", 2));
        tgf_line(p, "split", batch, expert, tgf_over("node"), tgf_over("data"));
    }

    TGF_STRATEGY(p, "ep_tp") {
        tgf_line(p, "mesh", tgf_key("experts", 2), tgf_key("tensor", 2));
        tgf_line(p, "split", expert, tgf_over("experts"));
        tgf_line(p, "split", kvhead, hidden, vocab, tgf_over("tensor"));
    }

    TGF_TRAIN(p) {
        tgf_line(p, "optimizer", "adamw",
                 tgf_key("lr", tgf_call("cosine", p, 6e-4, tgf_key("warmup", 500), tgf_key("steps", 50000),
                                        tgf_key("floor", 0.1))),
                 tgf_key("betas", tgf_list(0.9, 0.95)), tgf_key("decay", 0.1));
        tgf_setting(p, "batch", 64);
        tgf_setting(p, "clip", 1.0);
        tgf_line(p, "data", tgf_quoted("train.bin"));
    }
    return p;
}
