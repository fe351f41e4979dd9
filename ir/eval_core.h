// SPDX-License-Identifier: Apache-2.0
// eval_core: what the evaluators of ir/ops share: the state of a run, walks over named axes, errors.
//
// Every value has one dense array a rank, in doubles, of its type's local extents. An evaluator `eval_SUFFIX` fills the
// arrays of a node's results on all ranks from those of its operands, by loops over named axes:
//
//   Walk w = walk_dims(e, n, &n->results[0]->type);     the box: the result's local extents
//   int y = walk_tensor(&w, &n->results[0]->type), x = walk_tensor(&w, &n->args[0]->type);
//   if (!walk_ok(&w)) return false;
//   for (int64_t r = 0; r < e->ranks; r++) {
//       double *py = eval_at(e, n->results[0], r), *px = eval_at(e, n->args[0], r);
//       WALK(w) py[w.offset[y]] = f(px[w.offset[x]]);
//   }
#pragma once
#include "ir/eval.h"
#include "ir/op.h"

typedef enum EvalKind { EVAL_PARAM, EVAL_STATE, EVAL_INPUT, EVAL_OUTPUT } EvalKind;

typedef struct EvalName { // a leaf or an output
    EvalKind kind;
    Str name;
    Tensor global; // dimensions as declared, valid places only
    double *next;  // leaves: what an assign of this run stores at its end
    bool set, assigned;
} EvalName;

typedef struct EvalFunc { // the arrays of a function's values, made at their first use and kept for later runs
    const Func *func;
    double ***at; // [value id][rank]
} EvalFunc;

struct Eval {
    Unit *unit;
    Arena *arena;
    const Mesh *mesh;
    int64_t ranks;
    bool poison;
    uint64_t perturb; // the seed, 0: exact
    Vec(EvalName) names;
    Vec(EvalFunc) funcs;
    EvalFunc *now; // the function being run
    double *buffer;
    int64_t buffer_count;
};

double *eval_at(Eval *e, const Value *v, int64_t rank); // v's array on a rank
int64_t eval_count(const Eval *e, const Value *v);      // its elements, padding included
EvalName *eval_name(const Eval *e, const char *name, bool output);
bool eval_block(Eval *e, const Block *b);                                   // runs the nodes of a block in order
bool eval_copy(Eval *e, const Node *n, const Value *to, const Value *from); // all ranks; error if sizes differ
double *eval_scratch(Eval *e, int64_t count);                               // until the next call
void eval_error(const Eval *e, const Node *n, const char *format, ...) __attribute__((format(printf, 3, 4)));

// First global index of a dimension on a rank.
static inline int64_t eval_offset(const Eval *e, const Dim *d, int64_t rank) {
    return mesh_coord(e->mesh, d->split, rank) * dim_local(d, e->mesh);
}

enum { WALK_AXES = 2 * RANK_MAX, WALK_TENSORS = 8 };

// Visits every place of a box of named axes in row-major order, keeping for each tensor the offset of the element
// there. A tensor that lacks an axis stays where it is along it; axes of the tensor that the box lacks stay at 0.
typedef struct Walk {
    const Eval *e;
    const Node *n;
    int naxes, ntensors;
    const Axis *axis[WALK_AXES];
    int64_t extent[WALK_AXES], at[WALK_AXES];
    int64_t stride[WALK_TENSORS][WALK_AXES], offset[WALK_TENSORS];
    bool bad;
} Walk;

Walk walk_new(const Eval *e, const Node *n);
Walk walk_dims(const Eval *e, const Node *n, const Type *t); // the box of t's local extents
void walk_add(Walk *w, const Type *t, const Axes *only);     // adds t's axes (only these, unless NULL) that w lacks
int walk_tensor(Walk *w, const Type *t);                     // the tensor's number; before it, all axes must be added
int walk_position(const Walk *w, const Axis *a);             // of an axis, or -1
bool walk_ok(const Walk *w);                                 // false after an error: extents do not match
bool walk_start(Walk *w);                                    // to the first place; false when there is none
bool walk_next(Walk *w);
#define WALK(w) for (bool walk_more_ = walk_start(&(w)); walk_more_; walk_more_ = walk_next(&(w)))

int64_t eval_stride(const Eval *e, const Type *t,
                    const Axis *a); // local elements between neighbours; 0 without the axis
bool eval_whole(const Eval *e, const Node *n, const Value *v, const Axis *a); // error unless a is unsplit in v

// Between a global tensor and the ranks' arrays. to_global checks that v is not pending; ranks that hold the same
// places have been found to agree by then.
void eval_to_local(Eval *e, const Value *v, const Tensor *global);
bool eval_to_global(Eval *e, const Node *n, const Value *v, double *out_global);
bool eval_agree(Eval *e, const Node *n, const Value *v);           // error when ranks differ where v is replicated
void eval_poison_padding(Eval *e, const Value *v, double garbage); // not where it is zero

#define OP(name, nargs, nresults, attrs, pending, traits, key_i, key_j, key_flag, suffix, ...)                         \
    bool eval_##suffix(Eval *e, const Node *n);
#include "ir/ops.def"
// The running sum of sum, dot and scatter: equal addends lose the same way each time, which no noise shows.
static inline double eval_running(const Eval *e, double sum) { return e->perturb ? (double)(float)sum : sum; }
bool eval_map_node(Eval *e, const Node *n);

// Of a run with eval_perturb on: a node by its evaluator, its addends perturbed if it adds up; then its results.
bool eval_perturbed(Eval *e, const Node *n, bool (*evaluator)(Eval *e, const Node *n));
void eval_perturb_results(Eval *e, const Node *n);
