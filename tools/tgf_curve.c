// SPDX-License-Identifier: Apache-2.0
// The loss curve of a run, from its metrics file, so that a resumed run shows all of it.
#include "base/vec.h"
#include "runtime/curve.h"
#include "tools/tgf_train.h"
#include <stdio.h>
#include <stdlib.h>

typedef Vec(CurvePoint) Points;

static bool number_after(const char *line, const char *key, double *out) {
    const char *at = strstr(line, key);
    char *end;
    if (!at) return false;
    at += strlen(key);
    *out = strtod(at, &end);
    return end != at;
}

Status curve_from_metrics(const char *metrics, const char *title, const char *path) {
    FILE *f = fopen(metrics, "r");
    if (!f) return status_errno("cannot read", metrics);
    Arena *a = arena_new();
    Points train = {0}, held = {0};
    char line[1024];
    while (fgets(line, sizeof line, f)) {
        double step, loss;
        if (!number_after(line, "{\"step\":", &step)) continue;
        if (number_after(line, ",\"loss\":", &loss)) vec_push(a, &train, ((CurvePoint){step, loss}));
        if (number_after(line, ",\"val_loss\":", &loss)) vec_push(a, &held, ((CurvePoint){step, loss}));
    }
    fclose(f);
    Status s = curve_write(
        &(Curve){.title = title, .train = train.at, .ntrain = train.n, .held_out = held.at, .nheld_out = held.n}, path);
    arena_free(a);
    return s;
}
