/* SPDX-License-Identifier: MIT */
/* Files of text, packed or not, as streams of their plain bytes. */
#ifndef BNX_IO_EXAMPLES_UNPACK_H
#define BNX_IO_EXAMPLES_UNPACK_H

#include <bonxie/stream.h>

#define BNX_UNPACK_LINE_MAX (1024 * 1024) /* bytes; a longer line ends the reading of its file */

/**
 * Opens a file to read: what is in it, or, where the name ends in .gz or .bz2, what was packed into
 * it. Unpacking does not hold the worker.
 * @param out_stream receives the stream, which bnx_stream_close ends together with the file. It
 *   gives -EBADMSG where the file is damaged, behind all that comes before.
 * Returns 0; -errno of bnx_open; -ENOMEM; -ECANCELED, -ETIMEDOUT. Context: task, suspends.
 */
int bnx_unpack_open(const char *path, struct bnx_stream **out_stream);

#endif
