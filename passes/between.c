// SPDX-License-Identifier: Apache-2.0
// between: Megatron's sequence parallelism (Korthikanti et al. 2022), `split seq over tensor between blocks`. The axis
// is not split by name, but in the values that the mesh axes would otherwise replicate: those that lie between the
// parts that heads, hidden units and words are split in. This decides which they are; shard then makes the types and
// lays all_gather and part between, and resolve turns a part of a pending sum into reduce_scatter.
//
//   %x: [batch, seq/tensor=16, width]        carry of the repeat
//   %h: [batch, seq/tensor=16, width]        = ... layernorm of %x
//   %g: [batch, seq=16, width]               = all_gather %h over seq on tensor
//   %q: [batch, seq=16, head/tensor=4, dim]  = dot %g, %w over width
//   ...
//   %o: [batch, seq=16, width] +sum(tensor)  = dot %y, %wo over head, dim
//   %r: [batch, seq/tensor=16, width]        = reduce_scatter %o over seq on tensor
//   %z: [batch, seq/tensor=16, width]        = add %x, %r
//
// The rules:
//   - a node with an operand or a result that something else splits over these mesh axes works on the whole axis; so do
//     ops that need it whole, and updates of parameters, which are whole themselves;
//   - split at birth: carries of a repeat, and pending sums, of three or more axes both (the small sums of a
//     vocabulary-parallel loss stay whole). Pending sums that are only added to each other are added first;
//   - every other node works on parts when an operand is split: its whole operands are cut, which costs nothing;
//   - what all users want cut is made cut: dropout's random numbers, the embedding without a split vocabulary.
#include "passes/between.h"
#include "ir/op.h"

static bool has(const Between *b, const Value *v) { return type_find(&v->type, b->axis) >= 0; }

// Split by name over one of these mesh axes?
static bool elsewhere(const Between *b, const Value *v) {
    for (int i = 0; i < v->type.rank; i++)
        if (layout_split(b->u, v->type.dim[i].axis) & b->over) return true;
    return false;
}

static bool is_large(const Between *b, const Value *v) {
    return has(b, v) && v->type.rank >= 3 && dtype_is_float(v->type.dtype) && !elsewhere(b, v);
}

static bool op_needs_whole(const Between *b, const Node *n) {
    switch (n->op) {
    case OP_param:
    case OP_state:
    case OP_input:
    case OP_assign: return true;
    case OP_rename:
    case OP_slice:
    case OP_place:
    case OP_concat: return axes_find(&n->attr.axes, b->axis) >= 0 || axes_find(&n->attr.to, b->axis) >= 0;
    case OP_take:
    case OP_scatter:
    case OP_attend:
    case OP_attend_grad: return axes_find(&n->attr.axes, b->axis) >= 0;
    default: return false;
    }
}

static bool node_needs_whole(const Between *b, const Node *n) {
    if (op_needs_whole(b, n)) return true;
    for (int i = 0; i < n->nargs; i++)
        if (elsewhere(b, n->args[i])) return true;
    for (int i = 0; i < n->nresults; i++)
        if (elsewhere(b, n->results[i]) ||
            (op_info(n->op)->traits & TRAIT_MAP && b->stored[n->results[i]->id] && has(b, n->results[i])))
            return true;
    return false;
}

// ---- pending sums ----

// Is the result a sum over all these mesh axes: did each of them split an axis that the op contracts?
static bool contracts(const Between *b, const Node *n, const Value *result) {
    if (n->op != OP_dot && n->op != OP_sum && n->op != OP_take && n->op != OP_attend_grad) return false;
    MeshSet gone = 0;
    for (int i = 0; i < n->nargs; i++) {
        const Type *t = &n->args[i]->type;
        for (int d = 0; d < t->rank; d++) {
            bool gathered = n->op == OP_attend_grad && axes_find(&n->attr.axes, t->dim[d].axis) >= 0;
            if (!gathered && type_find(&result->type, t->dim[d].axis) < 0) gone |= layout_split(b->u, t->dim[d].axis);
        }
    }
    return (gone & b->over) == b->over && !elsewhere(b, result);
}

// Does a pending operand's only user add it to another one?
static bool added(const Between *b, const Value *x, const Node *add) {
    return b->pending[x->id] && b->uses[x->id] == 1 && x->def && x->def->parent == add->parent &&
           type_same_dims(&x->type, &add->results[0]->type);
}

