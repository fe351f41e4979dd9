// SPDX-License-Identifier: Apache-2.0
// The corpus of fuzz_tgf, and every program of tests/lang and examples, through the fuzz target.
#include "tests/fuzz/fuzz_tgf.c"
#include "tests/fuzz/replay.h"

int main(void) {
    static const char *const folders[] = {"tests/fuzz/corpus/tgf", "tests/lang/good", "tests/lang/bad", "examples"};
    for (int i = 0; i < 4; i++) {
        int n = replay_folder(folders[i]);
        printf("%s: %d files\n", folders[i], n);
        if (!n) return 1;
    }
    return 0;
}
