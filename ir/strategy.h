// SPDX-License-Identifier: Apache-2.0
// strategy: how a model is laid out, as the author wrote it and the frontend checked it. One Split per (axis, mesh
// axes) pair.
#pragma once
#include "ir/axis.h"
#include "ir/mesh.h"

typedef struct Split {
    const Axis *axis;
    MeshSet over;
    Loc loc;      // of the axis name in the split line
    Loc over_loc; // of the mesh axis
} Split;

struct Strategy {
    Str name;
    Mesh mesh;
    int nsplits;
    Split *splits;
    Loc loc;
};
