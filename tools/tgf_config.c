// SPDX-License-Identifier: Apache-2.0
#include "tools/tgf_config.h"
#include "runtime/file.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

extern const char example_gpt2[], example_llama[], example_bert[]; // examples/*.tgf, from the build

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
    {"n_inner", COUNT_OR_NULL, 0, "hidden = 4 * width", "hidden = %s"},
    {"activation_function", MUST, "\"gelu_new\"", 0, 0},
    {"layer_norm_epsilon", EPSILON, "1e-5", "layernorm(x, width)", "layernorm(x, width, eps = %s)"},
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
    {"rms_norm_eps", EPSILON, "1e-5", "rmsnorm(x, width)", "rmsnorm(x, width, eps = %s)"},
    {"rope_theta", THETA, "10000", "rot, half)", "rot, half, theta = %s)"},
    {"rope_parameters.rope_theta", THETA, "10000", "rot, half)", "rot, half, theta = %s)"},
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

static const Key bert_keys[] = {
    {"vocab_size", COUNT, 0, "vocab = 30522", "vocab = %s"},
    {"max_position_embeddings", COUNT, 0, "seq = 512", "seq = %s"},
    {"num_hidden_layers", COUNT, 0, "layer = 12", "layer = %s"},
    {"num_attention_heads", COUNT, 0, "head = 12", "head = %s"},
    {"type_vocab_size", COUNT, 0, "segment = 2", "segment = %s"},
    {"intermediate_size", COUNT, 0, "hidden = 4 * width", "hidden = %s"},
    {"hidden_size", IGNORED, 0, 0, 0}, // head * dim
    {"layer_norm_eps", EPSILON, "1e-12", "eps = 1e-12", "eps = %s"},
    {"hidden_act", MUST, "\"gelu\"", 0, 0},
    {"position_embedding_type", MUST, "\"absolute\"", 0, 0},
    {"is_decoder", MUST, "false", 0, 0},
    {"add_cross_attention", MUST, "false", 0, 0},
    {"tie_word_embeddings", MUST, "true", 0, 0},
    {"attention_probs_dropout_prob", IGNORED, 0, 0, 0},
    {"hidden_dropout_prob", IGNORED, 0, 0, 0},
    {"classifier_dropout", IGNORED, 0, 0, 0},
    {"gradient_checkpointing", IGNORED, 0, 0, 0},
    {"directionality", IGNORED, 0, 0, 0}, // of the text
    {"pooler_fc_size", IGNORED, 0, 0, 0}, // no part of the masked language model
    {"pooler_num_attention_heads", IGNORED, 0, 0, 0},
    {"pooler_num_fc_layers", IGNORED, 0, 0, 0},
    {"pooler_size_per_head", IGNORED, 0, 0, 0},
    {"pooler_type", IGNORED, 0, 0, 0},
    {0},
};

