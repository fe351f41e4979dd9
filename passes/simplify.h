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

// Rewrites by exact identities, folds constants and merges equal nodes within each block. True when something changed.
bool simplify_rewrite(Func *f);
// One node: a value of the same type that equals its only result, made in front of it where needed, or NULL.
Value *simplify_fold(Node *n);
Value *simplify_identity(Node *n);
Value *simplify_view(Node *n);
// Repeats: loop-invariant work moves out, carries that never change and doubled operands go. True when something
// changed.
bool simplify_repeats(Func *f);

// Makes everything a repeat body takes from outside an invariant operand, in every repeat of f. True when something
// changed. In: `add %x, %w` inside, %w from outside. Out: an operand %w of the repeat and a body parameter for it.
bool repeat_close_bodies(Func *f);
