// SPDX-License-Identifier: Apache-2.0
// Checkpoints: stored names and shapes, round trips between meshes, a save killed at any moment, files that do not fit.
#include "check.h"
#include "runtime/bind.h"
#include "runtime/checkpoint.h"
#include "runtime/file.h"
#include "runtime/safetensors.h"
#include "runtime/storage.h"
#include "sample_plan.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64]; // of this run
static char place[2][256];
static const char *in_folder(const char *name) {
    static int which;
    which = !which;
    snprintf(place[which], sizeof place[which], "%s/%s", folder, name);
    return place[which];
}

// The sample for one rank: the same model, another mesh and another slab.
static char single_text[4096];
static PlanModule single_module(void) {
    static const char *const swaps[][2] = {
        {"data=2 tensor=2", "data=1 tensor=1"},
        {"layer=3:3, width=5/tensor:3] chunk at 0 bytes 36", "layer=3:3, width=5:5] chunk at 0 bytes 60"},
        {"width=5/tensor:3] chunk at 64 bytes 36", "width=5:5] chunk at 64 bytes 60"},
        {"batch=4/data:2] chunk at 128 bytes 8", "batch=4:4] chunk at 128 bytes 16"}};
    const char *end = strstr(sample_plan_text, "func \"train\"");
    snprintf(single_text, sizeof single_text, "%.*s%s", (int)(end - sample_plan_text), sample_plan_text,
             "program \"init\" inputs outputs\n stage 0\n  run 0 0 0 0\n");
    for (size_t i = 0; i < sizeof swaps / sizeof *swaps; i++) {
        char *at = strstr(single_text, swaps[i][0]), rest[4096];
        if (!at) abort();
        snprintf(rest, sizeof rest, "%s", at + strlen(swaps[i][0]));
        snprintf(at, sizeof single_text - (size_t)(at - single_text), "%s%s", swaps[i][1], rest);
    }
    return (PlanModule){PLAN_ABI, single_text, strlen(single_text), sample_kernels, 5, NULL};
}

static Program *make(PlanModule m) {
    Program *p = NULL;
    CHECK_OK(program_make(&m, &(ProgramOptions){.threads = 1}, &p));
    if (!p) abort();
    return p;
}

// ---- names and shapes -----------------------------------------------------------------------------------------------
static PlanLeaf leaf_of(const char *storage) {
    return (PlanLeaf){.kind = PLAN_PARAM,
                      .name = "w",
                      .storage = storage,
                      .dtype = PLAN_I32,
                      .rank = 4,
                      .dim = {{"layer", 2, 0, 2}, {"a", 3, 0, 3}, {"b", 4, 0, 4}, {"c", 5, 0, 5}}};
}

