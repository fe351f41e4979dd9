// SPDX-License-Identifier: Apache-2.0
// plan: from graphs and their storage to the runtime's plan and the kernels it calls.
#pragma once
#include "codegen/jobs.h"
#include "ir/storage.h"
#include "runtime/plan.h"

// The unit must have gone through the memory pass. The plan's kernels lack tasks and work_bytes until the jobs are
// rendered (plan_finish). NULL after a diagnostic.
Plan *plan_build(Unit *u, Arena *arena, Jobs *jobs);
void plan_finish(Plan *p, const Jobs *jobs);

// plan_tasks.c: mesh, leaves, sections, chunks and stages, from the unit's storage. False after a diagnostic.
bool plan_layout(const Unit *u, Arena *arena, Plan *p);
// The step lists.
bool plan_programs(const Unit *u, Arena *arena, Plan *p);
// plan_wait.c: which collectives are only started, and where they are waited for. False: no memory.
bool plan_waits(Plan *p, Arena *arena);
