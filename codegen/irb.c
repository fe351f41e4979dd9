// SPDX-License-Identifier: Apache-2.0
// irb: see irb.h. The functions of mathematics are in irb_math.c.
#include "codegen/irb.h"
#include <assert.h>
#include <string.h>

enum { IRB_LANES_MAX = 64 };

void irb_init(Irb *b, const CpuTarget *target, LLVMModuleRef module) {
    memset(b, 0, sizeof *b);
    LLVMContextRef c = LLVMGetModuleContext(module);
    b->target = target;
    b->context = c;
    b->module = module;
    b->builder = LLVMCreateBuilderInContext(c);
    b->i1 = LLVMInt1TypeInContext(c);
    b->i8 = LLVMInt8TypeInContext(c);
    b->i16 = LLVMInt16TypeInContext(c);
    b->i32 = LLVMInt32TypeInContext(c);
    b->i64 = LLVMInt64TypeInContext(c);
    b->f32 = LLVMFloatTypeInContext(c);
    b->f64 = LLVMDoubleTypeInContext(c);
    b->f16 = LLVMHalfTypeInContext(c);
    b->bf16 = LLVMBFloatTypeInContext(c);
    b->ptr = LLVMPointerTypeInContext(c, 0);
    b->nothing = LLVMVoidTypeInContext(c);
    b->lanes = target->lanes;
    b->vf = LLVMVectorType(b->f32, (unsigned)b->lanes);
    b->vi = LLVMVectorType(b->i32, (unsigned)b->lanes);
    b->vb = LLVMVectorType(b->i1, (unsigned)b->lanes);
}

void irb_drop(Irb *b) {
    if (b->builder) LLVMDisposeBuilder(b->builder);
    b->builder = NULL;
}

// ---- functions

static void attribute_add(Irb *b, Val function, LLVMAttributeIndex where, const char *name, uint64_t value) {
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(function, where, LLVMCreateEnumAttribute(b->context, kind, value));
}

static LLVMBasicBlockRef block_add(Irb *b, const char *name) {
    return LLVMAppendBasicBlockInContext(b->context, b->function, name);
}

static void function_open(Irb *b, Val function) {
    attribute_add(b, function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, "nounwind", 0);
    b->function = function;
    b->entry = block_add(b, "entry");
    LLVMBasicBlockRef start = block_add(b, "start");
    LLVMPositionBuilderAtEnd(b->builder, b->entry);
    LLVMBuildBr(b->builder, start);
    LLVMPositionBuilderAtEnd(b->builder, start);
}

IrbKernel irb_kernel_begin(Irb *b, const char *name) {
    Ty parameters[] = {b->ptr, b->ptr, b->ptr, b->i64, b->i64};
    Val function = LLVMAddFunction(b->module, name, LLVMFunctionType(b->nothing, parameters, 5, false));
    for (unsigned i = 1; i <= 3; i++) attribute_add(b, function, i, "noalias", 0);
    function_open(b, function);
    return (IrbKernel){irb_param(b, 0), irb_param(b, 1), irb_param(b, 2), irb_param(b, 3), irb_param(b, 4)};
}

Val irb_function_begin(Irb *b, const char *name, int count, const Ty *parameters, Ty result) {
    Val function = LLVMAddFunction(b->module, name, LLVMFunctionType(result, (Ty *)parameters, (unsigned)count, false));
    LLVMSetLinkage(function, LLVMInternalLinkage);
    attribute_add(b, function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, "noinline", 0);
    function_open(b, function);
    return function;
}

Val irb_function_find(Irb *b, const char *name) { return LLVMGetNamedFunction(b->module, name); }
Val irb_param(Irb *b, int i) { return LLVMGetParam(b->function, (unsigned)i); }

void irb_function_end(Irb *b, Val result) {
    if (result) LLVMBuildRet(b->builder, result);
    else LLVMBuildRetVoid(b->builder);
    b->function = NULL;
}

