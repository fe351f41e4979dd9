// SPDX-License-Identifier: Apache-2.0
// std_tgf: the text of std.tgf, made a C array at build time (cmake/embed.cmake).
#pragma once
#include <stddef.h>

extern const char std_tgf[];
extern const size_t std_tgf_size;
