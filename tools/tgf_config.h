// SPDX-License-Identifier: Apache-2.0
// config: a config.json of the hub and the .tgf that computes what it says: the example of its architecture with other
// axes and constants. Every key is known to change nothing, written into the text, or refused by name.
#pragma once
#include "base/arena.h"
#include "base/status.h"
#include "tools/common_compile.h"

typedef enum Use {
    IGNORED,       // training's, text generation's, or of no effect
    COUNT,         // a whole number above 0: replaces what the example has there, `AXIS = ...`
    COUNT_OR_NULL, // null: as the example has it
    EPSILON,       // a real constant: likewise, where it is not the default. Of the norms
    THETA,         // of the rotary positions
    MUST           // only this value
} Use;

typedef struct Key {
    const char *name;
    Use use;
    const char *value;     // MUST: as JSON; real constants: the default of the example's text
    const char *from, *to; // replaced everywhere in the text; %s is the value
} Key;

typedef struct Architecture {
    const char *type, *model_class; // "model_type" and "architectures"
    const char *text;               // the example
    const Key *keys;                // end with a NULL name
    const char *width, *head;       // the keys whose quotient is the example's `dim`
    const char *dim, *shared;       // its own key, and that of heads shared; NULL: none
    const char *prefix;             // what the hub puts before the example's stored names
    const char *mark;               // how a stored parameter begins that no other architecture has
} Architecture;
extern const Architecture config_architectures[]; // ends with a NULL type

// The model of folder/config.json, as the text of a .tgf. config_read: of that file's text; path: for messages.
Status config_to_text(Arena *a, const char *folder, const char **out_text);
Status config_read(Arena *a, const char *path, const char *json, size_t size, const char **out_text);

// The reverse, for a model that was never on the hub: the config.json that says what it computes, and what the hub puts
// before its parameters' names. Refused unless the text made of that config.json computes just what the model does.
Status config_of_model(Arena *a, const CompileRequest *request, const char **out_json, const char **out_prefix);
