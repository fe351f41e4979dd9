// SPDX-License-Identifier: Apache-2.0
// exchange: expert parallelism over the ranks that split the batch, and whatever else wants two axes of one value split
// over the same mesh axes. A value can be split one way only, so each of these keeps one of the two splits, and where
// one that keeps the first is used as one that keeps the second, an all_to_all stands between:
//
//   %s: [batch/data=8, expert=4, slot=5, width=16]      = scatter %place, %x over slot
//   %a: [batch=8, expert/data=4, slot=5, width=16]      = all_to_all %s over batch, expert on data
//   %h: [batch=8, expert/data=4, slot=5, hidden=32]     = dot %a, %up over width
//   ...
//   %b: [batch/data=8, expert=4, slot=5, width=16]      = all_to_all %y over expert, batch on data
//   %t: [batch/data=8, seq=6, expert=4, width=16]       = take %b, %place over slot
//
// Which one each value keeps is chosen so that the fewest bytes move: a node with both axes works in one of two ways;
// a value used the other way than it is made costs one all_to_all; a value with the first axis only costs an all_gather
// where it is used the second way, and a reduce_scatter where it is made that way. This is a minimum cut. What is made
// of parameters alone is never gathered while there is another way: weights stay, tokens travel.
//
// The joined axis comes first in memory, on both sides: then what each rank sends lies in one piece, and what it
// receives lies one after the other; `expand` to another order of dimensions is a view or a copy in front of it and
// behind it.
#include "passes/exchange.h"
#include "ir/text.h"
#include "passes/mincut.h"

typedef enum Made { MADE_OF_NOTHING, MADE_OF_WEIGHTS, MADE_OF_INPUTS } Made; // constants; parameters; anything else

typedef struct Survey { // one function, one pair
    Exchange *x;
    Func *f;
    MinCut cut;
    unsigned char *made; // by value id
    double *times;       // by value id: how often it is made in a step
    int *away[2];        // by value id: the node of the graph that stands for "used the second (first) way", or -1
    int *at;             // by choice: its node of the graph
} Survey;

static bool has(const Exchange *x, const Value *v, int which) { return type_find(&v->type, x->axis[which]) >= 0; }
static bool has_both(const Exchange *x, const Value *v) { return has(x, v, 0) && has(x, v, 1); }

static int new_choice(Exchange *x) {
    vec_push(x->u->scratch, &x->second, false);
    return x->second.n - 1;
}

// ---- what is to be chosen ----

static bool is_touched(const Exchange *x, const Node *n) {
    for (int i = 0; i < n->nargs; i++)
        if (has_both(x, n->args[i])) return true;
    for (int i = 0; i < n->nresults; i++)
        if (has_both(x, n->results[i])) return true;
    return false;
}

static Made made_of(const Survey *s, const Node *n) {
    if (n->op == OP_param || n->op == OP_state) return MADE_OF_WEIGHTS;
    if (n->op == OP_input) return MADE_OF_INPUTS;
    Made made = MADE_OF_NOTHING;
    for (int i = 0; i < n->nargs; i++)
        if (s->made[n->args[i]->id] > made) made = s->made[n->args[i]->id];
    return made;
}

static void number_block(Survey *s, const Block *b, double times) {
    Exchange *x = s->x;
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nresults; i++) s->times[n->results[i]->id] = times;
        if (n->op == OP_repeat) {
            double inner = times * (double)n->attr.axes.at[0]->extent;
            for (int i = 0; i < n->body->nparams; i++) {
                const Value *p = n->body->params[i];
                s->times[p->id] = inner;
                s->made[p->id] = MADE_OF_NOTHING;
                if (i) s->made[p->id] = i <= repeat_carries(n) ? MADE_OF_INPUTS : s->made[n->args[i - 1]->id];
                if (has_both(x, p)) x->value[p->id] = new_choice(x);
            }
            for (int k = 0; k < n->nresults; k++) {
                const Value *v = n->results[k];
                s->made[v->id] = MADE_OF_INPUTS;
                if (!has_both(x, v)) continue;
                x->value[v->id] = k < repeat_carries(n) ? x->value[n->body->params[k + 1]->id] : new_choice(x);
            }
            number_block(s, n->body, inner);
            continue;
        }
        int choice = n->nresults && is_touched(x, n) ? new_choice(x) : -1;
        if (choice >= 0) x->node[n->results[0]->id] = choice;
        for (int i = 0; i < n->nresults; i++) {
            s->made[n->results[i]->id] = made_of(s, n);
            if (has_both(x, n->results[i])) x->value[n->results[i]->id] = choice;
        }
    }
}

