// SPDX-License-Identifier: Apache-2.0
// hub_files: the tensors of one set of weights as the hub lays it out, to be looked up by name wherever they lie: a
// safetensors file, a folder's model.safetensors, or the shards that a folder's model.safetensors.index.json names.
// Reading is strict: the index and the shards agree on every tensor, and a shard lies in the index's own folder.
#pragma once
#include "runtime/plan.h"
#include "runtime/safetensors.h"

typedef struct HubFiles HubFiles;

// path: a safetensors file, an index (*.index.json), or a folder with one or the other.
Status hub_open(const char *path, HubFiles **out_files);
// Tensors that are to be written and have no data yet; `what` stands in messages. Names and shapes are copied.
Status hub_describe(const char *what, const Tensor *tensors, int count, HubFiles **out_files);
void hub_close(HubFiles *f); // NULL is fine
int hub_count(const HubFiles *f);
const Tensor *hub_at(const HubFiles *f, int i);              // in the order of their names
const Tensor *hub_find(const HubFiles *f, const char *name); // NULL: absent
const char *hub_meta(const HubFiles *f, const char *key);    // of the only file; NULL: absent, or shards
const char *hub_path(const HubFiles *f);                     // of the file or index, for messages
const char *hub_shard_of(const HubFiles *f, int i);          // the file that an index puts tensor i in; NULL: no index
// config.json beside the files says that the output layer is the embedding again ("tie_word_embeddings": true).
Status hub_tied(const HubFiles *f, bool *out_tied);

// What a plan's type is called in files, and back; false when the runtime computes in no such type.
TensorDType hub_dtype(PlanDType t);
bool hub_plan_dtype(TensorDType t, PlanDType *out_type);
