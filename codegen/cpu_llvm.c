// SPDX-License-Identifier: Apache-2.0
// cpu_llvm: see cpu_llvm.h.
//
// A value is made once in the region where it is needed and remembered until that region ends (the undo log). When a
// loop is entered, what its body needs and does not depend on it is made in front. Within a vector loop a value that
// depends on the lanes has one vector for each of the `copies` by which the loop is unrolled; others stay scalars.
#include "codegen/cpu_llvm.h"
#include <assert.h>
#include <string.h>

enum { COPIES_MAX = 4 };

typedef struct Acc {
    bool is_open, is_lane, is_final; // is_lane: one per lane of an enclosing vector loop
    KReduce reduce;
    DType type;
    int copies;           // 0: a scalar
    Val var[COPIES_MAX];  // while open
    Val done[COPIES_MAX]; // behind its loop
} Acc;

typedef struct Emit {
    Arena *arena;
    Irb *b;
    const Kernel *k;
    Val *buf, *scalar; // scalar: i32
    Val *var;          // value of each bound loop variable, i64; of a vector variable: of the first lane of copy 0
    bool *is_vector;   // the variable is a vector loop's
    int8_t *varies;    // by expression: depends on lanes (-1: not yet known)
    int *uses;         // by expression
    int *stamp, stamp_now;
    bool *ready; // by expression, for the stamp: could be made now
    Val (*memo)[COPIES_MAX];
    int *log; // expressions made, in order
    int nlog;
    Acc *acc;
    int vector_var, copies; // the vector loop being filled, -1: none
    Val mask;               // of the last copy, or NULL
    uint64_t written_mask;  // buffers the entered loop writes (bit 63: some buffer beyond)
} Emit;

static int lanes(const Emit *e) { return e->b->lanes; }

static Ty element_type(const Irb *b, DType t) {
    switch (t) {
    case DT_BOOL: return b->i1;
    case DT_I32: return b->i32;
    case DT_F32: return b->f32;
    case DT_F64: return b->f64;
    case DT_BF16:
    case DT_F16: return b->i16; // loaded, stored and cast only
    case DT_COUNT: break;
    }
    assert(!"dtype");
    return NULL;
}
static Ty memory_type(const Irb *b, DType t) { return t == DT_BOOL ? b->i8 : element_type(b, t); }

// ---- what depends on what

static bool expr_varies(Emit *e, const KExpr *x);
static bool index_varies(Emit *e, const KIndex *x) {
    for (int i = 0; i < x->nvars; i++)
        if (e->is_vector[x->vars[i].var]) return true;
    for (int i = 0; i < x->ndyn; i++)
        if (expr_varies(e, x->dyn[i].at)) return true;
    return false;
}
static bool expr_varies(Emit *e, const KExpr *x) {
    int8_t *known = &e->varies[x->id];
    if (*known >= 0) return *known;
    bool varies = (x->op == K_VAR && e->is_vector[x->var]) || (x->op == K_ACC && e->acc[x->var].is_lane) ||
                  (x->op == K_LOAD && index_varies(e, &x->index));
    for (int i = 0; i < x->nargs; i++) varies |= expr_varies(e, x->args[i]);
    *known = varies;
    return varies;
}

static void count_expr(Emit *e, const KExpr *x) {
    if (e->uses[x->id]++) return;
    for (int i = 0; i < x->nargs; i++) count_expr(e, x->args[i]);
    if (x->op == K_LOAD)
        for (int i = 0; i < x->index.ndyn; i++) count_expr(e, x->index.dyn[i].at);
}

