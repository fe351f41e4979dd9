// SPDX-License-Identifier: Apache-2.0
// plan_tasks: what of a plan is no code: the mesh, what lies where in the slabs, and the step lists.
#include "codegen/plan.h"
#include "ir/op.h"
#include <string.h>

_Static_assert((int)SECTION_RANK == (int)PLAN_RANK_OWN && (int)SECTION_STASH == (int)PLAN_STASH, "sections");
_Static_assert((int)LEAF_PARAM == (int)PLAN_PARAM && (int)LEAF_BUFFER == (int)PLAN_BUFFER, "kinds of leaves");
_Static_assert((int)STEP_RUN == (int)PLAN_STEP_RUN && (int)STEP_ZERO == (int)PLAN_STEP_ZERO, "kinds of steps");
_Static_assert((int)SLAB_ALIGN == (int)PLAN_ALIGN, "alignment");

static bool fail(const Unit *u, Str what, const char *why) {
    diag_internal(u->diag, "plan", what, "%s", why);
    return false;
}

// The time axis is the last one: without it the other bits stay what they are.
static bool put_mesh(const Unit *u, Plan *p) {
    const Mesh *m = &u->mesh;
    p->nmesh = m->n - (m->time != 0);
    if (m->time && m->time != (MeshSet)1 << p->nmesh)
        return fail(u, u->name, "microbatches are not the last mesh axis");
    for (int i = 0; i < p->nmesh; i++) {
        p->mesh[i].name = m->axis[i].name;
        p->mesh[i].extent = m->axis[i].extent;
    }
    p->stage_mesh = m->stages;
    p->microbatches = u->storage->pipeline->microbatches;
    if (m->time && mesh_extent(m, m->time) != p->microbatches)
        return fail(u, u->name, "mesh and pipeline differ in microbatches");
    return true;
}

static void put_leaf(const Unit *u, Arena *arena, const Leaf *l, PlanLeaf *out) {
    const Storage *s = u->storage;
    int n = section_by_variant(l->section) ? s->pipeline->nvariants : 1;
    *out = (PlanLeaf){.kind = (PlanLeafKind)l->kind,
                      .name = l->name,
                      .storage = l->storage ? l->storage : str_intern(u->strs, ""),
                      .dtype = (PlanDType)l->type.dtype,
                      .rank = l->type.rank,
                      .section = (PlanSection)l->section,
                      .layered = l->layered,
                      .offset = NEW_ARRAY(arena, int64_t, n),
                      .bytes = l->bytes,
                      .least = l->least,
                      .limit = l->limit};
    memcpy(out->offset, l->offset, sizeof *l->offset * (size_t)n);
    for (int d = 0; d < l->type.rank; d++) {
        const Dim *dim = &l->type.dim[d];
        out->dim[d] = (PlanDim){dim->axis->name, dim->axis->extent, dim->split & ~u->mesh.time, l->local[d]};
    }
}

static int leaf_number(const Storage *s, LeafKind kind, Str name) {
    const Leaf *l = storage_leaf(s, kind, name);
    return l ? (int)(l - s->leaves) : -1;
}

bool plan_layout(const Unit *u, Arena *arena, Plan *p) {
    const Storage *s = u->storage;
    const Pipeline *pipe = s->pipeline;
    if (!put_mesh(u, p)) return false;
    p->slab_bytes = s->slab_bytes;
    p->param_bytes = s->param_bytes;
    p->state_bytes = s->state_bytes;
    p->io_bytes = s->io_bytes;
    p->buffer_bytes = s->buffer_bytes;
    p->activation_bytes = s->activation_bytes;
    p->host_bytes = s->host_bytes;
    p->rank_bytes = s->rank_bytes;
    p->rank_zero_offset = s->rank_zero_offset;
    p->rank_zero_bytes = s->rank_zero_bytes;
    p->nleaves = s->nleaves;
    p->leaves = NEW_ARRAY(arena, PlanLeaf, s->nleaves + 1);
    for (int i = 0; i < s->nleaves; i++) put_leaf(u, arena, &s->leaves[i], &p->leaves[i]);
    p->nvariants = pipe->nvariants;
    p->variants = NEW_ARRAY(arena, PlanVariant, pipe->nvariants + 1);
    for (int i = 0; i < pipe->nvariants; i++) {
        const VariantStorage *v = &s->variants[i];
        p->variants[i] = (PlanVariant){.layers = pipe->variants[i].layers,
                                       .chunk_bytes = v->chunk_bytes,
                                       .slot_bytes = v->slot_bytes,
                                       .host_bytes = v->host_bytes,
                                       .zero_offset = v->zero_offset,
                                       .zero_bytes = v->zero_bytes};
    }
    p->nchunks = pipe->nchunks;
    p->chunks = NEW_ARRAY(arena, PlanChunk, pipe->nchunks + 1);
    for (int i = 0; i < pipe->nchunks; i++) {
        const Chunk *c = &pipe->chunks[i];
        p->chunks[i] = (PlanChunk){.stage = c->stage,
                                   .variant = c->variant,
                                   .first = c->first,
                                   .slots = c->slots,
                                   .base = s->chunks[i].base,
                                   .slot_base = s->chunks[i].slot_base,
                                   .host_base = s->chunks[i].host_base};
    }
    p->nstages = pipe->nstages;
    p->stages = NEW_ARRAY(arena, PlanStage, pipe->nstages + 1);
    for (int i = 0; i < pipe->nstages; i++)
        p->stages[i] = (PlanStage){s->stages[i].work_base, s->stages[i].slab_bytes, s->stages[i].stash_base,
                                   s->stages[i].host_bytes};
    p->nchannels = pipe->nchannels;
    p->channels = NEW_ARRAY(arena, PlanChannel, pipe->nchannels + 1);
    for (int i = 0; i < pipe->nchannels; i++) {
        const Channel *c = &pipe->channels[i];
        p->channels[i] = (PlanChannel){c->from, c->to, leaf_number(s, LEAF_BUFFER, c->from_buffer),
                                       leaf_number(s, LEAF_BUFFER, c->to_buffer)};
        if (p->channels[i].from_leaf < 0) return fail(u, c->from_buffer, "a channel from a buffer that no task has");
        if (p->channels[i].to_leaf < 0) return fail(u, c->to_buffer, "a channel to a buffer that no task has");
    }
    return true;
}

