// SPDX-License-Identifier: Apache-2.0
// pipeline_facts: what the values of a resolved function are to its microbatches and chunks. A value is timed when its
// type names the axis of microbatches: split over it (its part of the batch), or a sum pending over it. An all_reduce
// over it ends a loop over microbatches; what it gives is known behind that loop only.
//
//   %77: f32[] +sum(microbatch) = sum %76 over batch, seq      born: its parts are added up     PHASE_PREPARE
//   %78: f32[] = all_reduce %77 on microbatch                  %84, timed, needs it             between
//   %84: f32[batch/microbatch=8, seq=16] = div %d_z, %67       the main loop                    LAST, PHASE_BACKWARD
//   %d_w: f32[layer/pipe=4, width=32] +sum(microbatch) = repeat ...  born                       every chunk
//   %g: f32[layer/pipe=4, width=32] = all_reduce %d_w on microbatch                             PHASE_AFTER
//   %n: f32[] = all_reduce %s on pipe                          all stages meet                  PHASE_AFTER, then + 1
#include "passes/pipeline.h"

static MeshSet marks(const Type *t) { return t->sum | t->max; }

static bool is_comm(const Node *n) { return op_info(n->op)->traits & TRAIT_COMM; }

static bool ends_loop(const Cut *c, const Node *n) { return is_comm(n) && n->attr.mesh & c->time; }

static bool refuse(Cut *c, Loc at, const char *what, const Node *of) {
    const Value *v = of->nresults ? of->results[0] : NULL;
    diag_error(c->u->diag,
               c->u->strategy->microbatches_loc.file ? c->u->strategy->microbatches_loc : c->u->strategy->loc,
               "%s: it cannot be done in microbatches", what);
    diag_note(c->u->diag, at, "%s is made here", v && v->name ? v->name : op_info(of->op)->name);
    return c->ok = false;
}

// ---- what a value is
// --------------------------------------------------------------------------------------------------

static bool body_has_loop_end(const Cut *c, const Block *b, const Node **out_node) {
    for (const Node *n = b->first; n; n = n->next) {
        *out_node = n;
        if (ends_loop(c, n) || (n->body && body_has_loop_end(c, n->body, out_node))) return true;
    }
    return false;
}

static bool is_leaf(const Node *n) { return n->op == OP_param || n->op == OP_state || n->op == OP_input; }

static bool sort_node(Cut *c, const Node *n) {
    const OpInfo *info = op_info(n->op);
    bool free = true, bare = n->op != OP_param && n->op != OP_state, light = true, pending = false;
    for (int i = 0; i < n->nargs; i++) {
        const Fact *a = &c->fact[n->args[i]->id];
        free &= a->free;
        bare &= a->bare;
        light &= a->bare || a->cheap;
        pending |= a->pending;
    }
    if (ends_loop(c, n) && (n->op != OP_all_reduce || n->attr.flag))
        return refuse(c, n->loc,
                      n->op == OP_all_reduce ? "a maximum over the batch is needed" : "the whole batch is needed", n);
    const Node *inner = NULL;
    if (n->body && body_has_loop_end(c, n->body, &inner))
        return refuse(c, inner->loc, "the whole batch is needed inside of a repeat", inner);
    bool constant = n->op == OP_const || (n->op == OP_expand && bare && free); // zero, declared pending
    bool elementwise = n->op != OP_take && (info->traits & (TRAIT_MAP | TRAIT_FUSES) || n->op == OP_input);
    for (int i = 0; i < n->nresults; i++) {
        const Type *t = &n->results[i]->type;
        Fact *f = &c->fact[n->results[i]->id];
        bool split = type_split(t) & c->time;
        *f = (Fact){.spread = (type_split(t) | marks(t)) & c->stages};
        if (t->max & c->time) return refuse(c, n->loc, "a maximum over the batch is needed", n);
        f->pending = t->sum & c->time && !constant;
        f->born = f->pending && (!pending || n->op == OP_repeat);
        f->timed = f->pending || split;
        f->free = !f->timed && free && !ends_loop(c, n);
        f->bare = f->free && bare;
        f->cheap = split && !f->pending && light && elementwise;
    }
    return true;
}

static bool is_loop_node(const Cut *c, const Node *n) {
    for (int i = 0; i < n->nresults; i++)
        if (fact_in_loop(&c->fact[n->results[i]->id])) return true;
    return n->op == OP_output && fact_in_loop(&c->fact[n->args[0]->id]);
}

// ---- sums that the main loop needs
// ------------------------------------------------------------------------------------

static bool prepare(Cut *c, Value *v, const Node *end) {
    Fact *f = &c->fact[v->id];
    const Node *d = v->def;
    if (f->free || f->between || f->phase == PHASE_PREPARE) return true;
    bool fits = f->pending;
    for (int i = 0; i < d->nargs; i++) {
        const Fact *a = &c->fact[d->args[i]->id];
        if (!f->born) fits &= prepare(c, d->args[i], end);
        else fits &= a->bare || a->cheap;
    }
    if (!fits && c->ok)
        return refuse(c, end->loc, "the sum over the whole batch is needed before its parts are done", end);
    if (f->born) f->phase = PHASE_PREPARE;
    else f->between = true;
    return c->ok;
}

