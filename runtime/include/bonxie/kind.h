/* SPDX-License-Identifier: MIT */
/* What a handle is: for code that is given one and must find out. */
#ifndef BONXIE_KIND_H
#define BONXIE_KIND_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

enum bnx_kind {
    BNX_KIND_NONE = 0, /* NULL, or nothing that is listed here */
    BNX_KIND_TASK = 1,
    BNX_KIND_FUTURE = 2,
    BNX_KIND_SCOPE = 3, /* between open and close */
    BNX_KIND_CHANNEL = 4,
    BNX_KIND_GENERATOR = 5
};

/**
 * Says of what kind a handle is.
 * @param handle a valid handle of the library's; NULL is allowed. Of anything else 24 bytes must be
 *   readable, and the answer is NONE unless they look like a handle's.
 * Context: any thread; never suspends.
 */
BNX_API enum bnx_kind bnx_kind(const void *handle);

BNX_EXTERN_C_END

#endif