// ---- steps

static void list_leaf(Arena *arena, const Plan *p, int leaf, bool *listed, int **list, int *n) {
    if (leaf < 0 || listed[leaf]) return;
    listed[leaf] = true;
    if (!*list) *list = NEW_ARRAY(arena, int, p->nleaves);
    (*list)[(*n)++] = leaf;
}

// Inputs and outputs of all tasks the program runs.
static void list_leaves(const Unit *u, Arena *arena, const Plan *p, const bool *runs, PlanProgram *out) {
    bool *listed = NEW_ARRAY(arena, bool, p->nleaves + 1);
    for (int f = 0; f < u->funcs.n; f++)
        for (const Node *n = runs[f] ? u->funcs.at[f]->top->first : NULL; n; n = n->next) {
            if (n->op == OP_input)
                list_leaf(arena, p, leaf_number(u->storage, LEAF_INPUT, n->attr.s), listed, &out->inputs,
                          &out->ninputs);
            if (n->op == OP_output)
                list_leaf(arena, p, leaf_number(u->storage, LEAF_OUTPUT, n->attr.s), listed, &out->outputs,
                          &out->noutputs);
        }
}

static bool fits(int64_t x, int64_t most) { return x >= -1 && x <= most; }

// A list of one stage. Sends that it does not wait for are waited for at its end.
// open: by channel and microbatch, all false before and after.
static bool put_steps(const Unit *u, Arena *arena, const Plan *p, const StepList *l, int stage, bool *runs, bool *open,
                      PlanProgram *out) {
    int64_t n = l->count[stage], sends = 0, left = 0;
    for (int64_t i = 0; i < n; i++) sends += l->steps[stage][i].kind == STEP_SEND;
    PlanStep *to = out->steps[stage] = NEW_ARRAY(arena, PlanStep, n + sends + 1);
    for (int64_t i = 0; i < n; i++) {
        const Step *s = &l->steps[stage][i];
        bool message = s->kind != STEP_RUN && s->kind != STEP_ZERO;
        if (!fits(s->chunk, INT16_MAX) || !fits(s->microbatch, INT32_MAX) || !fits(s->slot, INT32_MAX) ||
            !fits(s->to_slot, INT32_MAX))
            return fail(u, l->name, "a step's numbers are out of range");
        to[i] = (PlanStep){.kind = (uint8_t)s->kind,
                           .chunk = message ? 0 : (int16_t)s->chunk,
                           .what = s->kind == STEP_RUN ? s->func
                                   : message           ? s->channel
                                                       : 0,
                           .microbatch = s->kind == STEP_ZERO ? 0 : (int32_t)s->microbatch,
                           .slot = s->kind == STEP_ZERO || s->kind == STEP_WAIT ? 0 : (int32_t)s->slot,
                           .to_slot = s->kind == STEP_COPY ? (int32_t)s->to_slot : 0};
        if (s->kind == STEP_RUN && s->func >= 0 && s->func < u->funcs.n) runs[s->func] = true;
        if (s->kind != STEP_SEND && s->kind != STEP_WAIT) continue;
        if (s->channel < 0 || s->channel >= p->nchannels || s->microbatch < 0 || s->microbatch >= p->microbatches)
            return fail(u, l->name, "a step's numbers are out of range");
        open[s->channel * p->microbatches + s->microbatch] = s->kind == STEP_SEND;
    }
    for (int64_t i = 0; i < n && sends; i++) {
        const PlanStep *s = &to[i];
        if (s->kind != PLAN_STEP_SEND || !open[s->what * p->microbatches + s->microbatch]) continue;
        to[n + left++] = (PlanStep){.kind = PLAN_STEP_WAIT, .what = s->what, .microbatch = s->microbatch};
        open[s->what * p->microbatches + s->microbatch] = false;
    }
    out->count[stage] = n + left;
    return true;
}

bool plan_programs(const Unit *u, Arena *arena, Plan *p) {
    const Pipeline *pipe = u->storage->pipeline;
    p->nprograms = pipe->nlists;
    p->programs = NEW_ARRAY(arena, PlanProgram, pipe->nlists + 1);
    bool *open = NEW_ARRAY(arena, bool, p->nchannels * p->microbatches + 1);
    for (int i = 0; i < pipe->nlists; i++) {
        PlanProgram *out = &p->programs[i];
        bool *runs = NEW_ARRAY(arena, bool, u->funcs.n + 1);
        out->name = pipe->lists[i].name;
        out->count = NEW_ARRAY(arena, int64_t, pipe->nstages);
        out->steps = NEW_ARRAY(arena, PlanStep *, pipe->nstages);
        for (int stage = 0; stage < pipe->nstages; stage++)
            if (!put_steps(u, arena, p, &pipe->lists[i], stage, runs, open, out)) return false;
        list_leaves(u, arena, p, runs, out);
    }
    return true;
}
