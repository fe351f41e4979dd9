// SPDX-License-Identifier: Apache-2.0
// ring: attention over a sequence that is split over C ranks, without any rank ever holding all keys (Liu, Zaharia,
// Abbeel 2023). Queries stay; blocks of keys and values go round, one rank a step. What a rank has found so far is
// merged with what the next block gives by their log-sum-exps. Backward dk and dv go round with their block.
//
//   before    %y, %lse = attend %q, %k, %v                      q [seq/context], k, v [key/context]
//   after     %q: [seq_block/context=C, seq_place=L]            as it lies: one block a rank, its padding zero
//             %k', %v', %y', %l' = repeat %k, %v, 0, -1e30 over seq_step {        C - 1 times
//                 %last  = the last key that place 0 sees       from the block's own number and the step
//                 %p, %m = attend %q, %k, %v, %last             of this block alone
//                 yield permute %k, permute %v, merge of (%y, %l) and (%p, %m)
//             }
//             %y  = merge of (%y', %l') and attend %q, %k', %v'
//
// A block is an axis like any other, so all of this is in global terms: `permute` moves the blocks by one along it.
//
// When causal, block i has work with blocks 0 to i only, and the last rank would set the pace. With `zigzag` each rank
// gives the second half of its block to its mirror image, C - 1 - c: it then has halves 2c and 2C - 1 - 2c of the 2C.
// Against the halves 2j and 2C - 1 - 2j of any other rank exactly two of the four pairs are seen, in full; so each rank
// has the same work in each step. (Llama 3 pairs halves c and 2C - 1 - c. These are the same pairs on other ranks, and
// half of the sequence need not move.)
#include "passes/ring.h"
#include "base/checked.h"
#include "ir/build.h"

typedef struct Ring {
    Unit *u;
    Func *f;
    Node *n;
    Builder b;               // in front of the node
    const Axis *query, *key; // as split over the mesh
    MeshSet over;
    int64_t ways, local;      // ranks, places of a block on each
    int64_t rows;             // places of a block, or of half of one
    int sides;                // 1, or 2: zigzag
    const Axis *block, *step; // the blocks; the steps but the last
    // of queries and of keys: places of a block; rounded up to two halves; the halves; the places of a half
    const Axis *place[2], *even[2], *side[2], *row[2];
    bool ok;
} Ring;

enum { QUERY, KEY };

static const Axis *query_axis(const Node *n, MeshSet over) {
    const Type *q = &n->args[0]->type;
    for (int i = 0; i < q->rank; i++)
        if (q->dim[i].split == over) return !n->attr.flag || q->dim[i].axis == n->attr.to.at[0] ? q->dim[i].axis : NULL;
    return NULL;
}

bool ring_fits(const Unit *u, const Node *n) {
    if (n->op != OP_attend && n->op != OP_attend_grad) return false;
    const Axis *key = n->attr.axes.at[1];
    const Split *s = layout_split_line(u, key);
    if (!s || (s->attention != ATTENTION_RING && s->attention != ATTENTION_ZIGZAG)) return false;
    MeshSet over = 0;
    for (int a = 1; a < 3; a++) {
        int d = type_find(&n->args[a]->type, key);
        if (d < 0 || !n->args[a]->type.dim[d].split) return false;
        over = n->args[a]->type.dim[d].split;
    }
    const Axis *query = query_axis(n, over);
    return query && query->extent == key->extent && type_find(&n->args[1]->type, query) < 0 && !attend_last(n);
}

// ---- axes

// A name for an axis made of another that no value of this attention has.
static const Axis *axis_make(Ring *r, const Axis *of, const char *what, int64_t extent) {
    for (int number = 1;; number++) {
        Str name = number == 1 ? str_internf(r->u->strs, "%s_%s", of->name, what)
                               : str_internf(r->u->strs, "%s_%s%d", of->name, what, number);
        const Axis *axis = unit_axis(r->u, name);
        if (!axis) return unit_add_axis(r->u, name, extent, of->loc);
        bool taken = axis->extent != extent;
        for (int i = 0; i < r->n->nargs; i++) taken |= type_find(&r->n->args[i]->type, axis) >= 0;
        if (!taken) return axis;
    }
}

