// SPDX-License-Identifier: Apache-2.0
// C that is C++ too.
#include "train.h"
#include <stdio.h>
#include <stdlib.h>

static int failed(const char *name, TgfStatus s) {
    if (s.code != TGF_OK) fprintf(stderr, "%s: %s: %s\n", name, tgf_code_name(s.code), s.message);
    return s.code != TGF_OK;
}

static int count_up(TgfModel *model, const char *name) {
    TgfTensor shape;
    if (failed(name, tgf_init(model)) || failed(name, tgf_describe(model, TGF_INPUT, "tokens", &shape))) return 1;
    int32_t *tokens = (int32_t *)malloc(sizeof *tokens * 2 * (size_t)shape.count);
    if (!tokens) return 1;
    int32_t *labels = tokens + shape.count;
    for (int64_t i = 0; i < shape.count; i++) {
        tokens[i] = (int32_t)(i % 8);
        labels[i] = (int32_t)((i + 1) % 8);
    }
    int rc = 0;
    float loss = 0, before = 1e9f;
    for (int step = 0; step < 20 && !rc; step++, before = loss) {
        rc = failed(name, tgf_step(model, tokens, labels, &loss));
        if (!rc && !(loss < before)) {
            fprintf(stderr, "%s: step %d: loss %g after %g\n", name, step, loss, before);
            rc = 1;
        }
    }
    free(tokens);
    if (!rc) printf("%s: loss %.4f\n", name, loss);
    return rc;
}

int train(const TgfModule *module, const char *name) {
    TgfModel *model;
    if (failed(name, tgf_open(module, NULL, &model))) return 1;
    int rc = count_up(model, name);
    tgf_close(model);
    return rc;
}
