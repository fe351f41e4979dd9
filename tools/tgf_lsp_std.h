// SPDX-License-Identifier: Apache-2.0
// lsp_std: std.tgf is in no folder, and definitions lead there. So a copy is written into the user's cache, read-only,
// which any editor can open: a document of the protocol's own (workspace/textDocumentContent, 3.18) few editors know.
#pragma once
#include "base/arena.h"
#include <stdbool.h>

char *std_copy_path(Arena *a); // normal; NULL: the user has no cache
// False when it cannot be written. What is there already is compared first.
bool std_copy_write(const char *path, Arena *scratch);
