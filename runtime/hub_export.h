// SPDX-License-Identifier: Apache-2.0
// hub_export: a program's parameters written as the hub's files have them.
#pragma once
#include "runtime/exec.h"
#include "runtime/hub_names.h"

// One safetensors file with the tensors, names, shapes and types of `like`, which the program's parameters fit under
// these names (checkpoint_load_weights has looked at it). Tensors of `like` that are no parameter's are copied. All
// ranks are in this process.
Status hub_export(Program *p, const HubFiles *like, const HubNames *names, const char *path);
