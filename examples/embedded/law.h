// SPDX-License-Identifier: Apache-2.0
// law: what a sweep measured, and the power law in it.
#pragma once
#include <stdint.h>

typedef struct Point { // of a run
    int64_t step, tokens;
    double flops, loss; // all training so far; held out, nats a byte
    int frontier;       // no run reached a loss as low with as little
} Point;

typedef struct Run {
    int layers;
    int64_t width, parameters;
    double step_flops; // of one training step, as the compiler counts
    double seconds;
    int npoints;
    Point points[64];
} Run;

typedef struct Law { // loss = a * flops^-b
    double a, b, r2; // r2: of the logarithms
    int npoints;     // it was fitted to
} Law;

enum { LAW_SETTLED = 5 }; // times the warmup, see below

// Marks the frontier of all runs, and fits by least squares in logarithms to those of its points that lie behind
// LAW_SETTLED times the warmup: before that, losses are of the start and not of the size. A line in logarithms has no
// floor: over the few decades of a small sweep the constant in a*C^-b + c cannot be told from a smaller b.
Law law_fit(Run *runs, int nruns, int64_t warmup);
double law_loss(const Law *law, double flops);
