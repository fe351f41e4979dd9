// SPDX-License-Identifier: Apache-2.0
// What tgf train keeps apart: the picture of its run.
#pragma once
#include "base/status.h"

Status curve_from_metrics(const char *metrics, const char *title, const char *path);
