// SPDX-License-Identifier: Apache-2.0
// man: what else is made from a tool's table of options: its manual page, mdoc(7), and its completion in bash and zsh.
#pragma once
#include "tools/common_options.h"

typedef struct CommandName {
    const char *name, *about; // of a subcommand: "train"
    int (*run)(int argc, char **argv);
} CommandName;

// The text that --help=FORM asks for: man, bash or zsh. A subcommand's completion is a part of its program's. Returns
// the exit status: 2, after a line on stderr, for any other form.
int form_print(const Command *command, const char *form, FILE *out);
// As form_print, on stdout, for a program of subcommands, each of which reads its command line with options_read; the
// completion is that of all of them. The form commands lists their names.
int form_print_program(const char *program, const char *about, const CommandName *commands, int n, const char *form);
