// SPDX-License-Identifier: Apache-2.0
#include "ir/build.h"
#include <string.h>

Builder builder_at_end(Block *b, Loc loc) { return (Builder){b->func->unit, b->func, b, NULL, loc, NULL, false}; }
Builder builder_before(Node *n) {
    return (Builder){n->parent->func->unit, n->parent->func, n->parent, n, n->loc, n->scope, n->again};
}

static void insert(Builder *b, Node *n) {
    if (b->before) node_insert_before(b->before, n);
    else node_append(b->block, n);
}

Node *build_node(Builder *b, OpKind op, Value *const *args, int nargs, const Attr *attr, const Type *declared) {
    for (int i = 0; i < nargs; i++)
        if (!args[i]) return NULL;
    Type few[3];
    int count;
    if (!op_infer(b->unit, op, args, nargs, attr, NULL, declared, b->loc, few, &count)) return NULL;
    Node *n = node_new(b->func, op, args, nargs, count, attr, b->loc);
    n->scope = b->scope;
    n->again = b->again;
    for (int i = 0; i < count; i++) n->results[i]->type = few[i];
    insert(b, n);
    return n;
}

static Value *build_one(Builder *b, OpKind op, Value *const *args, int nargs, const Attr *attr, const Type *declared) {
    Node *n = build_node(b, op, args, nargs, attr, declared);
    return n ? n->results[0] : NULL;
}

Value *build_map(Builder *b, OpKind op, Value *x, Value *y, Value *z) {
    return build_one(b, op, (Value *[]){x, y, z}, op_info(op)->nargs, NULL, NULL);
}

Value *build_const(Builder *b, DType dtype, double value) {
    Type t = type_scalar(dtype);
    return build_one(b, OP_const, NULL, 0, &(Attr){.f = value}, &t);
}

static Value *build_leaf(Builder *b, OpKind op, const Type *t, Str name, const Attr *attr) {
    Value *v = build_one(b, op, NULL, 0, attr, t);
    if (v) v->name = name;
    return v;
}

Value *build_param(Builder *b, const Type *t, Str name, Str storage) {
    return build_leaf(b, OP_param, t, name, &(Attr){.s = name, .s2 = storage});
}
Value *build_state(Builder *b, const Type *t, Str name, Str of_param) {
    return build_leaf(b, OP_state, t, name, &(Attr){.s = name, .s2 = of_param});
}
Value *build_input(Builder *b, const Type *t, Str name, int64_t least, int64_t limit) {
    return build_leaf(b, OP_input, t, name, &(Attr){.s = name, .i = limit, .j = least});
}

Value *build_index(Builder *b, const Axis *axis) {
    Axes axes = axes_of(1, axis);
    Type t = type_of(DT_I32, &axes);
    return build_one(b, OP_index, NULL, 0, &(Attr){.axes = axes}, &t);
}

Value *build_random(Builder *b, const Type *t, int64_t law, int64_t stream, Value *const *keys, int nkeys) {
    return build_one(b, OP_random, keys, nkeys, &(Attr){.i = law, .j = stream}, t);
}

Value *build_cast(Builder *b, Value *x, DType to) {
    if (x && x->type.dtype == to) return x;
    return build_one(b, OP_cast, &x, 1, &(Attr){.dtype = to}, NULL);
}

Value *build_rename(Builder *b, Value *x, const Axes *from, const Axes *to) {
    return build_one(b, OP_rename, &x, 1, &(Attr){.axes = *from, .to = *to}, NULL);
}

static Axes maybe(const Axis *axis) {
    Axes a = {0};
    if (axis) axes_push(&a, axis);
    return a;
}

Value *build_slice(Builder *b, Value *x, const Axis *from, const Axis *to, int64_t at) {
    return build_one(b, OP_slice, &x, 1, &(Attr){.axes = axes_of(1, from), .to = maybe(to), .i = at}, NULL);
}

Value *build_place(Builder *b, Value *x, const Axis *from, const Axis *to, int64_t at, int64_t dim) {
    return build_one(b, OP_place, &x, 1,
                     &(Attr){.axes = maybe(from), .to = axes_of(1, to), .i = at, .j = from ? 0 : dim}, NULL);
}

Value *build_concat(Builder *b, Value *const *xs, int n, const Axes *pieces, const Axis *to, int64_t dim) {
    Attr attr = {.to = axes_of(1, to), .j = pieces ? 0 : dim};
    if (pieces) attr.axes = *pieces;
    return build_one(b, OP_concat, xs, n, &attr, NULL);
}

Value *build_expand(Builder *b, Value *x, const Type *to) {
    if (!x) return NULL;
    Type t = *to;
    t.dtype = x->type.dtype;
    t.sum = t.max = 0;
    if (type_same_dims(&t, &x->type)) return x;
    return build_one(b, OP_expand, &x, 1, NULL, &t);
}

Value *build_sum(Builder *b, Value *x, const Axes *over) {
    return over->n ? build_one(b, OP_sum, &x, 1, &(Attr){.axes = *over}, NULL) : x;
}
Value *build_max(Builder *b, Value *x, const Axes *over) {
    return over->n ? build_one(b, OP_max, &x, 1, &(Attr){.axes = *over}, NULL) : x;
}
Value *build_dot(Builder *b, Value *x, Value *y, const Axes *over) {
    return build_one(b, OP_dot, (Value *[]){x, y}, 2, &(Attr){.axes = *over}, NULL);
}
Value *build_cumsum(Builder *b, Value *x, const Axis *axis, bool reverse) {
    return build_one(b, OP_cumsum, &x, 1, &(Attr){.axes = axes_of(1, axis), .flag = reverse}, NULL);
}
Value *build_take(Builder *b, Value *table, Value *ids, const Axis *over) {
    return build_one(b, OP_take, (Value *[]){table, ids}, 2, &(Attr){.axes = axes_of(1, over)}, NULL);
}
Value *build_scatter(Builder *b, Value *ids, Value *updates, const Axis *over, const Axes *to) {
    while (ids && updates && updates->def && updates->def->op == OP_expand) { // scatter repeats updates itself
        Value *x = updates->def->args[0];
        for (int i = 0; i < updates->type.rank; i++) {
            const Axis *axis = updates->type.dim[i].axis;
            bool kept = type_find(&ids->type, axis) >= 0 && axes_find(to, axis) >= 0;
            if (type_find(&x->type, axis) < 0 && !kept) x = updates;
        }
        if (x == updates) break;
        updates = x;
    }
    return build_one(b, OP_scatter, (Value *[]){ids, updates}, 2, &(Attr){.axes = axes_of(1, over), .to = *to}, NULL);
}

Value *build_attend(Builder *b, Value *q, Value *k, Value *v, Value *mask, const Axis *feature, const Axis *key,
                    double scale, const Axes *causal, Value **out_lse) {
    Attr attr = {.axes = axes_of(2, feature, key), .f = scale, .flag = causal != NULL};
    if (causal) attr.to = *causal;
    Node *n = build_node(b, OP_attend, (Value *[]){q, k, v, mask}, mask ? 4 : 3, &attr, NULL);
    if (!n) return NULL;
    if (out_lse) *out_lse = n->results[1];
    return n->results[0];
}

void build_output(Builder *b, Value *x, Str name) { build_node(b, OP_output, &x, 1, &(Attr){.s = name}, NULL); }
void build_assign(Builder *b, Value *leaf, Value *x) { build_node(b, OP_assign, (Value *[]){leaf, x}, 2, NULL, NULL); }
