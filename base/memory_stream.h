// SPDX-License-Identifier: Apache-2.0
// memory_stream: a stream into memory that keeps its head when memory ends: what could not be written is an error of
// the stream (ferror), and nothing is lost to free. (glibc's open_memstream loses its buffer when its last realloc
// fails.)
#pragma once
#include <stdio.h>

typedef struct MemoryStream {
    FILE *file;  // to write to; NULL: closed
    char *text;  // malloc's, with a 0 behind it; as of the last fflush; NULL: nothing yet
    size_t size; // without the 0
    size_t room;
} MemoryStream;

FILE *memory_stream_open(MemoryStream *m); // NULL: out of memory. m stays where it is until it is closed
int memory_stream_close(MemoryStream *m);  // 0: all was written. m->text is the caller's to free, in any case
