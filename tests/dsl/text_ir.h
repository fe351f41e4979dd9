// SPDX-License-Identifier: Apache-2.0
// text_ir: what the compiler makes of a program as text, to compare with. Knows nothing of dsl.h, whose Axis and Tensor
// are not the compiler's.
#pragma once
#include <stdint.h>

typedef struct TextSet { // -D name=value
    const char *name;
    int64_t value;
} TextSet;

typedef struct TextRequest {
    const char *path; // of the file, as shown in locations
    const char *text; // or NULL: read path
    const char *strategy;
    const TextSet *sets;
    int nsets;
    const char *pass; // the last to run; NULL: none
} TextRequest;

// The IR without locations, to be freed; NULL after the compiler has said on stdout why.
char *text_ir(const TextRequest *r);
char *text_again(const char *text);                        // parsed, printed, formatted
char *text_solid(const char *text);                        // without empty lines and lines of comments
int text_strategies(const char *path, char names[20][40]); // those a file declares
