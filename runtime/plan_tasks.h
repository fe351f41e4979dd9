// SPDX-License-Identifier: Apache-2.0
// plan_tasks: the part of plan_check that looks at sections, chunks, stages and step lists.
#pragma once
#include "runtime/plan.h"

#define PLAN_BAD(...) return status_make(STATUS_CORRUPT, "plan: " __VA_ARGS__)

// Bytes of a section as the function sees it; 0 for what it must not touch.
int64_t plan_section_bytes(const Plan *p, const PlanFunc *f, PlanSection section);
// Before anything else of the plan but its mesh is trusted: the slabs add up, piece by piece.
Status plan_check_layout(const Plan *p);
// The leaf's name, type and bytes have been looked at.
Status plan_check_leaf_place(const Plan *p, const PlanLeaf *l);
// Functions and leaves have been looked at.
Status plan_check_programs(const Plan *p);
