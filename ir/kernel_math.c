// SPDX-License-Identifier: Apache-2.0
// kernel_math: transcendental functions of f32 and the random generator, over the kernel's primitives, so that every
// machine computes them alike. Errors, measured over dense samples by tests/codegen/test_kernels.c, in units in the
// last place: exp 2, log 2, tanh 5, sigmoid 4, erf 3, sin and cos 2 (absolute 2^-23, |x| <= 1e5), pow 3. A NaN must
// pass: K_MIN and K_MAX give their second operand when either is a NaN, so x stands second.
#include "ir/kernel.h"
#include <math.h>

static KExpr *real(Kernel *k, double f) { return kb_const(k, DT_F32, f); }
static KExpr *word(Kernel *k, uint32_t i) { return kb_const(k, DT_I32, (int32_t)i); }
static KExpr *fma3(Kernel *k, KExpr *a, KExpr *b, KExpr *c) { return kb_op(k, K_FMA, a->type, a, b, c); }
static KExpr *bits(Kernel *k, KExpr *a, DType to) { return kb_op(k, K_BITCAST, to, a, NULL, NULL); }
static KExpr *shift(Kernel *k, KOp op, KExpr *a, int by) {
    return kb_op(k, op, DT_I32, a, word(k, (uint32_t)by), NULL);
}

// Highest power first.
static KExpr *horner(Kernel *k, KExpr *x, int n, const double *c) {
    KExpr *p = kb_const(k, x->type, c[0]);
    for (int i = 1; i < n; i++) p = fma3(k, p, x, kb_const(k, x->type, c[i]));
    return p;
}

// Adding 1.5*2^23 rounds to the nearest integer, which then stands in the low bits.
static const double round_magic = 12582912.0;
static const uint32_t round_bits = 0x4B400000u;

// y * 2^n for n in [-252, 254], n standing in the low bits of `shifted` (a sum with round_magic): in two steps, so that
// results near the ends of the range, denormals too, are rounded once.
static KExpr *scale(Kernel *k, KExpr *y, KExpr *shifted) {
    KExpr *b = bits(k, shifted, DT_I32);
    KExpr *half = shift(k, K_SHR, kb_sub(k, b, word(k, round_bits - 512)), 1); // floor(n / 2) + 256
    KExpr *rest = kb_sub(k, kb_sub(k, b, word(k, round_bits - 256 - 127)), half);
    KExpr *first = shift(k, K_SHL, kb_sub(k, half, word(k, 256 - 127)), 23);
    return kb_mul(k, kb_mul(k, y, bits(k, first, DT_F32)), bits(k, shift(k, K_SHL, rest, 23), DT_F32));
}

// exp(x) = 2^n exp(r), |r| <= ln2/2. Polynomial: Moshier, Cephes (public domain).
KExpr *kb_exp(Kernel *k, KExpr *x) {
    static const double p[] = {1.9875691500E-4, 1.3981999507E-3, 8.3334519073E-3,
                               4.1665795894E-2, 1.6666665459E-1, 5.0000001201E-1};
    KExpr *t = kb_max(k, real(k, -104.5), kb_min(k, real(k, 89.0), x));
    KExpr *shifted = fma3(k, t, real(k, M_LOG2E), real(k, round_magic));
    KExpr *n = kb_sub(k, shifted, real(k, round_magic));
    KExpr *r = fma3(k, n, real(k, -0.693359375), t);
    r = fma3(k, n, real(k, 2.12194440e-4), r);
    KExpr *y = fma3(k, horner(k, r, 6, p), kb_mul(k, r, r), r);
    return scale(k, kb_add(k, y, real(k, 1)), shifted);
}

// x > 0, finite: m in [sqrt(1/2), sqrt(2)) and integer e (as f32) with x = m 2^e.
static void split_exponent(Kernel *k, KExpr *x, KExpr **out_m, KExpr **out_e) {
    KExpr *is_tiny = kb_lt(k, x, real(k, 1.17549435e-38));
    KExpr *b = bits(k, kb_select(k, is_tiny, kb_mul(k, x, real(k, 8388608.0)), x), DT_I32);
    KExpr *e = kb_sub(k, shift(k, K_SHR, kb_add(k, b, word(k, 0x3f800000u - 0x3f3504f3u)), 23), word(k, 127));
    *out_m = bits(k, kb_sub(k, b, shift(k, K_SHL, e, 23)), DT_F32);
    *out_e = kb_sub(k, kb_cast(k, e, DT_F32), kb_select(k, is_tiny, real(k, 23), real(k, 0)));
}