static void survey(Emit *e, const KBody *body, bool in_vector) {
    for (int i = 0; i < body->stmts.n; i++) {
        const KStmt *s = body->stmts.at[i];
        if (s->value) count_expr(e, s->value);
        if (s->kind == KSTMT_STORE)
            for (int j = 0; j < s->index.ndyn; j++) count_expr(e, s->index.dyn[j].at);
        if (s->kind == KSTMT_ACC) {
            e->acc[s->var].is_lane = in_vector;
            e->acc[s->var].reduce = s->reduce;
        }
        if (s->kind == KSTMT_UPDATE) e->acc[s->var].type = s->value->type;
        if (s->kind == KSTMT_LOOP) {
            bool is_vector = s->loop == KLOOP_VECTOR;
            assert(!(is_vector && in_vector) && "vector loops do not nest");
            e->is_vector[s->var] = is_vector;
            survey(e, &s->body, in_vector || is_vector);
        }
    }
}

static uint64_t buf_bit(int buf) { return UINT64_C(1) << (buf < 63 ? buf : 63); }
static uint64_t body_writes(const KBody *body) {
    uint64_t mask = 0;
    for (int i = 0; i < body->stmts.n; i++) {
        const KStmt *s = body->stmts.at[i];
        if (s->kind == KSTMT_STORE) mask |= buf_bit(s->buf);
        if (s->kind == KSTMT_LOOP) mask |= body_writes(&s->body);
    }
    return mask;
}

// ---- expressions

static void remember(Emit *e, const KExpr *x) { e->log[e->nlog++] = x->id; }
static void forget(Emit *e, int from) {
    while (e->nlog > from) memset(e->memo[e->log[--e->nlog]], 0, sizeof *e->memo);
}

static Val value_of(Emit *e, const KExpr *x, int copy);

// Elements from the buffer's start to lane 0 of the copy: the part that is the same in all lanes. lane_part: the rest,
// i32 or i64 lanes, NULL when lanes are neighbours or (no_lanes) the address is one.
static Val address(Emit *e, const KIndex *x, int copy, Val *out_lanes, bool *out_no_lanes) {
    Irb *b = e->b;
    Val sum = irb_int(b, x->base), spread = NULL;
    bool is_unit = false;
    *out_no_lanes = true;
    for (int i = 0; i < x->nvars; i++) {
        int var = x->vars[i].var;
        int64_t stride = x->vars[i].stride;
        Val at = e->var[var];
        assert(at && "an address names a variable whose loop is not open");
        if (var == e->vector_var) {
            *out_no_lanes = false;
            if (stride == 1) is_unit = true;
            else spread = irb_muli(b, irb_iota(b, b->i64, lanes(e)), stride);
            at = irb_addi(b, at, (int64_t)copy * lanes(e));
        }
        sum = irb_add(b, sum, irb_muli(b, at, stride));
    }
    for (int i = 0; i < x->ndyn; i++) {
        const KExpr *d = x->dyn[i].at;
        Val at = irb_muli(b, irb_cast(b, value_of(e, d, copy), b->i64), x->dyn[i].stride);
        if (expr_varies(e, d)) {
            *out_no_lanes = false;
            spread = spread ? irb_add(b, spread, at) : at;
        } else {
            sum = irb_add(b, sum, at);
        }
    }
    if (is_unit && spread) spread = irb_add(b, spread, irb_iota(b, b->i64, lanes(e)));
    *out_lanes = spread;
    return sum;
}

static Val copy_mask(const Emit *e, int copy) { return copy == e->copies - 1 ? e->mask : NULL; }

static Val gather_call(Emit *e, const char *name, Ty vector, Val data, Val pointer, Ty element, Val spread, int copy) {
    Irb *b = e->b;
    Val pointers = LLVMBuildGEP2(b->builder, element, pointer, &spread, 1, "");
    Ty over[] = {vector, LLVMTypeOf(pointers)};
    Val f = LLVMGetIntrinsicDeclaration(b->module, LLVMLookupIntrinsicID(name, strlen(name)), over, 2);
    Val mask = copy_mask(e, copy);
    if (!mask) mask = irb_const_int(b, irb_vec(b, b->i1, lanes(e)), 1);
    int64_t bytes = element == b->i8 ? 1 : element == b->f64 ? 8 : element == b->i16 ? 2 : 4;
    Val align = irb_const_int(b, b->i32, bytes);
    Val load[] = {pointers, align, mask, LLVMConstNull(vector)}, store[] = {data, pointers, align, mask};
    return irb_call(b, f, 4, data ? store : load);
}

