// SPDX-License-Identifier: Apache-2.0
// The table as data, and what holds for every op: inference with the pending rules, and work.
#include "ir/op.h"
#include "base/vec.h"
#include "ir/ops/infer.h"
#include "ir/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const OpInfo op_table[OP_COUNT] = {
#define MAP(name, n, domain, pending, traits, flops, equation, gradient, body)                                         \
    {#name,                                                                                                            \
     n,                                                                                                                \
     1,                                                                                                                \
     #name[0] == 'c' && n == 1 && MAP_##domain == MAP_CAST ? ATTR_DTYPE : 0,                                           \
     TRAIT_MAP | (traits),                                                                                             \
     PENDING_##pending,                                                                                                \
     MAP_##domain,                                                                                                     \
     flops,                                                                                                            \
     "",                                                                                                               \
     "",                                                                                                               \
     ""},
#define OP(name, nargs, nresults, attrs, pending, traits, ki, kj, kf, suffix, grad, lower)                             \
    {#name, nargs, nresults, attrs, traits, PENDING_##pending, MAP_ANY, 0, ki, kj, kf},
#include "ir/ops.def"
};

bool op_parse(const char *name, OpKind *out_op) {
    for (int i = 0; i < OP_COUNT; i++)
        if (!strcmp(op_table[i].name, name)) {
            *out_op = (OpKind)i;
            return true;
        }
    return false;
}

bool infer_fail(Infer *in, const char *format, ...) {
    char text[600];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    diag_error(in->u->diag, in->loc, "%s", text);
    return false;
}

const char *infer_type(Infer *in, int arg) { return type_text(IN_TYPE(in, arg), &in->u->mesh, in->u->arena); }

bool infer_has_axis(Infer *in, int arg, const Axis *axis, int *out_dim) {
    *out_dim = type_find(IN_TYPE(in, arg), axis);
    if (*out_dim >= 0) return true;
    return infer_fail(in, "'%s' does not occur in the %s operand of %s: %s", axis->name,
                      (const char *[]){"first", "second", "third", "next"}[arg < 3 ? arg : 3], op_info(in->op)->name,
                      infer_type(in, arg));
}

bool infer_whole(Infer *in, int arg, const Axis *axis) {
    int d = type_find(IN_TYPE(in, arg), axis);
    if (d < 0 || !IN_TYPE(in, arg)->dim[d].split) return true;
    return infer_fail(in, "%s needs '%s' whole, but it is split in %s", op_info(in->op)->name, axis->name,
                      infer_type(in, arg));
}

bool infer_push(Infer *in, Type *t, Dim dim) {
    if (type_find(t, dim.axis) >= 0)
        return infer_fail(in, "'%s' would occur twice in the result of %s", dim.axis->name, op_info(in->op)->name);
    if (t->rank == RANK_MAX)
        return infer_fail(in, "the result of %s has more than %d axes", op_info(in->op)->name, RANK_MAX);
    t->dim[t->rank++] = dim;
    return true;
}

bool infer_axes_once(Infer *in, const Axes *axes) {
    for (int i = 0; i < axes->n; i++)
        for (int j = 0; j < i; j++)
            if (axes->at[i] == axes->at[j])
                return infer_fail(in, "'%s' is listed twice in %s", axes->at[i]->name, op_info(in->op)->name);
    return true;
}

