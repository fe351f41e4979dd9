// SPDX-License-Identifier: Apache-2.0
// optimizer_schedule: scalars of the step: the learning rate, and Adam's correction for moments that begin at zero.
#include "passes/optimizer.h"
#include <math.h>

#define ADD(p, q) build_map(b, OP_add, p, q, NULL)
#define SUB(p, q) build_map(b, OP_sub, p, q, NULL)
#define MUL(p, q) build_map(b, OP_mul, p, q, NULL)
#define DIV(p, q) build_map(b, OP_div, p, q, NULL)
#define LIT(value) build_const(b, DT_F32, value)

// How far the decay has come: 0 at the end of the warmup, 1 from step `steps` on.
static Value *decay_progress(Builder *b, const Recipe *r, Value *step) {
    double length = r->steps > r->warmup ? (double)(r->steps - r->warmup) : 1;
    Value *raw = DIV(SUB(step, LIT((double)r->warmup)), LIT(length));
    return build_map(b, OP_minimum, LIT(1), build_map(b, OP_maximum, raw, LIT(0), NULL), NULL);
}

Value *schedule_rate(Builder *b, const Recipe *r, Value *now) {
    Value *step = build_cast(b, now, DT_F32), *rate = LIT(r->lr);
    if (r->schedule != SCHEDULE_CONSTANT) {
        Value *done = decay_progress(b, r, step), *left; // left: 1 at the start, 0 at the end
        if (r->schedule == SCHEDULE_COSINE)
            left = MUL(LIT(0.5), ADD(LIT(1), build_map(b, OP_cos, MUL(done, LIT(M_PI)), NULL, NULL)));
        else left = SUB(LIT(1), done);
        rate = MUL(LIT(r->lr), ADD(LIT(r->floor), MUL(LIT(1 - r->floor), left)));
    }
    if (r->warmup <= 0) return rate;
    Value *rising = DIV(MUL(LIT(r->lr), ADD(step, LIT(1))), LIT((double)r->warmup));
    return build_map(b, OP_select, build_map(b, OP_lt, step, LIT((double)r->warmup), NULL), rising, rate);
}

// 1 - beta^t = -expm1(u) with u = t log beta. Near 0 the difference would lose digits (beta = 0.999 at t = 1 keeps
// four), so there the series -u (1 + u/2! + u^2/3! + ...) is used; at u >= -1 its rest behind u^9/10! is below 3e-8.
Value *schedule_unbias(Builder *b, Value *now, double beta) {
    if (beta == 0) return LIT(1);
    Value *t = ADD(build_cast(b, now, DT_F32), LIT(1)), *u = MUL(t, LIT(log(beta)));
    Value *near = build_map(b, OP_maximum, u, LIT(-1), NULL), *sum = NULL;
    double factorial = 3628800; // 10!
    for (int k = 10; k >= 1; factorial /= k--) {
        Value *term = LIT(1 / factorial);
        sum = k == 10 ? term : ADD(MUL(sum, near), term);
    }
    Value *series = MUL(build_map(b, OP_neg, near, NULL, NULL), sum);
    Value *direct = SUB(LIT(1), build_map(b, OP_exp, u, NULL, NULL));
    Value *correction = build_map(b, OP_select, build_map(b, OP_lt, u, LIT(-1), NULL), direct, series);
    return DIV(LIT(1), correction);
}
