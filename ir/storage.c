// SPDX-License-Identifier: Apache-2.0
#include "ir/storage.h"
#include "base/arena.h"

const Pipeline *pipeline_of_one(const Unit *u, Arena *a) {
    Pipeline *p = NEW(a, Pipeline);
    int n = u->funcs.n;
    *p = (Pipeline){.microbatches = 1, .nstages = 1, .nchunks = 1, .nvariants = 1, .nlists = n};
    p->chunks = NEW(a, Chunk);
    p->variants = NEW(a, Variant);
    *p->variants = (Variant){.first = true, .last = true};
    p->variant_of = NEW_ARRAY(a, int, n + 1);
    p->lists = NEW_ARRAY(a, StepList, n + 1);
    for (int i = 0; i < n; i++) {
        StepList *l = &p->lists[i];
        l->name = u->funcs.at[i]->name;
        l->count = NEW(a, int64_t);
        l->steps = NEW(a, Step *);
        l->steps[0] = NEW(a, Step);
        l->count[0] = 1;
        *l->steps[0] = (Step){.kind = STEP_RUN, .func = i};
    }
    return p;
}

Leaf *storage_leaf(const Storage *s, LeafKind kind, Str name) {
    for (int i = 0; i < s->nleaves; i++)
        if (s->leaves[i].kind == kind && s->leaves[i].name == name) return &s->leaves[i];
    return NULL;
}

int64_t storage_leaf_bytes(const Storage *s, const Leaf *l, int variant) {
    return l->layered < 0 ? l->bytes : l->bytes * s->pipeline->variants[variant].layers;
}

Place storage_leaf_place(const Mesh *mesh, const Leaf *l, int variant, const Type *t) {
    Place p = {.placed = true, .section = l->section, .ahead = -1};
    p.offset = l->offset[section_by_variant(l->section) ? variant : 0];
    int64_t stride = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        p.dim_stride[d] = stride;
        if (l->kind != LEAF_BUFFER && t->dim[d].split & mesh->time)
            p.micro = dim_local(&t->dim[d], mesh) * stride * dtype_bytes(t->dtype);
        stride *= d == l->layered ? t->dim[d].axis->extent : l->local[d];
    }
    return p;
}