// The choice that says how operand `arg` of n is used, or -1: any way.
static int used_by(const Exchange *x, const Node *n, int arg) {
    const Value *like = NULL;
    if (n->op == OP_repeat) like = n->body->params[arg + 1];
    if (n->op == OP_yield) {
        const Node *owner = n->parent->owner;
        like = arg < repeat_carries(owner) ? n->parent->params[arg + 1] : owner->results[arg];
    }
    if (like) return like->id < x->known ? x->value[like->id] : -1;
    return n->nresults && n->results[0]->id < x->known ? x->node[n->results[0]->id] : -1;
}

// ---- what it costs ----

// What the author knows to be small costs as little as that: counted rows are not known here.
enum { COUNTED_SHARE = 1024 };

static double bytes_of(const Survey *s, const Value *v) {
    double bytes = s->times[v->id] * dtype_bytes(v->type.dtype);
    for (int i = 0; i < v->type.rank; i++) bytes *= (double)v->type.dim[i].axis->extent;
    return bytes;
}

// v is used as `choice` says: an all_to_all, once for all uses that are unlike v itself.
static void use_both(Survey *s, const Value *v, int choice) {
    int own = s->at[s->x->value[v->id]], user = s->at[choice];
    double cost = bytes_of(s, v) / (double)mesh_extent(&s->x->u->mesh, s->x->both);
    if (s->x->counted) cost /= COUNTED_SHARE;
    for (int way = 0; way < 2; way++) {
        int *away = &s->away[way][v->id];
        if (*away < 0) {
            *away = mincut_node(&s->cut);
            mincut_edge(&s->cut, way ? *away : own, way ? own : *away, cost);
        }
        mincut_edge(&s->cut, way ? user : *away, way ? *away : user, MINCUT_NEVER);
    }
}

// v has one of the axes only: gathered, or summed and scattered, where n works the other way.
static void use_one(Survey *s, const Value *v, int choice) {
    double cost = s->made[v->id] == MADE_OF_WEIGHTS ? MINCUT_NEVER : bytes_of(s, v);
    if (has(s->x, v, 0) == has(s->x, v, 1)) return;
    if (has(s->x, v, 0)) mincut_edge(&s->cut, MINCUT_FIRST, s->at[choice], cost);
    else mincut_edge(&s->cut, s->at[choice], MINCUT_SECOND, cost);
}

static void cost_block(Survey *s, const Block *b) {
    const Exchange *x = s->x;
    for (const Node *n = b->first; n; n = n->next) {
        if (n->body) cost_block(s, n->body);
        for (int i = 0; i < n->nargs; i++) {
            int choice = used_by(x, n, i);
            if (choice < 0) continue;
            if (x->value[n->args[i]->id] >= 0) use_both(s, n->args[i], choice);
            else use_one(s, n->args[i], choice);
        }
        for (int i = 0; i < n->nresults && n->op != OP_repeat; i++)
            if (x->node[n->results[0]->id] >= 0) use_one(s, n->results[i], x->node[n->results[0]->id]);
    }
}

// ---- counted rows ----

// A scatter leaves zeros in places that no id names; a take looks at no others. Ids are places in the order they are
// given, so that what they name are the first ones, up to the largest.
static void rows_block(Exchange *x, const Block *b, unsigned char *other) {
    for (const Node *n = b->first; n; n = n->next) {
        if (n->body) rows_block(x, n->body, other);
        if (n->op == OP_scatter && n->results[0]->id < x->known)
            x->rows[n->results[0]->id] = (Rows){n->args[0], n->attr.axes.at[0]};
        for (int i = 0; i < n->nargs; i++) {
            const Value *v = n->args[i];
            int choice = used_by(x, n, i);
            if (choice < 0 || x->value[v->id] < 0 || x->second.at[choice] == x->second.at[x->value[v->id]]) continue;
            if (v->def && v->def->op == OP_scatter) continue;
            Rows *r = &x->rows[v->id];
            bool take = n->op == OP_take && i == 0;
            if (!take || (r->ids && (r->ids != n->args[1] || r->axis != n->attr.axes.at[0]))) other[v->id] = 1;
            else *r = (Rows){n->args[1], n->attr.axes.at[0]};
        }
    }
}

