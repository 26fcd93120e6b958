/* SPDX-License-Identifier: MIT */
/* How much address space a task's stack gets. */
#ifndef BONXIE_STACK_H
#define BONXIE_STACK_H

/*
 * Address space, not memory: a stack costs the pages it has touched, one for a task that waits in a
 * shallow call. The guard below the stack comes on top. A frame larger than the guard (20 KiB for
 * the default class) can step over it unless the code is compiled with -fstack-clash-protection.
 */
enum bnx_stack_class {
    BNX_STACK_DEFAULT = 0, /* BNX_STACK_256K, or what the runtime's options say */
    BNX_STACK_16K,
    BNX_STACK_64K,
    BNX_STACK_256K,
    BNX_STACK_1M
};

#endif
