/* SPDX-License-Identifier: MIT */
/*
 * One connection of the cache: a task that receives requests, executes them, and sends the replies.
 *
 * Concepts
 *   Everything that has been received is executed, then all replies leave with one send. Received
 *   bytes and replies have a little memory in the connection, which is all that an idle peer costs
 *   beside its task; what does not fit goes to larger memory for as long as there are bytes in it.
 *   Replies of BNX_CACHE_OUT_BYTES are sent before more requests are executed: a peer that does not
 *   read its replies is not read from either.
 *
 *   Stopping: a cancelled task goes on in a shield. It executes what its socket holds, sends the
 *   replies, and closes.
 */
#ifndef BNX_IO_EXAMPLES_CACHE_CONNECTION_H
#define BNX_IO_EXAMPLES_CACHE_CONNECTION_H

#include "io/examples/cache_commands.h"

#define BNX_CACHE_OUT_BYTES 65536u /* replies that may be owed before they are sent */

/**
 * Serves a connection until it ends, and closes it. Suspends.
 * @param is_stopping the server does already: as if it were cancelled at once.
 */
void bnx_cache_connection_serve(struct bnx_cache *cache, int fd, bool is_stopping);

/** Tells a peer that there are too many, and closes. Never suspends. */
void bnx_cache_connection_refuse(int fd);

#endif
