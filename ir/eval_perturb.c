// SPDX-License-Identifier: Apache-2.0
// eval_perturb: the interpreter as a machine with f32 and 16-bit types would run it, one of many: how far results move
// then is how far compiled code may be from the exact ones.
#include "ir/eval_core.h"
#include <math.h>

// From -1 to 1, the same for equal numbers: ties stay ties, and ranks that hold the same agree.
static double noise(uint64_t seed, double x) {
    uint64_t h;
    memcpy(&h, &x, sizeof h);
    h += seed * 0x9E3779B97F4A7C15u;
    h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9u;
    h = (h ^ (h >> 27)) * 0x94D049BB133111EBu;
    return (double)((h ^ (h >> 31)) >> 11) * 0x1p-52 - 1;
}

static bool is_held(DType t, double x) { return t == DT_F32 ? x == (double)(float)x : x == dtype_round(t, x); }

static double near(uint64_t seed, DType t, double x) {
    x *= 1 + 2 * dtype_roundoff(t) * noise(seed, x);
    return t == DT_F32 ? (double)(float)x : dtype_round(t, x);
}

void eval_perturb_results(Eval *e, const Node *n) {
    for (int i = 0; i < n->nresults; i++) {
        DType t = n->results[i]->type.dtype;
        if (t != DT_F32 && !dtype_is_half(t)) continue;
        for (int64_t r = 0, count = eval_count(e, n->results[i]); r < e->ranks; r++) {
            double *x = eval_at(e, n->results[i], r);
            for (int64_t j = 0; j < count; j++)
                if (isfinite(x[j]) && !is_held(t, x[j])) x[j] = near(e->perturb, t, x[j]);
        }
    }
}

static bool accumulates(const Node *n) {
    switch (n->op) {
    case OP_sum:
    case OP_dot:
    case OP_scatter:
    case OP_attend:
    case OP_attend_grad: return true;
    default: return false;
    }
}

// What a sum loses to rounding, had it been exact, would be an error of its addends. Integers add up exactly.
bool eval_perturbed(Eval *e, const Node *n, bool (*evaluator)(Eval *e, const Node *n)) {
    if (!accumulates(n)) return evaluator(e, n);
    Arena *arena = arena_new();
    double ***was = NEW_ARRAY(arena, double **, n->nargs);
    for (int i = 0; i < n->nargs; i++) {
        const Value *v = n->args[i];
        was[i] = e->now->at[v->id];
        if (v->type.dtype != DT_F32 && !dtype_is_half(v->type.dtype)) continue;
        int64_t count = eval_count(e, v);
        double **at = NEW_ARRAY(arena, double *, e->ranks);
        for (int64_t r = 0; r < e->ranks; r++) {
            at[r] = NEW_ARRAY(arena, double, count);
            for (int64_t j = 0; j < count; j++) {
                double x = was[i][r][j];
                at[r][j] = !isfinite(x) || x == rint(x) ? x : near(e->perturb + 1, DT_F32, x);
            }
        }
        e->now->at[v->id] = at;
    }
    bool ok = evaluator(e, n);
    for (int i = n->nargs - 1; i >= 0; i--) e->now->at[n->args[i]->id] = was[i];
    arena_free(arena);
    return ok;
}
