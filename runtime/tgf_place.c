// SPDX-License-Identifier: Apache-2.0
// tgf place: what the ranks hold, and the shapes of a model's tensors.
#include "runtime/tgf_model.h"

_Static_assert((int)TGF_RANK >= (int)PLAN_RANK, "room for every dimension");

int tgf_ranks(const TgfModel *model) { return (int)plan_ranks(program_plan(model->program)); }
int tgf_rank(const TgfModel *model) { return model->world ? model->world->rank : 0; }
int tgf_mesh_axes(const TgfModel *model) { return program_plan(model->program)->nmesh; }

TgfStatus tgf_mesh_axis(const TgfModel *model, int index, const char **out_name, int64_t *out_extent) {
    const Plan *p = program_plan(model->program);
    if (index < 0 || index >= p->nmesh)
        return model_give(status_make(STATUS_RANGE, "the mesh has %d axes, there is no number %d", p->nmesh, index));
    *out_name = p->mesh[index].name;
    *out_extent = p->mesh[index].extent;
    return model_give(status_ok());
}

static Status check_rank(const TgfModel *m, int rank) {
    int ranks = tgf_ranks(m);
    if (rank >= 0 && rank < ranks) return status_ok();
    return status_make(STATUS_RANGE, "the model runs on %d ranks, there is no rank %d", ranks, rank);
}

TgfStatus tgf_memory(const TgfModel *model, int rank, TgfMemory *out_memory) {
    GIVE_TRY(model_need(model, "model"));
    GIVE_TRY(check_rank(model, rank));
    ProgramMemory m = program_memory(model->program, rank);
    *out_memory = (TgfMemory){.planned = m.planned, .slab = m.slab, .scratch = m.scratch, .host = m.host};
    return model_give(status_ok());
}

static Status check_kind(TgfKind kind) {
    return (unsigned)kind <= TGF_OUTPUT ? status_ok() : status_make(STATUS_INVALID, "unknown kind %d", (int)kind);
}

static Status find(const TgfModel *m, TgfKind kind, const char *name, const PlanLeaf **out_leaf) {
    STATUS_TRY(model_need(m, "model"));
    STATUS_TRY(check_kind(kind));
    STATUS_TRY(model_need(name, "name"));
    const Plan *p = program_plan(m->program);
    int leaf = plan_leaf(p, (PlanLeafKind)kind, name);
    if (leaf < 0) return status_make(STATUS_INVALID, "the model has no such thing as '%s'", name);
    *out_leaf = &p->leaves[leaf];
    return status_ok();
}

TgfStatus tgf_place(const TgfModel *model, TgfKind kind, const char *name, int rank, TgfPlacement *out_placement) {
    const PlanLeaf *l;
    GIVE_TRY(find(model, kind, name, &l));
    GIVE_TRY(check_rank(model, rank));
    const Plan *p = program_plan(model->program);
    PlanPlace place;
    plan_place(p, l, plan_stage(p, rank), &place);
    *out_placement = (TgfPlacement){.bytes = place.bytes, .replicated = place.replicated};
    out_placement->host = plan_is_host(l->section);
    for (int i = 0; i < l->rank; i++) {
        out_placement->local[i] = place.local[i];
        out_placement->split[i] = place.split[i];
    }
    return model_give(status_ok());
}

int tgf_count(const TgfModel *model, TgfKind kind) {
    const Plan *p = program_plan(model->program);
    int n = 0;
    for (int i = 0; i < p->nleaves; i++) n += (int)p->leaves[i].kind == (int)kind;
    return n;
}

static void describe(const PlanLeaf *l, TgfTensor *out) {
    *out = (TgfTensor){.name = l->name, .type = (TgfType)l->dtype, .rank = l->rank, .count = leaf_elements(l)};
    for (int i = 0; i < l->rank; i++) {
        out->axis[i] = l->dim[i].axis;
        out->extent[i] = l->dim[i].extent;
    }
}

TgfStatus tgf_describe(const TgfModel *model, TgfKind kind, const char *name, TgfTensor *out_tensor) {
    const PlanLeaf *l;
    GIVE_TRY(find(model, kind, name, &l));
    describe(l, out_tensor);
    return model_give(status_ok());
}

TgfStatus tgf_describe_at(const TgfModel *model, TgfKind kind, int index, TgfTensor *out_tensor) {
    GIVE_TRY(model_need(model, "model"));
    const Plan *p = program_plan(model->program);
    for (int i = 0; i < p->nleaves && index >= 0; i++)
        if ((int)p->leaves[i].kind == (int)kind && index-- == 0) {
            describe(&p->leaves[i], out_tensor);
            return model_give(status_ok());
        }
    return model_give(status_make(STATUS_INVALID, "there are fewer than that"));
}
