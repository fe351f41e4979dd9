// SPDX-License-Identifier: Apache-2.0
// autodiff: reverse-mode differentiation of `train`. Behind the forward half it appends the cotangent of every value
// the loss depends on a parameter through, in reverse order, and one output for each parameter.
//
//   %y:    f32[batch, out] = dot %x, %w over in
//   %loss: f32[]           = sum %y over batch, out
//   output %loss "loss"
//   %1:    f32[]           = const value 1
//   %d_y:  f32[batch, out] = expand %1
//   %d_w:  f32[in, out]    = dot %x, %d_y over batch
//   output %d_w "grad.w"
//
// A repeat's gradient is a repeat that runs the other way (gradients_repeat.c).
#include "passes/autodiff.h"
#include "passes/loss_scale.h"
#include "passes/pass.h"
#include "passes/precision.h"
#include "passes/recompute.h"
#include "passes/simplify.h"
#include "ir/text.h"

// ---- which values depend on a parameter ----

static bool activate(Autodiff *a, const Value *v, bool active) {
    if (!active || a->active[v->id] || !dtype_is_float(v->type.dtype)) return false;
    return a->active[v->id] = true;
}

static bool activate_block(Autodiff *a, const Block *b);

static bool activate_repeat(Autodiff *a, const Node *n) {
    const Node *yield = block_yield(n->body);
    bool changed = false;
    for (int i = 0; i < n->nargs; i++) changed |= activate(a, n->body->params[1 + i], a->active[n->args[i]->id]);
    for (bool again = true; again;) {
        again = activate_block(a, n->body);
        for (int k = 0; k < repeat_carries(n); k++)
            again |= activate(a, n->body->params[1 + k], a->active[yield->args[k]->id]);
        changed |= again;
    }
    for (int k = 0; k < n->nresults; k++) {
        bool active = a->active[yield->args[k]->id] || (k < repeat_carries(n) && a->active[n->args[k]->id]);
        changed |= activate(a, n->results[k], active);
    }
    return changed;
}

static bool activate_block(Autodiff *a, const Block *b) {
    bool changed = false;
    for (const Node *n = b->first; n; n = n->next) {
        if (n->op == OP_repeat) {
            changed |= activate_repeat(a, n);
            continue;
        }
        bool active = n->op == OP_param;
        for (int i = 0; i < n->nargs && n->op != OP_stop; i++) active |= a->active[n->args[i]->id];
        for (int i = 0; i < n->nresults; i++) changed |= activate(a, n->results[i], active);
    }
    return changed;
}

// ---- the walk ----

Value *autodiff_zero(Builder *b, const Type *t) { return build_expand(b, build_const(b, t->dtype, 0), t); }

void autodiff_accumulate(Autodiff *a, Builder *b, Value *v, Value *d) {
    Axes over = {0};
    for (int i = 0; i < d->type.rank; i++)
        if (type_find(&v->type, d->type.dim[i].axis) < 0) axes_push(&over, d->type.dim[i].axis);
    d = build_expand(b, build_sum(b, d, &over), &v->type);
    Value *so_far = a->cotangent[v->id];
    if (so_far) d = build_map(b, OP_add, so_far, d, NULL);
    if (d && d->def && !d->name && v->name) d->name = str_internf(a->unit->strs, "d_%s", v->name);
    a->cotangent[v->id] = d;
}

static bool walk_node(Autodiff *a, Node *n, Builder *b) {
    Value **g = NEW_ARRAY(a->scratch, Value *, n->nresults), **d = NEW_ARRAY(a->scratch, Value *, n->nargs);
    bool *wanted = NEW_ARRAY(a->scratch, bool, n->nargs), reached = false, any = false;
    for (int i = 0; i < n->nresults; i++) {
        // Results that a repeat's gradient added to an inner repeat are not forward values of the author.
        if (n->results[i]->id < a->known) g[i] = a->cotangent[n->results[i]->id];
        reached |= g[i] != NULL;
    }
    for (int i = 0; i < n->nargs; i++) any |= wanted[i] = autodiff_active(a, n->args[i]);
    if (!reached || !any) return true;
    b->loc = n->loc;
    b->scope = n->scope;
    int errors = diag_errors(a->unit->diag);
    Gradient x = {a, b, n, g, wanted, d};
    if (!gradient_table[n->op](&x)) return false;
    for (int i = 0; i < n->nargs; i++) {
        if (!wanted[i]) continue;
        if (d[i]) autodiff_accumulate(a, b, n->args[i], d[i]);
        else if (n->op != OP_repeat && diag_errors(a->unit->diag) == errors)
            diag_internal(a->unit->diag, "autodiff", node_line(n, a->scratch), "operand %d got no cotangent", i);
    }
    return diag_errors(a->unit->diag) == errors;
}

bool autodiff_walk(Autodiff *a, Node *last, Builder *b) {
    for (Node *n = last, *prev; n; n = prev) {
        prev = n->prev;
        if (!walk_node(a, n, b)) return false;
    }
    return true;
}

// ---- the pass ----

static Value *find_loss(const Block *top) {
    for (Node *n = top->first; n; n = n->next)
        if (n->op == OP_output && !strcmp(n->attr.s, "loss")) return n->args[0];
    return NULL;
}

bool pass_autodiff(Unit *u) {
    Func *f = unit_func(u, "train");
    if (!f) return true;
    repeat_close_bodies(f);
    if (!recompute_begin(u)) return false;
    Autodiff a = {u, f, u->scratch, f->next_id, NULL, NULL};
    a.active = NEW_ARRAY(u->scratch, bool, a.known);
    a.cotangent = NEW_ARRAY(u->scratch, Value *, a.known);
    Value *loss = find_loss(f->top);
    if (!loss) {
        diag_error(u->diag, (Loc){0}, "train has no output \"loss\" to minimise");
        return false;
    }
    Loc at = loss->def ? loss->def->loc : (Loc){0};
    if (loss->type.rank || loss->type.dtype != DT_F32) {
        diag_error(u->diag, at, "the loss must be a single f32, not %s", type_text(&loss->type, &u->mesh, u->scratch));
        return false;
    }
    activate_block(&a, f->top);
    if (!a.active[loss->id]) {
        diag_error(u->diag, at, "the loss depends on no parameter");
        return false;
    }
    Node *last = f->top->last;
    Builder b = builder_at_end(f->top, at);
    a.cotangent[loss->id] = loss_scale_seed(&b);
    if (!autodiff_walk(&a, last, &b)) return false;
    for (Node *n = f->top->first; n && n != last->next; n = n->next) {
        if (n->op != OP_param) continue;
        Value *g = a.cotangent[n->results[0]->id];
        b.loc = n->loc;
        if (g)
            build_output(&b, loss_scale_undo(&b, precision_gradient(&b, g)),
                         str_internf(u->strs, "grad.%s", n->attr.s));
        else diag_warning(u->diag, n->loc, "parameter '%s' does not influence the loss", n->attr.s);
    }
    simplify_dead(f);
    return true;
}
