// SPDX-License-Identifier: Apache-2.0
// The hub's files: indexes and shards that agree are read, others refused; a file's spelling of the names is found, a
// mixture refused; output layers that are the embedding; which shard a tensor goes to.
#include "check.h"
#include "runtime/file.h"
#include "runtime/hub_names.h"
#include "runtime/hub_shards.h"
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];    // of this run
static char place[4][256]; // the last names handed out
static const char *in_folder(const char *name) {
    static int which;
    which = (which + 1) % 4;
    snprintf(place[which], sizeof place[which], "%s/%s", folder, name);
    return place[which];
}

static void put_text(const char *name, const char *text) {
    CHECK_OK(file_write_whole(in_folder(name), text, strlen(text)));
}

// A file of tensors of two floats, each `value` in all; names end with NULL.
static void put_tensors(const char *name, float value, ...) {
    SafetensorsWriter *w;
    va_list names;
    int n = 0;
    CHECK_OK(safetensors_create(in_folder(name), &w));
    va_start(names, value);
    for (const char *tensor; (tensor = va_arg(names, const char *)); n++)
        safetensors_add(w, tensor, TENSOR_F32, 1, (int64_t[]){2});
    va_end(names);
    safetensors_start(w);
    for (int i = 0; i < n; i++) safetensors_write(w, i, 0, (float[]){value, value}, 8);
    CHECK_OK(safetensors_finish(w));
}

#define MAP(text) "{\"metadata\": {\"total_size\": 1.5e1, \"x\": [null]}, \"weight_map\": {" text "}}"

// ---- the index ------------------------------------------------------------------------------------------------------
static void refuse(const char *index, StatusCode code, const char *message) {
    HubFiles *f;
    put_text("s/model.safetensors.index.json", index);
    CHECK_FAILS(hub_open(in_folder("s"), &f), code, message);
    CHECK(!f);
}

static void indexes(void) {
    HubFiles *f;
    CHECK_OK(file_make_folders(in_folder("s")));
    CHECK_FAILS(hub_open(in_folder("s"), &f), STATUS_INVALID, "holds neither model.safetensors nor");
    put_tensors("s/one.safetensors", 1, "b", "c", NULL);
    put_tensors("s/two.safetensors", 2, "a", NULL);
    put_tensors("outside.safetensors", 3, "a", NULL);
    put_text("s/model.safetensors.index.json",
             MAP("\"c\":\"one.safetensors\",\"a\":\"two.safetensors\",\"b\":\"one.safetensors\""));
    for (int i = 0; i < 2; i++) {
        CHECK_OK(hub_open(in_folder(i ? "s" : "s/model.safetensors.index.json"), &f));
        CHECK(hub_count(f) == 3 && !strcmp(hub_at(f, 0)->name, "a") && !strcmp(hub_at(f, 2)->name, "c"));
        CHECK(hub_find(f, "b") == hub_at(f, 1) && !hub_find(f, "d") && !hub_meta(f, "format"));
        CHECK(!memcmp(hub_at(f, 0)->data, (float[]){2, 2}, 8) && !memcmp(hub_at(f, 1)->data, (float[]){1, 1}, 8));
        hub_close(f);
    }
    refuse("", STATUS_CORRUPT, "expected an object");
    refuse("[]", STATUS_CORRUPT, "expected an object");
    refuse("{\"weight_map\": {\"a\": \"two.safetensors\"}", STATUS_CORRUPT, "expected ',' or '}'");
    refuse("{\"weight_map\": {\"a\": 1}}", STATUS_CORRUPT, "expected a string");
    refuse("{\"weight_map\": [\"a\"]}", STATUS_CORRUPT, "expected an object");
    refuse("{\"weight_map\": {\"a\": \"two.safetensors\"}} x", STATUS_CORRUPT, "text behind the value");
    refuse("{}", STATUS_CORRUPT, "has no 'weight_map'");
    refuse(MAP(""), STATUS_CORRUPT, "has no 'weight_map', or an empty one");
    refuse("{\"weight_map\": {\"a\": \"two.safetensors\"}, \"weight_map\": {}}", STATUS_CORRUPT, "occurs twice");
    refuse(MAP("\"a\":\"two.safetensors\",\"a\":\"two.safetensors\""), STATUS_CORRUPT, "tensor 'a' occurs twice");
    refuse(MAP("\"a\":\"two.safetensors\",\"a\":\"one.safetensors\""), STATUS_CORRUPT, "tensor 'a' occurs twice");
    refuse(MAP("\"a\":\"three.safetensors\""), STATUS_IO, "three.safetensors");
    static const char *const escapes[] = {"../outside.safetensors",
                                          "/etc/x.safetensors",
                                          "x/two.safetensors",
                                          "./two.safetensors",
                                          "..",
                                          "",
                                          ".safetensors",
                                          "two.bin",
                                          "..\\\\x.safetensors"};
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        char index[256];
        snprintf(index, sizeof index, MAP("\"a\":\"%s\""), escapes[i]);
        refuse(index, STATUS_CORRUPT, "which is not the name of a safetensors file in the index's folder");
    }
    refuse(MAP("\"c\":\"one.safetensors\",\"a\":\"two.safetensors\""), STATUS_CORRUPT,
           "one.safetensors holds tensor 'b', which");
    refuse(MAP("\"c\":\"one.safetensors\",\"a\":\"two.safetensors\",\"b\":\"two.safetensors\""), STATUS_CORRUPT,
           "puts in 'two.safetensors'");
    refuse(MAP("\"c\":\"one.safetensors\",\"a\":\"two.safetensors\",\"b\":\"one.safetensors\",\"d\":"
               "\"two.safetensors\""),
           STATUS_CORRUPT, "two.safetensors lacks tensor 'd', which");
    put_tensors("s/two.safetensors", 2, "a", "b", NULL);
    refuse(MAP("\"c\":\"one.safetensors\",\"a\":\"two.safetensors\",\"b\":\"one.safetensors\""), STATUS_CORRUPT,
           "two.safetensors holds tensor 'b', which");
    put_text("s/two.safetensors", "short");
    refuse(MAP("\"a\":\"two.safetensors\""), STATUS_CORRUPT, "5 bytes are too few");
    put_tensors("s/model.safetensors", 1, "a", NULL);
    refuse(MAP("\"a\":\"two.safetensors\""), STATUS_INVALID,
           "holds model.safetensors and model.safetensors.index.json");
}