static void find_rows(Exchange *x, Func *f) {
    unsigned char *other = NEW_ARRAY(x->u->scratch, unsigned char, x->known);
    x->rows = NEW_ARRAY(x->u->scratch, Rows, x->known);
    rows_block(x, f->top, other);
    for (int i = 0; i < x->known; i++)
        if (other[i]) x->rows[i] = (Rows){0};
}

Rows exchange_rows(Exchange *const *list, int n, const Value *v) {
    for (int i = 0; i < n; i++)
        if (list[i]->counted && v->id < list[i]->known && list[i]->value[v->id] >= 0) return list[i]->rows[v->id];
    return (Rows){0};
}

static void choose(Exchange *x, Func *f) {
    Arena *a = x->u->scratch;
    Survey s = {.x = x, .f = f, .cut = mincut_new(a)};
    x->known = f->next_id;
    x->value = NEW_ARRAY(a, int, x->known);
    x->node = NEW_ARRAY(a, int, x->known);
    for (int i = 0; i < 2; i++) s.away[i] = NEW_ARRAY(a, int, x->known);
    for (int i = 0; i < x->known; i++) x->value[i] = x->node[i] = s.away[0][i] = s.away[1][i] = -1;
    s.made = NEW_ARRAY(a, unsigned char, x->known);
    s.times = NEW_ARRAY(a, double, x->known);
    number_block(&s, f->top, 1);
    s.at = NEW_ARRAY(a, int, x->second.n + 1);
    for (int i = 0; i < x->second.n; i++) s.at[i] = mincut_node(&s.cut);
    cost_block(&s, f->top);
    const bool *second = mincut_solve(&s.cut);
    for (int i = 0; i < x->second.n; i++) x->second.at[i] = second[s.at[i]];
    if (x->counted) find_rows(x, f);
}

// ---- pairs ----

static Loc split_loc(const Unit *u, const Axis *axis) {
    const Strategy *s = u->strategy;
    for (int i = 0; i < s->nsplits; i++)
        if (s->splits[i].axis == axis && !s->splits[i].between) return s->splits[i].loc;
    return s->loc;
}

static bool is_counted(const Unit *u, const Axis *axis, MeshSet over) {
    for (int i = 0; i < u->strategy->nsplits; i++) {
        const Split *s = &u->strategy->splits[i];
        if (s->axis == axis && s->counted && s->over & over) return true;
    }
    return false;
}

static bool refuse_stored(Unit *u, const Node *n, const Axis *a, const Axis *b, MeshSet both) {
    Loc one = split_loc(u, a), other = split_loc(u, b), late = one;
    if (other.line > one.line || (other.line == one.line && other.col > one.col)) late = other;
    diag_error(u->diag, late, "'%s' and '%s' are both split over '%s' in %s: %s", a->name, b->name,
               u->mesh.axis[__builtin_ctz(both)].name, n->attr.s, type_text(&n->results[0]->type, &u->mesh, u->arena));
    diag_note(u->diag, n->loc, "%s is made here; what is stored is split over a mesh axis once", n->attr.s);
    return false;
}

static bool refuse_microbatches(Unit *u, const Value *v, const Axis *a, const Axis *b, MeshSet both) {
    const char *name = v->name ? v->name : "a value", *mesh = u->mesh.axis[__builtin_ctz(both)].name;
    diag_error(u->diag, split_loc(u, a), "'%s' and '%s' are both split over '%s' in %s: %s", a->name, b->name, mesh,
               name, type_text(&v->type, &u->mesh, u->arena));
    diag_note(u->diag, u->strategy->microbatches_loc,
              "not yet supported with microbatches, which cut the batch too: give '%s' a mesh axis of its own",
              strcmp(a->name, "batch") ? a->name : b->name);
    return false;
}

typedef struct Pairs {
    Unit *u;
    Vec(Exchange *) list;
} Pairs;

