// SPDX-License-Identifier: Apache-2.0
// Leaves: the result type is declared; here it is only checked for sense.
#include "ir/ops/infer.h"

static bool infer_leaf(Infer *in) {
    in->out[0] = *in->declared;
    for (int i = 0; i < in->declared->rank; i++)
        for (int j = 0; j < i; j++)
            if (in->declared->dim[i].axis == in->declared->dim[j].axis)
                return infer_fail(in, "'%s' occurs twice in the type of this %s", in->declared->dim[i].axis->name,
                                  op_info(in->op)->name);
    return true;
}

bool infer_param(Infer *in) { return infer_leaf(in); }
bool infer_state(Infer *in) { return infer_leaf(in); }
bool infer_buffer(Infer *in) { return infer_leaf(in); }
bool infer_input(Infer *in) { return infer_leaf(in); }
bool infer_const(Infer *in) { return infer_leaf(in); }

bool infer_index(Infer *in) {
    if (in->declared->rank != 1 || in->attr->axes.n != 1 || in->declared->dim[0].axis != in->attr->axes.at[0] ||
        in->declared->dtype != DT_I32)
        return infer_fail(in, "index is i32 over its one axis");
    return infer_leaf(in);
}

bool infer_random(Infer *in) {
    if (in->nargs > 4) return infer_fail(in, "random takes at most four keys");
    for (int i = 0; i < in->nargs; i++)
        if (IN_TYPE(in, i)->dtype != DT_I32 || IN_TYPE(in, i)->rank)
            return infer_fail(in, "the keys of random are i32 scalars, not %s", infer_type(in, i));
    if (in->declared->dtype != DT_F32)
        return infer_fail(in, "random makes f32, not %s", dtype_name(in->declared->dtype));
    return infer_leaf(in);
}

bool infer_expand(Infer *in) {
    const Type *from = IN_TYPE(in, 0);
    if (in->declared->dtype != from->dtype) return infer_fail(in, "expand keeps the element type");
    for (int i = 0; i < from->rank; i++) {
        int d = type_find(in->declared, from->dim[i].axis);
        if (d < 0) return infer_fail(in, "expand drops '%s'", from->dim[i].axis->name);
        if (in->declared->dim[d].split != from->dim[i].split)
            return infer_fail(in, "expand changes the split of '%s'", from->dim[i].axis->name);
    }
    if (!infer_leaf(in)) return false;
    in->out[0].sum = in->out[0].max = 0; // the pending rule adds the operand's
    return true;
}

double flops_param(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_state(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_buffer(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_input(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_const(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_index(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
double flops_random(const Unit *u, const Node *n) { return 60 * local_elements(u, &n->results[0]->type); }
double flops_expand(const Unit *u, const Node *n) { return (void)u, (void)n, 0; }
