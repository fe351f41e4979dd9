// SPDX-License-Identifier: Apache-2.0
// map_eval: elementwise ops: one function a row of the table, over its equation.
#include "ir/eval_core.h"
#include <math.h>

enum { MAP_ARGS = 3 };

// A strip of n places along the innermost axis of the result; each operand advances by its stride (0: broadcast).
typedef void MapStrip(double *y, const double *const x[MAP_ARGS], const int64_t stride[MAP_ARGS], int64_t n);

#define MAP(name, nargs, domain, pending, traits, flops, equation, ...)                                                \
    static double one_##name(double a, double b, double c) {                                                           \
        (void)a, (void)b, (void)c;                                                                                     \
        return equation;                                                                                               \
    }                                                                                                                  \
    static void strip_##name(double *y, const double *const x[MAP_ARGS], const int64_t stride[MAP_ARGS], int64_t n) {  \
        for (int64_t i = 0; i < n; i++)                                                                                \
            y[i] = one_##name(x[0][i * stride[0]], x[1][i * stride[1]], x[2][i * stride[2]]);                          \
    }
#include "ir/ops.def"

static MapStrip *const strips[OP_COUNT] = {
#define MAP(name, ...) [OP_##name] = strip_##name,
#include "ir/ops.def"
};

double eval_map(OpKind op, double a, double b, double c) {
    static const int64_t still[MAP_ARGS];
    double y = NAN;
    if (strips[op]) strips[op](&y, (const double *[]){&a, &b, &c}, still, 1);
    return y;
}

bool eval_map_node(Eval *e, const Node *n) {
    const Value *result = n->results[0];
    Walk w = walk_dims(e, n, &result->type);
    int y = walk_tensor(&w, &result->type), arg[MAP_ARGS];
    for (int i = 0; i < MAP_ARGS; i++) arg[i] = walk_tensor(&w, &n->args[i < n->nargs ? i : 0]->type);
    if (!walk_ok(&w)) return false;
    int64_t length = 1, stride[MAP_ARGS] = {0};
    if (w.naxes) {
        int last = --w.naxes; // the strip
        length = w.extent[last];
        for (int i = 0; i < MAP_ARGS; i++) stride[i] = w.stride[arg[i]][last];
    }
    for (int64_t r = 0; r < e->ranks; r++) {
        double *py = eval_at(e, result, r);
        const double *px[MAP_ARGS], *at[MAP_ARGS];
        for (int i = 0; i < MAP_ARGS; i++) px[i] = eval_at(e, n->args[i < n->nargs ? i : 0], r);
        WALK(w) {
            for (int i = 0; i < MAP_ARGS; i++) at[i] = px[i] + w.offset[arg[i]];
            strips[n->op](py + w.offset[y], at, stride, length);
        }
        if (n->op != OP_cast || dtype_is_float(result->type.dtype)) continue;
        bool to_bool = result->type.dtype == DT_BOOL;
        for (int64_t i = 0, count = eval_count(e, result); i < count; i++) py[i] = to_bool ? py[i] != 0 : trunc(py[i]);
    }
    return true;
}
