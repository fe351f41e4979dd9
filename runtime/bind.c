// SPDX-License-Identifier: Apache-2.0
#include "runtime/bind.h"
#include "runtime/dtype.h"
#include "runtime/program.h"
#include "runtime/world.h"
#include <stdlib.h>
#include <string.h>

World *program_world(const Program *p) { return p->options.world; }

int64_t leaf_elements(const PlanLeaf *l) {
    int64_t n = 1;
    for (int i = 0; i < l->rank; i++) n *= l->dim[i].extent;
    return n;
}

int64_t leaf_bytes(const PlanLeaf *l) { return leaf_elements(l) * plan_dtype_bytes(l->dtype); }

// ---- pieces ---------------------------------------------------------------------------------------------------------
typedef struct Piece { // where a rank holds something of the leaf
    int rank;
    char *at; // NULL: in another process
    int64_t bytes;
    int64_t first, layers; // of the layered dimension
    bool copy;             // of what an earlier piece holds
} Piece;

static uint32_t leaf_split(const PlanLeaf *l) {
    uint32_t split = 0;
    for (int i = 0; i < l->rank; i++) split |= l->dim[i].split;
    return split;
}

// The first chunk that has the leaf.
static int home_chunk(const Plan *p, const PlanLeaf *l) {
    int c = 0;
    while (c < p->nchunks && l->offset[p->chunks[c].variant] < 0) c++;
    return c;
}

// The leaf's next piece; *at counts ranks and chunks, 0 at the start. Copies have the lowest stage's, or chunk's, piece
// of rank with coordinate 0 beyond the leaf's splits as their original.
static bool piece_next(const Program *p, const PlanLeaf *l, int64_t *at, Piece *out) {
    const Plan *plan = p->plan;
    bool chunked = l->section == PLAN_CHUNK || l->section == PLAN_HOST;
    for (int64_t n = chunked ? plan->nchunks : 1; *at < n * p->nranks;) {
        int rank = (int)(*at / n), c = (int)(*at % n);
        Rank *k = &p->ranks[rank];
        ++*at;
        *out = (Piece){.rank = rank, .bytes = l->bytes};
        if (!chunked) {
            int64_t base = l->section == PLAN_WORK ? plan->stages[k->stage].work_base : 0;
            if (k->device) out->at = k->device->slab + l->offset[0] + base;
            out->copy = plan_coord(plan, ~leaf_split(l), rank) != 0;
            return true;
        }
        const PlanChunk *chunk = &plan->chunks[c];
        if (chunk->stage != k->stage || l->offset[chunk->variant] < 0) continue;
        char *base = !k->device ? NULL : l->section == PLAN_HOST ? rank_chunk_host(p, rank, c) : rank_chunk(p, rank, c);
        if (base) out->at = base + l->offset[chunk->variant];
        out->bytes = plan_leaf_bytes(plan, l, chunk->variant);
        out->first = chunk->first;
        out->layers = plan->variants[chunk->variant].layers;
        out->copy = plan_coord(plan, ~leaf_split(l) & ~plan->stage_mesh, rank) != 0 ||
                    (l->layered < 0 && c != home_chunk(plan, l));
        return true;
    }
    return false;
}

// ---- one piece's part of the whole ----------------------------------------------------------------------------------
// Rows of consecutive elements that are consecutive on both sides, in rising order.
typedef struct Part {
    int64_t element, row_bytes;
    int nloops;                                                                  // dimensions outside a row
    int64_t valid[PLAN_RANK], global_stride[PLAN_RANK], local_stride[PLAN_RANK]; // strides in bytes
    int64_t global_base; // of the part's first element in the whole, in bytes
    int64_t at[PLAN_RANK];
    bool done, padded;
} Part;

