// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // fopencookie
#include "base/memory_stream.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static ssize_t add(void *cookie, const char *bytes, size_t n) {
    MemoryStream *m = cookie;
    if (n >= m->room - m->size || !m->room) {
        size_t room = m->room ? m->room : 256;
        while (n >= room - m->size && room <= SIZE_MAX / 4) room *= 2;
        char *text = n < room - m->size ? realloc(m->text, room) : NULL;
        if (!text) return 0;
        m->text = text;
        m->room = room;
    }
    memcpy(m->text + m->size, bytes, n);
    m->size += n;
    m->text[m->size] = 0;
    return (ssize_t)n;
}

FILE *memory_stream_open(MemoryStream *m) {
    *m = (MemoryStream){0};
    m->file = fopencookie(m, "w", (cookie_io_functions_t){.write = add});
    if (m->file) add(m, "", 0); // so that there is always a text
    if (m->file && !m->text) {
        fclose(m->file);
        m->file = NULL;
    }
    return m->file;
}

int memory_stream_close(MemoryStream *m) {
    int failed = ferror(m->file);
    failed |= fclose(m->file);
    m->file = NULL;
    return failed;
}
