// SPDX-License-Identifier: Apache-2.0
// pipeline: cuts every function into tasks, each for one microbatch or one part of the model, and lists which stage
// runs them when (ir/pipeline.h). Up to here microbatches and stages were mesh axes, and a function said everything of
// all of them; this pass says who does what when:
//
//   func train, mesh data=2, pipe=2 stages, microbatch=8 time
//     ... %x = repeat ... over layer ... output %loss, assign %wte, %new           becomes, for 1f1b,
//   func train.prepare.1      sums over the whole batch that its parts need: the number of labels
//   func train.between.1      what follows from them
//   func train.forward.0, .1  a chunk's layers; chunk 0 begins with the embedding
//   func train.backward.0, .1 the last begins with the head and the loss; gradients are added up in buffers
//   func train.after0.0, .1   gradients reduced over data, each chunk's part of their norm
//   func train.all0           the norm over all stages
//   func train.after1.0, .1   the update
//   steps: stage 0: zero, run forward.0, send act, ...
//
// What is computed alike on all stages in the function given is computed only where it is needed.
#include "passes/pipeline.h"
#include "passes/pass.h"
#include "passes/schedule.h"
#include "passes/simplify.h"
#include <string.h>

// ---- chunks
// -------------------------------------------------------------------------------------------------------------

typedef struct Work3 { // FLOPs of a forward pass: before the layers, of one layer, behind them
    double before, layer, behind;
} Work3;

static Work3 measure(const Unit *u, const Axis *axis) {
    Work3 w = {0};
    const Func *f = unit_func(u, "eval") ? unit_func(u, "eval") : unit_func(u, "predict");
    bool seen = false;
    for (const Node *n = f ? f->top->first : NULL; n; n = n->next) {
        double flops = node_work(u, n).flops;
        bool is = n->op == OP_repeat && n->attr.axes.at[0] == axis;
        if (is) w.layer = flops / (double)axis->extent;
        else *(seen ? &w.behind : &w.before) += flops;
        seen |= is;
    }
    return w;
}

// As the author says; else one layer after the other to the chunk that has least to do, the embedding and the head
// counted.
static void give_layers(const Unit *u, const Axis *axis, int nchunks, int64_t *out_layers) {
    const Strategy *s = u->strategy;
    if (s->nstages) {
        for (int i = 0; i < nchunks; i++) out_layers[i] = s->stages[i];
        return;
    }
    Work3 w = measure(u, axis);
    if (w.layer <= 0) w.layer = 1;
    for (int i = 0; i < nchunks; i++) out_layers[i] = 1;
    for (int64_t left = axis->extent - nchunks; left > 0; left--) {
        int least = 0;
        double least_work = 0;
        for (int i = 0; i < nchunks; i++) {
            double work = (double)out_layers[i] * w.layer + (i == 0 ? w.before : 0) + (i == nchunks - 1 ? w.behind : 0);
            if (i && work >= least_work) continue;
            least = i;
            least_work = work;
        }
        out_layers[least]++;
    }
}

static int variant_of(Unit *u, Pipeline *p, const Axis *axis, bool first, bool last, int64_t layers) {
    for (int i = 0; i < p->nvariants; i++)
        if (p->variants[i].first == first && p->variants[i].last == last && p->variants[i].layers == layers) return i;
    Variant *v = &p->variants[p->nvariants];
    *v = (Variant){first, last, layers, NULL};
    if (axis) {
        Axis *own = unit_add_axis(u, str_internf(u->strs, "%s.%d", axis->name, p->nvariants), layers, axis->loc);
        own->whole = axis;
        v->axis = own;
    }
    return p->nvariants++;
}

static void make_chunks(Unit *u, Pipeline *p, const Axis *axis, const int *place) {
    int64_t *layers = NEW_ARRAY(u->scratch, int64_t, p->nchunks), first = 0;
    if (axis) give_layers(u, axis, p->nchunks, layers);
    p->chunks = NEW_ARRAY(u->arena, Chunk, p->nchunks);
    p->variants = NEW_ARRAY(u->arena, Variant, p->nchunks);
    for (int i = 0; i < p->nchunks; i++) {
        int variant = variant_of(u, p, axis, i == 0, i == p->nchunks - 1, layers[i]);
        p->chunks[i] = (Chunk){.stage = place ? place[i] : 0, .variant = variant, .first = first, .layers = layers[i]};
        first += layers[i];
    }
}

