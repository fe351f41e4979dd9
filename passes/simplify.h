// SPDX-License-Identifier: Apache-2.0
// simplify: the parts of the simplify pass, which other passes may use on what they built.
#pragma once
#include "ir/build.h"

bool node_is_pure(const Node *n); // may be removed when unused and merged with an equal node

// Removes what no effect needs: nodes, and in repeats carries, stacked values, invariants and results. True when
// something went.
bool simplify_dead(Func *f);
// The same for one detached body: nodes that its yield does not need; repeats inside are kept or removed whole.
void simplify_dead_body(Block *body);

// Makes everything a repeat body takes from outside an invariant operand, in every repeat of f. True when something
// changed. In: `add %x, %w` inside, %w from outside. Out: an operand %w of the repeat and a body parameter for it.
bool repeat_close_bodies(Func *f);
// Repeats with closed bodies: loop-invariant work moves out, carries that never change become invariants, constants
// move in, doubled operands and results become one. True when something changed.
bool simplify_repeats(Func *f);

// Rewriting one node, by identities that are exact in IEEE arithmetic (up to the sign of a zero where values are laid
// into zeros). Each gives a value of the type of the node's only result that equals it, made in front of the node where
// needed, or NULL. Nodes with a body or effects are not asked.
Value *simplify_fold(Node *n);     // operands are constants
Value *simplify_identity(Node *n); // x * 1, x + (-0), neg neg x, ...
Value *simplify_view(Node *n);     // rename of rename, slice of concat, places that tile an axis, ...
bool simplify_operands(Node *n);   // changes the node: maps broadcast by themselves and need no expanded operand

bool value_const(const Value *v, double *out); // a constant, perhaps expanded
// x with the dimensions of n's result, or NULL when it cannot be had by an expansion in front of n.
Value *simplify_as_result(Node *n, Value *x);
