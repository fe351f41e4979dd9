// SPDX-License-Identifier: Apache-2.0
// irb_half: bf16 and f16 elements of memory, kept as i16 and computed with as f32. Conversions are integer arithmetic
// (f16: instructions where the target has them): no library calls, denormals kept, the same bits on every target.
#include "codegen/irb.h"
#include <stddef.h>

static Val word(Irb *b, Val like, int64_t x) { return irb_const_int(b, irb_like(b, like, b->i32), x); }

static Val zero_extended(Irb *b, Val x) { return LLVMBuildZExt(b->builder, x, irb_like(b, x, b->i32), ""); }
static Val truncated(Irb *b, Val x) { return LLVMBuildTrunc(b->builder, x, irb_like(b, x, b->i16), ""); }
static Val as_words(Irb *b, Val x) { return irb_bits(b, x, irb_like(b, x, b->i32)); }
static Val as_reals(Irb *b, Val x) { return irb_bits(b, x, irb_like(b, x, b->f32)); }

// Processors with 8 lanes (AVX2) convert f16 themselves.
static bool converts_f16(const Irb *b) { return b->target->lanes >= 8; }

static Val from_f16(Irb *b, Val bits) {
    if (converts_f16(b)) return irb_cast(b, irb_bits(b, bits, irb_like(b, bits, b->f16)), b->f32);
    Val x = zero_extended(b, bits), sign = irb_shl(b, irb_and(b, x, word(b, x, 0x8000)), word(b, x, 16));
    Val rest = irb_shl(b, irb_and(b, x, word(b, x, 0x7fff)), word(b, x, 13));
    Val scaled = irb_mul(b, as_reals(b, rest), irb_const_real(b, irb_like(b, x, b->f32), 0x1p112));
    Val endless = irb_cmp(b, IRB_GE, rest, word(b, x, 0x7c00 << 13)); // inf and NaN
    Val whole = irb_select(b, endless, irb_or(b, rest, word(b, x, 0x7f800000)), as_words(b, scaled));
    return as_reals(b, irb_or(b, whole, sign));
}

static Val to_f16(Irb *b, Val value) {
    if (converts_f16(b)) {
        Val half = irb_cast(b, value, b->f16);
        return irb_bits(b, half, irb_like(b, half, b->i16));
    }
    Val all = as_words(b, value), sign = irb_and(b, all, word(b, all, INT32_MIN)), x = irb_xor(b, all, sign);
    // Adding 0.5 leaves a denormal f16 in the low bits, rounded.
    Val shifted = irb_add(b, as_reals(b, x), irb_const_real(b, irb_like(b, x, b->f32), 0.5));
    Val small = irb_sub(b, as_words(b, shifted), word(b, x, 126 << 23));
    Val odd = irb_and(b, irb_shr(b, x, word(b, x, 13)), word(b, x, 1));
    Val biased = irb_add(b, irb_add(b, x, word(b, x, -(INT64_C(112) << 23) + 0xfff)), odd);
    Val normal = irb_shr(b, biased, word(b, x, 13));
    Val y = irb_select(b, irb_cmp(b, IRB_LT, x, word(b, x, 113 << 23)), small, normal);
    Val nan = irb_cmp(b, IRB_GT, x, word(b, x, 0x7f800000));
    Val top = irb_select(b, nan, word(b, x, 0x7e00), word(b, x, 0x7c00));
    y = irb_select(b, irb_cmp(b, IRB_GE, x, word(b, x, 143 << 23)), top, y);
    return truncated(b, irb_or(b, y, irb_shr(b, sign, word(b, x, 16))));
}

Val irb_widen(Irb *b, Val bits, Real kind) {
    if (kind == REAL_F16) return from_f16(b, bits);
    Val x = zero_extended(b, bits);
    return as_reals(b, irb_shl(b, x, word(b, x, 16)));
}

Val irb_narrow(Irb *b, Val value, Real kind) {
    if (kind == REAL_F16) return to_f16(b, value);
    Val x = as_words(b, value), high = irb_shr(b, x, word(b, x, 16));
    Val rounded = irb_add(b, irb_add(b, x, word(b, x, 0x7fff)), irb_and(b, high, word(b, x, 1)));
    Val nan = irb_cmp(b, IRB_NE, value, value);
    Val y = irb_select(b, nan, irb_or(b, high, word(b, x, 0x40)), irb_shr(b, rounded, word(b, x, 16)));
    return truncated(b, y);
}

Ty irb_real_type(Irb *b, Real kind) { return kind == REAL_F32 ? b->f32 : b->i16; }

Val irb_load_real(Irb *b, Real kind, int lanes, Val pointer, Val mask) {
    Ty type = irb_real_type(b, kind);
    if (lanes > 1) type = irb_vec(b, type, lanes);
    Val x = mask ? irb_load_masked(b, type, pointer, mask, NULL) : irb_load(b, type, pointer);
    return kind == REAL_F32 ? x : irb_widen(b, x, kind);
}

void irb_store_real(Irb *b, Real kind, Val x, Val pointer, Val mask) {
    if (kind != REAL_F32) x = irb_narrow(b, x, kind);
    if (mask) irb_store_masked(b, x, pointer, mask);
    else irb_store(b, x, pointer);
}