static bool find_in(Pairs *p, const Node *n, const Value *v) {
    const Type *t = &v->type;
    for (int i = 0; i < t->rank; i++)
        for (int j = 0; j < i; j++) {
            const Axis *a = t->dim[j].axis, *b = t->dim[i].axis;
            MeshSet full[2] = {layout_split(p->u, a), layout_split(p->u, b)}, both = full[0] & full[1];
            if (!both) continue;
            if (n && (n->op == OP_param || n->op == OP_state || n->op == OP_input))
                return refuse_stored(p->u, n, a, b, both);
            if ((full[0] | full[1]) & p->u->mesh.time) return refuse_microbatches(p->u, v, a, b, both);
            bool known = false;
            for (int k = 0; k < p->list.n; k++) {
                const Exchange *x = p->list.at[k];
                known |= (x->axis[0] == a && x->axis[1] == b) || (x->axis[0] == b && x->axis[1] == a);
            }
            if (known) continue;
            Exchange *x = NEW(p->u->scratch, Exchange);
            *x = (Exchange){.u = p->u, .axis = {a, b}, .both = both, .full = {full[0], full[1]}};
            x->counted = is_counted(p->u, a, both) || is_counted(p->u, b, both);
            for (int k = 0; k < 2; k++) x->rest[k] = full[k] & ((both & -both) - 1);
            vec_push(p->u->scratch, &p->list, x);
        }
    return true;
}

static bool find_block(Pairs *p, const Block *b) {
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nresults; i++)
            if (!find_in(p, n, n->results[i])) return false;
        if (!n->body) continue;
        for (int i = 0; i < n->body->nparams; i++)
            if (!find_in(p, NULL, n->body->params[i])) return false;
        if (!find_block(p, n->body)) return false;
    }
    return true;
}

bool exchange_find(Unit *u, Func *f, Exchange ***out_list, int *out_n) {
    Pairs p = {.u = u};
    if (!find_block(&p, f->top)) return false;
    for (int i = 0; i < p.list.n; i++) choose(p.list.at[i], f);
    *out_list = p.list.at;
    *out_n = p.list.n;
    return true;
}

// ---- what follows from the choice ----

static void lose(const Exchange *x, Type *t, int choice) {
    int loser = !x->second.at[choice], d = type_find(t, x->axis[loser]);
    if (d >= 0) t->dim[d].split &= x->rest[loser];
}

void exchange_place(const Exchange *x, Value *v) {
    if (v->id < x->known && x->value[v->id] >= 0) lose(x, &v->type, x->value[v->id]);
}

bool exchange_wants(Exchange *const *list, int n, const Node *at, int arg, Type *out_type) {
    const Type *is = &at->args[arg]->type;
    *out_type = *is;
    bool any = false;
    for (int i = 0; i < n; i++) // by name first, then what each pair takes
        for (int k = 0; k < 2 && used_by(list[i], at, arg) >= 0; k++) {
            int d = type_find(is, list[i]->axis[k]);
            if (d >= 0) out_type->dim[d].split = list[i]->full[k];
        }
    for (int i = 0; i < n; i++)
        if (used_by(list[i], at, arg) >= 0) lose(list[i], out_type, used_by(list[i], at, arg));
    for (int d = 0; d < is->rank; d++) any |= is->dim[d].split != out_type->dim[d].split;
    return any;
}

// ---- moving ----

typedef struct Move { // nodes being added, one behind the other
    Func *f;
    Block *block;
    Node *first, *last;
    Value *v;
    Loc loc;
    Value *counts; // of its rows along `rows`, placed as v is; NULL: all travel
    const Axis *rows;
} Move;

static Value *move_node(Move *m, OpKind op, Value *const *args, int nargs, const Attr *attr, const Type *declared) {
    Node *n = layout_node(m->f, m->block, m->last, op, args, nargs, attr, declared, m->loc);
    if (!n) return NULL;
    m->last = n;
    n->results[0]->type.sum = n->results[0]->type.max = 0; // resolve's, as everywhere here
    return n->results[0];
}

static bool move_by(Move *m, OpKind op, const Attr *attr, const Type *declared) {
    Value *y = move_node(m, op, &m->v, 1, attr, declared);
    if (!y) return false;
    y->name = m->v->name;
    if (!m->first) m->first = m->last;
    m->v = y;
    return true;
}

static bool has_rows(const Move *m, const Axis *axis) {
    return m->counts && type_find(&m->counts->type, axis) < 0; // the rows, and what a row is made of
}

// Dimensions in another order: that of `order`, with the splits v has.
static bool move_reorder(Move *m, const Type *order) {
    if (type_same_dims(&m->v->type, order)) return true;
    Type t = m->v->type;
    for (int d = 0; d < t.rank; d++) t.dim[d] = m->v->type.dim[type_find(&m->v->type, order->dim[d].axis)];
    return move_by(m, OP_expand, NULL, &t);
}

