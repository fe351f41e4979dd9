// SPDX-License-Identifier: Apache-2.0
// memory_leaves: what lasts longer than a task gets its place in a section: once a rank, once a chunk of each variant,
// or once a microbatch in flight, or to the host's memory. Inside a section parameters come first, then states, inputs
// and outputs, then buffers, those that begin as zero side by side.
//
// A task sees one microbatch of an input or output and its chunk's layers of a parameter; the leaf holds all
// microbatches, and is known by the whole axis. A buffer is as the tasks see it.
#include "base/checked.h"
#include "ir/strategy.h"
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
    bool offloads = u->strategy && u->strategy->offload & OFFLOAD_OPTIMIZER;
    if (offloads && l.kind == LEAF_STATE && l.section == SECTION_CHUNK) l.section = SECTION_HOST;
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
    bool by_variant = section_by_variant(l.section);
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

static void cover(int64_t offset, int64_t end, int64_t *zero_offset, int64_t *zero_bytes) {
    if (!*zero_bytes) *zero_offset = offset;
    if (end - *zero_offset > *zero_bytes) *zero_bytes = end - *zero_offset;
}

static bool place_leaf(Storage *s, const Leaf *l) {
    if (l->section == SECTION_WORK) return true;
    if (l->section == SECTION_RANK) {
        if (!push(&s->rank_bytes, l->bytes, &l->offset[0])) return false;
        if (l->zero) cover(l->offset[0], s->rank_bytes, &s->rank_zero_offset, &s->rank_zero_bytes);
        return true;
    }
    for (int v = 0; v < s->pipeline->nvariants; v++) {
        VariantStorage *of = &s->variants[v];
        int64_t *at = l->section == SECTION_CHUNK  ? &of->chunk_bytes
                      : l->section == SECTION_SLOT ? &of->slot_bytes
                                                   : &of->host_bytes;
        int64_t from = *at;
        if (l->offset[v] < 0) continue;
        if (!push(at, storage_leaf_bytes(s, l, v), &l->offset[v])) return false;
        if (l->section == SECTION_CHUNK) of->kind_bytes[l->kind] += *at - from;
        if (l->zero) cover(l->offset[v], *at, &of->zero_offset, &of->zero_bytes);
    }
    return true;
}

// ---- buffers
//
// Between two programs ("train", "eval") no buffer holds anything, and an output is read before the next call: what
// only one program uses may lie where another has something else. Buffers that begin as zero come first in each, so
// that one piece of memory is cleared.

// The one program that runs the tasks with this buffer; -1: several.
static int program_of(const Unit *u, const int *program_of_func, const Leaf *l) {
    int program = -2;
    for (int i = 0; i < u->funcs.n; i++)
        for (const Node *n = u->funcs.at[i]->top->first; n; n = n->next)
            if (memory_leaf_kind(n) == (int)l->kind && n->attr.s == l->name)
                program = program == -2 || program == program_of_func[i] ? program_of_func[i] : -1;
    return program < 0 ? -1 : program;
}

// By function: the program whose steps run it; -1: none or several.
static int *programs_of_funcs(const Unit *u, const Storage *s) {
    const Pipeline *p = s->pipeline;
    int *of = NEW_ARRAY(u->scratch, int, u->funcs.n + 1);
    for (int f = 0; f < u->funcs.n; f++) of[f] = -2;
    for (int i = 0; i < p->nlists; i++)
        for (int stage = 0; stage < p->nstages; stage++)
            for (int64_t k = 0; k < p->lists[i].count[stage]; k++) {
                const Step *step = &p->lists[i].steps[stage][k];
                if (step->kind == STEP_RUN) of[step->func] = of[step->func] == -2 || of[step->func] == i ? i : -1;
            }
    return of;
}

static bool place_program(Storage *s, int first, const int *program, int wanted) {
    for (int zero = 1; zero >= 0; zero--)
        for (int i = first; i < s->nleaves; i++) {
            bool early = wanted < 0 ? !s->leaves[i].zero : s->leaves[i].zero; // the common zeros beside the others'
            if (program[i - first] == wanted && early == zero && !place_leaf(s, &s->leaves[i])) return false;
        }
    return true;
}

