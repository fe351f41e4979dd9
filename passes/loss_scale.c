// SPDX-License-Identifier: Apache-2.0
// loss_scale: see loss_scale.h. Ordinary nodes, made before the strategy is applied: the norm's reductions carry an
// overflow on any rank to all of them, and all decide alike.
//
//   %scale: f32[] = state "loss_scale" ""                 2^16 at first
//   ... backward half, from the cotangent %scale of the loss ...
//   %g: f32[width] = mul %d_w, 1 / %scale                 exact: a power of two
//   %done: bool[]  = le %norm, largest f32                false for inf and NaN
//   assign %scale, select %done, (%good + 1 = 2000 ? min(2 %scale, 2^24) : %scale), max(%scale / 2, 1)
#include "passes/loss_scale.h"
#include "ir/strategy.h"
#include <float.h>

enum { PATIENCE = 2000 };
static const char SCALE[] = "loss_scale", GOOD[] = "loss_scale.good_steps", SKIPPED[] = "loss_scale.skipped_steps";

#define MAP2(op, x, y) build_map(b, OP_##op, x, y, NULL)
#define SELECT(c, x, y) build_map(b, OP_select, c, x, y)
#define F32(x) build_const(b, DT_F32, x)
#define I32(x) build_const(b, DT_I32, x)

bool loss_is_scaled(const Unit *u) {
    const Strategy *s = u->strategy;
    return s && s->has_precision && s->compute == DT_F16;
}

static Value *find_state(const Func *f, const char *name) {
    for (Node *n = f->top->first; n; n = n->next)
        if (n->op == OP_state && !strcmp(n->attr.s, name)) return n->results[0];
    return NULL;
}

// Of the whole unit, not of a parameter.
static Value *add_state(Builder *b, DType dtype, const char *name, double first) {
    Type t = type_scalar(dtype);
    Str s = str_intern(b->unit->strs, name), none = str_intern(b->unit->strs, "");
    Func *init = unit_func(b->unit, "init");
    if (init) {
        Builder at = builder_at_end(init->top, b->loc);
        build_assign(&at, build_state(&at, &t, s, none), build_const(&at, dtype, first));
    }
    return build_state(b, &t, s, none);
}

Value *loss_scale_seed(Builder *b) {
    if (!loss_is_scaled(b->unit)) return F32(1);
    double first = (double)b->unit->strategy->scale;
    return b->unit->recipe ? add_state(b, DT_F32, SCALE, first) : F32(first);
}

Value *loss_scale_undo(Builder *b, Value *gradient) {
    if (!loss_is_scaled(b->unit)) return gradient;
    Value *scale = find_state(b->func, SCALE);
    Value *inverse = scale ? MAP2(div, F32(1), scale) : F32(1 / (double)b->unit->strategy->scale);
    return MAP2(mul, gradient, inverse);
}

Value *loss_scale_check(Builder *b, Value *norm, Value *now, Value **out_step) {
    Value *scale = find_state(b->func, SCALE);
    Value *good = add_state(b, DT_I32, GOOD, 0), *skipped = add_state(b, DT_I32, SKIPPED, 0);
    Value *done = MAP2(le, norm, F32(FLT_MAX));
    Value *good_now = MAP2(add, good, I32(1)), *patient = MAP2(ge, good_now, I32(PATIENCE));
    Value *larger = SELECT(patient, MAP2(minimum, MAP2(mul, scale, F32(2)), F32(SCALE_MAX)), scale);
    Value *smaller = MAP2(maximum, MAP2(mul, scale, F32(0.5)), F32(1));
    Value *skipped_now = SELECT(done, skipped, MAP2(add, skipped, I32(1)));
    build_assign(b, scale, SELECT(done, larger, smaller));
    build_assign(b, good, SELECT(done, SELECT(patient, I32(0), good_now), I32(0)));
    build_assign(b, skipped, skipped_now);
    build_output(b, scale, str_intern(b->unit->strs, "loss_scale"));
    build_output(b, skipped_now, str_intern(b->unit->strs, "skipped_steps"));
    *out_step = MAP2(sub, now, skipped);
    return done;
}
