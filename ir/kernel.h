// SPDX-License-Identifier: Apache-2.0
// kernel: loop nests. An op's body builds this; cpu_llvm renders it through the LLVM C API, cuda_text as CUDA C.
// Machine-free.
//
//   y[r, w] = (x[r, w] - mean[r]) * scale[w]   with mean over w, rows in parallel:
//   kernel norm(buf x f32, buf scale f32, buf y f32)
//     parallel r in 1024
//       acc m = 0 (sum)
//       vector w in 768:  m += x[r*768 + w]
//       vector w in 768:  y[r*768 + w] = (x[r*768 + w] - m/768) * scale[w]
#pragma once
#include "base/vec.h"
#include "ir/dtype.h"
#include <stdint.h>

typedef enum KOp {
    K_CONST,  // f (floats) or i (i32, bool)
    K_VAR,    // loop variable `var`, as i32
    K_SCALAR, // run-time integer argument number `i`, as i32 (K_SCALAR values fit in 32 bits; see KScalar)
    K_LOAD,   // buf[index]
    K_ACC,    // the final value of accumulator `var`, behind its loop
    K_ADD,
    K_SUB,
    K_MUL,
    K_DIV,
    K_MIN,
    K_MAX,
    K_NEG,
    K_ABS,
    K_SQRT,
    K_FLOOR,
    K_FMA, // FMA: a*b+c, one rounding
    K_EQ,
    K_NE,
    K_LT,
    K_LE,
    K_AND,
    K_OR,
    K_NOT,
    K_SELECT,
    K_CAST,    // between element types (float to i32 truncates)
    K_BITCAST, // i32 <-> f32
    K_SHL,
    K_SHR,
    K_XOR,
    K_IAND,  // i32, logical shifts
    K_MULHI, // i32: high half of the unsigned 64-bit product
    K_OP_COUNT
} KOp;

typedef struct KExpr KExpr;

// An element address: base + sum of stride * variable + sum of stride * expression (i32 expressions: gathers), in
// elements.
typedef struct KIndex {
    int64_t base;
    int nvars, ndyn;
    struct {
        int var;
        int64_t stride;
    } vars[12];
    struct {
        KExpr *at;
        int64_t stride;
    } dyn[4];
} KIndex;

struct KExpr { // immutable; equal expressions of one kernel are one object (hash-consed)
    KOp op;
    DType type; // DT_F32, DT_I32, DT_BOOL (DT_F64 where a reduction asks for it; BF16, F16 only in loads, stores and
                // casts)
    int nargs;
    KExpr *args[3];
    double f;
    int64_t i; // K_CONST of integers, K_SCALAR's number
    int buf;   // K_LOAD
    int var;   // K_VAR, K_ACC
    KIndex index;
    int id; // unique in the kernel
};

typedef enum KLoopKind {
    KLOOP_PARALLEL, // iterations are tasks, in any order on any thread; outermost only, several nest and collapse into
                    // one range (a GPU's may also stand side by side: the pieces of a range)
    KLOOP_SERIAL,
    KLOOP_VECTOR, // iterations run in lanes; stride-1 loads and stores become vector ones; the tail is masked
} KLoopKind;

typedef enum KReduce { KREDUCE_SUM, KREDUCE_MAX } KReduce;

typedef struct KStmt KStmt;
typedef struct KBody {
    Vec(KStmt *) stmts;
} KBody;

struct KStmt {
    enum { KSTMT_LOOP, KSTMT_STORE, KSTMT_ACC, KSTMT_UPDATE } kind;
    int var;        // LOOP: its variable. ACC, UPDATE: the accumulator
    KLoopKind loop; // LOOP
    int64_t extent; // LOOP
    int chunk_var;  // LOOP: -1, or the loop is a part of a longer one: it stops where chunk_var * extent + var reaches
    int64_t total;  // total. The address terms of both variables are the builder's business.
    KBody body;     // LOOP
    int buf;        // STORE
    KIndex index;   // STORE
    KExpr *value;   // STORE, UPDATE
    KReduce reduce; // ACC: declared in front of the loops that update it; starts at 0 or -inf
};

typedef struct KBuf {
    DType type;
    bool written;
} KBuf;

// Order of effects: of neighbouring stores and updates in a body (no loop between), all values are computed before any
// of them takes effect, in every lane; so a kernel may write over what it reads at the same place.

typedef struct Kernel {
    Arena *arena;
    const char *name; // a C identifier
    Vec(KBuf) bufs;
    int nscalars, nvars, naccs, nexprs;
    KBody body;
    int64_t tasks;      // product of the parallel extents (1 without)
    struct KCons *cons; // the hash-consing table
} Kernel;

