// SPDX-License-Identifier: Apache-2.0
// graph: the IR. A Func is a Block of Nodes in order; a Node applies one op (a row of ops.def) to Values and makes
// Values. `repeat` and `fused` nodes own a body Block. Everything lives in the unit arena.
//
//   func train
//     %tokens: i32[batch=8, seq=16]       = input "tokens" limit 67                                   @gpt2.tgf:30
//     %wte:    f32[vocab=67, width=32]    = param "wte" as "wte.weight"
//     %x:      f32[batch=8, seq=16, width=32] = take %wte, %tokens over vocab                        @gpt2.tgf:33
//     %y:      f32[batch=8, seq=16, width=32], %h: f32[layer=2, ...] = repeat %x, %w over layer carry 1 stack 1 {
//         ^ %i: i32[], %c: f32[batch=8, ...], %wl: f32[width=32, ...]
//         ...
//         yield %c2, %h1
//     }
//     output %loss "loss"
//     assign %wte, %new
#pragma once
#include "base/diag.h"
#include "base/vec.h"
#include "ir/type.h"

typedef enum OpKind {
#define MAP(name, ...) OP_##name,
#define OP(name, ...) OP_##name,
#include "ir/ops.def"
    OP_COUNT
} OpKind;

typedef struct Value Value;
typedef struct Node Node;
typedef struct Block Block;
typedef struct Func Func;
typedef struct Unit Unit;

struct Value {
    Type type;
    Str name;            // a hint for printing, or NULL
    Node *def;           // NULL for a block parameter
    Block *block;        // the block whose parameter it is; NULL for a node's result
    int index;           // position among def's results, or the block's parameters
    int id;              // unique in the Func: use it to index side tables of func->next_id entries
    const Value *became; // what last took its place in all its uses, or NULL: for those who hold on to a value
};

// Attributes; which ones an op has is in its row (ATTR_ bits, ir/op.h), the others are zero.
typedef struct Attr {
    Axes axes;    // "over a, b"
    Axes to;      // "to a, b"
    int64_t i, j; // meaning and keyword per op
    double f;     // "value"
    DType dtype;  // "as f32"
    MeshSet mesh; // "on data, tensor"
    bool flag;    // keyword per op
    Str s, s2;    // strings
} Attr;

struct Node {
    OpKind op;
    int nargs, nresults;
    Value **args;
    Value **results;
    Attr attr;
    Block *body; // repeat and fused
    Loc loc;
    Str scope;  // the block calls it comes from, outermost first ("mlp/gelu"), or NULL: the model itself
    bool again; // computes a forward value once more for the backward half
    Block *parent;
    Node *prev, *next;
};

struct Block {
    Value **params;
    int nparams;
    Node *first, *last; // last is a `yield` in a body; a Func's top block has none
    Node *owner;        // NULL at the top
    Func *func;
};

struct Func {
    Str name; // "init", "train", "eval"
    Block *top;
    int next_id;
    Unit *unit;
};

typedef struct Strategy Strategy; // ir/strategy.h
typedef struct Recipe Recipe;     // ir/recipe.h
typedef struct Storage Storage;   // ir/storage.h

// One model compiled for one strategy. Functions share parameters and states by name.
struct Unit {
    Arena *arena;   // the graphs
    Arena *scratch; // reset by the pass runner after each pass
    StrTable *strs;
    Diag *diag;
    Str name;   // the model's
    Str passed; // the last pass it went through, or NULL: where --from-ir goes on
    Mesh mesh;  // n == 0 until the strategy is applied: one rank
    Vec(Axis *) axes;
    Vec(Func *) funcs;
    const Strategy *strategy;    // NULL: one rank
    const Recipe *recipe;        // NULL: no training
    struct Pipeline *pipeline;   // ir/pipeline.h; NULL: each function runs once, as a whole
    Storage *storage;            // set by the memory pass
    struct Recompute *recompute; // passes/recompute.h; NULL: the strategy says it all
    bool probe;                  // train also outputs what its contractions made (pass probe)
    bool perturb;                // train rounds to 16 bits at random, by the input "perturb" (pass perturb)
    bool keep_gradients;         // train also outputs "grad.NAME" of every parameter (tgf verify, tests)
};

Unit *unit_new(Arena *arena, Arena *scratch, StrTable *strs, Diag *diag, Str name);
Func *unit_func(const Unit *u, const char *name); // NULL if absent
Func *unit_add_func(Unit *u, const char *name);
Axis *unit_axis(const Unit *u, Str name); // NULL if absent
Axis *unit_add_axis(Unit *u, Str name, int64_t extent, Loc loc);

// Makes a node, not yet in any block, with nresults results whose types are zero.
Node *node_new(Func *f, OpKind op, Value *const *args, int nargs, int nresults, const Attr *attr, Loc loc);
void node_append(Block *b, Node *n);
void node_insert_before(Node *at, Node *n);
void node_insert_after(Node *at, Node *n);
void node_remove(Node *n); // unlinks; its values must have no users left
Block *block_new(Func *f, Node *owner);
Value *block_add_param(Block *b, const Type *type, Str name);
Node *block_yield(const Block *b);                        // the terminator of a body
void value_replace_uses(Func *f, Value *from, Value *to); // everywhere in f, bodies included
void value_replace_uses_after(Node *after, Value *from,
                              Value *to); // only in nodes behind `after` in its block (and their bodies)
// Copies a node into the insertion point with its operands mapped through map[old id] (NULL entry: same value), bodies
// too.
Node *node_clone(Func *to, Block *into, const Node *n, Value **map);
Func *func_clone(Unit *u, const Func *f, const char *name);
int func_count_uses(const Func *f, int *out_uses); // uses per value id (array of f->next_id zeroed ints); returns total

// for (Node *n = b->first; n; n = n->next), safe against removal of n.
#define FOR_NODES(n, b) for (Node *n = (b)->first, *n##_next; n && (n##_next = n->next, 1); n = n##_next)

// The axis name of repeat is attr.axes.at[0]. Arguments: attr.i carries, then attr.j stacked values (first dimension is
// the axis), then invariants. Body parameters: iteration i32[], carries, slices without the axis, invariants. The body
// yields carries, then values that are stacked: results are final carries, then stacked values with the axis first.
// attr.flag: iterations run from the last to the first (slices and stacking are still by iteration index).
// Also yields `inner`, a value of the repeat's body, stacked along the axis; returns the new last result. inner's rank
// < RANK_MAX.
Value *repeat_stack(Node *repeat, Value *inner);
static inline int repeat_carries(const Node *n) { return (int)n->attr.i; }
static inline int repeat_stacked(const Node *n) { return (int)n->attr.j; }
