/* SPDX-License-Identifier: MIT */
/* A channel as a select sees it: each direction can be taken, waited for and left (chan.c). */
#ifndef BNX_RUNTIME_CHAN_PVT_H
#define BNX_RUNTIME_CHAN_PVT_H

#include "runtime/waiter.h"

#include <bonxie/chan.h>

/** What a channel's kind points to (kind.h). */
extern const char bnx_chan_kind;

enum bnx_chan_direction { BNX_CHAN_SEND, BNX_CHAN_RECV };

/**
 * Sends *item, or receives into it, if that can be done at once.
 * Returns whether it is over, with 0, -EPIPE or -ENODATA in *out_result. Any thread; never
 * suspends.
 */
bool bnx_chan_take(struct bnx_chan *chan, enum bnx_chan_direction direction, void *item,
                   int *out_result);

/**
 * Registers a waiter of a sleeper; waiter->data is the item or the room for it. Returns false when
 * bnx_chan_take might succeed right now: the waiter was not touched then. Other waiters of the same
 * owner do not count: nobody sends to himself.
 */
bool bnx_chan_add(struct bnx_chan *chan, enum bnx_chan_direction direction,
                  struct bnx_waiter *waiter);

/** The size of an item, as it was created with. */
size_t bnx_chan_elem_bytes(const struct bnx_chan *chan);

/** Ends a registration, whether it was claimed or not: the waiter is not touched any more. */
void bnx_chan_remove(struct bnx_chan *chan, enum bnx_chan_direction direction,
                     struct bnx_waiter *waiter);

#endif
