// SPDX-License-Identifier: Apache-2.0
// Cases of what models are made of: the blocks of std.tgf written out, and a small GPT.
#include "tests/ops/cases.h"

#define ADD(x, y) case_op(c, OP_add, x, y, NULL)
#define SUB(x, y) case_op(c, OP_sub, x, y, NULL)
#define MUL(x, y) case_op(c, OP_mul, x, y, NULL)
#define DIV(x, y) case_op(c, OP_div, x, y, NULL)
#define EXP(x) case_op(c, OP_exp, x, NULL, NULL)

static Value *mean(CaseCtx *c, Value *x, const char *over) {
    return MUL(case_sum(c, x, over), case_const(c, 1.0 / (double)case_axis(c, over)->extent));
}

static Value *layernorm(CaseCtx *c, Value *x, Value *scale, Value *bias, const char *over) {
    Value *centred = SUB(x, mean(c, x, over)), *variance = mean(c, MUL(centred, centred), over);
    Value *r = case_op(c, OP_rsqrt, ADD(variance, case_const(c, 1e-5)), NULL, NULL);
    return ADD(MUL(MUL(centred, r), scale), bias);
}

static Value *softmax(CaseCtx *c, Value *x, const char *over, bool stop) {
    Value *top = case_max(c, x, over);
    Value *e = EXP(SUB(x, stop ? case_op(c, OP_stop, top, NULL, NULL) : top));
    return DIV(e, case_sum(c, e, over));
}

static Value *gelu(CaseCtx *c, Value *x) {
    Value *cube = MUL(MUL(x, x), MUL(x, case_const(c, 0.044715)));
    Value *t = case_op(c, OP_tanh, MUL(ADD(x, cube), case_const(c, 0.7978845608028654)), NULL, NULL);
    return MUL(MUL(x, case_const(c, 0.5)), ADD(t, case_const(c, 1)));
}

// Mean over the labels that are not negative.
static Value *cross_entropy(CaseCtx *c, Value *logits, Value *labels, const char *vocab, const char *places) {
    Value *top = case_op(c, OP_stop, case_max(c, logits, vocab), NULL, NULL);
    Value *lse = ADD(case_op(c, OP_log, case_sum(c, EXP(SUB(logits, top)), vocab), NULL, NULL), top);
    Value *nll = SUB(lse, build_take(&c->b, logits, labels, case_axis(c, vocab)));
    Value *valid = case_op(c, OP_ge, labels, build_const(&c->b, DT_I32, 0), NULL);
    Value *total = case_sum(c, case_op(c, OP_select, valid, nll, case_const(c, 0)), places);
    Value *count = case_sum(c, build_cast(&c->b, valid, DT_F32), places);
    return DIV(total, case_op(c, OP_maximum, count, case_const(c, 1), NULL));
}

static void build_norm(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    Value *x = case_param(c, "x", "a b w", -1, 1), *scale = case_param(c, "scale", "w", 0.5, 1.5);
    if (variant == 0) {
        case_result(c, layernorm(c, x, scale, case_param(c, "bias", "w", -1, 1), "w"));
    } else { // rmsnorm
        Value *square = ADD(mean(c, MUL(x, x), "w"), case_const(c, 1e-6));
        case_result(c, MUL(MUL(x, case_op(c, OP_rsqrt, square, NULL, NULL)), scale));
    }
}

static void build_softmax(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    case_result(c, softmax(c, case_param(c, "x", "a b v", -2, 2), "v", variant));
}

static void build_cross_entropy(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    Value *x = case_param(c, "x", "a b v", -2, 2), *labels = case_ids(c, "labels", "a b", variant ? -3 : 0, 7);
    case_result(c, cross_entropy(c, x, labels, "v", "a b"));
}

static void build_mlp(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    Value *x = case_param(c, "x", "a w", -1, 1), *up = case_param(c, "up", "w h", -1, 1);
    Value *down = case_param(c, "down", "h w", -1, 1), *h = case_dot(c, x, up, "w");
    if (variant == 0) {
        h = gelu(c, ADD(h, case_param(c, "bias", "h", -1, 1)));
    } else { // swiglu
        Value *gate = case_dot(c, x, case_param(c, "gate", "w h", -1, 1), "w");
        h = MUL(MUL(gate, case_op(c, OP_sigmoid, gate, NULL, NULL)), h);
    }
    case_result(c, case_dot(c, h, down, "h"));
}