Val irb_call(Irb *b, Val function, int count, Val *arguments) {
    return LLVMBuildCall2(b->builder, LLVMGlobalGetValueType(function), function, arguments, (unsigned)count, "");
}

Val irb_kernel_buf(Irb *b, const IrbKernel *k, int i) {
    return irb_load_aligned(b, b->ptr, irb_at_const(b, k->buf, i * 8L), 8);
}
Val irb_kernel_scalar(Irb *b, const IrbKernel *k, int i) {
    return irb_load_aligned(b, b->i64, irb_at_const(b, k->scalar, i * 8L), 8);
}

// ---- constants and types

static Ty element_of(Ty type) { return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetElementType(type) : type; }
static bool kind_is_real(LLVMTypeKind k) {
    return k == LLVMFloatTypeKind || k == LLVMDoubleTypeKind || k == LLVMHalfTypeKind || k == LLVMBFloatTypeKind;
}

Val irb_int(Irb *b, int64_t x) { return LLVMConstInt(b->i64, (unsigned long long)x, true); }
Val irb_real(Irb *b, double x) { return LLVMConstReal(b->f32, x); }
Val irb_bool(Irb *b, bool x) { return LLVMConstInt(b->i1, x, false); }
Val irb_zero(Irb *b, Ty type) {
    (void)b;
    return LLVMConstNull(type);
}

static Val const_splat(Irb *b, Ty type, Val x) {
    if (LLVMGetTypeKind(type) != LLVMVectorTypeKind) return x;
    (void)b;
    Val lanes[IRB_LANES_MAX];
    unsigned n = LLVMGetVectorSize(type);
    assert(n <= IRB_LANES_MAX);
    for (unsigned i = 0; i < n; i++) lanes[i] = x;
    return LLVMConstVector(lanes, n);
}

Val irb_const_int(Irb *b, Ty type, int64_t x) {
    return const_splat(b, type, LLVMConstInt(element_of(type), (unsigned long long)x, true));
}
Val irb_const_real(Irb *b, Ty type, double x) { return const_splat(b, type, LLVMConstReal(element_of(type), x)); }

Ty irb_vec(Irb *b, Ty element, int lanes) {
    (void)b;
    return LLVMVectorType(element, (unsigned)lanes);
}
bool irb_is_vec(Val x) { return LLVMGetTypeKind(LLVMTypeOf(x)) == LLVMVectorTypeKind; }
bool irb_is_real(Val x) { return kind_is_real(LLVMGetTypeKind(element_of(LLVMTypeOf(x)))); }
int irb_lanes_of(Val x) { return irb_is_vec(x) ? (int)LLVMGetVectorSize(LLVMTypeOf(x)) : 1; }
Ty irb_like(Irb *b, Val x, Ty element) { return irb_is_vec(x) ? irb_vec(b, element, irb_lanes_of(x)) : element; }

// ---- arithmetic

static void widen(Irb *b, Val *x, Val *y) {
    if (irb_is_vec(*x) && !irb_is_vec(*y)) *y = irb_splat(b, *y, irb_lanes_of(*x));
    else if (irb_is_vec(*y) && !irb_is_vec(*x)) *x = irb_splat(b, *x, irb_lanes_of(*y));
}

#define IRB_ARITHMETIC(name, real, integer)                                                                            \
    Val name(Irb *b, Val x, Val y) {                                                                                   \
        widen(b, &x, &y);                                                                                              \
        return irb_is_real(x) ? real(b->builder, x, y, "") : integer(b->builder, x, y, "");                            \
    }
IRB_ARITHMETIC(irb_add, LLVMBuildFAdd, LLVMBuildAdd)
IRB_ARITHMETIC(irb_sub, LLVMBuildFSub, LLVMBuildSub)
IRB_ARITHMETIC(irb_mul, LLVMBuildFMul, LLVMBuildMul)
IRB_ARITHMETIC(irb_div, LLVMBuildFDiv, LLVMBuildUDiv)
IRB_ARITHMETIC(irb_rem, LLVMBuildFRem, LLVMBuildURem)

