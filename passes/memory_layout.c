// SPDX-License-Identifier: Apache-2.0
// memory_layout: a buffer for every value a node computes; views, slices of stacked operands and invariants lie in the
// memory of what they are taken from, when strides can say where.
#include "base/checked.h"
#include "passes/layout.h"
#include "passes/memory.h"

static int64_t local(const Memory *m, const Type *t, int d) { return dim_local(&t->dim[d], &m->u->mesh); }

int64_t memory_bytes(const Unit *u, const Type *t) {
    int64_t elements = 0;
    type_local_elements(t, &u->mesh, &elements); // op_infer has checked the global size
    return elements * dtype_bytes(t->dtype);
}

// Row-major strides, padding of `padded` (or -1) included; the elements they span.
static int64_t dense_strides(const Memory *m, const Type *t, const Axis *padded, MeshSet ways, int64_t *out) {
    int64_t stride = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        out[d] = stride;
        int64_t places = local(m, t, d);
        if (t->dim[d].axis == padded)
            places = ceil_div(places, mesh_extent(&m->u->mesh, ways)) * mesh_extent(&m->u->mesh, ways);
        stride *= places;
    }
    return stride;
}

bool memory_is_dense(const Memory *m, const Value *v) {
    const Ref *r = &m->ref[v->id];
    int64_t stride = 1;
    for (int d = v->type.rank - 1; d >= 0; d--) {
        int64_t places = local(m, &v->type, d);
        if (places > 1 && r->dim[d] != stride) return false;
        stride *= places;
    }
    return true;
}

bool memory_is_whole(const Memory *m, const Value *v) {
    const Ref *r = &m->ref[v->id];
    for (int i = 0; i < LOOP_MAX; i++)
        if (r->loop[i]) return false;
    return r->buf >= 0 && !r->offset && !r->micro && m->bufs.at[r->buf].bytes == memory_bytes(m->u, &v->type) &&
           memory_is_dense(m, v);
}

static Ref *ref_of(Memory *m, const Value *v) { return &m->ref[v->id]; }

static int new_buf(Memory *m, int64_t bytes, const Block *home) {
    vec_push(m->a, &m->bufs,
             (Buf){.bytes = bytes,
                   .home = home,
                   .first = INT32_MAX,
                   .last = -1,
                   .into = -1,
                   .loop = -1,
                   .section = SECTION_WORK});
    return m->bufs.n - 1;
}

static void own_buf(Memory *m, const Value *v, const Block *home) {
    Ref *r = ref_of(m, v);
    *r = (Ref){0};
    const Node *n = v->def;
    bool gather = n && (n->op == OP_all_gather || n->op == OP_all_to_all);
    int64_t elements =
        dense_strides(m, &v->type, gather ? n->attr.axes.at[0] : NULL, gather ? n->attr.mesh : 0, r->dim);
    r->buf = new_buf(m, elements * dtype_bytes(v->type.dtype), home);
}

static void leaf_ref(Memory *m, const Node *n) {
    const Leaf *leaf = storage_leaf(m->storage, (LeafKind)memory_leaf_kind(n), n->attr.s);
    Place at = storage_leaf_place(&m->u->mesh, leaf, m->variant, &n->results[0]->type);
    Ref *r = ref_of(m, n->results[0]);
    *r = (Ref){.buf = m->leaf_buf[leaf - m->storage->leaves], .micro = at.micro};
    memcpy(r->dim, at.dim_stride, sizeof r->dim);
}

// The view's ref from its operand's; false when strides cannot say it.
static bool view_ref(const Memory *m, const Node *n, Ref *out) {
    const Type *from = &n->args[0]->type, *to = &n->results[0]->type;
    const Ref *x = &m->ref[n->args[0]->id];
    if (x->buf < 0) return false;
    *out = *x;
    memset(out->dim, 0, sizeof out->dim);
    const Axes *a = &n->attr.axes, *b = &n->attr.to;
    if (n->op == OP_expand) {
        for (int d = 0; d < to->rank; d++) {
            int f = type_find(from, to->dim[d].axis);
            out->dim[d] = f < 0 ? 0 : x->dim[f];
        }
        return true;
    }
    int p = type_find(from, a->at[0]), size = dtype_bytes(from->dtype);
    if (n->op == OP_slice) {
        out->offset += n->attr.i * x->dim[p] * size;
        int drop = b->n == 0;
        for (int d = 0; d < to->rank; d++) out->dim[d] = x->dim[d < p ? d : d + drop];
        return true;
    }
    int64_t stride = x->dim[p + a->n - 1];
    for (int i = a->n - 2; i >= 0; i--) // merged axes must lie in one piece
        if (local(m, from, p + i) > 1 && x->dim[p + i] != x->dim[p + i + 1] * local(m, from, p + i + 1)) return false;
    for (int d = 0; d < p; d++) out->dim[d] = x->dim[d];
    for (int i = b->n - 1; i >= 0; i--) {
        out->dim[p + i] = stride;
        stride *= local(m, to, p + i);
    }
    for (int d = p + b->n; d < to->rank; d++) out->dim[d] = x->dim[d - b->n + a->n];
    return true;
}

