// SPDX-License-Identifier: Apache-2.0
// The interpreter's ops against compositions of others that mean the same: dot is a sum of products, take a sum over a
// one-hot row, attend a softmax between two dots, repeat its body written out.
#include "ir/op.h"
#include "tests/ops/cases.h"
#include <math.h>

typedef struct Pair {
    Value *x, *y; // the same by other means, in any order of dimensions
} Pair;

#define ADD(x, y) case_op(c, OP_add, x, y, NULL)
#define SUB(x, y) case_op(c, OP_sub, x, y, NULL)
#define MUL(x, y) case_op(c, OP_mul, x, y, NULL)
#define SELECT(a, x, y) case_op(c, OP_select, a, x, y)
#define INDEX(name) build_index(&c->b, case_axis(c, name))

static Pair pair_dot(CaseCtx *c) {
    Value *x = case_float(c, "x", "a b c d", -1, 1), *y = case_float(c, "y", "c e a d", -1, 1);
    return (Pair){case_dot(c, x, y, "d c"), case_sum(c, MUL(x, y), "c d")};
}
static Pair pair_sum(CaseCtx *c) {
    Value *x = case_float(c, "x", "a b c", -1, 1), *ones = case_float(c, "y", "c a", 1, 1);
    return (Pair){case_sum(c, x, "a c"), case_dot(c, x, ones, "a c")};
}
static Pair pair_max(CaseCtx *c) { // no place is above the maximum, and it is one of them
    Value *x = case_float(c, "x", "a b c", -2, -1), *top = case_max(c, x, "b");
    Value *hit = build_cast(&c->b, case_op(c, OP_ge, x, top, NULL), DT_F32);
    return (Pair){case_sum(c, hit, "b"), case_op(c, OP_div, top, top, NULL)};
}
static Pair pair_take(CaseCtx *c) {
    Value *table = case_float(c, "x", "a v c", -1, 1), *ids = case_ids(c, "ids", "b a", -2, 9);
    Value *row = SELECT(case_op(c, OP_eq, INDEX("v"), ids, NULL), table, case_const(c, 0));
    return (Pair){build_take(&c->b, table, ids, case_axis(c, "v")), case_sum(c, row, "v")};
}
static Pair pair_scatter(CaseCtx *c) {
    Value *updates = case_float(c, "x", "b a c", -1, 1), *ids = case_ids(c, "ids", "b a", -2, 9);
    Axes to = case_axes(c, "a v c");
    Value *rows = SELECT(case_op(c, OP_eq, INDEX("v"), ids, NULL), updates, case_const(c, 0));
    return (Pair){build_scatter(&c->b, ids, updates, case_axis(c, "v"), &to), case_sum(c, rows, "b")};
}
static Pair pair_slice(CaseCtx *c) { // f at 2 .. 4 as c, by take
    Value *x = case_float(c, "x", "a f b", -1, 1), *at = ADD(INDEX("c"), build_const(&c->b, DT_I32, 2));
    return (Pair){build_slice(&c->b, x, case_axis(c, "f"), case_axis(c, "c"), 2),
                  build_take(&c->b, x, at, case_axis(c, "f"))};
}
static Pair pair_place(CaseCtx *c) {
    Value *x = case_float(c, "x", "a c b", -1, 1), *at = ADD(INDEX("c"), build_const(&c->b, DT_I32, 2));
    Axes to = case_axes(c, "a f b");
    return (Pair){build_place(&c->b, x, case_axis(c, "c"), case_axis(c, "f"), 2, 0),
                  build_scatter(&c->b, at, x, case_axis(c, "f"), &to)};
}
static Pair pair_concat(CaseCtx *c) {
    Value *x = case_float(c, "x", "a c", -1, 1), *y = case_float(c, "y", "a b", -1, 1);
    Axes pieces = case_axes(c, "c b");
    const Axis *f = case_axis(c, "f");
    return (Pair){build_concat(&c->b, (Value *[]){x, y}, 2, &pieces, f, 0),
                  ADD(build_place(&c->b, x, pieces.at[0], f, 0, 0), build_place(&c->b, y, pieces.at[1], f, 3, 0))};
}
static Pair pair_stack(CaseCtx *c) {
    Value *x = case_float(c, "x", "a c", -1, 1), *y = case_float(c, "y", "a c", -1, 1), *d = INDEX("d");
    Value *first = case_op(c, OP_eq, d, build_const(&c->b, DT_I32, 0), NULL);
    return (Pair){build_concat(&c->b, (Value *[]){x, y}, 2, NULL, case_axis(c, "d"), 1), SELECT(first, x, y)};
}
static Pair pair_rename(CaseCtx *c) { // e as (c, d): place 2 * c + d
    Value *x = case_float(c, "x", "a e b", -1, 1);
    Value *at = ADD(MUL(INDEX("c"), build_const(&c->b, DT_I32, 2)), INDEX("d"));
    return (Pair){case_rename(c, x, "e", "c d"), build_take(&c->b, x, at, case_axis(c, "e"))};
}
static Pair pair_merge(CaseCtx *c) { // by a matrix of ones where e = 2 * c + d
    Value *x = case_float(c, "x", "a c d b", -1, 1);
    Value *at = ADD(MUL(INDEX("c"), build_const(&c->b, DT_I32, 2)), INDEX("d"));
    Value *one = build_cast(&c->b, case_op(c, OP_eq, INDEX("e"), at, NULL), DT_F32);
    return (Pair){case_rename(c, x, "c d", "e"), case_dot(c, x, one, "c d")};
}

