/* SPDX-License-Identifier: MIT */
/* The first frame of a task stack: calls the entry in rbx; rip is undefined, so unwinding ends. */

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

    .section .note.GNU-stack, "", @progbits
