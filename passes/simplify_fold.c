// SPDX-License-Identifier: Apache-2.0
// simplify_fold: maps over constants, computed by the table's equations in double precision. A constant keeps its
// double value; it is rounded where it is used.
#include "passes/simplify.h"
#include <math.h>

typedef double Equation(double a, double b, double c);

#define MAP(name, n, domain, pending, traits, flops, equation, gradient, body)                                         \
    static double equation_##name(double a, double b, double c) {                                                      \
        (void)a, (void)b, (void)c;                                                                                     \
        return equation;                                                                                               \
    }
#include "ir/ops.def"

static Equation *const equations[OP_COUNT] = {
#define MAP(name, ...) [OP_##name] = equation_##name,
#include "ir/ops.def"
};

bool value_const(const Value *v, double *out) {
    while (v->def && v->def->op == OP_expand) v = v->def->args[0];
    if (!v->def || v->def->op != OP_const) return false;
    *out = v->def->attr.f;
    return !v->type.sum && !v->type.max;
}

// Whether the element type holds the value as the op would leave it there.
static bool representable(DType t, double x) {
    switch (t) {
    case DT_BOOL: return x == 0 || x == 1;
    case DT_I32: return x == trunc(x) && x >= -2147483648.0 && x <= 2147483647.0;
    case DT_F32:
    case DT_F64: return isfinite(x);
    default: return false; // 16-bit casts round; they are left to run
    }
}

Value *simplify_fold(Node *n) {
    if (!equations[n->op] || n->results[0]->type.sum || n->results[0]->type.max) return NULL;
    double x[3] = {0, 0, 0};
    for (int i = 0; i < n->nargs; i++)
        if (!value_const(n->args[i], &x[i]) || !representable(n->args[i]->type.dtype, x[i])) return NULL;
    DType t = n->results[0]->type.dtype;
    double y = equations[n->op](x[0], x[1], x[2]);
    if (n->op == OP_cast && t == DT_BOOL) y = y != 0;
    if (n->op == OP_cast && t == DT_I32) y = trunc(y);
    if (!representable(t, y)) return NULL;
    Builder b = builder_before(n);
    return simplify_as_result(n, build_const(&b, t, y));
}
