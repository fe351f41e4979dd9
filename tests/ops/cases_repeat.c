// SPDX-License-Identifier: Apache-2.0
// Cases of repeat over l (three iterations) and, nested, over m (two).
#include "tests/ops/cases.h"

#define ADD(x, y) case_op(c, OP_add, x, y, NULL)
#define MUL(x, y) case_op(c, OP_mul, x, y, NULL)
#define SIN(x) case_op(c, OP_sin, x, NULL, NULL)
enum { I, FIRST, SECOND, THIRD, FOURTH, PARAMS = 12 }; // a body's parameters: the iteration, then the operands

// x = sin(x * w[l] + k)
static void build_carry(CaseCtx *c, OpKind op, int reverse) {
    (void)op;
    Value *x = case_param(c, "x", "a b", -1, 1), *w = case_param(c, "w", "l b", 0.5, 1.5), *p[PARAMS], *y[2];
    Value *k = case_param(c, "k", "a", -1, 1);
    CaseRepeat r = case_repeat(c, "l", &x, 1, &w, 1, &k, 1, p);
    Value *next = SIN(ADD(MUL(p[FIRST], p[SECOND]), p[THIRD]));
    case_repeat_end(c, &r, (Value *[]){next, MUL(p[FIRST], next)}, 2, reverse, y);
    case_result(c, y[0]);
    case_result(c, y[1]);
}

// Residual blocks of two matrix products, the first result stacked; which results are used differs.
static void build_block(CaseCtx *c, OpKind op, int uses) {
    (void)op;
    Value *x = case_param(c, "x", "a b", -1, 1), *p[PARAMS], *y[2];
    Value *w[] = {case_param(c, "w", "l b e", -1, 1), case_param(c, "u", "l e b", -1, 1)};
    CaseRepeat r = case_repeat(c, "l", &x, 1, w, 2, NULL, 0, p);
    Value *h = case_op(c, OP_tanh, case_dot(c, p[FIRST], p[SECOND], "b"), NULL, NULL);
    case_repeat_end(c, &r, (Value *[]){ADD(p[FIRST], case_dot(c, h, p[THIRD], "e")), h}, 2, false, y);
    for (int i = 0; i < 2; i++)
        if (uses >> i & 1) case_result(c, y[i]);
}

// What each iteration makes from its slice alone.
static void build_stacked_only(CaseCtx *c, OpKind op, int variant) {
    (void)op, (void)variant;
    Value *w = case_param(c, "w", "l b a", -1, 1), *p[PARAMS], *y[1];
    CaseRepeat r = case_repeat(c, "l", NULL, 0, &w, 1, NULL, 0, p);
    case_repeat_end(c, &r, (Value *[]){case_sum(c, SIN(p[FIRST]), "a")}, 1, false, y);
    case_result(c, y[0]);
}

// The same weights in every iteration.
static void build_invariant_only(CaseCtx *c, OpKind op, int variant) {
    (void)op, (void)variant;
    Value *x = case_param(c, "x", "a b", -1, 1), *p[PARAMS], *y[1];
    Value *k[] = {case_param(c, "w", "b c", -1, 1), case_param(c, "bias", "b", -1, 1)};
    CaseRepeat r = case_repeat(c, "l", &x, 1, NULL, 0, k, 2, p);
    Value *h = SIN(case_dot(c, p[FIRST], p[SECOND], "b"));
    case_repeat_end(c, &r, (Value *[]){ADD(case_dot(c, h, p[SECOND], "c"), p[THIRD])}, 1, false, y);
    case_result(c, y[0]);
}

static void build_iteration(CaseCtx *c, OpKind op, int reverse) {
    (void)op;
    Value *x = case_param(c, "x", "a", -1, 1), *p[PARAMS], *y[2];
    CaseRepeat r = case_repeat(c, "l", &x, 1, NULL, 0, NULL, 0, p);
    Value *i = build_cast(&c->b, p[I], DT_F32);
    case_repeat_end(c, &r, (Value *[]){ADD(MUL(p[FIRST], p[FIRST]), i), MUL(i, p[FIRST])}, 2, reverse, y);
    case_result(c, y[0]);
    case_result(c, y[1]);
}

static void build_dropout(CaseCtx *c, OpKind op, int variant) {
    (void)op, (void)variant;
    Value *x = case_param(c, "x", "a b", 0.5, 1), *w = case_param(c, "w", "l b", -1, 1), *p[PARAMS], *y[1];
    Value *keys[] = {case_ids(c, "seed", "", 0, 100), case_ids(c, "step", "", 0, 100)};
    CaseRepeat r = case_repeat(c, "l", &x, 1, &w, 1, keys, 2, p);
    Value *noise = build_random(&c->b, &x->type, 0, 1, (Value *[]){p[THIRD], p[FOURTH], p[I]}, 3);
    Value *keep = case_op(c, OP_lt, noise, case_const(c, 0.5), NULL);
    Value *next = case_op(c, OP_select, keep, ADD(p[FIRST], SIN(MUL(p[FIRST], p[SECOND]))), case_const(c, 0));
    case_repeat_end(c, &r, &next, 1, false, y);
    case_result(c, y[0]);
}

static void build_nested(CaseCtx *c, OpKind op, int reverse) {
    (void)op;
    Value *x = case_param(c, "x", "a b", -1, 1), *w = case_param(c, "w", "l m b", 0.5, 1.5), *y[2], *z[2];
    Value *k = case_param(c, "k", "b", -1, 1), *p[PARAMS], *q[PARAMS];
    CaseRepeat r = case_repeat(c, "l", &x, 1, &w, 1, &k, 1, p);
    Value *outer = SIN(p[FIRST]), *both[] = {p[THIRD], outer};
    CaseRepeat s = case_repeat(c, "m", &p[FIRST], 1, &p[SECOND], 1, both, 2, q);
    Value *next = SIN(ADD(MUL(q[FIRST], q[SECOND]), MUL(q[THIRD], q[FOURTH])));
    case_repeat_end(c, &s, (Value *[]){next, q[FIRST]}, 2, false, z);
    case_repeat_end(c, &r, (Value *[]){MUL(z[0], outer), z[1]}, 2, reverse, y);
    case_result(c, y[0]);
    case_result(c, y[1]);
}

