// SPDX-License-Identifier: Apache-2.0
// resolve_padding: where the mesh does not divide an axis, the last ranks hold padding, whose content is arbitrary. It
// must not reach a valid place: before a padded axis is summed, contracted or stored in a parameter it is masked with
// 0, before a maximum with the smallest number, unless it is known to be zero there.
//
//   before    %s: f32[batch/data=7] = sum %e over vocab             %e: f32[batch/data=7, vocab/tensor=67], two ranks
//   each after     %m: f32[batch/data=7, vocab/tensor=67] = mask %e over vocab value 0
//             %s: f32[batch/data=7] = sum %m over vocab
//
// Known of every value: the padded dimensions in whose padding it is zero, whatever the other indices are; whether it
// is finite everywhere (0 * inf would be NaN). Parameters, states and inputs are zero in padding: the runtime puts
// zeros there, and updates are masked before they are stored.
#include "passes/resolve.h"
#include <math.h>

typedef struct Pad {
    unsigned zero; // bit per dimension: zero in its padding
    bool finite;
    bool nil; // zero everywhere
} Pad;

typedef struct Padding {
    Unit *u;
    Func *f;
    Vec(Pad) of; // by value id
    bool insert; // false: only look (the first rounds over a repeat's body)
    bool ok;
} Padding;

static Pad *pad_of(Padding *p, const Value *v) {
    while (p->of.n <= v->id) vec_push(p->u->scratch, &p->of, (Pad){0});
    return &p->of.at[v->id];
}

static unsigned padded_dims(const Padding *p, const Type *t) {
    unsigned set = 0;
    for (int i = 0; i < t->rank; i++)
        if (dim_padded(&t->dim[i], &p->u->mesh)) set |= 1u << i;
    return set;
}

static bool padded_along(const Padding *p, const Value *v, const Axis *axis) {
    int d = type_find(&v->type, axis);
    return d >= 0 && dim_padded(&v->type.dim[d], &p->u->mesh);
}

static bool zero_along(Padding *p, const Value *v, const Axis *axis) {
    int d = type_find(&v->type, axis);
    Pad *pad = pad_of(p, v);
    return pad->nil || (d >= 0 && pad->zero >> d & 1);
}

static bool is_finite(Padding *p, const Value *v) { return pad_of(p, v)->finite; }

static void set_pad(Padding *p, const Value *v, Pad pad) {
    unsigned padded = padded_dims(p, &v->type);
    pad.zero = pad.nil ? padded : pad.zero & padded;
    if ((padded && pad.zero == padded) || !dtype_is_float(v->type.dtype)) pad.finite = true;
    *pad_of(p, v) = pad;
}

static Node *insert_mask(Padding *p, Block *b, Node *after, Value *x, const Axis *axis, double with, Loc loc) {
    Node *m = layout_mask(p->f, b, after, x, axis, with, loc);
    if (!m) p->ok = false;
    return m;
}

// From here on every user of x sees zeros in the padding of axis.
static void require_zero(Padding *p, Node *n, int arg, const Axis *axis) {
    Value *x = n->args[arg];
    if (!p->insert || !p->ok || !padded_along(p, x, axis) || zero_along(p, x, axis)) return;
    Node *m = insert_mask(p, x->def ? x->def->parent : x->block, x->def, x, axis, 0, n->loc);
    if (!m) return;
    Value *y = m->results[0];
    layout_replace(p->f, x, y, m);
    Pad pad = *pad_of(p, x);
    pad.zero |= 1u << type_find(&y->type, axis);
    set_pad(p, y, pad);
}

static void require_finite(Padding *p, Node *n, int arg) {
    for (int d = 0; d < n->args[arg]->type.rank && !is_finite(p, n->args[arg]) && p->insert && p->ok; d++)
        require_zero(p, n, arg, n->args[arg]->type.dim[d].axis);
}

// This use of x sees `with` in the padding of axis.
static void require_number(Padding *p, Node *n, int arg, const Axis *axis, double with) {
    Value *x = n->args[arg];
    if (!p->insert || !p->ok || !padded_along(p, x, axis)) return;
    Node *m = insert_mask(p, n->parent, n->prev, x, axis, with, n->loc);
    if (!m) return;
    Pad pad = *pad_of(p, x);
    pad.zero &= ~(1u << type_find(&x->type, axis));
    n->args[arg] = m->results[0];
    set_pad(p, n->args[arg], pad);
}

// Along a contracted axis one operand is zero and the other finite, so that products are zero.
static void require_dot(Padding *p, Node *n, const Axis *axis) {
    if (!p->insert || !padded_along(p, n->args[0], axis)) return;
    for (int i = 0; i < 2; i++)
        if (zero_along(p, n->args[i], axis) && is_finite(p, n->args[1 - i])) return;
    int64_t size[2] = {0, 0};
    for (int i = 0; i < 2; i++)
        if (!type_local_elements(&n->args[i]->type, &p->u->mesh, &size[i])) size[i] = INT64_MAX;
    int small = size[1] < size[0];
    for (int k = 0; k < 2; k++) {
        int i = k ? 1 - small : small;
        if (!is_finite(p, n->args[1 - i])) continue;
        require_zero(p, n, i, axis);
        return;
    }
    for (int i = 0; i < 2; i++) require_zero(p, n, i, axis);
}

