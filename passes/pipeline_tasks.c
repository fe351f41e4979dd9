// SPDX-License-Identifier: Apache-2.0
// pipeline_tasks: makes the tasks of a function, the last first, each from what it must leave: effects of its own, and
// what tasks behind it have asked for. A value is made in the task when it belongs there or is cheap; else it is read
// from a buffer, and the task it belongs to is asked to fill that (Want), or a route from another chunk (Route).
//
//   func train                                        func train.forward.0           func train.after0.0
//     %y = dot %x, %w over in          becomes          %y = dot %x, %w over in        %s = buffer "train.sum.d_w.7"
//     %d_w +sum(data, microbatch) = ...                 ...                            %g = all_reduce %s on data
//     %g = all_reduce %d_w on data, microbatch          %s = buffer "train.sum.d_w.7"  ...
//     %w2 = sub %w, %g                                  %t = add %s, %d_w              %w2 = sub %w, %g
//     assign %w, %w2                                    assign %s, %t                  assign %w, %w2
#include "ir/text.h"
#include "passes/pipeline.h"
#include <string.h>

static bool in_loop_phase(int phase) {
    return phase == PHASE_PREPARE || (phase >= PHASE_FORWARD && phase <= PHASE_WEIGHT);
}

Roles chunk_roles(const Pipeline *p, int chunk) {
    Roles is = (chunk == 0 ? ROLE_FIRST : 0) | (chunk == p->nchunks - 1 ? ROLE_LAST : 0);
    return is ? is : ROLE_MIDDLE;
}

static Roles lowest(Roles r) { return r & -r; }

static Str buffer_name(const Cut *c, const char *what, const Value *v) {
    return str_internf(c->u->strs, "%s.%s.%s%s%d", c->from->name, what, v->name ? v->name : "", v->name ? "." : "",
                       v->id);
}

static void internal(Task *t, const Value *v, const char *why) {
    Cut *c = t->cut;
    if (c->ok)
        diag_internal(c->u->diag, "pipeline", v->def ? node_line(v->def, c->a) : "?", "%s: %s", t->func->name, why);
    c->ok = false;
}

// ---- types
// ------------------------------------------------------------------------------------------------------------ In a
// task the layers are the chunk's own axis, split over nothing; behind the loops nothing is pending over microbatches.

static const Axis *local_axis(const Task *t, const Axis *axis) {
    bool is = axis == t->cut->axis && t->variant >= 0;
    return is ? t->cut->p->variants[t->variant].axis : axis;
}

static Type local_type(const Task *t, const Type *type) {
    Type y = *type;
    MeshSet gone = t->cut->stages | (in_loop_phase(t->phase) ? 0 : t->cut->time);
    y.sum &= ~gone;
    y.max &= ~gone;
    for (int d = 0; d < y.rank; d++) {
        y.dim[d].axis = local_axis(t, y.dim[d].axis);
        y.dim[d].split &= ~t->cut->stages;
    }
    return y;
}

static void localise(const Task *t, Node *n) {
    for (int i = 0; i < n->nresults; i++) n->results[i]->type = local_type(t, &n->results[i]->type);
    for (int i = 0; i < n->attr.axes.n; i++) n->attr.axes.at[i] = local_axis(t, n->attr.axes.at[i]);
    for (int i = 0; i < n->attr.to.n; i++) n->attr.to.at[i] = local_axis(t, n->attr.to.at[i]);
    if (!n->body) return;
    for (int i = 0; i < n->body->nparams; i++) n->body->params[i]->type = local_type(t, &n->body->params[i]->type);
    for (Node *b = n->body->first; b; b = b->next) localise(t, b);
}

// ---- buffers
// ----------------------------------------------------------------------------------------------------------

static Value *append(Task *t, OpKind op, Value *const *args, int nargs, const Attr *attr, const Type *type,
                     const Node *like) {
    Node *n = node_new(t->func, op, args, nargs, type != NULL, attr, like->loc);
    n->scope = like->scope;
    n->again = like->again;
    if (type) n->results[0]->type = *type;
    node_append(t->func->top, n);
    return type ? n->results[0] : NULL;
}

static Value *read_buffer(Task *t, Str name, Section section, bool zero, const Type *type, const Node *like) {
    return append(t, OP_buffer, NULL, 0, &(Attr){.s = name, .i = section, .flag = zero}, type, like);
}

