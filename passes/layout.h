// SPDX-License-Identifier: Apache-2.0
// layout: what the placement passes (shard, resolve) share: making nodes whose result types op_infer derives, in the
// middle of a graph whose users already exist.
#pragma once
#include "ir/op.h"
#include "ir/strategy.h"

// The strategy's mesh becomes the unit's: with an axis more, the last, when a step is done in microbatches, which split
// `batch`; with the axis of stages marked. False after a diagnostic.
bool layout_mesh(Unit *u);
// The layout by name: which mesh axes split `axis` in every value that has it (mesh axes of extent 1 split nothing).
MeshSet layout_split(const Unit *u, const Axis *axis);
const Split *layout_split_line(const Unit *u, const Axis *axis); // what the strategy says of the axis, or NULL

// Nodes behind `at` (NULL: at the beginning of the value's block). Their result types come from op_infer; NULL after a
// diagnostic.
Node *layout_all_gather(Func *f, Block *b, Node *after, Value *x, const Axis *axis, Loc loc);
Node *layout_part(Func *f, Block *b, Node *after, Value *x, const Axis *axis, MeshSet over, Loc loc);
Node *layout_all_reduce(Func *f, Block *b, Node *after, Value *x, MeshSet over, bool max, Loc loc);
Node *layout_mask(Func *f, Block *b, Node *after, Value *x, const Axis *axis, double identity, Loc loc);
// Any op of one result, behind `after` in block b.
Node *layout_node(Func *f, Block *b, Node *after, OpKind op, Value *const *args, int nargs, const Attr *attr,
                  const Type *declared, Loc loc);

// Every use of `from` in the function becomes one of `to`, except in `keep` (the node that computes `to` from it).
void layout_replace(Func *f, Value *from, Value *to, Node *keep);
// The results of n get the types op_infer derives from the operands as they are now. False after a diagnostic.
bool layout_infer(Unit *u, Node *n);
