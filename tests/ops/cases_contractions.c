// SPDX-License-Identifier: Apache-2.0
// Cases of sum, max, cumsum, dot, take and scatter.
#include "tests/ops/cases.h"

static const char *const reduced[] = {"a", "b", "c", "a c", "a b c"};

static void build_sum_case(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    case_result(c, case_sum(c, case_param(c, "x", "a b c", -1, 1), reduced[variant]));
}

static void build_max_case(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    Value *x = case_param(c, "x", "a b c", -2, -1); // negative, so that a zero of the padding would show
    case_result(c, case_max(c, x, reduced[variant]));
}

static void build_mean_case(CaseCtx *c, OpKind op, int variant) { // exp(0) is not 0: padding must be masked
    (void)op, (void)variant;
    Value *x = case_op(c, OP_exp, case_param(c, "x", "a b", -1, 1), NULL, NULL);
    Value *mean = case_op(c, OP_mul, case_sum(c, x, "b"), case_const(c, 0.25), NULL);
    case_result(c, case_op(c, OP_sub, x, mean, NULL));
}

static const struct {
    const char *x, *y, *over;
} dots[] = {
    {"a b", "b c", "b"},       {"a b", "c b", "b"},     {"a b c", "a b d", "b"}, {"a b c", "c b d", "b c"},
    {"b a c", "c d a", "c"},   {"a b", "a b", "a b"},   {"a b", "c d", ""},      {"a b", "b", "b"},
    {"b", "a b c", "b"},       {"c b a", "b c", "c b"}, {"a b", "a b", "b"},     {"a b", "b a", ""},
    {"a c d", "e c d", "d c"}, {"a b c d", "d b", "d"},
};
enum { DOTS = sizeof dots / sizeof *dots };

static void build_dot_case(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    Value *x = case_param(c, "x", dots[variant].x, -1, 1), *y = case_param(c, "y", dots[variant].y, -1, 1);
    case_result(c, case_dot(c, x, y, dots[variant].over));
}

static void build_dot_more(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    Value *x = case_param(c, "x", "a b", -1, 1);
    if (variant == 0) { // both operands the same
        case_result(c, case_dot(c, x, x, "b"));
    } else if (variant == 1) { // operands that are not zero in the padding
        Value *y = case_param(c, "y", "b c", -1, 1);
        case_result(c, case_dot(c, case_op(c, OP_exp, x, NULL, NULL), case_op(c, OP_cos, y, NULL, NULL), "b"));
    } else { // two layers, as a tensor-parallel pair
        Value *y = case_param(c, "y", "b e", -1, 1), *z = case_param(c, "z", "e c", -1, 1);
        Value *h = case_op(c, OP_sigmoid, case_dot(c, x, y, "b"), NULL, NULL);
        case_result(c, case_op(c, OP_add, case_dot(c, h, z, "e"), case_param(c, "bias", "c", -1, 1), NULL));
    }
}

static const struct {
    const char *table, *ids;
    int64_t least, limit;
} takes[] = {
    {"v a", "b", 0, 7}, {"v a", "b c", 0, 7},    {"a v d", "b", 0, 7},   {"v", "b", -2, 9},    {"v a", "", 0, 7},
    {"a v", "a", 0, 7}, {"a b v", "a b", -1, 8}, {"a v c", "b a", 0, 7}, {"v a", "a b", 0, 7}, {"a v c", "a", 0, 7},
};
enum { TAKES = sizeof takes / sizeof *takes };

static void build_take_case(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    Value *table = case_param(c, "x", takes[variant].table, -1, 1);
    Value *ids = case_ids(c, "ids", takes[variant].ids, takes[variant].least, takes[variant].limit);
    case_result(c, build_take(&c->b, table, ids, case_axis(c, "v")));
}

static void build_cumsum_case(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    static const char *const along[] = {"a", "b", "c", "a", "c"};
    Value *x = case_param(c, "x", "a b c", -1, 1);
    if (variant == 1) x = case_op(c, OP_cos, x, NULL, NULL); // not zero in the padding
    case_result(c, build_cumsum(&c->b, x, case_axis(c, along[variant]), variant > 2));
}

static void build_cumsum_more(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    if (variant == 0) { // whole numbers: how many times each id came before, as a router counts its slots
        Value *ids = case_ids(c, "ids", "b a", 0, 7);
        Value *hot = build_cast(&c->b, case_op(c, OP_eq, ids, build_index(&c->b, case_axis(c, "v")), NULL), DT_I32);
        case_result(c, build_cumsum(&c->b, hot, case_axis(c, "a"), false));
    } else if (variant == 1) { // of a product that is a partial sum where its axis is split
        Value *x = case_param(c, "x", "a b", -1, 1), *y = case_param(c, "y", "b c", -1, 1);
        case_result(c, build_cumsum(&c->b, case_dot(c, x, y, "b"), case_axis(c, "a"), false));
    } else { // a line alone; wide enough for lanes in pieces
        case_result(c, build_cumsum(&c->b, case_param(c, "x", "a", -1, 1), case_axis(c, "a"), true));
        case_result(c, build_cumsum(&c->b, case_param(c, "y", "a b c d e h", -1, 1), case_axis(c, "a"), true));
    }
}