static Val load_value(Emit *e, const KExpr *x, int copy) {
    Irb *b = e->b;
    Ty memory = memory_type(b, x->type);
    Val spread;
    bool is_one;
    Val at = irb_index(b, e->buf[x->buf], memory, address(e, &x->index, copy, &spread, &is_one)), v;
    if (is_one) {
        v = irb_load(b, memory, at);
    } else {
        Ty vector = irb_vec(b, memory, lanes(e));
        Val mask = copy_mask(e, copy);
        if (spread) v = gather_call(e, "llvm.masked.gather", vector, NULL, at, memory, spread, copy);
        else v = mask ? irb_load_masked(b, vector, at, mask, NULL) : irb_load(b, vector, at);
    }
    return x->type == DT_BOOL ? irb_cmp(b, IRB_NE, v, irb_const_int(b, LLVMTypeOf(v), 0)) : v;
}

static void store_value(Emit *e, const KStmt *s, int copy, Val v) {
    Irb *b = e->b;
    DType type = e->k->bufs.at[s->buf].type;
    Ty memory = memory_type(b, type);
    if (type == DT_BOOL) v = irb_cast(b, v, b->i8);
    Val spread;
    bool is_one;
    Val at = irb_index(b, e->buf[s->buf], memory, address(e, &s->index, copy, &spread, &is_one));
    if (is_one) {
        assert(!irb_is_vec(v) && "lanes store to one place");
        irb_store(b, v, at);
        return;
    }
    if (!irb_is_vec(v)) v = irb_splat(b, v, lanes(e));
    Val mask = copy_mask(e, copy);
    if (spread) gather_call(e, "llvm.masked.scatter", LLVMTypeOf(v), v, at, memory, spread, copy);
    else if (mask) irb_store_masked(b, v, at, mask);
    else irb_store(b, v, at);
}

static bool is_product(const Emit *e, const KExpr *x) {
    return x->op == K_MUL && dtype_is_float(x->type) && e->uses[x->id] == 1 && !e->memo[x->id][0];
}

// x*y+z as one instruction where the product has no other use.
static Val sum_value(Emit *e, const KExpr *x, int copy) {
    Irb *b = e->b;
    bool is_minus = x->op == K_SUB;
    for (int i = 1; dtype_is_float(x->type) && b->target->has_fma && i >= 0; i--) {
        const KExpr *p = x->args[i], *q = x->args[1 - i];
        if (!is_product(e, p) || (expr_varies(e, x) && !expr_varies(e, p))) continue;
        Val m = value_of(e, p->args[0], copy), n = value_of(e, p->args[1], copy), a = value_of(e, q, copy);
        if (is_minus && i == 1) m = irb_neg(b, m);
        if (is_minus && i == 0) a = irb_neg(b, a);
        return irb_fma(b, m, n, a);
    }
    Val m = value_of(e, x->args[0], copy), n = value_of(e, x->args[1], copy);
    return is_minus ? irb_sub(b, m, n) : irb_add(b, m, n);
}

// One rounding also where the target has no such instruction: the product of two f32 is exact in f64.
static Val fma_value(Irb *b, DType type, Val x, Val y, Val z) {
    if (b->target->has_fma || type != DT_F32) return irb_fma(b, x, y, z);
    Val p = irb_mul(b, irb_cast(b, x, b->f64), irb_cast(b, y, b->f64));
    return irb_cast(b, irb_add(b, p, irb_cast(b, z, b->f64)), b->f32);
}

