// SPDX-License-Identifier: Apache-2.0
#include "ir/type.h"
#include "base/checked.h"

Type type_scalar(DType dtype) { return (Type){.dtype = dtype}; }

Type type_of(DType dtype, const Axes *axes) {
    Type t = type_scalar(dtype);
    for (int i = 0; i < axes->n; i++) type_push(&t, axes->at[i]);
    return t;
}

bool type_push(Type *t, const Axis *axis) {
    if (t->rank == RANK_MAX) return false;
    t->dim[t->rank++] = (Dim){axis, 0};
    return true;
}

int type_find(const Type *t, const Axis *axis) {
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i].axis == axis) return i;
    return -1;
}

Axes type_axes(const Type *t) {
    Axes a = {0};
    for (int i = 0; i < t->rank; i++) axes_push(&a, t->dim[i].axis);
    return a;
}

bool type_same_dims(const Type *a, const Type *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i].axis != b->dim[i].axis) return false;
    return true;
}

bool type_equal(const Type *a, const Type *b) {
    if (a->dtype != b->dtype || a->sum != b->sum || a->max != b->max || !type_same_dims(a, b)) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i].split != b->dim[i].split) return false;
    return true;
}

MeshSet type_split(const Type *t) {
    MeshSet s = 0;
    for (int i = 0; i < t->rank; i++) s |= t->dim[i].split;
    return s;
}

int64_t dim_local(const Dim *d, const Mesh *m) {
    return d->split ? ceil_div(d->axis->extent, mesh_extent(m, d->split)) : d->axis->extent;
}

bool dim_padded(const Dim *d, const Mesh *m) { return d->split && d->axis->extent % mesh_extent(m, d->split) != 0; }

bool type_elements(const Type *t, int64_t *out_elements) {
    *out_elements = 1;
    for (int i = 0; i < t->rank; i++)
        if (!checked_mul(*out_elements, t->dim[i].axis->extent, out_elements)) return false;
    return true;
}

bool type_local_elements(const Type *t, const Mesh *m, int64_t *out_elements) {
    *out_elements = 1;
    for (int i = 0; i < t->rank; i++)
        if (!checked_mul(*out_elements, dim_local(&t->dim[i], m), out_elements)) return false;
    return true;
}
