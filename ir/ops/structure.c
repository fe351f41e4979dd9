// SPDX-License-Identifier: Apache-2.0
// repeat, fused, yield, output, assign.
#include "ir/ops/infer.h"
#include "ir/strategy.h"

MeshSet repeat_split(const Unit *u, const Axis *axis) {
    return u->strategy && u->strategy->pipe_axis == axis && mesh_extent(&u->mesh, u->mesh.stages) > 1 ? u->mesh.stages
                                                                                                      : 0;
}

bool infer_repeat(Infer *in) {
    const Block *b = in->body;
    int64_t carries = in->attr->i, stacked = in->attr->j;
    if (in->attr->axes.n != 1 || !b || !block_yield(b))
        return infer_fail(in, "repeat needs an axis and a body that yields");
    const Axis *axis = in->attr->axes.at[0];
    const Node *y = block_yield(b);
    MeshSet split = repeat_split(in->u, axis);
    if (carries < 0 || stacked < 0 || carries + stacked > in->nargs || b->nparams != in->nargs + 1 ||
        y->nargs < carries)
        return infer_fail(in, "repeat: %d operands and %d body parameters do not fit %lld carries and %lld stacked",
                          in->nargs, b->nparams, (long long)carries, (long long)stacked);
    for (int i = 0; i < in->nargs; i++) {
        const Type *outer = IN_TYPE(in, i), *inner = &b->params[i + 1]->type;
        Type want = *outer;
        if (i >= carries && i < carries + stacked) {
            if (!outer->rank || outer->dim[0].axis != axis || outer->dim[0].split != split)
                return infer_fail(in, "'%s' must be the first, %s axis of what repeat slices: %s", axis->name,
                                  split ? "split" : "whole", infer_type(in, i));
            want.rank--;
            for (int d = 0; d < want.rank; d++) want.dim[d] = outer->dim[d + 1];
            want.dim[want.rank] = (Dim){0};
        }
        if ((want.sum | want.max | type_split(&want)) & split)
            return infer_fail(in, "'%s' is cut into stages, and what the repeat uses is of all of them: %s", axis->name,
                              infer_type(in, i));
        if (!type_equal(&want, inner)) return infer_fail(in, "repeat: operand %d does not fit its body parameter", i);
        if (i < carries && !type_equal(outer, &y->args[i]->type))
            return infer_fail(in, "a value carried by repeat changes its type: it begins as %s", infer_type(in, i));
    }
    in->nout = y->nargs;
    for (int i = 0; i < y->nargs; i++) {
        const Type *t = &y->args[i]->type;
        Type *out = &in->out[i];
        *out = *t;
        if (i < carries) continue;
        if (t->rank == RANK_MAX || type_find(t, axis) >= 0 || (t->sum | t->max | type_split(t)) & split)
            return infer_fail(in, "repeat cannot stack this value along '%s'", axis->name);
        out->rank++;
        out->dim[0] = (Dim){axis, split};
        for (int d = 0; d < t->rank; d++) out->dim[d + 1] = t->dim[d];
    }
    return true;
}

bool infer_fused(Infer *in) {
    const Block *b = in->body;
    if (!b || !block_yield(b) || b->nparams != in->nargs) return infer_fail(in, "fused: body and operands do not fit");
    for (int i = 0; i < in->nargs; i++)
        if (!type_equal(IN_TYPE(in, i), &b->params[i]->type))
            return infer_fail(in, "fused: operand %d does not fit", i);
    in->nout = block_yield(b)->nargs;
    for (int i = 0; i < in->nout; i++) in->out[i] = block_yield(b)->args[i]->type;
    return true;
}

bool infer_yield(Infer *in) { return in->nout = 0, true; }
bool infer_output(Infer *in) { return in->nout = 0, true; }

bool infer_assign(Infer *in) {
    const Node *leaf = in->args[0]->def;
    in->nout = 0;
    if (!leaf || (leaf->op != OP_param && leaf->op != OP_state && leaf->op != OP_buffer))
        return infer_fail(in, "assign writes a parameter, a state or a buffer");
    if (!type_equal(IN_TYPE(in, 0), IN_TYPE(in, 1)))
        return infer_fail(in, "assign: the value is %s, the parameter %s", infer_type(in, 1), infer_type(in, 0));
    return true;
}

static double flops_body(const Unit *u, const Node *n) {
    double f = 0;
    for (const Node *b = n->body->first; b; b = b->next) f += node_work(u, b).flops;
    return f;
}
double flops_repeat(const Unit *u, const Node *n) { return flops_body(u, n) * (double)n->attr.axes.at[0]->extent; }
double flops_fused(const Unit *u, const Node *n) { return flops_body(u, n); }
double flops_yield(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_output(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_assign(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
