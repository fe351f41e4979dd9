// SPDX-License-Identifier: Apache-2.0
// lsp_words: what an editor shows of the language's own words.
#pragma once

typedef enum WordKind {
    WORD_KEYWORD,
    WORD_FUNCTION, // dot(x, y, axis, ...)
    WORD_STRATEGY, // stands in a strategy
    WORD_RECIPE,   // stands in `train`
    WORD_VALUE,    // a type, a law, a setting's value
} WordKind;

typedef struct Word {
    const char *name;
    WordKind kind;
    const char *usage, *text;
} Word;

const Word *word_at_index(int i);        // NULL beyond the end
const Word *word_find(const char *name); // NULL: none
