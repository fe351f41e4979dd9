// SPDX-License-Identifier: Apache-2.0
// A schedule as text, there and back: ir/schedule.h shows the form.
#include "base/vec.h"
#include "passes/schedule_inside.h"
#include <errno.h>
#include <stdlib.h>

char work_letter(WorkKind kind) { return "FBIW"[kind]; }

void schedule_print(const Schedule *s, FILE *out) {
    fprintf(out, "schedule %s stages %d chunks %d microbatches %lld\nplace", schedule_name(s->name), s->stages,
            s->chunks, (long long)s->microbatches);
    for (int c = 0; c < s->chunks; c++) fprintf(out, " %d", s->place[c]);
    fputc('\n', out);
    for (int i = 0; i < s->stages; i++) {
        fprintf(out, "%d:", i);
        for (int64_t k = 0; k < s->count[i]; k++) {
            const WorkItem w = s->items[i][k];
            fprintf(out, " %c%d.%lld", work_letter(w.kind), w.chunk, (long long)w.microbatch);
        }
        fputc('\n', out);
    }
}

typedef struct Word {
    const char *at;
    int n; // 0: the end of the line
    Loc loc;
} Word;

typedef struct Reader {
    Diag *diag;
    const char *at, *end, *line_start;
    Loc loc; // file and line
    bool failed;
} Reader;

#define SAY(r, loc, ...) ((r)->failed = true, diag_error((r)->diag, (loc), __VA_ARGS__))

static Word next_word(Reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\r')) r->at++;
    if (r->at < r->end && *r->at == '#')
        while (r->at < r->end && *r->at != '\n') r->at++;
    Word w = {.at = r->at, .loc = r->loc};
    while (r->at < r->end && !strchr(" \t\r\n#", *r->at)) r->at++;
    w.n = r->at - w.at > 1 << 20 ? 1 << 20 : (int)(r->at - w.at);
    w.loc.col = (int)(w.at - r->line_start) + 1;
    w.loc.end_col = w.loc.col + w.n;
    return w;
}

// To the next line that has a word; false at the end of the text.
static bool next_line(Reader *r) {
    for (;;) {
        if (r->line_start) { // behind the line there was
            while (r->at < r->end && *r->at != '\n') r->at++;
            if (r->at == r->end) return false;
            r->at++;
        }
        r->line_start = r->at;
        r->loc.line++;
        const char *start = r->at;
        if (next_word(r).n) {
            r->at = start;
            return true;
        }
    }
}

// Decimal digits from *at; advances. False: none, or more than fit.
static bool digits(const char **at, const char *end, int64_t *out) {
    const char *p = *at;
    int64_t n = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n)) return false;
    bool any = p > *at;
    *at = p;
    *out = n;
    return any;
}

static bool word_is(Word w, const char *text) { return w.n == (int)strlen(text) && !memcmp(w.at, text, (size_t)w.n); }

static bool word_number(Reader *r, const char *what, int64_t below, int64_t *out) {
    Word w = next_word(r);
    const char *p = w.at, *end = w.at + w.n;
    if (!digits(&p, end, out) || p != end) {
        SAY(r, w.loc, "expected %s, a number, not '%.*s'", what, w.n, w.at);
        return false;
    }
    if (*out >= below) {
        SAY(r, w.loc, "%s is %.*s, more than %lld", what, w.n, w.at, (long long)below - 1);
        return false;
    }
    return true;
}

static void line_ends(Reader *r) {
    Word w = next_word(r);
    if (w.n) SAY(r, w.loc, "expected the end of the line, not '%.*s'", w.n, w.at);
}

static bool read_head(Reader *r, Schedule *s) {
    Word w = next_word(r);
    if (!word_is(w, "schedule")) {
        SAY(r, w.loc, "expected 'schedule NAME stages P chunks C microbatches M'");
        return false;
    }
    w = next_word(r);
    char name[32];
    snprintf(name, sizeof name, "%.*s", w.n, w.at);
    if (!schedule_find(name, &s->name)) {
        s->name = PIPE_FILE;
        if (!word_is(w, schedule_name(PIPE_FILE)))
            SAY(r, w.loc, "'%.*s' is no schedule: 1f1b, gpipe, interleaved, zbh1, zbv, file", w.n, w.at);
    }
    const char *const keys[] = {"stages", "chunks", "microbatches"};
    int64_t values[3] = {0};
    for (int k = 0; k < 3; k++) {
        w = next_word(r);
        if (!word_is(w, keys[k])) {
            SAY(r, w.loc, "expected '%s', not '%.*s'", keys[k], w.n, w.at);
            return false;
        }
        if (!word_number(r, keys[k], INT32_MAX, &values[k])) return false;
    }
    line_ends(r);
    if (values[0] < 1 || values[1] < values[0] || values[1] % values[0]) {
        SAY(r, w.loc, "chunks (%lld) must be a multiple of stages (%lld)", (long long)values[1], (long long)values[0]);
        return false;
    }
    const char *why = schedule_refuses(PIPE_GPIPE, (int)values[0], (int)(values[1] / values[0]), values[2]);
    if (why) SAY(r, w.loc, "%s", why);
    s->stages = (int)values[0];
    s->chunks = (int)values[1];
    s->microbatches = values[2];
    return !r->failed;
}

