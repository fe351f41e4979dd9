// SPDX-License-Identifier: Apache-2.0
// file: files mapped for reading, and files that appear whole or not at all.
#pragma once
#include "base/status.h"
#include <stddef.h>

typedef struct FileMap {
    const unsigned char *data; // NULL for an empty file
    size_t size;
} FileMap;

Status file_map(const char *path, FileMap *out_map); // regular files only
void file_unmap(FileMap *m);

bool file_exists(const char *path);
Status file_make_folders(const char *path); // as mkdir -p
Status file_sync_folder(const char *path);  // what was renamed in it stays renamed
// Renames within one folder, replacing what was there. Does not sync the folder.
Status file_rename(const char *from, const char *to);
// The text under that name, written beside it, synced, renamed; the folder is synced too.
Status file_write_whole(const char *path, const void *data, size_t size);
Status file_copy(const char *from, const char *to); // likewise