static Part part_of(const Plan *p, const PlanLeaf *l, const Piece *piece) {
    Part t = {.element = plan_dtype_bytes(l->dtype)};
    int64_t global = t.element, local = t.element, locals[PLAN_RANK];
    t.row_bytes = t.element;
    for (int i = l->rank - 1; i >= 0; i--) {
        const PlanDim *d = &l->dim[i];
        locals[i] = i == l->layered ? piece->layers : d->local;
        int64_t start = i == l->layered ? piece->first : plan_coord(p, d->split, piece->rank) * locals[i];
        int64_t left = d->extent - start;
        t.valid[i] = left < 0 ? 0 : left < locals[i] ? left : locals[i];
        t.padded = t.padded || t.valid[i] < locals[i];
        t.global_stride[i] = global;
        t.local_stride[i] = local;
        t.global_base += start * global;
        global *= d->extent;
        local *= locals[i];
        if (!t.valid[i]) t.done = true;
    }
    t.nloops = l->rank;
    while (t.nloops && t.global_stride[t.nloops - 1] == t.row_bytes && t.local_stride[t.nloops - 1] == t.row_bytes) {
        int64_t n = t.valid[--t.nloops];
        t.row_bytes *= n;
        if (n != l->dim[t.nloops].extent || n != locals[t.nloops]) break;
    }
    return t;
}

// The next row's place in the whole and in the part, in bytes. False when there are no more.
static bool part_next(Part *t, int64_t *out_global, int64_t *out_local) {
    if (t->done) return false;
    *out_global = t->global_base;
    *out_local = 0;
    for (int i = 0; i < t->nloops; i++) {
        *out_global += t->at[i] * t->global_stride[i];
        *out_local += t->at[i] * t->local_stride[i];
    }
    int i = t->nloops - 1;
    while (i >= 0 && ++t->at[i] == t->valid[i]) t->at[i--] = 0;
    t->done = i < 0;
    return true;
}

