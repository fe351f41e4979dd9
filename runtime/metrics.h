// SPDX-License-Identifier: Apache-2.0
// metrics: what a run reports, one JSON object a line, so that a file of a killed run is good up to its last line.
#pragma once
#include "base/status.h"
#include <stdint.h>

typedef struct MetricsFile MetricsFile;
// append: keep what is there (a resumed run), but only lines of steps below first_step.
Status metrics_open(const char *path, bool append, int64_t first_step, MetricsFile **out_file);
void metrics_close(MetricsFile *m); // NULL is fine

typedef struct MetricsValue {
    const char *name; // "loss", "val_loss", "lr", "tokens_per_s"
    double value;     // not finite: written as null
} MetricsValue;
// {"step":12,"loss":3.2514,...}; flushed. NULL m: nothing.
Status metrics_write(MetricsFile *m, int64_t step, const MetricsValue *values, int n);
