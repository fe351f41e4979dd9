// SPDX-License-Identifier: Apache-2.0
// A trainer in plain C: links a compiled model and the runtime, trains on a file, saves. Needs no compiler and no LLVM.
//   make && ./trainer FILE STEPS FOLDER      a run whose folder exists goes on where it was saved
// examples/hooks has the same with data, messages and memory of its own.
#include "model.h"
#include <stdio.h>
#include <stdlib.h>

static void must(TgfStatus s) {
    if (s.code == TGF_OK) return;
    fprintf(stderr, "trainer: %s: %s\n", tgf_code_name(s.code), s.message);
    exit(1);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: trainer FILE STEPS FOLDER\n");
        return 1;
    }
    const char *file = argv[1], *folder = argv[3];
    long steps = strtol(argv[2], NULL, 10);
    static int32_t tokens[NOVEL_TOKENS_COUNT], labels[NOVEL_LABELS_COUNT];
    novel_model model;
    TgfData *data;
    TgfOptions options = tgf_options();
    options.seed = 1;
    must(novel_open(&options, &model));
    must(tgf_data_open(file, &data));

    must(tgf_has_checkpoint(folder) ? novel_load(model, folder) : novel_init(model));
    while (novel_steps(model) < steps) {
        float loss;
        must(tgf_data_batch(data, tgf_seed(model.model), novel_steps(model), NOVEL_BATCH, NOVEL_SEQ, tokens, labels));
        must(novel_step(model, tokens, labels, &loss));
        printf("step %lld  loss %.4f\n", (long long)novel_steps(model), loss);
        fflush(stdout);
    }
    must(novel_save(model, folder));
    printf("saved to %s\n", folder);

    tgf_data_close(data);
    novel_close(model);
    return 0;
}
