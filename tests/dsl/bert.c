// SPDX-License-Identifier: Apache-2.0
// bert: examples/bert.tgf in C. Labels are -100 where nothing was masked.
#include "tests/dsl/twins.h"

TgfProgram *bert_program(void) {
    TgfProgram *p = tgf_program_new();
    Axis TGF_AXIS(p, vocab, 30522), TGF_AXIS(p, seq, 512), TGF_AXIS(p, layer, 12), TGF_AXIS(p, head, 12),
        TGF_AXIS(p, dim, 64), TGF_AXIS(p, segment, 2);
    Axis TGF_AXIS(p, width, tgf_mul(head, dim)), TGF_AXIS(p, hidden, tgf_mul(4, width));
    Axis TGF_AXIS(p, key, seq), TGF_AXIS(p, out, width);
    Axis batch = tgf_axis_named(p, "batch");

    TGF_BLOCK(p, "attention") {
        Tensor TGF_FORMAL(p, x), TGF_FORMAL(p, visible);
        Tensor TGF_PARAM(p, wq, tgf_normal(p, 0.02), width, head, dim);
        tgf_stored(wq, "self.query.weight", tgf_product(head, dim), width);
        Tensor TGF_PARAM(p, bq, 0, head, dim);
        tgf_stored(bq, "self.query.bias", tgf_product(head, dim));
        Tensor TGF_PARAM(p, wk, tgf_normal(p, 0.02), width, head, dim);
        tgf_stored(wk, "self.key.weight", tgf_product(head, dim), width);
        Tensor TGF_PARAM(p, bk, 0, head, dim);
        tgf_stored(bk, "self.key.bias", tgf_product(head, dim));
        Tensor TGF_PARAM(p, wv, tgf_normal(p, 0.02), width, head, dim);
        tgf_stored(wv, "self.value.weight", tgf_product(head, dim), width);
        Tensor TGF_PARAM(p, bv, 0, head, dim);
        tgf_stored(bv, "self.value.bias", tgf_product(head, dim));
        Tensor TGF_PARAM(p, wo, tgf_normal(p, 0.02), head, dim, width);
        tgf_stored(wo, "output.dense.weight", width, tgf_product(head, dim));
        Tensor TGF_PARAM(p, bo, 0, width);
        tgf_as(bo, "output.dense.bias");
        Tensor TGF_LET(p, q, tgf_add(tgf_dot(x, wq, width), bq));
        Tensor TGF_LET(p, k, tgf_add(tgf_dot(x, wk, width), bk));
        Tensor TGF_LET(p, v, tgf_add(tgf_dot(x, wv, width), bv));
        Tensor TGF_LET(p, y,
                       tgf_attend(q, tgf_view(k, tgf_rename(seq, key)), tgf_view(v, tgf_rename(seq, key)), dim,
                                  tgf_over(key), tgf_key("scale", tgf_div(1, tgf_sqrt(dim))),
                                  tgf_key("mask", visible)));
        Tensor sum = tgf_add(tgf_add(x, tgf_dot(y, wo, head, dim)), bo);
        tgf_return(p, tgf_as(tgf_call("layernorm", sum, width, tgf_key("eps", 1e-12)), "output.LayerNorm"));
    }

    TGF_BLOCK(p, "feedforward") {
        Tensor TGF_FORMAL(p, x);
        Tensor TGF_PARAM(p, up, tgf_normal(p, 0.02), width, hidden);
        tgf_stored(up, "intermediate.dense.weight", hidden, width);
        Tensor TGF_PARAM(p, ub, 0, hidden);
        tgf_as(ub, "intermediate.dense.bias");
        Tensor TGF_PARAM(p, down, tgf_normal(p, 0.02), hidden, width);
        tgf_stored(down, "output.dense.weight", width, hidden);
        Tensor TGF_PARAM(p, db, 0, width);
        tgf_as(db, "output.dense.bias");
        Tensor TGF_LET(p, y,
                       tgf_add(tgf_dot(tgf_call("gelu_erf", tgf_add(tgf_dot(x, up, width), ub)), down, hidden), db));
        tgf_return(p, tgf_as(tgf_call("layernorm", tgf_add(x, y), width, tgf_key("eps", 1e-12)), "output.LayerNorm"));
    }

    TGF_BLOCK(p, "word_head") {
        Tensor TGF_FORMAL(p, x), TGF_FORMAL(p, words);
        Tensor TGF_PARAM(p, w, tgf_normal(p, 0.02), width, out);
        tgf_stored(w, "transform.dense.weight", out, width);
        Tensor TGF_PARAM(p, b, 0, out);
        tgf_as(b, "transform.dense.bias");
        Tensor TGF_PARAM(p, c, 0, vocab);
        tgf_as(c, "bias");
        Tensor activated = tgf_call("gelu_erf", tgf_add(tgf_dot(x, w, width), b));
        Tensor TGF_LET(p, y,
                       tgf_as(tgf_call("layernorm", activated, out, tgf_key("eps", 1e-12)), "transform.LayerNorm"));
        tgf_return(p, tgf_add(tgf_dot(tgf_view(y, tgf_rename(out, width)), words, width), c));
    }

    TGF_MODEL(p, "bert") {
        Tensor TGF_INPUT(p, tokens, "i32", batch, seq), TGF_INPUT(p, types, "i32", batch, seq);
        Tensor TGF_INPUT(p, labels, "i32", batch, seq);
        Tensor TGF_INPUT(p, mask, "i32", batch, seq); // 1 where there is a token, 0 where padding
        Tensor TGF_PARAM(p, words, tgf_normal(p, 0.02), vocab, width);
        tgf_as(words, "bert.embeddings.word_embeddings.weight");
        Tensor TGF_PARAM(p, positions, tgf_normal(p, 0.02), seq, width);
        tgf_as(positions, "bert.embeddings.position_embeddings.weight");
        Tensor TGF_PARAM(p, segments, tgf_normal(p, 0.02), segment, width);
        tgf_as(segments, "bert.embeddings.token_type_embeddings.weight");
        Tensor TGF_LET(p, visible, tgf_ne(tgf_view(mask, tgf_rename(seq, key)), 0));
        Tensor TGF_LET(p, x,
                       tgf_add(tgf_add(tgf_take(words, tokens, vocab), positions), tgf_take(segments, types, segment)));
        TGF_LET(p, x, tgf_as(tgf_call("layernorm", x, width, tgf_key("eps", 1e-12)), "bert.embeddings.LayerNorm"));
        TGF_REPEAT(p, layer, "bert.encoder.layer.{layer}") {
            TGF_LET(p, x, tgf_as(tgf_call("attention", x, visible), "attention"));
            TGF_LET(p, x, tgf_call("feedforward", x));
        }
        // tied: the word embeddings again
        Tensor TGF_LET(p, logits, tgf_as(tgf_call("word_head", x, words), "cls.predictions"));
        tgf_let(p, "loss", tgf_call("cross_entropy", logits, labels, vocab));
    }

    TGF_STRATEGY(p, "tp") {
        tgf_line(p, "mesh", tgf_key("tensor", 2));
        tgf_line(p, "split", head, hidden, vocab, tgf_over("tensor"));
    }

    TGF_STRATEGY(p, "dp_tp") {
        tgf_line(p, "mesh", tgf_key("data", 2), tgf_key("tensor", 2));
        tgf_line(p, "split", batch, tgf_over("data"));
        tgf_line(p, "split", head, hidden, vocab, tgf_over("tensor"));
    }

    TGF_TRAIN(p) {
        tgf_line(p, "optimizer", "adamw",
                 tgf_key("lr", tgf_call("linear", p, 1e-4, tgf_key("warmup", 10000), tgf_key("steps", 1000000))),
                 tgf_key("betas", tgf_list(0.9, 0.999)), tgf_key("eps", 1e-6), tgf_key("decay", 0.01));
        tgf_setting(p, "batch", 256);
        tgf_setting(p, "clip", 1.0);
        tgf_line(p, "data", tgf_quoted("train.bin"));
    }
    return p;
}
