// SPDX-License-Identifier: Apache-2.0
// zero: `shard optimizer | gradients | parameters over data` (ZeRO stages 1, 2, 3; Rajbhandari et al., SC 2020). The
// ranks along the mesh axes S would all hold the same parameter and make the same update; instead one dimension of the
// parameter is cut over S, and each rank updates its part:
//
//   %g: f32[width=8, hidden=32]      = dot %x, %d over batch                        pending over data, resolve will say
//   %m: f32[width=8, hidden=32]      = state "adam.m/w" "w"
//   ... assign %w, %w1                                                  becomes, with `shard optimizer over data`,
//   %m: f32[width/data=8, hidden=32] = state "adam.m/w" "w"
//   %q: f32[width/data=8, hidden=32] = part %g over width on data       resolve makes a reduce_scatter of it
//   ... all elementwise ops of the update on parts ...
//   %n: f32[width=8, hidden=32]      = all_gather %w2 over width on data
//   assign %w, %n
//
// `gradients` moves the part of a gradient into the repeat that makes it, so that only parts are stacked. With
// `parameters` the parameter itself is a part: the gather goes in front of its uses, into the body of a repeat that
// slices it, forward and backward, and none is left behind the update.
//
// The optimizer leaves the outputs "grad.NAME" for this: they say which values are gradients.
#include "passes/zero.h"
#include "passes/simplify.h"
#include <string.h>

// ---- which dimension ----

// One that nothing splits and no repeat runs along, the first that S divides, else the longest (with padding); else the
// same among the axes of repeats. None where every dimension is split or has one place.
static Cut cut_of(const Zero *z, const Type *t) {
    Cut cut = {.over = z->over & ~type_split(t)};
    int64_t ways = mesh_extent(&z->u->mesh, cut.over);
    for (int repeated = 0; repeated < 2 && !cut.axis && ways > 1; repeated++) {
        for (int i = 0; i < t->rank; i++) {
            const Axis *axis = t->dim[i].axis;
            if (t->dim[i].split || axis->extent < 2 || (axes_find(&z->repeated, axis) >= 0) != repeated) continue;
            if (axis->extent % ways == 0) {
                cut.axis = axis;
                break;
            }
            if (!cut.axis || axis->extent > cut.axis->extent) cut.axis = axis;
        }
    }
    return cut;
}

static void find_repeated(const Block *b, Axes *into) {
    for (const Node *n = b->first; n; n = n->next) {
        if (n->op == OP_repeat && axes_find(into, n->attr.axes.at[0]) < 0) axes_push(into, n->attr.axes.at[0]);
        if (n->body) find_repeated(n->body, into);
    }
}

// ---- the update on parts ----

static bool is_map(const Zero *z, const Value *v) {
    return v->def && v->def->parent == z->f->top && op_info(v->def->op)->traits & TRAIT_MAP;
}

// v cut. Maps are computed on the parts of their operands, up to what is a part by itself (leaves), a gradient, or made
// by anything else: of these each rank takes its part.
static Value *part_of(Zero *z, Value *v, Cut cut) {
    int d = type_find(&v->type, cut.axis);
    if (d < 0 || v->type.dim[d].split || v->id >= z->known) return v;
    if (z->part[v->id]) return z->part[v->id];
    Node *n;
    if (is_map(z, v) && !z->gradient[v->id].axis) {
        Value *args[3];
        for (int i = 0; i < v->def->nargs; i++)
            if (!(args[i] = part_of(z, v->def->args[i], cut))) return NULL;
        n = layout_node(z->f, z->f->top, v->def, v->def->op, args, v->def->nargs, &v->def->attr, NULL, v->def->loc);
    } else {
        n = layout_part(z->f, z->f->top, v->def, v, cut.axis, cut.over, v->def->loc);
    }
    if (!n) {
        z->ok = false;
        return NULL;
    }
    n->results[0]->type.sum = n->results[0]->type.max = 0; // the next pass says what is pending
    n->results[0]->name = v->name;
    return z->part[v->id] = n->results[0];
}

// What is assigned to a leaf that is a part, or to a parameter in training, is computed on parts.
static bool cut_assign(Zero *z, Node *assign, bool trains) {
    const Value *leaf = assign->args[0];
    Cut cut = z->leaf[leaf->id];
    bool is_part = cut.axis && leaf->type.dim[type_find(&leaf->type, cut.axis)].split;
    if (!cut.axis || !(is_part || trains)) return true;
    Value *x = part_of(z, assign->args[1], cut);
    if (x && !is_part) {
        Node *whole = layout_all_gather(z->f, z->f->top, assign->prev, x, cut.axis, assign->loc);
        if (!whole) z->ok = false;
        x = whole ? whole->results[0] : NULL;
    }
    if (x) assign->args[1] = x;
    return x != NULL;
}

