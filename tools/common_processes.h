// SPDX-License-Identifier: Apache-2.0
// processes: what a tool does differently when it is one process of several of a run (runtime/launch.h).
#pragma once
#include "runtime/plan.h"
#include "runtime/world.h"

// *out_world NULL: this process is alone. Reports to stderr; 0, or the exit status.
int processes_join(const char *doing, World **out_world);
// Success of all, who have compiled the same plan; plan: looked at after a success only.
Status processes_agree(World *w, Status own, const Plan *plan);
// A failure that all have agreed on: rank 0 says it. w NULL: this process does. The exit status.
int processes_report(const World *w, const Status *s, const char *doing);
// The end. A failure that has a rank of its own ends the others.
void processes_end(World *w, const Status *s);
