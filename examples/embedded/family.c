// SPDX-License-Identifier: Apache-2.0
#include "family.h"
#include <math.h>

typedef struct Axes {
    Axis vocab, seq, key, layer, head, dim, qkv, width, hidden;
} Axes;

static Axes axes(TgfProgram *p, int n) {
    Axis TGF_AXIS(p, vocab, 256), TGF_AXIS(p, seq, FAMILY_SEQ), TGF_AXIS(p, layer, family_layers(n)),
        TGF_AXIS(p, head, n);
    Axis TGF_AXIS(p, dim, FAMILY_DIM), TGF_AXIS(p, qkv, 3);
    Axis TGF_AXIS(p, width, tgf_mul(head, dim)), TGF_AXIS(p, hidden, tgf_mul(4, width)), TGF_AXIS(p, key, seq);
    return (Axes){vocab, seq, key, layer, head, dim, qkv, width, hidden};
}

// std: of the weights that lead back into the residual stream.
static void attention(TgfProgram *p, const Axes *a, double std) {
    Tensor q, k, v;
    tgf_block(p, "attention");
    Tensor TGF_FORMAL(p, x);
    Tensor TGF_PARAM(p, w, tgf_normal(p, 0.02), a->width, a->qkv, a->head, a->dim);
    Tensor TGF_PARAM(p, o, tgf_normal(p, std), a->head, a->dim, a->width);
    TGF_UNPACK3(p, tgf_unstack(tgf_dot(x, w, a->width), a->qkv), q, k, v);
    Tensor TGF_LET(p, y,
                   tgf_attend(q, tgf_view(k, tgf_rename(a->seq, a->key)), tgf_view(v, tgf_rename(a->seq, a->key)),
                              a->dim, tgf_over(a->key), tgf_key("scale", 1 / sqrt(FAMILY_DIM)),
                              tgf_causal(a->seq, a->key)));
    tgf_return(p, tgf_dot(y, o, a->head, a->dim));
    tgf_end(p);
}

static Tensor norm(Tensor x, const Axes *a, const char *name) {
    return tgf_as(tgf_call("layernorm", x, a->width), name);
}

static void model(TgfProgram *p, const Axes *a, double std) {
    Axis batch = tgf_axis_named(p, "batch");
    TGF_MODEL(p, "family") {
        Tensor TGF_INPUT(p, tokens, "i32", batch, a->seq), TGF_INPUT(p, labels, "i32", batch, a->seq);
        Tensor TGF_PARAM(p, wte, tgf_normal(p, 0.02), a->vocab, a->width);
        Tensor TGF_PARAM(p, wpe, tgf_normal(p, 0.02), a->seq, a->width);
        Tensor TGF_LET(p, x, tgf_add(tgf_take(wte, tokens, a->vocab), wpe));
        TGF_REPEAT(p, a->layer, "h.{layer}") {
            TGF_LET(p, x, tgf_add(x, tgf_as(tgf_call("attention", norm(x, a, "ln_1")), "attn")));
            Tensor mlp = tgf_call("mlp", norm(x, a, "ln_2"), a->width, a->hidden, tgf_key("out_std", std));
            TGF_LET(p, x, tgf_add(x, tgf_as(mlp, "mlp")));
        }
        tgf_let(p, "loss", tgf_call("cross_entropy", tgf_dot(norm(x, a, "ln_f"), wte, a->width), labels, a->vocab));
    }
}

int family_width(int n) { return n * FAMILY_DIM; }
int family_layers(int n) { return (family_width(n) + 31) / 32; }

TgfProgram *family_member(int n, int warmup) {
    TgfProgram *p = tgf_program_new();
    if (!p) return NULL;
    Axes a = axes(p, n);
    double std = 0.02 / sqrt(2.0 * family_layers(n));
    attention(p, &a, std);
    model(p, &a, std);
    TGF_TRAIN(p) {
        tgf_line(p, "optimizer", "adamw", tgf_key("lr", tgf_call("constant", p, 4e-3, tgf_key("warmup", warmup))),
                 tgf_key("betas", tgf_list(0.9, 0.95)), tgf_key("decay", 0.1));
        tgf_setting(p, "batch", FAMILY_BATCH);
        tgf_setting(p, "clip", 1.0);
    }
    return p;
}