// The cut of the gradient that maps make v from; no axis when there is none.
static Cut gradient_below(Zero *z, const Value *v) {
    Cut none = {0};
    if (v->id >= z->known || z->from[v->id] == 1) return none;
    if (z->gradient[v->id].axis) return z->gradient[v->id];
    for (int i = 0; is_map(z, v) && i < v->def->nargs; i++) {
        Cut cut = gradient_below(z, v->def->args[i]);
        if (cut.axis && type_find(&v->type, cut.axis) >= 0) return cut;
    }
    z->from[v->id] = 1;
    return none;
}

// Reductions over a gradient (its norm, whether it is finite) are over the parts: pending over S, a number each.
static bool cut_reduction(Zero *z, Node *n) {
    Cut cut = gradient_below(z, n->args[0]);
    if (!cut.axis || axes_find(&n->attr.axes, cut.axis) < 0) return true;
    Value *x = part_of(z, n->args[0], cut);
    if (x) n->args[0] = x;
    return x != NULL;
}

static const Value *find_param(const Func *f, const char *name) {
    for (const Node *n = f->top->first; n; n = n->next)
        if (n->op == OP_param && !strcmp(n->attr.s, name)) return n->results[0];
    return NULL;
}

static bool is_gradient(const Node *n) { return n->op == OP_output && !strncmp(n->attr.s, "grad.", 5); }

static bool cut_update(Zero *z) {
    Block *top = z->f->top;
    bool trains = false;
    for (Node *n = top->first; n; n = n->next) {
        if (!is_gradient(n)) continue;
        trains = true;
        const Value *param = find_param(z->f, n->attr.s + 5);
        if (param && n->args[0]->def) z->gradient[n->args[0]->id] = z->leaf[param->id];
    }
    FOR_NODES(n, top) {
        if (n->op == OP_assign && !cut_assign(z, n, trains)) return false;
        if ((n->op == OP_sum || n->op == OP_max) && !cut_reduction(z, n)) return false;
    }
    FOR_NODES(n, top) {
        if (!is_gradient(n)) continue;
        Cut cut = z->gradient[n->args[0]->id];
        if (!z->u->keep_gradients) node_remove(n);
        else if (cut.axis && !(n->args[0] = part_of(z, n->args[0], cut))) return false;
    }
    return true;
}

// ---- a function ----

static bool cut_func(Zero *z) {
    Block *top = z->f->top;
    z->known = z->f->next_id;
    z->part = NEW_ARRAY(z->u->scratch, Value *, z->known);
    z->leaf = NEW_ARRAY(z->u->scratch, Cut, z->known);
    z->gradient = NEW_ARRAY(z->u->scratch, Cut, z->known);
    z->from = NEW_ARRAY(z->u->scratch, unsigned char, z->known);
    Vec(Value *) params = {0};
    for (Node *n = top->first; n; n = n->next) {
        if (n->op != OP_param && n->op != OP_state) continue;
        Value *v = n->results[0];
        Cut cut = z->leaf[v->id] = cut_of(z, &v->type);
        if (!cut.axis || (n->op == OP_param && z->level < SHARD_PARAMETERS)) continue;
        v->type.dim[type_find(&v->type, cut.axis)].split = cut.over;
        if (n->op == OP_param) vec_push(z->u->scratch, &params, v);
    }
    if (!cut_update(z)) return false;
    simplify_dead(z->f); // the update on whole values
    if (z->level >= SHARD_GRADIENTS)
        for (int i = 0; i < z->known; i++)
            if (z->gradient[i].axis && z->part[i] && !zero_move_part(z, z->part[i]->def)) return false;
    for (int i = 0; i < params.n; i++)
        if (!zero_gather_uses(z, params.at[i], z->leaf[params.at[i]->id])) return false;
    return z->ok;
}

bool zero_apply(Unit *u) {
    if (!u->strategy || !u->strategy->shard) return true;
    Zero z = {.u = u, .level = u->strategy->shard, .over = u->strategy->shard_over, .ok = true};
    for (int i = 0; i < u->funcs.n; i++) find_repeated(u->funcs.at[i]->top, &z.repeated);
    for (int i = 0; i < u->funcs.n; i++) {
        z.f = u->funcs.at[i];
        if (!cut_func(&z)) return false;
    }
    return true;
}
