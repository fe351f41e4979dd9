// SPDX-License-Identifier: Apache-2.0
// options: one table a tool, from which its command line is read and its --help is printed.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum OptionKind {
    OPTION_FLAG,  // bool *
    OPTION_TEXT,  // const char **
    OPTION_INT,   // int64_t *, at least 0
    OPTION_REAL,  // double *
    OPTION_DEFINE // OptionList *: NAME=N, may be given several times
} OptionKind;

typedef struct OptionList {
    int n;
    const char *at[64];
} OptionList;

// value `a|b|FILE`: one of these words, those in capitals standing for something else.
// name is spelled with its dashes ("--steps", "-o", "-mcpu"). Values: `--steps 5`, `--steps=5`, `-o f`, `-mcpu=f`,
// `-Dx=1`, `-D x=1`.
typedef struct Option {
    const char *name, *value, *help; // value: what the help calls it, NULL for flags
    OptionKind kind;
    void *to;
} Option;

typedef struct Command {
    const char *usage, *about; // "tgf train MODEL.tgf [options]"
    const Option *options;     // ends with a NULL name
    int least, most;           // positional arguments
} Command;

// Reads argv[1..]; positionals go to out_positional (room for `most`). On a mistake prints one line to stderr and
// returns 2; for --help, or --help=FORM (common_man.h), prints the help to stdout and returns 0 with *out_done set.
// Returns 0 to go on.
int options_read(const Command *command, int argc, char **argv, const char **out_positional, int *out_count,
                 bool *out_done);
void options_help(const Command *command, FILE *out);
bool option_takes_equals(const Option *option); // written --name=VALUE; else -o VALUE
