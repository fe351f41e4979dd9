// SPDX-License-Identifier: Apache-2.0
// corpus: what a fuzz target is when libFuzzer is not there: a main that gives it every file of its corpus folder, and
// shortened and changed copies of each, so that ctest runs it with any compiler and sanitizer.
#pragma once
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void corpus_one(const uint8_t *data, size_t size) { // exactly size bytes, so that reading beyond is seen
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void corpus_file(uint8_t *data, size_t size) {
    uint32_t h = 1;
    corpus_one(data, size);
    for (int i = 0; i < 40; i++) corpus_one(data, size * (size_t)i / 40);
    for (int i = 0; i < 400 && size; i++) {
        h = h * 1664525 + 1013904223;
        size_t at = h % size;
        uint8_t was = data[at];
        data[at] = i % 4 == 0 ? (uint8_t)(h >> 16) : (uint8_t) "09{}[]\",:-.\\ \n\0\xff"[(h >> 16) % 17];
        corpus_one(data, size);
        if (i % 3) data[at] = was; // some changes stay
    }
}

// Every file of tests/fuzz/corpus/NAME; returns main's status.
static int corpus_replay(const char *name) {
    char folder[256], path[600];
    int files = 0;
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", name);
    DIR *d = opendir(folder);
    if (!d) {
        printf("no folder %s\n", folder);
        return 1;
    }
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        FILE *f = fopen(path, "rb");
        if (!f) continue;
        static uint8_t data[1 << 16];
        corpus_file(data, fread(data, 1, sizeof data, f));
        fclose(f);
        files++;
    }
    closedir(d);
    printf("%s: %d files\n", name, files);
    return files == 0;
}
