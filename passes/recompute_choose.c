// SPDX-License-Identifier: Apache-2.0
// recompute_choose: `recompute auto`. A set of candidates is known by what it costs: the work to compute again what is
// not kept, and all that this needs in turn, from the op table; and by its peak, which only the memory pass knows.
// Sets are taken by rising work. Those that cannot fit, judged by the bytes kept and the peak of the most similar set
// that was measured, are passed over; the others are measured, on a copy that goes through all passes. The first that
// fits is taken.
#include "ir/storage.h"
#include "passes/pass_try.h"
#include "passes/recompute.h"
#include <stdlib.h>

enum { FREE_MAX = 12, TRIES_MAX = 64 };

typedef struct Choice {
    unsigned again; // bit i: the i-th largest candidate is computed again
    double flops, kept;
} Choice;

typedef struct Measured {
    unsigned again;
    double beside; // peak less what is kept
} Measured;

typedef struct Chooser {
    Unit *u;
    Arena *a;
    const Recompute *found; // bodies with their candidates, as the try that keeps all has them
    int nfree, free[FREE_MAX];
    Vec(Measured) measured;
} Chooser;

bool recompute_try(Unit *u, const bool *keep, int n, RecomputeTrial *out) {
    *out = (RecomputeTrial){0};
    const Recompute *r = u->recompute;
    Unit *copy = unit_try_begin(u, r->text, r->size);
    bool good = copy;
    if (good) {
        Recompute *trial = NEW(copy->arena, Recompute);
        *trial = (Recompute){.trial = true, .keep = keep, .nchosen = keep ? n : 0};
        copy->recompute = trial;
        good = unit_try_run(copy);
    }
    if (good) {
        out->bytes = copy->storage->slab_bytes;
        out->cost = recompute_cost(copy);
        out->candidates = copy->recompute->candidates;
        for (int i = 0; i < copy->recompute->bodies.n; i++) { // outlives the try
            RecomputeBody b = copy->recompute->bodies.at[i];
            b.nodes = arena_dup(u->arena, b.nodes, sizeof *b.nodes * (size_t)b.n);
            for (int k = 0; k < b.n; k++)
                b.nodes[k].args = arena_dup(u->arena, b.nodes[k].args, sizeof(int) * (size_t)b.nodes[k].nargs);
            vec_push(u->arena, &out->bodies, b);
        }
    }
    unit_try_end(copy);
    return good;
}

static void keep_of(const Chooser *c, unsigned again, bool *keep) {
    for (int i = 0; i < c->found->candidates; i++) keep[i] = true;
    for (int i = 0; i < c->nfree; i++) keep[c->free[i]] = !(again >> i & 1);
}

static Choice cost_of(const Chooser *c, unsigned again) {
    Choice out = {.again = again};
    bool *keep = NEW_ARRAY(c->a, bool, c->found->candidates + 1);
    keep_of(c, again, keep);
    for (int k = 0; k < c->found->bodies.n; k++) {
        const RecomputeBody *b = &c->found->bodies.at[k];
        bool *needed = NEW_ARRAY(c->a, bool, b->n + 1);
        for (int i = b->n - 1; i >= 0; i--) {
            const RecomputeNode *n = &b->nodes[i];
            if (!n->direct && !needed[i]) continue;
            if (n->candidate >= 0 && keep[n->candidate]) {
                out.kept += n->bytes;
                continue;
            }
            out.flops += n->flops;
            for (int j = 0; j < n->nargs; j++) needed[n->args[j]] = true;
        }
    }
    return out;
}

static double estimate(const Chooser *c, const Choice *choice) {
    const Measured *near = &c->measured.at[0];
    for (int i = 1; i < c->measured.n; i++)
        if (__builtin_popcount(c->measured.at[i].again ^ choice->again) <
            __builtin_popcount(near->again ^ choice->again))
            near = &c->measured.at[i];
    return choice->kept + near->beside;
}

// False: it was refused, or does not fit.
static bool fits(Chooser *c, const Choice *choice, bool *keep) {
    RecomputeTrial t;
    keep_of(c, choice->again, keep);
    if (!recompute_try(c->u, keep, c->found->candidates, &t)) return false;
    vec_push(c->a, &c->measured, ((Measured){choice->again, (double)t.bytes - choice->kept}));
    return t.bytes <= c->u->strategy->memory;
}

static int by_flops(const void *a, const void *b) {
    const Choice *x = a, *y = b;
    if (x->flops != y->flops) return x->flops < y->flops ? -1 : 1;
    if (x->kept != y->kept) return x->kept < y->kept ? -1 : 1;
    return x->again < y->again ? -1 : 1;
}

// The candidates that most bytes are kept for, largest first.
static void find_free(Chooser *c) {
    int n = c->found->candidates;
    double *bytes = NEW_ARRAY(c->a, double, n + 1);
    for (int k = 0; k < c->found->bodies.n; k++)
        for (int i = 0; i < c->found->bodies.at[k].n; i++) {
            const RecomputeNode *node = &c->found->bodies.at[k].nodes[i];
            if (node->candidate >= 0) bytes[node->candidate] += node->bytes;
        }
    for (c->nfree = 0; c->nfree < n && c->nfree < FREE_MAX; c->nfree++) {
        int best = 0;
        for (int i = 1; i < n; i++)
            if (bytes[i] > bytes[best]) best = i;
        bytes[best] = -1;
        c->free[c->nfree] = best;
    }
}

bool recompute_begin(Unit *u) {
    if (u->recompute) return true;
    u->recompute = NEW(u->arena, Recompute);
    if (!u->strategy || !u->strategy->memory) return true;
    u->recompute->text = unit_text(u, true, u->arena, &u->recompute->size);
    if (!u->recompute->text) {
        diag_error(u->diag, (Loc){0}, "not enough memory to look for what fits the budget");
        return false;
    }
    return u->strategy->recompute != RECOMPUTE_AUTO || recompute_choose(u);
}

bool recompute_choose(Unit *u) {
    RecomputeTrial all;
    Chooser c = {.u = u, .a = arena_new()};
    bool *keep = NULL, found = false;
    if (!recompute_try(u, NULL, 0, &all)) { // the passes will say why
        arena_free(c.a);
        return true;
    }
    Recompute view = {.candidates = all.candidates};
    view.bodies.at = all.bodies.at;
    view.bodies.n = all.bodies.n;
    c.found = &view;
    if (all.bytes > u->strategy->memory) {
        keep = NEW_ARRAY(u->arena, bool, all.candidates + 1);
        find_free(&c);
        Choice *choices = NEW_ARRAY(c.a, Choice, 1 << c.nfree);
        int n = 1 << c.nfree;
        for (int i = 0; i < n; i++) choices[i] = cost_of(&c, (unsigned)i);
        Choice kept = choices[0], none = choices[n - 1];
        vec_push(c.a, &c.measured, ((Measured){0, (double)all.bytes - kept.kept}));
        fits(&c, &none, keep); // the other end of the dial, for the estimates
        qsort(choices, (size_t)n, sizeof *choices, by_flops);
        for (int i = 0; i < n && !found && c.measured.n < TRIES_MAX; i++) {
            if (!choices[i].again || estimate(&c, &choices[i]) > (double)u->strategy->memory) continue;
            found = fits(&c, &choices[i], keep);
        }
        for (int i = 0; !found && i < all.candidates; i++) keep[i] = false;
    }
    u->recompute->keep = keep;
    u->recompute->nchosen = keep ? all.candidates : 0;
    arena_free(c.a);
    return true;
}