static void make_axes(Ring *r) {
    r->local = ceil_div(r->key->extent, r->ways);
    r->rows = r->sides == 2 ? ceil_div(r->local, 2) : r->local;
    r->block = axis_make(r, r->query, "block", r->ways);
    r->step = axis_make(r, r->query, "step", r->ways - 1);
    for (int i = QUERY; i <= KEY; i++) {
        const Axis *of = i == QUERY ? r->query : r->key;
        r->row[i] = r->place[i] = axis_make(r, of, "place", r->local);
        if (r->sides == 1) continue;
        r->even[i] = r->local == 2 * r->rows ? r->place[i] : axis_make(r, of, "even", 2 * r->rows);
        r->side[i] = axis_make(r, of, "side", 2);
        r->row[i] = axis_make(r, of, "half", r->rows);
    }
}

// ---- between a split axis and blocks

static Value *one(Builder *b, OpKind op, Value *x, const Attr *attr) {
    Node *n = x ? build_node(b, op, &x, 1, attr, NULL) : NULL;
    if (n) n->results[0]->name = x->name;
    return n ? n->results[0] : NULL;
}

static Value *permute(Ring *r, Builder *b, Value *x, bool reverse) {
    return one(b, OP_permute, x, &(Attr){.axes = axes_of(1, r->block), .mesh = r->over, .flag = reverse});
}

static Value *rename_axes(Builder *b, Value *x, const Axes *from, const Axes *to) {
    return one(b, OP_rename, x, &(Attr){.axes = *from, .to = *to});
}

static Value *side_of(Builder *b, Value *x, const Axis *side, int at) {
    return one(b, OP_slice, x, &(Attr){.axes = axes_of(1, side), .i = at});
}

static Value *stack(Builder *b, Value *first, Value *second, const Axis *side, int dim) {
    return build_concat(b, (Value *[]){first, second}, 2, NULL, side, dim);
}

// Each rank's second half goes to the mirror image, and comes back the same way.
static Value *mirror(Ring *r, Value *x, const Axis *side) {
    if (!x) return NULL;
    int d = type_find(&x->type, side);
    Value *kept = side_of(&r->b, x, side, 0), *moved = side_of(&r->b, x, side, 1);
    return stack(&r->b, kept, permute(r, &r->b, moved, true), side, d);
}

// x along the query or key axis as blocks; padding is zero there. Without the axis x stays.
static Value *to_blocks(Ring *r, Value *x, int which) {
    const Axis *axis = which == QUERY ? r->query : r->key;
    int d = type_find(&x->type, axis);
    if (d < 0) return x;
    Axes whole = axes_of(1, axis), parts = axes_of(2, r->block, r->place[which]);
    if (dim_padded(&x->type.dim[d], &r->u->mesh)) x = one(&r->b, OP_mask, x, &(Attr){.axes = whole});
    x = rename_axes(&r->b, x, &whole, &parts);
    if (r->sides == 1) return x;
    if (r->even[which] != r->place[which])
        x = one(&r->b, OP_place, x, &(Attr){.axes = axes_of(1, r->place[which]), .to = axes_of(1, r->even[which])});
    whole = axes_of(1, r->even[which]);
    parts = axes_of(2, r->side[which], r->row[which]);
    return mirror(r, rename_axes(&r->b, x, &whole, &parts), r->side[which]);
}

static Value *from_blocks(Ring *r, Value *x, int which) {
    Axes whole = axes_of(1, which == QUERY ? r->query : r->key), parts = axes_of(2, r->block, r->place[which]);
    if (r->sides == 2) {
        Axes even = axes_of(1, r->even[which]), halves = axes_of(2, r->side[which], r->row[which]);
        x = rename_axes(&r->b, mirror(r, x, r->side[which]), &halves, &even);
        if (r->even[which] != r->place[which])
            x = one(&r->b, OP_slice, x, &(Attr){.axes = even, .to = axes_of(1, r->place[which])});
    }
    return rename_axes(&r->b, x, &parts, &whole);
}

// ---- one step

static Value *whole_number(Builder *b, int64_t value) { return build_const(b, DT_I32, (double)value); }

// a x + c
static Value *affine(Builder *b, Value *x, int64_t a, int64_t c) {
    return build_map(b, OP_add, build_map(b, OP_mul, x, whole_number(b, a), NULL), whole_number(b, c), NULL);
}

