// SPDX-License-Identifier: Apache-2.0
// fmt: a program's text in the house's layout: four spaces a brace, one space around operators and behind commas, two
// or more in front of a comment. Every comment, the author's line breaks, single blank lines and columns that
// neighbouring lines share stay. Formatting what was formatted changes nothing.
#pragma once
#include "base/diag.h"

// The formatted text. NULL after reporting: the text does not parse, or (a bug) formatted it would be another program.
char *source_format(Str path, const char *text, size_t size, Arena *arena, StrTable *strs, Diag *diag,
                    size_t *out_size);
