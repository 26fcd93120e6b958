/* SPDX-License-Identifier: MIT */
/*
 * Operations that end badly: short, with an error, late, out of order, on either driver.
 *
 * Concepts
 *   The seam is the os table. On io_uring each enter is wrapped, and the wrapper has a mapping of
 *   its own of the ring: what is about to be submitted can be made smaller, or replaced by
 *   something that transfers nothing and whose completion gets an error; a completion that has come
 *   can be taken out, which leaves an empty one, and posted again later by another ring
 *   (IORING_OP_MSG_RING). So the library sees what a kernel may do, and has no part in it.
 *   On epoll the calls themselves are wrapped, and what epoll_wait says is held back.
 *
 * What "late" may mean
 *   The kernel may end an operation at any time after it was submitted, and operations in any
 *   order. Until its completion is seen, what it reads or writes is the kernel's: a buffer that is
 *   received into holds rubbish while its completion is held back here. A cancel may find that the
 *   operation is over (-ENOENT), or cannot be ended any more (-EALREADY), and its own answer may
 *   come before or after the operation's. A system call on another thread may return late. What
 *   epoll says may come late as well, but a cancel does not wait for it: nothing is in flight.
 *
 * Only runtimes without rescue: a rescuer would take completions while the wrapper looks at them.
 */
#ifndef BNX_TESTS_FAULTS_OP_FAULTS_H
#define BNX_TESTS_FAULTS_OP_FAULTS_H

#include "io/op.h"

#include "runtime/rng.h"

#define OP_FAULTS_CANCELS (BNX_OP_RAW + 1) /* a kind: the cancels of a ring, and their answers */
#define OP_FAULTS_KINDS (OP_FAULTS_CANCELS + 1)
#define OP_FAULTS_EVERY OP_FAULTS_KINDS /* all kinds at once: of hold and release */

enum op_faults_part { OP_FAULTS_WHOLE, OP_FAULTS_ONE_BYTE, OP_FAULTS_HALF };

/** Wraps the os table. Before the first runtime. */
void op_faults_install(void);

/** A runtime without rescue and watchdog. Whether it has rings holds for it alone: some machines
 * give a process a few and refuse the next. */
struct bnx_runtime *op_faults_create(uint32_t workers, uint64_t seed);

/** Ends it if it has not ended, and forgets its rings and all faults. Nothing may be held back. */
void op_faults_destroy(struct bnx_runtime *runtime);

/** No faults from now on. What is held back stays held back. */
void op_faults_clear(void);

/** Whether the last runtime that was created has rings. */
bool op_faults_has_rings(void);

/** Operations of that kind transfer no more than so much, also those that need no waiting. Not
 * those of datagrams, and of descriptors that know no short transfer. */
void op_faults_short(unsigned kind, enum op_faults_part part);

/** What is left of a number of bytes. */
size_t op_faults_part_of(enum op_faults_part part, size_t bytes);

/** The kth operation of that kind from now on ends with the error, having done nothing. */
void op_faults_fail(unsigned kind, int error, uint64_t kth);

/** Whether it has. */
bool op_faults_has_failed(void);

/** The same of each one, until all faults are cleared. */
void op_faults_fail_each(unsigned kind, int error);

/** How many have, since the faults were cleared. Any thread. */
uint64_t op_faults_failures(void);

/** With a ring: nothing is done at once, all of it by operations. */
void op_faults_no_inline(bool is_on);

/** What the kernel says of cancels, whatever it has done; 0: what it says itself. */
void op_faults_answer_cancels(int error);

/** From now on the completions of that kind are held back. Skips the test where the kernel cannot
 * post them later. */
void op_faults_hold(unsigned kind);

/** How many are. Any thread. */
uint32_t op_faults_held(void);

/** How many cancels the kernel has answered. Any thread. */
uint64_t op_faults_cancels(void);

/** Holds none of that kind back any more, and lets go of those that were, in an order that the seed
 * decides. Any thread. */
void op_faults_release(unsigned kind, struct bnx_rng *rng);

#endif
