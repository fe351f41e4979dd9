// SPDX-License-Identifier: Apache-2.0
// checkpoint: a program's parameters and states on disk, whatever its mesh: saved with one layout they load into
// another.
//
//   DIR/model.safetensors      the parameters under their stored names and shapes (runtime/storage.h)
//   DIR/optimizer.safetensors  the states under their names, each with its parameter's axes
//   DIR/state.json             where the run stands
//
// Saving writes each file beside its place as NAME.new; when all three are on disk, state.json.new appears, and with
// it the new checkpoint is the valid one; then the files move into place. A process killed at any moment leaves the old
// or the new checkpoint, never a mixture: loading takes NAME.new where state.json.new exists.
#pragma once
#include "runtime/exec.h"

typedef struct CheckpointInfo {
    char model[128]; // filled in by checkpoint_save
    int64_t step;    // finished steps: the next one has this number
    int64_t seed;
    int64_t tokens;  // seen so far
    char data[1024]; // the training data's path, for people
} CheckpointInfo;

Status checkpoint_save(Program *p, const char *folder, const CheckpointInfo *info);
// Parameters and states; all must be there, of the same step.
Status checkpoint_load(Program *p, const char *folder, CheckpointInfo *out_info);
Status checkpoint_info(const char *folder, CheckpointInfo *out_info);
bool checkpoint_exists(const char *folder);

typedef struct CheckpointExtra { // tensors of the file that no parameter uses
    int count;
    char first[256];
} CheckpointExtra;
// Parameters only, from a checkpoint folder or the hub's files (runtime/hub_files.h). prefix: put before each stored
// name; NULL: as stored, or with or without what the hub puts before the names (runtime/hub_names.h). F32, F64, BF16
// and F16 are converted to the parameter's type. out_extra may be NULL.
Status checkpoint_load_weights(Program *p, const char *path, const char *prefix, CheckpointExtra *out_extra);
// Parameters only, to one safetensors file.
Status checkpoint_save_weights(Program *p, const char *path);
// The parameters in the hub's form: one safetensors file with the tensors, names and types of `like`, which is read as
// by checkpoint_load_weights; tensors of it that no parameter uses are copied. What was loaded and not trained is
// written as it was, bit by bit. For one process.
Status checkpoint_export_weights(Program *p, const char *like, const char *prefix, const char *path);
// The same into a folder that is there: model.safetensors, or shards and their index. shard: bytes a file has at most;
// 0: the files of `like`. like: NULL for the parameters as they are stored and typed, with `prefix` before the names.
Status checkpoint_export_folder(Program *p, const char *like, const char *prefix, int64_t shard, const char *folder);
