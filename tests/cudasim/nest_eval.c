// SPDX-License-Identifier: Apache-2.0
#include "nest_eval.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef union Word {
    float f; // also of 16-bit elements
    int32_t i;
    double d;
} Word;

typedef struct Run {
    const Kernel *k;
    char *const *bufs;
    const int64_t *scalars;
    int64_t *var;
    Word *value; // by expression, made at `stamp`
    int64_t *made, stamp;
    double *acc;
    KReduce *reduce; // by accumulator
} Run;

static float from_half(uint16_t x, DType t) {
    if (t == DT_BF16) {
        uint32_t b = (uint32_t)x << 16;
        float f;
        memcpy(&f, &b, 4);
        return f;
    }
    int exponent = x >> 10 & 31, fraction = x & 1023;
    float f = exponent == 31 ? (fraction ? NAN : INFINITY)
              : exponent     ? ldexpf((float)(1024 + fraction), exponent - 25)
                             : ldexpf((float)fraction, -24);
    return x & 0x8000 ? -f : f;
}

static uint16_t to_half(float f, DType t) { // to the nearest, ties to even
    uint32_t b;
    memcpy(&b, &f, 4);
    if (t == DT_BF16) return isnan(f) ? 0x7fff : (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
    uint16_t sign = (uint16_t)(b >> 16 & 0x8000);
    float a = fabsf(f);
    if (isnan(f)) return 0x7fff;
    if (a >= 65520) return sign | 0x7c00;
    if (a == 0) return sign;
    int exponent;
    frexpf(a, &exponent);
    int shift = exponent < -13 ? -24 : exponent - 11;
    int64_t steps = (int64_t)rintf(ldexpf(a, -shift));
    return sign | (uint16_t)(exponent < -13 ? steps : ((int64_t)(shift + 24) << 10) + steps);
}

static Word eval(Run *r, const KExpr *x);

static int64_t address(Run *r, const KIndex *x) {
    int64_t at = x->base;
    for (int i = 0; i < x->nvars; i++) at += x->vars[i].stride * r->var[x->vars[i].var];
    for (int i = 0; i < x->ndyn; i++) at += x->dyn[i].stride * eval(r, x->dyn[i].at).i;
    return at;
}

static Word load(const char *buf, DType t, int64_t at) {
    if (t == DT_BOOL) return (Word){.i = ((const uint8_t *)buf)[at] != 0};
    if (dtype_is_half(t)) return (Word){.f = from_half(((const uint16_t *)buf)[at], t)};
    return (Word){.i = ((const int32_t *)buf)[at]};
}
static void store(char *buf, DType t, int64_t at, Word w) {
    if (t == DT_BOOL) ((uint8_t *)buf)[at] = w.i != 0;
    else if (dtype_is_half(t)) ((uint16_t *)buf)[at] = to_half(w.f, t);
    else ((int32_t *)buf)[at] = w.i;
}

static Word of_float(float f) { return (Word){.f = f}; }
static Word of_int(int64_t i) { return (Word){.i = (int32_t)(uint32_t)i}; }

static Word cast(Word a, DType from, DType to) {
    if (to == DT_F64) return (Word){.d = from == DT_F64 ? a.d : dtype_is_float(from) ? (double)a.f : a.i};
    if (from == DT_F64) return cast(of_float((float)a.d), DT_F32, to);
    bool is_real = dtype_is_float(from);
    if (dtype_is_half(to)) return of_float(from_half(to_half(is_real ? a.f : (float)a.i, to), to));
    if (to == DT_F32) return of_float(is_real ? a.f : (float)a.i);
    return of_int(is_real ? (fabsf(a.f) < 2147483648.0f ? (int64_t)a.f : INT32_MIN) : a.i);
}

static Word operation_f64(const KExpr *x, double f, double g, double h) {
    switch (x->op) {
    case K_CONST: return (Word){.d = x->f};
    case K_ADD: return (Word){.d = f + g};
    case K_SUB: return (Word){.d = f - g};
    case K_MUL: return (Word){.d = f * g};
    case K_DIV: return (Word){.d = f / g};
    case K_MIN: return (Word){.d = f < g ? f : g};
    case K_MAX: return (Word){.d = f > g ? f : g};
    case K_NEG: return (Word){.d = -f};
    case K_FLOOR: return (Word){.d = floor(f)};
    case K_FMA: return (Word){.d = fma(f, g, h)};
    default: abort();
    }
}

static Word operation(Run *r, const KExpr *x) {
    Word a[3] = {0};
    for (int i = 0; i < x->nargs; i++) a[i] = eval(r, x->args[i]);
    if (x->type == DT_F64 && x->op != K_CAST && x->op != K_SELECT) return operation_f64(x, a[0].d, a[1].d, a[2].d);
    bool real = x->nargs && dtype_is_float(x->args[0]->type);
    uint32_t u = (uint32_t)a[0].i, v = (uint32_t)a[1].i;
    float f = a[0].f, g = a[1].f;
    switch (x->op) {
    case K_CONST: return dtype_is_float(x->type) ? of_float((float)x->f) : of_int(x->i);
    case K_VAR: return of_int(r->var[x->var]);
    case K_SCALAR: return of_int(r->scalars[x->i]);
    case K_LOAD: return load(r->bufs[x->buf], x->type, address(r, &x->index));
    case K_ACC: return x->type == DT_I32 ? of_int((int64_t)r->acc[x->var]) : of_float((float)r->acc[x->var]);
    case K_ADD: return real ? of_float(f + g) : of_int(u + v);
    case K_SUB: return real ? of_float(f - g) : of_int(u - v);
    case K_MUL: return real ? of_float(f * g) : of_int(u * v);
    case K_DIV: return real ? of_float(f / g) : of_int(a[1].i ? a[0].i / a[1].i : 0);
    case K_MIN: return real ? (f < g ? a[0] : a[1]) : a[0].i < a[1].i ? a[0] : a[1];
    case K_MAX: return real ? (f > g ? a[0] : a[1]) : a[0].i > a[1].i ? a[0] : a[1];
    case K_NEG: return real ? of_float(-f) : of_int(-u);
    case K_ABS: return real ? of_float(fabsf(f)) : of_int(a[0].i < 0 ? -u : u);
    case K_SQRT: return of_float(sqrtf(f));
    case K_FLOOR: return of_float(floorf(f));
    case K_FMA: return of_float(fmaf(f, g, a[2].f));
    case K_EQ: return of_int(real ? f == g : u == v);
    case K_NE: return of_int(real ? f != g : u != v);
    case K_LT: return of_int(real ? f < g : a[0].i < a[1].i);
    case K_LE: return of_int(real ? f <= g : a[0].i <= a[1].i);
    case K_AND:
    case K_IAND: return of_int(u & v);
    case K_OR: return of_int(u | v);
    case K_NOT: return of_int(!u);
    case K_SELECT: return u ? a[1] : a[2];
    case K_CAST: return cast(a[0], x->args[0]->type, x->type);
    case K_BITCAST: return a[0];
    case K_SHL: return of_int(u << v);
    case K_SHR: return of_int(u >> v);
    case K_XOR: return of_int(u ^ v);
    case K_MULHI: return of_int((uint64_t)u * v >> 32);
    case K_OP_COUNT: break;
    }
    abort();
}

static Word eval(Run *r, const KExpr *x) {
    if (r->made[x->id] == r->stamp) return r->value[x->id];
    r->value[x->id] = operation(r, x);
    r->made[x->id] = r->stamp;
    return r->value[x->id];
}

static bool is_effect(const KStmt *s) { return s->kind == KSTMT_STORE || s->kind == KSTMT_UPDATE; }

static void run_body(Run *r, const KBody *body);

static void run_loop(Run *r, const KStmt *s) {
    for (int64_t i = 0; i < s->extent; i++) {
        if (s->chunk_var >= 0 && r->var[s->chunk_var] * s->extent + i >= s->total) break;
        r->var[s->var] = i;
        run_body(r, &s->body);
    }
}

// Stores take effect behind the values of their neighbours; sums are updated at once.
static void run_body(Run *r, const KBody *body) {
    struct {
        const KStmt *s;
        int64_t at;
        Word w;
    } stores[32];
    int n = 0;
    for (int i = 0; i < body->stmts.n; i++) {
        const KStmt *s = body->stmts.at[i];
        r->stamp++;
        if (s->kind == KSTMT_ACC) {
            r->reduce[s->var] = s->reduce;
            r->acc[s->var] = s->reduce == KREDUCE_SUM ? 0 : -INFINITY;
        }
        if (s->kind == KSTMT_UPDATE) {
            Word w = eval(r, s->value);
            double x = s->value->type == DT_I32 ? (double)w.i : (double)w.f, *acc = &r->acc[s->var];
            *acc = r->reduce[s->var] == KREDUCE_SUM ? *acc + x : x > *acc ? x : *acc;
        }
        if (s->kind == KSTMT_STORE) {
            stores[n].s = s;
            stores[n].at = address(r, &s->index);
            stores[n++].w = eval(r, s->value);
        }
        bool ends = i + 1 == body->stmts.n || !is_effect(body->stmts.at[i + 1]);
        for (int j = 0; ends && j < n; j++)
            store(r->bufs[stores[j].s->buf], r->k->bufs.at[stores[j].s->buf].type, stores[j].at, stores[j].w);
        if (ends) n = 0;
        r->stamp++;
        if (s->kind == KSTMT_LOOP) run_loop(r, s);
    }
}

void nest_eval(const Kernel *k, char *const *bufs, const int64_t *scalars) {
    Run r = {.k = k, .bufs = bufs, .scalars = scalars, .stamp = 1};
    r.var = calloc((size_t)k->nvars + 1, sizeof *r.var);
    r.value = calloc((size_t)k->nexprs + 1, sizeof *r.value);
    r.made = calloc((size_t)k->nexprs + 1, sizeof *r.made);
    r.acc = calloc((size_t)k->naccs + 1, sizeof *r.acc);
    r.reduce = calloc((size_t)k->naccs + 1, sizeof *r.reduce);
    run_body(&r, &k->body);
    free(r.var), free(r.value), free(r.made), free(r.acc), free(r.reduce);
}
