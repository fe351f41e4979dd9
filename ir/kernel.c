// SPDX-License-Identifier: Apache-2.0
// kernel: see kernel.h. Expressions are made here: hash-consed, with constants folded and only such identities applied
// as hold for every IEEE operand.
#include "ir/kernel.h"
#include <assert.h>
#include <math.h>
#include <string.h>

struct KCons {
    KExpr **slots; // open addressing, a power of two
    int cap, n;
};

Kernel *kernel_new(Arena *a, const char *name) {
    Kernel *k = NEW(a, Kernel);
    k->arena = a;
    k->name = name;
    k->tasks = 1;
    k->cons = NEW(a, struct KCons);
    k->cons->cap = 256;
    k->cons->slots = NEW_ARRAY(a, KExpr *, k->cons->cap);
    return k;
}

int kernel_buf(Kernel *k, DType type, bool written) {
    vec_push(k->arena, &k->bufs, (KBuf){type, written});
    return k->bufs.n - 1;
}
int kernel_var(Kernel *k) { return k->nvars++; }
int kernel_acc(Kernel *k) { return k->naccs++; }

// ---- addresses

void kindex_add_var(KIndex *x, int var, int64_t stride) {
    if (!stride) return;
    int at = 0;
    while (at < x->nvars && x->vars[at].var < var) at++;
    if (at < x->nvars && x->vars[at].var == var) {
        x->vars[at].stride += stride;
        if (x->vars[at].stride) return;
        memmove(&x->vars[at], &x->vars[at + 1], sizeof x->vars[0] * (size_t)(x->nvars - at - 1));
        x->nvars--;
        return;
    }
    assert(x->nvars < (int)(sizeof x->vars / sizeof x->vars[0]));
    memmove(&x->vars[at + 1], &x->vars[at], sizeof x->vars[0] * (size_t)(x->nvars - at));
    x->vars[at].var = var;
    x->vars[at].stride = stride;
    x->nvars++;
}

void kindex_add_expr(Kernel *k, KIndex *x, KExpr *e, int64_t stride) {
    if (!stride) return;
    if (e->op == K_CONST) {
        x->base += e->i * stride;
        return;
    }
    if (e->op == K_VAR) {
        kindex_add_var(x, e->var, stride);
        return;
    }
    int at = 0;
    while (at < x->ndyn && x->dyn[at].at->id < e->id) at++;
    if (at < x->ndyn && x->dyn[at].at == e) {
        x->dyn[at].stride += stride;
        if (x->dyn[at].stride) return;
        memmove(&x->dyn[at], &x->dyn[at + 1], sizeof x->dyn[0] * (size_t)(x->ndyn - at - 1));
        x->ndyn--;
        return;
    }
    if (x->ndyn == (int)(sizeof x->dyn / sizeof x->dyn[0])) { // full: two terms become one expression
        KExpr *last = x->dyn[--x->ndyn].at;
        int64_t s = x->dyn[x->ndyn].stride;
        KExpr *both = kb_add(k, kb_mul(k, last, kb_const(k, DT_I32, (double)s)),
                             kb_mul(k, e, kb_const(k, DT_I32, (double)stride)));
        kindex_add_expr(k, x, both, 1);
        return;
    }
    memmove(&x->dyn[at + 1], &x->dyn[at], sizeof x->dyn[0] * (size_t)(x->ndyn - at));
    x->dyn[at].at = e;
    x->dyn[at].stride = stride;
    x->ndyn++;
}

void kindex_add(Kernel *k, KIndex *x, const KIndex *y, int64_t scale) {
    x->base += y->base * scale;
    for (int i = 0; i < y->nvars; i++) kindex_add_var(x, y->vars[i].var, y->vars[i].stride * scale);
    for (int i = 0; i < y->ndyn; i++) kindex_add_expr(k, x, y->dyn[i].at, y->dyn[i].stride * scale);
}

// ---- statements

static KStmt *stmt_add(Kernel *k, KBody *into, int kind) {
    KStmt *s = NEW(k->arena, KStmt);
    s->kind = kind;
    s->chunk_var = -1;
    vec_push(k->arena, &into->stmts, s);
    return s;
}

