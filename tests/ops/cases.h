// SPDX-License-Identifier: Apache-2.0
// cases: small graphs, at least one for every op that has a gradient, made by builders so that each test can make as
// many copies as it needs: the tests of this folder evaluate them, differentiate them and lay them out on meshes.
//
// A case makes parameters and inputs with fixed values (case_param, case_input, ...), applies ops and hands results to
// case_result: outputs "y.0", "y.1", ... and a term of output "loss" each, the sum of the result times fixed weights.
#pragma once
#include "base/vec.h"
#include "ir/build.h"
#include "ir/eval.h"
#include <stdio.h>

typedef struct CaseLeaf {
    Str name;
    bool param; // else an input
    Type type;
    int64_t count;
    double *values; // global, exact in f32
} CaseLeaf;

typedef struct CaseCtx {
    Arena *arena, *scratch;
    FILE *sink; // what the unit's diag says
    char *said;
    size_t said_size;
    Unit *unit;
    Builder b; // at the end of train, or of the innermost repeat's body
    Vec(CaseLeaf) leaves;
    int results;
    Value *loss;
} CaseCtx;

enum {
    CASE_NO_GRADIENT = 1,  // the results do not depend smoothly on a parameter
    CASE_ANY_GRADIENT = 2, // there is a gradient, but not the derivative of the loss (stop)
    CASE_MAP = 4,          // one elementwise op on leaves x, y, z
};

typedef struct OpCase {
    const char *name;
    OpKind op; // the row it is there for
    unsigned flags;
    int variant; // for its builder
    void (*build)(CaseCtx *c, OpKind op, int variant);
} OpCase;

const OpCase *op_cases(int *out_count);
extern const OpCase op_cases_views[], op_cases_contractions[], op_cases_attend[], op_cases_repeat[], op_cases_models[];
extern const int op_cases_views_count, op_cases_contractions_count, op_cases_attend_count, op_cases_repeat_count,
    op_cases_models_count;

bool op_differentiable(OpKind op); // its row's gradient column says so

CaseCtx *case_open(const OpCase *k);               // builds train; look at diag_errors(c->unit->diag)
const char *case_said(CaseCtx *c);                 // the messages so far
bool case_set(const CaseCtx *c, Eval *e);          // all leaves
CaseLeaf *case_leaf(CaseCtx *c, const char *name); // NULL if absent
void case_close(CaseCtx *c);
bool case_has_gradient(const OpCase *k);
bool case_has_products(const OpCase *k); // dot or attend somewhere

// For builders. Dimensions are names separated by blanks; each name has its extent in cases.c.
const Axis *case_axis(CaseCtx *c, const char *name);
Axes case_axes(CaseCtx *c, const char *names);
Value *case_param(CaseCtx *c, const char *name, const char *dims, double low, double high);
Value *case_float(CaseCtx *c, const char *name, const char *dims, double low, double high); // an f32 input
Value *case_ids(CaseCtx *c, const char *name, const char *dims, int64_t least, int64_t limit);
Value *case_bools(CaseCtx *c, const char *name, const char *dims);
void case_result(CaseCtx *c, Value *v); // any element type

// case_op(c, OP_add, x, y, NULL) and the like; constants are f32.
Value *case_op(CaseCtx *c, OpKind op, Value *x, Value *y, Value *z);
Value *case_const(CaseCtx *c, double value);
Value *case_sum(CaseCtx *c, Value *x, const char *over);
Value *case_max(CaseCtx *c, Value *x, const char *over);
Value *case_dot(CaseCtx *c, Value *x, Value *y, const char *over);
Value *case_rename(CaseCtx *c, Value *x, const char *from, const char *to);

// A repeat: begin makes the body and gives its parameters (iteration, carries, slices, invariants); nodes then go there
// until end, which makes the repeat and gives its results.
typedef struct CaseRepeat {
    Builder outer;
    Attr attr;
    Value *args[16];
    int nargs;
} CaseRepeat;
CaseRepeat case_repeat(CaseCtx *c, const char *axis, Value *const *carries, int ncarries, Value *const *stacked,
                       int nstacked, Value *const *invariants, int ninvariants, Value **out_params);
void case_repeat_end(CaseCtx *c, CaseRepeat *r, Value *const *yields, int nyields, bool reverse, Value **out_results);
