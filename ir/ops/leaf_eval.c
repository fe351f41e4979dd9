// SPDX-License-Identifier: Apache-2.0
// leaf_eval: values that come from outside or from their place: param, state, input, const, index, random.
#include "ir/eval_core.h"
#include "ir/random.h"
#include <math.h>

static bool eval_leaf(Eval *e, const Node *n, bool needs_value) {
    const Value *v = n->results[0];
    const EvalName *leaf = eval_name(e, n->attr.s, false);
    if (!leaf || !type_same_dims(&leaf->global.type, &v->type)) {
        eval_error(e, n, "'%s' has other dimensions in another function, or is new", n->attr.s);
        return false;
    }
    if (needs_value && !leaf->set) {
        diag_error(e->unit->diag, n->loc, "'%s' has no value", n->attr.s);
        return false;
    }
    eval_to_local(e, v, &leaf->global);
    return true;
}

bool eval_input(Eval *e, const Node *n) { return eval_leaf(e, n, true); }
bool eval_state(Eval *e, const Node *n) { return eval_leaf(e, n, false); } // zero until assigned
bool eval_param(Eval *e, const Node *n) { // `init` names parameters before they have a value, to assign them
    return eval_leaf(e, n, strcmp(e->now->func->name, "init") != 0);
}

// Tasks are for the compiler: the interpreter runs functions before they are cut.
bool eval_buffer(Eval *e, const Node *n) {
    eval_error(e, n, "buffer '%s' belongs to a task of a pipeline, which the interpreter does not run", n->attr.s);
    return false;
}

bool eval_const(Eval *e, const Node *n) {
    for (int64_t r = 0; r < e->ranks; r++)
        for (int64_t i = 0, count = eval_count(e, n->results[0]); i < count; i++)
            eval_at(e, n->results[0], r)[i] = n->attr.f;
    return true;
}

bool eval_index(Eval *e, const Node *n) {
    const Type *t = &n->results[0]->type;
    int d = type_find(t, n->attr.axes.at[0]);
    Walk w = walk_dims(e, n, t);
    int y = walk_tensor(&w, t);
    if (!walk_ok(&w)) return false;
    for (int64_t r = 0; r < e->ranks; r++) {
        double *py = eval_at(e, n->results[0], r);
        WALK(w) py[w.offset[y]] = (double)(eval_offset(e, &t->dim[d], r) + w.at[d]);
    }
    return true;
}

static double draw(int64_t law, int64_t element, int64_t stream, const int32_t keys[4]) {
    uint32_t words[4];
    random_words(element, stream, keys, words);
    double u = ldexp(words[0] >> 8, -24);
    if (law == 0) return u;
    double u1 = u + ldexp(0.5, -24), u2 = ldexp(words[1] >> 8, -24);
    return sqrt(-2 * log(u1)) * cos(2 * M_PI * u2);
}

bool eval_random(Eval *e, const Node *n) {
    const Type *t = &n->results[0]->type;
    Walk w = walk_dims(e, n, t);
    int y = walk_tensor(&w, t);
    if (!walk_ok(&w)) return false;
    for (int64_t r = 0; r < e->ranks; r++) {
        double *py = eval_at(e, n->results[0], r);
        int32_t keys[4] = {0};
        for (int i = 0; i < n->nargs && i < 4; i++) keys[i] = (int32_t)(int64_t)*eval_at(e, n->args[i], r);
        WALK(w) {
            int64_t element = 0;
            for (int d = 0; d < t->rank; d++)
                element = element * t->dim[d].axis->extent + eval_offset(e, &t->dim[d], r) + w.at[d];
            py[w.offset[y]] = draw(n->attr.i, element, n->attr.j, keys);
        }
    }
    return true;
}