static void write_buffer(Task *t, Str name, Section section, bool zero, bool add, Value *v, const Node *like) {
    Value *buffer = read_buffer(t, name, section, zero, &v->type, like);
    if (add) v = append(t, OP_add, (Value *[]){buffer, v}, 2, NULL, &v->type, like);
    append(t, OP_assign, (Value *[]){buffer, v}, 2, NULL, NULL, like);
}

static void want(Cut *c, Want asked) {
    for (int i = 0; i < c->wants.n; i++) {
        Want *w = &c->wants.at[i];
        if (w->buffer != asked.buffer || w->phase != asked.phase) continue;
        w->who |= asked.who;
        return;
    }
    vec_push(c->a, &c->wants, asked);
}

static Str route(Cut *c, Roles home, Roles to, int phase, Str from) {
    Str name = str_internf(c->u->strs, "%s.in", from);
    for (int i = 0; i < c->routes.n; i++)
        if (c->routes.at[i].to_buffer == name) {
            c->routes.at[i].to |= to;
            return name;
        }
    vec_push(c->a, &c->routes, (Route){lowest(home) == ROLE_FIRST ? WAY_FIRST : WAY_LAST, to, phase, from, name});
    return name;
}

// ---- values
// -----------------------------------------------------------------------------------------------------------

static Value *get(Task *t, Value *x);

// The beginning of a pipelined repeat: what it starts from, or what the chunk before it (behind it, backward) has sent.
static Str carried_name(const Cut *c, const Node *repeat, int k, const char *side) {
    return str_internf(c->u->strs, "%s.%s%d.%s", c->from->name, repeat == c->forward ? "act" : "grad", k, side);
}

// It is used by the task that receives it, and gone when it was sent on: one buffer a chunk, not one a microbatch.
static Section carried_section(const Cut *c) { return c->roomy ? SECTION_SLOT : SECTION_CHUNK; }

static bool begins_here(const Task *t, const Node *repeat) {
    return t->is & (repeat == t->cut->forward ? ROLE_FIRST : ROLE_LAST);
}

static void clone(Task *t, Node *d) {
    Cut *c = t->cut;
    bool pipelined = d == c->forward || d == c->backward;
    int carried = pipelined && !begins_here(t, d) ? repeat_carries(d) : 0;
    for (int i = carried; i < d->nargs; i++) get(t, d->args[i]);
    if (!c->ok) return;
    if (op_info(d->op)->traits & TRAIT_COMM && !(d->attr.mesh & ~(c->time | c->stages))) {
        t->map[d->results[0]->id] = t->map[d->args[0]->id]; // the buffers have added it all up
        return;
    }
    Value *begin[RANK_MAX * 4] = {0};
    for (int k = 0; k < carried; k++) {
        Type type = local_type(t, &d->args[k]->type);
        if (k >= (int)(sizeof begin / sizeof *begin)) {
            internal(t, d->results[0], "more carried values than the pass is made for");
            return;
        }
        begin[k] = read_buffer(t, carried_name(c, d, k, "in"), carried_section(c), false, &type, d);
    }
    Node *n = node_clone(t->func, t->func->top, d, t->map);
    for (int k = 0; k < carried; k++) n->args[k] = begin[k];
    localise(t, n);
    if (pipelined && !(t->is & (d == c->forward ? ROLE_LAST : ROLE_FIRST))) {
        t->onward = n->results;
        for (int k = 0; k < repeat_carries(d); k++) t->map[d->results[k]->id] = NULL; // these are not the values
    }
    if (op_info(n->op)->traits & TRAIT_COMM) n->attr.mesh &= ~(c->time | c->stages);
}

static Value *cloned(Task *t, Value *x) {
    clone(t, x->def);
    return t->map[x->id];
}

static Value *from_buffer(Task *t, const Value *x, Str name, Section section, bool zero) {
    Type type = local_type(t, &x->type);
    return read_buffer(t, name, section, zero, &type, x->def);
}