#define IRB_INTEGER(name, build)                                                                                       \
    Val name(Irb *b, Val x, Val y) {                                                                                   \
        widen(b, &x, &y);                                                                                              \
        return build(b->builder, x, y, "");                                                                            \
    }
IRB_INTEGER(irb_and, LLVMBuildAnd)
IRB_INTEGER(irb_or, LLVMBuildOr)
IRB_INTEGER(irb_xor, LLVMBuildXor)
IRB_INTEGER(irb_shl, LLVMBuildShl)
IRB_INTEGER(irb_shr, LLVMBuildLShr)
IRB_INTEGER(irb_sar, LLVMBuildAShr)

Val irb_min(Irb *b, Val x, Val y) {
    widen(b, &x, &y);
    return irb_select(b, irb_cmp(b, IRB_LT, x, y), x, y);
}
Val irb_max(Irb *b, Val x, Val y) {
    widen(b, &x, &y);
    return irb_select(b, irb_cmp(b, IRB_GT, x, y), x, y);
}
Val irb_neg(Irb *b, Val x) {
    return irb_is_real(x) ? LLVMBuildFNeg(b->builder, x, "") : LLVMBuildNeg(b->builder, x, "");
}
Val irb_abs(Irb *b, Val x) { return irb_is_real(x) ? irb_unary(b, "fabs", x) : irb_max(b, x, irb_neg(b, x)); }
Val irb_not(Irb *b, Val x) { return LLVMBuildNot(b->builder, x, ""); }

static Val intrinsic_call(Irb *b, const char *name, Ty type, int count, Val *arguments) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    assert(id && "no such intrinsic");
    Val f = LLVMGetIntrinsicDeclaration(b->module, id, &type, 1);
    return LLVMBuildCall2(b->builder, LLVMGlobalGetValueType(f), f, arguments, (unsigned)count, "");
}

Val irb_fma(Irb *b, Val x, Val y, Val z) {
    widen(b, &x, &y);
    widen(b, &x, &z);
    widen(b, &y, &z);
    if (!b->target->has_fma) return irb_add(b, irb_mul(b, x, y), z);
    Val arguments[] = {x, y, z};
    return intrinsic_call(b, "llvm.fma", LLVMTypeOf(x), 3, arguments);
}

Val irb_addi(Irb *b, Val x, int64_t y) { return y ? irb_add(b, x, irb_const_int(b, LLVMTypeOf(x), y)) : x; }
Val irb_muli(Irb *b, Val x, int64_t y) { return y == 1 ? x : irb_mul(b, x, irb_const_int(b, LLVMTypeOf(x), y)); }

Val irb_cmp(Irb *b, IrbCmp op, Val x, Val y) {
    static const LLVMRealPredicate real[] = {LLVMRealOEQ, LLVMRealUNE, LLVMRealOLT,
                                             LLVMRealOLE, LLVMRealOGT, LLVMRealOGE};
    static const LLVMIntPredicate integer[] = {LLVMIntEQ, LLVMIntNE, LLVMIntSLT, LLVMIntSLE, LLVMIntSGT, LLVMIntSGE};
    widen(b, &x, &y);
    return irb_is_real(x) ? LLVMBuildFCmp(b->builder, real[op], x, y, "")
                          : LLVMBuildICmp(b->builder, integer[op], x, y, "");
}

Val irb_select(Irb *b, Val condition, Val x, Val y) {
    widen(b, &x, &y);
    return LLVMBuildSelect(b->builder, condition, x, y, "");
}