const Key *const config_common_keys = common_keys;
const Architecture config_architectures[] = {
    {"gpt2", "GPT2LMHeadModel", example_gpt2, gpt2_keys, "n_embd", "n_head", NULL, NULL, "transformer.",
     "h.{layer}.attn.c_attn.weight "},
    {"llama", "LlamaForCausalLM", example_llama, llama_keys, "hidden_size", "num_attention_heads", "head_dim",
     "num_key_value_heads", "", "model.layers.{layer}.self_attn.q_proj.weight "},
    {"bert", "BertForMaskedLM", example_bert, bert_keys, "hidden_size", "num_attention_heads", NULL, NULL, "",
     "bert.encoder.layer.{layer}.attention.self.query.weight "},
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

static bool is_count(Use use) { return use == COUNT || use == COUNT_OR_NULL; }

static bool is_number(const char *value, Use use, double *out) {
    char *end;
    *out = strtod(value, &end);
    if (end == value || *end || !(*out > 0)) return false;
    return !is_count(use) || (*out < 0x1p31 && strspn(value, "0123456789") == strlen(value));
}

static Status apply(const Config *c, const Key *k, const char *value, const char **text) {
    double number, usual;
    if (k->use == IGNORED || (k->use == COUNT_OR_NULL && !strcmp(value, "null"))) return status_ok();
    if (k->use == MUST)
        return !strcmp(value, k->value) ? status_ok()
                                        : status_make(STATUS_UNSUPPORTED, "%s: '%s' is %.60s; only %s is known",
                                                      c->path, k->name, value, k->value);
    if (!is_number(value, k->use, &number))
        return status_make(STATUS_INVALID, "%s: '%s' is %.60s, not a %snumber above 0", c->path, k->name, value,
                           is_count(k->use) ? "whole " : "");
    if (!strstr(*text, k->from))
        return status_make(STATUS_INTERNAL, "the example has no '%s' for '%s'", k->from, k->name);
    if (!is_count(k->use) && is_number(k->value, k->use, &usual) && number == usual) return status_ok();
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
static Status apply_width(const Config *c, const Architecture *arch, const char **text) {
    const char *width_key = arch->width, *head_key = arch->head, *own = arch->dim;
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

static const Key *find_key(const Architecture *arch, const char *name) {
    const Key *const tables[] = {arch->keys, common_keys};
    for (int t = 0; t < 2; t++)
        for (const Key *k = tables[t]; k->name; k++)
            if (!strcmp(k->name, name)) return k;
    return NULL;
}

static Status apply_all(const Config *c, const Architecture *arch, const char **text) {
    for (int i = 0; i < c->n; i++) {
        const Key *found = find_key(arch, c->at[i].name);
        if (!found) return status_make(STATUS_UNSUPPORTED, "%s: '%s' is not known here", c->path, c->at[i].name);
        STATUS_TRY(apply(c, found, c->at[i].value, text));
    }
    for (const Key *k = arch->keys; k->name; k++)
        if (k->use == COUNT && !value_of(c, k->name))
            return status_make(STATUS_INVALID, "%s has no '%s'", c->path, k->name);
    int64_t head, shared;
    if (arch->shared) {
        STATUS_TRY(count_of(c, arch->head, &head));
        STATUS_TRY(count_of(c, arch->shared, &shared));
        if (head % shared)
            return status_make(STATUS_INVALID, "%s: '%s' is not a multiple of '%s'", c->path, arch->head, arch->shared);
        if (!value_of(c, "rms_norm_eps")) return status_make(STATUS_INVALID, "%s has no 'rms_norm_eps'", c->path);
    }
    return apply_width(c, arch, text);
}

static Status read_config(Config *c, const char *json, size_t size, const char **out_text) {
    Json j = json_open(json, size);
    STATUS_TRY(read_object(c, &j, ""));
    if (!json_end(&j)) return status_make(STATUS_CORRUPT, "%s: byte %zu: %s", c->path, j.error_at, j.error);
    const char *type = value_of(c, "model_type"), *known = "";
    for (const Architecture *arch = config_architectures; arch->type; arch++) {
        if (type && !strcmp(type, arena_printf(c->arena, "\"%s\"", arch->type))) {
            *out_text = arch->text;
            return apply_all(c, arch, out_text);
        }
        known = arena_printf(c->arena, "%s%s\"%s\"", known, *known ? arch[1].type ? ", " : " and " : "", arch->type);
    }
    return status_make(STATUS_UNSUPPORTED, "%s: 'model_type' is %.60s; known are %s", c->path, type ? type : "missing",
                       known);
}

Status config_read(Arena *a, const char *path, const char *json, size_t size, const char **out_text) {
    Config *c = NEW(a, Config);
    c->arena = a;
    c->path = path;
    return read_config(c, json, size, out_text);
}

Status config_to_text(Arena *a, const char *folder, const char **out_text) {
    FileMap map;
    const char *path = arena_printf(a, "%s/config.json", folder);
    STATUS_TRY(file_map(path, &map));
    Status s = config_read(a, path, (const char *)map.data, map.size, out_text);
    file_unmap(&map);
    return s;
}