KStmt *kbody_loop(Kernel *k, KBody *into, KLoopKind kind, int var, int64_t extent) {
    KStmt *s = stmt_add(k, into, KSTMT_LOOP);
    s->loop = kind;
    s->var = var;
    s->extent = extent;
    if (kind == KLOOP_PARALLEL) k->tasks *= extent;
    return s;
}

KStmt *kbody_chunk(Kernel *k, KBody *into, KLoopKind kind, int var, int64_t chunk, int chunk_var, int64_t total) {
    KStmt *s = kbody_loop(k, into, kind, var, chunk);
    if (total % chunk) {
        s->chunk_var = chunk_var;
        s->total = total;
    }
    return s;
}

void kbody_store(Kernel *k, KBody *into, int buf, KIndex index, KExpr *value) {
    KStmt *s = stmt_add(k, into, KSTMT_STORE);
    s->buf = buf;
    s->index = index;
    s->value = value;
    assert(k->bufs.at[buf].written && k->bufs.at[buf].type == value->type);
}

void kbody_acc(Kernel *k, KBody *into, int acc, KReduce reduce) {
    KStmt *s = stmt_add(k, into, KSTMT_ACC);
    s->var = acc;
    s->reduce = reduce;
}

void kbody_update(Kernel *k, KBody *into, int acc, KExpr *value) {
    KStmt *s = stmt_add(k, into, KSTMT_UPDATE);
    s->var = acc;
    s->value = value;
}

// ---- expressions

static uint64_t mix(uint64_t h, uint64_t x) {
    h ^= x;
    h *= 0x9E3779B97F4A7C15u;
    return h ^ (h >> 29);
}

static uint64_t expr_hash(const KExpr *e) {
    uint64_t h = mix((uint64_t)e->op, (uint64_t)e->type), bits;
    memcpy(&bits, &e->f, sizeof bits);
    h = mix(mix(h, bits), (uint64_t)e->i);
    h = mix(mix(h, (uint64_t)e->buf), (uint64_t)e->var);
    for (int i = 0; i < e->nargs; i++) h = mix(h, (uint64_t)e->args[i]->id);
    if (e->op == K_LOAD) {
        h = mix(h, (uint64_t)e->index.base);
        for (int i = 0; i < e->index.nvars; i++)
            h = mix(mix(h, (uint64_t)e->index.vars[i].var), (uint64_t)e->index.vars[i].stride);
        for (int i = 0; i < e->index.ndyn; i++)
            h = mix(mix(h, (uint64_t)e->index.dyn[i].at->id), (uint64_t)e->index.dyn[i].stride);
    }
    return h;
}

static bool expr_equal(const KExpr *a, const KExpr *b) {
    if (a->op != b->op || a->type != b->type || a->nargs != b->nargs || a->i != b->i || a->buf != b->buf ||
        a->var != b->var || memcmp(&a->f, &b->f, sizeof a->f))
        return false;
    for (int i = 0; i < a->nargs; i++)
        if (a->args[i] != b->args[i]) return false;
    return a->op != K_LOAD || kindex_equal(&a->index, &b->index);
}

static void cons_grow(Kernel *k) {
    struct KCons *c = k->cons;
    KExpr **old = c->slots;
    int cap = c->cap;
    c->cap *= 2;
    c->slots = NEW_ARRAY(k->arena, KExpr *, c->cap);
    for (int i = 0; i < cap; i++) {
        if (!old[i]) continue;
        uint64_t at = expr_hash(old[i]) & (uint64_t)(c->cap - 1);
        while (c->slots[at]) at = (at + 1) & (uint64_t)(c->cap - 1);
        c->slots[at] = old[i];
    }
}

