// SPDX-License-Identifier: Apache-2.0
// The minimum cut of random graphs is as cheap as the cheapest of all divisions, tried one by one.
#include "passes/mincut.h"
#include <stdint.h>
#include <stdio.h>

enum { NODES = 9, EDGES = 24, GRAPHS = 400 };

static uint64_t state = 1;
static int choose(int n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int)((state >> 33) % (uint64_t)n);
}

typedef struct Edge {
    int from, to;
    double weight;
} Edge;

static double cost_of(const Edge *edge, int n, const bool *second) {
    double cost = 0;
    for (int i = 0; i < n; i++)
        if (!second[edge[i].from] && second[edge[i].to]) cost += edge[i].weight;
    return cost;
}

static int check_graph(int number) {
    Arena *arena = arena_new();
    MinCut m = mincut_new(arena);
    Edge edge[EDGES];
    int nodes = 2 + choose(NODES - 1), n = choose(EDGES + 1), failures = 0;
    for (int i = 2; i < nodes; i++) mincut_node(&m);
    for (int i = 0; i < n; i++) {
        edge[i] = (Edge){choose(nodes), choose(nodes), choose(8)};
        if (choose(8) == 0) edge[i].weight = MINCUT_NEVER;
        mincut_edge(&m, edge[i].from, edge[i].to, edge[i].weight);
    }
    double least = -1, cost;
    for (int set = 0; set < 1 << nodes; set++) {
        bool second[NODES + 1];
        for (int i = 0; i < nodes; i++) second[i] = set >> i & 1;
        if (second[MINCUT_FIRST] || !second[MINCUT_SECOND]) continue;
        cost = cost_of(edge, n, second);
        if (least < 0 || cost < least) least = cost;
    }
    const bool *second = mincut_solve(&m);
    cost = cost_of(edge, n, second);
    if (second[MINCUT_FIRST] || !second[MINCUT_SECOND] || cost > least * (1 + 1e-12)) {
        printf("FAIL graph %d: %g, the cheapest is %g\n", number, cost, least);
        failures = 1;
    }
    arena_free(arena);
    return failures;
}

int main(void) {
    int failures = 0;
    for (int i = 0; i < GRAPHS; i++) failures += check_graph(i);
    printf("%d graphs, %d failures\n", GRAPHS, failures);
    return failures != 0;
}
