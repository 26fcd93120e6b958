/* SPDX-License-Identifier: MIT */
/* The first frame of a task stack: calls the entry in x19; lr is undefined, so unwinding ends. */

    .text
    .globl bnx_context_trampoline
    .hidden bnx_context_trampoline
    .type bnx_context_trampoline, %function
    .p2align 4
bnx_context_trampoline:
    .cfi_startproc
    .cfi_undefined x30
    hint #36
    mov x29, #0
    mov x30, #0
    blr x19
    brk #1
    .cfi_endproc
    .size bnx_context_trampoline, . - bnx_context_trampoline

    .section .note.GNU-stack, "", %progbits