KExpr *kb_log(Kernel *k, KExpr *x) {
    static const double p[] = {7.0376836292E-2,  -1.1514610310E-1, 1.1676998740E-1,  -1.2420140846E-1, 1.4249322787E-1,
                               -1.6668057665E-1, 2.0000714765E-1,  -2.4999993993E-1, 3.3333331174E-1};
    KExpr *m, *e;
    split_exponent(k, x, &m, &e);
    KExpr *f = kb_sub(k, m, real(k, 1)), *z = kb_mul(k, f, f);
    KExpr *y = kb_mul(k, kb_mul(k, horner(k, f, 9, p), f), z);
    y = fma3(k, e, real(k, -2.12194440e-4), y);
    y = fma3(k, z, real(k, -0.5), y);
    y = fma3(k, e, real(k, 0.693359375), kb_add(k, f, y));
    y = kb_select(k, kb_lt(k, x, real(k, INFINITY)), y, x); // inf and NaN
    y = kb_select(k, kb_lt(k, x, real(k, 0)), real(k, NAN), y);
    return kb_select(k, kb_eq(k, x, real(k, 0)), real(k, -INFINITY), y);
}

// Rational minimax approximation on [-9, 9] (as in Eigen's and XLA's tanh); x itself where it is tiny, 1 beyond.
KExpr *kb_tanh(Kernel *k, KExpr *x) {
    static const double p[] = {-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
                               1.48572235717979e-05,  6.37261928875436e-04, 4.89352455891786e-03};
    static const double q[] = {1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03};
    KExpr *t = kb_max(k, real(k, -7.99881172180175781), kb_min(k, real(k, 7.99881172180175781), x));
    KExpr *z = kb_mul(k, t, t);
    KExpr *y = kb_div(k, kb_mul(k, t, horner(k, z, 7, p)), horner(k, z, 4, q));
    KExpr *a = kb_abs(k, x);
    y = kb_select(k, kb_lt(k, real(k, 9.02), x), real(k, 1), y);
    y = kb_select(k, kb_lt(k, x, real(k, -9.02)), real(k, -1), y);
    return kb_select(k, kb_lt(k, a, real(k, 0.0004)), x, y);
}

KExpr *kb_sigmoid(Kernel *k, KExpr *x) { return kb_div(k, real(k, 1), kb_add(k, real(k, 1), kb_exp(k, kb_neg(k, x)))); }

// log(1 + e^x) = max(x, 0) + log1p(e^-|x|); log1p(e) = log(u) e / (u - 1) with u = fl(1 + e), exact where u rounds to 1
// (Kahan).
KExpr *kb_softplus(Kernel *k, KExpr *x) {
    KExpr *one = real(k, 1), *e = kb_exp(k, kb_neg(k, kb_abs(k, x))), *u = kb_add(k, one, e);
    KExpr *log1p = kb_select(k, kb_eq(k, u, one), e, kb_mul(k, kb_log(k, u), kb_div(k, e, kb_sub(k, u, one))));
    return kb_add(k, kb_max(k, x, real(k, 0)), log1p);
}

// Below 475/512 an odd polynomial, above 1 - exp(polynomial) (after N. Juffa).
KExpr *kb_erf(Kernel *k, KExpr *x) {
    static const double p[] = {-5.96761703e-4, 4.99119423e-3,  -2.67681349e-2,
                               1.12819925e-1,  -3.76125336e-1, 1.28379166e-1};
    KExpr *t = kb_abs(k, x), *s = kb_mul(k, x, x);
    KExpr *r = fma3(k, real(k, -1.72853470e-5), t, real(k, 3.83197126e-4));
    KExpr *u = fma3(k, real(k, -3.88396438e-3), t, real(k, 2.42546219e-2));
    r = fma3(k, r, s, u);
    r = fma3(k, r, t, real(k, -1.06777877e-1));
    r = fma3(k, r, t, real(k, -6.34846687e-1));
    r = fma3(k, r, t, real(k, -1.28717512e-1));
    r = fma3(k, r, t, kb_neg(k, t));
    KExpr *large = kb_sub(k, real(k, 1), kb_exp(k, r));
    large = kb_select(k, kb_lt(k, x, real(k, 0)), kb_neg(k, large), large);
    return kb_select(k, kb_lt(k, real(k, 475.0 / 512), t), large, fma3(k, horner(k, s, 6, p), x, x));
}