// scores, masked; softmax; and the values. A row that sees nothing gives zero.
static Value *attention(CaseCtx *c, Value *q, Value *k, Value *v, Value *seen) {
    Value *score = MUL(case_dot(c, q, k, "c"), case_const(c, 0.6));
    if (seen) score = SELECT(seen, score, case_const(c, -1e30));
    Value *e = case_op(c, OP_exp, SUB(score, case_max(c, score, "t")), NULL, NULL);
    if (seen) e = SELECT(seen, e, case_const(c, 0));
    Value *total = case_op(c, OP_maximum, case_sum(c, e, "t"), case_const(c, 1e-30), NULL);
    return case_dot(c, case_op(c, OP_div, e, total, NULL), v, "t");
}
static Pair pair_attend(CaseCtx *c) {
    Value *q = case_float(c, "q", "b s c", -2, 2), *k = case_float(c, "k", "b t c", -2, 2);
    Value *v = case_float(c, "v", "t b c", -1, 1);
    return (Pair){build_attend(&c->b, q, k, v, NULL, case_axis(c, "c"), case_axis(c, "t"), 0.6, NULL, NULL),
                  attention(c, q, k, v, NULL)};
}
static Pair pair_cumsum(CaseCtx *c) { // each place the sum over a triangle of the axis under another name
    Value *x = case_param(c, "x", "b s c", -1, 1);
    Value *seen = case_op(c, OP_ge, INDEX("s"), INDEX("t"), NULL);
    Value *terms = SELECT(seen, case_rename(c, x, "s", "t"), case_const(c, 0));
    return (Pair){build_cumsum(&c->b, x, case_axis(c, "s"), false), case_sum(c, terms, "t")};
}

static Pair pair_scatter_repeated(CaseCtx *c) { // one-hot columns; the updates lack an axis of the ids
    Value *updates = case_param(c, "u", "a b c", -1, 1), *ids = case_ids(c, "ids", "a b e", -1, 8);
    Axes to = case_axes(c, "a e v c");
    Value *rows = SELECT(case_op(c, OP_eq, INDEX("v"), ids, NULL), updates, case_const(c, 0));
    return (Pair){build_scatter(&c->b, ids, updates, case_axis(c, "v"), &to), case_sum(c, rows, "b")};
}

