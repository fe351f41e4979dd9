// SPDX-License-Identifier: Apache-2.0
// Cases of attend: queries [a, s, ...] to keys [a, t], features [c]; heads are b, groups of queries that share keys g.
#include "tests/ops/cases.h"

typedef struct Attention {
    const char *q, *k, *mask; // mask NULL: none
    bool causal;
} Attention;

static const Attention attentions[] = {
    {"b s c", "b t c", NULL, false},  {"b s c", "b t c", NULL, true},      {"s c", "t c", NULL, true},
    {"s b c", "t b c", NULL, true},  // heads inside
    {"c s b", "b c t", NULL, false}, // nothing contiguous
    {"b g s c", "b t c", NULL, true}, {"s b g c", "t b c", NULL, false},   {"b s c", "b t c", "b t", false},
    {"b s c", "b t c", "s t", false}, {"a s b c", "a t b c", "a t", true}, {"b s c", "b t c", "t s b", true},
};
enum { ATTENTIONS = sizeof attentions / sizeof *attentions };

static void build_attend_case(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    const Attention *a = &attentions[variant];
    Value *q = case_param(c, "q", a->q, -2, 2), *k = case_param(c, "k", a->k, -2, 2);
    Value *v = case_param(c, "v", a->k, -1, 1), *mask = a->mask ? case_bools(c, "mask", a->mask) : NULL, *lse = NULL;
    Axes causal = case_axes(c, "s t");
    Value *y =
        build_attend(&c->b, q, k, v, mask, case_axis(c, "c"), case_axis(c, "t"), 0.6, a->causal ? &causal : NULL, &lse);
    case_result(c, y);
}

static void build_self_attention(CaseCtx *c, OpKind op, int variant) { // keys by rename, all from one value
    (void)op;
    Value *x = case_param(c, "x", "a s w", -1, 1);
    Value *w = case_param(c, "w", "w i b c", -1, 1), *o = case_param(c, "o", "b c w", -1, 1);
    Value *qkv = case_dot(c, x, w, "w"), *part[3];
    for (int i = 0; i < 3; i++) part[i] = build_slice(&c->b, qkv, case_axis(c, "i"), NULL, i);
    for (int i = 1; i < 3; i++) part[i] = case_rename(c, part[i], "s", "t");
    Axes causal = case_axes(c, "s t");
    Value *y = build_attend(&c->b, part[0], part[1], part[2], NULL, case_axis(c, "c"), case_axis(c, "t"), 0.6,
                            variant ? &causal : NULL, NULL);
    case_result(c, case_op(c, OP_add, x, case_dot(c, y, o, "b c"), NULL));
}

static void build_last_key(CaseCtx *c, OpKind op, int variant) { // from a part of the keys to all; in b = 0 to none
    (void)op;
    Axes causal = case_axes(c, "s t");
    Value *q = case_param(c, "q", "b g s c", -2, 2), *k = case_param(c, "k", "b t c", -2, 2);
    Value *v = case_param(c, "v", "b t c", -1, 1), *mask = variant & 2 ? case_bools(c, "mask", "t") : NULL;
    Value *last = build_map(&c->b, OP_mul, build_index(&c->b, case_axis(c, "b")), build_const(&c->b, DT_I32, 2), NULL);
    last = build_map(&c->b, OP_sub, last, build_const(&c->b, DT_I32, variant & 1 ? 3 : 1), NULL);
    Attr attr = {.axes = axes_of(2, case_axis(c, "c"), case_axis(c, "t")), .f = 0.6, .j = 1, .flag = variant & 1};
    if (attr.flag) attr.to = causal;
    Value *args[] = {q, k, v, mask ? mask : last, last};
    Node *n = build_node(&c->b, OP_attend, args, mask ? 5 : 4, &attr, NULL);
    case_result(c, n ? n->results[0] : NULL);
}

const OpCase op_cases_attend[] = {
    {"attend.plain", OP_attend, 0, 0, build_attend_case},
    {"attend.causal", OP_attend, 0, 1, build_attend_case},
    {"attend.one_head", OP_attend, 0, 2, build_attend_case},
    {"attend.order", OP_attend, 0, 3, build_attend_case},
    {"attend.feature_first", OP_attend, 0, 4, build_attend_case},
    {"attend.grouped", OP_attend, 0, 5, build_attend_case},
    {"attend.grouped_inner", OP_attend, 0, 6, build_attend_case},
    {"attend.mask_keys", OP_attend, 0, 7, build_attend_case},
    {"attend.mask_pairs", OP_attend, 0, 8, build_attend_case},
    {"attend.mask_causal", OP_attend, 0, 9, build_attend_case},
    {"attend.mask_queries", OP_attend, 0, ATTENTIONS - 1, build_attend_case},
    {"attend.last", OP_attend, 0, 0, build_last_key},
    {"attend.last_causal", OP_attend, 0, 1, build_last_key},
    {"attend.last_mask", OP_attend, 0, 2, build_last_key},
    {"attend.last_mask_causal", OP_attend, 0, 3, build_last_key},
    {"attend.self", OP_attend, 0, 0, build_self_attention},
    {"attend.self_causal", OP_attend, 0, 1, build_self_attention},
};
const int op_cases_attend_count = sizeof op_cases_attend / sizeof *op_cases_attend;