static void require(Padding *p, Node *n) {
    const Axes *axes = &n->attr.axes;
    switch (n->op) {
    case OP_sum:
        for (int i = 0; i < axes->n; i++) require_zero(p, n, 0, axes->at[i]);
        break;
    case OP_max: {
        double least = dtype_is_float(n->args[0]->type.dtype) ? -INFINITY : (double)INT32_MIN;
        for (int i = 0; i < axes->n; i++) require_number(p, n, 0, axes->at[i], least);
        break;
    }
    case OP_dot:
        for (int i = 0; i < axes->n; i++) require_dot(p, n, axes->at[i]);
        break;
    case OP_scatter:
        for (int i = 0; i < n->args[1]->type.rank; i++) {
            const Axis *axis = n->args[1]->type.dim[i].axis;
            if (axes_find(&n->attr.to, axis) < 0) require_zero(p, n, 1, axis);
        }
        break;
    case OP_attend:
        for (int i = 0; i < 3; i++) require_finite(p, n, i);
        break;
    case OP_attend_grad: { // probabilities are exp(score - lse): with lse = inf they are 0, and so are all gradients
        int lse = 4 + (int)n->attr.i;
        for (int i = 0; i < n->nargs; i++)
            if (i != lse && n->args[i]->type.dtype != DT_BOOL) require_finite(p, n, i);
        for (int i = 0; i < n->args[lse]->type.rank; i++)
            require_number(p, n, lse, n->args[lse]->type.dim[i].axis, INFINITY);
        break;
    }
    case OP_assign:
        for (int i = 0; i < n->args[0]->type.rank; i++) require_zero(p, n, 1, n->args[0]->type.dim[i].axis);
        break;
    default: break;
    }
}

static bool map_zero(Padding *p, const Node *n, const Axis *axis) {
    bool z[3] = {0};
    for (int i = 0; i < n->nargs; i++) z[i] = zero_along(p, n->args[i], axis);
    switch (n->op) {
    case OP_mul: return (z[0] && is_finite(p, n->args[1])) || (z[1] && is_finite(p, n->args[0]));
    case OP_and: return z[0] || z[1];
    case OP_or: return z[0] && z[1];
    case OP_div: return z[0] && !padded_dims(p, &n->args[1]->type);
    case OP_select: return z[1] && z[2];
    default: break;
    }
    if (!(op_info(n->op)->traits & TRAIT_ZERO)) return false;
    for (int i = 0; i < n->nargs; i++)
        if (!z[i]) return false;
    return true;
}

static bool map_finite(Padding *p, const Node *n) {
    switch (n->op) {
    case OP_exp:
    case OP_log:
    case OP_sqrt:
    case OP_rsqrt:
    case OP_pow: return !padded_dims(p, &n->results[0]->type);
    case OP_div: return is_finite(p, n->args[0]) && !padded_dims(p, &n->args[1]->type);
    default: break;
    }
    for (int i = 0; i < n->nargs; i++)
        if (!is_finite(p, n->args[i])) return false;
    return true;
}

// Dimensions of n's result r in whose padding operand `arg` is zero, by axis.
static unsigned kept_zero(Padding *p, const Node *n, int r, int arg) {
    unsigned set = 0;
    const Type *t = &n->results[r]->type;
    for (int i = 0; i < t->rank; i++)
        if (zero_along(p, n->args[arg], t->dim[i].axis)) set |= 1u << i;
    return set;
}

static unsigned axis_bit(const Value *v, const Axis *axis) {
    int d = type_find(&v->type, axis);
    return d < 0 ? 0 : 1u << d;
}

