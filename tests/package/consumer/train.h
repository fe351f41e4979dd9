// SPDX-License-Identifier: Apache-2.0
// The trainer that the consumers share.
#pragma once
#include <tgf/tgf.h>
#ifdef __cplusplus
extern "C" {
#endif
// Teaches the model to count for 20 steps. 0 when every loss was below the one before; else a line on stderr and 1.
int train(const TgfModule *module, const char *name);
#ifdef __cplusplus
}
#endif
