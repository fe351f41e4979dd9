// SPDX-License-Identifier: Apache-2.0
// output: what the compiler leaves on disk: whole or not at all.
#pragma once
#include "codegen/codegen.h"

// Through a temporary file beside it. "-" is standard output; devices and pipes are written to as they are, never
// replaced.
Status output_write(const char *path, const void *data, size_t size);
// The object and, unless `header` is NULL, its header: both or none.
Status output_object(const CodegenObject *object, const char *path, const char *header);
