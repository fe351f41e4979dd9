// SPDX-License-Identifier: Apache-2.0
// irb_math: exp, log and tanh as polynomials over f32 scalars or vectors, so that kernels call no library and give the
// same bits on every lane. Coefficients are those of Moshier's Cephes library (single precision, public domain).
#include "codegen/irb.h"
#include <stddef.h>

static Val real_like(Irb *b, Val x, double c) { return irb_const_real(b, LLVMTypeOf(x), c); }

static Val horner(Irb *b, Val x, int count, const double *c) {
    Val p = real_like(b, x, c[0]);
    for (int i = 1; i < count; i++) p = irb_fma(b, p, x, real_like(b, x, c[i]));
    return p;
}

// 2^n as f32 for n in [-126, 127].
static Val power_of_two(Irb *b, Val n, Ty real) {
    Ty integer = LLVMTypeOf(n);
    return irb_bits(b, irb_shl(b, irb_add(b, n, irb_const_int(b, integer, 127)), irb_const_int(b, integer, 23)), real);
}

// x 2^n for any n. avx512 has an instruction; elsewhere two halves, so that overflow comes out right.
// shifted: n with the rounding constant still on it, whose low bits are n as an integer.
static Val scale_by_power(Irb *b, Val x, Val n, Val shifted) {
    Ty type = LLVMTypeOf(x), integer = irb_like(b, x, b->i32);
    if (b->target->lanes == 16 && irb_lanes_of(x) == 16) {
        static const char name[] = "llvm.x86.avx512.mask.scalef.ps.512";
        Val f = LLVMGetIntrinsicDeclaration(b->module, LLVMLookupIntrinsicID(name, sizeof name - 1), NULL, 0);
        Val arguments[] = {x, n, x, irb_const_int(b, b->i16, -1), irb_const_int(b, b->i32, 4)}; // 4: current rounding
        return irb_call(b, f, 5, arguments);
    }
    Val k = irb_sub(b, irb_bits(b, shifted, integer), irb_const_int(b, integer, 0x4B400000));
    Val half = irb_sar(b, k, irb_const_int(b, integer, 1));
    return irb_mul(b, irb_mul(b, x, power_of_two(b, half, type)), power_of_two(b, irb_sub(b, k, half), type));
}

// exp(x) = 2^n exp(r), |r| <= ln2/2.
Val irb_exp(Irb *b, Val x) {
    static const double p[] = {1.9875691500E-4, 1.3981999507E-3, 8.3334519073E-3,
                               4.1665795894E-2, 1.6666665459E-1, 5.0000001201E-1};
    // A denormal result costs the processor a hundred cycles, and masked scores would make one each: they are 0
    // instead.
    Val lowest = real_like(b, x, -87.33), vanishes = irb_cmp(b, IRB_LT, x, lowest);
    // The operands' order lets a NaN through.
    Val t = irb_max(b, lowest, irb_min(b, real_like(b, x, 89.0), x));
    // Adding 1.5*2^23 rounds to the nearest integer without a conversion.
    Val magic = real_like(b, x, 12582912.0);
    Val shifted = irb_fma(b, t, real_like(b, x, 1.44269504088896341), magic);
    Val n = irb_sub(b, shifted, magic);
    Val r = irb_fma(b, n, real_like(b, x, -0.693359375), t);
    r = irb_fma(b, n, real_like(b, x, 2.12194440e-4), r);
    Val y = irb_fma(b, horner(b, r, 6, p), irb_mul(b, r, r), r);
    y = scale_by_power(b, irb_add(b, y, real_like(b, x, 1.0)), n, shifted);
    return irb_select(b, vanishes, real_like(b, x, 0.0), y);
}

// log(x) = e ln2 + log(m), m in [sqrt(1/2), sqrt(2)).
Val irb_log(Irb *b, Val x) {
    static const double p[] = {7.0376836292E-2,  -1.1514610310E-1, 1.1676998740E-1,  -1.2420140846E-1, 1.4249322787E-1,
                               -1.6668057665E-1, 2.0000714765E-1,  -2.4999993993E-1, 3.3333331174E-1};
    Ty type = LLVMTypeOf(x), integer = irb_like(b, x, b->i32);
    Val is_tiny = irb_cmp(b, IRB_LT, x, real_like(b, x, 1.17549435e-38));
    Val scaled = irb_select(b, is_tiny, irb_mul(b, x, real_like(b, x, 8388608.0)), x);
    Val bits = irb_bits(b, scaled, integer);
    // e counts so that the mantissa lies in [sqrt(1/2), sqrt(2)): 0x3f3504f3 is sqrt(1/2).
    Val from = irb_sub(b, bits, irb_const_int(b, integer, 0x3f3504f3));
    Val e = irb_sar(b, from, irb_const_int(b, integer, 23));
    Val m = irb_bits(b, irb_sub(b, bits, irb_shl(b, e, irb_const_int(b, integer, 23))), type);
    Val exponent =
        irb_sub(b, irb_cast(b, e, b->f32), irb_select(b, is_tiny, real_like(b, x, 23.0), real_like(b, x, 0.0)));
    Val f = irb_sub(b, m, real_like(b, x, 1.0)), z = irb_mul(b, f, f);
    Val y = irb_mul(b, irb_mul(b, horner(b, f, 9, p), f), z);
    y = irb_fma(b, exponent, real_like(b, x, -2.12194440e-4), y);
    y = irb_fma(b, z, real_like(b, x, -0.5), y);
    y = irb_add(b, f, y);
    y = irb_fma(b, exponent, real_like(b, x, 0.693359375), y);
    Val infinity = real_like(b, x, __builtin_inf()), nan = real_like(b, x, __builtin_nan(""));
    y = irb_select(b, irb_cmp(b, IRB_EQ, x, infinity), x, y);
    y = irb_select(b, irb_cmp(b, IRB_GE, x, real_like(b, x, 0.0)), y, nan);
    return irb_select(b, irb_cmp(b, IRB_EQ, x, real_like(b, x, 0.0)), irb_neg(b, infinity), y);
}

// Odd polynomial below 0.625, 1 - 2/(exp(2|x|)+1) above.
Val irb_tanh(Irb *b, Val x) {
    static const double p[] = {-5.70498872745E-3, 2.06390887954E-2, -5.37397155531E-2, 1.33314422036E-1,
                               -3.33332819422E-1};
    Val a = irb_abs(b, x), z = irb_mul(b, x, x), one = real_like(b, x, 1.0);
    Val small = irb_fma(b, irb_mul(b, horner(b, z, 5, p), z), x, x);
    Val e = irb_exp(b, irb_add(b, a, a));
    Val large = irb_sub(b, one, irb_div(b, real_like(b, x, 2.0), irb_add(b, e, one)));
    Val signed_large = irb_select(b, irb_cmp(b, IRB_LT, x, real_like(b, x, 0.0)), irb_neg(b, large), large);
    return irb_select(b, irb_cmp(b, IRB_LT, a, real_like(b, x, 0.625)), small, signed_large);
}
