// SPDX-License-Identifier: Apache-2.0
// build: from the checked program to graphs, by running the model's statements once per function. Blocks are expanded
// at each call; numbers fold; a repeat's body becomes a Block whose operands are found while it runs.
#pragma once
#include "frontend/builtins.h"
#include "frontend/front.h"
#include "ir/build.h"

// What an expression denotes.
typedef enum ValKind { VAL_POISON, VAL_NUMBER, VAL_TENSOR, VAL_AXIS, VAL_DTYPE, VAL_TUPLE } ValKind;
typedef struct Val Val;
struct Val {
    ValKind kind; // VAL_POISON: an error was reported
    DType dtype;
    double number;
    Value *tensor;
    const Axis *axis;
    int n; // VAL_TUPLE
    Val *items;
};

typedef struct Var {
    Str name;
    Val val;
} Var;

// The variables of one block expansion (or the model), or of a repeat's body in it, which sees those around it.
typedef struct Frame Frame;
struct Frame {
    Frame *outer; // NULL: the block's own
    const BlockDecl *block;
    Vec(Var) vars;
};

typedef struct Link { // a repeat's operand and the body parameter it becomes
    Value *arg, *param;
    bool stacked;
} Link;

typedef struct Loop { // an open repeat
    struct Loop *outer;
    Block *body;
    const Axis *axis;
    Vec(Link) links; // stacked and invariant operands, in the order they were met
} Loop;

typedef struct CallSite { // an open block expansion
    struct CallSite *outer;
    BlockDecl *block;
    Loc loc;
} CallSite;

typedef struct ParamInfo {
    Str name, storage; // of the node: s, s2
    Str file_name;     // storage without the bracket: unique
    Type type;         // with the axes of repeats
    int law;           // -1: the number a; else random's law: 0 uniform on [a, b), 1 normal with standard deviation a
    double a, b;       // of the law
    Loc loc;
    int made_in; // the last function that has it
} ParamInfo;

typedef struct Build {
    Front *f;
    Unit *u;
    Func *func;
    Builder b;
    bool training; // dropout on
    int function;  // counts functions
    Loop *loop;
    CallSite *call;
    Str storage, path; // prefixes of parameters here: as stored, and for reading
    Vec(ParamInfo) params;
    Value *seed, *step; // of this function, or NULL yet
    int randoms;        // drawn so far in this function: the stream
    int depth, calls;   // guards
    int errors_seen;
    const CallSite *clashed; // the call whose parameters' names were already found to be taken
    bool stopped;            // too large: everything is poison
} Build;

static inline Val val_tensor(Value *v) { return v ? (Val){.kind = VAL_TENSOR, .tensor = v} : (Val){0}; }
static inline Val val_number(double x) { return (Val){.kind = VAL_NUMBER, .number = x}; }
static inline Val val_axis(const Axis *a) { return (Val){.kind = VAL_AXIS, .axis = a}; }
static inline bool val_numeric(const Val *v) { return v->kind == VAL_NUMBER || v->kind == VAL_AXIS; }
static inline double val_value(const Val *v) { return v->kind == VAL_AXIS ? (double)v->axis->extent : v->number; }

Val expr_value(Build *s, Frame *frame, const Expr *e);
Val expr_builtin(Build *s, Frame *frame, const Expr *e, const Builtin *b);
Val expr_block(Build *s, Frame *frame, const Expr *e, BlockDecl *block);
Val expr_map(Build *s, OpKind op, const Val *args, int n, Loc loc); // folds numbers, broadcasts them beside tensors
void run_stmts(Build *s, Frame *frame, const Stmts *body);
void run_param(Build *s, Frame *frame, const Stmt *stmt);
void build_init(Build *s, Func *init);

// Notes for options->sights, when there are any (sight.h).
void build_see(Build *s, Loc loc, const Val *val);
void build_see_param(Build *s, Loc loc, Value *v);

Var *frame_find(Frame *frame, Str name);
void frame_set(Build *s, Frame *frame, Str name, Val val);
Val name_value(Build *s, Frame *frame, Str name, Loc loc);
const Axis *axis_of(Build *s, Frame *frame, Str name, Loc loc); // NULL after reporting
const Axis *axis_of_expr(Build *s, Frame *frame, const Expr *e);
bool number_of(Build *s, Frame *frame, const Expr *e, double *out);
bool integer_of(Build *s, Frame *frame, const Expr *e, int64_t *out);
// As a tensor: a number becomes a constant of the element type. NULL after reporting, and for poison.
Value *tensor_of(Build *s, const Val *v, DType of_number, Loc loc);
Value *tensor_of_expr(Build *s, Frame *frame, const Expr *e); // no number
Value *value_here(Build *s, Value *v); // a value made around open repeats, as their bodies see it
Value *run_input(Build *s, Str name);  // "seed" or "step"
const char *type_shown(const Build *s, const Type *t);
Str name_join(const Build *s, Str prefix, Str name);
// A storage name or prefix with its {axis} marks checked: all of them repeats open here. NULL after reporting.
Str storage_text(Build *s, Name as);
