// SPDX-License-Identifier: Apache-2.0
// places: what an object says of the files it came from must not depend on where they lie.
#pragma once
#include "ir/graph.h"

// The folder, with its last slash, that all files the unit speaks of have in common, or "". Not std.tgf's, which is
// built in.
Str places_folder(const Unit *u);
// FNV-1a over the unit's text, with files named from that folder on, and `also`. 0: no memory.
uint64_t places_hash(const Unit *u, Str folder, const char *also);
