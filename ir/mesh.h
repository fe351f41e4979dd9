// SPDX-License-Identifier: Apache-2.0
// mesh: the devices as a grid with named axes, outermost first. Rank r's coordinates are r written in the mixed radix
// of the extents (the last mesh axis is fastest). One more axis, the last, may be no devices at all: microbatches, which
// each rank does one after the other (`time`). To the placement algebra and the interpreter it is an axis as any other;
// the pipeline pass turns it into a loop.
#pragma once
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>

enum { MESH_MAX = 8 };

#define MESH_TIME "microbatch" // name of the axis of microbatches

typedef uint32_t MeshSet; // bit i stands for mesh axis i; in a set, order is mesh order

typedef struct Mesh {
    int n;
    struct {
        Str name;
        int64_t extent;
    } axis[MESH_MAX];
    MeshSet time;   // the axis of microbatches, or empty
    MeshSet stages; // the axis along which the pipeline's stages lie, or empty
} Mesh;

int mesh_find(const Mesh *m, Str name);                            // index or -1
int64_t mesh_extent(const Mesh *m, MeshSet set);                   // product of extents; 1 for the empty set
int64_t mesh_ranks(const Mesh *m);                                 // of all axes, microbatches too
int64_t mesh_devices(const Mesh *m);                               // of all axes but `time`
int64_t mesh_coord(const Mesh *m, MeshSet set, int64_t rank);      // rank's position within its group along `set`
int64_t mesh_group_base(const Mesh *m, MeshSet set, int64_t rank); // the member of rank's group with coordinate 0
int64_t mesh_member(const Mesh *m, MeshSet set, int64_t rank, int64_t coord); // the group's member at a coordinate