Val irb_cast(Irb *b, Val x, Ty element) {
    Ty from = element_of(LLVMTypeOf(x)), to = irb_like(b, x, element);
    if (from == element) return x;
    bool real_from = irb_is_real(x), real_to = kind_is_real(LLVMGetTypeKind(element));
    if (real_from && real_to) {
        bool half_from = from == b->f16 || from == b->bf16, half_to = element == b->f16 || element == b->bf16;
        if (half_from && half_to) return irb_cast(b, irb_cast(b, x, b->f32), element);
        return LLVMBuildFPCast(b->builder, x, to, "");
    }
    if (real_from) return LLVMBuildFPToSI(b->builder, x, to, "");
    bool is_unsigned = LLVMGetIntTypeWidth(from) <= 8;
    if (real_to) return is_unsigned ? LLVMBuildUIToFP(b->builder, x, to, "") : LLVMBuildSIToFP(b->builder, x, to, "");
    return LLVMBuildIntCast2(b->builder, x, to, !is_unsigned, "");
}

Val irb_bits(Irb *b, Val x, Ty type) { return LLVMBuildBitCast(b->builder, x, type, ""); }

Val irb_unary(Irb *b, const char *intrinsic, Val x) {
    char name[64] = "llvm.";
    assert(strlen(intrinsic) < sizeof name - 6);
    strcat(name, intrinsic);
    return intrinsic_call(b, name, LLVMTypeOf(x), 1, &x);
}

// ---- vectors

Val irb_splat(Irb *b, Val x, int lanes) {
    if (lanes == 1 || irb_is_vec(x)) return x;
    Ty type = irb_vec(b, LLVMTypeOf(x), lanes);
    if (LLVMIsConstant(x)) return const_splat(b, type, x);
    Val one = LLVMBuildInsertElement(b->builder, LLVMGetPoison(type), x, irb_const_int(b, b->i32, 0), "");
    return LLVMBuildShuffleVector(b->builder, one, LLVMGetPoison(type), irb_zero(b, irb_vec(b, b->i32, lanes)), "");
}
Val irb_lane(Irb *b, Val x, int lane) {
    return LLVMBuildExtractElement(b->builder, x, irb_const_int(b, b->i32, lane), "");
}
Val irb_set_lane(Irb *b, Val x, int lane, Val y) {
    return LLVMBuildInsertElement(b->builder, x, y, irb_const_int(b, b->i32, lane), "");
}
Val irb_shuffle(Irb *b, Val x, Val y, int count, const int *lanes) {
    Val index[IRB_LANES_MAX];
    assert(count <= IRB_LANES_MAX);
    for (int i = 0; i < count; i++)
        index[i] = lanes[i] < 0 ? LLVMGetPoison(b->i32) : irb_const_int(b, b->i32, lanes[i]);
    return LLVMBuildShuffleVector(b->builder, x, y ? y : LLVMGetPoison(LLVMTypeOf(x)),
                                  LLVMConstVector(index, (unsigned)count), "");
}
Val irb_iota(Irb *b, Ty element, int lanes) {
    (void)b;
    Val index[IRB_LANES_MAX];
    assert(lanes <= IRB_LANES_MAX);
    bool real = kind_is_real(LLVMGetTypeKind(element));
    for (int i = 0; i < lanes; i++) index[i] = real ? LLVMConstReal(element, i) : LLVMConstInt(element, (unsigned)i, 0);
    return LLVMConstVector(index, (unsigned)lanes);
}

Val irb_mask_first(Irb *b, Val n, int lanes) {
    n = irb_max(b, irb_min(b, n, irb_int(b, lanes)), irb_int(b, 0));
    return irb_cmp(b, IRB_LT, irb_iota(b, b->i32, lanes), irb_splat(b, irb_cast(b, n, b->i32), lanes));
}