static void storage(void) {
    PlanLeaf l = leaf_of("h.{layer}.w [c, a*b]");
    StoredAs s;
    char name[32];
    int32_t whole[120], tensor[60], back[120] = {0};
    for (int i = 0; i < 120; i++) whole[i] = i;
    CHECK_OK(stored_as(&l, &s));
    CHECK(s.count == 2 && s.elements == 60 && s.rank == 2 && s.shape[0] == 5 && s.shape[1] == 12);
    CHECK(stored_name(&l, &s, 1, name, sizeof name) && !strcmp(name, "h.1.w"));
    CHECK(!stored_name(&l, &s, 1, name, 5) && stored_name(&l, &s, 1, name, 6));
    for (int t = 0; t < 2; t++) {
        stored_take(&l, &s, t, whole, 4, tensor);
        for (int c = 0; c < 5; c++)
            for (int ab = 0; ab < 12; ab++) CHECK(tensor[c * 12 + ab] == t * 60 + ab * 5 + c);
        stored_put(&l, &s, t, back, 4, tensor);
    }
    CHECK(!memcmp(whole, back, sizeof whole));
    l = leaf_of("{c}.{layer}.w"); // the rest as it stands
    CHECK_OK(stored_as(&l, &s));
    CHECK(s.count == 10 && s.rank == 2 && s.shape[0] == 3 && s.shape[1] == 4);
    CHECK(stored_name(&l, &s, 7, name, sizeof name) && !strcmp(name, "3.1.w"));
    stored_take(&l, &s, 7, whole, 4, tensor);
    for (int i = 0; i < 12; i++) CHECK(tensor[i] == 60 + i * 5 + 3);
    l = leaf_of("w [b*layer, a, c]");
    CHECK_OK(stored_as(&l, &s));
    stored_take(&l, &s, 0, whole, 4, back);
    for (int i = 0; i < 120; i++) {
        int c = i % 5, a = i / 5 % 3, layer = i / 15 % 2, b = i / 30;
        CHECK(back[i] == ((layer * 3 + a) * 4 + b) * 5 + c);
    }
    static const char *const bad[][2] = {
        {"w [a, b, c]", "without its axis 'layer'"},
        {"w [layer, a, b, d]", "axis 'd', which it does not have"},
        {"w [layer, a, a, b, c]", "axis 'a' twice"},
        {"{layer}.w [layer, a, b, c]", "axis 'layer' twice"},
        {"{layer.w", "'{' without '}'"},
        {"w [layer, a, b, c", "does not end in ']'"},
        {"w [layer,, a]", "axis ''"},
        {"w (a)", "does not begin with '['"},
        {"w [layer, a, b, c] x", "text behind"},
        {" [a]", "no stored name"},
        {"{depth}.w", "axis 'depth'"},
        {"w [layer a b c]", "does not end in ']'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        l = leaf_of(bad[i][0]);
        CHECK_FAILS(stored_as(&l, &s), STATUS_INVALID, bad[i][1]);
    }
}

// ---- round trips ----------------------------------------------------------------------------------------------------
static void round_trip(void) {
    Program *four = make(sample_module()), *one = make(single_module());
    CheckpointInfo info = {.step = 7, .seed = -3, .tokens = 1ll << 40, .data = "a \"file\"\n"}, got;
    float w[15], m[15], again[15];
    CHECK_OK(program_run(four, "init"));
    for (int i = 0; i < 15; i++) m[i] = (float)i / 7;
    CHECK_OK(program_set(four, PLAN_STATE, "adam.m/w", PLAN_F32, m, 15));
    CHECK_FAILS(checkpoint_info(in_folder("a/b"), &got), STATUS_INVALID, "no checkpoint in");
    CHECK(!checkpoint_exists(in_folder("a/b")));
    CHECK_OK(checkpoint_save(four, in_folder("a/b"), &info));
    CHECK(checkpoint_exists(in_folder("a/b")));
    CHECK_OK(checkpoint_load(one, in_folder("a/b"), &got));
    CHECK(got.step == 7 && got.seed == -3 && got.tokens == 1ll << 40 && !strcmp(got.data, info.data));
    CHECK(!strcmp(got.model, "sample"));
    CHECK_OK(program_get(four, PLAN_PARAM, "w", PLAN_F32, w, 15));
    CHECK_OK(program_get(one, PLAN_PARAM, "w", PLAN_F32, again, 15));
    CHECK(!memcmp(w, again, sizeof w));
    CHECK_OK(program_get(one, PLAN_STATE, "adam.m/w", PLAN_F32, again, 15));
    CHECK(!memcmp(m, again, sizeof m));

    // The file is what the ecosystem reads, and the same bytes from either mesh.
    Safetensors *f;
    CHECK_OK(safetensors_open(in_folder("a/b/model.safetensors"), &f));
    CHECK(safetensors_count(f) == 3);
    const Tensor *t = safetensors_find(f, "h.1.w");
    CHECK(t && t->rank == 1 && t->shape[0] == 5 && t->dtype == TENSOR_F32 && !memcmp(t->data, w + 5, 20));
    CHECK(!strcmp(safetensors_meta(f, "format"), "pt") && !safetensors_meta(f, "other"));
    safetensors_close(f);
    CHECK_OK(checkpoint_save(one, in_folder("single"), &info));
    static const char *const names[] = {"model.safetensors", "optimizer.safetensors", "state.json"};
    for (int i = 0; i < 3; i++) {
        FileMap x, y;
        char path[128];
        snprintf(path, sizeof path, "a/b/%s", names[i]);
        CHECK_OK(file_map(in_folder(path), &x));
        snprintf(path, sizeof path, "single/%s", names[i]);
        CHECK_OK(file_map(in_folder(path), &y));
        CHECK(x.size == y.size && !memcmp(x.data, y.data, x.size));
        file_unmap(&x);
        file_unmap(&y);
    }
    program_free(four);
    program_free(one);
}

// Weights of other types are converted; what does not fit is refused and changes nothing.
static void put_file(const char *name, const char *tensor, TensorDType type, int rank, const int64_t *shape,
                     const void *data, int64_t bytes) {
    SafetensorsWriter *w;
    CHECK_OK(safetensors_create(in_folder(name), &w));
    int at[3];
    for (int i = 0; i < 3; i++) {
        char full[64];
        snprintf(full, sizeof full, tensor, i);
        at[i] = safetensors_add(w, full, type, rank, shape);
    }
    int extra = safetensors_add(w, "unused", TENSOR_U8, 1, (int64_t[]){1});
    safetensors_start(w);
    for (int i = 0; i < 3; i++) safetensors_write(w, at[i], 0, data, bytes);
    safetensors_write(w, extra, 0, "x", 1);
    CHECK_OK(safetensors_finish(w));
}

static void weights(void) {
    Program *p = make(sample_module());
    CheckpointExtra extra;
    float w[15], before[15];
    CHECK_OK(program_run(p, "init"));
    CHECK_OK(program_get(p, PLAN_PARAM, "w", PLAN_F32, before, 15));
    const int64_t five[] = {5}, four[] = {4}, two[] = {5, 1};
    uint16_t half[5] = {0x3c00, 0xc000, 0x0001, 0x7c00, 0x3555}, brain[5] = {0x3f80, 0xc000, 0x4049, 0, 0x8000};
    int64_t ids[5] = {0};
    put_file("f16", "h.%d.w", TENSOR_F16, 1, five, half, 10);
    CHECK_OK(checkpoint_load_weights(p, in_folder("f16"), NULL, &extra));
    CHECK(extra.count == 1 && !strcmp(extra.first, "unused"));
    CHECK_OK(program_get(p, PLAN_PARAM, "w", PLAN_F32, w, 15));
    CHECK(w[5] == 1 && w[6] == -2 && w[7] == 0x1p-24f && w[8] > 1e38f && w[9] == 0x1.554p-2f);
    Safetensors *back;
    CHECK_OK(checkpoint_export_weights(p, in_folder("f16"), NULL, in_folder("back")));
    CHECK_OK(safetensors_open(in_folder("back"), &back));
    for (int i = 0; i < 3; i++) {
        const Tensor *t = safetensors_find(back, (const char *[]){"h.0.w", "h.1.w", "h.2.w"}[i]);
        CHECK(t && t->dtype == TENSOR_F16 && t->bytes == 10 && !memcmp(t->data, half, 10));
    }
    CHECK(safetensors_count(back) == 4 && safetensors_find(back, "unused")->data[0] == 'x');
    safetensors_close(back);
    CHECK_FAILS(checkpoint_export_weights(p, in_folder("f16"), NULL, "/nowhere/x"), STATUS_IO, "cannot create");
    CHECK_FAILS(checkpoint_export_weights(p, in_folder("none"), NULL, in_folder("x")), STATUS_IO, "cannot open");
    put_file("bf16", "pre.h.%d.w", TENSOR_BF16, 1, five, brain, 10);
    CHECK_FAILS(checkpoint_load_weights(p, in_folder("bf16"), NULL, NULL), STATUS_INVALID, "has no tensor 'h.0.w'");
    CHECK_OK(checkpoint_load_weights(p, in_folder("bf16"), "pre.", NULL));
    CHECK_OK(program_get(p, PLAN_PARAM, "w", PLAN_F32, w, 15));
    CHECK(w[0] == 1 && w[1] == -2 && w[2] == 3.140625f);
    put_file("short", "h.%d.w", TENSOR_F32, 1, four, before, 16);
    CHECK_FAILS(checkpoint_load_weights(p, in_folder("short"), NULL, NULL), STATUS_INVALID,
                "'h.0.w' has shape [4], the model needs [5]");
    put_file("flat", "h.%d.w", TENSOR_F32, 2, two, before, 20);
    CHECK_FAILS(checkpoint_load_weights(p, in_folder("flat"), NULL, NULL), STATUS_INVALID, "has shape [5, 1]");
    put_file("ids", "h.%d.w", TENSOR_I64, 1, five, ids, 40);
    CHECK_FAILS(checkpoint_load_weights(p, in_folder("ids"), NULL, NULL), STATUS_INVALID,
                "is I64, the model needs F32");
    CHECK_FAILS(checkpoint_load_weights(p, in_folder("none"), NULL, NULL), STATUS_IO, "cannot open");
    CHECK_FAILS(checkpoint_load_weights(p, "/dev/null", NULL, NULL), STATUS_INVALID, "not a regular file");
    CHECK_OK(program_get(p, PLAN_PARAM, "w", PLAN_F32, before, 15));
    CHECK(!memcmp(w, before, sizeof w));
    CHECK_OK(checkpoint_save_weights(p, in_folder("weights.safetensors")));
    CHECK_OK(checkpoint_load_weights(p, in_folder("weights.safetensors"), NULL, &extra));
    CHECK(!extra.count);
    CHECK_FAILS(checkpoint_save_weights(p, "/nowhere/x"), STATUS_IO, "cannot create");
    program_free(p);
}

// ---- damage ---------------------------------------------------------------------------------------------------------
static void spoil(const char *name, const char *text) {
    CHECK_OK(file_write_whole(in_folder(name), text, strlen(text)));
}

static void damage(void) {
    Program *p = make(sample_module());
    CheckpointInfo info = {.step = 3}, got;
    CHECK_OK(program_run(p, "init"));
    CHECK_OK(checkpoint_save(p, in_folder("d"), &info));
    static const char *const states[][2] = {
        {"", "byte 0: expected an object"},
        {"{\"format\":\"other\",\"version\":1,\"model\":\"sample\",\"step\":3,\"seed\":0}", "not of a tgf checkpoint"},
        {"{\"format\":\"tgf-checkpoint\",\"version\":9,\"model\":\"sample\",\"step\":3,\"seed\":0}", "version 9"},
        {"{\"format\":\"tgf-checkpoint\",\"version\":1,\"model\":\"sample\",\"step\":3}", "lacks model, step or seed"},
        {"{\"format\":\"tgf-checkpoint\",\"version\":1,\"model\":\"sample\",\"step\":-3,\"seed\":0}", "lacks model"},
        {"{\"format\":\"tgf-checkpoint\",\"version\":1,\"model\":\"other\",\"step\":3,\"seed\":0}",
         "holds model 'other'"},
        {"{\"format\":\"tgf-checkpoint\",\"version\":1,\"model\":\"sample\",\"step\":4,\"seed\":0}",
         "is of step 3, state.json of step 4"},
        {"{\"step\":1e3}", "expected an integer"},
        {"{\"step\":3", "expected ',' or '}'"},
    };
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        spoil("d/state.json", states[i][0]);
        Status s = checkpoint_load(p, in_folder("d"), &got);
        if (!status_failed(&s) || !strstr(s.message, states[i][1])) {
            printf("state %zu: expected '%s', got '%s'\n", i, states[i][1], s.message);
            check_failures++;
        }
    }
    CHECK_OK(checkpoint_save(p, in_folder("d"), &info));
    CHECK_OK(checkpoint_load(p, in_folder("d"), &got));
    FileMap map;
    CHECK_OK(file_map(in_folder("d/optimizer.safetensors"), &map));
    char *copy = malloc(map.size);
    memcpy(copy, map.data, map.size);
    size_t size = map.size;
    file_unmap(&map);
    CHECK_OK(file_write_whole(in_folder("d/optimizer.safetensors"), copy, size - 1));
    CHECK_FAILS(checkpoint_load(p, in_folder("d"), &got), STATUS_CORRUPT, "the file is truncated");
    free(copy);
    program_free(p);
}