static void find_pending(Between *b, const Block *block) {
    for (const Node *n = block->first; n; n = n->next) {
        if (n->body) find_pending(b, n->body);
        if (!n->nresults) continue;
        for (int i = 0; i < n->nresults && n->op != OP_repeat; i++)
            b->pending[n->results[i]->id] = contracts(b, n, n->results[i]);
        const Value *x = n->nargs ? n->args[0] : NULL, *y = n->results[0];
        if (n->op == OP_rename && !elsewhere(b, y))
            b->pending[y->id] = b->pending[x->id] && !is_large(b, x); // a split one is renamed split, or gathered
        if (n->op == OP_add && x != n->args[1] && added(b, x, n) && added(b, n->args[1], n)) {
            b->pending[y->id] = true;
            for (int i = 0; i < 2; i++) b->inner[n->args[i]->id] = true;
        }
    }
}

// ---- (x + p) + q, of which p and q are pending, becomes x + (p + q): one reduce_scatter instead of two ----

enum { LEAVES_MAX = 64 };
typedef struct Leaves {
    int n, pending;
    Value *at[LEAVES_MAX];
} Leaves;

static bool is_branch(const Between *b, const Value *x, const Node *add) { // an add within the tree of this one
    return x->def && x->def->op == OP_add && !b->pending[x->id] && b->uses[x->id] == 1 &&
           x->def->parent == add->parent && type_same_dims(&x->type, &add->results[0]->type);
}

static void collect(const Between *b, const Node *add, Leaves *l) {
    for (int i = 0; i < 2; i++) {
        Value *x = add->args[i];
        if (is_branch(b, x, add)) {
            collect(b, x->def, l);
        } else {
            if (l->n < LEAVES_MAX) l->at[l->n] = x;
            l->n++;
            l->pending += added(b, x, add);
        }
    }
}

static void remove_branches(const Between *b, Node *add) {
    for (int i = 0; i < 2; i++)
        if (is_branch(b, add->args[i], add)) {
            remove_branches(b, add->args[i]->def);
            node_remove(add->args[i]->def);
        }
}

static Value *sum_of(Func *f, Node *root, const Leaves *l, const bool *take) {
    Value *sum = NULL;
    for (int i = 0; i < l->n; i++) {
        if (!take[i]) continue;
        if (!sum) {
            sum = l->at[i];
            continue;
        }
        Node *n = node_new(f, OP_add, (Value *[]){sum, l->at[i]}, 2, 1, NULL, root->loc);
        n->results[0]->type = root->results[0]->type;
        node_insert_before(root, n);
        sum = n->results[0];
    }
    return sum;
}

// Changes one tree of the block or of one inside; false when all are as they should be.
static bool group_pending(const Between *b, Func *f, Block *block) {
    for (Node *n = block->last; n; n = n->prev) {
        if (n->body && group_pending(b, f, n->body)) return true;
        if (n->op != OP_add) continue;
        Leaves l = {0};
        collect(b, n, &l);
        if (l.pending < 2 || l.pending == l.n || l.n > LEAVES_MAX) continue;
        bool pending[LEAVES_MAX], other[LEAVES_MAX];
        int full = -1; // it goes first: it fixes the order of dimensions
        for (int i = 0; i < l.n; i++) {
            pending[i] = added(b, l.at[i], n);
            other[i] = !pending[i];
            if (full < 0 && other[i] && type_same_dims(&l.at[i]->type, &n->results[0]->type)) full = i;
        }
        if (full < 0) continue;
        Value *first = l.at[full];
        for (int i = full; i > 0; i--) {
            l.at[i] = l.at[i - 1];
            pending[i] = pending[i - 1];
            other[i] = other[i - 1];
        }
        l.at[0] = first;
        pending[0] = false;
        other[0] = true;
        Value *x = sum_of(f, n, &l, other), *p = sum_of(f, n, &l, pending);
        remove_branches(b, n);
        n->args[0] = x;
        n->args[1] = p;
        return true;
    }
    return false;
}

// ---- what is stored in parameters ----

static void find_stored(Between *b, const Block *top) {
    for (const Node *n = top->last; n; n = n->prev) {
        if (n->op == OP_assign) b->stored[n->args[1]->id] = true;
        if (!(op_info(n->op)->traits & TRAIT_MAP) || !b->stored[n->results[0]->id]) continue;
        for (int i = 0; i < n->nargs; i++)
            if (type_same_dims(&n->args[i]->type, &n->results[0]->type)) b->stored[n->args[i]->id] = true;
    }
}

static void find_whole(Between *b, const Block *block) {
    for (const Node *n = block->first; n; n = n->next) {
        if (n->nresults && n->op != OP_repeat) b->needs_whole[n->results[0]->id] = node_needs_whole(b, n);
        if (n->body) find_whole(b, n->body);
    }
}

// ---- forward: splits spread ----

static bool set_split(Between *b, const Value *v, bool split) {
    if (!split || b->split[v->id] || b->stored[v->id] || !has(b, v) || elsewhere(b, v)) return false;
    return b->split[v->id] = true;
}

