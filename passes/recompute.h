// SPDX-License-Identifier: Apache-2.0
// recompute: which forward values of a repeat's body are kept for its backward half, and which are computed again.
// What could be kept is a list of candidates, found in program order; the strategy's dial keeps all, none, those not
// named, or a set that was chosen by cost.
#pragma once
#include "ir/op.h"
#include "ir/strategy.h"

// A node of a forward body, as far as choosing needs it. Everything is on one rank, for all iterations together.
typedef struct RecomputeNode {
    double flops;  // to compute it
    double bytes;  // of its results that are stacked when kept
    int candidate; // number in the unit, or -1: always computed again
    bool direct;   // the backward half itself uses it
    int nargs;
    int *args; // numbers of nodes in the same body
} RecomputeNode;

typedef struct RecomputeBody {
    int n;
    RecomputeNode *nodes; // in program order
} RecomputeBody;

typedef Vec(RecomputeBody) RecomputeBodies;

typedef struct Recompute {
    int candidates; // found so far
    int nchosen;    // RECOMPUTE_AUTO: candidates with an entry in `keep`; the others are kept
    const bool *keep;
    RecomputeBodies bodies; // of a trial
    bool trial;             // of a copy that shows what a choice would need
    const char *text;       // the unit in front of autodiff, when the strategy has a budget
    size_t size;
} Recompute;

// Whether the strategy keeps candidate `number`: results of n, in place of those of `product` (n itself, or the
// contraction whose result n alone is made from).
bool recompute_keeps(const Unit *u, int number, const Node *n, const Node *product);

// Floating-point operations of one call of `train`, those that compute forward values again, and bytes that repeats
// stack for their backward halves; on one rank.
typedef struct RecomputeCost {
    double flops, again, kept;
} RecomputeCost;
RecomputeCost recompute_cost(const Unit *u);

typedef struct RecomputeKept {
    const Value *inner; // in the repeat's body
    double bytes;       // on one rank, for all iterations
} RecomputeKept;
int recompute_kept(const Unit *u, RecomputeKept *out, int most); // of `train`; returns how many there are

// What became of a copy of the unit that keeps the candidates with keep[number] (NULL: all). u->recompute has the text.
typedef struct RecomputeTrial {
    int64_t bytes; // of the slab
    RecomputeCost cost;
    int candidates;
    RecomputeBodies bodies; // in u's arena
} RecomputeTrial;
bool recompute_try(Unit *u, const bool *keep, int n, RecomputeTrial *out); // false: some pass refuses it

// RECOMPUTE_AUTO: tries sets of candidates on copies of the unit, which stands in front of autodiff, and sets
// u->recompute->keep to the one with the least recomputed work whose slab fits the budget; to none when no set does.
bool recompute_choose(Unit *u);
// In front of autodiff: makes u->recompute, if nobody has.
bool recompute_begin(Unit *u);
// Behind the memory pass: an error when the slab is larger than the strategy's budget, with what would fit.
bool recompute_check_budget(Unit *u);
