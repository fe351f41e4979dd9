// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "runtime/file.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

Status file_map(const char *path, FileMap *out_map) {
    *out_map = (FileMap){0};
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return status_errno("cannot open", path);
    struct stat st;
    Status s = status_ok();
    if (fstat(fd, &st)) {
        s = status_errno("cannot look at", path);
    } else if (!S_ISREG(st.st_mode)) {
        s = status_make(STATUS_INVALID, "%s is not a regular file", path);
    } else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) s = status_errno("cannot map", path);
        else *out_map = (FileMap){p, (size_t)st.st_size};
    }
    close(fd);
    return s;
}

void file_unmap(FileMap *m) {
    if (m->data) munmap((void *)m->data, m->size);
    *m = (FileMap){0};
}

bool file_exists(const char *path) { return access(path, F_OK) == 0; }

Status file_make_folders(const char *path) {
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (!n || n >= sizeof part) return status_make(STATUS_INVALID, "'%s' is no folder name", path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] && path[i] != '/') continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, 0777) && errno != EEXIST) return status_errno("cannot make folder", part);
    }
    struct stat st;
    if (stat(path, &st)) return status_errno("cannot look at", path);
    return S_ISDIR(st.st_mode) ? status_ok() : status_make(STATUS_INVALID, "%s is not a folder", path);
}

Status file_sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return status_errno("cannot open folder", path);
    int failed = fsync(fd) && errno != EINVAL; // some file systems cannot sync a folder
    Status s = failed ? status_errno("cannot sync folder", path) : status_ok();
    close(fd);
    return s;
}

Status file_rename(const char *from, const char *to) {
    return rename(from, to) ? status_errno("cannot rename to", to) : status_ok();
}

static Status write_and_sync(int fd, const char *path, const char *data, size_t size) {
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return status_errno("cannot write", path);
        data += n;
        size -= (size_t)n;
    }
    return fsync(fd) ? status_errno("cannot sync", path) : status_ok();
}

Status file_write_whole(const char *path, const void *data, size_t size) {
    char beside[PATH_MAX], folder[PATH_MAX];
    if (snprintf(beside, sizeof beside, "%s.tmp", path) >= (int)sizeof beside)
        return status_make(STATUS_INVALID, "file name too long: %.100s...", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return status_errno("cannot create", beside);
    Status s = write_and_sync(fd, beside, data, size);
    if (close(fd) && !status_failed(&s)) s = status_errno("cannot close", beside);
    if (!status_failed(&s)) s = file_rename(beside, path);
    if (status_failed(&s)) {
        unlink(beside);
        return s;
    }
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + (slash == path)) : 1, slash ? path : ".");
    return file_sync_folder(folder);
}

Status file_copy(const char *from, const char *to) {
    FileMap map;
    STATUS_TRY(file_map(from, &map));
    Status s = file_write_whole(to, map.data, map.size);
    file_unmap(&map);
    return s;
}
