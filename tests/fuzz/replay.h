// SPDX-License-Identifier: Apache-2.0
// replay: gives every file of some folders to a fuzz target, so that ctest finds again what a fuzzer once found.
#pragma once
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The number of files replayed; none is a failure of the caller's.
static int replay_folder(const char *folder) {
    DIR *d = opendir(folder);
    int n = 0;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        FILE *f = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!f) continue;
        enum { MAX = 1 << 20 };
        uint8_t *bytes = malloc(MAX);
        size_t size = fread(bytes, 1, MAX, f);
        bool is_file = !ferror(f);
        fclose(f);
        uint8_t *exact = malloc(size ? size : 1); // so that a read beyond the end is seen
        for (size_t i = 0; i < size; i++) exact[i] = bytes[i];
        free(bytes);
        if (is_file) LLVMFuzzerTestOneInput(exact, size), n++;
        free(exact);
    }
    if (d) closedir(d);
    return n;
}