// A child saves again and again, and is killed; what it leaves must load and be of one step.
static void kill_while_saving(void) {
    Program *p = make(single_module());
    int rounds = 0, interrupted = 0;
    for (; rounds < 40; rounds++) {
        fflush(stdout);
        pid_t child = fork();
        if (!child) {
            Program *own = make(single_module());
            for (int step = 1;; step++) {
                float w[15];
                for (int i = 0; i < 15; i++) w[i] = (float)step;
                program_set(own, PLAN_PARAM, "w", PLAN_F32, w, 15);
                program_set(own, PLAN_STATE, "adam.m/w", PLAN_F32, w, 15);
                checkpoint_save(own, in_folder("k"), &(CheckpointInfo){.step = step});
            }
        }
        usleep((useconds_t)(20000 + rounds * 3911 % 17000));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        CheckpointInfo info;
        float w[15], m[15];
        if (!checkpoint_exists(in_folder("k"))) continue; // killed before the first
        interrupted += file_exists(in_folder("k/state.json.new"));
        CHECK_OK(checkpoint_load(p, in_folder("k"), &info));
        CHECK_OK(program_get(p, PLAN_PARAM, "w", PLAN_F32, w, 15));
        CHECK_OK(program_get(p, PLAN_STATE, "adam.m/w", PLAN_F32, m, 15));
        for (int i = 0; i < 15; i++) CHECK(w[i] == (float)info.step && m[i] == (float)info.step);
    }
    CHECK(checkpoint_exists(in_folder("k")));
    // Each state the moves can be found in, made by hand.
    static const char *const names[] = {"model.safetensors", "optimizer.safetensors", "state.json"};
    for (int moved = 0; moved <= 2; moved++) {
        float w[15] = {0}, got[15];
        CheckpointInfo info;
        CHECK_OK(program_set(p, PLAN_PARAM, "w", PLAN_F32, w, 15));
        CHECK_OK(checkpoint_save(p, in_folder("old"), &(CheckpointInfo){.step = 100}));
        w[3] = 5;
        CHECK_OK(program_set(p, PLAN_PARAM, "w", PLAN_F32, w, 15));
        CHECK_OK(checkpoint_save(p, in_folder("fresh"), &(CheckpointInfo){.step = 200}));
        for (int i = 0; i < 3; i++) {
            char from[64], to[64];
            snprintf(from, sizeof from, "fresh/%s", names[i]);
            snprintf(to, sizeof to, "old/%s%s", names[i], i < moved ? "" : ".new");
            CHECK_OK(file_rename(in_folder(from), in_folder(to)));
        }
        CHECK_OK(checkpoint_load(p, in_folder("old"), &info));
        CHECK_OK(program_get(p, PLAN_PARAM, "w", PLAN_F32, got, 15));
        CHECK(info.step == 200 && got[3] == 5);
        CHECK_OK(checkpoint_save(p, in_folder("old"), &(CheckpointInfo){.step = 300}));
        CHECK(!file_exists(in_folder("old/state.json.new")) && !file_exists(in_folder("old/model.safetensors.new")));
        CHECK_OK(checkpoint_load(p, in_folder("old"), &info));
        CHECK(info.step == 300);
    }
    program_free(p);
}

static void clean(const char *path) { // the few levels this test makes
    static const char *const names[] = {
        "model.safetensors",  "optimizer.safetensors", "state.json", "f16", "bf16", "short", "flat", "ids",
        "weights.safetensors"};
    static const char *const suffixes[] = {"", ".new", ".tmp", ".new.tmp"};
    static const char *const folders[] = {"a/b", "a", "single", "d", "k", "old", "fresh"};
    char inner[160];
    for (size_t i = 0; i < sizeof folders / sizeof *folders && path == folder; i++) {
        snprintf(inner, sizeof inner, "%s/%s", path, folders[i]);
        clean(inner);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t k = 0; k < 4; k++) {
            char file[256];
            snprintf(file, sizeof file, "%s/%s%s", path, names[i], suffixes[k]);
            unlink(file);
        }
    rmdir(path);
}

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/tgf-test-checkpoint-%d", (int)getpid());
    CHECK_OK(file_make_folders(folder));
    storage();
    round_trip();
    weights();
    damage();
    kill_while_saving();
    clean(folder);
    return check_report("checkpoint");
}
