// SPDX-License-Identifier: Apache-2.0
// stats: what the compiler knows of a compiled unit before anything runs (`tgfc --stats`).
#pragma once
#include "ir/graph.h"
#include <stdio.h>

// After the memory pass: ranks, parameters, bytes per rank, FLOPs per rank and step, and every collective of a training
// step with its bytes, group, how often it runs, and the source line that caused it.
void stats_print(const Unit *u, double seconds, FILE *out);
// Floating-point operations of one call of `func` on one rank (matrix products, attention and the rest), from the op
// table.
double func_flops(const Unit *u, const char *func);
// Global number of parameters.
double unit_parameters(const Unit *u);
