// SPDX-License-Identifier: Apache-2.0
// infer: what an op's type function sees, and helpers for them. One function infer_NAME and one flops_NAME per row of
// ops.def.
#pragma once
#include "ir/op.h"

typedef struct Infer {
    Unit *u;
    OpKind op;
    Value *const *args;
    int nargs;
    const Attr *attr;
    const Block *body;
    const Type *declared;
    Loc loc;
    Type *out; // results: dtype, dims with splits, and what contraction leaves pending (the row's pending rule is added
               // later)
    int nout;
} Infer;

#define IN_TYPE(in, i) (&(in)->args[i]->type)

bool infer_fail(Infer *in, const char *format, ...) __attribute__((format(printf, 2, 3))); // reports; false
bool infer_has_axis(Infer *in, int arg, const Axis *axis, int *out_dim); // reports which operand lacks it
bool infer_whole(Infer *in, int arg, const Axis *axis);                  // reports a split axis that must be whole
bool infer_push(Infer *in, Type *t, Dim dim);                            // reports too many or repeated axes
bool infer_axes_once(Infer *in, const Axes *axes);                       // reports an axis listed twice
const char *infer_type(Infer *in, int arg);                              // operand type as text

bool infer_map(Infer *in);
double local_elements(const Unit *u, const Type *t);

#define OP(name, nargs, nresults, attrs, pending, traits, ki, kj, kf, suffix, grad, lower)                             \
    bool infer_##suffix(Infer *in);                                                                                    \
    double flops_##suffix(const Unit *u, const Node *n);
#include "ir/ops.def"
