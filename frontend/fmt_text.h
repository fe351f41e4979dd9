// SPDX-License-Identifier: Apache-2.0
// fmt_text: the tokens of a text that parses, comments among them, by the rules of lex.l. The compiler's lexer drops
// comments and line ends inside brackets, counts columns in bytes, and makes values of the tokens: no trivia to keep.
#pragma once
#include "base/vec.h"
#include <stdbool.h>

typedef enum FmtKind {
    FMT_VALUE, // a name, word, number
    FMT_STRING,
    FMT_KEYWORD,
    FMT_MARK, // operators, brackets, separators
    FMT_COMMENT,
} FmtKind;

typedef struct FmtToken {
    FmtKind kind;
    const char *text;
    int size, width; // bytes, characters (code points)
    int line;        // index into lines
    int column;      // as written, in characters from 0; a tab reaches the next multiple of 8
    int space;       // characters of white space in front, on its line
    int gap;         // the least there is to be
    int place;       // the column it is given
    bool top;        // outside brackets, and not what one begins a line with
    bool option;     // a word behind a word: the author may set it apart (split x over y  schedule = 1f1b)
} FmtToken;

typedef struct FmtLine {
    int first, end; // its tokens, the comment last
    bool blank;     // one or more empty lines are in front
    bool goes_on;   // what the line above began
    bool beside;    // only a comment, set under the comment that ends the line above
    int indent;     // spaces
} FmtLine;

typedef struct FmtText {
    Vec(FmtToken) tokens;
    Vec(FmtLine) lines; // those with tokens
} FmtText;

void fmt_lex(FmtText *t, const char *text, size_t size, Arena *a);
bool fmt_is(const FmtToken *t, const char *text);
