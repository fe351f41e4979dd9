// SPDX-License-Identifier: Apache-2.0
// irb: an LLVM builder one can read: arithmetic that looks at its operands' types, structured loops and ifs, vectors of
// the target's width, and the few math functions kernels need. Emitters of kernels are written against this, not
// against LLVM-C. Conventions: an index is i64; a pointer is opaque and offsets are in bytes; where a scalar meets a
// vector it is splatted.
#pragma once
#include "codegen/target.h"
#include "codegen/tile.h"
#include <llvm-c/Core.h>

typedef LLVMValueRef Val;
typedef LLVMTypeRef Ty;

typedef struct Irb {
    const CpuTarget *target;
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    Val function;            // being filled
    LLVMBasicBlockRef entry; // its first block: holds only variables, and a jump
    Ty i1, i8, i16, i32, i64, f32, f64, bf16, f16, ptr, nothing;
    int lanes;     // target->lanes
    Ty vf, vi, vb; // <lanes x f32>, <lanes x i32>, <lanes x i1>
} Irb;

void irb_init(Irb *b, const CpuTarget *target, LLVMModuleRef module);
void irb_drop(Irb *b);

// ---- functions: the builder is left in the function's first ordinary block
typedef struct IrbKernel {
    Val buf, scalar, work, begin, end;
} IrbKernel;
IrbKernel irb_kernel_begin(Irb *b, const char *name); // external, the KernelFn ABI
Val irb_function_begin(Irb *b, const char *name, int count, const Ty *parameters, Ty result); // internal to the module
Val irb_function_find(Irb *b, const char *name); // NULL when the module has none of that name
Val irb_param(Irb *b, int i);
void irb_function_end(Irb *b, Val result); // result NULL: returns nothing
Val irb_call(Irb *b, Val function, int count, Val *arguments);
Val irb_kernel_buf(Irb *b, const IrbKernel *k, int i);    // base pointer of operand i
Val irb_kernel_scalar(Irb *b, const IrbKernel *k, int i); // i64

// ---- constants and types
Val irb_int(Irb *b, int64_t x); // i64
Val irb_const_int(Irb *b, Ty type, int64_t x);
Val irb_real(Irb *b, double x); // f32
Val irb_const_real(Irb *b, Ty type, double x);
Val irb_bool(Irb *b, bool x);
Val irb_zero(Irb *b, Ty type);
Ty irb_vec(Irb *b, Ty element, int lanes);
bool irb_is_vec(Val x);
bool irb_is_real(Val x);                // a float, or a vector of them
int irb_lanes_of(Val x);                // 1 for a scalar
Ty irb_like(Irb *b, Val x, Ty element); // `element`, or a vector of it as wide as x

// ---- arithmetic: integers (signed) or reals by the operands' types
Val irb_add(Irb *b, Val x, Val y);
Val irb_sub(Irb *b, Val x, Val y);
Val irb_mul(Irb *b, Val x, Val y);
Val irb_div(Irb *b, Val x, Val y); // integers: non-negative x, positive y
Val irb_rem(Irb *b, Val x, Val y); // same
Val irb_min(Irb *b, Val x, Val y); // reals: y when either is a NaN, as minps; irb_max too
Val irb_max(Irb *b, Val x, Val y);
Val irb_neg(Irb *b, Val x);
Val irb_abs(Irb *b, Val x);
Val irb_and(Irb *b, Val x, Val y);
Val irb_or(Irb *b, Val x, Val y);
Val irb_xor(Irb *b, Val x, Val y);
Val irb_not(Irb *b, Val x);
Val irb_shl(Irb *b, Val x, Val y);
Val irb_shr(Irb *b, Val x, Val y);        // logical
Val irb_sar(Irb *b, Val x, Val y);        // arithmetic
Val irb_fma(Irb *b, Val x, Val y, Val z); // x*y+z: one rounding where the target has it, two elsewhere
Val irb_addi(Irb *b, Val x, int64_t y);
Val irb_muli(Irb *b, Val x, int64_t y);
typedef enum IrbCmp { IRB_EQ, IRB_NE, IRB_LT, IRB_LE, IRB_GT, IRB_GE } IrbCmp;
Val irb_cmp(Irb *b, IrbCmp op, Val x, Val y); // ordered for reals (NE: unordered), signed for integers
Val irb_select(Irb *b, Val condition, Val x, Val y);
Val irb_cast(Irb *b, Val x,
             Ty element); // by value, lanes kept: int<->int (signed; i1, i8 unsigned), int<->real, real<->real
