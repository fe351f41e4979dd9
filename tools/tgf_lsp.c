// SPDX-License-Identifier: Apache-2.0
// tgf lsp: the command line.
#include "tools/tgf_lsp.h"
#include "tools/common_options.h"
#include "tools/tgf.h"
#include <stddef.h>

int tool_lsp(int argc, char **argv) {
    const char *strategy = NULL;
    const Option options[] = {
        {"--strategy", "NAME", "show placements under this strategy; without it, under every one of the program",
         OPTION_TEXT, &strategy},
        {0},
    };
    const Command command = {"tgf lsp [options]",
                             "A language server on standard input and output, which editors start: diagnostics, types "
                             "with\ntheir placement and bytes per rank, definitions, renaming, formatting.",
                             options, 0, 0};
    int count;
    bool done;
    int rc = options_read(&command, argc, argv, NULL, &count, &done);
    if (rc || done) return rc;
    return lsp_serve(strategy);
}
