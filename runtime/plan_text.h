// SPDX-License-Identifier: Apache-2.0
// plan_text: the words of a plan's text, for its printer and its parser.
#pragma once
#include "runtime/plan.h"

static const char *const dtype_names[] = {"bool", "i32", "f32", "f64", "bf16", "f16", NULL};
static const char *const leaf_names[] = {"param", "state", "input", "output", "buffer", NULL};
static const char *const section_names[] = {"rank", "chunk", "slot", "work", "host", "stash", NULL};
static const char section_letters[] = "rcswht";
static const char *const comm_names[] = {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast",
                                         "send",       "recv",       "shift",          "reverse",    NULL};
static const char *const reduce_names[] = {"sum", "max", NULL};

static inline int offsets_of(const Plan *p, PlanSection section) { return plan_by_variant(section) ? p->nvariants : 1; }
