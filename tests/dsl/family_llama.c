// SPDX-License-Identifier: Apache-2.0
// family_llama: decoders with Llama's attention; what follows it in a layer is a function given: a gated unit or
// experts.
#include "tests/dsl/family.h"

typedef struct Decoder {
    TgfProgram *p;
    Axis batch, vocab, seq, layer, head, kvhead, group, dim, width, hidden, rot, half, key;
    Axis expert, choice, slot; // of a mixture
} Decoder;

// What the layer's second half adds to x. out_added: and to the loss, or NULL.
typedef Tensor (*Half)(const Decoder *d, Tensor x, Tensor *out_added);

typedef struct Sizes {
    int seq, layer, head, hidden, experts;
} Sizes;

static Decoder decoder_new(Sizes s) {
    Decoder d = {.p = tgf_program_new()};
    TgfProgram *p = d.p;
    d.batch = tgf_axis_named(p, "batch");
    d.vocab = tgf_axis(p, "vocab", 32000);
    d.seq = tgf_axis(p, "seq", s.seq);
    d.layer = tgf_axis(p, "layer", s.layer);
    d.head = tgf_axis(p, "head", s.head);
    d.kvhead = tgf_axis(p, "kvhead", 4);
    d.group = tgf_axis(p, "group", tgf_div(d.head, d.kvhead));
    d.dim = tgf_axis(p, "dim", 64);
    d.width = tgf_axis(p, "width", tgf_mul(d.head, d.dim));
    d.hidden = tgf_axis(p, "hidden", s.hidden);
    if (s.experts) {
        d.expert = tgf_axis(p, "expert", s.experts);
        d.choice = tgf_axis(p, "choice", d.expert);
        d.slot = tgf_axis(p, "slot", tgf_div(tgf_mul(5 * 2, d.seq), tgf_mul(4, d.expert)));
    }
    d.rot = tgf_axis(p, "rot", 2);
    d.half = tgf_axis(p, "half", tgf_div(d.dim, 2));
    d.key = tgf_axis(p, "key", d.seq);
    return d;
}

static Tensor rope(const Decoder *d, Tensor x) { return tgf_call("rope", x, d->seq, d->dim, d->rot, d->half); }

static void attention_declare(const Decoder *d) {
    TgfProgram *p = d->p;
    tgf_block(p, "attention");
    Tensor x = tgf_formal(p, "x");
    Tensor wq = tgf_stored(tgf_param(p, "wq", tgf_normal(p, 0.02), d->width, d->kvhead, d->group, d->dim),
                           "q_proj.weight", tgf_product(d->kvhead, d->group, d->dim), d->width);
    const char *const names[] = {"wk", "wv"}, *const files[] = {"k_proj.weight", "v_proj.weight"};
    Tensor kv[2];
    for (int i = 0; i < 2; i++)
        kv[i] = tgf_stored(tgf_param(p, names[i], tgf_normal(p, 0.02), d->width, d->kvhead, d->dim), files[i],
                           tgf_product(d->kvhead, d->dim), d->width);
    Tensor wo =
        tgf_stored(tgf_param(p, "wo", tgf_normal(p, depth_std(d->layer)), d->kvhead, d->group, d->dim, d->width),
                   "o_proj.weight", d->width, tgf_product(d->kvhead, d->group, d->dim));
    Tensor q = tgf_let(p, "q", rope(d, tgf_dot(x, wq, d->width)));
    Tensor k = tgf_let(p, "k", rope(d, tgf_dot(x, kv[0], d->width)));
    Tensor v = tgf_let(p, "v", tgf_dot(x, kv[1], d->width));
    Tensor y = tgf_let(p, "y", attend_causal(q, k, v, d->seq, d->key, d->dim));
    tgf_return(p, tgf_dot(y, wo, d->kvhead, d->group, d->dim));
    tgf_end(p);
}

static void experts_declare(const Decoder *d) {
    TgfProgram *p = d->p;
    tgf_block(p, "experts");
    Tensor x = tgf_formal(p, "x"), gate, place;
    Tensor router = tgf_stored(tgf_param(p, "router", tgf_normal(p, 0.02), d->width, d->choice), "gate.weight",
                               d->choice, d->width);
    Tensor logits = tgf_let(p, "logits", tgf_dot(x, router, d->width));
    TGF_UNPACK2(p, tgf_call("route_top_k", logits, d->choice, d->seq, 2), gate, place);
    Tensor y = tgf_let(p, "y",
                       tgf_call("expert_swiglu", x, gate, place, d->choice, d->expert, d->seq, d->slot, d->width,
                                d->hidden, tgf_key("out_std", depth_std(d->layer))));
    Tensor balance = tgf_call("load_balancing_loss", logits, d->choice, d->seq, 2);
    tgf_return(p, y, tgf_add(tgf_mul(0.02, balance), tgf_mul(0.001, tgf_call("router_z_loss", logits, d->choice))));
    tgf_end(p);
}

static Tensor swiglu(const Decoder *d, Tensor x, Tensor *out_added) {
    *out_added = NULL;
    return tgf_as(tgf_call("swiglu", x, d->width, d->hidden), "mlp");
}

static Tensor mixture(const Decoder *d, Tensor x, Tensor *out_added) {
    Tensor y, added;
    TGF_UNPACK2(d->p, tgf_as(tgf_call("experts", x), "mlp"), y, added);
    *out_added = added;
    return y;
}

static Tensor norm(const Decoder *d, Tensor x, const char *stored) {
    return tgf_as(tgf_call("rmsnorm", x, d->width), stored);
}

