// SPDX-License-Identifier: Apache-2.0
// family_gpt: one function makes GPT-2's architecture at the sizes of a row: novel, GPT-2, GPT-3 and a trillion
// parameters.
#include "tests/dsl/family.h"

typedef struct Gpt {
    const char *name;
    int vocab, seq, layer, head, dim;
    double wpe_std;
    Recipe recipe;
    const Layout *layouts;
    int nlayouts;
} Gpt;

typedef struct Axes {
    Axis batch, vocab, seq, layer, head, dim, width, hidden, qkv, key;
} Axes;

static Axes axes_declare(TgfProgram *p, const Gpt *g) {
    Axes a = {.batch = tgf_axis_named(p, "batch")};
    const struct {
        Axis *axis;
        const char *name;
        int extent;
    } sizes[] = {{&a.vocab, "vocab", g->vocab},
                 {&a.seq, "seq", g->seq},
                 {&a.layer, "layer", g->layer},
                 {&a.head, "head", g->head},
                 {&a.dim, "dim", g->dim}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        *sizes[i].axis = tgf_axis(p, sizes[i].name, sizes[i].extent);
    a.width = tgf_axis(p, "width", tgf_mul(a.head, a.dim));
    a.hidden = tgf_axis(p, "hidden", tgf_mul(4, a.width));
    a.qkv = tgf_axis(p, "qkv", 3);
    a.key = tgf_axis(p, "key", a.seq);
    return a;
}

static void attention_declare(TgfProgram *p, const Axes *a) {
    tgf_block(p, "attention");
    Tensor x = tgf_formal(p, "x"), q, k, v;
    Tensor w = tgf_stored(tgf_param(p, "w", tgf_normal(p, 0.02), a->width, a->qkv, a->head, a->dim),
                          "attn.c_attn.weight", a->width, tgf_product(a->qkv, a->head, a->dim));
    Tensor b = tgf_stored(tgf_param(p, "b", 0, a->qkv, a->head, a->dim), "attn.c_attn.bias",
                          tgf_product(a->qkv, a->head, a->dim));
    Tensor o = tgf_stored(tgf_param(p, "o", tgf_normal(p, depth_std(a->layer)), a->head, a->dim, a->width),
                          "attn.c_proj.weight", tgf_product(a->head, a->dim), a->width);
    Tensor c = tgf_as(tgf_param(p, "c", 0, a->width), "attn.c_proj.bias");
    TGF_UNPACK3(p, tgf_unstack(tgf_add(tgf_dot(x, w, a->width), b), a->qkv), q, k, v);
    Tensor y = tgf_let(p, "y", attend_causal(q, k, v, a->seq, a->key, a->dim));
    tgf_return(p, tgf_add(tgf_dot(y, o, a->head, a->dim), c));
    tgf_end(p);
}

static Tensor norm(Tensor x, const Axes *a, const char *stored) {
    return tgf_as(tgf_call("layernorm", x, a->width), stored);
}

static void model_declare(TgfProgram *p, const Gpt *g, const Axes *a) {
    tgf_model(p, g->name);
    Tensor tokens = tgf_input(p, "tokens", "i32", a->batch, a->seq);
    Tensor labels = tgf_input(p, "labels", "i32", a->batch, a->seq);
    Tensor wte = tgf_as(tgf_param(p, "wte", tgf_normal(p, 0.02), a->vocab, a->width), "wte.weight");
    Tensor wpe = tgf_as(tgf_param(p, "wpe", tgf_normal(p, g->wpe_std), a->seq, a->width), "wpe.weight");
    Tensor x = tgf_let(p, "x", tgf_add(tgf_take(wte, tokens, a->vocab), wpe));
    tgf_repeat(p, a->layer, "h.{layer}");
    x = tgf_let(p, "x", tgf_add(x, tgf_call("attention", norm(x, a, "ln_1"))));
    Tensor y = tgf_call("mlp", norm(x, a, "ln_2"), a->width, a->hidden, tgf_key("out_std", depth_std(a->layer)));
    x = tgf_let(p, "x", tgf_add(x, tgf_as(y, "mlp")));
    tgf_end(p);
    Tensor logits = tgf_let(p, "logits", tgf_dot(norm(x, a, "ln_f"), wte, a->width));
    tgf_let(p, "loss", tgf_call("cross_entropy", logits, labels, a->vocab));
    tgf_end(p);
}

static TgfProgram *gpt(Gpt g) {
    TgfProgram *p = tgf_program_new();
    Axes a = axes_declare(p, &g);
    attention_declare(p, &a);
    model_declare(p, &g, &a);
    for (int i = 0; i < g.nlayouts; i++)
        layout_write(p, &g.layouts[i], (Split){a.batch, a.seq, a.layer, {a.head, a.hidden, a.vocab}});
    recipe_write(p, g.recipe);
    return p;
}

#define LAYOUTS(...)                                                                                                   \
    .layouts = (const Layout[]){__VA_ARGS__}, .nlayouts = (int)(sizeof((const Layout[]){__VA_ARGS__}) / sizeof(Layout))

TgfProgram *gpt2_family(void) {
    return gpt((Gpt){"gpt2",
                     50257,
                     1024,
                     12,
                     12,
                     64,
                     0.01,
                     {"cosine", 6e-4, 0.1, 700, 19073, 0.95, 0, 0.1, 512, "train.bin"},
                     LAYOUTS({"tp", .tensor = 2}, {"dp", .data = 2}, {"dp_tp", .data = 2, .tensor = 2},
                             {"zero1", .data = 2, .shard = "optimizer"}, {"zero2", .data = 2, .shard = "gradients"},
                             {"zero3", .data = 2, .tensor = 2, .shard = "parameters"},
                             {"megatron_sp", .data = 2, .tensor = 2, .between_blocks = 1},
                             {"ulysses", .context = 2, .attention = "heads"},
                             {"cp", .data = 2, .context = 2, .attention = "zigzag"},
                             {"bf16", .data = 2, .tensor = 2, .precision = "bf16", .reduce = "f32"})});
}

TgfProgram *gpt3_family(void) {
    return gpt((Gpt){"gpt3",
                     50257,
                     2048,
                     96,
                     96,
                     128,
                     0.01,
                     {"cosine", 0.6e-4, 0.1, 119, 95368, 0.95, 0, 0.1, 1536, "train.bin"},
                     LAYOUTS({"dp_tp", .data = 16, .tensor = 8})});
}

TgfProgram *gpt1t_family(void) {
    return gpt((Gpt){"gpt1t",
                     51200,
                     2048,
                     128,
                     160,
                     160,
                     0.01,
                     {"cosine", 0.6e-4, 0.1, 119, 95368, 0.95, 0, 0.1, 3072, "train.bin"},
                     LAYOUTS({"trillion", .data = 6, .pipe = 64, .tensor = 8, .schedule = "interleaved", .chunks = 2,
                              .microbatches = 512, .between_blocks = 1, .shard = "optimizer", .recompute = "block"})});
}

TgfProgram *novel_family(void) {
    return gpt((Gpt){"novel",
                     256,
                     128,
                     4,
                     6,
                     32,
                     0.02,
                     {"cosine", 2e-3, 0.1, 50, 700, 0.95, 0, 0.1, 32, "novels.txt"},
                     LAYOUTS({"tensor2", .tensor = 2}, {"bf16", .precision = "bf16"},
                             {"bf16_data2", .data = 2, .precision = "bf16", .reduce = "bf16"},
                             {"f16", .precision = "f16", .scale = 65536}, {"data2", .data = 2},
                             {"all3", .data = 2, .pipe = 2, .tensor = 2, .schedule = "1f1b", .microbatches = 4,
                              .shard = "optimizer", .recompute = "block"},
                             {"fits", .recompute = "auto", .memory = "130MB"})});
}
