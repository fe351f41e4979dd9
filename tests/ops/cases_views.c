// SPDX-License-Identifier: Apache-2.0
// Cases of leaves and views: index, random, rename, slice, place, concat, expand, stop.
#include "tests/ops/cases.h"

static void build_rename_case(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    Value *x;
    switch (variant) {
    case 0: // one to one
        x = case_rename(c, case_param(c, "x", "a b", -1, 1), "a", "s");
        break;
    case 1: // one to several, in the middle
        x = case_rename(c, case_param(c, "x", "a e b", -1, 1), "e", "c d");
        break;
    case 2: // several to one
        x = case_rename(c, case_param(c, "x", "a b d c", -1, 1), "b d", "h");
        break;
    case 3: // one of the parts has one place
        x = case_rename(c, case_param(c, "x", "e", -1, 1), "e", "one c d");
        break;
    default: // and back, with the result beside the original
        x = case_param(c, "x", "e a", -1, 1);
        x = case_op(c, OP_mul, x, case_rename(c, case_rename(c, x, "e", "d c"), "d c", "e"), NULL);
    }
    case_result(c, x);
}

static void build_slice_case(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    Value *x = case_param(c, "x", "a f b", -1, 1);
    if (variant == 0) case_result(c, build_slice(&c->b, x, case_axis(c, "f"), case_axis(c, "c"), 2));
    if (variant == 1) case_result(c, build_slice(&c->b, x, case_axis(c, "f"), NULL, 6));
    if (variant == 2) // overlapping
        case_result(c, case_op(c, OP_mul, build_slice(&c->b, x, case_axis(c, "f"), case_axis(c, "c"), 1),
                               build_slice(&c->b, x, case_axis(c, "f"), case_axis(c, "c"), 2), NULL));
}

static void build_place_case(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    Value *x = case_param(c, "x", "a c b", -1, 1);
    if (variant == 0) case_result(c, build_place(&c->b, x, case_axis(c, "c"), case_axis(c, "f"), 2, 0));
    else case_result(c, build_place(&c->b, x, NULL, case_axis(c, "f"), 5, variant));
}

static void build_concat_case(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    Value *x = case_param(c, "x", "a c", -1, 1), *y = variant ? NULL : case_param(c, "y", "a b", -1, 1);
    Axes pieces = case_axes(c, "c b"), same = case_axes(c, "c c");
    Value *once = case_op(c, OP_sin, x, NULL, NULL);
    if (variant == 0) case_result(c, build_concat(&c->b, (Value *[]){x, y}, 2, &pieces, case_axis(c, "f"), 0));
    if (variant == 1) case_result(c, build_concat(&c->b, (Value *[]){x, x}, 2, &same, case_axis(c, "e"), 0));
    if (variant >= 2)
        case_result(c, build_concat(&c->b, (Value *[]){x, once}, 2, NULL, case_axis(c, "d"), variant - 2));
}

static void build_expand_case(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    Axes to = case_axes(c, variant == 0 ? "b a" : variant == 1 ? "c a d b" : "a");
    Type t = type_of(DT_F32, &to);
    case_result(c, build_expand(&c->b, case_param(c, "x", variant == 2 ? "" : "a b", -1, 1), &t));
}

static void build_index_case(CaseCtx *c, OpKind op, int variant) {
    (void)op, (void)variant;
    Value *x = case_param(c, "x", "a b", -1, 1), *i = build_index(&c->b, case_axis(c, "a"));
    case_result(c, case_op(c, OP_mul, x, build_cast(&c->b, i, DT_F32), NULL));
    case_result(c, case_op(c, OP_le, build_index(&c->b, case_axis(c, "b")), i, NULL));
}

static void build_random_case(CaseCtx *c, OpKind op, int variant) {
    (void)op;
    Value *seed = case_ids(c, "seed", "", 1, 100), *step = case_ids(c, "step", "", 0, 100);
    Value *x = case_param(c, "x", "b a", -1, 1);
    Value *noise = build_random(&c->b, &x->type, variant, 3, (Value *[]){seed, step}, 2);
    if (variant == 0) { // dropout
        Value *keep = case_op(c, OP_lt, noise, case_const(c, 0.75), NULL);
        case_result(c, case_op(c, OP_select, keep, case_op(c, OP_div, x, case_const(c, 0.75), NULL), case_const(c, 0)));
    } else {
        case_result(c, case_op(c, OP_add, x, noise, NULL));
    }
}

static void build_stop_case(CaseCtx *c, OpKind op, int variant) {
    (void)op, (void)variant;
    Value *x = case_param(c, "x", "a b", -1, 1);
    case_result(c, case_op(c, OP_mul, x, case_op(c, OP_stop, x, NULL, NULL), NULL));
}

const OpCase op_cases_views[] = {
    {"rename.one", OP_rename, 0, 0, build_rename_case},
    {"rename.split", OP_rename, 0, 1, build_rename_case},
    {"rename.merge", OP_rename, 0, 2, build_rename_case},
    {"rename.unit", OP_rename, 0, 3, build_rename_case},
    {"rename.back", OP_rename, 0, 4, build_rename_case},
    {"slice.keep", OP_slice, 0, 0, build_slice_case},
    {"slice.drop", OP_slice, 0, 1, build_slice_case},
    {"slice.overlap", OP_slice, 0, 2, build_slice_case},
    {"place.window", OP_place, 0, 0, build_place_case},
    {"place.inner", OP_place, 0, 1, build_place_case},
    {"place.last", OP_place, 0, 3, build_place_case},
    {"concat.two", OP_concat, 0, 0, build_concat_case},
    {"concat.twice", OP_concat, 0, 1, build_concat_case},
    {"stack.first", OP_concat, 0, 2, build_concat_case},
    {"stack.middle", OP_concat, 0, 3, build_concat_case},
    {"stack.last", OP_concat, 0, 4, build_concat_case},
    {"expand.permute", OP_expand, 0, 0, build_expand_case},
    {"expand.more", OP_expand, 0, 1, build_expand_case},
    {"expand.scalar", OP_expand, 0, 2, build_expand_case},
    {"index", OP_index, 0, 0, build_index_case},
    {"random.dropout", OP_random, 0, 0, build_random_case},
    {"random.normal", OP_random, 0, 1, build_random_case},
    {"stop.product", OP_stop, CASE_ANY_GRADIENT, 0, build_stop_case},
};
const int op_cases_views_count = sizeof op_cases_views / sizeof *op_cases_views;