static bool find_prepared(Cut *c) {
    bool *needed = NEW_ARRAY(c->a, bool, c->from->next_id);
    for (Node *n = c->from->top->last; n; n = n->prev) {
        bool need = is_loop_node(c, n);
        for (int i = 0; i < n->nresults; i++) need |= needed[n->results[i]->id];
        if (!need) continue;
        for (int i = 0; i < n->nargs; i++) needed[n->args[i]->id] |= !fact_in_loop(&c->fact[n->args[i]->id]);
        if (ends_loop(c, n) && !prepare(c, n->args[0], n)) return false;
    }
    for (const Node *n = c->from->top->first; n; n = n->next) {
        if (!n->nresults || is_loop_node(c, n)) continue;
        bool between = false, only = true;
        for (int i = 0; i < n->nargs; i++) {
            const Fact *a = &c->fact[n->args[i]->id];
            bool is = a->between || (a->born && a->phase == PHASE_PREPARE);
            between |= is;
            only &= is || a->free;
        }
        for (int i = 0; i < n->nresults && between && only; i++) c->fact[n->results[i]->id].between = true;
    }
    return true;
}

// ---- where and when
// ---------------------------------------------------------------------------------------------------

static bool find_repeats(Cut *c) {
    for (const Node *n = c->from->top->first; n && c->axis; n = n->next) {
        if (n->op != OP_repeat || n->attr.axes.at[0] != c->axis || n == c->weight) continue;
        const Node **at = n->attr.flag ? &c->backward : &c->forward;
        if (*at) {
            diag_error(c->u->diag, c->u->strategy->pipe_loc,
                       "'%s' is repeated twice: only one repeat can be a pipeline", c->axis->name);
            diag_note(c->u->diag, n->loc, "the second is here");
            return c->ok = false;
        }
        *at = n;
    }
    return true;
}

// Homes of what the main loop makes. Before the layers: the first chunk; behind them: the last, where the head is done
// in the backward half, so that nothing of it is kept from one half to the other; behind their backward half: the
// first.
static void place_loop(Cut *c) {
    int n_ids = c->from->next_id;
    bool *behind = NEW_ARRAY(c->a, bool, n_ids), *last = NEW_ARRAY(c->a, bool, n_ids),
         *ahead = NEW_ARRAY(c->a, bool, n_ids);
    for (const Node *n = c->from->top->last; n && c->forward; n = n->prev) {
        bool feeds = n == c->forward;
        for (int i = 0; i < n->nresults; i++) feeds |= ahead[n->results[i]->id];
        for (int i = 0; i < n->nargs && feeds; i++) ahead[n->args[i]->id] = true;
    }
    for (const Node *n = c->from->top->first; n; n = n->next) {
        bool is_behind = n == c->forward, is_last = n == c->backward || n == c->weight, spread = false;
        for (int i = 0; i < n->nargs; i++) {
            is_behind |= behind[n->args[i]->id];
            is_last |= last[n->args[i]->id];
            spread |= c->fact[n->args[i]->id].spread;
        }
        for (int i = 0; i < n->nresults; i++) {
            Fact *f = &c->fact[n->results[i]->id];
            int id = n->results[i]->id;
            if (!fact_in_loop(f)) continue;
            behind[id] = is_behind;
            last[id] = is_last;
            if (f->phase == PHASE_PREPARE && f->born) {
                f->home = c->all;
                continue;
            }
            f->phase = c->backward && (is_behind || is_last) ? PHASE_BACKWARD : PHASE_FORWARD;
            if (!c->forward) f->home = c->all;
            else if (n == c->forward) f->home = i < repeat_carries(n) ? ROLE_LAST : c->all;
            else if (n == c->backward) f->home = i < repeat_carries(n) ? ROLE_FIRST : c->all;
            else if (n == c->weight || spread || f->spread) f->home = c->all;
            else if (is_last) f->home = ROLE_FIRST;
            else if (is_behind) f->home = ROLE_LAST;
            else f->home = ROLE_FIRST;
            if (n == c->forward) f->phase = PHASE_FORWARD;
            if (n == c->weight) f->phase = PHASE_WEIGHT;
            // What neither comes from the layers nor goes there is made wherever it is asked for.
            if (c->forward && !is_behind && !is_last && !ahead[id] && !f->born) f->cheap = true;
        }
    }
}

// What a task behind the loop finds: where, and from which level on.
typedef struct Found {
    Roles at;
    int level;
    bool anywhere; // without asking a chunk
} Found;

static Found find(const Cut *c, const Value *v) {
    const Fact *f = &c->fact[v->id];
    if (f->free || f->between) return (Found){c->all, 0, true};
    return (Found){f->meets ? c->all : f->home, fact_level(f) + f->meets, false};
}

// A number that only some chunks know goes to all of them.
static void share(Cut *c, const Value *v, bool *changed) {
    Fact *f = &c->fact[v->id];
    if (v->type.rank || find(c, v).at == c->all || f->spread || f->meets) return;
    f->meets = *changed = true;
}