// ---- the names ------------------------------------------------------------------------------------------------------
#define LEAF(text)                                                                                                     \
    {                                                                                                                  \
        .kind = PLAN_PARAM, .name = text, .storage = text, .dtype = PLAN_F32, .rank = 1, .dim = { {"w", 2, 0, 2} }     \
    }
#define LAYERS(text)                                                                                                   \
    {                                                                                                                  \
        .kind = PLAN_PARAM, .name = text, .storage = text, .dtype = PLAN_F32, .rank = 2, .dim = {                      \
            {"layer", 2, 0, 2},                                                                                        \
            {"w", 2, 0, 2}                                                                                             \
        }                                                                                                              \
    }

static Status find(const Plan *p, const char *prefix, HubNames *out, char *first, size_t size) {
    HubFiles *f;
    Status s = hub_open(in_folder("n.safetensors"), &f);
    if (!status_failed(&s)) s = hub_names_find(p, f, prefix, out);
    StoredAs stored;
    if (!status_failed(&s)) s = stored_as(&p->leaves[0], &stored);
    if (!status_failed(&s)) CHECK(hub_leaf_name(out, &p->leaves[0], &stored, 0, first, size));
    hub_close(f);
    return s;
}

static void gpt2_names(void) {
    PlanLeaf leaves[] = {LEAF("wte.weight"), LAYERS("h.{layer}.b")};
    Plan p = {.nleaves = 2, .leaves = leaves};
    HubNames n;
    char name[64];
    put_tensors("n.safetensors", 1, "wte.weight", "h.0.b", "h.1.b", "h.0.attn.bias", NULL);
    CHECK_OK(find(&p, NULL, &n, name, sizeof name));
    CHECK(!strcmp(name, "wte.weight"));
    put_tensors("n.safetensors", 1, "transformer.wte.weight", "transformer.h.0.b", "transformer.h.1.b",
                "lm_head.weight", NULL);
    CHECK_OK(find(&p, NULL, &n, name, sizeof name));
    CHECK(!strcmp(name, "transformer.wte.weight"));
    CHECK_OK(find(&p, "", &n, name, sizeof name)); // as told: what is missing is for the caller to say
    CHECK(!strcmp(name, "wte.weight"));
    put_tensors("n.safetensors", 1, "transformer.wte.weight", "transformer.h.0.b", "h.1.b", NULL);
    CHECK_FAILS(find(&p, NULL, &n, name, sizeof name), STATUS_INVALID,
                "holds 'h.1.b' beside 'transformer.wte.weight': which of the two to load is not clear");
    put_tensors("n.safetensors", 1, "wte.weight", "h.0.b", "h.1.b", "h.2.b", NULL);
    CHECK_FAILS(find(&p, NULL, &n, name, sizeof name), STATUS_INVALID,
                "holds 'h.2.b': more than the 2 of 'layer' the model has");
    SafetensorsWriter *w; // an output layer of its own
    CHECK_OK(safetensors_create(in_folder("n.safetensors"), &w));
    safetensors_add(w, "transformer.wte.weight", TENSOR_F32, 1, (int64_t[]){2});
    safetensors_add(w, "lm_head.weight", TENSOR_F32, 1, (int64_t[]){2});
    safetensors_start(w);
    safetensors_write(w, 0, 0, (float[]){1, 2}, 8);
    safetensors_write(w, 1, 0, (float[]){1, 3}, 8);
    CHECK_OK(safetensors_finish(w));
    CHECK_FAILS(find(&p, NULL, &n, name, sizeof name), STATUS_INVALID,
                "'lm_head.weight' differs from 'transformer.wte.weight'");
}