typedef struct Ends {
    int64_t chunk, slot;
} Ends;

static bool place_buffers(const Unit *u, Storage *s, int first) {
    int nvariants = s->pipeline->nvariants, *of = programs_of_funcs(u, s);
    int *program = NEW_ARRAY(u->scratch, int, s->nleaves - first + 1);
    int64_t *before = NEW_ARRAY(u->scratch, int64_t, nvariants + 1);
    Ends *begin = NEW_ARRAY(u->scratch, Ends, nvariants + 1), *end = NEW_ARRAY(u->scratch, Ends, nvariants + 1);
    for (int i = first; i < s->nleaves; i++) program[i - first] = program_of(u, of, &s->leaves[i]);
    for (int v = 0; v < nvariants; v++) before[v] = s->variants[v].chunk_bytes;
    if (!place_program(s, first, program, -1)) return false;
    int64_t rank = s->rank_bytes, rank_end = rank;
    for (int v = 0; v < nvariants; v++)
        begin[v] = end[v] = (Ends){s->variants[v].chunk_bytes, s->variants[v].slot_bytes};
    for (int i = 0; i < s->pipeline->nlists; i++) {
        s->rank_bytes = rank;
        for (int v = 0; v < nvariants; v++)
            s->variants[v].chunk_bytes = begin[v].chunk, s->variants[v].slot_bytes = begin[v].slot;
        if (!place_program(s, first, program, i)) return false;
        if (s->rank_bytes > rank_end) rank_end = s->rank_bytes;
        for (int v = 0; v < nvariants; v++) {
            if (s->variants[v].chunk_bytes > end[v].chunk) end[v].chunk = s->variants[v].chunk_bytes;
            if (s->variants[v].slot_bytes > end[v].slot) end[v].slot = s->variants[v].slot_bytes;
        }
    }
    s->rank_bytes = rank_end;
    for (int v = 0; v < nvariants; v++) {
        VariantStorage *x = &s->variants[v];
        x->chunk_bytes = end[v].chunk;
        x->slot_bytes = end[v].slot;
        x->kind_bytes[LEAF_BUFFER] = end[v].chunk - before[v];
        if (u->pipeline) x->kind_bytes[LEAF_OUTPUT] = 0; // among them
    }
    return true;
}

// ---- all

static bool too_large(const Unit *u) {
    diag_error(u->diag, (Loc){0}, "the memory of one rank is larger than any machine's");
    return false;
}

bool memory_place_leaves(Unit *u, Storage *s) {
    int count = 0;
    for (int i = 0; i < u->funcs.n; i++)
        for (const Node *n = u->funcs.at[i]->top->first; n; n = n->next) count += memory_leaf_kind(n) >= 0;
    s->leaves = NEW_ARRAY(u->arena, Leaf, count + 1);
    s->variants = NEW_ARRAY(u->arena, VariantStorage, s->pipeline->nvariants + 1);
    int outputs = 0;
    for (int kind = 0; kind < LEAF_KINDS; kind++) {
        int first = s->nleaves;
        bool shares = kind == LEAF_BUFFER || (kind == LEAF_OUTPUT && u->pipeline);
        if (kind == LEAF_OUTPUT) outputs = first;
        for (int i = 0; i < u->funcs.n; i++)
            for (const Node *n = u->funcs.at[i]->top->first; n; n = n->next)
                if (memory_leaf_kind(n) == kind && !add_leaf(u, s, n, s->pipeline->variant_of[i])) return false;
        for (int i = first; i < s->nleaves && !shares; i++) {
            if (is_local(u, &s->leaves[i])) s->leaves[i].section = SECTION_WORK;
            if (!place_leaf(s, &s->leaves[i])) return too_large(u);
        }
        if (kind == LEAF_BUFFER && !place_buffers(u, s, u->pipeline ? outputs : first)) return too_large(u);
    }
    return true;
}
