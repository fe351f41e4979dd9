// SPDX-License-Identifier: Apache-2.0
// plan place: what the ranks of a stage hold of a leaf.
#include "runtime/plan.h"

static bool is_chunked(const PlanLeaf *l) { return plan_by_variant(l->section); }

// Pieces of the leaf on the stage, and the layers in them.
static int64_t pieces_on(const Plan *p, const PlanLeaf *l, int stage, int64_t *out_layers) {
    int64_t pieces = 0;
    *out_layers = 0;
    for (int c = 0; c < p->nchunks; c++) {
        const PlanChunk *chunk = &p->chunks[c];
        if (chunk->stage != stage || l->offset[chunk->variant] < 0) continue;
        pieces++;
        *out_layers += p->variants[chunk->variant].layers;
    }
    return pieces;
}

void plan_place(const Plan *p, const PlanLeaf *l, int stage, PlanPlace *out) {
    int64_t layers = 0, pieces = is_chunked(l) ? pieces_on(p, l, stage, &layers) : 1;
    int stages = 0; // that hold it
    for (int s = 0; s < p->nstages; s++) {
        int64_t unused;
        stages += !is_chunked(l) || pieces_on(p, l, s, &unused) > 0;
    }
    *out = (PlanPlace){.bytes = l->layered < 0 ? pieces * l->bytes : layers * l->bytes};
    uint32_t all = (1u << p->nmesh) - 1, split = 0;
    for (int i = 0; i < l->rank; i++) {
        out->local[i] = i == l->layered ? layers : l->dim[i].local;
        out->split[i] = l->dim[i].split | (i == l->layered ? p->stage_mesh : 0);
        split |= out->split[i];
    }
    out->replicated = all & ~split;
    if (stages < p->nstages) out->replicated &= ~p->stage_mesh;
}