static bool spread_block(Between *b, const Block *block);

static bool spread_repeat(Between *b, const Node *n) {
    const Node *yield = block_yield(n->body);
    bool any = false;
    for (bool changed = true; changed; any |= changed) {
        changed = false;
        for (int i = 0; i < n->nargs; i++) {
            const Value *param = n->body->params[i + 1];
            bool split = b->split[n->args[i]->id];
            if (i < repeat_carries(n)) split |= b->split[yield->args[i]->id] || is_large(b, param);
            changed |= set_split(b, param, split);
        }
        changed |= spread_block(b, n->body);
    }
    for (int k = 0; k < n->nresults; k++)
        any |= set_split(b, n->results[k],
                         b->split[k < repeat_carries(n) ? n->body->params[k + 1]->id : yield->args[k]->id]);
    return any;
}

static bool spread_block(Between *b, const Block *block) {
    bool any = false;
    for (const Node *n = block->first; n; n = n->next) {
        if (n->op == OP_repeat) any |= spread_repeat(b, n);
        if (n->op == OP_repeat || !n->nresults) continue;
        bool works = false;
        for (int i = 0; i < n->nargs; i++) works |= b->split[n->args[i]->id];
        works &= !b->needs_whole[n->results[0]->id];
        b->working[n->results[0]->id] |= works;
        for (int i = 0; i < n->nresults; i++) {
            const Value *v = n->results[i];
            any |= set_split(b, v, works || (b->pending[v->id] && !b->inner[v->id] && is_large(b, v)));
        }
    }
    return any;
}

// ---- backward: what all users want split is made split ----

static bool made_split(const Between *b, const Node *n, const int *wanted) {
    bool any = false;
    if (n->op == OP_repeat || !n->nresults || b->needs_whole[n->results[0]->id]) return false;
    for (int i = 0; i < n->nresults; i++) {
        const Value *v = n->results[i];
        if (!has(b, v) || b->pending[v->id] || b->stored[v->id] || wanted[v->id] != b->uses[v->id]) return false;
        any |= b->uses[v->id] > 0;
    }
    return any;
}

static void sink_block(Between *b, const Block *block, int *wanted) {
    for (const Node *n = block->last; n; n = n->prev) {
        if (n->body) sink_block(b, n->body, wanted);
        if (made_split(b, n, wanted)) {
            b->working[n->results[0]->id] = true;
            for (int i = 0; i < n->nresults; i++) set_split(b, n->results[i], true);
        }
        for (int i = 0; i < n->nargs; i++) wanted[n->args[i]->id] += between_wants(b, n, i) > 0;
    }
}

static Between *between_new(Unit *u, Func *f, const Split *split) {
    Arena *a = u->scratch;
    int n = f->next_id;
    Between *b = NEW(a, Between);
    *b = (Between){.u = u, .axis = split->axis, .over = split->over, .known = n};
    for (int i = 0; i < u->mesh.n; i++)
        if (u->mesh.axis[i].extent == 1) b->over &= ~((MeshSet)1 << i);
    b->split = NEW_ARRAY(a, bool, n);
    b->working = NEW_ARRAY(a, bool, n);
    b->needs_whole = NEW_ARRAY(a, bool, n);
    b->stored = NEW_ARRAY(a, bool, n);
    b->pending = NEW_ARRAY(a, bool, n);
    b->inner = NEW_ARRAY(a, bool, n);
    b->uses = NEW_ARRAY(a, int, n);
    func_count_uses(f, b->uses);
    if (b->over) find_pending(b, f->top);
    return b;
}

void between_group(Unit *u, Func *f, const Split *split) {
    while (group_pending(between_new(u, f, split), f, f->top)) {}
}

Between *between_analyse(Unit *u, Func *f, const Split *split) {
    Between *b = between_new(u, f, split);
    if (!b->over) return b;
    find_stored(b, f->top);
    find_whole(b, f->top);
    while (spread_block(b, f->top)) {}
    sink_block(b, f->top, NEW_ARRAY(u->scratch, int, f->next_id));
    return b;
}

int64_t between_wants(const Between *b, const Node *n, int arg) {
    const Value *x = n->args[arg];
    if (!b->over || !has(b, x)) return -1;
    const Value *like = NULL; // what must be placed alike
    switch (n->op) {
    case OP_output: return -1;
    case OP_assign: return 0;
    case OP_repeat:
        if (arg >= repeat_carries(n)) return -1;
        like = n->body->params[arg + 1];
        break;
    case OP_yield:
        if (arg >= repeat_carries(n->parent->owner)) return -1;
        like = n->parent->params[arg + 1];
        break;
    default: return b->working[n->results[0]->id] ? b->over : 0;
    }
    return between_splits(b, like) ? b->over : 0;
}
