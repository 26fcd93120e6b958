/* SPDX-License-Identifier: MIT */
/*
 * The context switch: four words saved, a jump, and nothing that confuses a CPU or a debugger.
 *
 * Concepts
 *   A suspended stack is described by {sp, pc, fp, bx}. Everything else that the ABI wants
 *   preserved is declared clobbered, so the compiler saves exactly what the surrounding function
 *   uses, in its own prologue, with its own unwind information: gdb, perf and any unwinder that is
 *   given the four words walk through a suspended task as through a called function.
 *
 *   There is no call, ret or push in the switch: a ret to another stack than the one that was
 *   called from mispredicts, and every later ret of the chain with it. The jump is indirect and
 *   predicted per place where it is expanded. Those are few, each a part of the function that is
 *   left (task.c): one of its own would save the registers again, and return once more.
 *
 *   Where two stacks take turns by calls of different depth or place, as a generator and who drives
 *   it, the jump leaves the CPU's stack of return addresses the wrong way round: [next, yield],
 *   and the one that returns first is next's. Both returns of a round are mispredicted then. So the
 *   body is entered by a jump and bnx_gen_yield returns to it by another (BNX_RETURNS_BY_JUMP): no
 *   return that was not called. And bnx_context_return goes back by a return: it takes yield's
 *   address off, mispredicts once, and next returns as predicted (a next and its yield: 21 ns, 28
 *   with two mispredictions; EPYC guest, BM_GenNext). The two belong together.
 *
 *   Control words (mxcsr, x87, FPCR) are not switched: they belong to the thread. A task that owns
 *   rounding modes says so at spawn, and task.c swaps them by bnx_fp_swap.
 *
 * Rejected: saving the callee-saved registers by hand (the compiler knows which are live), `ret`
 *   (18-26 ns against 1.5-6), boost's jmp after call (unbalances the return-stack buffer: 24-58 ns
 *   a few calls deep), saving mxcsr and x87 always (83 ns).
 *
 * The layout of struct bnx_context is known to tests/gdb and to the debugger script.
 */
#ifndef BNX_RUNTIME_CONTEXT_H
#define BNX_RUNTIME_CONTEXT_H

#include "runtime/compiler.h"

#include <stdint.h>

/* The registers of a suspended stack; written by the thread that leaves it, read by the one that
 * enters it (ordered by the task's on_cpu, or by being the same thread). */
struct bnx_context {
    void *sp; /* stack pointer */
    void *pc; /* where it continues */
    void *fp; /* rbp, x29 */
    void *bx; /* rbx, x19 */
};

/* The first frame of a stack (arch): calls the function in bx with fp 0 and ends the unwinding. */
extern void bnx_context_trampoline(void);

/**
 * Prepares a context that, when switched to, calls entry() on a fresh stack. entry never returns.
 * @param top end of the stack, 16-byte aligned.
 */
static inline void bnx_context_init(struct bnx_context *context, void *top, void (*entry)(void)) {
    context->sp = top;
    context->pc = (void *)(uintptr_t)bnx_context_trampoline;
    context->fp = NULL;
    context->bx = (void *)(uintptr_t)entry;
}

#if defined(__x86_64__)

#if defined(__AVX512F__)
#define BNX_CONTEXT_CLOBBER_AVX512                                                                 \
    , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25",    \
        "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6",  \
        "k7"
#else
#define BNX_CONTEXT_CLOBBER_AVX512
#endif

#define BNX_CONTEXT_SWITCH(from, to, go)                                                           \
    __asm__ volatile("leaq 1f(%%rip), %%rax\n\t"                                                   \
                     "movq %%rsp, 0(%%rdi)\n\t"                                                    \
                     "movq %%rax, 8(%%rdi)\n\t"                                                    \
                     "movq %%rbp, 16(%%rdi)\n\t"                                                   \
                     "movq %%rbx, 24(%%rdi)\n\t"                                                   \
                     "movq 0(%%rsi), %%rsp\n\t"                                                    \
                     "movq 8(%%rsi), %%rax\n\t"                                                    \
                     "movq 16(%%rsi), %%rbp\n\t"                                                   \
                     "movq 24(%%rsi), %%rbx\n\t" go "\n\t"                                         \
                     "1:\n\t"                                                                      \
                     "endbr64\n\t"                                                                 \
                     : "+D"(from), "+S"(to)                                                        \
                     :                                                                             \
                     : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",  \
                       "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",     \
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",                        \
                       "xmm15" BNX_CONTEXT_CLOBBER_AVX512, "memory", "cc")

