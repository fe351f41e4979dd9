// SPDX-License-Identifier: Apache-2.0
#include "passes/mincut.h"

const double MINCUT_NEVER = 1e30;

MinCut mincut_new(Arena *arena) {
    MinCut m = {.arena = arena};
    mincut_node(&m);
    mincut_node(&m);
    return m;
}

int mincut_node(MinCut *m) {
    vec_push(m->arena, &m->first, -1);
    return m->first.n - 1;
}

void mincut_edge(MinCut *m, int from, int to, double weight) {
    if (from == to || weight <= 0) return;
    vec_push(m->arena, &m->edges, (MinCutEdge){to, m->first.at[from], weight});
    m->first.at[from] = m->edges.n - 1;
    vec_push(m->arena, &m->edges, (MinCutEdge){from, m->first.at[to], 0});
    m->first.at[to] = m->edges.n - 1;
}

// Breadth first from the first side over edges with something left; by node the edge it was reached by, -1: not.
static void reach(const MinCut *m, int *by, int *queue) {
    for (int i = 0; i < m->first.n; i++) by[i] = -1;
    int n = 0;
    queue[n++] = MINCUT_FIRST;
    for (int i = 0; i < n; i++)
        for (int e = m->first.at[queue[i]]; e >= 0; e = m->edges.at[e].next) {
            int to = m->edges.at[e].to;
            if (to == MINCUT_FIRST || by[to] >= 0 || m->edges.at[e].left <= 0) continue;
            by[to] = e;
            queue[n++] = to;
        }
}

bool *mincut_solve(MinCut *m) {
    int *by = NEW_ARRAY(m->arena, int, m->first.n), *queue = NEW_ARRAY(m->arena, int, m->first.n);
    for (;;) {
        reach(m, by, queue);
        if (by[MINCUT_SECOND] < 0) break;
        double most = 2 * MINCUT_NEVER;
        for (int v = MINCUT_SECOND; v != MINCUT_FIRST; v = m->edges.at[by[v] ^ 1].to)
            if (m->edges.at[by[v]].left < most) most = m->edges.at[by[v]].left;
        for (int v = MINCUT_SECOND; v != MINCUT_FIRST; v = m->edges.at[by[v] ^ 1].to) {
            m->edges.at[by[v]].left -= most;
            m->edges.at[by[v] ^ 1].left += most;
        }
    }
    bool *second = NEW_ARRAY(m->arena, bool, m->first.n);
    for (int v = 0; v < m->first.n; v++) second[v] = v != MINCUT_FIRST && by[v] < 0;
    return second;
}