static bool layout_block(Memory *m, Block *b, int depth);

static bool layout_repeat(Memory *m, Node *n, int depth) {
    if (depth >= LOOP_MAX) {
        diag_error(m->u->diag, n->loc, "repeats nest deeper than %d", LOOP_MAX);
        return false;
    }
    vec_push(m->a, &m->repeats, (RepeatTime){.node = n, .depth = depth});
    ref_of(m, n->body->params[0])->buf = -1;
    for (int i = 0; i < n->nargs; i++) {
        const Value *param = n->body->params[i + 1], *arg = n->args[i];
        if (i < repeat_carries(n)) {
            own_buf(m, param, n->body);
            continue;
        }
        Ref *r = ref_of(m, param);
        *r = *ref_of(m, arg);
        if (i >= repeat_carries(n) + repeat_stacked(n)) continue;
        if (memory_on_host(m, arg)) {
            memory_fetch_slices(m, n, param, new_buf(m, 0, n->parent));
            own_buf(m, param, n->body);
            continue;
        }
        r->loop[depth] += r->dim[0] * dtype_bytes(arg->type.dtype);
        memmove(r->dim, r->dim + 1, sizeof *r->dim * (RANK_MAX - 1));
    }
    for (int k = 0; k < n->nresults; k++) {
        own_buf(m, n->results[k], n->parent);
        if (memory_is_stashed(m->u, n->results[k])) m->bufs.at[ref_of(m, n->results[k])->buf].section = SECTION_STASH;
    }
    return layout_block(m, n->body, depth + 1);
}

static bool layout_node_refs(Memory *m, Node *n, int depth) {
    unsigned traits = op_info(n->op)->traits;
    if (n->op != OP_output && memory_leaf_kind(n) >= 0) {
        leaf_ref(m, n);
        return true;
    }
    if (n->op == OP_repeat) return layout_repeat(m, n, depth);
    for (int i = 0; i < n->nargs && traits & TRAIT_COMM; i++) {
        if (memory_is_dense(m, n->args[i])) continue;
        Node *c = layout_node(m->f, n->parent, n->prev, OP_stop, &n->args[i], 1, NULL, NULL, n->loc);
        if (!c) return false;
        own_buf(m, c->results[0], n->parent);
        n->args[i] = c->results[0];
    }
    if (traits & TRAIT_VIEW && view_ref(m, n, ref_of(m, n->results[0]))) return true;
    for (int i = 0; i < n->nresults; i++) own_buf(m, n->results[i], n->parent);
    return true;
}

static bool layout_block(Memory *m, Block *b, int depth) {
    FOR_NODES(n, b) if (!layout_node_refs(m, n, depth)) return false;
    return true;
}

static int count_comm(const Block *b) {
    int n = 0;
    for (const Node *x = b->first; x; x = x->next) {
        n += op_info(x->op)->traits & TRAIT_COMM ? x->nargs : 0; // each may become a copy
        if (x->op == OP_repeat) n += count_comm(x->body);
    }
    return n;
}

bool memory_layout(Memory *m) {
    m->nrefs = m->f->next_id + count_comm(m->f->top);
    m->ref = NEW_ARRAY(m->a, Ref, m->nrefs);
    for (int i = 0; i < m->nrefs; i++) m->ref[i].buf = -1;
    m->leaf_buf = NEW_ARRAY(m->a, int, m->storage->nleaves);
    for (int i = 0; i < m->storage->nleaves; i++) {
        const Leaf *leaf = &m->storage->leaves[i];
        bool by_variant = section_by_variant(leaf->section);
        bool absent = by_variant && (m->variant < 0 || leaf->offset[m->variant] < 0);
        int64_t bytes = absent ? 0 : by_variant ? storage_leaf_bytes(m->storage, leaf, m->variant) : leaf->bytes;
        m->leaf_buf[i] = new_buf(m, bytes, leaf->section == SECTION_WORK ? m->f->top : NULL);
        m->bufs.at[i].section = leaf->section;
        if (!absent && leaf->section != SECTION_WORK) m->bufs.at[i].offset = leaf->offset[by_variant ? m->variant : 0];
    }
    return layout_block(m, m->f->top, 0);
}