// ---- whole arrays ---------------------------------------------------------------------------------------------------
static void describe_place(const PlanLeaf *l, int64_t element, char *text, size_t size) {
    int64_t at[PLAN_RANK];
    for (int i = l->rank - 1; i >= 0; i--) {
        at[i] = element % l->dim[i].extent;
        element /= l->dim[i].extent;
    }
    size_t n = 0;
    text[0] = 0;
    for (int i = 0; i < l->rank && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%.40s=%lld", i ? ", " : "", l->dim[i].axis, (long long)at[i]);
}

static Status check_ids(const PlanLeaf *l, const void *values) {
    if (l->limit == 0 || l->dtype != PLAN_I32) return status_ok();
    const int32_t *ids = values;
    for (int64_t i = 0, n = leaf_elements(l); i < n; i++)
        if (ids[i] < l->least || ids[i] >= l->limit) {
            char place[200];
            describe_place(l, i, place, sizeof place);
            return status_make(STATUS_RANGE, "input '%s' has %d at [%s]; allowed are %lld to %lld", l->name, ids[i],
                               place, (long long)l->least, (long long)l->limit - 1);
        }
    return status_ok();
}

// ---- moving what a rank holds ---------------------------------------------------------------------------------------
// Nothing runs meanwhile: the host's memory is at rest too.
static void piece_zero(Device *d, const PlanLeaf *l, const Piece *piece) {
    if (plan_is_host(l->section)) memset(piece->at, 0, (size_t)piece->bytes);
    else d->v->zero(d, piece->at, piece->bytes);
}

static void piece_write(Device *d, const PlanLeaf *l, char *to, const void *from, int64_t bytes) {
    if (plan_is_host(l->section)) memcpy(to, from, (size_t)bytes);
    else d->v->write(d, to, from, bytes);
}

static void piece_read(Device *d, const PlanLeaf *l, void *to, const char *from, int64_t bytes) {
    if (plan_is_host(l->section)) memcpy(to, from, (size_t)bytes);
    else d->v->read(d, to, from, bytes);
}

Status program_write_leaf(Program *p, int leaf, const void *values) {
    const PlanLeaf *l = &p->plan->leaves[leaf];
    if (l->kind == PLAN_INPUT) STATUS_TRY(check_ids(l, values));
    Piece piece;
    for (int64_t i = 0; piece_next(p, l, &i, &piece);) {
        if (!piece.at) continue;
        Device *d = p->ranks[piece.rank].device;
        Part t = part_of(p->plan, l, &piece);
        int64_t whole, local;
        if (t.padded) piece_zero(d, l, &piece);
        while (part_next(&t, &whole, &local))
            piece_write(d, l, piece.at + local, (const char *)values + whole, t.row_bytes);
    }
    p->is_set[leaf] = true;
    return status_ok();
}

void program_zero_leaf(Program *p, int leaf) {
    Piece piece;
    const PlanLeaf *l = &p->plan->leaves[leaf];
    for (int64_t i = 0; piece_next(p, l, &i, &piece);) {
        Device *d = p->ranks[piece.rank].device;
        if (piece.at) piece_zero(d, l, &piece);
    }
}

// Compares a piece that only repeats another with what that one gave.
static Status check_copy(Program *p, const PlanLeaf *l, const Piece *piece, const char *whole_values) {
    Device *d = p->ranks[piece->rank].device;
    Part t = part_of(p->plan, l, piece);
    int64_t whole, local;
    while (part_next(&t, &whole, &local)) {
        char own[256];
        for (int64_t from = 0; from < t.row_bytes; from += (int64_t)sizeof own) {
            int64_t n = t.row_bytes - from < (int64_t)sizeof own ? t.row_bytes - from : (int64_t)sizeof own;
            piece_read(d, l, own, piece->at + local + from, n);
            for (int64_t i = 0; i < n; i++)
                if (own[i] != whole_values[whole + from + i]) {
                    char place[200];
                    describe_place(l, (whole + from + i) / t.element, place, sizeof place);
                    return status_make(STATUS_COMM, "rank %d holds another '%s' than its copies, first at [%s]",
                                       piece->rank, l->name, place);
                }
        }
    }
    return status_ok();
}

// ---- whole arrays out of several processes
// --------------------------------------------------------------------------- What each process has of a leaf travels
// packed: the rows of its pieces, one behind the other.
static int64_t part_bytes(Part t) {
    int64_t bytes = t.done ? 0 : t.row_bytes;
    for (int i = 0; i < t.nloops; i++) bytes *= t.valid[i];
    return bytes;
}

static void pack_pieces(Program *p, const PlanLeaf *l, char *out) {
    Piece piece;
    int64_t whole, local;
    for (int64_t i = 0; piece_next(p, l, &i, &piece);) {
        if (piece.copy || !piece.at) continue;
        Device *d = p->ranks[piece.rank].device;
        Part t = part_of(p->plan, l, &piece);
        while (part_next(&t, &whole, &local)) {
            piece_read(d, l, out, piece.at + local, t.row_bytes);
            out += t.row_bytes;
        }
    }
}

static void unpack_pieces(const Program *p, const PlanLeaf *l, const char *packed, char *out_values) {
    Piece piece;
    int64_t whole, local;
    for (int64_t i = 0; piece_next(p, l, &i, &piece);) { // by rank, as they were gathered
        if (piece.copy) continue;
        Part t = part_of(p->plan, l, &piece);
        while (part_next(&t, &whole, &local)) {
            memcpy(out_values + whole, packed, (size_t)t.row_bytes);
            packed += t.row_bytes;
        }
    }
}

// root -1: for all.
static Status gather_leaf(Program *p, const PlanLeaf *l, int root, void *out_values) {
    World *w = p->options.world;
    int64_t *bytes_of = calloc((size_t)w->size, sizeof *bytes_of), all = leaf_bytes(l);
    if (!bytes_of) return world_fail(w, status_make(STATUS_MEMORY, "no memory to read '%s'", l->name));
    Piece piece;
    int sole = -1; // who has all of it
    for (int64_t i = 0; piece_next(p, l, &i, &piece);)
        if (!piece.copy) bytes_of[piece.rank] += part_bytes(part_of(p->plan, l, &piece));
    for (int r = 0; r < w->size; r++)
        if (bytes_of[r] == all) sole = r;
    bool takes = root < 0 || w->rank == root;
    char *own = malloc((size_t)bytes_of[w->rank] + 1), *packed = takes ? malloc((size_t)all + 1) : NULL;
    Status s = status_ok();
    if (!own || (takes && !packed)) s = world_fail(w, status_make(STATUS_MEMORY, "no memory to read '%s'", l->name));
    if (!status_failed(&s)) {
        pack_pieces(p, l, own);
        if (sole >= 0 && root < 0) {
            if (w->rank == sole) memcpy(packed, own, (size_t)all);
            s = world_broadcast(w, sole, packed, all);
        } else {
            s = world_gather(w, root, own, bytes_of, packed);
        }
    }
    if (!status_failed(&s) && takes) unpack_pieces(p, l, packed, out_values);
    free(own);
    free(packed);
    free(bytes_of);
    return s;
}

static Status check_copies(Program *p, const PlanLeaf *l, const void *values) {
    Piece piece;
    for (int64_t i = 0; piece_next(p, l, &i, &piece);)
        if (piece.copy && piece.at) STATUS_TRY(check_copy(p, l, &piece, values));
    return status_ok();
}

Status program_collect_leaf(Program *p, int leaf, void *out_values) {
    if (p->options.world) return gather_leaf(p, &p->plan->leaves[leaf], 0, out_values);
    return program_read_leaf(p, leaf, false, out_values);
}

Status program_read_leaf(Program *p, int leaf, bool check, void *out_values) {
    const PlanLeaf *l = &p->plan->leaves[leaf];
    World *w = p->options.world;
    Piece piece;
    if (w) {
        STATUS_TRY(gather_leaf(p, l, -1, out_values));
        return check ? world_agree(w, check_copies(p, l, out_values)) : status_ok();
    }
    for (int64_t i = 0; piece_next(p, l, &i, &piece);) {
        if (piece.copy) continue;
        Device *d = p->ranks[piece.rank].device;
        Part t = part_of(p->plan, l, &piece);
        int64_t whole, local;
        while (part_next(&t, &whole, &local))
            piece_read(d, l, (char *)out_values + whole, piece.at + local, t.row_bytes);
    }
    return check ? check_copies(p, l, out_values) : status_ok();
}

// ---- by name --------------------------------------------------------------------------------------------------------
Status program_find_leaf(const Program *p, PlanLeafKind kind, const char *name, PlanDType type, int64_t count,
                         int *out_leaf) {
    static const char *const kinds[] = {"parameter", "state", "input", "output", "buffer"};
    *out_leaf = plan_leaf(p->plan, kind, name);
    if (*out_leaf < 0) return status_make(STATUS_INVALID, "the model has no %s '%s'", kinds[kind], name);
    const PlanLeaf *l = &p->plan->leaves[*out_leaf];
    if (l->dtype != type)
        return status_make(STATUS_INVALID, "%s '%s' is %s, not %s", kinds[kind], name, plan_dtype_name(l->dtype),
                           plan_dtype_name(type));
    if (leaf_elements(l) != count)
        return status_make(STATUS_INVALID, "%s '%s' has %lld elements, not %lld", kinds[kind], name,
                           (long long)leaf_elements(l), (long long)count);
    return status_ok();
}

Status program_set(Program *p, PlanLeafKind kind, const char *name, PlanDType type, const void *values, int64_t count) {
    int leaf;
    STATUS_TRY(program_find_leaf(p, kind, name, type, count, &leaf));
    return program_write_leaf(p, leaf, values);
}

Status program_get(Program *p, PlanLeafKind kind, const char *name, PlanDType type, void *out_values, int64_t count) {
    int leaf;
    STATUS_TRY(program_find_leaf(p, kind, name, type, count, &leaf));
    return program_read_leaf(p, leaf, false, out_values);
}

Status program_set_input(Program *p, const char *name, PlanDType type, const void *values, int64_t count) {
    return program_set(p, PLAN_INPUT, name, type, values, count);
}

Status program_get_output(Program *p, const char *name, PlanDType type, void *out_values, int64_t count) {
    return program_get(p, PLAN_OUTPUT, name, type, out_values, count);
}

Status program_set_optional(Program *p, const char *name, int32_t value) {
    if (plan_leaf(p->plan, PLAN_INPUT, name) < 0) return status_ok();
    return program_set_input(p, name, PLAN_I32, &value, 1);
}
