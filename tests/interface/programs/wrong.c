// SPDX-License-Identifier: Apache-2.0
// Wrong uses: each gives the right status and a message that says what was wrong, and the model works afterwards.
#include "expect.h"
#include "novel.h"
#include <stdlib.h>

static int32_t tokens[NOVEL_TOKENS_COUNT], labels[NOVEL_LABELS_COUNT];

static void *never(void *user, int64_t bytes, int64_t alignment, int rank) {
    (void)user, (void)bytes, (void)alignment, (void)rank;
    return NULL;
}
static void gone(void *user, void *memory, int64_t bytes, int rank) {
    (void)user, (void)memory, (void)bytes, (void)rank;
}

// An object as another compiler's: the version stands first in it.
static void check_abi(void) {
    TgfModel *m;
    TgfHeader header = {TGF_ABI, 4, 0, "novel", "tgfc 9.9"};
    union {
        char bytes[64];
        int abi;
        void *align;
    } other;
    memcpy(other.bytes, &tgf_model_novel, 48);
    const TgfModule *module = (const TgfModule *)(void *)&other;
    int abi = other.abi;
    header.object = abi;
    CHECK(tgf_abi() == TGF_ABI && !strcmp(tgf_version(), "0.1.0"));
    FAILS(tgf_open_header(module, &header, NULL, &m), TGF_INVALID, "made with another object than the linked one");
    other.abi = 99;
    FAILS(tgf_open(module, NULL, &m), TGF_UNSUPPORTED,
          "is of version 99, the linked runtime, tgf 0.1.0, runs version ");
    CHECK(!m);
    FAILS(tgf_open_header(module, &header, NULL, &m), TGF_INVALID, "the linked object is of version 99");
    header.object = 99;
    FAILS(tgf_open_header(module, &header, NULL, &m), TGF_UNSUPPORTED,
          "made by tgfc 9.9, is of version 99, the linked runtime");
    header.abi = 7;
    FAILS(tgf_open_header(module, &header, NULL, &m), TGF_UNSUPPORTED,
          "tgf.h of interface 7; the linked runtime is tgf 0.1.0");
}

static void check_options(void) {
    novel_model m;
    struct {
        TgfOptions options;
        int newer;
    } larger;
    TgfOptions o = tgf_options();
    memset(&larger, 0, sizeof larger);
    o.size = 0;
    FAILS(novel_open(&o, &m), TGF_INVALID, "TgfOptions.size is 0: begin with tgf_options()");
    CHECK(!m.model);
    larger.options = tgf_options();
    larger.options.size = sizeof larger;
    OK(novel_open(&larger.options, &m)); // unknown members that are zero do nothing
    novel_close(m);
    larger.newer = 1;
    FAILS(novel_open(&larger.options, &m), TGF_UNSUPPORTED, "the program is made for a newer one");
    o = tgf_options();
    o.size = offsetof(TgfOptions, processes); // of an older tgf.h: nothing behind is read
    o.processes = 1;
    o.allocate = never;
    OK(novel_open(&o, &m));
    novel_close(m);
    o = tgf_options();
    o.host = "localhost";
    FAILS(novel_open(&o, &m), TGF_INVALID, "port 0");
    o.port = 29999;
    FAILS(novel_open(&o, &m), TGF_INVALID, "rank 0 of 0");
    o.rank = 3;
    o.ranks = 2;
    FAILS(novel_open(&o, &m), TGF_INVALID, "rank 3 of 2");
    o.processes = 1;
    FAILS(novel_open(&o, &m), TGF_INVALID, "processes and host");
    o = tgf_options();
    o.ranks = 2;
    FAILS(novel_open(&o, &m), TGF_INVALID, "nothing that says of what");
    o = tgf_options();
    o.allocate = never;
    o.release = gone;
    FAILS(novel_open(&o, &m), TGF_MEMORY, "the slab of rank 0");
    o = tgf_options();
    o.nccl = &m;
    FAILS(novel_open(&o, &m), TGF_INVALID, "compiled for a CPU, where a communicator of NCCL is of no use");
    FAILS(novel_open(NULL, NULL), TGF_INVALID, "out_model is NULL");
}