static Value *get_between(Task *t, Value *x) {
    Cut *c = t->cut;
    Str name = buffer_name(c, c->fact[x->id].born ? "sum" : "known", x);
    bool born = c->fact[x->id].born;
    if (t->phase == PHASE_BETWEEN && !born) return cloned(t, x);
    want(c, (Want){x, t->is, born ? PHASE_PREPARE : PHASE_BETWEEN, name, SECTION_CHUNK, born, born});
    return from_buffer(t, x, name, SECTION_CHUNK, born);
}

// What the last chunk makes and the first needs in its backward half (the gradient of what skips the layers) goes from
// chunk to chunk: the last one's slot is another microbatch's before the first comes to it.
static Str relay_name(const Cut *c, const Value *x, const char *side) {
    return str_internf(c->u->strs, "%s.%s", buffer_name(c, "relay", x), side);
}

static Value *get_relayed(Task *t, Value *x) {
    Cut *c = t->cut;
    bool known = false;
    for (int i = 0; i < c->relayed.n; i++) known |= c->relayed.at[i] == x;
    if (!known) {
        vec_push(c->a, &c->relayed, x);
        vec_push(c->a, &c->routes,
                 (Route){WAY_PREVIOUS, 0, PHASE_BACKWARD, relay_name(c, x, "out"), relay_name(c, x, "in")});
    }
    return from_buffer(t, x, relay_name(c, x, "in"), carried_section(c), false);
}

static void do_relays(Task *t) {
    Cut *c = t->cut;
    for (int i = 0; i < c->relayed.n && !(t->is & ROLE_FIRST); i++) {
        Value *x = c->relayed.at[i], *v = get(t, x);
        write_buffer(t, relay_name(c, x, "out"), carried_section(c), false, false, v, x->def);
    }
}

static Value *get_in_loop(Task *t, Value *x) {
    Cut *c = t->cut;
    const Fact *f = &c->fact[x->id];
    if (f->phase > t->phase) {
        internal(t, x, "needs what is made later");
        return x;
    }
    if (f->home & t->is && f->phase == t->phase) return cloned(t, x);
    if (f->phase == PHASE_BACKWARD && t->phase == PHASE_BACKWARD && f->home == ROLE_LAST) return get_relayed(t, x);
    Str name = buffer_name(c, "keep", x);
    if (f->home & t->is) {
        want(c, (Want){x, t->is, f->phase, name, SECTION_SLOT, false, false});
    } else {
        want(c, (Want){x, lowest(f->home), f->phase, name, SECTION_SLOT, false, false});
        name = route(c, f->home, t->is, f->phase, name);
    }
    return from_buffer(t, x, name, SECTION_SLOT, false);
}

// The sum over all microbatches.
static Value *get_sum(Task *t, Value *x) {
    Cut *c = t->cut;
    const Fact *f = &c->fact[x->id];
    Str name = buffer_name(c, "sum", x);
    bool here = f->home & t->is;
    want(c, (Want){x, here ? t->is : lowest(f->home), f->phase, name, SECTION_CHUNK, true, true});
    if (!here) name = route(c, f->home, t->is, PHASE_SUMS, name);
    return from_buffer(t, x, name, SECTION_CHUNK, here);
}

// A sum that is only reduced over ranks is replaced by the result, for later tasks of its chunk.
static const Value *replaced_sum(const Task *t, const Value *x) {
    const Cut *c = t->cut;
    const Value *sum = x->def->op == OP_all_reduce ? x->def->args[0] : NULL;
    if (!sum || c->uses[sum->id] != 1) return NULL;
    const Fact *f = &c->fact[sum->id];
    return f->born && f->phase != PHASE_PREPARE && f->home == c->fact[x->id].home ? sum : NULL;
}

static Value *get_after(Task *t, Value *x) {
    Cut *c = t->cut;
    const Fact *f = &c->fact[x->id];
    bool here = f->home & t->is;
    int phase = PHASE_AFTER + fact_level(f);
    if (f->meets && (phase < t->phase || t->variant < 0))
        return from_buffer(t, x, buffer_name(c, "all", x), SECTION_RANK, false);
    if (fact_in_loop(f)) return get_sum(t, x);
    if (phase > t->phase || (phase == t->phase && !here && t->variant >= 0)) {
        internal(t, x, "needs what is made later");
        return x;
    }
    if (t->variant < 0) { // made again from what all know
        if (!f->spread) return cloned(t, x);
        internal(t, x, "needs what only a chunk knows");
        return x;
    }
    if (here && (phase == t->phase || op_info(x->def->op)->traits & (TRAIT_MAP | TRAIT_VIEW))) return cloned(t, x);
    const Value *sum = replaced_sum(t, x);
    Str name = buffer_name(c, sum ? "sum" : "kept", sum ? sum : x);
    want(c, (Want){x, here ? t->is : lowest(f->home), phase, name, SECTION_CHUNK, sum, false});
    if (!here) name = route(c, f->home, t->is, phase, name);
    return from_buffer(t, x, name, SECTION_CHUNK, sum && here);
}