static Pair pair_attend_all(CaseCtx *c) { // grouped, causal and masked, rows that see nothing
    Value *q = case_float(c, "q", "b g s c", -2, 2), *k = case_float(c, "k", "t b c", -2, 2);
    Value *v = case_float(c, "v", "b t c", -1, 1), *mask = case_bools(c, "mask", "b t");
    Axes causal = case_axes(c, "s t");
    Value *seen = case_op(c, OP_and, mask, case_op(c, OP_le, INDEX("t"), INDEX("s"), NULL), NULL);
    return (Pair){build_attend(&c->b, q, k, v, mask, case_axis(c, "c"), case_axis(c, "t"), 0.6, &causal, NULL),
                  attention(c, q, k, v, seen)};
}
static Pair pair_repeat(CaseCtx *c) { // carries, slices, invariants, and the stacked results of all iterations
    Value *x = case_float(c, "x", "a b", -1, 1), *w = case_float(c, "w", "l b", -1, 1), *p[4], *y[2];
    Value *k = case_float(c, "k", "a", -1, 1), *all = NULL, *now = x;
    CaseRepeat r = case_repeat(c, "l", &x, 1, &w, 1, &k, 1, p);
    Value *next = ADD(MUL(p[1], p[2]), MUL(build_cast(&c->b, p[0], DT_F32), p[3]));
    case_repeat_end(c, &r, (Value *[]){next, MUL(next, p[1])}, 2, true, y);
    for (int i = 2; i >= 0; i--) {
        Value *row = build_slice(&c->b, w, case_axis(c, "l"), NULL, i);
        next = ADD(MUL(now, row), MUL(case_const(c, i), k));
        Value *one = build_place(&c->b, MUL(next, now), NULL, case_axis(c, "l"), i, 0);
        all = all ? ADD(all, one) : one;
        now = next;
    }
    return (Pair){ADD(y[1], y[0]), ADD(all, now)};
}

static const struct {
    const char *name;
    Pair (*build)(CaseCtx *c);
} pairs[] = {
    {"dot", pair_dot},       {"sum", pair_sum},         {"max", pair_max},
    {"take", pair_take},     {"scatter", pair_scatter}, {"scatter.repeated", pair_scatter_repeated},
    {"cumsum", pair_cumsum}, {"slice", pair_slice},     {"place", pair_place},
    {"concat", pair_concat}, {"stack", pair_stack},     {"rename", pair_rename},
    {"merge", pair_merge},   {"attend", pair_attend},   {"attend.all", pair_attend_all},
    {"repeat", pair_repeat},
};

static void build_pair(CaseCtx *c, OpKind op, int number) {
    (void)op;
    Pair p = pairs[number].build(c);
    case_result(c, p.x);
    case_result(c, p.y && p.x ? build_expand(&c->b, p.y, &p.x->type) : NULL);
}

int main(void) {
    int failures = 0, count = sizeof pairs / sizeof *pairs;
    for (int i = 0; i < count; i++) {
        OpCase k = {pairs[i].name, OP_output, 0, i, build_pair};
        CaseCtx *c = case_open(&k);
        Eval *e = eval_new(c->unit, c->arena);
        int64_t n = 0;
        bool ok = !diag_errors(c->unit->diag) && case_set(c, e) && eval_run(e, "train");
        if (ok) type_elements(eval_type(e, "y.0"), &n);
        double *x = NEW_ARRAY(c->arena, double, n), *y = NEW_ARRAY(c->arena, double, n);
        ok = ok && eval_get(e, "y.0", x, n) && eval_get(e, "y.1", y, n);
        if (!ok) printf("FAIL: %s: %s\n", k.name, case_said(c)), failures++;
        for (int64_t j = 0; ok && j < n; j++) {
            if (fabs(x[j] - y[j]) <= 1e-14 * fmax(1, fabs(y[j]))) continue;
            printf("FAIL: %s[%lld]: %.17g, by other means %.17g\n", k.name, (long long)j, x[j], y[j]);
            failures++;
            break;
        }
        case_close(c);
    }
    printf("%d ops, %d failures\n", count, failures);
    return failures != 0;
}