static Val fold_lanes(Irb *b, Val x, Val (*fold)(Irb *, Val, Val)) {
    for (int n = irb_lanes_of(x); n > 1; n /= 2) {
        int low[IRB_LANES_MAX], high[IRB_LANES_MAX];
        assert(n % 2 == 0);
        for (int i = 0; i < n / 2; i++) low[i] = i, high[i] = n / 2 + i;
        x = fold(b, irb_shuffle(b, x, NULL, n / 2, low), irb_shuffle(b, x, NULL, n / 2, high));
    }
    return irb_is_vec(x) ? irb_lane(b, x, 0) : x;
}
Val irb_sum(Irb *b, Val x) { return fold_lanes(b, x, irb_add); }
Val irb_max_lane(Irb *b, Val x) { return fold_lanes(b, x, irb_max); }

// ---- memory

Val irb_at(Irb *b, Val pointer, Val bytes) { return LLVMBuildGEP2(b->builder, b->i8, pointer, &bytes, 1, ""); }
Val irb_at_const(Irb *b, Val pointer, int64_t bytes) { return bytes ? irb_at(b, pointer, irb_int(b, bytes)) : pointer; }
Val irb_index(Irb *b, Val pointer, Ty element, Val i) { return LLVMBuildGEP2(b->builder, element, pointer, &i, 1, ""); }

static int element_align(Irb *b, Ty type) {
    Ty e = element_of(type);
    if (e == b->ptr || e == b->f64) return 8;
    if (e == b->f32) return 4;
    if (e == b->f16 || e == b->bf16) return 2;
    unsigned bits = LLVMGetIntTypeWidth(e);
    return bits <= 8 ? 1 : (int)bits / 8;
}

Val irb_load_aligned(Irb *b, Ty type, Val pointer, int align) {
    Val x = LLVMBuildLoad2(b->builder, type, pointer, "");
    LLVMSetAlignment(x, (unsigned)align);
    return x;
}
void irb_store_aligned(Irb *b, Val x, Val pointer, int align) {
    LLVMSetAlignment(LLVMBuildStore(b->builder, x, pointer), (unsigned)align);
}
Val irb_load(Irb *b, Ty type, Val pointer) { return irb_load_aligned(b, type, pointer, element_align(b, type)); }
void irb_store(Irb *b, Val x, Val pointer) { irb_store_aligned(b, x, pointer, element_align(b, LLVMTypeOf(x))); }

static Val masked_intrinsic(Irb *b, const char *name, Ty vector) {
    Ty over[] = {vector, b->ptr};
    return LLVMGetIntrinsicDeclaration(b->module, LLVMLookupIntrinsicID(name, strlen(name)), over, 2);
}
Val irb_load_masked(Irb *b, Ty vector, Val pointer, Val mask, Val otherwise) {
    Val f = masked_intrinsic(b, "llvm.masked.load", vector);
    Val arguments[] = {pointer, irb_const_int(b, b->i32, element_align(b, vector)), mask,
                       otherwise ? otherwise : LLVMConstNull(vector)};
    return irb_call(b, f, 4, arguments);
}
void irb_store_masked(Irb *b, Val x, Val pointer, Val mask) {
    Val f = masked_intrinsic(b, "llvm.masked.store", LLVMTypeOf(x));
    Val arguments[] = {x, pointer, irb_const_int(b, b->i32, element_align(b, LLVMTypeOf(x))), mask};
    irb_call(b, f, 4, arguments);
}

void irb_prefetch(Irb *b, Val pointer, bool for_write, int locality) {
    Val arguments[] = {pointer, irb_const_int(b, b->i32, for_write), irb_const_int(b, b->i32, locality),
                       irb_const_int(b, b->i32, 1)};
    intrinsic_call(b, "llvm.prefetch", b->ptr, 4, arguments);
}
void irb_fill_zero(Irb *b, Val pointer, Val bytes) {
    LLVMBuildMemSet(b->builder, pointer, irb_const_int(b, b->i8, 0), bytes, 4);
}
void irb_copy(Irb *b, Val to, Val from, Val bytes) { LLVMBuildMemCpy(b->builder, to, 1, from, 1, bytes); }

