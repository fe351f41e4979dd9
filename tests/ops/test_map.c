// SPDX-License-Identifier: Apache-2.0
// Elementwise ops: the interpreter, whose equations come from the table, against the C expressions below, with equal,
// broadcast and permuted operands. A row without an expression here fails: an op without tests cannot exist.
#include "ir/op.h"
#include "tests/ops/cases.h"
#include <math.h>

typedef double Expression(double a, double b, double c);
#define EXPRESSION(name, value)                                                                                        \
    static double check_##name(double a, double b, double c) {                                                         \
        (void)a, (void)b, (void)c;                                                                                     \
        return value;                                                                                                  \
    }
EXPRESSION(add, a + b)
EXPRESSION(sub, a - b)
EXPRESSION(mul, (a * b))
EXPRESSION(div, a / b)
EXPRESSION(neg, 0 - a)
EXPRESSION(exp, pow(M_E, a))
EXPRESSION(log, log2(a) * M_LN2)
EXPRESSION(sqrt, pow(a, 0.5))
EXPRESSION(rsqrt, pow(a, -0.5))
EXPRESSION(tanh, (exp(a) - exp(-a)) / (exp(a) + exp(-a)))
EXPRESSION(sigmoid, exp(a) / (exp(a) + 1))
EXPRESSION(softplus, log(exp(a) + 1))
EXPRESSION(erf, 1 - erfc(a))
EXPRESSION(sin, cos(a - M_PI_2))
EXPRESSION(cos, sin(a + M_PI_2))
EXPRESSION(abs, fabs(a))
EXPRESSION(maximum, fmax(a, b))
EXPRESSION(minimum, fmin(a, b))
EXPRESSION(pow, exp((b * log(a))))
EXPRESSION(eq, a - b == 0)
EXPRESSION(ne, a < b || b < a)
EXPRESSION(lt, b - a > 0)
EXPRESSION(le, !(a > b))
EXPRESSION(gt, a - b > 0)
EXPRESSION(ge, !(a < b))
EXPRESSION(and, (a * b))
EXPRESSION(or, a + b > 0)
EXPRESSION(not, 1 - a)
EXPRESSION(select, c + (b - c) * a)
EXPRESSION(cast, a)
EXPRESSION(stop, a)

static Expression *const expressions[OP_COUNT] = {
    [OP_add] = check_add,
    [OP_sub] = check_sub,
    [OP_mul] = check_mul,
    [OP_div] = check_div,
    [OP_neg] = check_neg,
    [OP_exp] = check_exp,
    [OP_log] = check_log,
    [OP_sqrt] = check_sqrt,
    [OP_rsqrt] = check_rsqrt,
    [OP_tanh] = check_tanh,
    [OP_sigmoid] = check_sigmoid,
    [OP_erf] = check_erf,
    [OP_sin] = check_sin,
    [OP_cos] = check_cos,
    [OP_abs] = check_abs,
    [OP_maximum] = check_maximum,
    [OP_minimum] = check_minimum,
    [OP_pow] = check_pow,
    [OP_eq] = check_eq,
    [OP_ne] = check_ne,
    [OP_lt] = check_lt,
    [OP_le] = check_le,
    [OP_gt] = check_gt,
    [OP_ge] = check_ge,
    [OP_and] = check_and,
    [OP_or] = check_or,
    [OP_not] = check_not,
    [OP_select] = check_select,
    [OP_softplus] = check_softplus,
    [OP_cast] = check_cast,
    [OP_stop] = check_stop,
};

static int failures;
#define FAIL(...) (printf("FAIL: "), printf(__VA_ARGS__), printf("\n"), failures++)

// The operand's value at the place of the result with these indices (by dimension of `type`).
static double operand_at(const CaseLeaf *leaf, const Type *type, const int64_t *at) {
    int64_t offset = 0;
    for (int d = 0; d < leaf->type.rank; d++)
        offset = offset * leaf->type.dim[d].axis->extent + at[type_find(type, leaf->type.dim[d].axis)];
    return leaf->values[offset];
}

static void check_case(const OpCase *k) {
    CaseCtx *c = case_open(k);
    Eval *e = eval_new(c->unit, c->arena);
    if (diag_errors(c->unit->diag) || !case_set(c, e) || !eval_run(e, "train")) {
        FAIL("%s: %s", k->name, case_said(c));
        case_close(c);
        return;
    }
    const Type *type = eval_type(e, "y.0");
    int nargs = op_info(k->op)->nargs;
    int64_t count;
    type_elements(type, &count);
    double *got = NEW_ARRAY(c->arena, double, count);
    eval_get(e, "y.0", got, count);
    for (int64_t i = 0; i < count; i++) {
        int64_t at[RANK_MAX], rest = i;
        for (int d = type->rank - 1; d >= 0; d--) {
            at[d] = rest % type->dim[d].axis->extent;
            rest /= type->dim[d].axis->extent;
        }
        double x[3] = {0};
        for (int a = 0; a < nargs; a++) x[a] = operand_at(&c->leaves.at[a], type, at);
        double want = expressions[k->op](x[0], x[1], x[2]);
        if (k->op == OP_cast && k->variant == 1) want = x[0] < 0 ? ceil(x[0]) : floor(x[0]);
        if (!(fabs(got[i] - want) <= 1e-14 * fmax(1, fabs(want))))
            FAIL("%s: %s(%g, %g, %g) is %.17g, not %.17g", k->name, op_info(k->op)->name, x[0], x[1], x[2], got[i],
                 want);
        if (fabs(got[i] - eval_map(k->op, x[0], x[1], x[2])) > 1e-15 && k->op != OP_cast)
            FAIL("%s: eval_map differs", k->name);
    }
    case_close(c);
}

int main(void) {
    int count, done = 0;
    const OpCase *cases = op_cases(&count);
    for (int op = 0; op < OP_COUNT; op++)
        if (op_info(op)->traits & TRAIT_MAP && !expressions[op]) FAIL("%s has no expression here", op_info(op)->name);
    for (int i = 0; i < count; i++) {
        if (!(cases[i].flags & CASE_MAP) || !expressions[cases[i].op]) continue;
        check_case(&cases[i]);
        done++;
    }
    printf("%d cases, %d failures\n", done, failures);
    return failures != 0;
}
