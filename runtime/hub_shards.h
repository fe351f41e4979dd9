// SPDX-License-Identifier: Apache-2.0
// hub_shards: which file of a folder each tensor goes to, and the index that says so: as in the files it is like, or by
// the rule of the hub's library, so that equal weights give the files that `save_pretrained` writes.
#pragma once
#include "base/arena.h"
#include "runtime/hub_files.h"

typedef struct HubShards {
    int count;         // 1: model.safetensors, no index
    const char **file; // their names
    int *of;           // of each tensor of the files: its shard
    const char *index; // an index that says just this, to be copied; NULL: write one
} HubShards;

// limit: bytes of tensors a file has at most (one that is larger gets a file of its own); 0: as `f` has them.
HubShards hub_shards_split(Arena *a, const HubFiles *f, int64_t limit);
// folder/model.safetensors.index.json.
Status hub_shards_write_index(const HubShards *s, const HubFiles *f, const char *folder);
// "5GB", "300KB", "1.5MB": as the hub's library reads them, thousands; false for anything else.
bool hub_shards_size(const char *text, int64_t *out_bytes);
