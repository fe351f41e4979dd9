// SPDX-License-Identifier: Apache-2.0
// precision: `precision bf16` computes products and attention in bf16, everything else in f32. Runs on the forward
// functions before autodiff, which then makes the backward half's casts: a cast's gradient is the cast back.
//
//   %y: f32[batch, out] = dot %x, %w over in
// becomes
//   %1: bf16[batch, in]  = cast %x as bf16
//   %2: bf16[in, out]    = cast %w as bf16           w stays f32: the master weights
//   %y: bf16[batch, out] = dot %1, %2 over in        summed in f32, rounded once
//   %3: f32[batch, out]  = cast %y as f32            what follows (bias, softmax, norms, residual sums, loss) is in f32
//
// So what lies in memory between kernels is bf16 wherever a product made it or only products read it, and gradients
// reach their parameters through a cast to f32. Micikevicius et al., "Mixed precision training", ICLR 2018;
// Kalamkar et al., "A study of BFLOAT16 for deep learning training", 2019.
#include "passes/precision.h"
#include "ir/strategy.h"
#include "passes/pass.h"

typedef struct Precision {
    DType compute;
    int known;      // values with ids below may have an entry
    Value **narrow; // by id: the value in the type computed in,
    Block **where;  // made in this block
} Precision;

// v in the compute type without rounding anew: what it was widened from, through views; NULL when it was not.
static Value *was_narrow(Precision *p, Builder *b, Value *v) {
    Node *n = v->def;
    if (!n) return NULL;
    if (n->op == OP_cast) return n->args[0]->type.dtype == p->compute ? n->args[0] : NULL;
    if (n->op != OP_rename && n->op != OP_slice) return NULL;
    Value *from = was_narrow(p, b, n->args[0]);
    if (!from) return NULL;
    Node *view = build_node(b, n->op, &from, 1, &n->attr, NULL);
    return view ? view->results[0] : NULL;
}

static Value *narrow(Precision *p, Node *user, Value *v) {
    if (v->type.dtype != DT_F32) return v;
    if (v->id < p->known && p->where[v->id] == user->parent) return p->narrow[v->id];
    Builder b = builder_before(user);
    Value *x = was_narrow(p, &b, v);
    if (!x) x = build_cast(&b, v, p->compute);
    if (x && x->def && !x->name) x->name = v->name;
    if (v->id < p->known) {
        p->narrow[v->id] = x;
        p->where[v->id] = user->parent;
    }
    return x;
}

static bool compute_narrow(Precision *p, Node *n) {
    for (int i = 0; i < n->nargs; i++)
        if (!(n->args[i] = narrow(p, n, n->args[i]))) return false;
    Value *y = n->results[0];
    y->type.dtype = p->compute;
    Builder b = builder_before(n);
    b.before = n->next;
    Value *wide = build_cast(&b, y, DT_F32);
    if (!wide) return false;
    value_replace_uses_after(wide->def, y, wide);
    return true;
}

static bool block_precision(Precision *p, Block *b) {
    FOR_NODES(n, b) {
        if (n->body && !block_precision(p, n->body)) return false;
        bool product = n->op == OP_dot || n->op == OP_attend;
        if (product && n->results[0]->type.dtype == DT_F32 && !compute_narrow(p, n)) return false;
    }
    return true;
}

bool pass_precision(Unit *u) {
    const Strategy *s = u->strategy;
    if (!s || !s->has_precision || s->compute == DT_F32) return true;
    for (int i = 0; i < u->funcs.n; i++) {
        Func *f = u->funcs.at[i];
        if (!strcmp(f->name, "init")) continue;
        Precision p = {.compute = s->compute, .known = f->next_id};
        p.narrow = NEW_ARRAY(u->scratch, Value *, p.known);
        p.where = NEW_ARRAY(u->scratch, Block *, p.known);
        if (!block_precision(&p, f->top)) return false;
    }
    return true;
}

Value *precision_gradient(Builder *b, Value *g) {
    const Strategy *s = b->unit->strategy;
    if (!s || !s->has_precision || s->reduce == DT_F32) return g;
    return build_cast(b, build_cast(b, g, s->reduce), DT_F32);
}

static bool is_repeat_axis(const Block *b, const Axis *axis) {
    for (const Node *n = b->first; n; n = n->next)
        if (n->op == OP_repeat && (n->attr.axes.at[0] == axis || is_repeat_axis(n->body, axis))) return true;
    return false;
}

// Has t the axes of a parameter, or of one iteration's part of it?
static bool like_param(const Func *f, const Type *t) {
    for (const Node *n = f->top->first; n; n = n->next) {
        if (n->op != OP_param) continue;
        const Type *w = &n->results[0]->type;
        bool like = t->rank <= w->rank;
        for (int d = 0; d < t->rank && like; d++) like = type_find(w, t->dim[d].axis) >= 0;
        for (int d = 0; d < w->rank && like; d++)
            like = type_find(t, w->dim[d].axis) >= 0 || is_repeat_axis(f->top, w->dim[d].axis);
        if (like) return true;
    }
    return false;
}

MeshSet precision_passes_pending(const Func *f, const Node *cast) {
    const Value *x = cast->args[0], *y = cast->results[0];
    int from = dtype_bytes(x->type.dtype), to = dtype_bytes(y->type.dtype);
    if (to <= from) return to < from ? ~f->unit->mesh.time : ~(MeshSet)0;
    bool rounded = x->def && x->def->op == OP_cast; // precision_gradient's
    return !rounded && like_param(f, &y->type) ? ~(MeshSet)0 : 0;
}
