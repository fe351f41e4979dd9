// SPDX-License-Identifier: Apache-2.0
// tgf fmt: .tgf files in the house's layout.
#include "frontend/fmt.h"
#include "tools/common_compile.h"
#include "tools/tgf.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 4096 };

typedef struct FmtFlags {
    bool check, write;
} FmtFlags;

// Replaces what a link leads to, not the link; the file's mode stays. False after saying why.
static bool replace(const char *path, const char *text, size_t size) {
    struct stat st;
    char *real = realpath(path, NULL);
    bool ok = real && !stat(real, &st) && !access(real, W_OK);
    if (!ok) fprintf(stderr, "%s: cannot write: %s\n", path, strerror(errno));
    ok = ok && write_whole(real, text, size);
    if (ok && chmod(real, st.st_mode & 07777)) {
        fprintf(stderr, "%s: cannot set its mode: %s\n", path, strerror(errno));
        ok = false;
    }
    free(real);
    return ok;
}

// 0; 1 after a mistake in the file or, with --check, when it would change; 2 for a bug.
static int format_file(const FmtFlags *flags, const char *path) {
    Arena *a = arena_new();
    StrTable *strs = strtable_new(a);
    Diag *diag = diag_new(a, stderr, diag_wants_colour(stderr));
    int rc = 1;
    size_t size = 0, size_in = 0;
    char *in = read_whole(a, path, &size_in);
    if (in) {
        char *text = source_format(str_intern(strs, path), in, size_in, a, strs, diag, &size);
        bool changed = text && (size != size_in || memcmp(text, in, size));
        if (!text) rc = diag_had_internal(diag) ? 2 : 1;
        else if (flags->check) rc = changed;
        else if (flags->write) rc = changed && !replace(path, text, size);
        else rc = !write_whole("-", text, size);
        if (changed && (flags->check || (flags->write && !rc))) puts(path);
    }
    arena_free(a);
    return rc;
}

int tool_fmt(int argc, char **argv) {
    FmtFlags flags = {0};
    const Option options[] = {
        {"--check", NULL, "write nothing; name the files that would change, exit status 1 if any", OPTION_FLAG,
         &flags.check},
        {"--write", NULL, "replace the files that change, and name them", OPTION_FLAG, &flags.write},
        {0},
    };
    const Command command = {"tgf fmt FILE.tgf... [--check | --write]",
                             "Formats .tgf files: to standard output, or in place. A file that does not parse is told "
                             "of and left alone.",
                             options, 1, FILES_MAX};
    const char **files = calloc(FILES_MAX, sizeof *files);
    if (!files) return fputs("tgf fmt: not enough memory\n", stderr), 2;
    int count = 0;
    bool done = false;
    int rc = options_read(&command, argc, argv, files, &count, &done);
    if (!rc && !done && flags.check && flags.write) {
        fputs("tgf fmt: --check and --write exclude each other\n", stderr);
        rc = 2;
    }
    if (rc || done) count = 0;
    for (int i = 0; i < count; i++) {
        int one = format_file(&flags, files[i]);
        if (one > rc) rc = one;
    }
    free(files);
    return rc;
}
