// SPDX-License-Identifier: Apache-2.0
// zero_move: cuts move to where they cost least. The part of a stacked gradient moves into the repeat that stacks it,
// the gather of a stacked parameter into the repeat that slices it:
//
//   %g: f32[layer=2, width=8]      = repeat ... { ... yield %d }           %w: f32[layer=2, width/data=8] = param "w"
//   %p: f32[layer=2, width/data=8] = part %g over width on data            %a: f32[layer=2, width=8] = all_gather %w
//                                                                          repeat %a ... { ^ %i, %s ... dot %x, %s }
//   %p: f32[layer=2, width/data=8] = repeat ... {                          repeat %w ... { ^ %i, %s
//       %q: f32[width/data=8] = part %d over width on data ; yield %q          %a: f32[width=8] = all_gather %s
//   }                                                                          ... dot %x, %a }
//
// A gradient that a repeat adds up in a carry is cut in each iteration: the carry is a part too. Parts move through
// casts and scales on their way.
#include "passes/zero.h"

// ---- parts into repeats ----

static int uses_of(const Zero *z, const Value *v) {
    int *uses = NEW_ARRAY(z->u->scratch, int, z->f->next_id);
    func_count_uses(z->f, uses);
    return uses[v->id];
}

static Value *part_behind(Zero *z, Value *x, Cut cut, Loc loc) {
    Block *b = x->def ? x->def->parent : x->block;
    Node *n = layout_part(z->f, b, x->def, x, cut.axis, cut.over, loc);
    if (!n) z->ok = false;
    return n ? n->results[0] : NULL;
}

// Is v the sum of the carry `param` and other things, by adds of this body that nothing else uses?
static bool adds_to(const Zero *z, const Value *v, const Value *param) {
    if (uses_of(z, v) != 1) return false;
    if (v == param) return true;
    const Node *n = v->def;
    return n && n->op == OP_add && n->parent == param->block &&
           (adds_to(z, n->args[0], param) || adds_to(z, n->args[1], param));
}

// The sum adds parts; the terms' parts move on into the repeats that make them.
static bool cut_sum(Zero *z, Value *v, const Value *param, Cut cut) {
    if (v == param) return true;
    Node *n = v->def;
    for (int i = 0; i < 2; i++) {
        Value *x = n->args[i];
        if (adds_to(z, x, param)) {
            if (!cut_sum(z, x, param, cut)) return false;
        } else {
            if (!(n->args[i] = part_behind(z, x, cut, n->loc))) return false;
            if (!zero_move_part(z, n->args[i]->def)) return false;
        }
    }
    if (!layout_infer(z->u, n)) return z->ok = false;
    n->results[0]->type.sum = n->results[0]->type.max = 0;
    return true;
}

// A map of a tensor and numbers (casts, the loss scale): the tensor is cut instead of the result.
static bool cut_map(Zero *z, Node *map, Node *part, Cut cut) {
    int at = -1;
    for (int i = 0; i < map->nargs; i++) {
        if (type_find(&map->args[i]->type, cut.axis) < 0) continue;
        if (at >= 0) return true;
        at = i;
    }
    if (!(map->args[at] = part_behind(z, map->args[at], cut, part->loc))) return false;
    Node *inner = map->args[at]->def;
    if (!layout_infer(z->u, map)) return z->ok = false;
    map->results[0]->type.sum = map->results[0]->type.max = 0;
    layout_replace(z->f, part->results[0], map->results[0], NULL);
    node_remove(part);
    return zero_move_part(z, inner);
}

bool zero_move_part(Zero *z, Node *part) {
    Value *v = part->args[0], *p = part->results[0];
    Node *n = v->def;
    Cut cut = {part->attr.axes.at[0], part->attr.mesh};
    if (!n || uses_of(z, v) != 1) return true;
    if (op_info(n->op)->traits & TRAIT_MAP) return cut_map(z, n, part, cut);
    if (n->op != OP_repeat) return true;
    Node *yield = block_yield(n->body);
    int k = v->index;
    Value *x = yield->args[k];
    if (k < repeat_carries(n)) {
        Value *param = n->body->params[1 + k];
        if (x == param || !adds_to(z, x, param)) return true;
        if (!(n->args[k] = part_behind(z, n->args[k], cut, n->loc))) return false;
        param->type.dim[type_find(&param->type, cut.axis)].split = cut.over;
        if (!cut_sum(z, x, param, cut)) return false;
    } else {
        bool here = x->def && x->def->parent == n->body;
        if (!here || n->attr.axes.at[0] == cut.axis) return true;
        if (!(yield->args[k] = part_behind(z, x, cut, part->loc))) return false;
        if (!zero_move_part(z, yield->args[k]->def)) return false;
    }
    v->type.dim[type_find(&v->type, cut.axis)].split = cut.over;
    layout_replace(z->f, p, v, NULL);
    node_remove(part);
    return true;
}

// ---- gathers into repeats ----

static bool gather_in(Zero *z, Block *b, Value *v, Cut cut, Node **gather, Node **first);

// A use that stays cut: true when `n` takes v as it is.
static bool stays_cut(Zero *z, Node *n, int arg, Value *v, Cut cut) {
    if (n->nresults && n->results[0]->id >= z->known) return true; // the update on parts
    if (n->op == OP_assign || n->op == OP_output) return true;
    if (n->op == OP_cast && v->type.rank && n->parent == (v->def ? v->def->parent : v->block)) {
        Value *y = n->results[0];
        if (!dtype_is_float(y->type.dtype) || dtype_bytes(y->type.dtype) > dtype_bytes(v->type.dtype)) return false;
        y->type.dim[type_find(&y->type, cut.axis)].split = cut.over;
        return z->ok = z->ok && zero_gather_uses(z, y, cut), true;
    }
    int slice = arg - repeat_carries(n);
    if (n->op != OP_repeat || slice < 0 || slice >= repeat_stacked(n) || n->attr.axes.at[0] == cut.axis) return false;
    Value *p = n->body->params[1 + arg];
    p->type.dim[type_find(&p->type, cut.axis)].split = cut.over;
    return z->ok = z->ok && zero_gather_uses(z, p, cut), true;
}

// Everything in b and its bodies; the gather stands in front of the first node of v's block that needs it.
static bool gather_in(Zero *z, Block *b, Value *v, Cut cut, Node **gather, Node **first) {
    Block *home = v->def ? v->def->parent : v->block;
    for (Node *n = b->first; n && z->ok; n = n->next) {
        Node *at = b == home ? n : *first;
        for (int i = 0; i < n->nargs && n != *gather; i++) {
            if (n->args[i] != v || stays_cut(z, n, i, v, cut)) continue;
            if (!*gather) *gather = layout_all_gather(z->f, home, at->prev, v, cut.axis, n->loc);
            if (!*gather) return z->ok = false;
            n->args[i] = (*gather)->results[0];
        }
        if (n->body && !gather_in(z, n->body, v, cut, gather, &at)) return false;
    }
    return z->ok;
}

bool zero_gather_uses(Zero *z, Value *v, Cut cut) {
    Node *gather = NULL, *first = NULL;
    return gather_in(z, v->def ? v->def->parent : v->block, v, cut, &gather, &first);
}