static Value *get(Task *t, Value *x) {
    Cut *c = t->cut;
    const Fact *f = &c->fact[x->id];
    if (t->map[x->id] || !c->ok) return t->map[x->id];
    Value *v;
    if (t->variant < 0 && f->meets) v = get_after(t, x);
    else if (f->free || (f->cheap && in_loop_phase(t->phase))) v = cloned(t, x);
    else if (f->between || f->phase == PHASE_PREPARE) v = t->phase == PHASE_PREPARE ? cloned(t, x) : get_between(t, x);
    else if (fact_in_loop(f) && in_loop_phase(t->phase)) v = get_in_loop(t, x);
    else v = get_after(t, x);
    return t->map[x->id] = v;
}

// ---- where all stages meet
// ---------------------------------------------------------------------------------------------- Each chunk adds its
// part to a buffer of its rank; the rank's own task sums these over the stages.

static bool sums_stages(const Cut *c, const Value *x) {
    return op_info(x->def->op)->traits & TRAIT_COMM && x->def->attr.mesh & c->stages;
}

static void meet(Task *t, Value *x) {
    Cut *c = t->cut;
    Value *part = sums_stages(c, x) ? x->def->args[0] : x;
    Roles who = sums_stages(c, x) ? c->all : lowest(c->fact[x->id].home);
    Str name = buffer_name(c, "part", x);
    MeshSet over = sums_stages(c, x) ? x->def->attr.mesh & ~c->time : c->stages;
    want(c, (Want){part, who, t->phase, name, SECTION_RANK, true, true});
    Type type = local_type(t, &part->type), whole = local_type(t, &x->type);
    type.sum |= over;
    Value *v = read_buffer(t, name, SECTION_RANK, true, &type, x->def);
    v = append(t, OP_all_reduce, &v, 1, &(Attr){.mesh = over}, &whole, x->def);
    write_buffer(t, buffer_name(c, "all", x), SECTION_RANK, false, false, v, x->def);
    t->map[x->id] = v;
}

// ---- tasks
// --------------------------------------------------------------------------------------------------------------

static const char *phase_name(int phase) {
    static const char *const names[] = {"", "prepare", "between", "forward", "backward", "weight", "sums"};
    return phase < PHASE_AFTER ? names[phase] : "after";
}

static Task *task_begin(Cut *c, int variant, int phase) {
    Unit *u = c->u;
    Task *t = NEW(c->a, Task);
    Func *f = NEW(u->arena, Func);
    const char *name = phase_name(phase);
    if (phase < PHASE_AFTER) f->name = str_internf(u->strs, "%s.%s.%d", c->from->name, name, variant);
    else if (variant < 0) f->name = str_internf(u->strs, "%s.all%d", c->from->name, phase - PHASE_AFTER);
    else f->name = str_internf(u->strs, "%s.%s%d.%d", c->from->name, name, phase - PHASE_AFTER, variant);
    f->unit = u;
    f->top = block_new(f, NULL);
    *t = (Task){.cut = c, .func = f, .variant = variant, .phase = phase};
    if (variant >= 0) {
        const Variant *v = &c->p->variants[variant];
        t->is = (v->first ? ROLE_FIRST : 0) | (v->last ? ROLE_LAST : 0);
        if (!t->is) t->is = ROLE_MIDDLE;
    }
    t->map = NEW_ARRAY(c->a, Value *, c->from->next_id);
    return t;
}

static void task_end(Task *t) {
    if (t->func->top->first) vec_push(t->cut->a, &t->cut->tasks, t);
}

static bool is_last_level(const Task *t) { return t->phase == PHASE_AFTER + t->cut->levels - 1; }

// Numbers of all stages are the rank's own task's: of functions without microbatches too (init's loss scale).
static bool has_rank_task(const Cut *c) { return c->forward || c->p->nstages > 1; }

