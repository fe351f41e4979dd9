// SPDX-License-Identifier: Apache-2.0
// memory_prepare: a repeat copies what it yields into its carries at the end of each iteration, one after the other. A
// value that lies in another carry's memory would be overwritten before it is copied, a carry that is also stacked
// would have to stay until the end; an iteration number has no memory at all. Such values get a copy: a `stop` node.
#include "passes/layout.h"
#include "passes/memory.h"

static const Value *base_of(const Value *v) {
    while (v->def && op_info(v->def->op)->traits & TRAIT_VIEW) v = v->def->args[0];
    return v;
}

static bool is_iteration(const Value *v) {
    return v->block && v->index == 0 && v->block->owner && v->block->owner->op == OP_repeat;
}

static bool is_carry(const Value *v) {
    return v->block && v->block->owner && v->block->owner->op == OP_repeat && v->index >= 1 &&
           v->index <= repeat_carries(v->block->owner);
}

// Operand `arg` of n becomes a copy made behind `after` (NULL: at the beginning of the block).
static bool copy_operand(Func *f, Node *n, int arg, Node *after) {
    Node *c = layout_node(f, n->parent, after, OP_stop, &n->args[arg], 1, NULL, NULL, n->loc);
    if (!c) return false;
    c->results[0]->name = n->args[arg]->name;
    n->args[arg] = c->results[0];
    return true;
}

static bool prepare_yield(Func *f, Block *b) {
    Node *yield = block_yield(b);
    for (int k = 0; k < yield->nargs; k++) {
        const Value *v = yield->args[k], *base = base_of(v);
        bool carried = k < repeat_carries(b->owner), mine = is_carry(base) && base->block == b;
        if (is_iteration(v)) {
            if (!copy_operand(f, yield, k, yield->prev)) return false;
        } else if (mine && carried && v != b->params[k + 1]) {
            if (!copy_operand(f, yield, k, yield->prev)) return false;
        } else if (mine && !carried) { // early, so that the carry's memory is free for the next iteration's value
            if (!copy_operand(f, yield, k, v->def)) return false;
        }
    }
    return true;
}

static bool prepare_block(Func *f, Block *b) {
    FOR_NODES(n, b) {
        if (n->op == OP_repeat && !(prepare_block(f, n->body) && prepare_yield(f, n->body))) return false;
        bool reads_memory = n->op == OP_repeat || n->op == OP_dot || n->op == OP_attend || n->op == OP_attend_grad ||
                            n->op == OP_scatter || n->op == OP_cumsum || n->op == OP_output ||
                            op_info(n->op)->traits & TRAIT_COMM;
        for (int i = 0; i < n->nargs && reads_memory; i++)
            if (is_iteration(n->args[i]) && !copy_operand(f, n, i, n->prev)) return false;
    }
    return true;
}

bool memory_prepare(Unit *u, Func *f) {
    (void)u;
    return prepare_block(f, f->top);
}
