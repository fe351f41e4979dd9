// SPDX-License-Identifier: Apache-2.0
// diag: located diagnostics in GNU format, `file:line:col: error: ...`, with the source line and a caret.
// A stage reports as many as it can and goes on; the driver asks diag_errors() at the stage's end and stops there.
#pragma once
#include "base/arena.h"
#include "base/str.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

typedef struct Loc {
    Str file;               // NULL: nowhere
    int line, col, end_col; // from 1, in bytes; end_col is one past the last column on the same line (0: unknown)
                            // col 0: the whole line, of a source that is not shown (dsl.h: the caller's)
} Loc;

typedef struct Diag Diag;

// Messages go to `out` as they come; colour when `colour` is set (diag_wants_colour decides for a stream).
Diag *diag_new(Arena *a, FILE *out, bool colour);
// Each message, which lives in the arena, goes to `take` instead. A note belongs to the error or warning in front of
// it. Nothing is limited in number.
typedef enum DiagKind { DIAG_ERROR, DIAG_WARNING, DIAG_NOTE } DiagKind;
typedef void (*DiagTake)(void *data, DiagKind kind, Loc at, const char *message);
Diag *diag_new_taken(Arena *a, DiagTake take, void *data);
bool diag_wants_colour(FILE *f);                                    // a terminal, and NO_COLOR unset
void diag_source(Diag *d, Str file, const char *text, size_t size); // so that carets can be drawn; text must outlive d
void diag_error(Diag *d, Loc at, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_warning(Diag *d, Loc at, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_note(Diag *d, Loc at, const char *format, ...) __attribute__((format(printf, 3, 4)));
// A bug of the compiler: names the pass and the offending IR line and says how to report it. Counts as an error.
void diag_internal(Diag *d, const char *pass, const char *ir_line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
int diag_errors(const Diag *d);
bool diag_had_internal(const Diag *d); // then the exit status is 2