static Val high_product(Irb *b, Val x, Val y) {
    if (irb_is_vec(x) && !irb_is_vec(y)) y = irb_splat(b, y, irb_lanes_of(x));
    if (irb_is_vec(y) && !irb_is_vec(x)) x = irb_splat(b, x, irb_lanes_of(y));
    Ty wide = irb_like(b, x, b->i64), narrow = LLVMTypeOf(x);
    Val p =
        LLVMBuildMul(b->builder, LLVMBuildZExt(b->builder, x, wide, ""), LLVMBuildZExt(b->builder, y, wide, ""), "");
    return LLVMBuildTrunc(b->builder, irb_shr(b, p, irb_const_int(b, wide, 32)), narrow, "");
}

static Real real_kind(DType t) { return t == DT_BF16 ? REAL_BF16 : t == DT_F16 ? REAL_F16 : REAL_F32; }

static Val cast_value(Irb *b, Val x, DType from, DType to) {
    if (dtype_is_half(from)) x = irb_widen(b, x, real_kind(from));
    if (dtype_is_half(to)) return irb_narrow(b, irb_cast(b, x, b->f32), real_kind(to));
    return irb_cast(b, x, element_type(b, to));
}

static Val make_value(Emit *e, const KExpr *x, int copy) {
    Irb *b = e->b;
    Val a[3] = {0};
    if (x->op != K_ADD && x->op != K_SUB)
        for (int i = 0; i < x->nargs; i++) a[i] = value_of(e, x->args[i], copy);
    switch (x->op) {
    case K_CONST: {
        Ty type = element_type(b, x->type);
        return dtype_is_float(x->type) ? irb_const_real(b, type, x->f) : irb_const_int(b, type, x->i);
    }
    case K_VAR: {
        Val v = irb_cast(b, e->var[x->var], b->i32);
        if (x->var != e->vector_var) return v;
        return irb_add(b, irb_addi(b, v, (int64_t)copy * lanes(e)), irb_iota(b, b->i32, lanes(e)));
    }
    case K_SCALAR: return e->scalar[x->i];
    case K_LOAD: return load_value(e, x, copy);
    case K_ACC: {
        Acc *acc = &e->acc[x->var];
        assert(acc->is_final && "an accumulator is read before its loop");
        return acc->done[acc->is_lane ? copy : 0];
    }
    case K_ADD:
    case K_SUB: return sum_value(e, x, copy);
    case K_MUL: return irb_mul(b, a[0], a[1]);
    case K_DIV: return irb_div(b, a[0], a[1]);
    case K_MIN: return irb_min(b, a[0], a[1]);
    case K_MAX: return irb_max(b, a[0], a[1]);
    case K_NEG: return irb_neg(b, a[0]);
    case K_ABS: return irb_abs(b, a[0]);
    case K_SQRT: return irb_unary(b, "sqrt", a[0]);
    case K_FLOOR: return irb_unary(b, "floor", a[0]);
    case K_FMA: return fma_value(b, x->type, a[0], a[1], a[2]);
    case K_EQ: return irb_cmp(b, IRB_EQ, a[0], a[1]);
    case K_NE: return irb_cmp(b, IRB_NE, a[0], a[1]);
    case K_LT: return irb_cmp(b, IRB_LT, a[0], a[1]);
    case K_LE: return irb_cmp(b, IRB_LE, a[0], a[1]);
    case K_AND:
    case K_IAND: return irb_and(b, a[0], a[1]);
    case K_OR: return irb_or(b, a[0], a[1]);
    case K_XOR: return irb_xor(b, a[0], a[1]);
    case K_NOT: return irb_not(b, a[0]);
    case K_SELECT:
        if (irb_is_vec(a[0])) {
            if (!irb_is_vec(a[1])) a[1] = irb_splat(b, a[1], lanes(e));
            if (!irb_is_vec(a[2])) a[2] = irb_splat(b, a[2], lanes(e));
        }
        return irb_select(b, a[0], a[1], a[2]);
    case K_CAST: return cast_value(b, a[0], x->args[0]->type, x->type);
    case K_BITCAST: return irb_bits(b, a[0], irb_like(b, a[0], element_type(b, x->type)));
    case K_SHL: return irb_shl(b, a[0], a[1]);
    case K_SHR: return irb_shr(b, a[0], a[1]);
    case K_MULHI: return high_product(b, a[0], a[1]);
    case K_OP_COUNT: break;
    }
    assert(!"kernel op");
    return NULL;
}

