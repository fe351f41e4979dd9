// SPDX-License-Identifier: Apache-2.0
#include "tools/tgf_hub_folder.h"
#include "runtime/checkpoint.h"
#include "runtime/file.h"
#include "tools/tgf_config.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// What the hub has beside the weights and training leaves as it is. config.json comes first.
static const char *const companions[] = {"config.json",
                                         "generation_config.json",
                                         "tokenizer.json",
                                         "tokenizer_config.json",
                                         "special_tokens_map.json",
                                         "added_tokens.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "vocab.txt",
                                         "tokenizer.model",
                                         "spiece.model",
                                         "chat_template.jinja",
                                         "chat_template.json"};

static const char *folder_of(Arena *a, const char *like) {
    struct stat st;
    if (!stat(like, &st) && S_ISDIR(st.st_mode)) return like;
    const char *slash = strrchr(like, '/');
    return slash ? arena_printf(a, "%.*s", (int)(slash - like + (slash == like)), like) : ".";
}

static Status check_free(const char *out) {
    struct stat st;
    if (lstat(out, &st)) return errno == ENOENT ? status_ok() : status_errno("cannot look at", out);
    DIR *dir = S_ISDIR(st.st_mode) ? opendir(out) : NULL;
    if (!dir) return status_make(STATUS_INVALID, "%s is there and is no folder that can be read", out);
    bool empty = true;
    for (struct dirent *e; (e = readdir(dir));) empty &= !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
    closedir(dir);
    return empty ? status_ok() : status_make(STATUS_INVALID, "%s is not empty: an export makes a folder anew", out);
}

// Files only: what an export wrote.
static void remove_folder(Arena *a, const char *path) {
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) unlink(arena_printf(a, "%s/%s", path, e->d_name));
    if (dir) closedir(dir);
    rmdir(path);
}

static Status fill(Arena *a, Program *p, const HubFolder *f, const char *from, const char *json, const char *prefix,
                   const char *to) {
    STATUS_TRY(checkpoint_export_folder(p, f->like, prefix, f->shard, to));
    if (json) STATUS_TRY(file_write_whole(arena_printf(a, "%s/config.json", to), json, strlen(json)));
    for (size_t i = json ? 1 : 0; from && i < sizeof companions / sizeof *companions; i++) {
        const char *path = arena_printf(a, "%s/%s", from, companions[i]);
        if (file_exists(path)) STATUS_TRY(file_copy(path, arena_printf(a, "%s/%s", to, companions[i])));
    }
    return status_ok();
}

static Status move(Arena *a, const char *from, const char *out) {
    if (rename(from, out)) return status_errno("cannot rename to", out);
    const char *slash = strrchr(out, '/');
    return file_sync_folder(slash ? arena_printf(a, "%.*s", (int)(slash - out + (slash == out)), out) : ".");
}

static Status write_folder(Arena *a, Program *p, const HubFolder *f) {
    size_t n = strlen(f->out);
    while (n > 1 && f->out[n - 1] == '/') n--;
    const char *out = arena_printf(a, "%.*s", (int)n, f->out), *from = f->like ? folder_of(a, f->like) : NULL;
    const char *json = NULL, *prefix = NULL, *beside = arena_printf(a, "%s.%ld.tmp", out, (long)getpid());
    STATUS_TRY(check_free(out));
    if (!from || !file_exists(arena_printf(a, "%s/config.json", from)))
        STATUS_TRY(config_of_model(a, f->request, &json, &prefix));
    if (mkdir(beside, 0777)) return status_errno("cannot make folder", beside);
    Status s = fill(a, p, f, from, json, f->like ? NULL : prefix, beside);
    if (!status_failed(&s)) s = move(a, beside, out);
    if (status_failed(&s)) remove_folder(a, beside);
    return s;
}

Status hub_folder_write(Program *p, const HubFolder *f) {
    Arena *a = arena_new();
    Status s = write_folder(a, p, f);
    arena_free(a);
    return s;
}
