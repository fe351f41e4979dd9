// SPDX-License-Identifier: Apache-2.0
// mincut: the cheapest way to put the nodes of a graph on two sides, when some belong to one and an edge costs its
// weight where it leads from the first side to the second (Ford, Fulkerson 1956; shortest paths first, Edmonds, Karp
// 1972).
#pragma once
#include "base/arena.h"
#include "base/vec.h"
#include <stdbool.h>

enum { MINCUT_FIRST, MINCUT_SECOND }; // nodes: the two sides themselves
extern const double MINCUT_NEVER;     // the weight of an edge that must not be cut while there is another way

typedef struct MinCutEdge {
    int to, next; // next edge of the same node, or -1; edge i ^ 1 is this one backwards
    double left;
} MinCutEdge;

typedef struct MinCut {
    Arena *arena;
    Vec(int) first; // by node: its first edge, or -1
    Vec(MinCutEdge) edges;
} MinCut;

MinCut mincut_new(Arena *arena);
int mincut_node(MinCut *m);
void mincut_edge(MinCut *m, int from, int to, double weight);
// By node: does it lie on the second side? Of equally cheap cuts, the one with the fewest nodes on the first side.
bool *mincut_solve(MinCut *m);