// ---- the whole
// ----------------------------------------------------------------------------------------------------------

static bool plan_stages(Unit *u, Pipeline *p, const Axis **out_axis) {
    const Strategy *s = u->strategy;
    p->microbatches = mesh_extent(&u->mesh, u->mesh.time);
    p->nstages = (int)mesh_extent(&u->mesh, u->mesh.stages);
    p->nchunks = 1;
    *out_axis = NULL;
    if (p->nstages > 1) {
        if (!(p->schedule = schedule_of_strategy(s, u->arena, u->scratch, u->diag))) return false;
        p->nchunks = p->schedule->chunks;
        *out_axis = s->pipe_axis;
        if (p->nchunks > s->pipe_axis->extent) {
            diag_error(u->diag, s->pipe_loc, "%d chunks need as many places of '%s', which has %lld", p->nchunks,
                       s->pipe_axis->name, (long long)s->pipe_axis->extent);
            return false;
        }
    }
    make_chunks(u, p, *out_axis, p->schedule ? p->schedule->place : NULL);
    return true;
}

static Cut *cut_begin(Unit *u, Pipeline *p, Func *f, const Axis *axis) {
    Cut *c = NEW(u->scratch, Cut);
    *c = (Cut){.u = u, .from = f, .p = p, .a = u->scratch, .time = u->mesh.time, .axis = axis, .ok = true};
    if (axis) c->stages = u->mesh.stages;
    for (int i = 0; i < p->nchunks; i++) c->all |= chunk_roles(p, i);
    repeat_close_bodies(f);
    if (p->schedule && p->schedule->halves && !cut_halves(c)) return NULL;
    c->fact = NEW_ARRAY(c->a, Fact, f->next_id);
    return cut_facts(c) ? c : NULL;
}

static void take_tasks(Unit *u, Pipeline *p, Cut *c) {
    c->first_func = u->funcs.n;
    for (int i = 0; i < c->tasks.n; i++) vec_push(u->arena, &u->funcs, c->tasks.at[i]->func);
    int *variants = NEW_ARRAY(u->arena, int, u->funcs.n + 1);
    if (c->first_func) memcpy(variants, p->variant_of, sizeof *variants * (size_t)c->first_func);
    for (int i = 0; i < c->tasks.n; i++) variants[c->first_func + i] = c->tasks.at[i]->variant;
    p->variant_of = variants;
}

// Chunks behind one another on one stage: forward only, each does several microbatches before the next begins.
static bool has_neighbours(const Pipeline *p) {
    for (int i = 1; i < p->nchunks; i++)
        if (p->chunks[i].stage == p->chunks[i - 1].stage) return true;
    return false;
}

bool pass_pipeline(Unit *u) {
    if (!(u->mesh.time | u->mesh.stages)) return true;
    Pipeline *p = NEW(u->arena, Pipeline);
    const Axis *axis;
    if (!plan_stages(u, p, &axis)) return false;
    int n = u->funcs.n;
    Cut **cuts = NEW_ARRAY(u->scratch, Cut *, n + 1);
    Holders holders = {0};
    for (int i = 0; i < n; i++) {
        if (!(cuts[i] = cut_begin(u, p, u->funcs.at[i], axis))) return false;
        cut_holders(cuts[i], &holders);
    }
    u->funcs.n = 0;
    p->lists = NEW_ARRAY(u->arena, StepList, n + 1);
    for (int train = 1; train >= 0; train--) // first train, which says how many slots there are
        for (int i = 0; i < n; i++) {
            bool is_train = !strcmp(cuts[i]->from->name, "train");
            if (is_train != train) continue;
            cuts[i]->roomy = is_train && p->schedule ? !cut_single_buffers(p->schedule, u->scratch) : has_neighbours(p);
            if (!cut_tasks(cuts[i], &holders)) return false;
            take_tasks(u, p, cuts[i]);
            if (!cut_steps(cuts[i], is_train ? p->schedule : NULL, &p->lists[p->nlists++])) return false;
        }
    u->pipeline = p;
    if (!pass_simplify(u)) return false;
    for (int i = 0; i < p->nlists; i++)
        if (!pipeline_check(u, &p->lists[i])) return false;
    return true;
}