// sin(x + quarter * pi/2): reduction by pi/2 in three parts, then one of two polynomials (Cephes).
static KExpr *sine(Kernel *k, KExpr *x, uint32_t quarter) {
    static const double ps[] = {-1.9515295891E-4, 8.3321608736E-3, -1.6666654611E-1};
    static const double pc[] = {2.443315711809948E-5, -1.388731625493765E-3, 4.166664568298827E-2};
    KExpr *shifted = fma3(k, x, real(k, M_2_PI), real(k, round_magic));
    KExpr *n = kb_sub(k, shifted, real(k, round_magic));
    KExpr *r = fma3(k, n, real(k, -0x1.921fb0p+00), x);
    r = fma3(k, n, real(k, -0x1.5110b4p-22), r);
    r = fma3(k, n, real(k, -0x1.846988p-48), r);
    KExpr *z = kb_mul(k, r, r);
    KExpr *s = fma3(k, kb_mul(k, horner(k, z, 3, ps), z), r, r);
    KExpr *c = fma3(k, horner(k, z, 3, pc), kb_mul(k, z, z), fma3(k, z, real(k, -0.5), real(k, 1)));
    KExpr *q = kb_add(k, bits(k, shifted, DT_I32), word(k, quarter));
    KExpr *is_cos = kb_ne(k, kb_op(k, K_IAND, DT_I32, q, word(k, 1), NULL), word(k, 0));
    KExpr *sign = shift(k, K_SHL, kb_op(k, K_IAND, DT_I32, q, word(k, 2), NULL), 30);
    KExpr *y = kb_select(k, is_cos, c, s);
    return bits(k, kb_op(k, K_XOR, DT_I32, bits(k, y, DT_I32), sign, NULL), DT_F32);
}
KExpr *kb_sin(Kernel *k, KExpr *x) { return sine(k, x, 0); }
KExpr *kb_cos(Kernel *k, KExpr *x) { return sine(k, x, 1); }

// |a|^b = 2^(b log2 |a|), the exponent in double precision; signs and limits as C's pow.
KExpr *kb_pow(Kernel *k, KExpr *a, KExpr *b) {
    if (b->op == K_CONST && b->f == 2) return kb_mul(k, a, a);
    if (b->op == K_CONST && b->f == 1) return a;
    static const double p[] = {2.0 / 15, 2.0 / 13, 2.0 / 11, 2.0 / 9, 2.0 / 7, 2.0 / 5, 2.0 / 3, 2.0};
    static const double e2[] = {1.535336188319500E-4, 1.339887440266574E-3, 9.618437357674640E-3,
                                5.550332471162809E-2, 2.402264791363012E-1, 6.931472028550421E-1};
    KExpr *x = kb_abs(k, a), *zero = real(k, 0), *one = real(k, 1), *inf = real(k, INFINITY);
    KExpr *m, *e;
    split_exponent(k, x, &m, &e);
    KExpr *wide = kb_cast(k, m, DT_F64), *unit = kb_const(k, DT_F64, 1);
    KExpr *s = kb_div(k, kb_sub(k, wide, unit), kb_add(k, wide, unit)), *z = kb_mul(k, s, s);
    KExpr *log2 = fma3(k, kb_mul(k, horner(k, z, 8, p), s), kb_const(k, DT_F64, M_LOG2E), kb_cast(k, e, DT_F64));
    log2 = kb_select(k, kb_eq(k, x, zero), kb_const(k, DT_F64, -INFINITY), log2);
    log2 = kb_select(k, kb_eq(k, x, inf), kb_const(k, DT_F64, INFINITY), log2);
    KExpr *y = kb_mul(k, log2, kb_cast(k, b, DT_F64));
    y = kb_max(k, kb_const(k, DT_F64, -152), kb_min(k, kb_const(k, DT_F64, 130), y));
    KExpr *n = kb_op(k, K_FLOOR, DT_F64, kb_add(k, y, kb_const(k, DT_F64, 0.5)), NULL, NULL);
    KExpr *f = kb_cast(k, kb_sub(k, y, n), DT_F32);
    KExpr *v = fma3(k, horner(k, f, 6, e2), f, one);
    v = scale(k, v, kb_cast(k, kb_add(k, n, kb_const(k, DT_F64, round_magic)), DT_F32));
    v = kb_select(k, kb_or(k, kb_ne(k, a, a), kb_ne(k, b, b)), real(k, NAN), v);
    v = kb_select(k, kb_eq(k, x, one), one, v); // 1^inf; a NaN exponent is mended below
    v = kb_select(k, kb_and(k, kb_eq(k, x, one), kb_ne(k, b, b)), real(k, NAN), v);
    KExpr *half = kb_mul(k, b, real(k, 0.5));
    KExpr *is_whole = kb_eq(k, b, kb_op(k, K_FLOOR, DT_F32, b, NULL, NULL));
    KExpr *is_odd = kb_and(k, is_whole, kb_ne(k, half, kb_op(k, K_FLOOR, DT_F32, half, NULL, NULL)));
    KExpr *is_minus = kb_lt(k, bits(k, a, DT_I32), word(k, 0));
    v = kb_select(k, kb_and(k, is_minus, is_odd), kb_neg(k, v), v);
    KExpr *is_wrong = kb_and(k, kb_lt(k, a, zero), kb_and(k, kb_not(k, is_whole), kb_lt(k, x, inf)));
    v = kb_select(k, is_wrong, real(k, NAN), v);
    return kb_select(k, kb_or(k, kb_eq(k, a, one), kb_eq(k, b, zero)), one, v);
}

