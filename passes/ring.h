// SPDX-License-Identifier: Apache-2.0
// ring: attention whose queries and keys are split over the same mesh axes; see ring.c.
#pragma once
#include "passes/layout.h"

// Does the strategy ask for a ring here, and are the node's queries and keys split so that one can be made?
bool ring_fits(const Unit *u, const Node *n);
// Puts the nodes of a ring in front of an attend or attend_grad whose operands have their placement, and sets
// out_results to what takes the place of its results; the node itself stays. False after a diagnostic.
bool ring_build(Func *f, Node *n, Value **out_results);