// The last key of the rank's block (of the half `side` of it) that place 0 sees in a step; NULL: each sees all.
static Value *last_key(Ring *r, Builder *b, Value *step, int side) {
    Type t = type_scalar(DT_I32);
    t.dim[t.rank++] = (Dim){r->block, r->over};
    Node *index = build_node(b, OP_index, NULL, 0, &(Attr){.axes = axes_of(1, r->block)}, &t);
    if (!index) return NULL;
    Value *own = index->results[0], *from = build_map(b, OP_sub, own, step, NULL);
    Value *behind = build_map(b, OP_lt, from, whole_number(b, 0), NULL);
    from = build_map(b, OP_select, behind, affine(b, from, 1, r->ways), from);
    if (!r->n->attr.flag) return affine(b, from, -r->local, r->key->extent - 1);
    Value *query = own, *key = from;
    if (r->sides == 2) {
        int64_t most = 2 * r->ways - 1;
        Value *low = build_map(b, OP_lt, build_index(b, r->side[QUERY]), whole_number(b, 1), NULL);
        query = build_map(b, OP_select, low, affine(b, own, 2, 0), affine(b, own, -2, most));
        key = side ? affine(b, from, -2, most) : affine(b, from, 2, 0);
    }
    return affine(b, build_map(b, OP_sub, query, key, NULL), r->rows, 0);
}

// Keys of the second half that are there only to make the halves alike are not seen.
static Value *mask_of(Ring *r, Builder *b, Value *mask, int side) {
    if (mask && r->sides == 2 && type_find(&mask->type, r->side[KEY]) >= 0) mask = side_of(b, mask, r->side[KEY], side);
    if (!side || 2 * r->rows == r->local) return mask;
    Value *real = build_map(b, OP_lt, build_index(b, r->row[KEY]), whole_number(b, r->local - r->rows), NULL);
    return mask ? build_map(b, OP_and, mask, real, NULL) : real;
}

typedef struct Operands { // what a step reads
    Value *q, *k, *v, *mask, *y, *lse, *dy;
} Operands;

// The attend or attend_grad of the queries with one block of keys, or one half of it.
static Node *attend_block(Ring *r, Builder *b, const Operands *x, Value *step, int side) {
    Value *args[8] = {x->q, x->k, x->v};
    int n = 3;
    for (int i = 1; i < 3 && r->sides == 2; i++) args[i] = side_of(b, args[i], r->side[KEY], side);
    Value *mask = mask_of(r, b, x->mask, side);
    if (mask) args[n++] = mask;
    if (r->n->op == OP_attend_grad) {
        args[n++] = x->y;
        args[n++] = x->lse;
        args[n++] = x->dy;
    }
    Attr attr = r->n->attr;
    attr.j = attr.flag || r->key->extent != r->ways * r->local;
    if (attr.j) args[n++] = last_key(r, b, step, side);
    attr.axes.at[1] = r->row[KEY];
    if (attr.flag) attr.to = axes_of(2, r->row[QUERY], r->row[KEY]);
    if (r->n->op == OP_attend_grad) attr.i = mask != NULL;
    Node *a = build_node(b, r->n->op, args, n, &attr, NULL);
    for (int i = 0; a && i < a->nresults; i++) a->results[i]->type.sum = 0; // pending marks are the next pass's
    if (!a) r->ok = false;
    return a;
}

//   m = max(l, l1, ..)   w = exp(l - m)   s = w + w1 + ..   y = (w / s) y + (w1 / s) y1 + ..   l = m + log s
// l begins at a finite number, so that where nothing is seen there is no inf - inf.
static bool merge(Ring *r, Builder *b, const Operands *x, Value *step, Value **y, Value **l) {
    Value *part[2], *lse[2], *weight[2], *most = *l;
    for (int i = 0; i < r->sides; i++) {
        Node *a = attend_block(r, b, x, step, i);
        if (!a) return false;
        part[i] = build_cast(b, a->results[0], DT_F32);
        lse[i] = a->results[1];
        most = build_map(b, OP_maximum, most, lse[i], NULL);
    }
    Value *own = build_map(b, OP_exp, build_map(b, OP_sub, *l, most, NULL), NULL, NULL), *sum = own;
    for (int i = 0; i < r->sides; i++) {
        weight[i] = build_map(b, OP_exp, build_map(b, OP_sub, lse[i], most, NULL), NULL, NULL);
        sum = build_map(b, OP_add, sum, weight[i], NULL);
    }
    *y = build_map(b, OP_mul, *y, build_map(b, OP_div, own, sum, NULL), NULL);
    for (int i = 0; i < r->sides; i++) {
        Value *share = build_map(b, OP_div, weight[i], sum, NULL);
        *y = build_map(b, OP_add, *y, build_map(b, OP_mul, part[i], share, NULL), NULL);
    }
    *l = build_map(b, OP_add, most, build_map(b, OP_log, sum, NULL, NULL), NULL);
    return *y && *l;
}

