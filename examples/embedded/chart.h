// SPDX-License-Identifier: Apache-2.0
// chart: loss against compute, both axes logarithmic, as SVG.
#pragma once
#include "law.h"

int chart_write(const char *path, const Run *runs, int nruns, const Law *law); // 0, or -1 and errno