static void model_declare(const Decoder *d, const char *name, Half half) {
    TgfProgram *p = d->p;
    tgf_model(p, name);
    Tensor tokens = tgf_input(p, "tokens", "i32", d->batch, d->seq);
    Tensor labels = tgf_input(p, "labels", "i32", d->batch, d->seq);
    Tensor embed = tgf_param(p, "embed", tgf_normal(p, 0.02), d->vocab, d->width);
    Tensor head = tgf_param(p, "head_", tgf_normal(p, 0.02), d->vocab, d->width);
    tgf_as(embed, "model.embed_tokens.weight");
    tgf_as(head, "lm_head.weight");
    Tensor x = tgf_let(p, "x", tgf_take(embed, tokens, d->vocab));
    Tensor routing = d->expert ? tgf_let(p, "routing", tgf_call("cast", p, 0, "f32")) : NULL;
    tgf_repeat(p, d->layer, "model.layers.{layer}");
    x = tgf_let(p, "x", tgf_add(x, tgf_as(tgf_call("attention", norm(d, x, "input_layernorm")), "self_attn")));
    Tensor added;
    x = tgf_let(p, "x", tgf_add(x, half(d, norm(d, x, "post_attention_layernorm"), &added)));
    if (added) routing = tgf_let(p, "routing", tgf_add(routing, added));
    tgf_end(p);
    Tensor logits = tgf_let(p, "logits", tgf_dot(norm(d, x, "model.norm"), head, d->width));
    Tensor loss = tgf_call("cross_entropy", logits, labels, d->vocab);
    tgf_let(p, "loss", routing ? tgf_add(loss, tgf_div(routing, d->layer)) : loss);
    tgf_end(p);
}

static void layouts_write(const Decoder *d, const Layout *layouts, int n) {
    for (int i = 0; i < n; i++)
        layout_write(d->p, &layouts[i], (Split){d->batch, d->seq, d->layer, {d->kvhead, d->hidden, d->vocab}});
}

TgfProgram *llama_family(void) {
    Decoder d = decoder_new((Sizes){.seq = 2048, .layer = 22, .head = 32, .hidden = 5632});
    attention_declare(&d);
    model_declare(&d, "llama", swiglu);
    const Layout layouts[] = {{"tp", .tensor = 4},
                              {"dp", .data = 2},
                              {"dp_tp", .data = 2, .tensor = 4},
                              {"fsdp", .data = 4, .shard = "parameters"},
                              {"f16", .data = 2, .tensor = 2, .shard = "optimizer", .precision = "f16"},
                              {"megatron_sp", .data = 2, .tensor = 4, .between_blocks = 1},
                              {"cp", .context = 2, .attention = "zigzag", .tensor = 4}};
    layouts_write(&d, layouts, sizeof layouts / sizeof *layouts);
    tgf_strategy(d.p, "hsdp");
    tgf_line(d.p, "mesh", tgf_key("node", 2), tgf_key("data", 2));
    tgf_line(d.p, "split", d.batch, tgf_over("node"), tgf_over("data"));
    tgf_line(d.p, "shard", "parameters", tgf_over("data"));
    tgf_end(d.p);
    recipe_write(d.p, (Recipe){"cosine", 4e-4, 0.1, 2000, 715000, 0.95, 0, 0.1, 1024, "train.bin"});
    return d.p;
}

// Experts over mesh axes of any names; over two, where `second` is one.
static void experts_over(const Decoder *d, const char *name, const char *first, int n, const char *second, int m,
                         int tokens_travel, const char *exchange) {
    TgfArg mesh[] = {tgf_key(first, n), tgf_arg_none()}, split[5];
    if (second) mesh[1] = tgf_key(second, m);
    int count = 0;
    if (tokens_travel) split[count++] = tgf_arg_axis(d->batch);
    split[count++] = tgf_arg_axis(d->expert);
    split[count++] = tgf_over(first);
    if (second && tokens_travel) split[count++] = tgf_over(second);
    if (exchange) split[count++] = tgf_key("exchange", exchange);
    tgf_strategy(d->p, name);
    tgf_line_at(TGF_HERE, d->p, "mesh", second ? 2 : 1, mesh);
    tgf_line_at(TGF_HERE, d->p, "split", count, split);
    if (second && !tokens_travel) tgf_line(d->p, "split", d->kvhead, d->hidden, d->vocab, tgf_over(second));
    tgf_end(d->p);
}

TgfProgram *moe_family(void) {
    Decoder d = decoder_new((Sizes){.seq = 1024, .layer = 12, .head = 12, .hidden = 2048, .experts = 8});
    attention_declare(&d);
    experts_declare(&d);
    model_declare(&d, "moe", mixture);
    layouts_write(&d, (const Layout[]){{"dp", .data = 2}, {"tp", .tensor = 4}}, 2);
    experts_over(&d, "ep", "experts", 4, NULL, 0, 0, NULL);
    experts_over(&d, "ep_a2a", "data", 4, NULL, 0, 1, NULL);
    experts_over(&d, "ep_counted", "data", 4, NULL, 0, 1, "counted");
    experts_over(&d, "ep_a2a_nodes", "node", 2, "data", 2, 1, NULL);
    experts_over(&d, "ep_tp", "experts", 2, "tensor", 2, 0, NULL);
    tgf_strategy(d.p, "dp_ep");
    tgf_line(d.p, "mesh", tgf_key("data", 2), tgf_key("experts", 2));
    tgf_line(d.p, "split", d.batch, tgf_over("data"));
    tgf_line(d.p, "split", d.expert, tgf_over("experts"));
    tgf_end(d.p);
    recipe_write(d.p, (Recipe){"cosine", 6e-4, 0.1, 500, 50000, 0.95, 0, 0.1, 64, "train.bin"});
    return d.p;
}
