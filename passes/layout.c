// SPDX-License-Identifier: Apache-2.0
#include "passes/layout.h"
#include <string.h>

bool layout_mesh(Unit *u) {
    const Strategy *s = u->strategy;
    u->mesh = s->mesh;
    u->mesh.time = u->mesh.stages = 0;
    if (s->pipe_axis) u->mesh.stages = (MeshSet)1 << s->pipe;
    bool staged = s->pipe_axis && s->mesh.axis[s->pipe].extent > 1; // then also with one microbatch
    if (s->microbatches <= 1 && !staged) return true;
    if (u->mesh.n == MESH_MAX) {
        diag_error(u->diag, s->microbatches_loc, "with microbatches a mesh has at most %d axes", MESH_MAX - 1);
        return false;
    }
    u->mesh.time = (MeshSet)1 << u->mesh.n;
    u->mesh.axis[u->mesh.n].name = str_intern(u->strs, MESH_TIME);
    u->mesh.axis[u->mesh.n++].extent = s->microbatches > 1 ? s->microbatches : 1;
    return true;
}

MeshSet layout_split(const Unit *u, const Axis *axis) {
    MeshSet split = strcmp(axis->name, "batch") ? 0 : u->mesh.time;
    for (int i = 0; u->strategy && i < u->strategy->nsplits; i++)
        if (u->strategy->splits[i].axis == axis && !u->strategy->splits[i].between)
            split |= u->strategy->splits[i].over;
    for (int i = 0; i < u->mesh.n; i++)
        if (u->mesh.axis[i].extent == 1) split &= ~((MeshSet)1 << i) | u->mesh.time;
    return split;
}

const Split *layout_split_line(const Unit *u, const Axis *axis) {
    for (int i = 0; u->strategy && i < u->strategy->nsplits; i++)
        if (u->strategy->splits[i].axis == axis) return &u->strategy->splits[i];
    return NULL;
}

Node *layout_node(Func *f, Block *b, Node *after, OpKind op, Value *const *args, int nargs, const Attr *attr,
                  const Type *declared, Loc loc) {
    Type out[3];
    int count;
    if (!op_infer(f->unit, op, args, nargs, attr, NULL, declared, loc, out, &count)) return NULL;
    Node *n = node_new(f, op, args, nargs, count, attr, loc);
    for (int i = 0; i < count; i++) n->results[i]->type = out[i];
    const Node *of = nargs && args[0]->def ? args[0]->def : after;
    if (of) {
        n->scope = of->scope;
        n->again = of->again;
    }
    if (after) node_insert_after(after, n);
    else if (b->first) node_insert_before(b->first, n);
    else node_append(b, n);
    return n;
}

static Node *unary(Func *f, Block *b, Node *after, OpKind op, Value *x, const Attr *attr, Loc loc) {
    Node *n = layout_node(f, b, after, op, &x, 1, attr, NULL, loc);
    if (n) n->results[0]->name = x->name;
    return n;
}

Node *layout_all_gather(Func *f, Block *b, Node *after, Value *x, const Axis *axis, Loc loc) {
    MeshSet over = x->type.dim[type_find(&x->type, axis)].split;
    return unary(f, b, after, OP_all_gather, x, &(Attr){.axes = axes_of(1, axis), .mesh = over}, loc);
}

Node *layout_part(Func *f, Block *b, Node *after, Value *x, const Axis *axis, MeshSet over, Loc loc) {
    return unary(f, b, after, OP_part, x, &(Attr){.axes = axes_of(1, axis), .mesh = over}, loc);
}

Node *layout_all_reduce(Func *f, Block *b, Node *after, Value *x, MeshSet over, bool max, Loc loc) {
    return unary(f, b, after, OP_all_reduce, x, &(Attr){.mesh = over, .flag = max}, loc);
}

Node *layout_mask(Func *f, Block *b, Node *after, Value *x, const Axis *axis, double identity, Loc loc) {
    return unary(f, b, after, OP_mask, x, &(Attr){.axes = axes_of(1, axis), .f = identity}, loc);
}

static void replace_in(Block *b, Value *from, Value *to, Node *keep) {
    for (Node *n = b->first; n; n = n->next) {
        for (int i = 0; n != keep && i < n->nargs; i++)
            if (n->args[i] == from) n->args[i] = to;
        if (n->body) replace_in(n->body, from, to, keep);
    }
}

void layout_replace(Func *f, Value *from, Value *to, Node *keep) { replace_in(f->top, from, to, keep); }

bool layout_infer(Unit *u, Node *n) {
    int count;
    Type *out = NEW_ARRAY(u->scratch, Type, n->nresults > 3 ? n->nresults : 3);
    const Type *declared = n->nresults == 1 ? &n->results[0]->type : NULL;
    if (!op_infer(u, n->op, n->args, n->nargs, &n->attr, n->body, declared, n->loc, out, &count)) return false;
    for (int i = 0; i < count; i++) n->results[i]->type = out[i];
    return true;
}
