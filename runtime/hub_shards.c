// SPDX-License-Identifier: Apache-2.0
#include "runtime/hub_shards.h"
#include "base/checked.h"
#include "runtime/file.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- the order in which the hub's models hold their tensors ---------------------------------------------------------
// '#' is a layer's number. Files do not keep this order, and where one ends depends on it.
static const char *const order[] = {
    "wte.",
    "wpe.",
    "h.#.ln_1.",
    "h.#.attn.c_attn.",
    "h.#.attn.c_proj.",
    "h.#.ln_2.",
    "h.#.mlp.c_fc.",
    "h.#.mlp.c_proj.",
    "ln_f.",
    "embed_tokens.",
    "layers.#.self_attn.q_proj.",
    "layers.#.self_attn.k_proj.",
    "layers.#.self_attn.v_proj.",
    "layers.#.self_attn.o_proj.",
    "layers.#.mlp.gate_proj.",
    "layers.#.mlp.up_proj.",
    "layers.#.mlp.down_proj.",
    "layers.#.input_layernorm.",
    "layers.#.post_attention_layernorm.",
    "norm.",
    "lm_head.",
    "embeddings.word_embeddings.",
    "embeddings.position_embeddings.",
    "embeddings.token_type_embeddings.",
    "embeddings.LayerNorm.",
    "layer.#.attention.self.query.",
    "layer.#.attention.self.key.",
    "layer.#.attention.self.value.",
    "layer.#.attention.output.dense.",
    "layer.#.attention.output.LayerNorm.",
    "layer.#.intermediate.dense.",
    "layer.#.output.dense.",
    "layer.#.output.LayerNorm.",
    "pooler.dense.",
    "predictions.", // its bias
    "predictions.transform.dense.",
    "predictions.transform.LayerNorm.",
    "predictions.decoder.",
    "seq_relationship.",
};
enum { NORDER = sizeof order / sizeof *order };

typedef struct Place {
    int group, within, bias; // group: of the layers, the first of their patterns; NORDER: not known, the last
    int64_t layer;
    int tensor;
    const char *name;
} Place;

// The whole name from here on is the pattern and one more word.
static bool matches(const char *name, const char *pattern, int64_t *out_layer) {
    for (; *pattern; pattern++) {
        if (*pattern != '#') {
            if (*name++ != *pattern) return false;
            continue;
        }
        char *end;
        if (*name < '0' || *name > '9') return false;
        *out_layer = strtoll(name, &end, 10);
        name = end;
    }
    return *name && !strchr(name, '.');
}

static Place place_of(const Tensor *t, int tensor) {
    Place p = {.group = NORDER, .tensor = tensor, .name = t->name};
    for (const char *at = t->name; at && p.group == NORDER; at = strchr(at, '.'), at += at != NULL)
        for (int i = 0; i < NORDER && p.group == NORDER; i++)
            if (matches(at, order[i], &p.layer)) {
                p.within = p.group = i;
                while (strchr(order[i], '#') && p.group && strchr(order[p.group - 1], '#')) p.group--;
            }
    const char *last = strrchr(t->name, '.');
    p.bias = last && (!strcmp(last, ".bias") || !strcmp(last, ".beta"));
    return p;
}

static int by_place(const void *a, const void *b) {
    const Place *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    if (x->within != y->within) return x->within < y->within ? -1 : 1;
    return x->bias != y->bias ? x->bias - y->bias : strcmp(x->name, y->name);
}

// ---- the split ------------------------------------------------------------------------------------------------------
// A tensor above the limit is a shard at once, in front of the one that is being filled: so the rule has it.
static int split(Arena *a, const HubFiles *f, int64_t limit, int *out_of) {
    int n = hub_count(f), count = 0, open = -1; // open: the shard being filled, numbered when it is full
    int *number = NEW_ARRAY(a, int, n + 1), nopen = 0;
    Place *places = NEW_ARRAY(a, Place, n + 1);
    int64_t filled = 0;
    for (int i = 0; i < n; i++) places[i] = place_of(hub_at(f, i), i);
    if (n) qsort(places, (size_t)n, sizeof *places, by_place);
    for (int i = 0; i < n; i++) {
        int tensor = places[i].tensor;
        int64_t bytes = hub_at(f, tensor)->bytes;
        if (bytes > limit) {
            number[out_of[tensor] = nopen++] = count++;
            continue;
        }
        if (open >= 0 && bytes > limit - filled) {
            number[open] = count++;
            open = -1;
        }
        if (open < 0) {
            open = nopen++;
            filled = 0;
        }
        out_of[tensor] = open;
        filled += bytes;
    }
    if (open >= 0) number[open] = count++;
    for (int i = 0; i < n; i++) out_of[i] = number[out_of[i]];
    return count;
}

