// SPDX-License-Identifier: Apache-2.0
// The public API on the hand-made plan.
#include "check.h"
#include "include/tgf/tgf.h"
#include "sample_plan.h"
#include <unistd.h>

static void ok(TgfStatus s, int line) {
    if (s.code == TGF_OK && !s.message[0]) return;
    printf("line %d: %s: %s\n", line, tgf_code_name(s.code), s.message);
    check_failures++;
}
static void fails(TgfStatus s, TgfCode code, const char *text, int line) {
    if (s.code == code && strstr(s.message, text)) return;
    printf("line %d: expected '%s', got %s: %s\n", line, text, tgf_code_name(s.code), s.message);
    check_failures++;
}
#define OK(expr) ok(expr, __LINE__)
#define FAILS(expr, code, text) fails(expr, code, text, __LINE__)

int main(void) {
    PlanModule module = sample_module(), wrong = module;
    TgfModel *m, *again;
    int32_t x[4] = {1, 2, 3, 9}, bad[4] = {1, 2, 3, 99}, ids[4];
    float loss, next;
    char folder[64];
    snprintf(folder, sizeof folder, "/tmp/tgf-test-api-%d", (int)getpid());
    wrong.plan_bytes -= 10;
    FAILS(tgf_open(&wrong, NULL, &m), TGF_CORRUPT, "plan text");
    OK(tgf_open(&module, &(TgfOptions){.size = sizeof(TgfOptions), .threads = 2, .seed = 5}, &m));
    if (!m) return 1;
    CHECK(tgf_count(m, TGF_PARAMETER) == 1 && tgf_count(m, TGF_OUTPUT) == 2);
    TgfTensor t;
    OK(tgf_describe(m, TGF_PARAMETER, "w", &t));
    CHECK(t.rank == 2 && t.count == 15 && t.type == TGF_F32 && !strcmp(t.axis[1], "width") && t.extent[1] == 5);
    OK(tgf_describe_at(m, TGF_OUTPUT, 1, &t));
    CHECK(!strcmp(t.name, "ids"));
    FAILS(tgf_describe_at(m, TGF_OUTPUT, 2, &t), TGF_INVALID, "fewer");
    FAILS(tgf_describe(m, TGF_INPUT, "w", &t), TGF_INVALID, "'w'");
    OK(tgf_set_input(m, "x", TGF_I32, x, 4));
    FAILS(tgf_run(m, "train"), TGF_INVALID, "parameter 'w' has no value");
    CHECK(!tgf_has_checkpoint(folder));
    FAILS(tgf_load(m, folder), TGF_INVALID, "no checkpoint");
    OK(tgf_init(m));
    FAILS(tgf_set_input(m, "x", TGF_I32, bad, 4), TGF_RANGE, "'x' has 99");
    FAILS(tgf_step(m, x, x, &loss), TGF_INVALID, "no input 'tokens'");
    OK(tgf_run(m, "train"));
    OK(tgf_get_output(m, "ids", TGF_I32, ids, 4));
    CHECK(!memcmp(ids, x, sizeof x) && tgf_steps(m) == 1);
    OK(tgf_save(m, folder));
    CHECK(tgf_has_checkpoint(folder));
    OK(tgf_run(m, "train"));
    OK(tgf_get_output(m, "loss", TGF_F32, &loss, 1));
    OK(tgf_open(&module, NULL, &again));
    OK(tgf_load(again, folder));
    CHECK(tgf_steps(again) == 1 && tgf_seed(again) == 5);
    OK(tgf_set_input(again, "x", TGF_I32, x, 4));
    OK(tgf_run(again, "train"));
    OK(tgf_get_output(again, "loss", TGF_F32, &next, 1));
    CHECK(loss == next);
    float w[15], v[15];
    OK(tgf_get(m, TGF_PARAMETER, "w", TGF_F32, w, 15));
    OK(tgf_get(again, TGF_PARAMETER, "w", TGF_F32, v, 15));
    CHECK(!memcmp(w, v, sizeof w));
    FAILS(tgf_get(m, (TgfKind)9, "w", TGF_F32, w, 15), TGF_INVALID, "kind 9");
    OK(tgf_load_weights(again, folder));
    CHECK(tgf_steps(again) == 0);
    TgfData *data;
    FAILS(tgf_data_open("/no/file", &data), TGF_IO, "/no/file");
    OK(tgf_data_open("LICENSE", &data));
    CHECK(tgf_data_count(data) > 1000);
    FAILS(tgf_data_batch(data, 0, 0, 1, 1 << 20, ids, NULL), TGF_INVALID, "too few");
    OK(tgf_data_batch(data, 0, 0, 2, 2, ids, x));
    CHECK(ids[1] == x[0] && ids[3] == x[2]);
    tgf_data_close(data);
    tgf_close(again);
    tgf_close(m);
    static const char *const names[] = {"model.safetensors", "optimizer.safetensors", "state.json"};
    for (int i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
    return check_report("tgf");
}