static void llama_names(void) {
    PlanLeaf leaves[] = {LEAF("model.embed_tokens.weight"), LAYERS("model.layers.{layer}.b"), LEAF("lm_head.weight")};
    Plan p = {.nleaves = 3, .leaves = leaves};
    HubNames n;
    char name[64];
    put_tensors("n.safetensors", 1, "model.embed_tokens.weight", "model.layers.0.b", "model.layers.1.b",
                "lm_head.weight", NULL);
    CHECK_OK(find(&p, NULL, &n, name, sizeof name));
    CHECK(!strcmp(name, "model.embed_tokens.weight") && !n.tied);
    put_tensors("n.safetensors", 1, "embed_tokens.weight", "layers.0.b", "layers.1.b", "lm_head.weight", NULL);
    CHECK_OK(find(&p, NULL, &n, name, sizeof name));
    CHECK(!strcmp(name, "embed_tokens.weight") && !n.tied);
    put_tensors("n.safetensors", 1, "model.embed_tokens.weight", "model.layers.0.b", "model.layers.1.b", NULL);
    CHECK_FAILS(find(&p, NULL, &n, name, sizeof name), STATUS_INVALID,
                "no tensor 'lm_head.weight', and no config.json");
    put_text("config.json", "{\"eps\": 1e-5, \"tie_word_embeddings\": false}");
    CHECK_FAILS(find(&p, NULL, &n, name, sizeof name), STATUS_INVALID,
                "no tensor 'lm_head.weight', and no config.json");
    put_text("config.json", "{\"eps\": 1e-5, \"tie_word_embeddings\": true}");
    CHECK_OK(find(&p, NULL, &n, name, sizeof name));
    CHECK(n.tied);
    put_text("config.json", "{\"tie_word_embeddings\": true");
    CHECK_FAILS(find(&p, NULL, &n, name, sizeof name), STATUS_CORRUPT, "config.json: byte");
}

static void bert_names(void) {
    PlanLeaf leaves[] = {LEAF("bert.embeddings.LayerNorm.weight"), LAYERS("bert.encoder.layer.{layer}.b"),
                         LEAF("bert.embeddings.word_embeddings.weight"), LEAF("cls.predictions.bias")};
    Plan p = {.nleaves = 4, .leaves = leaves};
    HubNames n;
    char name[64];
    put_tensors("n.safetensors", 1, "bert.embeddings.LayerNorm.gamma", "bert.encoder.layer.0.b",
                "bert.encoder.layer.1.b", "bert.embeddings.word_embeddings.weight", "cls.predictions.bias",
                "cls.predictions.decoder.weight", "cls.predictions.decoder.bias", NULL);
    CHECK_OK(find(&p, NULL, &n, name, sizeof name));
    CHECK(!strcmp(name, "bert.embeddings.LayerNorm.gamma"));
    put_tensors("n.safetensors", 1, "embeddings.LayerNorm.gamma", "encoder.layer.0.b", "encoder.layer.1.b",
                "embeddings.word_embeddings.weight", "cls.predictions.bias", NULL);
    CHECK_OK(find(&p, NULL, &n, name, sizeof name));
    CHECK(!strcmp(name, "embeddings.LayerNorm.gamma"));
    put_tensors("n.safetensors", 1, "bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight",
                "bert.encoder.layer.0.b", "bert.encoder.layer.1.b", "bert.embeddings.word_embeddings.weight",
                "cls.predictions.bias", NULL);
    CHECK_FAILS(find(&p, NULL, &n, name, sizeof name), STATUS_INVALID, "which of the two to load is not clear");
}

