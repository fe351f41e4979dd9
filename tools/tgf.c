// SPDX-License-Identifier: Apache-2.0
// tgf: trains, samples, verifies and measures models described in .tgf files, compiled in memory. The subcommands are
// tgf_*.c.
#include "base/version.h"
#include "tools/common_man.h"
#include "tools/tgf.h"
#include <stdio.h>
#include <string.h>

static const CommandName tools[] = {
    {"train", "train a model on a file of text or tokens", tool_train},
    {"sample", "write text from a checkpoint", tool_sample},
    {"import", "write the .tgf of a model of the hub", tool_import},
    {"export", "write weights as the hub's files have them", tool_export},
    {"logits", "print a model's logits for given tokens", tool_logits},
    {"verify", "prove that layouts give the same numbers", tool_verify},
    {"bench", "measure a training step", tool_bench},
    {"plan", "show and draw the schedule of a pipeline", tool_plan},
    {"fmt", "format .tgf files", tool_fmt},
    {"lsp", "serve an editor", tool_lsp},
};

static void usage(FILE *out) {
    fputs("usage: tgf COMMAND MODEL.tgf [options]\n\ncommands:\n", out);
    for (size_t i = 0; i < sizeof tools / sizeof *tools; i++)
        fprintf(out, "  %-8s %s\n", tools[i].name, tools[i].about);
    fputs("\n`tgf COMMAND --help` lists the command's options; `tgf --version` prints the version. The compiler itself "
          "is tgfc.\n",
          out);
}

int main(int argc, char **argv) {
    if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))) {
        usage(stdout);
        return 0;
    }
    if (argc >= 2 && !strncmp(argv[1], "--help=", 7))
        return form_print_program("tgf",
                                  "Trains, samples, verifies and measures transformer models. A model is described in\n"
                                  "a .tgf file, which is compiled in memory. The compiler for build systems is tgfc.",
                                  tools, sizeof tools / sizeof *tools, argv[1] + 7);
    if (argc >= 2 && !strcmp(argv[1], "--version")) {
        puts("tgf " TGF_VERSION);
        return 0;
    }
    for (size_t i = 0; argc >= 2 && i < sizeof tools / sizeof *tools; i++)
        if (!strcmp(argv[1], tools[i].name)) return tools[i].run(argc - 1, argv + 1);
    if (argc >= 2) fprintf(stderr, "tgf: no command '%s'\n", argv[1]);
    usage(stderr);
    return 2;
}
