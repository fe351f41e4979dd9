// SPDX-License-Identifier: Apache-2.0
#include "base/diag.h"
#include "base/vec.h"
#include <stdlib.h>
#include <unistd.h>

typedef struct Source {
    Str file;
    const char *text;
    size_t size;
} Source;

enum { MAX_ERRORS = 100 };

struct Diag {
    Arena *arena;
    FILE *out;
    DiagTake take; // NULL: to `out`
    void *data;
    bool colour, internal;
    int errors;
    Vec(Source) sources;
};

Diag *diag_new(Arena *a, FILE *out, bool colour) {
    Diag *d = NEW(a, Diag);
    d->arena = a;
    d->out = out;
    d->colour = colour;
    return d;
}

static void take_nothing(void *data, DiagKind kind, Loc at, const char *message) {
    (void)data, (void)kind, (void)at, (void)message;
}

Diag *diag_new_taken(Arena *a, DiagTake take, void *data) {
    Diag *d = NEW(a, Diag);
    *d = (Diag){.arena = a, .take = take ? take : take_nothing, .data = data};
    return d;
}

bool diag_wants_colour(FILE *f) {
    const char *no = getenv("NO_COLOR");
    return isatty(fileno(f)) && !(no && *no);
}

void diag_source(Diag *d, Str file, const char *text, size_t size) {
    vec_push(d->arena, &d->sources, ((Source){file, text, size}));
}

static void show_line(Diag *d, Loc at) {
    const Source *s = NULL;
    for (int i = 0; i < d->sources.n; i++)
        if (d->sources.at[i].file == at.file) s = &d->sources.at[i];
    if (!s || at.line < 1) return;
    const char *p = s->text, *end = s->text + s->size;
    for (int line = 1; line < at.line && p < end; p++) line += *p == '\n';
    if (p >= end) return;
    const char *stop = memchr(p, '\n', (size_t)(end - p));
    if (!stop) stop = end;
    if (stop - p > 200) stop = p + 200;
    fprintf(d->out, "%5d | ", at.line);
    for (const char *c = p; c < stop; c++) fputc((unsigned char)*c < ' ' && *c != '\t' ? ' ' : *c, d->out);
    if (at.col >= 1 && at.col <= stop - p + 1) {
        fputs("\n      | ", d->out);
        for (int i = 1; i < at.col; i++) fputc(p[i - 1] == '\t' ? '\t' : ' ', d->out);
        fputs(d->colour ? "\033[1;32m^" : "^", d->out);
        for (int i = at.col + 1; i < at.end_col && i <= stop - p; i++) fputc('~', d->out);
        if (d->colour) fputs("\033[0m", d->out);
    }
    fputc('\n', d->out);
}

static void give(Diag *d, DiagKind kind, Loc at, const char *format, va_list ap) {
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    char *message = arena_alloc(d->arena, (size_t)(n > 0 ? n : 0) + 1);
    if (n > 0) vsnprintf(message, (size_t)n + 1, format, again);
    va_end(again);
    d->take(d->data, kind, at, message);
}

static void say(Diag *d, Loc at, DiagKind kind, const char *format, va_list ap) {
    static const char *const names[] = {"error", "warning", "note"}, *const colours[] = {"31", "35", "36"};
    if (d->take) {
        give(d, kind, at, format, ap);
        return;
    }
    if (at.file && at.col) fprintf(d->out, "%s:%d:%d: ", at.file, at.line, at.col);
    else if (at.file) fprintf(d->out, "%s:%d: ", at.file, at.line);
    else fputs("tgf: ", d->out);
    fprintf(d->out, d->colour ? "\033[1;%sm%s:\033[0m " : "%.0s%s: ", colours[kind], names[kind]);
    vfprintf(d->out, format, ap);
    fputc('\n', d->out);
    if (at.file && at.col) show_line(d, at);
}

#define SAY(kind)                                                                                                      \
    va_list ap;                                                                                                        \
    va_start(ap, format);                                                                                              \
    say(d, at, kind, format, ap);                                                                                      \
    va_end(ap)

void diag_error(Diag *d, Loc at, const char *format, ...) {
    if (++d->errors > MAX_ERRORS && !d->take) return;
    SAY(DIAG_ERROR);
    if (d->errors == MAX_ERRORS && !d->take) fputs("tgf: too many errors; the rest are not shown\n", d->out);
}

void diag_warning(Diag *d, Loc at, const char *format, ...) { SAY(DIAG_WARNING); }

void diag_note(Diag *d, Loc at, const char *format, ...) {
    if (d->errors > MAX_ERRORS && !d->take) return;
    SAY(DIAG_NOTE);
}

void diag_internal(Diag *d, const char *pass, const char *ir_line, const char *format, ...) {
    d->errors++;
    d->internal = true;
    va_list ap;
    va_start(ap, format);
    if (d->take) {
        give(d, DIAG_ERROR, (Loc){0}, arena_printf(d->arena, "internal error in pass '%s': %s", pass, format), ap);
        va_end(ap);
        return;
    }
    fprintf(d->out, "tgf: internal error in pass '%s': ", pass);
    vfprintf(d->out, format, ap);
    va_end(ap);
    if (ir_line) fprintf(d->out, "\n  in: %s", ir_line);
    fprintf(d->out,
            "\n  This is a bug of the compiler. To reproduce, keep the output of: tgfc --emit=ir --before=%s ...\n",
            pass);
}

int diag_errors(const Diag *d) { return d->errors; }
bool diag_had_internal(const Diag *d) { return d->internal; }
