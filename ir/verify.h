// SPDX-License-Identifier: Apache-2.0
// verify: is a unit well formed? Checked by the pass runner after every pass.
#pragma once
#include "ir/graph.h"

// Every operand is defined before its use and visible from it, links are consistent, operand and attribute counts are
// the row's, types equal what op_infer derives, placements are legal (no mesh axis twice in a type, pending only where
// the row allows), bodies end in a yield that fits. `pass` is named in the internal error. False after reporting.
bool unit_verify(Unit *u, const char *pass);