// ---- the split ------------------------------------------------------------------------------------------------------
// Each tensor has eight bytes, word embeddings eighty. shards: of each, from 1.
static void split(int64_t limit, int count, const char *const *names, const int *shards) {
    Tensor t[16];
    HubFiles *f;
    Arena *a = arena_new();
    int n = 0;
    for (; names[n]; n++) t[n] = (Tensor){.name = names[n], .dtype = TENSOR_F32, .rank = 1, .shape = {2}, .bytes = 8};
    for (int i = 0; i < n; i++)
        if (strstr(names[i], "word_embeddings")) t[i].bytes = 80;
    CHECK_OK(hub_describe("m", t, n, &f));
    HubShards s = hub_shards_split(a, f, limit);
    CHECK(s.count == count && !s.index);
    for (int i = 0; i < n; i++) {
        int at = (int)(hub_find(f, names[i]) - hub_at(f, 0));
        CHECK(s.of[at] == shards[i] - 1);
    }
    hub_close(f);
    arena_free(a);
}

static void splits(void) {
    static const char *const gpt2[] = {"transformer.wte.weight",
                                       "transformer.wpe.weight",
                                       "transformer.h.2.ln_1.weight",
                                       "transformer.h.2.mlp.c_proj.bias",
                                       "transformer.h.10.ln_1.bias",
                                       "transformer.h.10.attn.c_attn.weight",
                                       "transformer.ln_f.weight",
                                       "transformer.ln_f.bias",
                                       "another",
                                       NULL};
    split(16, 5, gpt2, (int[]){1, 1, 2, 2, 3, 3, 4, 4, 5});
    split(23, 5, gpt2, (int[]){1, 1, 2, 2, 3, 3, 4, 4, 5});
    split(24, 3, gpt2, (int[]){1, 1, 1, 2, 2, 2, 3, 3, 3});
    split(0, 1, gpt2, (int[]){1, 1, 1, 1, 1, 1, 1, 1, 1});
    // One above the limit goes before the shard that is being filled.
    static const char *const bert[] = {"bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.beta",
                                       "bert.embeddings.word_embeddings.weight", "cls.predictions.bias", NULL};
    split(16, 3, bert, (int[]){2, 2, 1, 3});
    split(24, 2, bert, (int[]){2, 2, 1, 2});
    HubFiles *f;
    Tensor twice[2] = {{.name = "a"}, {.name = "a"}};
    CHECK_FAILS(hub_describe("m", twice, 2, &f), STATUS_INVALID, "m stores two parameters as 'a'");
    CHECK(!f);
    static const struct {
        const char *text;
        int64_t bytes;
    } sizes[] = {{"5GB", 5000000000}, {"1.5KB", 1500}, {"200MB", 200000000}, {"2TB", 2000000000000}};
    for (int i = 0; i < 4; i++) {
        int64_t bytes;
        CHECK(hub_shards_size(sizes[i].text, &bytes) && bytes == sizes[i].bytes);
        CHECK(!hub_shards_size("5 GB", &bytes) && !hub_shards_size("0x5GB", &bytes) && !hub_shards_size("", &bytes));
    }
}

static void remove_all(void) {
    static const char *const names[] = {"s/model.safetensors.index.json",
                                        "s/model.safetensors",
                                        "s/one.safetensors",
                                        "s/two.safetensors",
                                        "outside.safetensors",
                                        "n.safetensors",
                                        "config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(in_folder(names[i]));
    rmdir(in_folder("s"));
    CHECK(!rmdir(folder));
}

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/tgf-hub-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    indexes();
    gpt2_names();
    llama_names();
    bert_names();
    splits();
    remove_all();
    return check_report("hub");
}