static int as_files(Arena *a, const HubFiles *f, HubShards *s) {
    int count = 0;
    s->file = NEW_ARRAY(a, const char *, hub_count(f) + 1);
    for (int i = 0; i < hub_count(f); i++) {
        const char *file = hub_shard_of(f, i);
        int k = 0;
        while (k < count && strcmp(s->file[k], file)) k++;
        if (k == count) s->file[count++] = file;
        s->of[i] = k;
    }
    return count;
}

HubShards hub_shards_split(Arena *a, const HubFiles *f, int64_t limit) {
    HubShards s = {.of = NEW_ARRAY(a, int, hub_count(f) + 1)};
    if (!limit && hub_count(f) && hub_shard_of(f, 0)) {
        s.count = as_files(a, f, &s);
        s.index = hub_path(f);
        if (s.count > 1) return s;
        s.index = NULL;
    }
    s.count = limit ? split(a, f, limit, s.of) : 1;
    s.file = NEW_ARRAY(a, const char *, s.count + 1);
    for (int i = 0; i < s.count; i++)
        s.file[i] =
            s.count == 1 ? "model.safetensors" : arena_printf(a, "model-%05d-of-%05d.safetensors", i + 1, s.count);
    return s;
}

// ---- the index ------------------------------------------------------------------------------------------------------
static void print_index(const HubShards *s, const HubFiles *f, FILE *out) {
    int64_t bytes = 0, elements = 0;
    for (int i = 0; i < hub_count(f); i++) {
        bytes += hub_at(f, i)->bytes;
        elements += hub_at(f, i)->bytes / tensor_dtype_bytes(hub_at(f, i)->dtype);
    }
    fprintf(out,
            "{\n  \"metadata\": {\n    \"total_parameters\": %" PRId64 ",\n    \"total_size\": %" PRId64 "\n  },\n",
            elements, bytes);
    fputs("  \"weight_map\": {\n", out);
    for (int i = 0; i < hub_count(f); i++) {
        fputs("    ", out);
        json_put_string(out, hub_at(f, i)->name);
        fputs(": ", out);
        json_put_string(out, s->file[s->of[i]]);
        fputs(i + 1 < hub_count(f) ? ",\n" : "\n", out);
    }
    fputs("  }\n}\n", out);
}

Status hub_shards_write_index(const HubShards *s, const HubFiles *f, const char *folder) {
    Arena *a = arena_new();
    const char *path = arena_printf(a, "%s/model.safetensors.index.json", folder);
    char *text = NULL;
    size_t size = 0;
    Status status;
    FILE *out = s->index ? NULL : open_memstream(&text, &size);
    if (s->index) {
        status = file_copy(s->index, path);
    } else if (!out) {
        status = status_make(STATUS_MEMORY, "no memory to save");
    } else {
        print_index(s, f, out);
        status = fclose(out) ? status_make(STATUS_MEMORY, "no memory to save") : file_write_whole(path, text, size);
    }
    free(text);
    arena_free(a);
    return status;
}

bool hub_shards_size(const char *text, int64_t *out_bytes) {
    static const char units[] = "KMGT";
    const char *number = text + strspn(text, "0123456789.");
    char *end;
    double value = strtod(text, &end);
    const char *unit = end == number && *end ? strchr(units, *end) : NULL;
    if (end == text || !unit || end[1] != 'B' || end[2]) return false;
    for (const char *u = units; u <= unit; u++) value *= 1000;
    if (!(value >= 1 && value < 0x1p62)) return false;
    *out_bytes = (int64_t)value;
    return true;
}