// Adds a block's gradients: d = dq, dk, dv.
static bool add_gradients(Ring *r, Builder *b, const Operands *x, Value *step, Value **d) {
    Value *part[2][3];
    for (int i = 0; i < r->sides; i++) {
        Node *a = attend_block(r, b, x, step, i);
        if (!a) return false;
        for (int j = 0; j < 3; j++) part[i][j] = build_cast(b, a->results[j], DT_F32);
        d[0] = build_map(b, OP_add, d[0], part[i][0], NULL);
    }
    for (int j = 1; j < 3; j++) {
        int dim = r->sides == 2 ? type_find(&d[j]->type, r->side[KEY]) : 0;
        Value *both = r->sides == 2 ? stack(b, part[0][j], part[1][j], r->side[KEY], dim) : part[0][j];
        d[j] = build_map(b, OP_add, d[j], both, NULL);
    }
    return d[0] && d[1] && d[2];
}

// ---- the loop

enum { CARRIES = 6, INVARIANTS = 5 };

typedef struct Loop {
    Node *node;
    Builder in;
    int carries, invariants;
    Value *carry[CARRIES], *invariant[INVARIANTS]; // in front of it, then behind it
    Value *inner[CARRIES + INVARIANTS];            // in its body
} Loop;

static void loop_begin(Ring *r, Loop *l) {
    Value *args[CARRIES + INVARIANTS];
    int n = 0;
    for (int i = 0; i < l->carries; i++) args[n++] = l->carry[i];
    for (int i = 0; i < l->invariants; i++) args[n++] = l->invariant[i];
    Attr attr = {.axes = axes_of(1, r->step), .i = l->carries};
    l->node = node_new(r->f, OP_repeat, args, n, l->carries, &attr, r->b.loc);
    l->node->scope = r->b.scope;
    l->node->again = r->b.again;
    l->node->body = block_new(r->f, l->node);
    l->in = builder_at_end(l->node->body, r->b.loc);
    l->in.scope = r->b.scope;
    l->in.again = r->b.again;
    Type step = type_scalar(DT_I32);
    block_add_param(l->node->body, &step, str_intern(r->u->strs, "step"));
    for (int i = 0; i < n; i++) l->inner[i] = block_add_param(l->node->body, &args[i]->type, args[i]->name);
}

static void loop_end(Ring *r, Loop *l, Value **yields) {
    node_append(l->node->body, node_new(r->f, OP_yield, yields, l->carries, 0, NULL, r->b.loc));
    node_insert_before(r->n, l->node);
    for (int i = 0; i < l->carries; i++) {
        l->carry[i] = l->node->results[i];
        l->carry[i]->type = yields[i]->type;
        l->carry[i]->name = l->inner[i]->name;
    }
}

static Value *fill(Ring *r, const Type *like, double value) {
    Type t = *like;
    t.dtype = DT_F32;
    return build_expand(&r->b, build_const(&r->b, DT_F32, value), &t);
}

// Values of the node along its queries or keys as blocks; a mask can have either axis or none.
static bool operands_make(Ring *r, Operands *x) {
    Node *n = r->n;
    Value *mask = attend_mask(n), **rest = n->args + 3 + (mask != NULL);
    *x = (Operands){
        .q = to_blocks(r, n->args[0], QUERY), .k = to_blocks(r, n->args[1], KEY), .v = to_blocks(r, n->args[2], KEY)};
    if (mask) {
        if (type_find(&mask->type, r->query) >= 0 && type_find(&mask->type, r->key) >= 0) {
            diag_error(r->u->diag, n->loc, "attention = ring: the mask has '%s' and '%s', which go different ways",
                       r->query->name, r->key->name);
            return false;
        }
        x->mask = to_blocks(r, mask, type_find(&mask->type, r->key) >= 0 ? KEY : QUERY);
    }
    if (n->op == OP_attend_grad) {
        x->y = to_blocks(r, rest[0], QUERY);
        x->lse = to_blocks(r, rest[1], QUERY);
        x->dy = to_blocks(r, rest[2], QUERY);
    }
    return x->q && x->k && x->v && (!mask || x->mask) && (n->op == OP_attend || (x->y && x->lse && x->dy));
}