static Val value_of(Emit *e, const KExpr *x, int copy) {
    if (!expr_varies(e, x)) copy = 0;
    Val *slot = &e->memo[x->id][copy];
    if (*slot) return *slot;
    Val v = make_value(e, x, copy);
    if (copy == 0 || !e->memo[x->id][0]) remember(e, x);
    return e->memo[x->id][copy] = v;
}

// ---- invariants: made in front of the loop about to be entered

static bool prepare_expr(Emit *e, const KExpr *x);
static void make_ready(Emit *e, const KExpr *x) {
    if (x->op == K_CONST) return;
    for (int u = 0; u < (expr_varies(e, x) ? e->copies : 1); u++) value_of(e, x, u);
}
static void prepare_root(Emit *e, const KExpr *x) {
    if (prepare_expr(e, x)) make_ready(e, x);
}
static bool index_ready(Emit *e, const KIndex *x) {
    bool ready = true;
    for (int i = 0; i < x->nvars; i++) ready &= e->var[x->vars[i].var] != NULL;
    for (int i = 0; i < x->ndyn; i++) ready &= prepare_expr(e, x->dyn[i].at);
    if (!ready)
        for (int i = 0; i < x->ndyn; i++) prepare_root(e, x->dyn[i].at);
    return ready;
}
// Whether x can be made here; if not, what of its operands can is made.
static bool prepare_expr(Emit *e, const KExpr *x) {
    if (e->memo[x->id][0]) return true;
    if (e->stamp[x->id] == e->stamp_now) return e->ready[x->id];
    e->stamp[x->id] = e->stamp_now;
    bool ready = true;
    if (x->op == K_VAR) ready = e->var[x->var] != NULL;
    if (x->op == K_ACC) ready = e->acc[x->var].is_final;
    if (x->op == K_LOAD) ready = index_ready(e, &x->index) && !(e->written_mask & buf_bit(x->buf));
    bool each[3];
    for (int i = 0; i < x->nargs; i++) {
        each[i] = prepare_expr(e, x->args[i]);
        ready &= each[i];
    }
    if (!ready)
        for (int i = 0; i < x->nargs; i++)
            if (each[i]) make_ready(e, x->args[i]);
    return e->ready[x->id] = ready;
}

static void prepare_body(Emit *e, const KBody *body) {
    for (int i = 0; i < body->stmts.n; i++) {
        const KStmt *s = body->stmts.at[i];
        if (s->value) prepare_root(e, s->value);
        if (s->kind == KSTMT_STORE) index_ready(e, &s->index);
        if (s->kind == KSTMT_LOOP) prepare_body(e, &s->body);
    }
}
static void prepare(Emit *e, const KBody *body) {
    e->stamp_now++;
    e->written_mask = body_writes(body);
    prepare_body(e, body);
}

// ---- accumulators

static Val acc_start(Emit *e, const Acc *acc, bool is_vector) {
    Irb *b = e->b;
    Ty type = element_type(b, acc->type);
    if (is_vector) type = irb_vec(b, type, lanes(e));
    if (acc->reduce == KREDUCE_SUM) return LLVMConstNull(type);
    return dtype_is_float(acc->type) ? irb_const_real(b, type, -__builtin_inf()) : irb_const_int(b, type, INT32_MIN);
}

