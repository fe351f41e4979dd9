// SPDX-License-Identifier: Apache-2.0
// lower_loops: the loops of a nest: from axes to factors, from factors to merged groups, from coordinates over factors
// to addresses over the kernel's variables.
#include "codegen/lower_loops.h"
#include <assert.h>
#include <string.h>

KIndex lower_coordinate(const Lower *l, const Axis *axis) {
    KIndex x = {0};
    for (int i = 0; i < l->nloops; i++)
        if (l->loop[i].axis == axis) kindex_add_var(&x, i, l->loop[i].scale);
    return x;
}

// Local extents of the parts that renames in the body split the axis into, or make it of; 1 part when none does.
static int factors_of(const Lower *l, const Axis *axis, const Axis *from, int64_t *out) {
    if (!l->body) return 0;
    for (const Node *n = l->body->first; n; n = n->next) {
        if (n->op != OP_rename) continue;
        const Axes *a = &n->attr.axes, *b = &n->attr.to;
        const Axes *one = a->n == 1 ? a : b, *many = a->n == 1 ? b : a;
        const Type *t = a->n == 1 ? &n->results[0]->type : &n->args[0]->type;
        if (many->n == 1) {
            const Axis *other = a->at[0] == axis ? b->at[0] : b->at[0] == axis ? a->at[0] : NULL;
            int found = other && other != from ? factors_of(l, other, axis, out) : 0;
            if (found) return found;
            continue;
        }
        if (one->at[0] != axis) continue;
        for (int i = 0; i < many->n; i++) out[i] = lower_local(l, &t->dim[type_find(t, many->at[i])]);
        return many->n;
    }
    return 0;
}

// Where the pieces of places and concats along the axis begin.
static void find_cuts(Lower *l, LoopAxis *a) {
    a->ncuts = 1;
    a->cut[0] = 0;
    for (const Node *n = l->body ? l->body->first : l->node; n; n = l->body ? n->next : NULL) {
        if ((n->op != OP_concat && n->op != OP_place) || n->attr.to.at[0] != a->axis) continue;
        int64_t at = n->op == OP_place ? n->attr.i : 0;
        int count = n->op == OP_place ? 2 : n->nargs + 1;
        for (int i = 0; i < count; i++) {
            int p = 0;
            while (p < a->ncuts && a->cut[p] < at) p++;
            if (at < a->extent && (p == a->ncuts || a->cut[p] != at)) {
                if (a->ncuts == LOWER_CUTS) { // too many: selects instead
                    a->ncuts = 1;
                    return;
                }
                memmove(&a->cut[p + 1], &a->cut[p], sizeof *a->cut * (size_t)(a->ncuts - p));
                a->cut[p] = at;
                a->ncuts++;
            }
            if (i < count - 1) at += n->attr.axes.n ? n->attr.axes.at[i]->extent : 1;
        }
    }
}

void lower_add_axis(Lower *l, const Dim *d) {
    int64_t extent = lower_local(l, d), parts[RANK_MAX], product = 1;
    int n = factors_of(l, d->axis, NULL, parts);
    for (int i = 0; i < n; i++) product *= parts[i];
    if (n < 2 || product != extent) {
        n = 1;
        parts[0] = extent;
    }
    int64_t scale = 1;
    for (int i = 1; i < n; i++) scale *= parts[i];
    for (int i = 0; i < n; i++) {
        if (parts[i] > 1) {
            if (l->nloops == LOWER_AXES) {
                l->failed = true;
                return;
            }
            LoopAxis *a = &l->loop[l->nloops++];
            *a = (LoopAxis){.axis = d->axis, .extent = parts[i], .scale = scale, .high = parts[i]};
            a->ncuts = 1;
            if (n == 1) find_cuts(l, a);
        }
        if (i + 1 < n) scale /= parts[i + 1];
    }
}