bool infer_map(Infer *in) {
    const OpInfo *info = op_info(in->op);
    // Dimension order: that of the first operand holding every axis; without one, the first's axes, then what others
    // add.
    Type all = type_scalar(DT_F32);
    for (int a = 0; a < in->nargs; a++)
        for (int i = 0; i < IN_TYPE(in, a)->rank; i++) {
            Dim d = IN_TYPE(in, a)->dim[i];
            int at = type_find(&all, d.axis);
            if (at < 0) {
                if (!infer_push(in, &all, d)) return false;
            } else if (all.dim[at].split != d.split) {
                return infer_fail(in, "'%s' is split differently in the operands of %s: %s and %s", d.axis->name,
                                  info->name, infer_type(in, 0), infer_type(in, a));
            }
        }
    for (int a = 0; a < in->nargs; a++)
        if (IN_TYPE(in, a)->rank == all.rank) {
            memcpy(all.dim, IN_TYPE(in, a)->dim, sizeof all.dim);
            break;
        }
    Type *out = &in->out[0];
    *out = all;
    int first = info->domain == MAP_SELECT;
    DType t = IN_TYPE(in, first)->dtype;
    for (int a = first + 1; a < in->nargs; a++)
        if (IN_TYPE(in, a)->dtype != t)
            return infer_fail(in, "operands of %s have element types %s and %s", info->name, dtype_name(t),
                              dtype_name(IN_TYPE(in, a)->dtype));
    out->dtype = t;
    switch (info->domain) {
    case MAP_FLOAT:
        if (!dtype_is_float(t))
            return infer_fail(in, "%s needs floating-point operands, not %s", info->name, dtype_name(t));
        break;
    case MAP_NUM:
        if (t == DT_BOOL) return infer_fail(in, "%s needs numbers, not bool", info->name);
        break;
    case MAP_COMPARE:
        if (t == DT_BOOL) return infer_fail(in, "%s compares numbers, not bool", info->name);
        out->dtype = DT_BOOL;
        break;
    case MAP_BOOL:
        if (t != DT_BOOL) return infer_fail(in, "%s needs bool operands, not %s", info->name, dtype_name(t));
        break;
    case MAP_SELECT:
        if (IN_TYPE(in, 0)->dtype != DT_BOOL)
            return infer_fail(in, "select chooses by a bool, not %s", dtype_name(IN_TYPE(in, 0)->dtype));
        break;
    case MAP_CAST: out->dtype = in->attr->dtype; break;
    case MAP_ANY: break;
    }
    return true;
}

typedef bool InferFn(Infer *in);
static InferFn *const infer_table[OP_COUNT] = {
#define MAP(name, ...) infer_map,
#define OP(name, nargs, nresults, attrs, pending, traits, ki, kj, kf, suffix, grad, lower) infer_##suffix,
#include "ir/ops.def"
};

// Which operands' pending marks reach the result, and whether the operands are allowed to have them.
static bool apply_pending(Infer *in, MeshSet *out_sum, MeshSet *out_max) {
    const OpInfo *info = op_info(in->op);
    MeshSet sum = 0, max = 0;
    bool ok = true;
    for (int a = 0; a < in->nargs; a++) {
        const Type *t = IN_TYPE(in, a);
        switch (info->pending) {
        case PENDING_NONE: ok &= !t->sum && !t->max; break;
        case PENDING_UNARY:
            sum = t->sum;
            max = t->max;
            ok &= !t->max || (info->traits & TRAIT_VIEW);
            break;
        case PENDING_FIRST:
            if (a == 0) sum = t->sum;
            else ok &= !t->sum;
            ok &= !t->max;
            break;
        case PENDING_JOINT:
            if (a == 0) sum = t->sum;
            ok &= t->sum == sum && !t->max;
            break;
        case PENDING_BILINEAR:
            ok &= !(sum && t->sum) && !t->max;
            sum |= t->sum;
            break;
        case PENDING_BRANCHES:
            if (a == 1) sum = t->sum;
            ok &= a == 0 ? !t->sum : t->sum == sum;
            ok &= !t->max;
            break;
        case PENDING_FREE: break;
        }
    }
    if (!ok)
        return infer_fail(in, "%s is not linear in its pending operand: %s", info->name,
                          infer_type(in, in->nargs > 1 && !IN_TYPE(in, 0)->sum && !IN_TYPE(in, 0)->max ? 1 : 0));
    *out_sum = sum;
    *out_max = max;
    return true;
}