// The second half has gradients of the updates, aligned axes, and updates repeated along an axis only the ids have.
static void build_scatter_case(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    static const char *const ids[] = {"b", "b a", "a", "b a", "a b e", "b e", "e b"},
                             *const updates[] = {"b a", "c b a", "c a", "a b c", "a b c", "b", "b c"},
                             *const to[] = {"v a", "c a v", "a v c", "a v c", "a e v c", "v e", "v c e"};
    Value *i = case_ids(c, "ids", ids[variant], -1, 8);
    Value *u = (variant < 3 ? case_float : case_param)(c, "u", updates[variant], 0.5, 1);
    Axes dims = case_axes(c, to[variant]);
    Value *safe = case_op(c, OP_exp, u, NULL, NULL);
    case_result(c, build_scatter(&c->b, i, safe, case_axis(c, "v"), &dims));
}

const OpCase op_cases_contractions[] = {
    {"sum.first", OP_sum, 0, 0, build_sum_case},
    {"sum.middle", OP_sum, 0, 1, build_sum_case},
    {"sum.last", OP_sum, 0, 2, build_sum_case},
    {"sum.two", OP_sum, 0, 3, build_sum_case},
    {"sum.all", OP_sum, 0, 4, build_sum_case},
    {"sum.mean", OP_sum, 0, 0, build_mean_case},
    {"max.first", OP_max, 0, 0, build_max_case},
    {"max.middle", OP_max, 0, 1, build_max_case},
    {"max.last", OP_max, 0, 2, build_max_case},
    {"max.two", OP_max, 0, 3, build_max_case},
    {"max.all", OP_max, 0, 4, build_max_case},
    {"dot.0", OP_dot, 0, 0, build_dot_case},
    {"dot.1", OP_dot, 0, 1, build_dot_case},
    {"dot.2", OP_dot, 0, 2, build_dot_case},
    {"dot.3", OP_dot, 0, 3, build_dot_case},
    {"dot.4", OP_dot, 0, 4, build_dot_case},
    {"dot.5", OP_dot, 0, 5, build_dot_case},
    {"dot.6", OP_dot, 0, 6, build_dot_case},
    {"dot.7", OP_dot, 0, 7, build_dot_case},
    {"dot.8", OP_dot, 0, 8, build_dot_case},
    {"dot.9", OP_dot, 0, 9, build_dot_case},
    {"dot.10", OP_dot, 0, 10, build_dot_case},
    {"dot.11", OP_dot, 0, 11, build_dot_case},
    {"dot.12", OP_dot, 0, 12, build_dot_case},
    {"dot.13", OP_dot, 0, DOTS - 1, build_dot_case},
    {"dot.square", OP_dot, 0, 0, build_dot_more},
    {"dot.padding", OP_dot, 0, 1, build_dot_more},
    {"dot.pair", OP_dot, 0, 2, build_dot_more},
    {"take.0", OP_take, 0, 0, build_take_case},
    {"take.1", OP_take, 0, 1, build_take_case},
    {"take.2", OP_take, 0, 2, build_take_case},
    {"take.outside", OP_take, 0, 3, build_take_case},
    {"take.scalar", OP_take, 0, 4, build_take_case},
    {"take.aligned", OP_take, 0, 5, build_take_case},
    {"take.aligned_outside", OP_take, 0, 6, build_take_case},
    {"take.part_aligned", OP_take, 0, 7, build_take_case},
    {"take.part_aligned2", OP_take, 0, 8, build_take_case},
    {"take.aligned_rest", OP_take, 0, TAKES - 1, build_take_case},
    {"cumsum.first", OP_cumsum, 0, 0, build_cumsum_case},
    {"cumsum.middle", OP_cumsum, 0, 1, build_cumsum_case},
    {"cumsum.last", OP_cumsum, 0, 2, build_cumsum_case},
    {"cumsum.reverse", OP_cumsum, 0, 3, build_cumsum_case},
    {"cumsum.reverse_last", OP_cumsum, 0, 4, build_cumsum_case},
    {"cumsum.count", OP_cumsum, CASE_NO_GRADIENT, 0, build_cumsum_more},
    {"cumsum.pending", OP_cumsum, 0, 1, build_cumsum_more},
    {"cumsum.wide", OP_cumsum, 0, 2, build_cumsum_more},
    {"scatter.0", OP_scatter, CASE_NO_GRADIENT, 0, build_scatter_case},
    {"scatter.1", OP_scatter, CASE_NO_GRADIENT, 1, build_scatter_case},
    {"scatter.aligned", OP_scatter, CASE_NO_GRADIENT, 2, build_scatter_case},
    {"scatter.gradient", OP_scatter, 0, 3, build_scatter_case},
    {"scatter.repeated", OP_scatter, 0, 4, build_scatter_case},
    {"scatter.repeated_all", OP_scatter, 0, 5, build_scatter_case},
    {"scatter.repeated_last", OP_scatter, 0, 6, build_scatter_case},
};
const int op_cases_contractions_count = sizeof op_cases_contractions / sizeof *op_cases_contractions;
