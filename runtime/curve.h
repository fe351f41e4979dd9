// SPDX-License-Identifier: Apache-2.0
// curve: the loss of a run drawn as a picture (SVG), to be looked at in a browser.
#pragma once
#include "base/status.h"
#include <stdbool.h>

typedef struct CurvePoint {
    double step, loss;
} CurvePoint;

typedef struct Curve {
    const char *title, *subtitle;       // subtitle may be NULL
    const CurvePoint *train, *held_out; // by rising step; points that are not finite are left out
    int ntrain, nheld_out;
    bool log_steps; // logarithmic axis of steps
} Curve;

// Written whole or not at all. The training loss is drawn as it is, faintly, and smoothed.
Status curve_write(const Curve *c, const char *path);
