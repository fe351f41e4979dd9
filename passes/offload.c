// SPDX-License-Identifier: Apache-2.0
// offload: with `offload optimizer to host` the states of parameters lie in the host's memory. Their update is cut
// along its first axis, so that only two slices are in the slab at a time, one being updated while the next is fetched:
//
//   before    %m: f32[layer=12, width=768] = state "adam.m/w" "w"        %w, %g alike
//             %a = mul %m, 0.9
//             %m1 = add %a, %g1                                           ... %w1
//             assign %m, %m1 ; assign %w, %w1
//   after     %m1, %w1 = repeat %m, %g, %w, %lr over layer carry 0 stack 3 {
//                 ^ %i, %ml: f32[width=768], %gl, %wl, %lr
//                 %al = mul %ml, 0.9 ...
//                 yield %ml1, %wl1
//             }
//             assign %m, %m1 ; assign %w, %w1
//
// States of layers go layer by layer, all of one axis in one repeat. A large one without layers (an embedding) goes in
// pieces of its first axis, by renames around the repeat. Others are fetched whole, and so is a state whose first axis
// is split or whose update is more than maps. memory_host.c fetches; here nothing is placed.
//
// `init` does not fill such states: the runtime clears states before it runs.
#include "passes/layout.h"
#include "passes/memory.h"
#include "passes/pass.h"
#include "passes/simplify.h"

enum {
    LARGE_BYTES = 16 << 20, // a state that is worth pieces, and what a piece is to have at most: half a millisecond
                            // of a link of 32 GB/s, far above what starting a copy costs
    PIECES_MAX = 64,
};

typedef struct Group {         // updates that go along one axis together
    const Axis *axis;          // first dimension of what is cut
    const Axis *piece, *place; // pieces of it and places in one; NULL: slice by slice
} Group;

typedef struct Offload {
    Unit *u;
    Func *f;
    Arena *a;
    int known;
    bool *inside; // by value id: computed in the repeat
    bool *behind; // by value id: needs something computed there
    int *uses;    // by value id: of nodes outside
    Value **map;  // by value id: in the body
    Vec(Value *) stacked, invariants, out;
} Offload;

static bool is_state(const Node *n) { return n->op == OP_state && section_of(n) == SECTION_CHUNK; }

static bool is_repeated(const Block *b, const Axis *axis) {
    for (const Node *n = b->first; n; n = n->next)
        if (n->op == OP_repeat && (n->attr.axes.at[0] == axis || is_repeated(n->body, axis))) return true;
    return false;
}

static bool repeats_over(const Unit *u, const Axis *axis) {
    for (int i = 0; i < u->funcs.n; i++)
        if (is_repeated(u->funcs.at[i]->top, axis)) return true;
    return false;
}

static Axis *piece_axis(Unit *u, const Axis *of, const char *what, int64_t extent) {
    Str name = str_internf(u->strs, "%s.%s", of->name, what);
    Axis *axis = unit_axis(u, name);
    return axis ? axis : unit_add_axis(u, name, extent, of->loc);
}

// How the state's update is cut; axis NULL: not at all.
static Group group_of(Unit *u, const Node *state) {
    const Type *t = &state->results[0]->type;
    Group none = {0}, g = {0};
    if (!t->rank || t->dim[0].split || t->dim[0].axis->extent < 2) return none;
    g.axis = t->dim[0].axis;
    if (repeats_over(u, g.axis)) return g;
    // Models small enough to be verified have no large states; there every one goes through the finer form.
    int64_t extent = g.axis->extent, pieces = 0, bytes = memory_bytes(u, t), most = LARGE_BYTES;
    if (u->keep_gradients) most = bytes / 2;
    if (bytes <= most || t->rank == RANK_MAX || g.axis->whole) return none;
    for (int64_t d = 2; d <= PIECES_MAX && d < extent; d++) {
        if (extent % d) continue;
        pieces = d;
        if (bytes / d <= most) break;
    }
    if (!pieces) return none;
    g.piece = piece_axis(u, g.axis, "piece", pieces);
    g.place = piece_axis(u, g.axis, "place", extent / pieces);
    return g;
}

// ---- what goes into the repeat ----

static bool is_map(const Node *n) { return op_info(n->op)->traits & TRAIT_MAP || n->op == OP_part; }
static bool is_cut(const Group *g, const Type *t) { return t->rank && t->dim[0].axis == g->axis; }

