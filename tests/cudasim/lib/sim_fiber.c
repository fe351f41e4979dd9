// SPDX-License-Identifier: Apache-2.0
// Callee-saved registers go to the stack, the stack pointer is exchanged (System V ABI for x86-64; AAPCS64). Elsewhere
// ucontext does it, with a system call a switch.
#include "sim_fiber.h"
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
__asm__(".text\n"
        ".globl sim_fiber_switch\n"
        ".hidden sim_fiber_switch\n"
        ".type sim_fiber_switch, @function\n"
        "sim_fiber_switch:\n"
        "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
        "  ret\n"
        ".size sim_fiber_switch, . - sim_fiber_switch\n");

void *sim_fiber_make(char *stack, size_t bytes, SimFiberMain *entry) {
    uint64_t *top = (uint64_t *)(((uintptr_t)stack + bytes) & ~(uintptr_t)15);
    *--top = 0; // the caller `entry` must not return to; leaves the stack as a call would
    *--top = (uint64_t)(uintptr_t)entry;
    for (int i = 0; i < 6; i++) *--top = 0;
    return top;
}
#elif defined(__aarch64__)
__asm__(".text\n"
        ".globl sim_fiber_switch\n"
        ".hidden sim_fiber_switch\n"
        ".type sim_fiber_switch, %function\n"
        "sim_fiber_switch:\n"
        "  sub sp, sp, #160\n"
        "  stp x19, x20, [sp, #0]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n"
        "  stp x25, x26, [sp, #48]\n  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
        "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n  stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
        "  mov x9, sp\n  str x9, [x0]\n  mov sp, x1\n"
        "  ldp x19, x20, [sp, #0]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n"
        "  ldp x25, x26, [sp, #48]\n  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
        "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n  ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
        "  add sp, sp, #160\n"
        "  ret\n"
        ".size sim_fiber_switch, . - sim_fiber_switch\n");

void *sim_fiber_make(char *stack, size_t bytes, SimFiberMain *entry) {
    uint64_t *sp = (uint64_t *)(((uintptr_t)stack + bytes) & ~(uintptr_t)15) - 20;
    memset(sp, 0, 160);
    sp[11] = (uint64_t)(uintptr_t)entry; // x30
    return sp;
}
#else
#include <ucontext.h>

void *sim_fiber_make(char *stack, size_t bytes, SimFiberMain *entry) {
    size_t head = (sizeof(ucontext_t) + 63 + 64) & ~(size_t)63; // above whoever marks the stack's end
    ucontext_t *context = (ucontext_t *)(stack + 64);
    getcontext(context);
    context->uc_stack.ss_sp = stack + head;
    context->uc_stack.ss_size = bytes - head;
    context->uc_link = NULL;
    makecontext(context, entry, 0);
    return context;
}

void sim_fiber_switch(void **save, void *to) {
    ucontext_t here;
    *save = &here;
    swapcontext(&here, to);
}
#endif
