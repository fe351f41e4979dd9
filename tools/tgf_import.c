// SPDX-License-Identifier: Apache-2.0
// tgf import: the .tgf of a model of the hub, from its config.json: the example of its architecture with the axes and
// constants of the configuration. Every key is known to change nothing, written into the text, or refused by name: what
// is computed is what the configuration says.
#include "base/arena.h"
#include "runtime/file.h"
#include "runtime/json.h"
#include "tools/common_built.h"
#include "tools/tgf.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

extern const char example_gpt2[], example_llama[]; // examples/*.tgf, from the build

typedef enum Use {
    IGNORED, // training's, text generation's, or of no effect
    COUNT,   // a whole number above 0: replaces what the example has there
    NUMBER,  // a real constant: likewise, where it is not the default
    MUST     // only this value
} Use;

typedef struct Key {
    const char *name;
    Use use;
    const char *value;     // MUST: as JSON; NUMBER: the default of the example's text
    const char *from, *to; // replaced everywhere in the text; %s is the value
} Key;

static const Key common_keys[] = {
    {"architectures", IGNORED, 0, 0, 0},
    {"bos_token_id", IGNORED, 0, 0, 0},
    {"eos_token_id", IGNORED, 0, 0, 0},
    {"pad_token_id", IGNORED, 0, 0, 0},
    {"dtype", IGNORED, 0, 0, 0},
    {"torch_dtype", IGNORED, 0, 0, 0},
    {"initializer_range", IGNORED, 0, 0, 0},
    {"transformers_version", IGNORED, 0, 0, 0},
    {"use_cache", IGNORED, 0, 0, 0},
    {"model_type", IGNORED, 0, 0, 0},
    {"_name_or_path", IGNORED, 0, 0, 0},
    {0},
};
static const Key gpt2_keys[] = {
    {"vocab_size", COUNT, 0, "vocab = 50257", "vocab = %s"},
    {"n_positions", COUNT, 0, "seq = 1024", "seq = %s"},
    {"n_layer", COUNT, 0, "layer = 12", "layer = %s"},
    {"n_head", COUNT, 0, "head = 12", "head = %s"},
    {"n_embd", IGNORED, 0, 0, 0}, // head * dim
    {"n_ctx", IGNORED, 0, 0, 0},  // n_positions' old name
    {"n_inner", MUST, "null", 0, 0},
    {"activation_function", MUST, "\"gelu_new\"", 0, 0},
    {"layer_norm_epsilon", NUMBER, "1e-5", "layernorm(x, width)", "layernorm(x, width, eps = %s)"},
    {"scale_attn_weights", MUST, "true", 0, 0},
    {"scale_attn_by_inverse_layer_idx", MUST, "false", 0, 0},
    {"add_cross_attention", MUST, "false", 0, 0},
    {"tie_word_embeddings", MUST, "true", 0, 0},
    {"reorder_and_upcast_attn", IGNORED, 0, 0, 0}, // of half precision
    {"attn_pdrop", IGNORED, 0, 0, 0},
    {"embd_pdrop", IGNORED, 0, 0, 0},
    {"resid_pdrop", IGNORED, 0, 0, 0},
    {"summary_activation", IGNORED, 0, 0, 0},
    {"summary_first_dropout", IGNORED, 0, 0, 0},
    {"summary_proj_to_labels", IGNORED, 0, 0, 0},
    {"summary_type", IGNORED, 0, 0, 0},
    {"summary_use_proj", IGNORED, 0, 0, 0},
    {"task_specific_params", IGNORED, 0, 0, 0},
    {0},
};
static const Key llama_keys[] = {
    {"vocab_size", COUNT, 0, "vocab = 32000", "vocab = %s"},
    {"max_position_embeddings", COUNT, 0, "seq = 2048", "seq = %s"},
    {"num_hidden_layers", COUNT, 0, "layer = 22", "layer = %s"},
    {"num_attention_heads", COUNT, 0, "axis head = 32", "axis head = %s"},
    {"num_key_value_heads", COUNT, 0, "kvhead = 4", "kvhead = %s"},
    {"intermediate_size", COUNT, 0, "hidden = 5632", "hidden = %s"},
    {"hidden_size", IGNORED, 0, 0, 0}, // head * dim
    {"head_dim", IGNORED, 0, 0, 0},    // looked at with it
    {"rms_norm_eps", NUMBER, "1e-5", "rmsnorm(x, width)", "rmsnorm(x, width, eps = %s)"},
    {"rope_theta", NUMBER, "10000", "rot, half)", "rot, half, theta = %s)"},
    {"rope_parameters.rope_theta", NUMBER, "10000", "rot, half)", "rot, half, theta = %s)"},
    {"rope_parameters.rope_type", MUST, "\"default\"", 0, 0},
    {"rope_scaling", MUST, "null", 0, 0},
    {"hidden_act", MUST, "\"silu\"", 0, 0},
    {"attention_bias", MUST, "false", 0, 0},
    {"mlp_bias", MUST, "false", 0, 0},
    {"attention_dropout", IGNORED, 0, 0, 0},
    {"pretraining_tp", IGNORED, 0, 0, 0},      // the same sums in another order
    {"tie_word_embeddings", IGNORED, 0, 0, 0}, // looked at when weights are loaded
    {0},
};