// Maps made from a state of the group, and then what only they need.
static void find_inside(Offload *o, const Group *g, Node *const *states, int nstates) {
    for (int i = 0; i < nstates; i++) o->behind[states[i]->results[0]->id] = true;
    for (const Node *n = o->f->top->first; n; n = n->next) {
        bool from = false;
        for (int i = 0; i < n->nargs; i++) from |= o->behind[n->args[i]->id];
        for (int k = 0; from && k < n->nresults; k++) o->behind[n->results[k]->id] = true;
        if (from && is_map(n) && is_cut(g, &n->results[0]->type)) o->inside[n->results[0]->id] = true;
    }
    for (int i = 0; i < nstates; i++) o->behind[states[i]->results[0]->id] = false;
    func_count_uses(o->f, o->uses);
    for (const Node *n = o->f->top->last; n; n = n->prev) {
        Value *v = n->nresults == 1 ? n->results[0] : NULL;
        if (v && is_map(n) && !o->inside[v->id] && !o->behind[v->id] && is_cut(g, &v->type) && o->uses[v->id] == 0)
            o->inside[v->id] = true;
        for (int i = 0; v && o->inside[v->id] && i < n->nargs; i++) o->uses[n->args[i]->id]--;
    }
}

static void add_once(Offload *o, Value *v, bool slices) {
    if (slices) {
        for (int i = 0; i < o->stacked.n; i++)
            if (o->stacked.at[i] == v) return;
        vec_push(o->a, &o->stacked, v);
        return;
    }
    for (int i = 0; i < o->invariants.n; i++)
        if (o->invariants.at[i] == v) return;
    vec_push(o->a, &o->invariants, v);
}

static bool is_constant(const Value *v) { return v->def && v->def->op == OP_const; } // goes into the body

// Operands from outside and results that are needed there. False: it cannot go slice by slice.
static bool find_border(Offload *o, const Group *g) {
    for (const Node *n = o->f->top->first; n; n = n->next) {
        Value *v = n->nresults == 1 ? n->results[0] : NULL;
        bool inside = v && o->inside[v->id];
        if (inside && n->op == OP_part && n->attr.axes.at[0] == g->axis) return false;
        for (int i = 0; inside && i < n->nargs; i++) {
            Value *x = n->args[i];
            int d = type_find(&x->type, g->axis);
            if (o->inside[x->id] || is_constant(x)) continue;
            if (d > 0 || (d == 0 && x->type.dim[0].split) || o->behind[x->id]) return false;
            add_once(o, x, d == 0);
        }
        if (!inside) continue;
        if (v->type.dim[0].split) return false;
        if (o->uses[v->id] > 0) vec_push(o->a, &o->out, v);
    }
    return o->out.n > 0;
}

// ---- the repeat ----

static Value *rename_before(Offload *o, Node *at, Value *x, const Group *g, bool apart) {
    Attr attr = {.axes = apart ? axes_of(1, g->axis) : axes_of(2, g->piece, g->place),
                 .to = apart ? axes_of(2, g->piece, g->place) : axes_of(1, g->axis)};
    Node *n = layout_node(o->f, o->f->top, at->prev, OP_rename, &x, 1, &attr, NULL, at->loc);
    if (n) n->results[0]->name = x->name;
    return n ? n->results[0] : NULL;
}

static Value *body_param(Offload *o, Block *body, Value *of, const Value *outer, bool slices) {
    Type t = outer->type;
    if (slices) {
        memmove(t.dim, t.dim + 1, sizeof *t.dim * (size_t)(t.rank - 1));
        t.rank--;
        t.dim[t.rank] = (Dim){0};
    }
    return o->map[of->id] = block_add_param(body, &t, of->name);
}

// In front of `at`, behind everything the repeat needs.
static bool build(Offload *o, const Group *g, Node *at) {
    int stacked = o->stacked.n, n = stacked + o->invariants.n;
    Value **args = NEW_ARRAY(o->a, Value *, n + 1), **yields = NEW_ARRAY(o->a, Value *, o->out.n + 1);
    for (int i = 0; i < n; i++) {
        args[i] = i < stacked ? o->stacked.at[i] : o->invariants.at[i - stacked];
        if (i < stacked && g->piece && !(args[i] = rename_before(o, at, args[i], g, true))) return false;
    }
    Attr attr = {.axes = axes_of(1, g->piece ? g->piece : g->axis), .j = stacked};
    Node *r = node_new(o->f, OP_repeat, args, n, o->out.n, &attr, at->loc);
    Block *body = r->body = block_new(o->f, r);
    Type number = type_scalar(DT_I32);
    block_add_param(body, &number, str_intern(o->u->strs, "i"));
    for (int i = 0; i < n; i++)
        body_param(o, body, i < stacked ? o->stacked.at[i] : o->invariants.at[i - stacked], args[i], i < stacked);
    FOR_NODES(x, o->f->top) {
        Value *v = x->nresults == 1 ? x->results[0] : NULL, *in[3];
        if (!v || v->id >= o->known || !o->inside[v->id]) continue;
        for (int i = 0; i < x->nargs; i++) {
            Value **to = &o->map[x->args[i]->id];
            if (!*to) *to = node_clone(o->f, body, x->args[i]->def, o->map)->results[0];
            in[i] = *to;
        }
        Node *made = layout_node(o->f, body, body->last, x->op, in, x->nargs, &x->attr, NULL, x->loc);
        if (!made) return false;
        made->scope = x->scope;
        made->again = x->again;
        made->results[0]->name = v->name;
        o->map[v->id] = made->results[0];
    }
    for (int k = 0; k < o->out.n; k++) yields[k] = o->map[o->out.at[k]->id];
    node_append(body, node_new(o->f, OP_yield, yields, o->out.n, 0, NULL, at->loc));
    node_insert_before(at, r);
    if (!layout_infer(o->u, r)) return false;
    for (int k = 0; k < o->out.n; k++) {
        Value *v = r->results[k];
        v->name = o->out.at[k]->name;
        if (g->piece && !(v = rename_before(o, at, v, g, false))) return false;
        layout_replace(o->f, o->out.at[k], v, NULL);
    }
    return true;
}