// The number of vectors the accumulator is spread over: the copies of the vector loops below that update it.
static int loop_copies(Emit *e, const KStmt *loop);
static int acc_copies(Emit *e, const KBody *body, int acc, int inside) {
    int copies = 0;
    for (int i = 0; i < body->stmts.n; i++) {
        const KStmt *s = body->stmts.at[i];
        int found = 0;
        if (s->kind == KSTMT_UPDATE && s->var == acc) found = inside;
        if (s->kind == KSTMT_LOOP)
            found = acc_copies(e, &s->body, acc, s->loop == KLOOP_VECTOR ? loop_copies(e, s) : inside);
        if (found > copies) copies = found;
    }
    return copies;
}
static void acc_open(Emit *e, const KBody *body, int number) {
    Acc *acc = &e->acc[number];
    acc->copies = acc->is_lane ? e->copies : acc_copies(e, body, number, 0);
    for (int i = 0; i < (acc->copies ? acc->copies : 1); i++) {
        Val start = acc_start(e, acc, acc->copies > 0);
        acc->var[i] = irb_var(e->b, LLVMTypeOf(start), start);
    }
    acc->is_open = true;
    acc->is_final = false;
}

static Val combine(Emit *e, const Acc *acc, Val x, Val y) {
    return acc->reduce == KREDUCE_SUM ? irb_add(e->b, x, y) : irb_max(e->b, y, x);
}

// Copies are combined by halves, then lanes.
static void acc_close(Emit *e, int number) {
    Acc *acc = &e->acc[number];
    acc->is_final = true;
    acc->is_open = false;
    for (int i = 0; i < (acc->copies ? acc->copies : 1); i++) acc->done[i] = irb_get(e->b, acc->var[i]);
    if (acc->is_lane || !acc->copies) return;
    int n = acc->copies;
    for (; n > 1; n = (n + 1) / 2)
        for (int i = 0; i < n / 2; i++) acc->done[i] = combine(e, acc, acc->done[i], acc->done[(n + 1) / 2 + i]);
    acc->done[0] = acc->reduce == KREDUCE_SUM ? irb_sum(e->b, acc->done[0]) : irb_max_lane(e->b, acc->done[0]);
}

static void update_acc(Emit *e, Acc *acc, const KExpr *x, int copy) {
    Irb *b = e->b;
    bool in_lanes = acc->copies > 0 && e->vector_var >= 0;
    Val var = acc->var[in_lanes ? copy : 0], all = irb_get(b, var), old = all, new;
    if (acc->copies && !in_lanes) old = irb_lane(b, all, 0); // one place beside loops over lanes
    if (acc->reduce == KREDUCE_SUM && b->target->has_fma && is_product(e, x))
        new = irb_fma(b, value_of(e, x->args[0], copy), value_of(e, x->args[1], copy), old);
    else new = combine(e, acc, old, value_of(e, x, copy));
    Val mask = in_lanes ? copy_mask(e, copy) : NULL;
    if (mask) new = irb_select(b, mask, new, old);
    if (acc->copies && !in_lanes) new = irb_set_lane(b, all, 0, new);
    irb_set(b, var, new);
}

// ---- statements

static void emit_body(Emit *e, const KBody *body);

// Neighbouring stores and updates: all values first, then the effects.
static void emit_effects(Emit *e, const KBody *body, int from, int to) {
    int copies = e->vector_var >= 0 ? e->copies : 1, mark = e->nlog;
    Val(*value)[COPIES_MAX] = arena_alloc(e->arena, sizeof *value * (size_t)(to - from));
    for (int u = 0; u < copies; u++)
        for (int i = from; i < to; i++) {
            const KStmt *s = body->stmts.at[i];
            if (s->kind == KSTMT_STORE) {
                value[i - from][u] = value_of(e, s->value, u);
                continue;
            }
            update_acc(e, &e->acc[s->var], s->value, u);
        }
    for (int u = 0; u < copies; u++)
        for (int i = from; i < to; i++)
            if (body->stmts.at[i]->kind == KSTMT_STORE) store_value(e, body->stmts.at[i], u, value[i - from][u]);
    // Loads of what was written are made again.
    bool stores = false;
    for (int i = from; i < to; i++) stores |= body->stmts.at[i]->kind == KSTMT_STORE;
    if (stores && to < body->stmts.n) forget(e, mark);
}