typedef struct Config {
    Arena *arena;
    const char *path;
    int n;
    struct {
        const char *name, *value; // value: its JSON text
    } at[128];
} Config;

static Status read_object(Config *c, Json *j, const char *before) {
    char key[128];
    json_enter(j, '{');
    while (json_next(j, '}')) {
        if (!json_key(j, key, sizeof key)) break;
        const char *name = arena_printf(c->arena, "%s%s", before, key);
        if (json_peek(j) == '{' && !strcmp(name, "rope_parameters")) {
            STATUS_TRY(read_object(c, j, "rope_parameters."));
            continue;
        }
        const char *from = j->at;
        if (!json_skip(j)) break;
        for (int i = 0; i < c->n; i++)
            if (!strcmp(c->at[i].name, name))
                return status_make(STATUS_CORRUPT, "%s: '%s' occurs twice", c->path, name);
        if (c->n == (int)(sizeof c->at / sizeof *c->at))
            return status_make(STATUS_UNSUPPORTED, "%s has more than %d keys", c->path, c->n);
        c->at[c->n].name = name;
        c->at[c->n++].value = arena_printf(c->arena, "%.*s", (int)(j->at - from), from);
    }
    return j->error ? status_make(STATUS_CORRUPT, "%s: byte %zu: %s", c->path, j->error_at, j->error) : status_ok();
}

static const char *value_of(const Config *c, const char *name) {
    for (int i = 0; i < c->n; i++)
        if (!strcmp(c->at[i].name, name)) return c->at[i].value;
    return NULL;
}

static const char *replace(Arena *a, const char *text, const char *from, const char *to) {
    const char *out = "";
    for (const char *hit; (hit = strstr(text, from)); text = hit + strlen(from))
        out = arena_printf(a, "%s%.*s%s", out, (int)(hit - text), text, to);
    return arena_printf(a, "%s%s", out, text);
}

static bool is_number(const char *value, Use use, double *out) {
    char *end;
    *out = strtod(value, &end);
    if (end == value || *end || !(*out > 0)) return false;
    return use != COUNT || (*out < 0x1p31 && strspn(value, "0123456789") == strlen(value));
}

static Status apply(const Config *c, const Key *k, const char *value, const char **text) {
    double number, usual;
    if (k->use == IGNORED) return status_ok();
    if (k->use == MUST)
        return !strcmp(value, k->value) ? status_ok()
                                        : status_make(STATUS_UNSUPPORTED, "%s: '%s' is %.60s; only %s is known",
                                                      c->path, k->name, value, k->value);
    if (!is_number(value, k->use, &number))
        return status_make(STATUS_INVALID, "%s: '%s' is %.60s, not a %snumber above 0", c->path, k->name, value,
                           k->use == COUNT ? "whole " : "");
    if (!strstr(*text, k->from))
        return status_make(STATUS_INTERNAL, "the example has no '%s' for '%s'", k->from, k->name);
    if (k->use == NUMBER && is_number(k->value, NUMBER, &usual) && number == usual) return status_ok();
    *text = replace(c->arena, *text, k->from, replace(c->arena, k->to, "%s", value));
    return status_ok();
}

// A whole number that has to be there.
static Status count_of(const Config *c, const char *name, int64_t *out) {
    const char *value = value_of(c, name);
    double number;
    if (!value) return status_make(STATUS_INVALID, "%s has no '%s'", c->path, name);
    if (!is_number(value, COUNT, &number))
        return status_make(STATUS_INVALID, "%s: '%s' is %.60s, not a whole number above 0", c->path, name, value);
    *out = (int64_t)number;
    return status_ok();
}