bool ring_build(Func *f, Node *n, Value **out_results) {
    Unit *u = f->unit;
    const Axis *key = n->attr.axes.at[1];
    const Type *k = &n->args[1]->type;
    Ring ring = {.u = u, .f = f, .n = n, .b = builder_before(n), .key = key, .ok = true}, *r = &ring;
    r->over = k->dim[type_find(k, key)].split;
    r->query = query_axis(n, r->over);
    r->ways = mesh_extent(&u->mesh, r->over);
    r->sides = n->attr.flag && layout_split_line(u, key)->attention == ATTENTION_ZIGZAG ? 2 : 1;
    make_axes(r);
    Operands x;
    if (!operands_make(r, &x)) return false;
    bool backward = n->op == OP_attend_grad,
         mask_moves = x.mask && attend_mask(n)->type.rank && type_find(&attend_mask(n)->type, key) >= 0;
    // Carried: what is found, then what goes round. Backward dk and dv are both.
    Loop l = {0};
    if (backward) {
        l.carry[l.carries++] = fill(r, &x.q->type, 0);
        l.carry[l.carries++] = fill(r, &x.k->type, 0);
        l.carry[l.carries++] = fill(r, &x.v->type, 0);
    } else {
        Type t = x.q->type;
        int d = type_find(&t, n->attr.axes.at[0]);
        l.carry[l.carries++] = fill(r, &t, 0);
        t.rank--;
        for (int i = d; i < t.rank; i++) t.dim[i] = t.dim[i + 1];
        t.dim[t.rank] = (Dim){0};
        l.carry[l.carries++] = fill(r, &t, -1e30);
    }
    Value **const place[] = {&x.k, &x.v, &x.mask, &x.q, &x.y, &x.lse, &x.dy};
    int first = l.carries, of[7];
    for (int i = 0; i < 7; i++) {
        of[i] = -1;
        if (!*place[i]) continue;
        if (i < 2 || (i == 2 && mask_moves)) of[i] = l.carries, l.carry[l.carries++] = *place[i];
        else of[i] = CARRIES + l.invariants, l.invariant[l.invariants++] = *place[i];
    }
    loop_begin(r, &l);
    Operands in = {0};
    Value **const inner[] = {&in.k, &in.v, &in.mask, &in.q, &in.y, &in.lse, &in.dy};
    for (int i = 0; i < 7; i++)
        if (of[i] >= 0) *inner[i] = l.inner[of[i] < CARRIES ? of[i] : of[i] - CARRIES + l.carries];
    Value *yields[CARRIES];
    for (int i = 0; i < l.carries; i++) yields[i] = l.inner[i];
    Value *step = l.node->body->params[0];
    if (!(backward ? add_gradients(r, &l.in, &in, step, yields) : merge(r, &l.in, &in, step, &yields[0], &yields[1])))
        return false;
    for (int i = backward ? 1 : first; i < l.carries; i++)
        if (!(yields[i] = permute(r, &l.in, yields[i], false))) return false;
    loop_end(r, &l, yields);
    for (int i = 0; i < 7; i++)
        if (of[i] >= 0 && of[i] < CARRIES) *place[i] = l.carry[of[i]];
    // The last block, which goes nowhere; dk and dv are one step from home.
    step = whole_number(&r->b, r->ways - 1);
    if (!(backward ? add_gradients(r, &r->b, &x, step, l.carry) : merge(r, &r->b, &x, step, &l.carry[0], &l.carry[1])))
        return false;
    for (int i = 0; i < n->nresults; i++) {
        bool keys = backward && i > 0;
        Value *y = build_cast(&r->b, l.carry[i], n->results[i]->type.dtype);
        if (keys) y = permute(r, &r->b, y, false);
        out_results[i] = y ? from_blocks(r, y, keys ? KEY : QUERY) : NULL;
        if (!out_results[i]) return false;
        out_results[i]->name = n->results[i]->name;
    }
    return r->ok;
}