// Which task has an effect of the function?
static bool has_effect(const Task *t, const Node *n, const Holders *h) {
    const Cut *c = t->cut;
    bool ranks = has_rank_task(c);
    if (n->op == OP_assign) {
        const Node *leaf = n->args[0]->def;
        bool own = leaf->op == OP_state && !*leaf->attr.s2;
        if (!is_last_level(t)) return false;
        if (own && ranks) return t->variant < 0;
        return t->variant >= 0 &&
               (own || holders_of(h, leaf->op == OP_state ? leaf->attr.s2 : leaf->attr.s, c->all) & t->is);
    }
    if (n->op != OP_output) return false;
    const Value *x = n->args[0];
    const Fact *f = &c->fact[x->id];
    if (fact_in_loop(f) && !f->pending) {
        if (f->cheap) return t->phase == PHASE_FORWARD && t->is & ROLE_FIRST;
        return t->phase == f->phase && t->is & (f->spread ? c->all : lowest(f->home));
    }
    if (!x->type.rank && ranks) return t->variant < 0 && is_last_level(t);
    bool anywhere = f->free || f->between;
    int phase = anywhere ? PHASE_AFTER : f->phase;
    return t->variant >= 0 && t->phase == phase && t->is & (anywhere ? lowest(c->all) : f->home);
}

static void do_effects(Task *t, const Holders *h) {
    for (Node *n = t->cut->from->top->first; n && t->cut->ok; n = n->next)
        if (has_effect(t, n, h)) clone(t, n);
}

// Gradients that a repeat stacks are added to the sums where they are made, a layer at a time, so that no second stack
// of them is needed: the sum goes through the repeat.
//   %g = repeat %d, %w over layer ... { ... yield %e, %f }       %g = repeat %d, %w, %sum over layer ... {
//   %t = add %sum, %g ; assign %sum, %t                              ... %a = add %s, %f ; yield %e, %a } ; assign
//   %sum, %g
static bool add_inside(Task *t, const Want *w, Value *v) {
    Cut *c = t->cut;
    Node *r = v->def;
    int carries = r->op == OP_repeat ? repeat_carries(r) : 0;
    if (!w->add || r->op != OP_repeat || v->index < carries || c->uses[w->value->id] != 1) return false;
    int at = carries + repeat_stacked(r);
    Value *buffer = read_buffer(t, w->buffer, w->section, w->zero, &v->type, w->value->def);
    Node *read = buffer->def, *yield = block_yield(r->body);
    node_remove(read);
    node_insert_before(r, read);
    Value *made = yield->args[v->index], *slice = block_add_param(r->body, &made->type, NULL);
    Value **args = NEW_ARRAY(c->u->arena, Value *, r->nargs + 1);
    memcpy(args, r->args, sizeof *args * (size_t)at);
    memcpy(args + at + 1, r->args + at, sizeof *args * (size_t)(r->nargs - at));
    args[at] = buffer;
    memmove(r->body->params + at + 2, r->body->params + at + 1, sizeof *args * (size_t)(r->nargs - at));
    r->body->params[at + 1] = slice;
    r->args = args;
    r->nargs++;
    for (int i = 0; i < r->body->nparams; i++) r->body->params[i]->index = i;
    r->attr.j++;
    Node *add = node_new(t->func, OP_add, (Value *[]){slice, made}, 2, 1, NULL, made->def ? made->def->loc : r->loc);
    add->results[0]->type = made->type;
    node_insert_before(yield, add);
    yield->args[v->index] = add->results[0];
    append(t, OP_assign, (Value *[]){buffer, v}, 2, NULL, NULL, w->value->def);
    return true;
}

static void do_wants(Task *t) {
    Cut *c = t->cut;
    for (int i = 0; i < c->wants.n && c->ok; i++) {
        Want w = c->wants.at[i];
        if (w.phase != t->phase || !(w.who & t->is)) continue;
        Value *v = get(t, w.value);
        if (!v) return;
        if (v->def->op == OP_buffer && v->def->attr.s == w.buffer) continue; // nothing was to be reduced
        if (!add_inside(t, &w, v)) write_buffer(t, w.buffer, w.section, w.zero, w.add, v, w.value->def);
    }
}