static void check_model(novel_model m) {
    const novel_model none = {NULL};
    TgfInput in = {"tokens", TGF_I32, NOVEL_TOKENS_COUNT, tokens};
    TgfTensor t;
    TgfMemory memory;
    TgfPlacement p;
    const char *name;
    int64_t extent;
    float x;
    FAILS(novel_step(m, tokens, labels, NULL), TGF_INVALID, "has no value: run \"init\"");
    OK(novel_init(m));
    FAILS(novel_step_bound(none, NULL), TGF_INVALID, "model is NULL");
    FAILS(novel_step(m, NULL, labels, NULL), TGF_INVALID, "the values of 'tokens' are NULL");
    FAILS(novel_step(m, tokens, NULL, NULL), TGF_INVALID, "the values of 'labels' are NULL");
    FAILS(novel_load(m, "/no/such"), TGF_INVALID, "no checkpoint");
    FAILS(novel_load(m, NULL), TGF_INVALID, "folder is NULL");
    FAILS(novel_save(m, "/proc/no"), TGF_IO, "/proc/no");
    FAILS(novel_load_weights(m, "/no/such"), TGF_IO, "/no/such");
    FAILS(novel_loss(m, NULL), TGF_INVALID, "out_values is NULL");
    in.count--;
    FAILS(tgf_set_inputs(m.model, &in, 1), TGF_INVALID, "elements, not ");
    FAILS(tgf_bind(m.model, &in, 1), TGF_INVALID, "elements, not ");
    in.count++;
    in.type = TGF_F32;
    FAILS(tgf_bind(m.model, &in, 1), TGF_INVALID, "is i32, not f32");
    in.type = TGF_I32;
    in.name = "step";
    in.count = 1;
    FAILS(tgf_bind(m.model, &in, 1), TGF_INVALID, "set by the runtime");
    in.name = "token";
    FAILS(tgf_bind(m.model, &in, 1), TGF_INVALID, "no input 'token'");
    FAILS(tgf_run(m.model, "trian"), TGF_INVALID, "no function 'trian'");
    FAILS(tgf_run(m.model, NULL), TGF_INVALID, "function is NULL");
    FAILS(tgf_get(m.model, TGF_PARAMETER, "wte", TGF_F32, &x, 1), TGF_INVALID, "elements, not 1");
    FAILS(tgf_get_output(m.model, "logit", TGF_F32, &x, 1), TGF_INVALID, "no output 'logit'");
#ifndef __cplusplus // where such a number cannot be
    FAILS(tgf_set(m.model, (TgfKind)17, "wte", TGF_F32, &x, 1), TGF_INVALID, "kind 17");
#endif
    FAILS(tgf_describe(m.model, TGF_PARAMETER, "none", &t), TGF_INVALID, "'none'");
    FAILS(tgf_place(m.model, TGF_PARAMETER, "wte", -1, &p), TGF_RANGE, "no rank -1");
    FAILS(tgf_memory(m.model, NOVEL_RANKS, &memory), TGF_RANGE, "no rank");
    FAILS(tgf_mesh_axis(m.model, 9, &name, &extent), TGF_RANGE, "no number 9");
    tokens[3] = -7;
    FAILS(novel_step(m, tokens, labels, NULL), TGF_RANGE, "'tokens' has -7 at [batch=0, seq=3]");
    tokens[3] = 0;
    CHECK(novel_steps(m) == 0);
    OK(novel_step(m, tokens, labels, &x));
    CHECK(novel_steps(m) == 1 && x > 0);
}

int main(void) {
    novel_model m;
    check_abi();
    check_options();
    OK(novel_open(NULL, &m));
    if (m.model) check_model(m);
    novel_close(m);
    if (!expect_failures) printf("ok\n");
    return expect_failures != 0;
}
