// SPDX-License-Identifier: Apache-2.0
// eval: the reference interpreter. A node is run on all ranks before the next one, so a collective finds its peers'
// operands ready; what each op does is in ir/ops/*_eval.c.
#include "ir/eval_core.h"
#include "ir/text.h"
#include <stdio.h>

void eval_error(const Eval *e, const Node *n, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    diag_internal(e->unit->diag, "eval", n ? node_line(n, e->unit->scratch) : "", "%s", text);
}

int64_t eval_count(const Eval *e, const Value *v) {
    int64_t count = 0;
    type_local_elements(&v->type, e->mesh, &count);
    return count;
}

double *eval_at(Eval *e, const Value *v, int64_t rank) {
    double **at = e->now->at[v->id];
    if (!at) {
        at = e->now->at[v->id] = NEW_ARRAY(e->arena, double *, e->ranks);
        for (int64_t r = 0; r < e->ranks; r++) at[r] = NEW_ARRAY(e->arena, double, eval_count(e, v));
    }
    return at[rank];
}

bool eval_copy(Eval *e, const Node *n, const Value *to, const Value *from) {
    if (eval_count(e, to) != eval_count(e, from)) {
        eval_error(e, n, "shards differ in size");
        return false;
    }
    for (int64_t r = 0; r < e->ranks; r++)
        memcpy(eval_at(e, to, r), eval_at(e, from, r), sizeof(double) * (size_t)eval_count(e, to));
    return true;
}

double *eval_scratch(Eval *e, int64_t count) {
    if (count > e->buffer_count) {
        e->buffer = NEW_ARRAY(e->arena, double, count);
        e->buffer_count = count;
    }
    return e->buffer;
}

EvalName *eval_name(const Eval *e, const char *name, bool output) {
    for (int i = 0; i < e->names.n; i++)
        if ((e->names.at[i].kind == EVAL_OUTPUT) == output && !strcmp(e->names.at[i].name, name))
            return &e->names.at[i];
    return NULL;
}

static void add_name(Eval *e, EvalKind kind, Str name, const Type *t) {
    if (eval_name(e, name, kind == EVAL_OUTPUT)) return; // the same in another function
    EvalName it = {.kind = kind, .name = name, .global.type = *t};
    type_elements(t, &it.global.count);
    it.global.at = NEW_ARRAY(e->arena, double, it.global.count);
    if (kind == EVAL_PARAM || kind == EVAL_STATE) it.next = NEW_ARRAY(e->arena, double, it.global.count);
    vec_push(e->arena, &e->names, it);
}

static void find_names(Eval *e, const Block *b) {
    for (const Node *n = b->first; n; n = n->next) {
        if (n->op == OP_param) add_name(e, EVAL_PARAM, n->attr.s, &n->results[0]->type);
        if (n->op == OP_state) add_name(e, EVAL_STATE, n->attr.s, &n->results[0]->type);
        if (n->op == OP_input) add_name(e, EVAL_INPUT, n->attr.s, &n->results[0]->type);
        if (n->op == OP_output) add_name(e, EVAL_OUTPUT, n->attr.s, &n->args[0]->type);
        if (n->body) find_names(e, n->body);
    }
}

Eval *eval_new(Unit *u, Arena *arena) {
    Eval *e = NEW(arena, Eval);
    e->unit = u;
    e->arena = arena;
    e->mesh = &u->mesh;
    e->ranks = mesh_ranks(&u->mesh);
    for (int i = 0; i < u->funcs.n; i++) find_names(e, u->funcs.at[i]->top);
    return e;
}

bool eval_set(Eval *e, const char *name, const double *global, int64_t count) {
    EvalName *it = eval_name(e, name, false);
    if (!it || it->global.count != count) return false;
    memcpy(it->global.at, global, sizeof *global * (size_t)count);
    it->set = true;
    return true;
}

// An output may bear the name of a leaf: the leaf is meant, unless it is an input.
static const EvalName *find_name(const Eval *e, const char *name) {
    const EvalName *leaf = eval_name(e, name, false), *output = eval_name(e, name, true);
    return leaf && (leaf->kind != EVAL_INPUT || !output) ? leaf : output;
}

bool eval_get(const Eval *e, const char *name, double *out_global, int64_t count) {
    const EvalName *it = find_name(e, name);
    if (!it || it->global.count != count || (it->kind == EVAL_OUTPUT && !it->set)) return false;
    memcpy(out_global, it->global.at, sizeof *out_global * (size_t)count);
    return true;
}

const Type *eval_type(const Eval *e, const char *name) {
    const EvalName *it = find_name(e, name);
    return it ? &it->global.type : NULL;
}

bool eval_poison(Eval *e, bool on) {
    bool was = e->poison;
    e->poison = on;
    return was;
}

void eval_perturb(Eval *e, uint64_t seed) { e->perturb = seed; }

typedef bool Evaluator(Eval *e, const Node *n);
static Evaluator *const evaluators[OP_COUNT] = {
#define MAP(name, ...) eval_map_node,
#define OP(name, nargs, nresults, attrs, pending, traits, key_i, key_j, key_flag, suffix, ...) eval_##suffix,
#include "ir/ops.def"
};

// Garbage of different ops differs, so that it does not cancel. None for mask's value; a body's nodes have seen to
// theirs.
static void poison(Eval *e, const Node *n) {
    for (int i = 0; i < n->nresults && n->op != OP_mask && !n->body; i++)
        eval_poison_padding(e, n->results[i], 1e30 * (1 + n->op / 100.0));
}

// Values of 16-bit types hold what those can.
static void round_results(Eval *e, const Node *n) {
    for (int i = 0; i < n->nresults; i++) {
        const Value *v = n->results[i];
        if (!dtype_is_half(v->type.dtype)) continue;
        int64_t count = eval_count(e, v);
        for (int64_t r = 0; r < e->ranks; r++) {
            double *at = eval_at(e, v, r);
            for (int64_t k = 0; k < count; k++) at[k] = dtype_round(v->type.dtype, at[k]);
        }
    }
}

bool eval_block(Eval *e, const Block *b) {
    for (const Node *n = b->first; n; n = n->next) {
        if (!(e->perturb ? eval_perturbed(e, n, evaluators[n->op]) : evaluators[n->op](e, n))) return false;
        if (e->perturb) eval_perturb_results(e, n);
        round_results(e, n);
        if (e->poison) poison(e, n);
        for (int i = 0; i < n->nresults; i++)
            if (!eval_agree(e, n, n->results[i])) return false;
    }
    return true;
}

bool eval_run(Eval *e, const char *name) {
    const Func *f = unit_func(e->unit, name);
    if (!f) {
        diag_error(e->unit->diag, (Loc){0}, "the unit has no function '%s'", name);
        return false;
    }
    e->now = NULL;
    for (int i = 0; i < e->funcs.n; i++)
        if (e->funcs.at[i].func == f) e->now = &e->funcs.at[i];
    if (!e->now) {
        vec_push(e->arena, &e->funcs, (EvalFunc){f, NEW_ARRAY(e->arena, double **, f->next_id)});
        e->now = &e->funcs.at[e->funcs.n - 1];
    }
    for (int i = 0; i < e->names.n; i++) e->names.at[i].assigned = false;
    if (!eval_block(e, f->top)) return false;
    for (int i = 0; i < e->names.n; i++) {
        EvalName *it = &e->names.at[i];
        if (!it->assigned) continue;
        memcpy(it->global.at, it->next, sizeof(double) * (size_t)it->global.count);
        it->set = true;
    }
    return true;
}