static int count_varying(Emit *e, const KExpr *x) {
    if (e->stamp[x->id] == e->stamp_now || !expr_varies(e, x)) return 0;
    e->stamp[x->id] = e->stamp_now;
    int n = 1;
    for (int i = 0; i < x->nargs; i++) n += count_varying(e, x->args[i]);
    return n;
}
static int body_weight(Emit *e, const KBody *body) {
    int n = 0;
    for (int i = 0; i < body->stmts.n; i++) {
        const KStmt *s = body->stmts.at[i];
        if (s->value) n += 1 + count_varying(e, s->value);
        if (s->kind == KSTMT_LOOP) n += body_weight(e, &s->body);
    }
    return n;
}
// The work of a body decides how many copies of it are worth their registers and code.
static int loop_copies(Emit *e, const KStmt *loop) {
    e->stamp_now++;
    int weight = body_weight(e, &loop->body), copies = weight <= 12 ? 4 : weight <= 70 ? 2 : 1;
    int64_t vectors = (loop->extent + lanes(e) - 1) / lanes(e);
    while (copies > 1 && vectors < copies) copies /= 2;
    return copies;
}

// The body once for `copies` vectors from place `at` of the vector loop.
static void emit_lanes(Emit *e, const KStmt *s, Val at, int copies, Val mask) {
    int mark = e->nlog;
    e->var[s->var] = at;
    e->vector_var = s->var;
    e->copies = copies;
    e->mask = mask;
    emit_body(e, &s->body);
    e->var[s->var] = NULL;
    e->vector_var = -1;
    e->mask = NULL;
    forget(e, mark);
}

static void emit_vector(Emit *e, const KStmt *s) {
    Irb *b = e->b;
    int copies = loop_copies(e, s);
    int64_t step = (int64_t)copies * lanes(e);
    if (s->chunk_var >= 0) { // only the last chunk is short
        Val left = irb_sub(b, irb_int(b, s->total), irb_muli(b, e->var[s->chunk_var], s->extent));
        IrbIf is_short = irb_if(b, irb_cmp(b, IRB_LT, left, irb_int(b, s->extent)));
        int mark = e->nlog;
        IrbLoop loop = irb_loop(b, irb_int(b, 0), left, irb_int(b, lanes(e)));
        emit_lanes(e, s, loop.index, 1, irb_mask_first(b, irb_sub(b, left, loop.index), lanes(e)));
        irb_loop_end(b, &loop);
        forget(e, mark);
        irb_else(b, &is_short);
        KStmt whole = *s;
        whole.chunk_var = -1;
        emit_vector(e, &whole);
        irb_if_end(b, &is_short);
        return;
    }
    int64_t main = s->extent / step * step;
    if (main > step) {
        IrbLoop loop = irb_loop_const(b, 0, main, step);
        emit_lanes(e, s, loop.index, copies, NULL);
        irb_loop_end(b, &loop);
    } else if (main) {
        emit_lanes(e, s, irb_int(b, 0), copies, NULL);
    }
    int64_t rest = s->extent - main;
    if (rest) {
        int count = (int)((rest + lanes(e) - 1) / lanes(e));
        int64_t last = rest - (int64_t)(count - 1) * lanes(e);
        Val mask = last < lanes(e) ? irb_mask_first(b, irb_int(b, last), lanes(e)) : NULL;
        emit_lanes(e, s, irb_int(b, main), count, mask);
    }
}

static void emit_loop(Emit *e, const KStmt *s) {
    Irb *b = e->b;
    int mark = e->nlog;
    prepare(e, &s->body);
    if (s->loop == KLOOP_VECTOR) {
        emit_vector(e, s);
    } else {
        assert(s->loop == KLOOP_SERIAL && "parallel loops stand outermost");
        Val to = irb_int(b, s->extent);
        if (s->chunk_var >= 0)
            to = irb_min(b, to, irb_sub(b, irb_int(b, s->total), irb_muli(b, e->var[s->chunk_var], s->extent)));
        IrbLoop loop = irb_loop(b, irb_int(b, 0), to, irb_int(b, 1));
        e->var[s->var] = loop.index;
        int inside = e->nlog;
        emit_body(e, &s->body);
        forget(e, inside);
        e->var[s->var] = NULL;
        irb_loop_end(b, &loop);
    }
    forget(e, mark);
}

