// SPDX-License-Identifier: Apache-2.0
#include "tools/tgf_lsp_std.h"
#include "base/version.h"
#include "frontend/std_tgf.h"
#include "tools/common_compile.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char *std_copy_path(Arena *a) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME"), *root = NULL;
    if (cache && *cache == '/') root = cache;
    else if (home && *home == '/') root = arena_printf(a, "%s/.cache", home);
    return root ? path_normal(a, arena_printf(a, "%s/tgf/%s/std.tgf", root, TGF_VERSION)) : NULL;
}

static bool make_folders_above(const char *file, Arena *a) {
    char *folder = arena_printf(a, "%s", file);
    for (char *p = strchr(folder + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        if (mkdir(folder, 0777) && errno != EEXIST) return false;
        *p = '/';
    }
    return true;
}

bool std_copy_write(const char *path, Arena *scratch) {
    struct stat st;
    size_t size = 0;
    const char *text = !stat(path, &st) && S_ISREG(st.st_mode) ? read_whole(scratch, path, &size) : NULL;
    if (text && size == std_tgf_size && !memcmp(text, std_tgf, size)) return true;
    if (!make_folders_above(path, scratch) || !write_whole(path, std_tgf, std_tgf_size)) return false;
    chmod(path, 0444); // so that editors open it read-only
    return true;
}