Kernel *kernel_new(Arena *a, const char *name);
int kernel_buf(Kernel *k, DType type, bool written);
int kernel_var(Kernel *k);
int kernel_acc(Kernel *k);
// In each term a variable or expression occurs once; terms of equal variables are added, constants go to the base.
void kindex_add_var(KIndex *x, int var, int64_t stride);
void kindex_add_expr(Kernel *k, KIndex *x, KExpr *at, int64_t stride); // at: i32
void kindex_add(Kernel *k, KIndex *x, const KIndex *y, int64_t scale); // x += scale * y
KStmt *kbody_loop(Kernel *k, KBody *into, KLoopKind kind, int var, int64_t extent);
// A loop over chunk places of a longer one of `total`, the chunk's number being the value of chunk_var.
KStmt *kbody_chunk(Kernel *k, KBody *into, KLoopKind kind, int var, int64_t chunk, int chunk_var, int64_t total);
void kbody_store(Kernel *k, KBody *into, int buf, KIndex index, KExpr *value);
void kbody_acc(Kernel *k, KBody *into, int acc, KReduce reduce);
void kbody_update(Kernel *k, KBody *into, int acc, KExpr *value);
void kernel_print(const Kernel *k, void *file); // FILE *

// What those who render a kernel ask of it (ir/kernel_query.c).
bool kindex_equal(const KIndex *a, const KIndex *b);
int64_t kindex_stride(const KIndex *x, int var); // 0: the address does not move with it
const KExpr *kexpr_bare(const KExpr *x);         // without casts
bool kbody_updates(const KBody *body, int acc);  // also in loops
bool kstmt_is_effect(const KStmt *s);            // a store or an update
// Behind the last statement that takes effect together with the effect at `from`.
int kbody_effects_end(const KBody *body, int from);
bool kbody_updates_behind(const KBody *body, int at, int acc); // in a statement behind `at`

// Expressions fold constants and simplify identities that are exact in IEEE arithmetic.
KExpr *kb_const(Kernel *k, DType type, double value);
KExpr *kb_var(Kernel *k, int var);
KExpr *kb_scalar(Kernel *k, int number);
KExpr *kb_load(Kernel *k, int buf, KIndex index);
KExpr *kb_acc(Kernel *k, int acc, DType type);
KExpr *kb_op(Kernel *k, KOp op, DType type, KExpr *a, KExpr *b, KExpr *c);
KExpr *kb_add(Kernel *k, KExpr *a, KExpr *b);
KExpr *kb_sub(Kernel *k, KExpr *a, KExpr *b);
KExpr *kb_mul(Kernel *k, KExpr *a, KExpr *b);
KExpr *kb_div(Kernel *k, KExpr *a, KExpr *b);
KExpr *kb_neg(Kernel *k, KExpr *a);
KExpr *kb_abs(Kernel *k, KExpr *a);
KExpr *kb_max(Kernel *k, KExpr *a, KExpr *b);
KExpr *kb_min(Kernel *k, KExpr *a, KExpr *b);
KExpr *kb_sqrt(Kernel *k, KExpr *a);
KExpr *kb_rsqrt(Kernel *k, KExpr *a);
KExpr *kb_eq(Kernel *k, KExpr *a, KExpr *b);
KExpr *kb_ne(Kernel *k, KExpr *a, KExpr *b);
KExpr *kb_lt(Kernel *k, KExpr *a, KExpr *b);
KExpr *kb_le(Kernel *k, KExpr *a, KExpr *b);
KExpr *kb_and(Kernel *k, KExpr *a, KExpr *b);
KExpr *kb_or(Kernel *k, KExpr *a, KExpr *b);
KExpr *kb_not(Kernel *k, KExpr *a);
KExpr *kb_select(Kernel *k, KExpr *a, KExpr *b, KExpr *c);
KExpr *kb_cast(Kernel *k, KExpr *a, DType to);
// Transcendentals as polynomials over the primitives (ir/kernel_math.c): f32, errors stated there, right at 0, inf,
// NaN.
KExpr *kb_exp(Kernel *k, KExpr *a);
KExpr *kb_log(Kernel *k, KExpr *a);
KExpr *kb_tanh(Kernel *k, KExpr *a);
KExpr *kb_sigmoid(Kernel *k, KExpr *a);
KExpr *kb_softplus(Kernel *k, KExpr *a);
KExpr *kb_erf(Kernel *k, KExpr *a);
KExpr *kb_sin(Kernel *k, KExpr *a);
KExpr *kb_cos(Kernel *k, KExpr *a);
KExpr *kb_pow(Kernel *k, KExpr *a, KExpr *b);
// One draw of ir/random.h: element low and high words, the stream, four keys (all i32). law 0 uniform, 1 normal. Result
// f32.
KExpr *kb_random(Kernel *k, int law, KExpr *lo, KExpr *hi, int64_t stream, KExpr *const keys[4]);