static KExpr *intern(Kernel *k, const KExpr *e) {
    struct KCons *c = k->cons;
    if (c->n * 2 >= c->cap) cons_grow(k);
    uint64_t at = expr_hash(e) & (uint64_t)(c->cap - 1);
    while (c->slots[at]) {
        if (expr_equal(c->slots[at], e)) return c->slots[at];
        at = (at + 1) & (uint64_t)(c->cap - 1);
    }
    KExpr *new = arena_dup(k->arena, e, sizeof *e);
    new->id = k->nexprs++;
    c->n++;
    return c->slots[at] = new;
}

KExpr *kb_const(Kernel *k, DType type, double value) {
    KExpr e = {.op = K_CONST, .type = type};
    if (type == DT_F32) e.f = (float)value;
    else if (dtype_is_float(type)) e.f = value;
    else if (type == DT_BOOL) e.i = value != 0;
    else e.i = (int32_t)(int64_t)value;
    return intern(k, &e);
}

KExpr *kb_var(Kernel *k, int var) { return intern(k, &(KExpr){.op = K_VAR, .type = DT_I32, .var = var}); }

KExpr *kb_scalar(Kernel *k, int number) {
    if (number >= k->nscalars) k->nscalars = number + 1;
    return intern(k, &(KExpr){.op = K_SCALAR, .type = DT_I32, .i = number});
}

KExpr *kb_load(Kernel *k, int buf, KIndex index) {
    return intern(k, &(KExpr){.op = K_LOAD, .type = k->bufs.at[buf].type, .buf = buf, .index = index});
}

KExpr *kb_acc(Kernel *k, int acc, DType type) { return intern(k, &(KExpr){.op = K_ACC, .type = type, .var = acc}); }

static bool is_const(const KExpr *e) { return e && e->op == K_CONST; }
static bool is_int(const KExpr *e, int64_t i) { return is_const(e) && !dtype_is_float(e->type) && e->i == i; }
// A float constant, the sign of zero included.
static bool is_real(const KExpr *e, double f) {
    return is_const(e) && dtype_is_float(e->type) && e->f == f && signbit(e->f) == signbit(f);
}

static KExpr *fold_int(Kernel *k, KOp op, const KExpr *a, const KExpr *b) {
    uint32_t x = (uint32_t)a->i, y = b ? (uint32_t)b->i : 0, r;
    int32_t sx = (int32_t)x, sy = (int32_t)y;
    switch (op) {
    case K_ADD: r = x + y; break;
    case K_SUB: r = x - y; break;
    case K_MUL: r = x * y; break;
    case K_MIN: r = (uint32_t)(sx < sy ? sx : sy); break;
    case K_MAX: r = (uint32_t)(sx > sy ? sx : sy); break;
    case K_NEG: r = 0u - x; break;
    case K_ABS: r = sx < 0 ? 0u - x : x; break;
    case K_EQ: return kb_const(k, DT_BOOL, x == y);
    case K_NE: return kb_const(k, DT_BOOL, x != y);
    case K_LT: return kb_const(k, DT_BOOL, sx < sy);
    case K_LE: return kb_const(k, DT_BOOL, sx <= sy);
    case K_AND: return kb_const(k, DT_BOOL, x && y);
    case K_OR: return kb_const(k, DT_BOOL, x || y);
    case K_NOT: return kb_const(k, DT_BOOL, !x);
    case K_SHL:
        if (y > 31) return NULL;
        r = x << y;
        break;
    case K_SHR:
        if (y > 31) return NULL;
        r = x >> y;
        break;
    case K_XOR: r = x ^ y; break;
    case K_IAND: r = x & y; break;
    case K_MULHI: r = (uint32_t)(((uint64_t)x * y) >> 32); break;
    case K_DIV:
        if (sx < 0 || sy <= 0) return NULL;
        r = x / y;
        break;
    default: return NULL;
    }
    return kb_const(k, a->type, (double)(int32_t)r);
}

