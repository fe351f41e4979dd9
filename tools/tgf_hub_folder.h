// SPDX-License-Identifier: Apache-2.0
// hub_folder: a model as the folder that `from_pretrained` reads: weights, config.json and what the hub has beside
// them.
#pragma once
#include "runtime/exec.h"
#include "tools/common_compile.h"

typedef struct HubFolder {
    const CompileRequest *request; // of the program
    const char *like;              // the hub's files; NULL: the model was never on the hub
    int64_t shard;                 // bytes a file has at most; 0: as `like` has them
    const char *out;               // not there yet, or an empty folder
} HubFolder;

// The folder appears when it is complete; a failure leaves none. Two programs of this process do not share `out`.
Status hub_folder_write(Program *p, const HubFolder *f);