static Pad derive(Padding *p, const Node *n, int r) {
    const Value *y = n->results[r];
    const Pad *x = n->nargs ? pad_of(p, n->args[0]) : NULL;
    Pad pad = {.finite = x ? x->finite : true};
    if (op_info(n->op)->traits & TRAIT_MAP) {
        for (int i = 0; i < y->type.rank; i++)
            if (map_zero(p, n, y->type.dim[i].axis)) pad.zero |= 1u << i;
        pad.finite = map_finite(p, n);
        pad.nil = x->nil && (n->op == OP_neg || n->op == OP_cast || n->op == OP_stop);
        return pad;
    }
    switch (n->op) {
    case OP_param:
    case OP_state:
    case OP_input: pad.zero = ~0u; break;
    case OP_const: pad = (Pad){.nil = n->attr.f == 0, .finite = isfinite(n->attr.f)}; break;
    case OP_index:
    case OP_random: break;
    case OP_rename:
        pad.zero = kept_zero(p, n, 0, 0);
        pad.nil = x->nil;
        if (n->attr.axes.n == 1 && n->attr.to.n == 1 && zero_along(p, n->args[0], n->attr.axes.at[0]))
            pad.zero |= axis_bit(y, n->attr.to.at[0]);
        break;
    case OP_concat:
        pad.zero = ~0u;
        for (int i = 0; i < n->nargs; i++) {
            pad.zero &= kept_zero(p, n, 0, i);
            pad.finite &= is_finite(p, n->args[i]);
        }
        break;
    case OP_mask:
        pad.zero = kept_zero(p, n, 0, 0);
        if (n->attr.f == 0) pad.zero |= axis_bit(y, n->attr.axes.at[0]);
        else pad.zero &= ~axis_bit(y, n->attr.axes.at[0]);
        break;
    case OP_part: pad.zero = kept_zero(p, n, 0, 0) | axis_bit(y, n->attr.axes.at[0]); break;
    case OP_all_to_all: pad.zero = kept_zero(p, n, 0, 0) | axis_bit(y, n->attr.axes.at[1]); break;
    case OP_dot: {
        bool f0 = is_finite(p, n->args[0]), f1 = is_finite(p, n->args[1]);
        pad.zero = (f1 ? kept_zero(p, n, 0, 0) : 0) | (f0 ? kept_zero(p, n, 0, 1) : 0);
        pad.finite = f0 && f1;
        break;
    }
    case OP_scatter:
        pad.zero = kept_zero(p, n, 0, 1) | axis_bit(y, n->attr.axes.at[0]);
        pad.finite = is_finite(p, n->args[1]);
        break;
    case OP_attend: // a row with nothing to attend to may be anything, so a mask makes no promise
        pad.finite = !attend_mask(n) && !attend_last(n);
        if (pad.finite && r == 0) pad.zero = kept_zero(p, n, 0, 2);
        break;
    case OP_attend_grad: pad.zero = ~0u; break;
    default: // slice, place, expand, sum, max, take, collectives: axes that stay keep what they have
        pad.zero = kept_zero(p, n, r, 0);
        pad.nil = x->nil && (n->op == OP_slice || n->op == OP_place || n->op == OP_expand || n->op == OP_sum);
        break;
    }
    return pad;
}

static void pad_block(Padding *p, Block *b);

// The body's iteration number, slices and invariants as their operands; carries as *carry says.
static void enter_body(Padding *p, const Node *n, const Pad *carry) {
    set_pad(p, n->body->params[0], (Pad){.finite = true});
    for (int i = 0; i < n->nargs; i++) {
        Pad pad = *pad_of(p, n->args[i]);
        if (i < repeat_carries(n)) pad = carry[i];
        else if (i < repeat_carries(n) + repeat_stacked(n)) pad.zero >>= 1;
        set_pad(p, n->body->params[i + 1], pad);
    }
}

static void pad_repeat(Padding *p, Node *n) {
    int carries = repeat_carries(n);
    Pad *carry = NEW_ARRAY(p->u->scratch, Pad, carries + 1);
    for (int k = 0; k < carries; k++) {
        carry[k] = *pad_of(p, n->args[k]);
        carry[k].nil = false;
    }
    bool insert = p->insert;
    p->insert = false;
    for (bool changed = true; changed;) {
        changed = false;
        enter_body(p, n, carry);
        pad_block(p, n->body);
        for (int k = 0; k < carries; k++) {
            Pad out = *pad_of(p, block_yield(n->body)->args[k]), was = carry[k];
            carry[k].zero &= out.zero;
            carry[k].finite &= out.finite;
            changed |= carry[k].zero != was.zero || carry[k].finite != was.finite;
        }
    }
    p->insert = insert;
    enter_body(p, n, carry);
    if (insert) pad_block(p, n->body);
    for (int k = 0; k < n->nresults; k++) {
        Pad pad = k < carries ? carry[k] : *pad_of(p, block_yield(n->body)->args[k]);
        if (k >= carries) pad.zero = pad.zero << 1 | 1; // stages: no iteration writes the padding
        set_pad(p, n->results[k], pad);
    }
}

static void pad_block(Padding *p, Block *b) {
    FOR_NODES(n, b) {
        if (!p->ok) return;
        if (n->op == OP_repeat) {
            pad_repeat(p, n);
            continue;
        }
        require(p, n);
        for (int r = 0; r < n->nresults; r++) set_pad(p, n->results[r], derive(p, n, r));
    }
}

static bool any_padded(const Padding *p, const Block *b) {
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nresults; i++)
            if (padded_dims(p, &n->results[i]->type)) return true;
        if (n->body && any_padded(p, n->body)) return true;
    }
    return false;
}

bool resolve_padding(Unit *u, Func *f) {
    Padding p = {.u = u, .f = f, .insert = true, .ok = true};
    if (any_padded(&p, f->top)) pad_block(&p, f->top);
    return p.ok;
}
