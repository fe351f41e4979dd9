// SPDX-License-Identifier: Apache-2.0
#include "ir/graph.h"
#include "ir/op.h"
#include <string.h>

Unit *unit_new(Arena *arena, Arena *scratch, StrTable *strs, Diag *diag, Str name) {
    Unit *u = NEW(arena, Unit);
    u->arena = arena;
    u->scratch = scratch;
    u->strs = strs;
    u->diag = diag;
    u->name = name;
    return u;
}

Func *unit_func(const Unit *u, const char *name) {
    for (int i = 0; i < u->funcs.n; i++)
        if (!strcmp(u->funcs.at[i]->name, name)) return u->funcs.at[i];
    return NULL;
}

Func *unit_add_func(Unit *u, const char *name) {
    Func *f = NEW(u->arena, Func);
    f->name = str_intern(u->strs, name);
    f->unit = u;
    f->top = block_new(f, NULL);
    vec_push(u->arena, &u->funcs, f);
    return f;
}

Axis *unit_axis(const Unit *u, Str name) {
    for (int i = 0; i < u->axes.n; i++)
        if (u->axes.at[i]->name == name) return u->axes.at[i];
    return NULL;
}

Axis *unit_add_axis(Unit *u, Str name, int64_t extent, Loc loc) {
    Axis *a = NEW(u->arena, Axis);
    *a = (Axis){.name = name, .extent = extent, .loc = loc};
    vec_push(u->arena, &u->axes, a);
    return a;
}

static Value *value_new(Func *f, Node *def, Block *block, int index) {
    Value *v = NEW(f->unit->arena, Value);
    v->def = def;
    v->block = block;
    v->index = index;
    v->id = f->next_id++;
    return v;
}

Node *node_new(Func *f, OpKind op, Value *const *args, int nargs, int nresults, const Attr *attr, Loc loc) {
    Arena *a = f->unit->arena;
    Node *n = NEW(a, Node);
    n->op = op;
    n->nargs = nargs;
    n->nresults = nresults;
    n->args = arena_dup(a, args, sizeof *args * (size_t)nargs);
    n->results = NEW_ARRAY(a, Value *, nresults);
    if (attr) n->attr = *attr;
    n->loc = loc;
    for (int i = 0; i < nresults; i++) n->results[i] = value_new(f, n, NULL, i);
    return n;
}

void node_append(Block *b, Node *n) {
    n->parent = b;
    n->prev = b->last;
    n->next = NULL;
    if (b->last) b->last->next = n;
    else b->first = n;
    b->last = n;
}

void node_insert_before(Node *at, Node *n) {
    Block *b = at->parent;
    n->parent = b;
    n->prev = at->prev;
    n->next = at;
    if (at->prev) at->prev->next = n;
    else b->first = n;
    at->prev = n;
}

void node_insert_after(Node *at, Node *n) {
    if (at->next) node_insert_before(at->next, n);
    else node_append(at->parent, n);
}

void node_remove(Node *n) {
    Block *b = n->parent;
    if (n->prev) n->prev->next = n->next;
    else b->first = n->next;
    if (n->next) n->next->prev = n->prev;
    else b->last = n->prev;
    n->prev = n->next = NULL;
    n->parent = NULL;
}

Block *block_new(Func *f, Node *owner) {
    Block *b = NEW(f->unit->arena, Block);
    b->func = f;
    b->owner = owner;
    return b;
}

Value *block_add_param(Block *b, const Type *type, Str name) {
    Value *v = value_new(b->func, NULL, b, b->nparams);
    v->type = *type;
    v->name = name;
    Value **grown = NEW_ARRAY(b->func->unit->arena, Value *, b->nparams + 1);
    if (b->nparams) memcpy(grown, b->params, sizeof *grown * (size_t)b->nparams);
    grown[b->nparams++] = v;
    b->params = grown;
    return v;
}

Node *block_yield(const Block *b) { return b->last && b->last->op == OP_yield ? b->last : NULL; }

static void replace_from(Node *first, Value *from, Value *to) {
    for (Node *n = first; n; n = n->next) {
        for (int i = 0; i < n->nargs; i++)
            if (n->args[i] == from) n->args[i] = to;
        if (n->body) replace_from(n->body->first, from, to);
    }
}

void value_replace_uses(Func *f, Value *from, Value *to) {
    replace_from(f->top->first, from, to);
    from->became = to;
}
void value_replace_uses_after(Node *after, Value *from, Value *to) { replace_from(after->next, from, to); }

static Value *mapped(Value **map, Value *v) { return map[v->id] ? map[v->id] : v; }

static Node *clone_detached(Func *to, const Node *n, Value **map);

static Block *clone_block(Func *to, const Block *b, Node *owner, Value **map) {
    Block *copy = block_new(to, owner);
    for (int i = 0; i < b->nparams; i++)
        map[b->params[i]->id] = block_add_param(copy, &b->params[i]->type, b->params[i]->name);
    for (const Node *n = b->first; n; n = n->next) node_append(copy, clone_detached(to, n, map));
    return copy;
}

static Node *clone_detached(Func *to, const Node *n, Value **map) {
    Node *c = node_new(to, n->op, n->args, n->nargs, n->nresults, &n->attr, n->loc);
    c->scope = n->scope;
    c->again = n->again;
    for (int i = 0; i < n->nargs; i++) c->args[i] = mapped(map, n->args[i]);
    for (int i = 0; i < n->nresults; i++) {
        c->results[i]->type = n->results[i]->type;
        c->results[i]->name = n->results[i]->name;
        map[n->results[i]->id] = c->results[i];
    }
    if (n->body) c->body = clone_block(to, n->body, c, map);
    return c;
}

Node *node_clone(Func *to, Block *into, const Node *n, Value **map) {
    Node *c = clone_detached(to, n, map);
    node_append(into, c);
    return c;
}

Func *func_clone(Unit *u, const Func *f, const char *name) {
    Func *copy = unit_add_func(u, name);
    Value **map = NEW_ARRAY(u->scratch, Value *, f->next_id);
    copy->top = clone_block(copy, f->top, NULL, map);
    return copy;
}

static int count_block(const Block *b, int *uses) {
    int total = 0;
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nargs; i++) uses[n->args[i]->id]++;
        total += n->nargs;
        if (n->body) total += count_block(n->body, uses);
    }
    return total;
}

int func_count_uses(const Func *f, int *out_uses) { return count_block(f->top, out_uses); }

static Value **grown(Arena *a, Value **list, int n, Value *more) {
    Value **copy = NEW_ARRAY(a, Value *, n + 1);
    if (n) memcpy(copy, list, sizeof *copy * (size_t)n);
    copy[n] = more;
    return copy;
}

Value *repeat_stack(Node *repeat, Value *inner) {
    Func *f = repeat->parent->func;
    Arena *a = f->unit->arena;
    Node *yield = block_yield(repeat->body);
    yield->args = grown(a, yield->args, yield->nargs++, inner);
    Value *out = value_new(f, repeat, NULL, repeat->nresults);
    out->type = inner->type;
    out->type.rank++;
    out->type.dim[0] = (Dim){repeat->attr.axes.at[0], repeat_split(f->unit, repeat->attr.axes.at[0])};
    for (int d = 0; d < inner->type.rank; d++) out->type.dim[d + 1] = inner->type.dim[d];
    out->name = inner->name;
    repeat->results = grown(a, repeat->results, repeat->nresults++, out);
    return out;
}
