// SPDX-License-Identifier: Apache-2.0
// type: what a value is: element type, named dimensions in storage order (row-major, last fastest), and placement:
// which mesh axes split each dimension, and over which mesh axes the value is pending (each rank holds a partial sum or
// maximum). Prints as  bf16[batch/data=8, seq=1024, width=4096] +sum(tensor)   extents are global.
//
// A dimension of extent E split W ways gives each rank L = ceil(E / W) places; coordinate c holds global indices
// [c*L, min((c+1)*L, E)). Places beyond E are padding: their content is arbitrary and must never reach a valid place.
#pragma once
#include "ir/axis.h"
#include "ir/dtype.h"
#include "ir/mesh.h"

typedef struct Dim {
    const Axis *axis;
    MeshSet split;
} Dim;

typedef struct Type {
    DType dtype;
    int rank;
    MeshSet sum, max; // pending over these mesh axes; disjoint from each other and from every split
    Dim dim[RANK_MAX];
} Type;

Type type_scalar(DType dtype);
Type type_of(DType dtype, const Axes *axes);    // unsplit
bool type_push(Type *t, const Axis *axis);      // append an unsplit dimension; false when full
int type_find(const Type *t, const Axis *axis); // position or -1
Axes type_axes(const Type *t);
bool type_same_dims(const Type *a, const Type *b);        // same axes in the same order (dtype and placement ignored)
bool type_equal(const Type *a, const Type *b);            // everything
MeshSet type_split(const Type *t);                        // union over dimensions
int64_t dim_local(const Dim *d, const Mesh *m);           // L above
bool dim_padded(const Dim *d, const Mesh *m);             // the mesh does not divide it
bool type_elements(const Type *t, int64_t *out_elements); // global; false on overflow
bool type_local_elements(const Type *t, const Mesh *m, int64_t *out_elements); // on each rank, padding included
