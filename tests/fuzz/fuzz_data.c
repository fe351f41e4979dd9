// SPDX-License-Identifier: Apache-2.0
// Any bytes as a token file of each format: opening ends, and every window lies inside.
//   clang-19 -g -O1 -I. -fsanitize=fuzzer,address,undefined tests/fuzz/fuzz_data.c runtime/*.c base/*.c -lm -lpthread
#include "runtime/data.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"x.bin", "x.txt"};
    for (int i = 0; i < 8; i++) {
        TokenFile *f;
        Status s = tokens_parse(data, size, names[i % 2], (TokenFormat)(i / 2), &f);
        if (status_failed(&s)) continue;
        enum { BATCH = 3, SEQ = 5 };
        int32_t tokens[BATCH * SEQ], labels[BATCH * SEQ];
        TokenRange part[3] = {tokens_all(f)};
        tokens_split(f, 0.3, &part[1], &part[2]);
        if (tokens_greatest(f) > 65535) abort();
        for (int k = 0; k < 3; k++) {
            s = batch_check(part[k], SEQ);
            for (int step = 0; step < 3 && !status_failed(&s); step++) {
                batch_draw(part[k], size, step, BATCH, SEQ, tokens, labels);
                batch_spread(part[k], step, 3, BATCH, SEQ, tokens, labels);
            }
        }
        tokens_close(f);
    }
    return 0;
}