static bool check_placement(Infer *in, const Type *t) {
    MeshSet seen = 0;
    for (int i = 0; i < t->rank; i++) {
        if (seen & t->dim[i].split) {
            for (int j = 0; j < i; j++) {
                MeshSet both = t->dim[j].split & t->dim[i].split;
                if (both)
                    return infer_fail(in, "'%s' and '%s' are both split over '%s' in %s", t->dim[j].axis->name,
                                      t->dim[i].axis->name, in->u->mesh.axis[__builtin_ctz(both)].name,
                                      type_text(t, &in->u->mesh, in->u->arena));
            }
        }
        seen |= t->dim[i].split;
    }
    if (seen & (t->sum | t->max) || t->sum & t->max)
        return infer_fail(in, "a mesh axis splits a value that is pending over it: %s",
                          type_text(t, &in->u->mesh, in->u->arena));
    return true;
}

bool op_infer(Unit *u, OpKind op, Value *const *args, int nargs, const Attr *attr, const Block *body,
              const Type *declared, Loc loc, Type *out_types, int *out_count) {
    static const Attr none;
    const OpInfo *info = op_info(op);
    Infer in = {u, op, args, nargs, attr ? attr : &none, body, declared, loc, out_types, info->nresults};
    if (info->nargs >= 0 && nargs != info->nargs)
        return infer_fail(&in, "%s takes %d operands, not %d", info->name, info->nargs, nargs);
    if (in.nout >= 0) memset(out_types, 0, sizeof *out_types * (size_t)in.nout);
    MeshSet sum = 0, max = 0;
    if (!apply_pending(&in, &sum, &max) || !infer_table[op](&in)) return false;
    for (int i = 0; i < in.nout; i++) {
        if (info->pending != PENDING_FREE) {
            if (sum & out_types[i].sum)
                return infer_fail(&in, "%s contracts an axis split over a mesh axis its operand is pending over",
                                  info->name);
            out_types[i].sum |= sum;
            out_types[i].max |= max;
        }
        int64_t elements, bytes;
        if (!type_elements(&out_types[i], &elements) || __builtin_mul_overflow(elements, 8, &bytes))
            return infer_fail(&in, "the result of %s is too large: %s", info->name,
                              type_text(&out_types[i], &u->mesh, u->arena));
        if (!check_placement(&in, &out_types[i])) return false;
    }
    *out_count = in.nout;
    return true;
}

typedef double FlopsFn(const Unit *u, const Node *n);
static double flops_map(const Unit *u, const Node *n) {
    return op_info(n->op)->flops * local_elements(u, &n->results[0]->type);
}
static FlopsFn *const flops_table[OP_COUNT] = {
#define MAP(name, ...) flops_map,
#define OP(name, nargs, nresults, attrs, pending, traits, ki, kj, kf, suffix, grad, lower) flops_##suffix,
#include "ir/ops.def"
};

double local_elements(const Unit *u, const Type *t) {
    double n = 1;
    for (int i = 0; i < t->rank; i++) n *= (double)dim_local(&t->dim[i], &u->mesh);
    return n;
}

Work node_work(const Unit *u, const Node *n) {
    Work w = {flops_table[n->op](u, n), 0};
    if (n->op == OP_repeat) {
        double times = (double)n->attr.axes.at[0]->extent;
        for (const Node *b = n->body->first; b; b = b->next) w.bytes += times * node_work(u, b).bytes;
        return w;
    }
    if (op_info(n->op)->traits & (TRAIT_VIEW | TRAIT_LEAF) || n->op == OP_yield) return w;
    for (int i = 0; i < n->nargs; i++)
        w.bytes += local_elements(u, &n->args[i]->type) * dtype_bytes(n->args[i]->type.dtype);
    for (int i = 0; i < n->nresults; i++)
        w.bytes += local_elements(u, &n->results[i]->type) * dtype_bytes(n->results[i]->type.dtype);
    return w;
}