static void build_swap(CaseCtx *c, OpKind op, int variant) { // carries change places; a third passes through
    (void)op, (void)variant;
    Value *w = case_param(c, "w", "l a", 0.5, 1.5), *p[PARAMS], *y[3];
    Value *x[] = {case_param(c, "x", "a", -1, 1), case_param(c, "y", "a", -1, 1), case_param(c, "z", "a", -1, 1)};
    CaseRepeat r = case_repeat(c, "l", x, 3, &w, 1, NULL, 0, p);
    case_repeat_end(c, &r, (Value *[]){p[SECOND], MUL(MUL(p[FIRST], p[FOURTH]), p[THIRD]), p[THIRD]}, 3, false, y);
    for (int i = 0; i < 3; i++) case_result(c, y[i]);
}

static void build_counter(CaseCtx *c, OpKind op, int variant) { // a carry of integers, slices of an input
    (void)op, (void)variant;
    Value *ids = case_ids(c, "ids", "l b", 0, 7), *table = case_param(c, "w", "v a", -1, 1), *p[PARAMS], *y[2];
    Value *carry[] = {case_ids(c, "n", "", 1, 3), case_param(c, "x", "b a", -1, 1)};
    CaseRepeat r = case_repeat(c, "l", carry, 2, &ids, 1, &table, 1, p);
    Value *row = build_take(&c->b, p[FOURTH], p[THIRD], case_axis(c, "v")), *n = build_cast(&c->b, p[FIRST], DT_F32);
    Value *next = ADD(SIN(MUL(p[SECOND], n)), row);
    case_repeat_end(c, &r, (Value *[]){ADD(p[FIRST], build_const(&c->b, DT_I32, 1)), next}, 2, false, y);
    case_result(c, y[0]);
    case_result(c, y[1]);
}

static void build_reductions(CaseCtx *c, OpKind op, int variant) { // softmax of the carry, weights used twice
    (void)op, (void)variant;
    Value *x = case_param(c, "x", "a b", -1, 1), *w = case_param(c, "w", "l b", -1, 1), *p[PARAMS], *y[1];
    CaseRepeat r = case_repeat(c, "l", &x, 1, &w, 1, NULL, 0, p);
    Value *z = MUL(p[FIRST], p[SECOND]);
    Value *e = case_op(c, OP_exp, case_op(c, OP_sub, z, case_max(c, z, "b"), NULL), NULL, NULL);
    Value *soft = case_op(c, OP_div, e, case_sum(c, e, "b"), NULL);
    case_repeat_end(c, &r, (Value *[]){ADD(p[FIRST], MUL(soft, p[SECOND]))}, 1, false, y);
    case_result(c, y[0]);
}

static void build_attention(CaseCtx *c, OpKind op, int variant) {
    (void)op, (void)variant;
    Value *x = case_param(c, "x", "a s w", -1, 1), *p[PARAMS], *y[1], *part[3];
    Value *w[] = {case_param(c, "w", "l w i b c", -1, 1), case_param(c, "o", "l b c w", -1, 1)};
    CaseRepeat r = case_repeat(c, "l", &x, 1, w, 2, NULL, 0, p);
    Value *qkv = case_dot(c, p[FIRST], p[SECOND], "w");
    for (int i = 0; i < 3; i++) part[i] = build_slice(&c->b, qkv, case_axis(c, "i"), NULL, i);
    for (int i = 1; i < 3; i++) part[i] = case_rename(c, part[i], "s", "t");
    Axes causal = case_axes(c, "s t");
    Value *z =
        build_attend(&c->b, part[0], part[1], part[2], NULL, case_axis(c, "c"), case_axis(c, "t"), 0.6, &causal, NULL);
    case_repeat_end(c, &r, (Value *[]){ADD(p[FIRST], case_dot(c, z, p[THIRD], "b c"))}, 1, false, y);
    case_result(c, y[0]);
}

const OpCase op_cases_repeat[] = {
    {"repeat.carry", OP_repeat, 0, 0, build_carry},
    {"repeat.reverse", OP_repeat, 0, 1, build_carry},
    {"repeat.carry_used", OP_repeat, 0, 1, build_block},
    {"repeat.stack_used", OP_repeat, 0, 2, build_block},
    {"repeat.both_used", OP_repeat, 0, 3, build_block},
    {"repeat.stacked_only", OP_repeat, 0, 0, build_stacked_only},
    {"repeat.invariant_only", OP_repeat, 0, 0, build_invariant_only},
    {"repeat.iteration", OP_repeat, 0, 0, build_iteration},
    {"repeat.iteration_reverse", OP_repeat, 0, 1, build_iteration},
    {"repeat.dropout", OP_repeat, 0, 0, build_dropout},
    {"repeat.nested", OP_repeat, 0, 0, build_nested},
    {"repeat.nested_reverse", OP_repeat, 0, 1, build_nested},
    {"repeat.swap", OP_repeat, 0, 0, build_swap},
    {"repeat.counter", OP_repeat, 0, 0, build_counter},
    {"repeat.reductions", OP_repeat, 0, 0, build_reductions},
    {"repeat.attention", OP_repeat, 0, 0, build_attention},
};
const int op_cases_repeat_count = sizeof op_cases_repeat / sizeof *op_cases_repeat;
