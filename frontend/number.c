// SPDX-License-Identifier: Apache-2.0
// number: arithmetic at compile time: extents in checked 64-bit integers, scalars in double with the table's equations.
#include "base/checked.h"
#include "frontend/builtins.h"
#include "frontend/front.h"
#include <inttypes.h>
#include <math.h>

Near near_to(const char *wanted) {
    int length = (int)strlen(wanted);
    return (Near){wanted, NULL, length <= 2 ? 1 : length <= 5 ? 2 : 3};
}

void near_try(Near *n, const char *candidate) {
    int limit = n->best ? n->distance - 1 : n->distance;
    if (limit < 0) return;
    int d = str_distance(n->wanted, candidate, limit);
    if (d > limit || d >= (int)strlen(n->wanted)) return; // nothing in common
    n->best = candidate;
    n->distance = d;
}

const char *near_text(const Near *n, Arena *a) {
    return n->best ? arena_printf(a, "; did you mean '%s'?", n->best) : "";
}

const char *axis_near(const Front *f, Str name) {
    Near near = near_to(name);
    for (int i = 0; i < f->axes.n; i++) near_try(&near, f->axes.at[i].name.str);
    return near_text(&near, f->arena);
}

static bool overflow(Front *f, const Expr *e) {
    diag_error(f->diag, e->loc, "this number does not fit in 64 bits");
    return false;
}

bool number_integer(Front *f, const Expr *e, int64_t *out) {
    int64_t a, b = 0;
    switch (e->kind) {
    case EXPR_NUMBER:
        if (e->number.is_integer) return *out = e->number.integer, true;
        if (!strpbrk(e->number.text, ".eE")) return overflow(f, e);
        diag_error(f->diag, e->loc, "an integer is needed, not %s", e->number.text);
        return false;
    case EXPR_NAME: {
        const Axis *axis = axis_lookup(f, e->name, e->loc);
        if (!axis) return false;
        return *out = axis->extent, true;
    }
    case EXPR_OP:
        if (!number_integer(f, e->op.a, &a) || (e->op.b && !number_integer(f, e->op.b, &b))) return false;
        switch (e->op.op) {
        case OP_add: return checked_add(a, b, out) || overflow(f, e);
        case OP_sub: return checked_sub(a, b, out) || overflow(f, e);
        case OP_mul: return checked_mul(a, b, out) || overflow(f, e);
        case OP_neg: return checked_sub(0, a, out) || overflow(f, e);
        case OP_div:
            if (b == 0) diag_error(f->diag, e->loc, "division by zero");
            else if (b == -1) return checked_sub(0, a, out) || overflow(f, e);
            else if (a % b) diag_error(f->diag, e->loc, "%" PRId64 " / %" PRId64 " is not a whole number", a, b);
            else return *out = a / b, true;
            return false;
        default: break;
        }
        break;
    default: break;
    }
    diag_error(f->diag, e->loc, "an integer is made of numbers, axes, + - * / and parentheses");
    return false;
}

bool number_fold(OpKind op, const double args[3], double *out) {
    double a = args[0], b = args[1], c = args[2];
    (void)c;
    switch (op) {
#define MAP(name, n, domain, pending, traits, flops, equation, ...)                                                    \
    case OP_##name:                                                                                                    \
        *out = (equation);                                                                                             \
        return true;
#include "ir/ops.def"
    default: return false;
    }
}

bool number_double(Front *f, const Expr *e, double *out) {
    double args[3] = {0};
    switch (e->kind) {
    case EXPR_NUMBER: return *out = e->number.value, true;
    case EXPR_NAME: {
        const Axis *axis = axis_lookup(f, e->name, e->loc);
        if (!axis) return false;
        return *out = (double)axis->extent, true;
    }
    case EXPR_OP:
        if (!number_double(f, e->op.a, &args[0]) || (e->op.b && !number_double(f, e->op.b, &args[1]))) return false;
        number_fold(e->op.op, args, out);
        break;
    case EXPR_CALL: {
        const Builtin *b = builtin_find(e->call.callee.str);
        bool ok = b && b->kind == BUILTIN_MAP && e->call.args.n == b->least && !e->call.as.str;
        for (int i = 0; ok && i < e->call.args.n; i++) ok = !e->call.args.at[i].key.str && !e->call.args.at[i].over;
        if (!ok) {
            diag_error(f->diag, e->loc, "'%s' does not make a number here", e->call.callee.str);
            return false;
        }
        for (int i = 0; i < e->call.args.n; i++)
            if (!number_double(f, e->call.args.at[i].value, &args[i])) return false;
        number_fold(b->op, args, out);
        break;
    }
    default: diag_error(f->diag, e->loc, "a number is needed here"); return false;
    }
    if (isfinite(*out)) return true;
    diag_error(f->diag, e->loc, "this is not a finite number");
    return false;
}