static KExpr *fold_real(Kernel *k, KOp op, DType type, const KExpr *a, const KExpr *b, const KExpr *c) {
    if (a->type != DT_F32 && a->type != DT_F64) return NULL;
    bool single = a->type == DT_F32;
    double x = a->f, y = b ? b->f : 0, r;
    switch (op) { // a double operation rounded to float is the float operation, for these
    case K_ADD: r = x + y; break;
    case K_SUB: r = x - y; break;
    case K_MUL: r = x * y; break;
    case K_DIV: r = x / y; break;
    case K_SQRT: r = sqrt(x); break;
    case K_MIN: r = x < y ? x : y; break;
    case K_MAX: r = x > y ? x : y; break;
    case K_NEG: r = -x; break;
    case K_ABS: r = fabs(x); break;
    case K_FLOOR: r = floor(x); break;
    case K_FMA: r = single ? (double)fmaf((float)x, (float)y, (float)c->f) : fma(x, y, c->f); break;
    case K_EQ: return kb_const(k, DT_BOOL, x == y);
    case K_NE: return kb_const(k, DT_BOOL, x != y);
    case K_LT: return kb_const(k, DT_BOOL, x < y);
    case K_LE: return kb_const(k, DT_BOOL, x <= y);
    default: return NULL;
    }
    return kb_const(k, type, r);
}

// A power of two whose reciprocal is exact.
static bool divides_exactly(double f) {
    int e;
    return isfinite(f) && f != 0 && fabs(frexp(f, &e)) == 0.5 && e > -120 && e < 120;
}

KExpr *kb_op(Kernel *k, KOp op, DType type, KExpr *a, KExpr *b, KExpr *c) {
    KExpr e = {.op = op, .type = type, .nargs = c ? 3 : b ? 2 : 1, .args = {a, b, c}};
    if (is_const(a) && (!b || is_const(b)) && (!c || is_const(c)) && op != K_SELECT && op != K_CAST &&
        op != K_BITCAST) {
        KExpr *folded = dtype_is_float(a->type) ? fold_real(k, op, type, a, b, c) : fold_int(k, op, a, b);
        if (folded) return folded;
    }
    switch (op) {
    case K_ADD:
        if (is_int(a, 0) || is_real(a, -0.0)) return b;
        if (is_int(b, 0) || is_real(b, -0.0)) return a;
        break;
    case K_SUB:
        if (is_int(b, 0) || is_real(b, 0.0)) return a;
        if (a == b && type == DT_I32) return kb_const(k, type, 0);
        break;
    case K_MUL:
        if (is_int(a, 0) || is_int(b, 0)) return kb_const(k, type, 0);
        if (is_int(a, 1) || is_real(a, 1)) return b;
        if (is_int(b, 1) || is_real(b, 1)) return a;
        if (is_real(a, -1)) return kb_neg(k, b);
        if (is_real(b, -1)) return kb_neg(k, a);
        break;
    case K_DIV:
        if (is_int(b, 1) || is_real(b, 1)) return a;
        if (is_const(b) && dtype_is_float(type) && divides_exactly(b->f))
            return kb_mul(k, a, kb_const(k, type, 1 / b->f));
        break;
    case K_NEG:
        if (a->op == K_NEG) return a->args[0];
        break;
    case K_NOT:
        if (a->op == K_NOT) return a->args[0];
        break;
    case K_ABS:
        if (a->op == K_ABS) return a;
        if (a->op == K_NEG && dtype_is_float(type)) return kb_abs(k, a->args[0]);
        break;
    case K_AND:
        if (is_int(a, 0) || is_int(b, 1) || a == b) return a;
        if (is_int(b, 0) || is_int(a, 1)) return b;
        break;
    case K_OR:
        if (is_int(a, 1) || is_int(b, 0) || a == b) return a;
        if (is_int(b, 1) || is_int(a, 0)) return b;
        break;
    case K_XOR:
    case K_SHL:
    case K_SHR:
        if (is_int(b, 0)) return a;
        if (op == K_XOR && is_int(a, 0)) return b;
        break;
    case K_SELECT:
        if (is_const(a)) return a->i ? b : c;
        if (b == c) return b;
        if (a->op == K_NOT) return kb_select(k, a->args[0], c, b);
        break;
    case K_CAST:
        if (a->type == type) return a;
        if (is_const(a)) {
            if (dtype_is_float(a->type) && type == DT_I32) {
                if (!(fabs(a->f) < 2147483648.0)) break;
                return kb_const(k, type, trunc(a->f));
            }
            if (type == DT_F32 || type == DT_F64 || type == DT_I32 || type == DT_BOOL)
                return kb_const(k, type, dtype_is_float(a->type) ? a->f : (double)a->i);
        }
        break;
    case K_BITCAST:
        if (a->type == type) return a;
        if (is_const(a) && type == DT_F32 && a->type == DT_I32) {
            int32_t bits = (int32_t)a->i;
            float f;
            memcpy(&f, &bits, sizeof f);
            if (!isnan(f)) return kb_const(k, type, f);
        }
        break;
    default: break;
    }
    return intern(k, &e);
}

