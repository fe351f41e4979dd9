// SPDX-License-Identifier: Apache-2.0
// check_recompute: the strategy lines `recompute block`, `recompute attend, gelu`, `recompute auto memory = 40GB` and
// `memory = 40GB`.
#include "base/checked.h"
#include "frontend/front.h"
#include "ir/op.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

// `40GB`, `512MiB`, `1000B`: whole numbers of a unit.
static bool read_bytes(const char *text, int64_t *out) {
    static const struct {
        const char *unit;
        int64_t bytes;
    } units[] = {{"B", 1},           {"KB", 1000},       {"MB", 1000000},    {"GB", 1000000000}, {"TB", 1000000000000},
                 {"KiB", 1LL << 10}, {"MiB", 1LL << 20}, {"GiB", 1LL << 30}, {"TiB", 1LL << 40}};
    size_t digits = strspn(text, "0123456789");
    errno = 0;
    int64_t n = strtoll(text, NULL, 10);
    if (!digits || errno || n < 1) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(text + digits, units[i].unit)) return checked_mul(n, units[i].bytes, out);
    return false;
}

static void read_memory(Front *f, Strategy *s, const Option *o) {
    int64_t bytes = 0;
    if (s->memory) diag_error(f->diag, o->key.loc, "a strategy has one memory budget");
    else if (o->bare || !read_bytes(o->value.str, &bytes))
        diag_error(f->diag, o->value.loc,
                   "a budget is a whole number of bytes with its unit: memory = 40GB (B, KB, MB, GB, TB, KiB, MiB, "
                   "GiB, TiB)");
    else s->memory = bytes;
    s->memory_loc = o->key.loc;
}

void strategy_memory(Front *f, Strategy *s, const Line *l) {
    if (l->names.n || l->over.n || l->options.n != 1 || strcmp(l->options.at[0].key.str, "memory"))
        diag_error(f->diag, l->head.loc, "memory is written: memory = 40GB");
    else read_memory(f, s, &l->options.at[0]);
}

static void read_names(Front *f, Strategy *s, const Line *l) {
    Vec(Str) names = {0};
    for (int i = 0; i < l->names.n; i++) {
        const Name name = l->names.at[i];
        OpKind op;
        if (!strcmp(name.str, "block") || !strcmp(name.str, "auto"))
            diag_error(f->diag, name.loc, "'%s' stands alone: recompute %s", name.str, name.str);
        else if (!op_parse(name.str, &op) && !front_block(f, name.str, false))
            diag_error(f->diag, name.loc, "unknown op or block '%s'", name.str);
        for (int j = 0; j < names.n; j++)
            if (names.at[j] == name.str) diag_error(f->diag, name.loc, "'%s' is listed twice", name.str);
        vec_push(f->arena, &names, name.str);
    }
    s->recompute = RECOMPUTE_NAMES;
    s->recompute_names = names.at;
    s->nrecompute = names.n;
}

void strategy_recompute(Front *f, Strategy *s, const Line *l) {
    if (s->recompute) {
        diag_error(f->diag, l->head.loc, "a strategy has one recompute line");
        return;
    }
    if (!l->names.n || l->over.n) {
        diag_error(f->diag, l->head.loc,
                   "recompute is written: recompute block, recompute auto memory = 40GB, or with names of ops and "
                   "blocks: recompute attend, mlp");
        return;
    }
    s->recompute_loc = l->head.loc;
    for (int i = 0; i < l->options.n; i++) {
        const Option *o = &l->options.at[i];
        if (!strcmp(o->key.str, "memory")) read_memory(f, s, o);
        else diag_error(f->diag, o->key.loc, "recompute has no option '%s'; did you mean 'memory'?", o->key.str);
    }
    const char *first = l->names.at[0].str;
    if (l->names.n == 1 && !strcmp(first, "block")) s->recompute = RECOMPUTE_BLOCK;
    else if (l->names.n == 1 && !strcmp(first, "auto")) s->recompute = RECOMPUTE_AUTO;
    else read_names(f, s, l);
}

void strategy_check_recompute(Front *f, const Strategy *s) {
    if (s->recompute == RECOMPUTE_AUTO && !s->memory && !s->memory_loc.file)
        diag_error(f->diag, s->recompute_loc, "recompute auto needs a budget: recompute auto memory = 40GB");
}
