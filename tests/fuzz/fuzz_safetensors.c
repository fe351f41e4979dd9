// SPDX-License-Identifier: Apache-2.0
// Any bytes: reading ends; every byte of a tensor that is handed out can be read, and is found under its name.
//   clang-19 -g -O1 -I. -fsanitize=fuzzer,address,undefined tests/fuzz/fuzz_safetensors.c runtime/*.c base/*.c -lm
//   -lpthread
#include "runtime/safetensors.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Safetensors *f;
    Status s = safetensors_parse(data, size, "fuzz", &f);
    if (status_failed(&s)) return 0;
    unsigned sum = 0;
    for (int i = 0; i < safetensors_count(f); i++) {
        const Tensor *t = safetensors_at(f, i);
        for (int64_t k = 0; k < t->bytes; k++) sum += t->data[k];
        if (safetensors_find(f, t->name) != t) abort();
    }
    volatile unsigned keep = sum;
    (void)keep;
    safetensors_meta(f, "format");
    safetensors_close(f);
    return 0;
}
