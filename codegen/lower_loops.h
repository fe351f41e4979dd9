// SPDX-License-Identifier: Apache-2.0
// lower_loops: making the loop axes of a nest.
#pragma once
#include "codegen/lower_parts.h"

void lower_add_axis(Lower *l, const Dim *d); // appends its factors, those of one place left out
void lower_group_loops(Lower *l);            // merges neighbours that are not marked `begins`
// Enough tasks to share, not so many that starting one costs; columns that a task of few takes.
enum { TASKS_MANY = 64, TASKS_FEW = 32, COLUMNS = 64 };

Lower lower_start(const Unit *u, const FuncStorage *places, const Node *n, LowerMachine machine, Arena *arena,
                  Lowered *out);