// ---- variables and control

static Val entry_alloca(Irb *b, Ty type, int align) {
    LLVMBasicBlockRef here = LLVMGetInsertBlock(b->builder);
    LLVMPositionBuilderBefore(b->builder, LLVMGetBasicBlockTerminator(b->entry));
    Val slot = LLVMBuildAlloca(b->builder, type, "");
    if (align) LLVMSetAlignment(slot, (unsigned)align);
    LLVMPositionBuilderAtEnd(b->builder, here);
    return slot;
}

Val irb_var(Irb *b, Ty type, Val initial) {
    Val slot = entry_alloca(b, type, 0);
    if (initial) LLVMBuildStore(b->builder, initial, slot);
    return slot;
}
Val irb_get(Irb *b, Val variable) { return LLVMBuildLoad2(b->builder, LLVMGetAllocatedType(variable), variable, ""); }
void irb_set(Irb *b, Val variable, Val x) { LLVMBuildStore(b->builder, x, variable); }
Val irb_local(Irb *b, int64_t bytes, int align) {
    return entry_alloca(b, LLVMArrayType2(b->i8, (uint64_t)bytes), align);
}

// A guarded do-while: what is invariant can be hoisted without rotating the loop first.
IrbLoop irb_loop(Irb *b, Val from, Val to, Val step) {
    LLVMBasicBlockRef before = LLVMGetInsertBlock(b->builder), head = block_add(b, "loop"),
                      exit = block_add(b, "after");
    LLVMBasicBlockRef enter = block_add(b, "enter");
    LLVMBuildCondBr(b->builder, irb_cmp(b, IRB_LT, from, to), enter, exit);
    (void)before;
    LLVMPositionBuilderAtEnd(b->builder, enter);
    LLVMBuildBr(b->builder, head);
    LLVMPositionBuilderAtEnd(b->builder, head);
    Val index = LLVMBuildPhi(b->builder, LLVMTypeOf(from), "");
    LLVMAddIncoming(index, &from, &enter, 1);
    return (IrbLoop){head, exit, index, to, step};
}
IrbLoop irb_loop_const(Irb *b, int64_t from, int64_t to, int64_t step) {
    return irb_loop(b, irb_int(b, from), irb_int(b, to), irb_int(b, step));
}
void irb_loop_end(Irb *b, IrbLoop *loop) {
    Val next = LLVMBuildNSWAdd(b->builder, loop->index, loop->step, "");
    Val more = irb_cmp(b, IRB_LT, next, loop->to);
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(b->builder);
    LLVMBuildCondBr(b->builder, more, loop->head, loop->exit);
    LLVMAddIncoming(loop->index, &next, &latch, 1);
    LLVMMoveBasicBlockAfter(loop->exit, latch);
    LLVMPositionBuilderAtEnd(b->builder, loop->exit);
}

IrbIf irb_if(Irb *b, Val condition) {
    LLVMBasicBlockRef then = block_add(b, "then"), other = block_add(b, "else"), done = block_add(b, "fi");
    LLVMBuildCondBr(b->builder, condition, then, other);
    LLVMPositionBuilderAtEnd(b->builder, then);
    return (IrbIf){other, done, false};
}
void irb_else(Irb *b, IrbIf *f) {
    LLVMBuildBr(b->builder, f->done);
    LLVMPositionBuilderAtEnd(b->builder, f->other);
    f->has_else = true;
}
void irb_if_end(Irb *b, IrbIf *f) {
    LLVMBuildBr(b->builder, f->done);
    if (!f->has_else) {
        LLVMPositionBuilderAtEnd(b->builder, f->other);
        LLVMBuildBr(b->builder, f->done);
    }
    LLVMMoveBasicBlockAfter(f->done, LLVMGetInsertBlock(b->builder));
    LLVMPositionBuilderAtEnd(b->builder, f->done);
}
