// SPDX-License-Identifier: Apache-2.0
// build: makes nodes with inferred types at an insertion point. Used by the frontend, the C builder and passes.
// A failed build reports through the unit's Diag and returns NULL; given a NULL operand, every function returns NULL
// silently, so that one user mistake gives one message.
#pragma once
#include "ir/op.h"

typedef struct Builder {
    Unit *unit;
    Func *func;
    Block *block;
    Node *before; // insert in front of this node; NULL: at the end of the block
    Loc loc;
    Str scope;  // as in Node
    bool again; // as in Node
} Builder;

Builder builder_at_end(Block *b, Loc loc);
Builder builder_before(Node *n); // takes n's location and scope

// Any op. Leaf ops give their type in `declared`.
Node *build_node(Builder *b, OpKind op, Value *const *args, int nargs, const Attr *attr, const Type *declared);
Value *build_map(Builder *b, OpKind op, Value *x, Value *y, Value *z); // NULL for absent operands

Value *build_const(Builder *b, DType dtype, double value);
Value *build_param(Builder *b, const Type *t, Str name, Str storage);
Value *build_state(Builder *b, const Type *t, Str name, Str of_param);
Value *build_input(Builder *b, const Type *t, Str name, int64_t least, int64_t limit);
Value *build_index(Builder *b, const Axis *axis);
Value *build_random(Builder *b, const Type *t, int64_t law, int64_t stream, Value *const *keys, int nkeys);
Value *build_cast(Builder *b, Value *x, DType to);
Value *build_rename(Builder *b, Value *x, const Axes *from, const Axes *to);
Value *build_slice(Builder *b, Value *x, const Axis *from, const Axis *to, int64_t at); // to NULL: drop the axis
Value *build_place(Builder *b, Value *x, const Axis *from, const Axis *to, int64_t at,
                   int64_t dim); // from NULL: new axis at dim
Value *build_concat(Builder *b, Value *const *xs, int n, const Axes *pieces, const Axis *to,
                    int64_t dim);                          // pieces NULL: stack
Value *build_expand(Builder *b, Value *x, const Type *to); // dims of `to`, dtype of x; x when dims are the same
Value *build_sum(Builder *b, Value *x, const Axes *over);  // x when over is empty
Value *build_max(Builder *b, Value *x, const Axes *over);
Value *build_cumsum(Builder *b, Value *x, const Axis *axis, bool reverse);
Value *build_dot(Builder *b, Value *x, Value *y, const Axes *over);
Value *build_take(Builder *b, Value *table, Value *ids, const Axis *over);
Value *build_scatter(Builder *b, Value *ids, Value *updates, const Axis *over, const Axes *to);
// mask NULL: none. causal NULL: not causal, else two axes (query, key). out_lse may be NULL.
Value *build_attend(Builder *b, Value *q, Value *k, Value *v, Value *mask, const Axis *feature, const Axis *key,
                    double scale, const Axes *causal, Value **out_lse);
void build_output(Builder *b, Value *x, Str name);
void build_assign(Builder *b, Value *leaf, Value *x);