// What goes on to the next chunk.
static void do_carried(Task *t, Node *repeat, Roles ends) {
    Cut *c = t->cut;
    if (!repeat || t->is & ends) return;
    if (!t->onward) clone(t, repeat);
    for (int k = 0; k < repeat_carries(repeat) && c->ok; k++)
        write_buffer(t, carried_name(c, repeat, k, "out"), carried_section(c), false, false, t->onward[k], repeat);
}

static void route_carried(Cut *c, const Node *repeat, Way way, int phase) {
    for (int k = 0; repeat && k < repeat_carries(repeat); k++)
        vec_push(c->a, &c->routes,
                 (Route){way, 0, phase, carried_name(c, repeat, k, "out"), carried_name(c, repeat, k, "in")});
}

static void chunk_task(Cut *c, const Holders *h, int variant, int phase) {
    Task *t = task_begin(c, variant, phase);
    do_effects(t, h);
    if (phase == PHASE_FORWARD) do_carried(t, (Node *)c->forward, ROLE_LAST);
    if (phase == PHASE_BACKWARD) do_carried(t, (Node *)c->backward, ROLE_FIRST);
    if (phase == PHASE_BACKWARD) do_relays(t);
    do_wants(t);
    task_end(t);
}

static bool asked_for(const Cut *c, const Value *x) {
    Str name = buffer_name(c, "all", x);
    for (int i = 0; i < c->tasks.n; i++)
        for (const Node *n = c->tasks.at[i]->func->top->first; n; n = n->next)
            if (n->op == OP_buffer && n->attr.s == name) return true;
    return false;
}

static void rank_task(Cut *c, const Holders *h, int phase) {
    Task *t = task_begin(c, -1, phase);
    for (Node *n = c->from->top->first; n && c->ok; n = n->next)
        for (int i = 0; i < n->nresults; i++) {
            const Fact *f = &c->fact[n->results[i]->id];
            if (f->meets && PHASE_AFTER + fact_level(f) == phase && (asked_for(c, n->results[i]) || is_last_level(t)))
                meet(t, n->results[i]);
        }
    do_effects(t, h);
    task_end(t);
}

static int by_phase(const Task *a, const Task *b) {
    if (a->phase != b->phase) return a->phase < b->phase ? -1 : 1;
    return (a->variant < 0) - (b->variant < 0) ? (a->variant < 0) - (b->variant < 0) : a->variant - b->variant;
}

static void sort_tasks(Cut *c) {
    for (int i = 1; i < c->tasks.n; i++)
        for (int j = i; j > 0 && by_phase(c->tasks.at[j - 1], c->tasks.at[j]) > 0; j--) {
            Task *t = c->tasks.at[j];
            c->tasks.at[j] = c->tasks.at[j - 1];
            c->tasks.at[j - 1] = t;
        }
}

bool cut_tasks(Cut *c, const Holders *h) {
    c->uses = NEW_ARRAY(c->a, int, c->from->next_id);
    func_count_uses(c->from, c->uses);
    for (const Node *n = c->from->top->first; n; n = n->next) { // what goes to other chunks takes a level
        if (n->op != OP_assign) continue;
        const Fact *f = &c->fact[n->args[1]->id];
        const Node *leaf = n->args[0]->def;
        Roles who = holders_of(h, leaf->op == OP_state ? leaf->attr.s2 : leaf->attr.s, c->all);
        int levels = fact_level(f) + f->meets + 1 + (!f->free && !f->between && who & ~f->home);
        if (levels > c->levels) c->levels = levels;
    }
    for (int phase = PHASE_AFTER + c->levels - 1; phase >= PHASE_PREPARE && c->ok; phase--) {
        if (phase == PHASE_SUMS) continue;
        if (phase >= PHASE_AFTER && has_rank_task(c)) rank_task(c, h, phase);
        bool down = phase == PHASE_FORWARD; // who asks goes before who is asked
        for (int i = 0; i < c->p->nvariants && c->ok; i++) chunk_task(c, h, down ? c->p->nvariants - 1 - i : i, phase);
    }
    route_carried(c, c->forward, WAY_NEXT, PHASE_FORWARD);
    route_carried(c, c->backward, WAY_PREVIOUS, PHASE_BACKWARD);
    sort_tasks(c);
    return c->ok;
}
