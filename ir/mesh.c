// SPDX-License-Identifier: Apache-2.0
#include "ir/mesh.h"

int mesh_find(const Mesh *m, Str name) {
    for (int i = 0; i < m->n; i++)
        if (m->axis[i].name == name) return i;
    return -1;
}

int64_t mesh_extent(const Mesh *m, MeshSet set) {
    int64_t e = 1;
    for (int i = 0; i < m->n; i++)
        if (set >> i & 1) e *= m->axis[i].extent;
    return e;
}

int64_t mesh_ranks(const Mesh *m) { return mesh_extent(m, ~(MeshSet)0); }

int64_t mesh_devices(const Mesh *m) { return mesh_extent(m, ~m->time); }

// Distance between ranks that are neighbours along mesh axis i.
static int64_t stride_of(const Mesh *m, int i) {
    int64_t s = 1;
    for (int k = i + 1; k < m->n; k++) s *= m->axis[k].extent;
    return s;
}

int64_t mesh_coord(const Mesh *m, MeshSet set, int64_t rank) {
    int64_t c = 0;
    for (int i = 0; i < m->n; i++)
        if (set >> i & 1) c = c * m->axis[i].extent + rank / stride_of(m, i) % m->axis[i].extent;
    return c;
}

int64_t mesh_group_base(const Mesh *m, MeshSet set, int64_t rank) {
    for (int i = 0; i < m->n; i++)
        if (set >> i & 1) rank -= rank / stride_of(m, i) % m->axis[i].extent * stride_of(m, i);
    return rank;
}

int64_t mesh_member(const Mesh *m, MeshSet set, int64_t rank, int64_t coord) {
    int64_t r = mesh_group_base(m, set, rank);
    for (int i = m->n - 1; i >= 0; i--)
        if (set >> i & 1) {
            r += coord % m->axis[i].extent * stride_of(m, i);
            coord /= m->axis[i].extent;
        }
    return r;
}
