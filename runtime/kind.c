/* SPDX-License-Identifier: MIT */
/* bnx_kind (bonxie/kind.h): each handle has a pointer at the same offset that tells its kind. */
#include <bonxie/kind.h>

#include "runtime/chan_pvt.h"
#include "runtime/gen_pvt.h"
#include "runtime/scope_pvt.h"
#include "runtime/wait_once.h"

#include <string.h>

enum bnx_kind bnx_kind(const void *handle) {
    if (handle == NULL) {
        return BNX_KIND_NONE;
    }
    const void *kind;
    memcpy(&kind, (const char *)handle + BNX_KIND_OFFSET, sizeof(kind));
    const struct {
        const void *kind;
        enum bnx_kind is;
    } known[] = {
        {&bnx_task_ops, BNX_KIND_TASK},      {&bnx_future_ops, BNX_KIND_FUTURE},
        {&bnx_scope_kind, BNX_KIND_SCOPE},   {&bnx_chan_kind, BNX_KIND_CHANNEL},
        {&bnx_gen_kind, BNX_KIND_GENERATOR},
    };
    for (size_t i = 0; kind != NULL && i < BNX_ARRAY_COUNT(known); i++) {
        if (kind == known[i].kind) {
            return known[i].is;
        }
    }
    return BNX_KIND_NONE;
}