static bool counts_reorder(Move *m, const Type *order) {
    if (!m->counts) return true;
    Type t = m->counts->type;
    t.rank = 0;
    for (int d = 0; d < order->rank; d++) {
        int c = type_find(&m->counts->type, order->dim[d].axis);
        if (c >= 0) t.dim[t.rank++] = m->counts->type.dim[c];
    }
    if (!type_same_dims(&m->counts->type, &t)) m->counts = move_node(m, OP_expand, &m->counts, 1, NULL, &t);
    return m->counts;
}

static bool move_rename(Move *m, const Axes *from, const Axes *to) {
    Attr attr = {.axes = *from, .to = *to};
    if (m->counts && !(m->counts = move_node(m, OP_rename, &m->counts, 1, &attr, NULL))) return false;
    return move_by(m, OP_rename, &attr, NULL);
}

static bool move_all_to_all(Move *m, const Axis *from, const Axis *to, MeshSet mesh) {
    Attr attr = {.axes = axes_of(2, from, to), .mesh = mesh};
    if (!m->counts) return move_by(m, OP_all_to_all, &attr, NULL);
    Value *there = move_node(m, OP_all_to_all, &m->counts, 1, &attr, NULL), *v = m->v;
    if (!there) return false;
    axes_push(&attr.axes, m->rows);
    m->v = move_node(m, OP_all_to_all, (Value *[]){v, m->counts, there}, 3, &attr, NULL);
    if (!m->v) return false;
    m->v->name = v->name;
    if (!m->first) m->first = m->last;
    m->counts = there;
    return true;
}

static const Axis *level_axis(Unit *u, const Axis *axis, const char *level, int64_t extent) {
    Str name = str_internf(u->strs, "%s_%s", axis->name, level);
    const Axis *known = unit_axis(u, name);
    while (known && known->extent != extent) {
        name = str_internf(u->strs, "%s_", name);
        known = unit_axis(u, name);
    }
    return known ? known : unit_add_axis(u, name, extent, axis->loc);
}

// Over several mesh axes, level by level, the innermost first: messages inside a node, then fewer and larger ones
// between nodes. The axis to be split is taken apart, a piece a level.
static bool move_levels(Move *m, const Axis *from, const Axis *to, MeshSet mesh) {
    Unit *u = m->f->unit;
    Axes whole = axes_of(1, to), pieces = {0};
    MeshSet level[MESH_MAX];
    int64_t left = to->extent;
    for (int i = 0, n = 0; i < u->mesh.n; i++) {
        if (!(mesh >> i & 1)) continue;
        level[n++] = (MeshSet)1 << i;
        int64_t extent = mesh >> i == 1 ? left : u->mesh.axis[i].extent;
        axes_push(&pieces, level_axis(u, to, u->mesh.axis[i].name, extent));
        left /= extent;
    }
    if (!move_rename(m, &whole, &pieces)) return false;
    for (int i = pieces.n - 1; i >= 0; i--)
        if (!move_all_to_all(m, from, pieces.at[i], level[i])) return false;
    return move_rename(m, &pieces, &whole);
}

typedef struct Step { // an all_to_all: joins dimension `from`, splits `to`
    int from, to;
    MeshSet over;
} Step;

// Is what lies between the two placements one all_to_all?
static bool is_exchange(const Mesh *mesh, const Type *is, const Type *want, Step *out) {
    int n = 0;
    MeshSet added = 0;
    *out = (Step){0};
    for (int d = 0; d < is->rank; d++) {
        MeshSet a = is->dim[d].split, b = want->dim[d].split;
        if (a == b) continue;
        n++;
        if ((a & b) == b) out->from = d, out->over = a & ~b;
        else if ((a & b) == a) out->to = d, added = b & ~a;
    }
    if (n != 2 || !out->over || out->over != added) return false;
    const Dim *both[] = {&is->dim[out->from], &want->dim[out->to]};
    for (int i = 0; i < 2; i++) { // what stays split over other mesh axes keeps its places
        MeshSet outer = both[i]->split & ~added;
        if (outer > (added & -added) || (outer && both[i]->axis->extent % mesh_extent(mesh, both[i]->split)))
            return false;
    }
    return true;
}

static bool is_even(const Mesh *mesh, const Dim *d, MeshSet over) {
    return d->axis->extent % mesh_extent(mesh, d->split | over) == 0;
}

