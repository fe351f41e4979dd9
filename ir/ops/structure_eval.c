// SPDX-License-Identifier: Apache-2.0
// structure_eval: bodies and effects: repeat, fused, yield, output, assign.
#include "ir/eval_core.h"

// Copies one iteration's slice between a body's value and the stacked array, whose first dimension is the repeat's
// axis. Where stages split it, all ranks load the slice of the rank that has this iteration, and that rank stores.
static bool copy_slice(Eval *e, const Node *n, const Value *stacked, const Value *slice, int64_t iteration,
                       bool store) {
    const Dim *along = &stacked->type.dim[0];
    int64_t count = eval_count(e, slice), places = dim_local(along, e->mesh), owner = iteration / places;
    if (count * places != eval_count(e, stacked)) {
        eval_error(e, n, "a slice does not fit the stacked value's shard");
        return false;
    }
    for (int64_t r = 0; r < e->ranks; r++) {
        int64_t at = mesh_member(e->mesh, along->split, r, owner);
        double *all = eval_at(e, stacked, at) + iteration % places * count, *one = eval_at(e, slice, r);
        if (!store) memcpy(one, all, sizeof *one * (size_t)count);
        else if (at == r) memcpy(all, one, sizeof *all * (size_t)count);
    }
    return true;
}

static bool eval_stacked(const Eval *e, const Node *n, const Value *v) {
    const Axis *axis = n->attr.axes.at[0];
    if (v->type.dim[0].split == repeat_split(e->unit, axis)) return true;
    eval_error(e, n, "axis '%s' is not split as the repeat is", axis->name);
    return false;
}

bool eval_repeat(Eval *e, const Node *n) {
    const Block *body = n->body;
    const Node *yield = block_yield(body);
    const Axis *axis = n->attr.axes.at[0];
    int carries = repeat_carries(n), stacked = repeat_stacked(n), outputs = n->nresults - carries;
    for (int i = 0; i < stacked; i++)
        if (!eval_stacked(e, n, n->args[carries + i])) return false;
    for (int i = 0; i < outputs; i++)
        if (!eval_stacked(e, n, n->results[carries + i])) return false;
    for (int i = carries + stacked; i < n->nargs; i++)
        if (!eval_copy(e, n, body->params[1 + i], n->args[i])) return false;
    for (int i = 0; i < carries; i++) // the results hold the carries so far
        if (!eval_copy(e, n, n->results[i], n->args[i])) return false;
    for (int64_t step = 0; step < axis->extent; step++) {
        int64_t iteration = n->attr.flag ? axis->extent - 1 - step : step;
        for (int64_t r = 0; r < e->ranks; r++) *eval_at(e, body->params[0], r) = (double)iteration;
        for (int i = 0; i < carries; i++)
            if (!eval_copy(e, n, body->params[1 + i], n->results[i])) return false;
        for (int i = carries; i < carries + stacked; i++)
            if (!copy_slice(e, n, n->args[i], body->params[1 + i], iteration, false)) return false;
        if (!eval_block(e, body)) return false;
        for (int i = 0; i < carries; i++)
            if (!eval_copy(e, n, n->results[i], yield->args[i])) return false;
        for (int i = carries; i < n->nresults; i++)
            if (!copy_slice(e, n, n->results[i], yield->args[i], iteration, true)) return false;
    }
    return true;
}

bool eval_fused(Eval *e, const Node *n) {
    for (int i = 0; i < n->nargs; i++)
        if (!eval_copy(e, n, n->body->params[i], n->args[i])) return false;
    if (!eval_block(e, n->body)) return false;
    for (int i = 0; i < n->nresults; i++)
        if (!eval_copy(e, n, n->results[i], block_yield(n->body)->args[i])) return false;
    return true;
}

bool eval_yield(Eval *e, const Node *n) { return (void)e, (void)n, true; } // its owner reads the operands

bool eval_output(Eval *e, const Node *n) {
    EvalName *it = eval_name(e, n->attr.s, true);
    if (!it || !type_same_dims(&it->global.type, &n->args[0]->type)) {
        eval_error(e, n, "output '%s' has other dimensions in another function, or is new", n->attr.s);
        return false;
    }
    it->set = true;
    return eval_to_global(e, n, n->args[0], it->global.at);
}

bool eval_assign(Eval *e, const Node *n) {
    const Node *leaf = n->args[0]->def;
    EvalName *it = leaf && (leaf->op == OP_param || leaf->op == OP_state) ? eval_name(e, leaf->attr.s, false) : NULL;
    if (!it || !type_same_dims(&it->global.type, &n->args[1]->type)) {
        eval_error(e, n, "only a parameter or a state can be assigned, and a value of its dimensions");
        return false;
    }
    it->assigned = true;
    return eval_to_global(e, n, n->args[1], it->next);
}
