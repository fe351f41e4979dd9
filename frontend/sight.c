// SPDX-License-Identifier: Apache-2.0
#include "frontend/sight.h"
#include "frontend/build.h"

static void see(Build *s, Loc loc, const Val *val, bool is_param) {
    Sights *sights = s->f->options->sights;
    if (sights->at.n >= SIGHTS_MAX) return;
    Sight sight = {.loc = loc, .func = s->func, .is_param = is_param};
    switch (val->kind) {
    case VAL_TENSOR:
        sight.kind = SIGHT_TENSOR;
        sight.value = val->tensor;
        sight.type = val->tensor->type;
        break;
    case VAL_NUMBER:
        sight.kind = SIGHT_NUMBER;
        sight.number = val->number;
        break;
    case VAL_AXIS:
        sight.kind = SIGHT_AXIS;
        sight.axis = val->axis;
        break;
    case VAL_TUPLE:
        for (int i = 0; i < val->n; i++) see(s, loc, &val->items[i], is_param);
        return;
    case VAL_DTYPE:
    case VAL_POISON: return;
    }
    vec_push(s->f->arena, &sights->at, sight);
}

void build_see(Build *s, Loc loc, const Val *val) {
    if (s->f->options->sights) see(s, loc, val, false);
}

void build_see_param(Build *s, Loc loc, Value *v) {
    const Val val = val_tensor(v);
    if (s->f->options->sights) see(s, loc, &val, true);
}

static void mark(Living *l, const Block *b) {
    for (int i = 0; i < b->nparams; i++) l->at[b->params[i]->id] = b->params[i];
    for (const Node *n = b->first; n; n = n->next) {
        for (int i = 0; i < n->nresults; i++) l->at[n->results[i]->id] = n->results[i];
        if (n->body) mark(l, n->body);
    }
}

Living living_values(const Func *f, Arena *a) {
    Living l = {f->next_id, NEW_ARRAY(a, const Value *, f->next_id + 1)};
    mark(&l, f->top);
    return l;
}

const Value *sight_value(const Living *l, const Value *v) {
    enum { STEPS_MAX = 10000 };
    for (int i = 0; v && i < STEPS_MAX; i++, v = v->became)
        if (v->id < l->n && l->at[v->id] == v) return v;
    return NULL;
}