static bool read_item(Reader *r, const Schedule *s, Word w, WorkItem *out) {
    static const char letters[] = "FBIW";
    const char *letter = memchr(letters, w.at[0], 4), *p = w.at + 1, *end = w.at + w.n;
    int64_t chunk, microbatch;
    if (!letter || !digits(&p, end, &chunk) || p == end || *p++ != '.' || !digits(&p, end, &microbatch) || p != end) {
        SAY(r, w.loc, "expected an item: F, B, I or W, chunk, '.', microbatch, as F0.1; not '%.*s'", w.n, w.at);
        return false;
    }
    if (chunk >= s->chunks) {
        SAY(r, w.loc, "'%.*s': chunks are 0 to %d", w.n, w.at, s->chunks - 1);
        return false;
    }
    if (microbatch >= s->microbatches) {
        SAY(r, w.loc, "'%.*s': microbatches are 0 to %lld", w.n, w.at, (long long)s->microbatches - 1);
        return false;
    }
    *out = (WorkItem){(WorkKind)(letter - letters), (int)chunk, microbatch};
    return true;
}

typedef Vec(WorkItem) Items;

static void read_stage(Reader *r, Arena *a, Schedule *s, Items *items) {
    Word w = next_word(r);
    const char *p = w.at, *end = w.at + w.n;
    int64_t stage;
    if (!digits(&p, end, &stage) || p == end || *p != ':') {
        SAY(r, w.loc, "expected 'STAGE: items', not '%.*s'", w.n, w.at);
        return;
    }
    if (stage >= s->stages) {
        SAY(r, w.loc, "stages are 0 to %d", s->stages - 1);
        return;
    }
    r->at = p + 1; // "0:F0.0" is fine too
    while ((w = next_word(r)).n) {
        WorkItem item;
        if (!read_item(r, s, w, &item)) continue;
        s->halves |= item.kind == WORK_INPUT_GRAD || item.kind == WORK_WEIGHT_GRAD;
        vec_push(a, &items[stage], item);
    }
}

Schedule *schedule_parse(Arena *a, Diag *diag, Str file, const char *text, size_t size) {
    Reader r = {.diag = diag, .at = text, .end = text + size, .loc = {.file = file}};
    Schedule *s = NEW(a, Schedule);
    if (!next_line(&r)) {
        diag_error(diag, (Loc){file, 1, 1, 0}, "the file has no schedule");
        return NULL;
    }
    if (!read_head(&r, s)) return NULL;
    Word w = {.loc = r.loc};
    if (!next_line(&r) || !word_is(w = next_word(&r), "place")) {
        SAY(&r, w.loc, "expected 'place', then each chunk's stage");
        return NULL;
    }
    if (s->chunks > r.end - r.at) { // before there is an array of them
        SAY(&r, w.loc, "expected the stages of %d chunks", s->chunks);
        return NULL;
    }
    s->place = NEW_ARRAY(a, int, s->chunks);
    for (int c = 0; c < s->chunks; c++) {
        int64_t stage;
        if (!word_number(&r, "a chunk's stage", s->stages, &stage)) return NULL;
        s->place[c] = (int)stage;
    }
    line_ends(&r);
    Items *items = NEW_ARRAY(a, Items, s->stages);
    while (next_line(&r)) read_stage(&r, a, s, items);
    if (r.failed) return NULL;
    s->count = NEW_ARRAY(a, int64_t, s->stages);
    s->items = NEW_ARRAY(a, WorkItem *, s->stages);
    int64_t total = 0;
    for (int i = 0; i < s->stages; i++) {
        s->count[i] = items[i].n;
        s->items[i] = items[i].at;
        total += items[i].n;
    }
    if (total < s->chunks * s->microbatches) { // schedule_check says which are missing, where it is not most of them
        diag_error(diag, (Loc){file, 1, 1, 0}, "%lld items: %d chunks and %lld microbatches have at least %lld",
                   (long long)total, s->chunks, (long long)s->microbatches, 2 * s->chunks * (long long)s->microbatches);
        return NULL;
    }
    return s;
}
