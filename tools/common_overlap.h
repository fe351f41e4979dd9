// SPDX-License-Identifier: Apache-2.0
// How much of a step's communication goes on behind computation, by a stated machine.
#pragma once
#include "codegen/codegen.h"
#include <stdio.h>

// Prints "N of M bytes hidden ..." for the unit's train (else eval), or nothing when it has no collectives. The unit
// has gone through the memory pass.
Status overlap_print(Unit *u, const CodegenOptions *options, FILE *out);
