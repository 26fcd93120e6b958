/* SPDX-License-Identifier: MIT */
/*
 * The first frame of a task stack: calls the entry in rbx; rip is undefined, so unwinding ends. And
 * how a BNX_RETURNS_BY_JUMP function goes back; the compiler knows it by that name. Weak: a program
 * may have one of its own, which must do the same.
 */

    .text
    .globl bnx_context_trampoline
    .hidden bnx_context_trampoline
    .type bnx_context_trampoline, @function
    .p2align 4
bnx_context_trampoline:
    .cfi_startproc
    .cfi_undefined rip
    .cfi_undefined rbp
    endbr64
    xorl %ebp, %ebp
    callq *%rbx
    ud2
    .cfi_endproc
    .size bnx_context_trampoline, . - bnx_context_trampoline

    .weak __x86_return_thunk
    .hidden __x86_return_thunk
    .type __x86_return_thunk, @function
    .p2align 4
__x86_return_thunk:
    .cfi_startproc
    popq %rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register rip, rcx
    notrack jmp *%rcx
    .cfi_endproc
    .size __x86_return_thunk, . - __x86_return_thunk

    .section .note.GNU-stack, "", @progbits