static void build_rope(CaseCtx *c, OpKind op, int variant) { // pairs (j, j + 3) of e turn by the position s
    (void)op, (void)variant;
    Value *x = case_param(c, "x", "s a e", -1, 1), *half[2];
    for (int i = 0; i < 2; i++) half[i] = build_slice(&c->b, x, case_axis(c, "e"), case_axis(c, "c"), 3 * i);
    Value *s = build_cast(&c->b, build_index(&c->b, case_axis(c, "s")), DT_F32);
    Value *j = build_cast(&c->b, build_index(&c->b, case_axis(c, "c")), DT_F32);
    Value *angle = MUL(s, EXP(MUL(j, case_const(c, -0.7))));
    Value *cosine = case_op(c, OP_cos, angle, NULL, NULL), *sine = case_op(c, OP_sin, angle, NULL, NULL);
    Value *turned[] = {SUB(MUL(half[0], cosine), MUL(half[1], sine)), ADD(MUL(half[0], sine), MUL(half[1], cosine))};
    Axes pieces = case_axes(c, "c c");
    case_result(c, build_concat(&c->b, turned, 2, &pieces, case_axis(c, "e"), 0));
}

static void build_moved_mask(CaseCtx *c, OpKind op, int variant) { // attention written out, causal by comparison
    (void)op, (void)variant;
    Value *q = case_param(c, "q", "b s c", -1, 1), *k = case_param(c, "k", "b t c", -1, 1);
    Value *v = case_param(c, "v", "b t c", -1, 1);
    Value *seen = case_op(c, OP_ge, build_index(&c->b, case_axis(c, "s")), build_index(&c->b, case_axis(c, "t")), NULL);
    Value *score = case_op(c, OP_select, seen, case_dot(c, q, k, "c"), case_const(c, -1e9));
    case_result(c, case_dot(c, softmax(c, score, "t", true), v, "t"));
}

// Two layers of nothing missing: tied embedding, positions, norms, attention, mlp, dropout, cross-entropy.
static void build_gpt(CaseCtx *c, OpKind op, int variant) {
    (void)op, (void)variant;
    Value *tokens = case_ids(c, "tokens", "b s", 0, 7), *labels = case_ids(c, "labels", "b s", -2, 7);
    Value *keys[] = {case_ids(c, "seed", "", 0, 9), case_ids(c, "step", "", 0, 9)};
    Value *wte = case_param(c, "wte", "v w", -1, 1), *wpe = case_param(c, "wpe", "s w", -1, 1);
    Value *w[] = {case_param(c, "scale", "m w", 0.5, 1.5),  case_param(c, "bias", "m w", -0.5, 0.5),
                  case_param(c, "qkv", "m w i d c", -1, 1), case_param(c, "o", "m d c w", -1, 1),
                  case_param(c, "up", "m w h", -1, 1),      case_param(c, "down", "m h w", -1, 1)};
    Value *x = ADD(build_take(&c->b, wte, tokens, case_axis(c, "v")), wpe), *p[16], *part[3], *y[1];
    CaseRepeat r = case_repeat(c, "m", &x, 1, w, 6, keys, 2, p);
    Value *qkv = case_dot(c, layernorm(c, p[1], p[2], p[3], "w"), p[4], "w");
    for (int i = 0; i < 3; i++) part[i] = build_slice(&c->b, qkv, case_axis(c, "i"), NULL, i);
    for (int i = 1; i < 3; i++) part[i] = case_rename(c, part[i], "s", "t");
    Axes causal = case_axes(c, "s t");
    Value *z =
        build_attend(&c->b, part[0], part[1], part[2], NULL, case_axis(c, "c"), case_axis(c, "t"), 0.6, &causal, NULL);
    Value *noise = build_random(&c->b, &x->type, 0, 5, (Value *[]){p[8], p[9], p[0]}, 3);
    Value *keep = case_op(c, OP_lt, noise, case_const(c, 0.9), NULL);
    z = case_op(c, OP_select, keep, case_dot(c, z, p[5], "d c"), case_const(c, 0));
    z = ADD(p[1], z);
    Value *next = ADD(z, case_dot(c, gelu(c, case_dot(c, layernorm(c, z, p[2], p[3], "w"), p[6], "w")), p[7], "h"));
    case_repeat_end(c, &r, &next, 1, false, y);
    case_result(c, cross_entropy(c, case_dot(c, y[0], wte, "w"), labels, "v", "b s"));
}

const OpCase op_cases_models[] = {
    {"model.layernorm", OP_rsqrt, 0, 0, build_norm},
    {"model.rmsnorm", OP_rsqrt, 0, 1, build_norm},
    {"model.softmax", OP_max, 0, 0, build_softmax},
    {"model.softmax_stop", OP_stop, 0, 1, build_softmax},
    {"model.cross_entropy", OP_take, 0, 0, build_cross_entropy},
    {"model.cross_entropy_ignored", OP_take, 0, 1, build_cross_entropy},
    {"model.gelu_mlp", OP_tanh, 0, 0, build_mlp},
    {"model.swiglu_mlp", OP_sigmoid, 0, 1, build_mlp},
    {"model.rope", OP_concat, 0, 0, build_rope},
    {"model.attention", OP_select, 0, 0, build_moved_mask},
    {"model.gpt", OP_repeat, 0, 0, build_gpt},
};
const int op_cases_models_count = sizeof op_cases_models / sizeof *op_cases_models;
