// SPDX-License-Identifier: Apache-2.0
// Spreads: how far steps that round to 16 bits at random (pass perturb) lie from the one that rounds to nearest, and
// whether a layout lies as near (docs/promises.md).
#include "tools/tgf_verify.h"
#include <math.h>
#include <string.h>

// AdamW's first step is rate * g / |g|: where a gradient is no larger than what it may differ by, its sign may be
// another, and the parameter differ by 2 rate. So many more of these than moved runs met may be in one tensor: if they
// met none in eight, five or more come by chance with a probability below 1e-4.
enum { FLIPS = 4 };

// Equal, or both infinite or not a number.
static double apart(double x, double y) { return x == y || (isnan(x) && isnan(y)) ? 0 : fabs(x - y); }

bool spread_add(Snapshot *a, const Snapshot *moved) {
    for (int i = 0; i < a->n; i++) {
        Named *x = &a->at[i];
        const Named *y = snapshot_find(moved, x->name);
        if (!y || y->count != x->count) return false;
        for (int64_t k = 0; k < x->count; k++) {
            double e = apart(x->at[k], y->at[k]);
            x->spread_squares += e * e;
            if (!(e <= x->spread_most)) x->spread_most = e;
        }
    }
    a->spreads++;
    return true;
}

// The gradient of an updated parameter; NULL for everything else.
static const Named *gradient_of(const Snapshot *a, const Named *x) {
    char name[512];
    if (x->kind != NAMED_UPDATED || strchr(x->name, '/')) return NULL;
    snprintf(name, sizeof name, "grad.%s", x->name);
    const Named *g = snapshot_find(a, name);
    return g && g->count == x->count ? g : NULL;
}

static double spread_most(const Named *x, double tolerance) {
    double size = 0;
    for (int64_t k = 0; k < x->count; k++)
        if (isfinite(x->at[k])) size = fmax(size, fabs(x->at[k]));
    return SPREADS * x->spread_most + tolerance * size;
}

static Difference worst_element(const Snapshot *a, const Named *x, const Named *y, double tolerance) {
    const Named *g = gradient_of(a, x);
    double most = spread_most(x, g ? 0x1p-22 : tolerance), gradient = g ? spread_most(g, tolerance) : 0;
    Difference worst = {x->name, 0, most};
    for (int64_t k = 0; k < x->count; k++) {
        Difference d = {x->name, apart(x->at[k], y->at[k]), most};
        if (g) {
            double size = fabs(g->at[k]), step = gradient / (size > 0 ? size : 1e-300);
            d.allowed = fmax(most, a->rate * fmin(step, 2));
        }
        if (difference_ratio(&d) > difference_ratio(&worst)) worst = d;
    }
    return worst;
}

bool spread_differs(const Snapshot *a, int i, const Snapshot *b, double tolerance, Difference *out) {
    const Named *x = &a->at[i], *y = snapshot_find(b, x->name);
    *out = (Difference){x->name, INFINITY, 0};
    if (!y || y->count != x->count) return true;
    bool step = gradient_of(a, x) != NULL;
    double squares = 0, size = 0;
    for (int64_t k = 0; k < x->count; k++) {
        double e = apart(x->at[k], y->at[k]);
        squares += e * e;
        if (isfinite(x->at[k])) size += x->at[k] * x->at[k];
    }
    Difference norm = {x->name, sqrt(squares), SPREADS * sqrt(x->spread_squares / a->spreads)};
    norm.allowed += step ? 0x1p-22 * sqrt(size) + 2 * a->rate * sqrt(FLIPS) : tolerance * sqrt(size);
    Difference most = worst_element(a, x, y, tolerance);
    *out = difference_ratio(&norm) >= difference_ratio(&most) ? norm : most;
    return difference_ratio(out) > 1;
}