// The order of operands that commute does not distinguish expressions.
static KExpr *commuting(Kernel *k, KOp op, DType type, KExpr *a, KExpr *b) {
    return a->id <= b->id ? kb_op(k, op, type, a, b, NULL) : kb_op(k, op, type, b, a, NULL);
}

KExpr *kb_add(Kernel *k, KExpr *a, KExpr *b) { return commuting(k, K_ADD, a->type, a, b); }
KExpr *kb_sub(Kernel *k, KExpr *a, KExpr *b) { return kb_op(k, K_SUB, a->type, a, b, NULL); }
KExpr *kb_mul(Kernel *k, KExpr *a, KExpr *b) { return commuting(k, K_MUL, a->type, a, b); }
KExpr *kb_div(Kernel *k, KExpr *a, KExpr *b) { return kb_op(k, K_DIV, a->type, a, b, NULL); }
KExpr *kb_neg(Kernel *k, KExpr *a) { return kb_op(k, K_NEG, a->type, a, NULL, NULL); }
KExpr *kb_abs(Kernel *k, KExpr *a) { return kb_op(k, K_ABS, a->type, a, NULL, NULL); }
KExpr *kb_max(Kernel *k, KExpr *a, KExpr *b) { return kb_op(k, K_MAX, a->type, a, b, NULL); }
KExpr *kb_min(Kernel *k, KExpr *a, KExpr *b) { return kb_op(k, K_MIN, a->type, a, b, NULL); }
KExpr *kb_sqrt(Kernel *k, KExpr *a) { return kb_op(k, K_SQRT, a->type, a, NULL, NULL); }
KExpr *kb_rsqrt(Kernel *k, KExpr *a) { return kb_div(k, kb_const(k, a->type, 1), kb_sqrt(k, a)); }
KExpr *kb_eq(Kernel *k, KExpr *a, KExpr *b) { return commuting(k, K_EQ, DT_BOOL, a, b); }
KExpr *kb_ne(Kernel *k, KExpr *a, KExpr *b) { return commuting(k, K_NE, DT_BOOL, a, b); }
KExpr *kb_lt(Kernel *k, KExpr *a, KExpr *b) { return kb_op(k, K_LT, DT_BOOL, a, b, NULL); }
KExpr *kb_le(Kernel *k, KExpr *a, KExpr *b) { return kb_op(k, K_LE, DT_BOOL, a, b, NULL); }
KExpr *kb_and(Kernel *k, KExpr *a, KExpr *b) { return commuting(k, K_AND, DT_BOOL, a, b); }
KExpr *kb_or(Kernel *k, KExpr *a, KExpr *b) { return commuting(k, K_OR, DT_BOOL, a, b); }
KExpr *kb_not(Kernel *k, KExpr *a) { return kb_op(k, K_NOT, DT_BOOL, a, NULL, NULL); }
KExpr *kb_select(Kernel *k, KExpr *a, KExpr *b, KExpr *c) { return kb_op(k, K_SELECT, b->type, a, b, c); }

KExpr *kb_cast(Kernel *k, KExpr *a, DType to) {
    if (to == DT_BOOL && a->type != DT_BOOL) return kb_ne(k, a, kb_const(k, a->type, 0));
    return kb_op(k, K_CAST, to, a, NULL, NULL);
}
