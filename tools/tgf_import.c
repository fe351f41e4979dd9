// SPDX-License-Identifier: Apache-2.0
// tgf import: the .tgf of a model of the hub, from its config.json: the example of its architecture with the axes and
// constants of the configuration. Every key is known to change nothing, written into the text, or refused by name: what
// is computed is what the configuration says.
#include "runtime/file.h"
#include "tools/common_built.h"
#include "tools/tgf.h"
#include "tools/tgf_config.h"
#include <string.h>

static Status import(Arena *a, const char *folder, const char *out) {
    const char *text;
    STATUS_TRY(config_to_text(a, folder, &text));
    return file_write_whole(out, text, strlen(text));
}

int tool_import(int argc, char **argv) {
    const char *out = NULL, *folder;
    const Option options[] = {
        {"-o", "FILE", "the .tgf to write", OPTION_TEXT, &out},
        {0},
    };
    const Command command = {
        "tgf import DIR -o MODEL.tgf",
        "Writes the model that DIR/config.json describes (GPT-2, Llama or BERT), so that `--load DIR` fits.", options,
        1, 1};
    int count;
    bool done;
    int rc = options_read(&command, argc, argv, &folder, &count, &done);
    if (rc || done) return rc;
    if (!out) {
        fprintf(stderr, "tgf import needs -o FILE\n");
        return 2;
    }
    Arena *a = arena_new();
    Status s = import(a, folder, out);
    arena_free(a);
    return status_failed(&s) ? status_report(&s, "import") : 0;
}