static bool rank_knows(const Cut *c, const Value *v) {
    const Fact *f = &c->fact[v->id];
    return f->free || f->meets || f->known;
}

// The rank's own task asks for v.
static void tell_rank(Cut *c, const Value *v, bool *changed) {
    Fact *f = &c->fact[v->id];
    if (!c->stages || rank_knows(c, v) || f->spread) return;
    f->meets = *changed = true;
}

// Chunks that have all operands of n, and that have any.
static void look(const Cut *c, const Node *n, Roles *out_both, Roles *out_any) {
    *out_both = c->all;
    *out_any = 0;
    for (int i = 0; i < n->nargs; i++) {
        Found o = find(c, n->args[i]);
        if (o.anywhere) continue;
        *out_both &= o.at;
        *out_any |= o.at;
    }
}

static bool place_after(Cut *c, const Node *n, bool *changed) {
    const Fact *first = n->nargs ? &c->fact[n->args[0]->id] : NULL;
    if (n->op == OP_output && !n->args[0]->type.rank && !(first->timed && !first->pending))
        tell_rank(c, n->args[0], changed);
    bool own_state = n->op == OP_assign && n->args[0]->def->op == OP_state && !*n->args[0]->def->attr.s2;
    if (own_state) tell_rank(c, n->args[1], changed);
    if (!n->nresults || is_loop_node(c, n)) return true;
    Fact *f = &c->fact[n->results[0]->id];
    if (f->free || f->between) return true;
    bool meets = is_comm(n) && n->attr.mesh & c->stages, spread = f->spread;
    if (meets && (n->op != OP_all_reduce || n->attr.flag)) {
        diag_internal(c->u->diag, "pipeline", op_info(n->op)->name, "a collective over stages that is no sum");
        return c->ok = false;
    }
    for (int i = 0; i < n->nargs; i++) spread |= c->fact[n->args[i]->id].spread && !meets;
    Roles both = c->all, any = 0;
    look(c, n, &both, &any);
    for (int i = 0; i < n->nargs; i++)
        if ((any && both != any) || spread) share(c, n->args[i], changed);
    look(c, n, &both, &any);
    int level = 0;
    bool known = !spread;
    for (int i = 0; i < n->nargs; i++) {
        known &= rank_knows(c, n->args[i]);
        Found o = find(c, n->args[i]);
        bool comes = !both && !fact_in_loop(&c->fact[n->args[i]->id]); // from another chunk, behind its level
        if (o.level + comes > level) level = o.level + comes;
    }
    for (int i = 0; i < n->nresults; i++) {
        f = &c->fact[n->results[i]->id];
        f->meets |= meets;
        f->known = known;
        f->home = spread || meets ? c->all : both ? both : any;
        f->phase = PHASE_AFTER + level;
        f->spread |= spread && (type_split(&n->results[i]->type) & c->stages);
        if (level + 1 + f->meets > c->levels) c->levels = level + 1 + f->meets;
    }
    return true;
}

bool cut_facts(Cut *c) {
    c->levels = 1;
    for (const Node *n = c->from->top->first; n; n = n->next)
        if (!sort_node(c, n)) return false;
    if (!find_repeats(c) || !find_prepared(c)) return false;
    place_loop(c);
    for (bool changed = true; changed;) {
        changed = false;
        c->levels = 1;
        for (const Node *n = c->from->top->first; n; n = n->next)
            if (!place_after(c, n, &changed)) return false;
    }
    return c->ok;
}

// ---- holders
// ----------------------------------------------------------------------------------------------------------

static void hold(const Cut *c, Holders *h, const Value *v, Roles who, Roles *seen) {
    const Fact *f = &c->fact[v->id];
    const Node *n = v->def;
    if (!n || (seen[v->id] & who) == who || !(f->free || f->cheap)) return;
    seen[v->id] |= who;
    if (n->op == OP_param) {
        for (int i = 0; i < h->list.n; i++)
            if (h->list.at[i].name == n->attr.s) {
                h->list.at[i].who |= who;
                return;
            }
        vec_push(c->u->scratch, &h->list, (Holder){n->attr.s, who});
        return;
    }
    for (int i = 0; i < n->nargs; i++) hold(c, h, n->args[i], who, seen);
}

void cut_holders(const Cut *c, Holders *h) {
    Roles *seen = NEW_ARRAY(c->a, Roles, c->from->next_id);
    for (const Node *n = c->from->top->first; n; n = n->next) {
        if (!is_loop_node(c, n) || is_leaf(n)) continue;
        const Fact *f = &c->fact[n->nresults ? n->results[0]->id : n->args[0]->id];
        Roles who = n == c->forward || n == c->backward ? c->all : f->home;
        if (f->cheap && n->nresults) continue; // with those who ask for it
        for (int i = 0; i < n->nargs; i++) hold(c, h, n->args[i], who, seen);
    }
}

Roles holders_of(const Holders *h, Str param, Roles all) {
    for (int i = 0; i < h->list.n; i++)
        if (h->list.at[i].name == param) return h->list.at[i].who;
    return all & ROLE_FIRST ? ROLE_FIRST : all;
}