Val irb_bits(Irb *b, Val x, Ty type);                // same bits
Val irb_unary(Irb *b, const char *intrinsic, Val x); // llvm.<intrinsic> over x's type: "sqrt", "floor", "fabs", ...

// ---- vectors
Val irb_splat(Irb *b, Val x, int lanes);
Val irb_lane(Irb *b, Val x, int lane);
Val irb_set_lane(Irb *b, Val x, int lane, Val y);
Val irb_shuffle(Irb *b, Val x, Val y, int count, const int *lanes); // -1: any
Val irb_iota(Irb *b, Ty element, int lanes);                        // 0, 1, 2, ...
Val irb_mask_first(Irb *b, Val n, int lanes); // lane < n, for an i64 n that may be negative or beyond lanes
Val irb_sum(Irb *b, Val x);                   // over the lanes, by halves: a fixed order
Val irb_max_lane(Irb *b, Val x);

// ---- memory: pointer + byte offset
Val irb_at(Irb *b, Val pointer, Val bytes);
Val irb_at_const(Irb *b, Val pointer, int64_t bytes);
Val irb_index(Irb *b, Val pointer, Ty element, Val i); // pointer + i * sizeof element
Val irb_load(Irb *b, Ty type, Val pointer);            // aligned to its element only
Val irb_load_aligned(Irb *b, Ty type, Val pointer, int align);
void irb_store(Irb *b, Val x, Val pointer);
void irb_store_aligned(Irb *b, Val x, Val pointer, int align);
Val irb_load_masked(Irb *b, Ty vector, Val pointer, Val mask, Val otherwise); // otherwise NULL: zeros
void irb_store_masked(Irb *b, Val x, Val pointer, Val mask);
void irb_prefetch(Irb *b, Val pointer, bool for_write, int locality); // locality 3: all levels
void irb_fill_zero(Irb *b, Val pointer, Val bytes);
void irb_copy(Irb *b, Val to, Val from, Val bytes);

// ---- reals in memory: what is not f32 is i16 there and f32 in registers (irb_half.c)
Val irb_widen(Irb *b, Val bits, Real kind);   // exact
Val irb_narrow(Irb *b, Val value, Real kind); // f32 to the nearest, ties to even; beyond the largest: inf; NaN kept
Ty irb_real_type(Irb *b, Real kind);
Val irb_load_real(Irb *b, Real kind, int lanes, Val pointer, Val mask); // mask NULL: all
void irb_store_real(Irb *b, Real kind, Val x, Val pointer, Val mask);

// ---- variables and control: a variable becomes registers (sroa); loops and ifs nest
Val irb_var(Irb *b, Ty type, Val initial); // initial NULL: unset
Val irb_get(Irb *b, Val variable);
void irb_set(Irb *b, Val variable, Val x);
Val irb_local(Irb *b, int64_t bytes, int align); // fixed stack space of the function

typedef struct IrbLoop {
    LLVMBasicBlockRef head, exit;
    Val index, to, step;
} IrbLoop;
IrbLoop irb_loop(Irb *b, Val from, Val to, Val step); // for (index = from; index < to; index += step)
IrbLoop irb_loop_const(Irb *b, int64_t from, int64_t to, int64_t step);
void irb_loop_end(Irb *b, IrbLoop *loop);
typedef struct IrbIf {
    LLVMBasicBlockRef other, done;
    bool has_else;
} IrbIf;
IrbIf irb_if(Irb *b, Val condition);
void irb_else(Irb *b, IrbIf *f);
void irb_if_end(Irb *b, IrbIf *f);

// ---- math on f32, scalar or vector, no library calls
// <= 2 ulp; 0 below -87.33, where results would be denormal; inf above 88.72; NaN kept.
Val irb_exp(Irb *b, Val x);
Val irb_log(Irb *b, Val x);  // <= 2 ulp for normal x; log(0)=-inf, log(negative)=NaN, log(inf)=inf
Val irb_tanh(Irb *b, Val x); // absolute error <= 2e-7, relative <= 4 ulp; tanh(+-inf)=+-1
