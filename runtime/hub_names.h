// SPDX-License-Identifier: Apache-2.0
// hub_names: which tensor of a set of files each parameter is. The hub has the same weights under two spellings: of the
// whole model (`transformer.h.0.ln_1.weight`, `model.layers.0...`) and of its body alone (`h.0.ln_1.weight`). Which one
// a file uses is found by what is in it; a mixture is refused. BERT's first files have old names for LayerNorm.
#pragma once
#include "runtime/hub_files.h"
#include "runtime/storage.h"

typedef struct HubNames {
    const char *prefix; // "": names are as stored
    bool strip;         // stored names that begin with the prefix lose it; else they get it
    bool literal;       // every name gets it, also those of an output layer
    bool gamma;         // BERT's first files: `LayerNorm.gamma` and `.beta` for `LayerNorm.weight` and `.bias`
    bool tied;          // `lm_head.weight` is not in the files: it is the token embedding
} HubNames;

// A stored parameter's name in the files. False when it does not fit.
bool hub_leaf_name(const HubNames *n, const PlanLeaf *l, const StoredAs *s, int64_t i, char *out_name, size_t size);
// The spelling of these files. prefix: put before each stored name; NULL: find it. Refuses files that hold another
// spelling beside it, more layers than the model has, or an output layer that is not the embedding the model ties it
// to.
Status hub_names_find(const Plan *plan, const HubFiles *f, const char *prefix, HubNames *out_names);
// The token embedding among the files' tensors: what a tied output layer is. NULL: not known, or not one.
const Tensor *hub_embedding(const HubFiles *f);
// Whether this is the name of the output layer that may be tied to it.
bool hub_is_head(const char *name);
// The tensor of the files that one of this name repeats: of output layers that the model has no parameters of their own
// for, and that are stored all the same. NULL: none.
const Tensor *hub_repeated(const HubFiles *f, const char *name);
