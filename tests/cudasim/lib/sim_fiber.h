// SPDX-License-Identifier: Apache-2.0
// sim_fiber: a second line of control on its own stack, switched without a system call.
#pragma once
#include <stddef.h>

typedef void SimFiberMain(void);
// The stack pointer to switch to so that `entry` starts on the stack [stack, stack + bytes). It must not return.
void *sim_fiber_make(char *stack, size_t bytes, SimFiberMain *entry);
// Saves where we are in *save, goes on at `to`.
void sim_fiber_switch(void **save, void *to);
