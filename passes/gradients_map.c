// SPDX-License-Identifier: Apache-2.0
// gradients_map: the gradient column of the map rows, expanded. The column is written with the ops themselves; the
// macros here give each its builder call.
#include "passes/gradients.h"
#include <math.h>

static Value *cast_back(Builder *at, Value *g, const Value *like) {
    return dtype_is_float(like->type.dtype) ? build_cast(at, g, like->type.dtype) : NULL;
}

#define mul(p, q) build_map(at, OP_mul, p, q, NULL)
#define div(p, q) build_map(at, OP_div, p, q, NULL)
#define sub(p, q) build_map(at, OP_sub, p, q, NULL)
#define neg(p) build_map(at, OP_neg, p, NULL, NULL)
#define sigmoid(p) build_map(at, OP_sigmoid, p, NULL, NULL)
#define exp(p) build_map(at, OP_exp, p, NULL, NULL)
#define log(p) build_map(at, OP_log, p, NULL, NULL)
#define sin(p) build_map(at, OP_sin, p, NULL, NULL)
#define cos(p) build_map(at, OP_cos, p, NULL, NULL)
#define pow(p, q) build_map(at, OP_pow, p, q, NULL)
#define lt(p, q) build_map(at, OP_lt, p, q, NULL)
#define le(p, q) build_map(at, OP_le, p, q, NULL)
#define ge(p, q) build_map(at, OP_ge, p, q, NULL)
#define select(p, q, r) build_map(at, OP_select, p, q, r)
#define lit(value) build_const(at, g->type.dtype, value)
#define cast_like(p, like) cast_back(at, p, like)

#define MAP(name, count, domain, pending, traits, flops, equation, gradient, body)                                     \
    bool gradient_map_##name(Gradient *x) {                                                                            \
        Builder *at = x->b;                                                                                            \
        Value *g = x->g[0], *y = x->node->results[0], *a = x->node->args[0];                                           \
        Value *b = (count) > 1 ? x->node->args[1] : NULL, *c = (count) > 2 ? x->node->args[2] : NULL, **d = x->d;      \
        (void)at, (void)g, (void)y, (void)a, (void)b, (void)c, (void)d;                                                \
        gradient;                                                                                                      \
        return true;                                                                                                   \
    }
#include "ir/ops.def"
