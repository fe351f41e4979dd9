// SPDX-License-Identifier: Apache-2.0
// memory: gives every value that needs memory its place in the slab, at compile time.
//
//   %h: f32[batch=8, hidden=64] = dot %x, %w over width       offset 40960, strides 64 1
//   %t: f32[hidden=64, batch=8] ...a view of it                offset 40960, strides 1 64
//   a carry of a repeat, its first value and its next one     one offset
//   %s, stacked along layer by a repeat                       offset 45056 + 2048 * iteration
//   assign %w, %w2                                            %w2 at the parameter's own offset
//
// Leaves (parameters, optimizer states, inputs and outputs, what tasks leave for one another) lie in the sections of a
// rank, a chunk or a microbatch, the same in all functions; activations in the section of the running function. Buffers
// are placed largest first at the lowest offset that is free while they live.
#include "passes/memory.h"
#include "base/checked.h"
#include "passes/pass.h"
#include "passes/recompute.h"
#include <stdlib.h>

static int64_t align(int64_t bytes) { return (bytes + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN; }

// ---- activations

typedef struct Slot { // a root buffer to place
    int64_t bytes, offset;
    int first, last, buf;
} Slot;

static int earlier(const Slot *x, const Slot *y) {
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x->buf - y->buf;
}
static int descending(double x, double y) { return (x < y) - (x > y); }

static int by_size(const void *a, const void *b) {
    const Slot *x = a, *y = b;
    int d = descending((double)x->bytes, (double)y->bytes);
    return d ? d : earlier(x, y);
}
static double length(const Slot *s) { return (double)s->last - s->first + 1; }
static int by_length(const void *a, const void *b) {
    int d = descending(length(a), length(b));
    return d ? d : by_size(a, b);
}
static int by_area(const void *a, const void *b) {
    const Slot *x = a, *y = b;
    int d = descending(length(x) * (double)x->bytes, length(y) * (double)y->bytes);
    return d ? d : by_size(a, b);
}
static int by_time(const void *a, const void *b) {
    const Slot *x = a, *y = b;
    return x->first != y->first ? earlier(x, y) : by_size(a, b);
}

static int by_offset(const void *a, const void *b) {
    const Slot *x = *(Slot *const *)a, *y = *(Slot *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

// The lowest gap among the placed slots alive at the same time.
static bool place_slot(Slot *slot, Slot *const *alive, int n) {
    int64_t at = 0, end;
    for (int i = 0; i < n; i++) {
        if (!checked_add(at, slot->bytes, &end)) return false;
        if (end <= alive[i]->offset) break;
        end = align(alive[i]->offset + alive[i]->bytes);
        if (end > at) at = end;
    }
    slot->offset = at;
    return checked_add(at, slot->bytes, &end);
}

static bool place_slots(Slot *slot, int n, Slot **alive, int64_t *out_bytes) {
    *out_bytes = 0;
    for (int i = 0; i < n; i++) {
        int count = 0;
        for (int k = 0; k < i; k++)
            if (slot[k].first <= slot[i].last && slot[i].first <= slot[k].last) alive[count++] = &slot[k];
        qsort(alive, (size_t)count, sizeof *alive, by_offset);
        if (!place_slot(&slot[i], alive, count)) return false;
        int64_t end = align(slot[i].offset + slot[i].bytes);
        if (end > *out_bytes) *out_bytes = end;
    }
    return true;
}

// Tries a few orders and keeps the one that needs least.
static bool place_buffers(Memory *m, Section section, int64_t *out_bytes) {
    static int (*const orders[])(const void *, const void *) = {by_size, by_area, by_length, by_time};
    Slot *slot = NEW_ARRAY(m->a, Slot, m->bufs.n), **alive = NEW_ARRAY(m->a, Slot *, m->bufs.n);
    int n = 0;
    for (int i = 0; i < m->bufs.n; i++) {
        const Buf *b = &m->bufs.at[i];
        if (b->into < 0 && b->home && b->last >= 0 && b->section == section)
            slot[n++] = (Slot){b->bytes, 0, b->first, b->last, i};
    }
    *out_bytes = INT64_MAX;
    for (size_t o = 0; o < sizeof orders / sizeof *orders; o++) {
        int64_t bytes;
        qsort(slot, (size_t)n, sizeof *slot, orders[o]);
        if (!place_slots(slot, n, alive, &bytes)) return false;
        if (bytes >= *out_bytes) continue;
        *out_bytes = bytes;
        for (int i = 0; i < n; i++) m->bufs.at[slot[i].buf].offset = slot[i].offset;
    }
    return true;
}

// Collectives keep what they send alive, as many of them as what that costs allows.
static bool place_overlapping(Memory *m, int64_t *out_bytes) {
    int64_t least, allowed;
    if (!place_buffers(m, SECTION_WORK, &least)) return false;
    Windows w = memory_windows(m, &allowed);
    *out_bytes = least;
    if (!w.n) return true;
    int *last = NEW_ARRAY(m->a, int, m->bufs.n), fits = 0, most = w.n;
    for (int i = 0; i < m->bufs.n; i++) last[i] = m->bufs.at[i].last;
    for (int n = w.n; fits < most; n = (fits + most + 1) / 2) { // all, else by halves
        memory_open_windows(m, &w, n, last);
        if (!place_buffers(m, SECTION_WORK, out_bytes)) return false;
        if (*out_bytes - least <= allowed) fits = n;
        else most = n - 1;
    }
    memory_open_windows(m, &w, fits, last);
    return place_buffers(m, SECTION_WORK, out_bytes);
}

// Outputs of this function alone lie among its activations and stay until the next call.
static void place_outputs(const Memory *m) {
    for (const Node *n = m->f->top->first; n; n = n->next) {
        Leaf *leaf = n->op == OP_output ? storage_leaf(m->storage, LEAF_OUTPUT, n->attr.s) : NULL;
        if (leaf && leaf->section == SECTION_WORK)
            leaf->offset[0] = m->bufs.at[memory_root(m, m->leaf_buf[leaf - m->storage->leaves])].offset;
    }
}

static Place place_of(const Memory *m, const Value *v) {
    const Ref *r = &m->ref[v->id];
    Place p = {.placed = r->buf >= 0, .ahead = -1};
    if (!p.placed) return p;
    p.offset = r->offset;
    p.micro = r->micro;
    memcpy(p.loop_stride, r->loop, sizeof p.loop_stride);
    memcpy(p.dim_stride, r->dim, sizeof p.dim_stride);
    const Buf *b = &m->bufs.at[r->buf];
    for (; b->into >= 0; b = &m->bufs.at[b->into])
        if (b->loop >= 0) p.loop_stride[b->loop] += b->loop_stride;
    p.offset += b->offset;
    p.section = b->section;
    return p;
}

static void place_block(const Memory *m, const Block *b, Place *of) {
    for (int i = 0; i < b->nparams; i++) of[b->params[i]->id] = place_of(m, b->params[i]);
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nresults; i++) of[n->results[i]->id] = place_of(m, n->results[i]);
        if (n->op == OP_repeat) place_block(m, n->body, of);
    }
}

bool pass_memory(Unit *u) {
    Storage *s = NEW(u->arena, Storage);
    s->pipeline = u->pipeline ? u->pipeline : pipeline_of_one(u, u->arena);
    if (!memory_place_leaves(u, s)) return false;
    s->funcs = NEW_ARRAY(u->arena, FuncStorage, u->funcs.n);
    for (int i = 0; i < u->funcs.n; i++) {
        Memory m = {.u = u, .f = u->funcs.at[i], .variant = s->pipeline->variant_of[i], .storage = s, .a = u->scratch};
        FuncStorage *fs = &s->funcs[i];
        if (!memory_prepare(u, m.f) || !memory_fetch(u, m.f) || !memory_layout(&m)) return false;
        memory_share(&m);
        if (!place_overlapping(&m, &fs->activation_bytes) || !place_buffers(&m, SECTION_STASH, &fs->stash_bytes)) {
            diag_error(u->diag, (Loc){0}, "the memory of one rank is larger than any machine's");
            return false;
        }
        place_outputs(&m);
        fs->of = NEW_ARRAY(u->arena, Place, m.f->next_id);
        place_block(&m, m.f->top, fs->of);
        for (int k = 0; k < m.fetches.n; k++) {
            const Fetch *x = &m.fetches.at[k];
            fs->of[x->param->id].ahead = m.bufs.at[memory_root(&m, x->ahead)].offset;
        }
    }
    if (!memory_place_stages(u, s)) {
        diag_error(u->diag, (Loc){0}, "the memory of one rank is larger than any machine's");
        return false;
    }
    u->storage = s;
    return recompute_check_budget(u);
}
