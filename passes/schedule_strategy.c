// SPDX-License-Identifier: Apache-2.0
// From a strategy's `split layer over pipe` line to its schedule.
#include "base/vec.h"
#include "ir/graph.h"
#include "ir/strategy.h"
#include "passes/schedule_inside.h"
#include <errno.h>
#include <string.h>

typedef Vec(char) Text;

static bool read_file(const char *path, Arena *a, Text *out) {
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    const int step = 1 << 16, most = 1 << 28;
    size_t got = 1;
    while (got && out->n < most) {
        vec_reserve(a, out, out->n + step);
        got = fread(out->at + out->n, 1, (size_t)step, f);
        out->n += (int)got;
    }
    const bool good = !ferror(f) && !got;
    if (!good && !errno) errno = EFBIG;
    const int why = errno;
    fclose(f);
    errno = why;
    return good;
}

Schedule *schedule_read(const char *path, Str name, Arena *a, Arena *scratch, Diag *diag, Loc at) {
    Text text = {0};
    errno = 0;
    if (!read_file(path, a, &text)) {
        diag_error(diag, at, "cannot read the schedule '%s': %s", path, strerror(errno));
        return NULL;
    }
    diag_source(diag, name, text.at, (size_t)text.n);
    Schedule *s = schedule_parse(a, diag, name, text.at, (size_t)text.n);
    return s && schedule_check(s, scratch, diag, at) ? s : NULL;
}

static Schedule *of_file(const Strategy *st, int stages, int64_t microbatches, Arena *a, Arena *scratch, Diag *diag) {
    const char *slash = st->schedule_file[0] != '/' && st->pipe_loc.file ? strrchr(st->pipe_loc.file, '/') : NULL;
    const char *path =
        slash ? arena_printf(a, "%.*s/%s", (int)(slash - st->pipe_loc.file), st->pipe_loc.file, st->schedule_file)
              : st->schedule_file;
    Schedule *s = schedule_read(path, path, a, scratch, diag, st->pipe_loc);
    if (!s) return NULL;
    s->name = PIPE_FILE;
    if (s->stages != stages || s->microbatches != microbatches || (st->chunks && s->chunks != stages * st->chunks))
        diag_error(
            diag, st->pipe_loc,
            "schedule '%s' is of %d stages, %d chunks and %lld microbatches; the strategy has %d stages%s and %lld "
            "microbatches",
            path, s->stages, s->chunks, (long long)s->microbatches, stages,
            st->chunks ? arena_printf(a, ", %d chunks", stages * st->chunks) : "", (long long)microbatches);
    else if (st->nstages && st->nstages != s->chunks)
        diag_error(diag, st->pipe_loc, "'stages' has %d numbers; schedule '%s' is of %d chunks", st->nstages, path,
                   s->chunks);
    else if (st->pipe_axis && s->chunks > st->pipe_axis->extent)
        diag_error(diag, st->pipe_loc, "schedule '%s' is of %d chunks; '%s' has %lld places: each chunk needs one",
                   path, s->chunks, st->pipe_axis->name, (long long)st->pipe_axis->extent);
    else return s;
    return NULL;
}

Schedule *schedule_of_strategy(const Strategy *st, Arena *a, Arena *scratch, Diag *diag) {
    const int64_t stages = st->pipe_axis ? st->mesh.axis[st->pipe].extent : 1,
                  microbatches = st->microbatches ? st->microbatches : 1;
    const int chunks = st->chunks ? st->chunks : 1;
    const char *why = stages > INT32_MAX ? "there are too many stages"
                                         : schedule_refuses(st->schedule == PIPE_FILE ? PIPE_GPIPE : st->schedule,
                                                            (int)stages, chunks, microbatches);
    if (why) {
        diag_error(diag, st->pipe_loc, "%s", why);
        return NULL;
    }
    if (st->schedule == PIPE_FILE) return of_file(st, (int)stages, microbatches, a, scratch, diag);
    Schedule *s = schedule_make(a, st->schedule, (int)stages, chunks, microbatches);
    return schedule_check(s, scratch, diag, st->pipe_loc) ? s : NULL;
}
