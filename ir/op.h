// SPDX-License-Identifier: Apache-2.0
// op: what the table says of an op, as data. The table is ops.def; this is its view for C code.
#pragma once
#include "ir/graph.h"

// How an op treats pending operands (language.md, "placement algebra").
typedef enum PendingRule {
    PENDING_NONE,     // operands must not be pending
    PENDING_UNARY,    // linear in its one tensor operand (the first): pending passes through
    PENDING_JOINT,    // linear in all operands together: all pending alike, or none
    PENDING_BILINEAR, // linear in each operand: at most one pending
    PENDING_FIRST,    // linear in the first operand only (div, take: numerator, table)
    PENDING_BRANCHES, // select: condition never, the two branches alike
    PENDING_FREE,     // structural (repeat, yield, collectives): its own function decides
} PendingRule;

typedef enum MapDomain { MAP_FLOAT, MAP_NUM, MAP_COMPARE, MAP_BOOL, MAP_SELECT, MAP_CAST, MAP_ANY } MapDomain;

enum { // which attributes an op has; print and parse follow this order
    ATTR_AXES = 1,
    ATTR_TO = 2,
    ATTR_I = 4,
    ATTR_J = 8,
    ATTR_F = 16,
    ATTR_DTYPE = 32,
    ATTR_MESH = 64,
    ATTR_FLAG = 128,
    ATTR_S = 256,
    ATTR_S2 = 512,
};
enum {                    // traits
    TRAIT_MAP = 1,        // elementwise with broadcasting by name
    TRAIT_LEAF = 2,       // result type is declared, not derived
    TRAIT_EFFECT = 4,     // never removed, never reordered against other effects (output, assign)
    TRAIT_VIEW = 8,       // moves no data: an index transformation
    TRAIT_COMM = 16,      // a collective
    TRAIT_BODY = 32,      // owns a block
    TRAIT_ZERO = 64,      // f(0) = 0 for maps: zero padding stays zero
    TRAIT_COMMUTES = 128, // f(a, b) = f(b, a)
    TRAIT_FUSES = 256,    // can stand in a fused node; every map can
};

typedef struct OpInfo {
    const char *name;
    int nargs, nresults; // -1: variable
    unsigned attrs, traits;
    PendingRule pending;
    MapDomain domain;                     // maps only
    double flops;                         // maps only: per element
    const char *key_i, *key_j, *key_flag; // keywords of attr.i, attr.j, attr.flag in text
} OpInfo;

extern const OpInfo op_table[OP_COUNT];
static inline const OpInfo *op_info(OpKind op) { return &op_table[op]; }
static inline bool op_is_fusable(OpKind op) { return op_table[op].traits & (TRAIT_MAP | TRAIT_FUSES); }
bool op_parse(const char *name, OpKind *out_op);

// Result types of an op from its operands and attributes: dims, dtype and placement. Leaf ops take their declared type
// in declared[0]. Reports a located error naming axes and returns false when the operands do not fit.
bool op_infer(Unit *u, OpKind op, Value *const *args, int nargs, const Attr *attr, const Block *body,
              const Type *declared, Loc loc, Type *out_types, int *out_count);

// How the stacked operands and results of a repeat along `axis` are split along it: over the mesh axis of stages when
// the strategy makes a pipeline of it, else not.
MeshSet repeat_split(const Unit *u, const Axis *axis);

// The optional operands of attend and attend_grad, or NULL.
static inline Value *attend_mask(const Node *n) {
    bool has = n->op == OP_attend ? n->nargs - n->attr.j == 4 : n->attr.i != 0;
    return has ? n->args[3] : NULL;
}
static inline Value *attend_last(const Node *n) { return n->attr.j ? n->args[n->nargs - 1] : NULL; }

// Work of one node on one rank: floating-point operations, and bytes read and written if nothing were fused.
typedef struct Work {
    double flops, bytes;
} Work;
Work node_work(const Unit *u, const Node *n);
