// SPDX-License-Identifier: Apache-2.0
// memory_leaves: what lasts longer than a task gets its place in a section: once a rank, once a chunk of each variant,
// or once a microbatch in flight. Inside a section parameters come first, then states, inputs and outputs, then
// buffers, those that begin as zero side by side.
//
// A task sees one microbatch of an input or output and its chunk's layers of a parameter; the leaf holds all
// microbatches, and is known by the whole axis. A buffer is as the tasks see it.
#include "base/checked.h"
#include "passes/memory.h"
#include "passes/pass.h"

int memory_leaf_kind(const Node *n) {
    switch (n->op) {
    case OP_param: return LEAF_PARAM;
    case OP_state: return LEAF_STATE;
    case OP_input: return LEAF_INPUT;
    case OP_output: return LEAF_OUTPUT;
    case OP_buffer: return LEAF_BUFFER;
    default: return -1;
    }
}

static const Type *leaf_type(const Node *n) { return n->op == OP_output ? &n->args[0]->type : &n->results[0]->type; }

static bool complain(const Unit *u, const Node *n, const char *what) {
    diag_internal(u->diag, "memory", n->attr.s, "%s", what);
    return false;
}

// The leaf that a node stands for, but for its place.
static Leaf leaf_of(const Unit *u, const Node *n) {
    const Type *t = leaf_type(n);
    Leaf l = {
        .kind = (LeafKind)memory_leaf_kind(n), .name = n->attr.s, .storage = n->attr.s2, .type = *t, .layered = -1};
    int64_t elements = 1;
    l.section = section_of(n);
    l.zero = n->op == OP_buffer && n->attr.flag;
    if (n->op == OP_buffer) l.type.sum = l.type.max = 0; // tasks behind the loops see the sum of all microbatches
    if (n->op == OP_input) l.least = n->attr.j, l.limit = n->attr.i;
    for (int d = 0; d < t->rank; d++) {
        Dim *dim = &l.type.dim[d];
        l.local[d] = dim_local(dim, &u->mesh);
        if (n->op != OP_buffer) { // no overflow: op_infer has checked the global size
            l.local[d] *= mesh_extent(&u->mesh, dim->split & u->mesh.time);
            dim->split &= ~u->mesh.time;
        }
        if (dim->axis->whole) {
            dim->axis = dim->axis->whole;
            l.local[d] = dim->axis->extent;
            l.layered = d;
        } else {
            elements *= l.local[d];
        }
    }
    l.bytes = elements * dtype_bytes(t->dtype);
    if (n->op == OP_buffer) l.type.sum = l.type.max = 0; // what it is pending over changes when it is reduced in place
    return l;
}

static bool add_leaf(const Unit *u, Storage *s, const Node *n, int variant) {
    Leaf l = leaf_of(u, n);
    bool by_variant = l.section == SECTION_CHUNK || l.section == SECTION_SLOT;
    if (by_variant && variant < 0) return complain(u, n, "a task of no chunk knows something of a chunk");
    if (l.zero && l.section == SECTION_SLOT) return complain(u, n, "a microbatch's buffer cannot begin as zero");
    Leaf *known = storage_leaf(s, l.kind, l.name);
    int nvariants = s->pipeline->nvariants;
    if (!known) {
        known = &s->leaves[s->nleaves++];
        *known = l;
        known->offset = NEW_ARRAY(u->arena, int64_t, nvariants + 1);
        for (int v = 0; v < nvariants; v++) known->offset[v] = by_variant ? -1 : 0;
    } else if (!type_equal(&known->type, &l.type) || memcmp(known->local, l.local, sizeof l.local) ||
               known->layered != l.layered || known->section != l.section || known->zero != l.zero) {
        return complain(u, n, "two functions know this name with different types");
    }
    if (by_variant) known->offset[variant] = 0;
    return true;
}

// An output that only one function has can lie among its activations where no other task runs between.
static bool is_local(const Unit *u, const Leaf *leaf) {
    int funcs = 0;
    if (u->pipeline || leaf->kind != LEAF_OUTPUT) return false;
    for (int i = 0; i < u->funcs.n; i++)
        for (const Node *n = u->funcs.at[i]->top->first; n; n = n->next)
            if (n->op == OP_output && n->attr.s == leaf->name) {
                funcs++;
                break;
            }
    return funcs == 1;
}

static bool push(int64_t *at, int64_t bytes, int64_t *out_offset) {
    *out_offset = *at;
    return checked_add(*at, bytes, at) && checked_round_up(*at, SLAB_ALIGN, at);
}

static bool place_leaf(Storage *s, const Leaf *l) {
    if (l->section == SECTION_WORK) return true;
    if (l->section == SECTION_RANK) {
        if (!push(&s->rank_bytes, l->bytes, &l->offset[0])) return false;
        if (l->zero && !s->rank_zero_bytes) s->rank_zero_offset = l->offset[0];
        if (l->zero) s->rank_zero_bytes = s->rank_bytes - s->rank_zero_offset;
        return true;
    }
    for (int v = 0; v < s->pipeline->nvariants; v++) {
        VariantStorage *of = &s->variants[v];
        if (l->offset[v] < 0) continue;
        int64_t bytes = storage_leaf_bytes(s, l, v),
                *at = l->section == SECTION_CHUNK ? &of->chunk_bytes : &of->slot_bytes;
        if (!push(at, bytes, &l->offset[v])) return false;
        if (l->section == SECTION_CHUNK) of->kind_bytes[l->kind] += *at - l->offset[v];
        if (l->zero && !of->zero_bytes) of->zero_offset = l->offset[v];
        if (l->zero) of->zero_bytes = of->chunk_bytes - of->zero_offset;
    }
    return true;
}

bool memory_place_leaves(Unit *u, Storage *s) {
    int count = 0;
    for (int i = 0; i < u->funcs.n; i++)
        for (const Node *n = u->funcs.at[i]->top->first; n; n = n->next) count += memory_leaf_kind(n) >= 0;
    s->leaves = NEW_ARRAY(u->arena, Leaf, count + 1);
    s->variants = NEW_ARRAY(u->arena, VariantStorage, s->pipeline->nvariants + 1);
    for (int kind = 0; kind < LEAF_KINDS; kind++)
        for (int zero = kind == LEAF_BUFFER; zero >= 0; zero--) {
            int first = s->nleaves;
            for (int i = 0; i < u->funcs.n; i++)
                for (const Node *n = u->funcs.at[i]->top->first; n; n = n->next)
                    if (memory_leaf_kind(n) == kind && (n->op == OP_buffer && n->attr.flag) == zero &&
                        !add_leaf(u, s, n, s->pipeline->variant_of[i]))
                        return false;
            for (int i = first; i < s->nleaves; i++) {
                if (is_local(u, &s->leaves[i])) s->leaves[i].section = SECTION_WORK;
                if (!place_leaf(s, &s->leaves[i])) {
                    diag_error(u->diag, (Loc){0}, "the memory of one rank is larger than any machine's");
                    return false;
                }
            }
        }
    return true;
}