// sqrt(-2 log((w + 0.5) 2^-24)) cos(2 pi u), to some ulp also where it is near zero. From 2^23 on, w + 0.5 is rounded:
// there log(1 - e) = log(v) e / (1 - v), v = fl(1 - e), e exact. The cosine is sin(2 pi (|u - 1/2| - 1/4)), whose
// argument is exact but for the factor.
static KExpr *normal(Kernel *k, KExpr *w, KExpr *u) {
    KExpr *one = real(k, 1), *half = real(k, 0.5), *ulp = real(k, 0x1p-24);
    KExpr *v = kb_mul(k, kb_add(k, w, half), ulp), *log_v = kb_log(k, v);
    KExpr *e = kb_mul(k, kb_sub(k, kb_sub(k, real(k, 0x1p24), w), half), ulp);
    KExpr *exact = kb_div(k, kb_mul(k, log_v, e), kb_sub(k, one, v));
    exact = kb_select(k, kb_eq(k, v, one), kb_neg(k, e), exact);
    KExpr *log = kb_select(k, kb_lt(k, w, real(k, 0x1p23)), log_v, exact);
    KExpr *turn = kb_sub(k, kb_abs(k, kb_sub(k, u, half)), real(k, 0.25));
    return kb_mul(k, kb_sqrt(k, kb_mul(k, real(k, -2), log)), kb_sin(k, kb_mul(k, turn, real(k, 2 * M_PI))));
}

// Philox4x32-10; see random.h for what goes where.
KExpr *kb_random(Kernel *k, int law, KExpr *lo, KExpr *hi, int64_t stream, KExpr *const keys[4]) {
    KExpr *c[4] = {lo, hi, keys[2], keys[3]};
    KExpr *k0 = kb_op(k, K_XOR, DT_I32, keys[0], word(k, (uint32_t)stream * 0x9E3779B9u), NULL), *k1 = keys[1];
    KExpr *m0 = word(k, 0xD2511F53u), *m1 = word(k, 0xCD9E8D57u);
    for (int round = 0; round < 10; round++) {
        KExpr *h0 = kb_op(k, K_MULHI, DT_I32, c[0], m0, NULL), *h1 = kb_op(k, K_MULHI, DT_I32, c[2], m1, NULL);
        KExpr *l0 = kb_mul(k, c[0], m0), *l1 = kb_mul(k, c[2], m1);
        c[0] = kb_op(k, K_XOR, DT_I32, kb_op(k, K_XOR, DT_I32, h1, c[1], NULL), k0, NULL);
        c[2] = kb_op(k, K_XOR, DT_I32, kb_op(k, K_XOR, DT_I32, h0, c[3], NULL), k1, NULL);
        c[1] = l1;
        c[3] = l0;
        k0 = kb_add(k, k0, word(k, 0x9E3779B9u));
        k1 = kb_add(k, k1, word(k, 0xBB67AE85u));
    }
    KExpr *w0 = kb_cast(k, shift(k, K_SHR, c[0], 8), DT_F32), *w1 = kb_cast(k, shift(k, K_SHR, c[1], 8), DT_F32);
    KExpr *ulp = real(k, 0x1p-24);
    if (law == 0) return kb_mul(k, w0, ulp);
    return normal(k, w0, kb_mul(k, w1, ulp));
}
