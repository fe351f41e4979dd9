// SPDX-License-Identifier: Apache-2.0
// simplify_identity: algebra that holds bit for bit in IEEE arithmetic, NaN and signed zero included. x + 0 is not
// among it for floating point (-0 + 0 = 0), nor is x * 0, nor any change of the order of operations.
#include "passes/simplify.h"
#include <math.h>

Value *simplify_as_result(Node *n, Value *x) {
    const Type *t = &n->results[0]->type;
    if (!x || x->type.dtype != t->dtype || x->type.sum != t->sum || x->type.max != t->max) return NULL;
    if (type_equal(&x->type, t)) return x;
    Type to = *t;
    for (int i = 0; i < x->type.rank; i++) {
        int d = type_find(t, x->type.dim[i].axis);
        if (d < 0 || t->dim[d].split != x->type.dim[i].split) return NULL;
    }
    if (type_same_dims(&x->type, t)) return NULL;
    Builder b = builder_before(n);
    Value *y = build_expand(&b, x, &to);
    return y && type_equal(&y->type, t) ? y : NULL;
}

static const Node *made_by(const Value *v, OpKind op) { return v->def && v->def->op == op ? v->def : NULL; }

// Is v the constant c, to the sign of zero?
static bool is(const Value *v, double c) {
    double x;
    return value_const(v, &x) && x == c && signbit(x) == signbit(c);
}

static bool is_integer(const Value *v) { return v->type.dtype == DT_I32; }

static Value *add(Node *n, Value *a, Value *b) {
    if (is(b, -0.0) || (is_integer(b) && is(b, 0))) return simplify_as_result(n, a);
    if (is(a, -0.0) || (is_integer(a) && is(a, 0))) return simplify_as_result(n, b);
    return NULL;
}

static Value *negated_operand(Node *n, Value *a, Value *b, OpKind op) { // a op b, where n is a (-op) neg b
    Builder at = builder_before(n);
    Value *y = build_map(&at, op, a, b, NULL);
    return y && type_equal(&y->type, &n->results[0]->type) ? y : NULL;
}

static Value *mul(Node *n, Value *a, Value *b) {
    if (is(b, 1)) return simplify_as_result(n, a);
    if (is(a, 1)) return simplify_as_result(n, b);
    Value *x = is(b, -1) ? a : is(a, -1) ? b : NULL;
    if (!x || !type_equal(&x->type, &n->results[0]->type)) return NULL;
    Builder at = builder_before(n);
    return build_map(&at, OP_neg, x, NULL, NULL);
}

static Value *power(Node *n, Value *a, Value *b) {
    if (is(b, 1)) return simplify_as_result(n, a);
    if (!is(b, 2)) return NULL;
    Builder at = builder_before(n); // a square is one rounding of the exact value either way
    return simplify_as_result(n, build_map(&at, OP_mul, a, a, NULL));
}

static Value *select(Node *n, Value *a, Value *b, Value *c) {
    double chosen;
    if (b == c) return simplify_as_result(n, b);
    if (value_const(a, &chosen)) return simplify_as_result(n, chosen ? b : c);
    const Node *inverted = made_by(a, OP_not);
    if (!inverted) return NULL;
    Builder at = builder_before(n);
    Value *y = build_map(&at, OP_select, inverted->args[0], c, b);
    return y && type_equal(&y->type, &n->results[0]->type) ? y : NULL;
}

static Value *logical(Node *n, Value *a, Value *b, double neutral) {
    if (a == b || is(b, neutral)) return simplify_as_result(n, a);
    if (is(a, neutral)) return simplify_as_result(n, b);
    if (is(a, 1 - neutral)) return simplify_as_result(n, a);
    if (is(b, 1 - neutral)) return simplify_as_result(n, b);
    return NULL;
}

Value *simplify_identity(Node *n) {
    if (!(op_info(n->op)->traits & TRAIT_MAP)) return NULL;
    Value *a = n->args[0], *b = n->nargs > 1 ? n->args[1] : NULL, *c = n->nargs > 2 ? n->args[2] : NULL;
    const Node *inner;
    switch (n->op) {
    case OP_add:
        if ((inner = made_by(b, OP_neg))) return negated_operand(n, a, inner->args[0], OP_sub);
        return add(n, a, b);
    case OP_sub:
        if ((inner = made_by(b, OP_neg))) return negated_operand(n, a, inner->args[0], OP_add);
        return is(b, 0) ? simplify_as_result(n, a) : NULL;
    case OP_mul: return mul(n, a, b);
    case OP_div: return is(b, 1) ? simplify_as_result(n, a) : NULL;
    case OP_neg:
    case OP_not: return (inner = made_by(a, n->op)) ? simplify_as_result(n, inner->args[0]) : NULL;
    case OP_abs: return made_by(a, OP_abs) ? a : NULL;
    case OP_stop: return made_by(a, OP_stop) ? a : NULL;
    case OP_maximum:
    case OP_minimum: return a == b ? simplify_as_result(n, a) : NULL;
    case OP_pow: return power(n, a, b);
    case OP_select: return select(n, a, b, c);
    case OP_and: return logical(n, a, b, 1);
    case OP_or: return logical(n, a, b, 0);
    case OP_cast: return a->type.dtype == n->attr.dtype ? a : NULL;
    default: return NULL;
    }
}

// ---- expanded operands ----

static Value *before_expand(Value *v) {
    while (v->def && v->def->op == OP_expand) v = v->def->args[0];
    return v;
}

bool simplify_operands(Node *n) {
    if (!(op_info(n->op)->traits & TRAIT_MAP)) return false;
    bool changed = false;
    for (int i = 0; i < n->nargs; i++) {
        Value *narrow = before_expand(n->args[i]);
        if (narrow == n->args[i] || narrow->type.rank == n->results[0]->type.rank) continue; // a permutation stays
        bool other = false; // another operand gives the result its dimensions
        for (int j = 0; j < n->nargs; j++) other |= j != i && type_same_dims(&n->args[j]->type, &n->results[0]->type);
        if (!other) continue;
        n->args[i] = narrow;
        changed = true;
    }
    return changed;
}