// How many rows of v travel, where v's placement or the wanted one is that of the ids: one more than the largest id.
// The counts are made where the ids are, and moved to where v is if need be. Leaves them out where neither is.
static bool move_count(Move *m, Rows rows, const Step *s, const Type *want) {
    const Type *ids = rows.ids ? &rows.ids->type : NULL, *is = &m->v->type;
    if (!ids || ids->dtype != DT_I32 || type_find(is, rows.axis) < 0 || is->dim[type_find(is, rows.axis)].split)
        return true;
    if (type_find(ids, is->dim[s->from].axis) < 0 || type_find(ids, is->dim[s->to].axis) < 0) return true;
    bool here = true, there = true;
    Axes gone = {0};
    for (int i = 0; i < ids->rank; i++) {
        int d = type_find(is, ids->dim[i].axis);
        if (d < 0) axes_push(&gone, ids->dim[i].axis);
        here &= d < 0 || ids->dim[i].split == is->dim[d].split;
        there &= d < 0 || ids->dim[i].split == want->dim[d].split;
    }
    if (!here && !there) return true;
    Type scalar = type_scalar(DT_I32);
    Value *one = move_node(m, OP_const, NULL, 0, &(Attr){.f = 1}, &scalar), *most = rows.ids;
    if (!one) return false;
    if (gone.n) most = move_node(m, OP_max, &most, 1, &(Attr){.axes = gone}, NULL);
    if (!most || !(m->counts = move_node(m, OP_add, (Value *[]){most, one}, 2, NULL, NULL))) return false;
    m->rows = rows.axis;
    if (here) return true;
    Type as = m->counts->type;
    for (int i = 0; i < as.rank; i++) as.dim[i].split = is->dim[type_find(is, as.dim[i].axis)].split;
    Node *first, *last = exchange_convert(m->f, m->block, m->last, m->counts, &as, (Rows){0}, m->loc, &first);
    if (!last) return false;
    m->last = last;
    m->counts = last->results[0];
    return true;
}

// The joined axis first; with counts, then the others that these have, the one that is cut last of them, and the rows.
static Type order_of(const Move *m, const Step *s) {
    Type t = m->v->type;
    const Type *is = &m->v->type;
    t.rank = 0;
    t.dim[t.rank++] = is->dim[s->from];
    for (int group = 0; group < 4; group++)
        for (int d = 0; d < is->rank; d++) {
            int in = d == s->to ? 1 : !has_rows(m, is->dim[d].axis) ? 0 : is->dim[d].axis == m->rows ? 2 : 3;
            if (!m->counts) in = 0;
            if (d != s->from && in == group) t.dim[t.rank++] = is->dim[d];
        }
    return t;
}

static bool move_exchange(Move *m, const Step *s) {
    const Mesh *mesh = &m->f->unit->mesh;
    Type order = order_of(m, s), back = m->v->type;
    const Dim from = back.dim[s->from], to = back.dim[s->to];
    bool levels = s->over & (s->over - 1) && !to.split && is_even(mesh, &from, 0) && is_even(mesh, &to, s->over);
    if (!counts_reorder(m, &order) || !move_reorder(m, &order)) return false;
    if (levels ? !move_levels(m, from.axis, to.axis, s->over) : !move_all_to_all(m, from.axis, to.axis, s->over))
        return false;
    return move_reorder(m, &back);
}

Node *exchange_convert(Func *f, Block *b, Node *after, Value *v, const Type *want, Rows rows, Loc loc,
                       Node **out_first) {
    Move m = {.f = f, .block = b, .last = after, .v = v, .loc = loc};
    Step s;
    *out_first = NULL;
    if (is_exchange(&f->unit->mesh, &v->type, want, &s)) {
        if (!move_count(&m, rows, &s, want) || !move_exchange(&m, &s)) return NULL;
        *out_first = m.first;
        return m.last;
    }
    for (int cuts = 0; cuts < 2; cuts++)
        for (int d = 0; d < want->rank; d++) {
            MeshSet is = m.v->type.dim[d].split, to = want->dim[d].split;
            if (is == to || !(cuts ? to : is)) continue;
            Attr attr = {.axes = axes_of(1, want->dim[d].axis), .mesh = cuts ? to : is};
            if (!move_by(&m, cuts ? OP_part : OP_all_gather, &attr, NULL)) return NULL;
        }
    *out_first = m.first;
    return m.last;
}
