// SPDX-License-Identifier: Apache-2.0
// recompute_budget: a strategy's `memory = 40GB` is a promise. When the slab is larger, the message says what needs how
// much and the smallest change that fits, found by compiling it.
#include "base/bytes.h"
#include "ir/recipe.h"
#include "ir/storage.h"
#include "passes/pass_try.h"
#include "passes/recompute.h"
#include <string.h>

// What the author could write instead; nothing that is left as it is, is 0.
typedef struct Change {
    bool block; // recompute block
    int64_t microbatches, batch;
    ShardLevel shard; // over the mesh axes that split the batch
} Change;

static MeshSet batch_ranks(const Unit *u) {
    MeshSet over = 0;
    for (int i = 0; i < u->strategy->nsplits; i++) {
        const Split *p = &u->strategy->splits[i];
        if (!p->between && !strcmp(p->axis->name, "batch")) over |= p->over;
    }
    return over;
}

static Strategy *changed_strategy(Unit *u, const Change *c) {
    Strategy *s = NEW(u->arena, Strategy);
    *s = *u->strategy;
    if (c->block) s->recompute = RECOMPUTE_BLOCK;
    if (c->microbatches) s->microbatches = c->microbatches;
    if (c->shard) s->shard = c->shard, s->shard_over = batch_ranks(u);
    return s;
}

// What a rank would need; 0 when the passes refuse it.
static int64_t needed_with(const Unit *u, const Change *c) {
    const Recompute *r = u->recompute;
    Unit *copy = unit_try_begin(u, r->text, r->size);
    int64_t bytes = 0;
    if (copy) {
        Recompute *trial = NEW(copy->arena, Recompute);
        *trial = (Recompute){.trial = true, .keep = c->block ? NULL : r->keep, .nchosen = c->block ? 0 : r->nchosen};
        copy->recompute = trial;
        copy->strategy = changed_strategy(copy, c);
        if (c->batch) {
            Recipe *recipe = NEW(copy->arena, Recipe);
            *recipe = *copy->recipe;
            recipe->batch = c->batch;
            copy->recipe = recipe;
            unit_axis(copy, str_intern(u->strs, "batch"))->extent = c->batch;
        }
        if (unit_try_run(copy)) bytes = copy->storage->slab_bytes;
    }
    unit_try_end(copy);
    return bytes;
}

static const char *change_text(const Unit *u, const Change *c) {
    const char *text = "", *and = "";
    if (c->microbatches) {
        text = arena_printf(u->arena, "microbatches = %lld", (long long)c->microbatches);
        and = " and ";
    }
    if (c->shard) {
        text = arena_printf(u->arena, "%s%s'shard %s over", text, and, shard_name(c->shard));
        MeshSet over = batch_ranks(u);
        for (int i = 0, any = 0; i < u->strategy->mesh.n; i++)
            if (over >> i & 1)
                text = arena_printf(u->arena, "%s%s %s", text, any++ ? "," : "", u->strategy->mesh.axis[i].name);
        text = arena_printf(u->arena, "%s'", text);
        and = " and ";
    }
    if (c->batch) {
        text = arena_printf(u->arena, "%s%sbatch = %lld", text, and, (long long)c->batch);
        and = " and ";
    }
    return c->block ? arena_printf(u->arena, "%s%s'recompute block'", text, and) : text;
}

typedef struct Search {
    Unit *u;
    bool recomputes; // the strategy leaves something to be computed again
    int64_t least;
    const char *least_text;
    bool found;
} Search;

// The change alone, then with everything computed again.
static bool fits(Search *x, Change c) {
    for (int block = 0; block <= x->recomputes && !x->found; block++) {
        c.block = block;
        int64_t bytes = needed_with(x->u, &c);
        if (!bytes) continue;
        if (bytes < x->least) x->least = bytes, x->least_text = change_text(x->u, &c);
        if (bytes > x->u->strategy->memory) continue;
        diag_note(x->u->diag, x->u->strategy->memory_loc, "with %s it needs %s", change_text(x->u, &c),
                  bytes_text((double)bytes, x->u->arena));
        x->found = true;
    }
    return x->found;
}

// From what changes nothing but time to what changes the training: recomputation, smaller microbatches, states,
// gradients and parameters in parts over the ranks of the batch, both; then a smaller batch.
static void propose(Unit *u) {
    const Strategy *s = u->strategy;
    const Axis *axis = unit_axis(u, str_intern(u->strs, "batch"));
    int64_t batch = axis ? axis->extent : 1, now = s->microbatches > 1 ? s->microbatches : 1;
    Search x = {.u = u, .least = u->storage->slab_bytes, .least_text = "nothing"};
    x.recomputes = s->recompute == RECOMPUTE_NOTHING || s->recompute == RECOMPUTE_NAMES;
    int64_t bytes = x.recomputes ? needed_with(u, &(Change){.block = true}) : 0;
    if (bytes && bytes < x.least) x.least = bytes, x.least_text = "'recompute block'";
    if (bytes && bytes <= s->memory) {
        diag_note(u->diag, s->memory_loc,
                  "it fits with 'recompute auto'; with 'recompute block', which keeps least, it needs %s",
                  bytes_text((double)bytes, u->arena));
        return;
    }
    bool micro = s->schedule != PIPE_FILE || !s->pipe_axis;
    ShardLevel top = mesh_extent(&s->mesh, batch_ranks(u)) > 1 ? SHARD_PARAMETERS : SHARD_NOTHING;
    for (int64_t m = 2 * now; m <= batch && micro; m *= 2)
        if (fits(&x, (Change){.microbatches = m})) return;
    for (ShardLevel level = s->shard + 1; level <= top; level++)
        if (fits(&x, (Change){.shard = level})) return;
    for (int64_t m = 2 * now; m <= batch && micro && top > s->shard; m *= 2)
        if (fits(&x, (Change){.microbatches = m, .shard = top})) return;
    for (int64_t half = batch / 2; half >= 1 && half >= now && u->recipe && axis; half /= 2)
        if (fits(&x, (Change){.batch = half})) return;
    diag_note(u->diag, s->memory_loc, "nothing tried is enough: the least is %s, with %s; split over more ranks",
              bytes_text((double)x.least, u->arena), x.least_text);
}

bool recompute_check_budget(Unit *u) {
    const Strategy *s = u->strategy;
    const Storage *m = u->storage;
    if (!s || !s->memory || m->slab_bytes <= s->memory || (u->recompute && u->recompute->trial)) return true;
    double kept = recompute_cost(u).kept;
    diag_error(u->diag, s->memory_loc,
               "a rank needs %s, the budget is %s: parameters %s, optimizer states %s, inputs and outputs %s, "
               "gradients, activations and collective buffers %s%s",
               bytes_text((double)m->slab_bytes, u->arena), bytes_text((double)s->memory, u->arena),
               bytes_text((double)m->param_bytes, u->arena), bytes_text((double)m->state_bytes, u->arena),
               bytes_text((double)m->io_bytes, u->arena), bytes_text((double)m->activation_bytes, u->arena),
               u->pipeline
                   ? arena_printf(u->arena, ", summed gradients and microbatches in flight %s",
                                  bytes_text((double)m->buffer_bytes, u->arena))
                   : arena_printf(u->arena, " (%s of these kept for the backward half)", bytes_text(kept, u->arena)));
    if (u->recompute && u->recompute->text) propose(u);
    return false;
}
