// SPDX-License-Identifier: Apache-2.0
// A trainer in plain C: links a compiled model and the runtime, trains on a file, saves. Needs no compiler and no LLVM.
//   make && ./trainer FILE STEPS FOLDER      a run whose folder exists goes on where it was saved
#include "model.h"
#include <stdio.h>
#include <stdlib.h>
#include <tgf/tgf.h>

static void must(TgfStatus s) {
    if (s.code == TGF_OK) return;
    fprintf(stderr, "trainer: %s: %s\n", tgf_code_name(s.code), s.message);
    exit(1);
}

static int64_t extent(const TgfTensor *t, int i) { return i < t->rank ? t->extent[i] : 1; }

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: trainer FILE STEPS FOLDER\n");
        return 1;
    }
    const char *file = argv[1], *folder = argv[3];
    long steps = strtol(argv[2], NULL, 10);
    TgfModel *model;
    TgfData *data;
    TgfTensor shape; // tokens[batch, seq]
    must(tgf_open(&tgf_model_novel, &(TgfOptions){.size = sizeof(TgfOptions), .seed = 1}, &model));
    must(tgf_data_open(file, &data));
    must(tgf_describe(model, TGF_INPUT, "tokens", &shape));
    int64_t batch = extent(&shape, 0), seq = extent(&shape, 1);
    int32_t *tokens = malloc(sizeof *tokens * (size_t)shape.count),
            *labels = malloc(sizeof *labels * (size_t)shape.count);
    if (!tokens || !labels) return 1;

    must(tgf_has_checkpoint(folder) ? tgf_load(model, folder) : tgf_init(model));
    while (tgf_steps(model) < steps) {
        float loss;
        must(tgf_data_batch(data, tgf_seed(model), tgf_steps(model), batch, seq, tokens, labels));
        must(tgf_step(model, tokens, labels, &loss));
        printf("step %lld  loss %.4f\n", (long long)tgf_steps(model), loss);
        fflush(stdout);
    }
    must(tgf_save(model, folder));
    printf("saved to %s\n", folder);

    free(tokens);
    free(labels);
    tgf_data_close(data);
    tgf_close(model);
    return 0;
}
