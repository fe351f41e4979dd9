// SPDX-License-Identifier: Apache-2.0
// sim_owner: which block of a launch touched which byte of global memory. Blocks run in no order, so a byte that one
// writes is no other's.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct SimOwners SimOwners;

SimOwners *owners_make(void); // NULL: no memory
void owners_free(SimOwners *o);
void owners_forget(SimOwners *o); // a new launch
// False: another block has to do with these bytes; *out_other is one, -1: several that read them.
bool owners_touch(SimOwners *o, uintptr_t at, size_t bytes, bool write, uint32_t block, int64_t *out_other);