static void emit_body(Emit *e, const KBody *body) {
    int n = body->stmts.n;
    for (int i = 0; i < n; i++) {
        const KStmt *s = body->stmts.at[i];
        if (s->kind == KSTMT_ACC) {
            acc_open(e, body, s->var);
        } else if (kstmt_is_effect(s)) {
            int to = kbody_effects_end(body, i);
            emit_effects(e, body, i, to);
            i = to - 1;
        } else {
            emit_loop(e, s);
        }
        // An accumulator is final behind the last statement here that updates it.
        for (int j = 0; j < n; j++) {
            const KStmt *a = body->stmts.at[j];
            if (a->kind != KSTMT_ACC || j > i || !e->acc[a->var].is_open) continue;
            if (!kbody_updates_behind(body, i, a->var)) acc_close(e, a->var);
        }
    }
    for (int j = 0; j < n; j++)
        if (body->stmts.at[j]->kind == KSTMT_ACC) e->acc[body->stmts.at[j]->var].is_final = false;
}

// Parallel loops nest at the top and are walked as one range of tasks.
static void emit_tasks(Emit *e, const IrbKernel *abi) {
    Irb *b = e->b;
    const KBody *body = &e->k->body;
    const KStmt *nest[16];
    int n = 0;
    while (body->stmts.n == 1 && body->stmts.at[0]->kind == KSTMT_LOOP && body->stmts.at[0]->loop == KLOOP_PARALLEL) {
        nest[n++] = body->stmts.at[0];
        assert(n < 16);
        body = &body->stmts.at[0]->body;
    }
    prepare(e, body);
    IrbLoop loop = irb_loop(b, abi->begin, abi->end, irb_int(b, 1));
    Val rest = loop.index;
    for (int i = n - 1; i >= 0; i--) {
        Val extent = irb_int(b, nest[i]->extent);
        e->var[nest[i]->var] = i ? irb_rem(b, rest, extent) : rest;
        if (i) rest = irb_div(b, rest, extent);
    }
    int mark = e->nlog;
    emit_body(e, body);
    forget(e, mark);
    irb_loop_end(b, &loop);
}

void cpu_llvm_kernel(Irb *b, const Kernel *k) {
    Arena *a = arena_new();
    int exprs = k->nexprs + 1;
    Emit e = {.arena = a, .b = b, .k = k, .vector_var = -1, .copies = 1};
    e.buf = NEW_ARRAY(a, Val, k->bufs.n + 1);
    e.scalar = NEW_ARRAY(a, Val, k->nscalars + 1);
    e.var = NEW_ARRAY(a, Val, k->nvars + 1);
    e.is_vector = NEW_ARRAY(a, bool, k->nvars + 1);
    e.varies = NEW_ARRAY(a, int8_t, exprs);
    memset(e.varies, -1, (size_t)exprs);
    e.uses = NEW_ARRAY(a, int, exprs);
    e.stamp = NEW_ARRAY(a, int, exprs);
    e.ready = NEW_ARRAY(a, bool, exprs);
    e.memo = arena_alloc(a, sizeof *e.memo * (size_t)exprs);
    e.log = NEW_ARRAY(a, int, exprs *COPIES_MAX);
    e.acc = NEW_ARRAY(a, Acc, k->naccs + 1);
    survey(&e, &k->body, false);
    IrbKernel abi = irb_kernel_begin(b, k->name);
    for (int i = 0; i < k->bufs.n; i++) e.buf[i] = irb_kernel_buf(b, &abi, i);
    for (int i = 0; i < k->nscalars; i++) e.scalar[i] = irb_cast(b, irb_kernel_scalar(b, &abi, i), b->i32);
    emit_tasks(&e, &abi);
    irb_function_end(b, NULL);
    arena_free(a);
}