// Whatever needs the update goes behind everything else, in its order; the repeat goes between. Returns the first.
static Node *part_block(Offload *o) {
    Block *b = o->f->top;
    Node *end = b->last, *first = NULL;
    for (Node *n = b->first, *next; n; n = next) {
        bool last = n == end, moves = false, gone = false;
        next = n->next;
        for (int i = n->op == OP_assign; i < n->nargs; i++)
            moves |= o->behind[n->args[i]->id] || o->inside[n->args[i]->id];
        if (n->nresults == 1) gone = o->inside[n->results[0]->id];
        if (moves && !gone) {
            node_remove(n);
            node_append(b, n);
            if (!first) first = n;
        }
        if (last) break;
    }
    return first;
}

static bool cut_update(Unit *u, Func *f, const Group *g, Node *const *states, int nstates) {
    Offload o = {.u = u, .f = f, .a = u->scratch, .known = f->next_id};
    o.inside = NEW_ARRAY(o.a, bool, o.known);
    o.behind = NEW_ARRAY(o.a, bool, o.known);
    o.uses = NEW_ARRAY(o.a, int, o.known);
    o.map = NEW_ARRAY(o.a, Value *, o.known);
    find_inside(&o, g, states, nstates);
    for (int i = 0; i < o.known; i++) // what is inside is no longer behind: the border looks at the rest
        if (o.inside[i]) o.behind[i] = false;
    if (!find_border(&o, g)) return true;
    Node *at = part_block(&o);
    if (!at || !build(&o, g, at)) return at == NULL;
    simplify_dead(f); // the update on whole values
    return true;
}

static bool same_group(const Group *a, const Group *b) { return a->axis == b->axis && a->piece == b->piece; }

static bool offload_update(Unit *u, Func *f) {
    Vec(Node *) states = {0};
    Vec(Group) groups = {0};
    for (Node *n = f->top->first; n; n = n->next) {
        if (!is_state(n)) continue;
        vec_push(u->scratch, &states, n);
        vec_push(u->scratch, &groups, group_of(u, n));
    }
    Node **part = NEW_ARRAY(u->scratch, Node *, states.n + 1);
    for (int i = 0; i < states.n; i++) {
        int n = 0;
        bool seen = !groups.at[i].axis;
        for (int k = 0; k < i && !seen; k++) seen = same_group(&groups.at[k], &groups.at[i]);
        for (int k = i; k < states.n && !seen; k++)
            if (same_group(&groups.at[k], &groups.at[i])) part[n++] = states.at[k];
        if (n && !cut_update(u, f, &groups.at[i], part, n)) return false;
    }
    return true;
}

// ---- init ----

static bool is_zero(const Value *v) {
    while (v->def && v->def->op == OP_expand) v = v->def->args[0];
    return v->def && v->def->op == OP_const && v->def->attr.f == 0;
}

static void leave_to_runtime(Func *f) {
    FOR_NODES(n, f->top)
    if (n->op == OP_assign && is_state(n->args[0]->def) && is_zero(n->args[1])) {
        Node *zero = n->args[1]->def;
        node_remove(n);
        int *uses = NEW_ARRAY(f->unit->scratch, int, f->next_id);
        func_count_uses(f, uses);
        if (zero->op == OP_expand && !uses[zero->results[0]->id]) node_remove(zero);
    }
}

bool pass_offload(Unit *u) {
    if (!u->strategy || !(u->strategy->offload & OFFLOAD_OPTIMIZER)) return true;
    for (int i = 0; i < u->funcs.n; i++) {
        Func *f = u->funcs.at[i];
        if (!strncmp(f->name, "init", 4)) leave_to_runtime(f);
        else if (!offload_update(u, f)) return false;
    }
    return true;
}
