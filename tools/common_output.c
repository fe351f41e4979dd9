// SPDX-License-Identifier: Apache-2.0
#include "tools/common_output.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static Status cannot_write(const char *path, int error) {
    return status_make(STATUS_IO, "%s: cannot write: %s", path, strerror(error));
}

// Puts it all into the file and closes it.
static Status fill(FILE *f, const char *path, const void *data, size_t size) {
    if (!f) return cannot_write(path, errno);
    int error = fwrite(data, 1, size, f) == size ? 0 : errno;
    if (fclose(f) && !error) error = errno;
    return error ? cannot_write(path, error) : status_ok();
}

Status output_write(const char *path, const void *data, size_t size) {
    if (!strcmp(path, "-"))
        return fwrite(data, 1, size, stdout) == size && !fflush(stdout) ? status_ok() : cannot_write(path, errno);
    char temporary[4096];
    struct stat st;
    if (!stat(path, &st) && !S_ISREG(st.st_mode)) return fill(fopen(path, "wb"), path, data, size);
    if (snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid()) >= (int)sizeof temporary)
        return status_make(STATUS_IO, "%s: the name is too long", path);
    FILE *f = fopen(temporary, "wb");
    Status s = fill(f, path, data, size);
    if (!status_failed(&s) && rename(temporary, path)) s = cannot_write(path, errno);
    if (f && status_failed(&s)) unlink(temporary);
    return s;
}

Status output_object(const CodegenObject *object, const char *path, const char *header) {
    if (header) STATUS_TRY(output_write(header, object->header, strlen(object->header)));
    Status s = output_write(path, object->bytes, object->size);
    struct stat st;
    if (status_failed(&s) && header && !lstat(header, &st) && S_ISREG(st.st_mode)) unlink(header);
    return s;
}