void lower_group_loops(Lower *l) {
    l->ngroups = 0;
    for (int i = 0; i < l->nloops; i++) {
        LoopAxis *a = &l->loop[i];
        a->low = 0;
        a->high = a->extent;
        bool joins = i && !a->begins && a->ncuts == 1 && l->loop[i - 1].ncuts == 1;
        if (joins) {
            LoopGroup *g = &l->group[l->ngroups - 1];
            g->count++;
            g->extent *= a->extent;
        } else {
            l->group[l->ngroups++] =
                (LoopGroup){.first = i, .count = 1, .extent = a->extent, .var = -1, .chunk_var = -1};
        }
    }
}

KIndex lower_finish(Lower *l, const KIndex *x) {
    KIndex out = {.base = x->base};
    int64_t stride[LOWER_AXES] = {0};
    for (int i = 0; i < x->nvars; i++) stride[x->vars[i].var] = x->vars[i].stride;
    for (int i = 0; i < l->ngroups; i++) {
        const LoopGroup *g = &l->group[i];
        int last = g->first + g->count - 1;
        for (int j = last; j > g->first; j--)
            if (stride[j - 1] != stride[j] * l->loop[j].extent) {
                l->loop[j].begins = true;
                l->again = true;
            }
        if (g->count == 1) out.base += stride[last] * l->loop[last].low;
        if (g->var >= 0) kindex_add_var(&out, g->var, stride[last]);
        if (g->chunk_var >= 0) kindex_add_var(&out, g->chunk_var, stride[last] * g->chunk);
    }
    for (int i = 0; i < x->ndyn; i++) kindex_add_expr(l->k, &out, x->dyn[i].at, x->dyn[i].stride);
    return out;
}

// ---- what a kernel refers to

int lower_buf(Lower *l, const Value *outer, bool written) {
    for (int i = 0; i < l->out->bufs.n; i++)
        if (l->out->bufs.at[i] == outer && l->k->bufs.at[i].written == written) return i;
    const Place *p = lower_place(l, outer);
    if (!p->placed) return lower_fail(l, outer, "has no place in memory"), 0;
    DType t = outer->type.dtype;
    if (t == DT_F64) {
        if (!l->failed) diag_error(l->unit->diag, l->node->loc, "%s values have no kernels yet", dtype_name(t));
        l->failed = true;
        return 0;
    }
    vec_push(l->arena, &l->out->bufs, outer);
    return kernel_buf(l->k, t, written);
}

const Place *lower_place(const Lower *l, const Value *outer) { return &l->places->of[outer->id]; }

KIndex lower_address(Lower *l, const Value *outer, const KIndex *at) {
    const Place *p = lower_place(l, outer);
    KIndex sum = {0};
    for (int d = 0; d < outer->type.rank; d++) kindex_add(l->k, &sum, &at[d], p->dim_stride[d]);
    return lower_finish(l, &sum);
}

KExpr *lower_scalar(Lower *l, LowerScalar s) {
    for (int i = 0; i < l->out->scalars.n; i++) {
        const LowerScalar *t = &l->out->scalars.at[i];
        if (t->factor == s.factor && t->first == s.first && t->mesh == s.mesh && t->iteration == s.iteration)
            return kb_scalar(l->k, i);
    }
    vec_push(l->arena, &l->out->scalars, s);
    return kb_scalar(l->k, l->out->scalars.n - 1);
}

KExpr *lower_shard_offset(Lower *l, const Dim *d) {
    if (d->axis->whole) return lower_scalar(l, (LowerScalar){.first = 1}); // a chunk's layers: split over nothing
    if (mesh_extent(&l->unit->mesh, d->split) == 1) return kb_const(l->k, DT_I32, 0);
    return lower_scalar(l, (LowerScalar){.factor = lower_local(l, d), .mesh = d->split});
}

int64_t lower_local(const Lower *l, const Dim *d) { return dim_local(d, &l->unit->mesh); }
