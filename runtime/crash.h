/* SPDX-License-Identifier: MIT */
/*
 * The crash report: a stack overflow says whose stack it was, then kills the process as before.
 *
 * Concepts
 *   Opt-in, because signal dispositions belong to the program. The handler runs on an alternate
 *   stack, which each worker sets: the stack that has overflown has no room for a signal frame. On
 *   a guard of a known stack it writes one line to stderr, with one write(2) and no heap, lock or
 *   stdio. Any other fault passes in silence.
 *   Then comes what was there before. A handler of the program is called. A default disposition is
 *   restored, and the handler returns: the instruction faults again, and the core shows it.
 *
 * Ordering
 *   E1 publish: install store-release describe, after the dispositions before ours have been read
 *      -> handler load-acquire describe.
 *   E2 the state's lock, install and uninstall only.
 */
#ifndef BNX_RUNTIME_CRASH_H
#define BNX_RUNTIME_CRASH_H

#include "runtime/compiler.h"

#include <stddef.h>

/* A signal frame takes up to 12 KiB where the CPU has AVX-512 and AMX; the rest is for handlers. A
 * kernel that says it needs more (AT_MINSIGSTKSZ) gets more. */
#define BNX_CRASH_ALTSTACK_BYTES ((size_t)32 * 1024)
#define BNX_CRASH_FRAME_BYTES ((size_t)12 * 1024)

/**
 * Writes what to say about the owner of an overflown stack: one line, no newline, no terminator.
 * Runs in a signal handler on the alternate stack: no lock, no heap, no stdio.
 * @param owner the stack's owner word, never NULL.
 * Returns: bytes written, at most `bytes`.
 */
typedef size_t (*bnx_crash_describe_fn)(void *owner, char *buffer, size_t bytes);

/**
 * Hooks SIGSEGV and SIGBUS. Counted: several runtimes may install, the last uninstall unhooks.
 * Returns: 0; -EBUSY installed with another describe; -errno of sigaction(2), nothing changed.
 * Context: any thread.
 */
BNX_MUST_USE int bnx_crash_install(bnx_crash_describe_fn describe);

/**
 * Undoes one install. A signal that somebody has hooked after us stays hooked, since their chain
 * leads here; the handler then only passes on what is no overflow. Context: any thread.
 */
void bnx_crash_uninstall(void);

/**
 * Gives the calling thread an alternate signal stack with a guard page; it has none of ours yet.
 * Returns: 0; -ENOMEM; -EPERM the thread runs on its alternate stack. Nothing changed on failure.
 * Context: owner worker, on its own stack, not in a handler.
 */
BNX_MUST_USE int bnx_crash_altstack_set(void);

/**
 * Restores the alternate stack that the thread had; without a set before it does nothing.
 * Context: the thread that set it, before it exits, not in a handler.
 */
void bnx_crash_altstack_clear(void);

#endif
