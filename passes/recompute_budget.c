// SPDX-License-Identifier: Apache-2.0
// recompute_budget: a strategy's `memory = 40GB` is a promise. When the slab is larger, the message says what needs how
// much and the smallest change that fits, found by compiling it: computing again, then a smaller batch, then both.
#include "ir/recipe.h"
#include "ir/storage.h"
#include "passes/pass_try.h"
#include "passes/recompute.h"

static const char *bytes_text(const Unit *u, double bytes) {
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
    int i = 0;
    double x = bytes;
    while (x >= 1000 && i < 5) x /= 1000, i++;
    return arena_printf(u->arena, i ? "%.2f %s" : "%.0f %s", x, units[i]);
}

// What a rank would need with everything computed again (or as the strategy has it) and this batch (0: as it is); 0
// when the passes refuse it.
static int64_t needed_with(const Unit *u, bool block, int64_t batch) {
    const Recompute *r = u->recompute;
    UnitTry t;
    int64_t bytes = 0;
    if (unit_try_begin(&t, u, r->text, r->size)) {
        Recompute *trial = NEW(t.unit->arena, Recompute);
        *trial = (Recompute){.trial = true, .keep = block ? NULL : r->keep, .nchosen = block ? 0 : r->nchosen};
        t.unit->recompute = trial;
        Strategy *s = NEW(t.unit->arena, Strategy);
        *s = *t.unit->strategy;
        if (block) s->recompute = RECOMPUTE_BLOCK;
        t.unit->strategy = s;
        if (batch) {
            Recipe *recipe = NEW(t.unit->arena, Recipe);
            *recipe = *t.unit->recipe;
            recipe->batch = batch;
            t.unit->recipe = recipe;
            unit_axis(t.unit, str_intern(u->strs, "batch"))->extent = batch;
        }
        if (unit_try_run(&t)) bytes = t.unit->storage->slab_bytes;
    }
    unit_try_end(&t);
    return bytes;
}

static void propose(Unit *u) {
    const Strategy *s = u->strategy;
    const Axis *axis = unit_axis(u, str_intern(u->strs, "batch"));
    int64_t least = u->storage->slab_bytes, batch = axis ? axis->extent : 1, smallest = batch;
    bool more = s->recompute == RECOMPUTE_NOTHING || s->recompute == RECOMPUTE_NAMES;
    int64_t bytes = more ? needed_with(u, true, 0) : 0;
    if (bytes && bytes < least) least = bytes;
    if (bytes && bytes <= s->memory) {
        diag_note(u->diag, s->memory_loc,
                  "it fits with 'recompute auto'; with 'recompute block', which keeps least, it needs %s",
                  bytes_text(u, (double)bytes));
        return;
    }
    for (int64_t half = batch / 2; half >= 1 && u->recipe && axis; half /= 2)
        for (int block = 0; block <= (more ? 1 : 0); block++) {
            if (!(bytes = needed_with(u, block, half))) continue;
            if (bytes < least) least = bytes, smallest = half;
            if (bytes > s->memory) continue;
            diag_note(u->diag, s->memory_loc, "with batch = %lld%s it needs %s", (long long)half,
                      block ? " and 'recompute block'" : "", bytes_text(u, (double)bytes));
            return;
        }
    diag_note(u->diag, s->memory_loc,
              "neither recomputation nor a smaller batch is enough: %s with batch = %lld; split over more ranks",
              bytes_text(u, (double)least), (long long)smallest);
}

bool recompute_check_budget(Unit *u) {
    const Strategy *s = u->strategy;
    const Storage *m = u->storage;
    if (!s || !s->memory || m->slab_bytes <= s->memory || (u->recompute && u->recompute->trial)) return true;
    double kept = recompute_cost(u).kept;
    diag_error(u->diag, s->memory_loc,
               "a rank needs %s, the budget is %s: parameters %s, optimizer states %s, inputs and outputs %s, "
               "gradients, activations and collective buffers %s (%s of these kept for the backward half)",
               bytes_text(u, (double)m->slab_bytes), bytes_text(u, (double)s->memory),
               bytes_text(u, (double)m->param_bytes), bytes_text(u, (double)m->state_bytes),
               bytes_text(u, (double)m->io_bytes), bytes_text(u, (double)m->activation_bytes), bytes_text(u, kept));
    if (u->recompute && u->recompute->text) propose(u);
    return false;
}