/**
 * Saves this stack in *from and continues the one in *to. Returns when somebody switches back.
 * Should be expanded where it is called for nearly always: the clobbers cost the prologue of that
 * function.
 */
static BNX_ALWAYS_INLINE void bnx_context_switch(struct bnx_context *from,
                                                 const struct bnx_context *to) {
    BNX_CONTEXT_SWITCH(from, to, "jmp *%%rax");
}

/**
 * As above, by a return; the function that expands it is BNX_RETURNS_BY_JUMP. Writes a word below
 * the stack pointer of *to: who left it there must be a function that calls others, lest it has a
 * red zone.
 */
static BNX_ALWAYS_INLINE void bnx_context_return(struct bnx_context *from,
                                                 const struct bnx_context *to) {
#if BNX_RETURN_JUMPS
    BNX_CONTEXT_SWITCH(from, to, "pushq %%rax\n\tret");
#else
    BNX_CONTEXT_SWITCH(from, to, "jmp *%%rax");
#endif
}

/* mxcsr and the x87 control word of a task that owns its floating-point state. */
struct bnx_fp {
    uint32_t mxcsr;
    uint16_t x87;
};

static inline void bnx_fp_read(struct bnx_fp *fp) {
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(fp->mxcsr), "=m"(fp->x87));
}

/* The sticky exception flags (low six bits) differ nearly always and mean nothing: masked, because
 * a load of mxcsr costs more than the whole switch. */
#define BNX_MXCSR_STICKY 0x3fu

/** Loads *next where its control bits differ from *now. */
static inline void bnx_fp_swap(const struct bnx_fp *now, const struct bnx_fp *next) {
    if (((now->mxcsr ^ next->mxcsr) & ~BNX_MXCSR_STICKY) != 0) {
        uint32_t merged = (next->mxcsr & ~BNX_MXCSR_STICKY) | (now->mxcsr & BNX_MXCSR_STICKY);
        __asm__ volatile("ldmxcsr %0" : : "m"(merged));
    }
    if (now->x87 != next->x87) {
        __asm__ volatile("fldcw %0" : : "m"(next->x87));
    }
}

#elif defined(__aarch64__)

/**
 * As above. x30 is clobbered, so the compiler reloads its return address from its own frame; d8-d15
 * are listed because the ABI preserves their low halves.
 */
static BNX_ALWAYS_INLINE void bnx_context_switch(struct bnx_context *from,
                                                 const struct bnx_context *to) {
    register struct bnx_context *x0 __asm__("x0") = from;
    register const struct bnx_context *x1 __asm__("x1") = to;
    __asm__ volatile("adr x9, 1f\n\t"
                     "mov x10, sp\n\t"
                     "stp x10, x9, [x0]\n\t"
                     "stp x29, x19, [x0, #16]\n\t"
                     "ldp x10, x9, [x1]\n\t"
                     "ldp x29, x19, [x1, #16]\n\t"
                     "mov sp, x10\n\t"
                     "br x9\n\t"
                     "1:\n\t"
                     "hint #36\n\t" /* bti j */
                     : "+r"(x0), "+r"(x1)
                     :
                     : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
                       "x14", "x15", "x16", "x17", "x18", "x20", "x21", "x22", "x23", "x24", "x25",
                       "x26", "x27", "x28", "x30", "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7",
                       "d8", "d9", "d10", "d11", "d12", "d13", "d14", "d15", "d16", "d17", "d18",
                       "d19", "d20", "d21", "d22", "d23", "d24", "d25", "d26", "d27", "d28", "d29",
                       "d30", "d31", "memory", "cc");
}

static BNX_ALWAYS_INLINE void bnx_context_return(struct bnx_context *from,
                                                 const struct bnx_context *to) {
    bnx_context_switch(from, to);
}

/* FPCR of a task that owns its floating-point state. */
struct bnx_fp {
    uint64_t fpcr;
};

static inline void bnx_fp_read(struct bnx_fp *fp) {
    __asm__ volatile("mrs %0, fpcr" : "=r"(fp->fpcr));
}

/** Loads *next where it differs from *now. */
static inline void bnx_fp_swap(const struct bnx_fp *now, const struct bnx_fp *next) {
    if (now->fpcr != next->fpcr) {
        __asm__ volatile("msr fpcr, %0" : : "r"(next->fpcr));
    }
}

#else
#error "bonxie runs on x86-64 and aarch64"
#endif

#endif
