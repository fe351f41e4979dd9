// SPDX-License-Identifier: Apache-2.0
// memory_stages: where the sections lie in the slab of each stage (ir/storage.h), and which stage needs most.
#include "base/checked.h"
#include "passes/memory.h"

// The most that a task of the stage's lists needs, of the slab or of the host's memory.
static int64_t work_bytes(const Storage *s, int stage, bool stash) {
    int64_t most = 0;
    for (int i = 0; i < s->pipeline->nlists; i++) {
        const StepList *l = &s->pipeline->lists[i];
        for (int64_t k = 0; k < l->count[stage]; k++) {
            const Step *step = &l->steps[stage][k];
            const FuncStorage *f = step->kind == STEP_RUN ? &s->funcs[step->func] : NULL;
            int64_t bytes = !f ? 0 : stash ? f->stash_bytes : f->activation_bytes;
            if (bytes > most) most = bytes;
        }
    }
    return most;
}

static bool push(int64_t *at, int64_t bytes) { return checked_add(*at, bytes, at); }

static bool place_stage(Storage *s, int stage) {
    const Pipeline *p = s->pipeline;
    StageStorage *out = &s->stages[stage];
    int64_t at = s->rank_bytes;
    for (int c = 0; c < p->nchunks; c++) {
        const VariantStorage *v = &s->variants[p->chunks[c].variant];
        int64_t slots;
        if (p->chunks[c].stage != stage) continue;
        s->chunks[c].base = at;
        if (!push(&at, v->chunk_bytes)) return false;
        s->chunks[c].slot_base = at;
        if (!checked_mul(v->slot_bytes, p->chunks[c].slots, &slots) || !push(&at, slots)) return false;
    }
    out->work_base = at;
    if (!push(&at, work_bytes(s, stage, false))) return false;
    out->slab_bytes = at;
    at = 0;
    for (int c = 0; c < p->nchunks; c++) {
        if (p->chunks[c].stage != stage) continue;
        s->chunks[c].host_base = at;
        if (!push(&at, s->variants[p->chunks[c].variant].host_bytes)) return false;
    }
    out->stash_base = at;
    if (!push(&at, work_bytes(s, stage, true))) return false;
    out->host_bytes = at;
    return true;
}

// What the stage's slab is made of; all bytes are somewhere.
static void sum_parts(Storage *s, int stage) {
    const Pipeline *p = s->pipeline;
    const StageStorage *of = &s->stages[stage];
    s->slab_bytes = of->slab_bytes;
    s->activation_bytes = of->slab_bytes - of->work_base;
    s->param_bytes = s->state_bytes = s->io_bytes = 0;
    s->buffer_bytes = s->rank_bytes; // but for states, inputs and outputs
    for (int i = 0; i < s->nleaves; i++) {
        const Leaf *l = &s->leaves[i];
        if (l->section != SECTION_RANK || l->kind == LEAF_BUFFER) continue;
        int64_t bytes = (l->bytes + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN;
        *(l->kind == LEAF_STATE ? &s->state_bytes : &s->io_bytes) += bytes;
        s->buffer_bytes -= bytes;
    }
    for (int c = 0; c < p->nchunks; c++) {
        const VariantStorage *v = &s->variants[p->chunks[c].variant];
        if (p->chunks[c].stage != stage) continue;
        s->param_bytes += v->kind_bytes[LEAF_PARAM];
        s->state_bytes += v->kind_bytes[LEAF_STATE];
        s->io_bytes += v->kind_bytes[LEAF_INPUT] + v->kind_bytes[LEAF_OUTPUT];
        s->buffer_bytes += v->kind_bytes[LEAF_BUFFER] + v->slot_bytes * p->chunks[c].slots;
    }
}

bool memory_place_stages(const Unit *u, Storage *s) {
    const Pipeline *p = s->pipeline;
    s->chunks = NEW_ARRAY(u->arena, ChunkStorage, p->nchunks + 1);
    s->stages = NEW_ARRAY(u->arena, StageStorage, p->nstages + 1);
    int most = 0;
    for (int i = 0; i < p->nstages; i++) {
        if (!place_stage(s, i)) return false;
        if (s->stages[i].slab_bytes > s->stages[most].slab_bytes) most = i;
        if (s->stages[i].host_bytes > s->host_bytes) s->host_bytes = s->stages[i].host_bytes;
    }
    sum_parts(s, most);
    return true;
}
