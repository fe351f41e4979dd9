// SPDX-License-Identifier: Apache-2.0
// hub_export: a program's parameters written as the hub's files have them.
#pragma once
#include "runtime/exec.h"
#include "runtime/hub_names.h"
#include "runtime/hub_shards.h"

// The tensors, names, shapes and types of `like`, which the program's parameters fit under these names
// (checkpoint_load_weights has looked at it). Tensors of `like` that are no parameter's are copied. shards: NULL to
// write one file called `path`; else those files and their index, in the folder `path`. All ranks are in this process.
Status hub_export(Program *p, const HubFiles *like, const HubNames *names, const HubShards *shards, const char *path);
// What the program's own parameters are under these names: to be exported when there is no `like`.
Status hub_describe_plan(const Plan *plan, const HubNames *names, HubFiles **out_files);
