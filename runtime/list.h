/* SPDX-License-Identifier: MIT */
/*
 * Intrusive lists for one thread, or for several under a lock: Concurrency Kit's ck_queue.
 *
 * CK_LIST   doubly linked, removal of any element in O(1): timers in a slot, members of a scope.
 * CK_STAILQ singly linked with a tail, FIFO append and splice: batches of tasks.
 * CK_SLIST  singly linked, LIFO: pools.
 *
 * ck_queue's stores are plain stores through ck_pr, which ThreadSanitizer does not see; the lock or
 * the ownership that guards the list is what it checks.
 */
#ifndef BNX_RUNTIME_LIST_H
#define BNX_RUNTIME_LIST_H

#include <ck_queue.h>

#endif