// The extent of `dim`: width over heads.
static Status apply_width(const Config *c, const char *width_key, const char *head_key, const char *own,
                          const char **text) {
    int64_t width, head, dim;
    STATUS_TRY(count_of(c, width_key, &width));
    STATUS_TRY(count_of(c, head_key, &head));
    dim = width / head;
    if (width % head)
        return status_make(STATUS_INVALID, "%s: '%s' is not a multiple of '%s'", c->path, width_key, head_key);
    const char *said = own ? value_of(c, own) : NULL;
    if (said && strcmp(said, "null") && strcmp(said, arena_printf(c->arena, "%" PRId64, dim)))
        return status_make(STATUS_UNSUPPORTED, "%s: '%s' is %.60s; only %s / %s is known", c->path, own, said,
                           width_key, head_key);
    *text = replace(c->arena, *text, "dim = 64", arena_printf(c->arena, "dim = %" PRId64, dim));
    return status_ok();
}

static Status apply_all(const Config *c, bool llama, const char **text) {
    const Key *const tables[] = {llama ? llama_keys : gpt2_keys, common_keys};
    for (int i = 0; i < c->n; i++) {
        const Key *found = NULL;
        for (int t = 0; t < 2; t++)
            for (const Key *k = tables[t]; k->name && !found; k++)
                if (!strcmp(k->name, c->at[i].name)) found = k;
        if (!found) return status_make(STATUS_UNSUPPORTED, "%s: '%s' is not known here", c->path, c->at[i].name);
        STATUS_TRY(apply(c, found, c->at[i].value, text));
    }
    for (const Key *k = tables[0]; k->name; k++)
        if (k->use == COUNT && !value_of(c, k->name))
            return status_make(STATUS_INVALID, "%s has no '%s'", c->path, k->name);
    if (!llama) return apply_width(c, "n_embd", "n_head", NULL, text);
    int64_t head, shared;
    STATUS_TRY(count_of(c, "num_attention_heads", &head));
    STATUS_TRY(count_of(c, "num_key_value_heads", &shared));
    if (head % shared)
        return status_make(STATUS_INVALID, "%s: 'num_attention_heads' is not a multiple of 'num_key_value_heads'",
                           c->path);
    if (!value_of(c, "rms_norm_eps")) return status_make(STATUS_INVALID, "%s has no 'rms_norm_eps'", c->path);
    return apply_width(c, "hidden_size", "num_attention_heads", "head_dim", text);
}

static Status import(Arena *a, const char *folder, const char *out) {
    Config *c = NEW(a, Config);
    FileMap map;
    c->arena = a;
    c->path = arena_printf(a, "%s/config.json", folder);
    STATUS_TRY(file_map(c->path, &map));
    Json j = json_open((const char *)map.data, map.size);
    Status s = read_object(c, &j, "");
    if (!status_failed(&s) && !json_end(&j))
        s = status_make(STATUS_CORRUPT, "%s: byte %zu: %s", c->path, j.error_at, j.error);
    file_unmap(&map);
    STATUS_TRY(s);
    const char *type = value_of(c, "model_type");
    bool llama = type && !strcmp(type, "\"llama\"");
    if (!llama && (!type || strcmp(type, "\"gpt2\"")))
        return status_make(STATUS_UNSUPPORTED, "%s: 'model_type' is %.60s; known are \"gpt2\" and \"llama\"", c->path,
                           type ? type : "missing");
    const char *text = llama ? example_llama : example_gpt2;
    STATUS_TRY(apply_all(c, llama, &text));
    return file_write_whole(out, text, strlen(text));
}

int tool_import(int argc, char **argv) {
    const char *out = NULL, *folder;
    const Option options[] = {
        {"-o", "FILE", "the .tgf to write", OPTION_TEXT, &out},
        {0},
    };
    const Command command = {
        "tgf import DIR -o MODEL.tgf",
        "Writes the model that DIR/config.json describes (GPT-2 or Llama), so that `--load DIR` fits.", options, 1, 1};
    int count;
    bool done;
    int rc = options_read(&command, argc, argv, &folder, &count, &done);
    if (rc || done) return rc;
    if (!out) {
        fprintf(stderr, "tgf import needs -o FILE\n");
        return 2;
    }
    Arena *a = arena_new();
    Status s = import(a, folder, out);
    arena_free(a);
    return status_failed(&s) ? status_report(&s, "import") : 0;
}
